//! A live cluster whose members change many times in a row: every layout is balanced, spans its zones, and a join moves little
//! more than the joiner's share.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cartwheel_client::{
    Client,
    service::{Directory, Seat},
};
use cartwheel_harness::{
    fault::{Fault, NodeNumber, ZoneNumber},
    rng::Rng,
};

use super::cluster::{Cluster, run};

/// How many members there are at least and at most.
const MEMBERS: (usize, usize) = (4, 6);
/// Owners of each partition.
const N: usize = 3;
/// How long one change may take.
const CHANGE_WITHIN: Duration = Duration::from_secs(60);

/// The targets: how much of its share a node may hold at most, and what a join may move, in the joiner's share.
struct Targets {
    load: f64,
    join: f64,
}

#[test]
fn layouts_stay_balanced_through_thirty_random_commands() {
    let commands = random_commands(1, 30, 1);
    run(live_through(1, &commands, &Targets { load: 1.05, join: 1.2 }));
}

#[test]
fn layouts_span_three_zones_through_sixteen_random_commands() {
    let commands = random_commands(9, 16, 3);
    let joins_in = |zone: usize| {
        let is = |(fault, _): &&Step| matches!(fault, Fault::Join { zone: z, .. } if z.0 == zone);
        commands.iter().filter(is).count()
    };
    let zones = (0..3).filter(|zone| joins_in(*zone) > 0).count();
    assert!(zones > 1, "joins in several zones: {commands:?}");
    run(live_through(3, &commands, &Targets { load: 1.25, join: 1.5 }));
}

/// A command, and the members after it: their names and weights.
type Step = (Fault, BTreeMap<String, u32>);

/// Commands for a cluster of four nodes in so many zones, dealt out in turn.
fn random_commands(seed: u64, count: usize, zones: usize) -> Vec<Step> {
    let mut rng = Rng::of(seed, 0);
    let mut fresh = (4..).map(NodeNumber);
    // By node its zone and its weight.
    let mut members: BTreeMap<NodeNumber, (usize, u32)> =
        (0..4).map(|node| (NodeNumber(node), (node % zones, 1))).collect();
    let mut commands = Vec::new();
    while commands.len() < count {
        let nth = rng.below(members.len() as u64) as usize;
        let (&one, &(zone, weight)) = members.iter().nth(nth).expect("there are so many");
        let alone = members.values().filter(|(other, _)| *other == zone).count() == 1;
        // The first node stays: it is the one that is asked. So does the last of a zone.
        let stays = one == NodeNumber(0) || alone;
        let command = match rng.below(5) {
            0 | 1 if members.len() < MEMBERS.1 => {
                let (node, zone) =
                    (fresh.next().expect("endless"), rng.below(zones as u64) as usize);
                members.insert(node, (zone, 1));
                Fault::Join { node, zone: ZoneNumber(zone) }
            }
            0..=2 if members.len() > MEMBERS.0 && !stays => {
                members.remove(&one);
                Fault::Leave { node: one }
            }
            3 if one != NodeNumber(0) => {
                let new = fresh.next().expect("endless");
                members.remove(&one);
                // Campaigns replace by a node of weight 1.
                members.insert(new, (zone, 1));
                Fault::Replace { old: one, new }
            }
            4 => {
                let heavier = weight % 3 + 1;
                members.insert(one, (zone, heavier));
                Fault::Weight { node: one, weight: heavier }
            }
            _ => continue,
        };
        let named = members.iter().map(|(node, (_, weight))| (node.to_string(), *weight));
        commands.push((command, named.collect()));
    }
    for (kind, is) in KINDS {
        assert!(
            commands.iter().any(|(command, _)| is(command)),
            "no {kind} with seed {seed}: {commands:?}"
        );
    }
    commands
}

type IsKind = fn(&Fault) -> bool;

/// What random commands are to have of.
const KINDS: [(&str, IsKind); 4] = [
    ("join", |fault| matches!(fault, Fault::Join { .. })),
    ("leave", |fault| matches!(fault, Fault::Leave { .. })),
    ("replace", |fault| matches!(fault, Fault::Replace { .. })),
    ("weight", |fault| matches!(fault, Fault::Weight { .. })),
];

/// The layout with these members. The node that is asked may be the last to go by it, and one that forgets a node may follow.
async fn layout_of(client: &Client, members: &BTreeMap<String, u32>) -> Arc<Directory> {
    let deadline = Instant::now() + CHANGE_WITHIN;
    loop {
        let directory = client.refresh().await.expect("a layout");
        let named = directory.members.iter().map(|seat| (seat.name.clone(), seat.weight));
        if named.collect::<BTreeMap<_, _>>() == *members {
            return directory;
        }
        assert!(Instant::now() < deadline, "no layout of {members:?}: {:?}", directory.members);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn live_through(zones: usize, commands: &[Step], targets: &Targets) {
    let cluster = Cluster::start_in_zones(4, zones).await;
    let client = Client::connect([cluster.ground.addresses()[0].to_string()]).await;
    let client = client.expect("the first node answers");
    let mut before = client.refresh().await.expect("a layout");
    for (number, (fault, members)) in commands.iter().enumerate() {
        let carried = cluster.ground.carry_through(number, fault, CHANGE_WITHIN).await;
        carried.unwrap_or_else(|why| panic!("{why:#}, of {commands:?}"));
        let after = layout_of(&client, members).await;
        let checked = check(&before, &after, zones, targets);
        checked.unwrap_or_else(|why| panic!("{why} after {fault:?} of {commands:?}"));
        before = after;
    }
    cluster.ground.stop().await;
}

/// The owners of each partition.
fn owners(directory: &Directory) -> Vec<Vec<&Seat>> {
    let rows = directory.owners.chunks(directory.width.into());
    rows.map(|row| row[..N].iter().map(|at| &directory.members[usize::from(*at)]).collect())
        .collect()
}

/// The share of a node's slots: with as many zones as owners each zone has one of every partition, in one zone they are
/// dealt out over all; nobody has more than one of a partition.
fn share(directory: &Directory, node: &Seat, zones: usize) -> f64 {
    let partitions = f64::from(directory.partitions);
    let group = directory.members.iter().filter(|seat| zones == 1 || seat.zone == node.zone);
    let mut weights: Vec<f64> = group.map(|seat| f64::from(seat.weight)).collect();
    weights.sort_by(|a, b| b.total_cmp(a));
    let mut slots = if zones == 1 { N as f64 * partitions } else { partitions };
    let mut level = slots / weights.iter().sum::<f64>();
    for (at, weight) in weights.iter().enumerate() {
        level = slots / weights[at..].iter().sum::<f64>();
        if weight * level < partitions {
            break;
        }
        slots -= partitions;
    }
    (f64::from(node.weight) * level).min(partitions)
}

fn check(
    before: &Directory,
    after: &Directory,
    zones: usize,
    targets: &Targets,
) -> Result<(), String> {
    let rows = owners(after);
    for seat in &after.members {
        let load = rows.iter().flatten().filter(|owner| owner.node == seat.node).count() as f64;
        let share = share(after, seat, zones);
        if load > (targets.load * share).max((share - 1e-6).ceil()) {
            return Err(format!("{} has {load} slots, its share is {share:.1}", seat.name));
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let mut spanned: Vec<&str> = row.iter().map(|owner| owner.zone.as_str()).collect();
        spanned.sort_unstable();
        spanned.dedup();
        if spanned.len() < zones {
            return Err(format!("partition {number} spans {spanned:?} of {zones} zones"));
        }
    }
    let is_new = |seat: &&Seat| before.members.iter().all(|known| known.node != seat.node);
    let stay = before.members.iter().all(|seat| after.members.iter().any(|s| s.node == seat.node));
    let Some(joiner) = after.members.iter().find(is_new).filter(|_| stay) else { return Ok(()) };
    let moved = |(old, new): (&Vec<&Seat>, &Vec<&Seat>)| {
        new.iter().filter(|owner| old.iter().all(|seat| seat.node != owner.node)).count()
    };
    let moved = owners(before).iter().zip(&rows).map(moved).sum::<usize>() as f64;
    let share = share(after, joiner, zones);
    if moved > targets.join * share {
        return Err(format!("the join of {} moved {moved}, its share is {share:.1}", joiner.name));
    }
    Ok(())
}

#[test]
fn layouts_that_miss_a_target_are_noticed() {
    let seat = |node: u64, zone: u64| Seat {
        node,
        name: format!("n{node}"),
        address: "nowhere:1".into(),
        zone: format!("z{zone}"),
        weight: 1,
    };
    let directory = |members: u64, zones: u64, owners: &[[u16; 3]]| Directory {
        cluster: 1,
        layout: 1,
        hash: 0,
        partitions: owners.len() as u32,
        members: (0..members).map(|node| seat(node, node % zones)).collect(),
        buckets: Vec::new(),
        width: 3,
        owners: owners.concat(),
    };
    let targets = Targets { load: 1.05, join: 1.2 };
    let said = |before: &Directory, after: &Directory, zones| {
        check(before, after, zones, &targets).expect_err("it misses a target")
    };
    let even = directory(4, 1, &[[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]);
    assert_eq!(check(&even, &even, 1, &targets), Ok(()));
    let uneven = directory(4, 1, &[[0, 1, 2], [0, 2, 3], [2, 3, 0], [3, 0, 1]]);
    assert!(said(&even, &uneven, 1).contains("n0 has 4 slots"));
    let zoned = directory(6, 3, &[[0, 1, 2], [3, 4, 5], [0, 1, 2], [3, 4, 5]]);
    assert_eq!(check(&zoned, &zoned, 3, &targets), Ok(()));
    let crowded = directory(6, 3, &[[0, 3, 2], [1, 4, 5], [0, 1, 2], [3, 4, 5]]);
    assert!(said(&zoned, &crowded, 3).contains("partition 0 spans"));
    let three = directory(3, 1, &[[0, 1, 2]; 4]);
    assert_eq!(check(&three, &even, 1, &targets), Ok(()));
    let shuffled = directory(5, 1, &[[3, 4, 0], [0, 4, 1], [1, 2, 4], [2, 3, 1]]);
    assert!(said(&even, &shuffled, 1).contains("the join of n4 moved 7, its share is 2.4"));
}
