//! A live cluster whose members change thirty times in a row: every layout is balanced.

use std::time::Duration;

use cartwheel_harness::{
    fault::{Fault, NodeNumber, ZoneNumber},
    ground::Ground,
    rng::Rng,
};
use serde_json::Value;

use super::cluster::{Cluster, run};

const SEED: u64 = 1;
const COMMANDS: usize = 30;
/// How many members there are at least and at most.
const MEMBERS: (usize, usize) = (4, 6);
/// How long one change may take.
const CHANGE_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn layouts_stay_balanced_through_thirty_random_commands() {
    run(async {
        let cluster = Cluster::start(4).await;
        let mut rng = Rng::of(SEED, 0);
        let mut fresh = 4;
        for number in 0..COMMANDS {
            let members = cluster.ground.members();
            let one = members[rng.below(members.len() as u64) as usize];
            let weight = 1 + rng.below(3) as u32;
            let fault = match rng.below(3) {
                0 if members.len() < MEMBERS.1 => {
                    fresh += 1;
                    Fault::Join { node: NodeNumber(fresh - 1), zone: ZoneNumber(0) }
                }
                // The first node stays: it is the one that is asked.
                1 if members.len() > MEMBERS.0 && one != NodeNumber(0) => {
                    Fault::Leave { node: one }
                }
                _ => Fault::Weight { node: one, weight },
            };
            let carried = cluster.ground.carry_through(number, &fault, CHANGE_WITHIN).await;
            carried.unwrap_or_else(|why| panic!("{why:#}, seed {SEED}"));
            let ring = ring(&cluster);
            check(&ring).unwrap_or_else(|why| panic!("{why} after {fault:?}, seed {SEED}"));
        }
        cluster.ground.stop().await;
    });
}

/// What `cartwheel ring` says.
fn ring(cluster: &Cluster) -> Value {
    let address = cluster.ground.addresses()[0].to_string();
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_cartwheel"))
        .args(["ring", "--json", "--node", &address])
        .timeout(Duration::from_secs(20))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Whether no member has more than 1.05 times its share of the slots in proportion to its weight, or than that
/// share rounded up; nobody's share is more than one slot in each partition.
fn check(ring: &Value) -> Result<(), String> {
    let number = |member: &Value, name: &str| member[name].as_f64().ok_or_else(|| ring.to_string());
    let members = ring["members"].as_array().ok_or_else(|| ring.to_string())?;
    let mut loads = Vec::new();
    for member in members {
        loads.push((number(member, "weight")?, number(member, "slots")?));
    }
    let slots: f64 = loads.iter().map(|(_, slots)| slots).sum();
    let partitions = slots / 3.0;
    for (weight, load) in &loads {
        let share = share(*weight, &loads, slots, partitions);
        if *load > (1.05 * share).max((share - 1e-6).ceil()) {
            return Err(format!("a load of {load}, the share is {share:.1}: {ring}"));
        }
    }
    Ok(())
}

/// The share of a node: those whose weight would give them more than a slot in each partition have that, and
/// the rest have what is left.
fn share(weight: f64, loads: &[(f64, f64)], slots: f64, partitions: f64) -> f64 {
    let mut level = slots / loads.iter().map(|(weight, _)| weight).sum::<f64>();
    for _ in loads {
        let (full, rest): (Vec<f64>, Vec<f64>) =
            loads.iter().map(|(weight, _)| *weight).partition(|w| w * level >= partitions);
        let left = slots - full.len() as f64 * partitions;
        level = left / rest.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    }
    (weight * level).min(partitions)
}

#[test]
fn an_unbalanced_ring_is_noticed() {
    let ring = |slots: [u32; 4]| {
        let members = slots.map(|slots| serde_json::json!({ "weight": 1, "slots": slots }));
        serde_json::json!({ "members": members })
    };
    assert_eq!(check(&ring([768, 768, 768, 768])), Ok(()));
    assert!(check(&ring([850, 686, 768, 768])).is_err());
}
