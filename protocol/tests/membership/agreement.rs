//! Many walks at random: whatever is lost, late, cut off or crashes, one number means one view, nobody goes back,
//! and in the end everything that was wished for is settled.

use std::cell::Cell;

use cartwheel_protocol::{
    id::NodeId,
    layout::Command,
    membership::{Staged, Wish},
    rules::Rules,
};

use crate::cluster::{Cluster, Faults, bucket, change, seeds, with_seeds};

/// A walk of some seconds with faults of every kind, then peace.
pub(crate) fn walk(seed: u64, rules: Rules) -> Result<(), String> {
    let members = 3 + seed % 3;
    let mut cluster = Cluster::new(seed, rules, members, bucket(2, 2));
    cluster.faults = Faults { delay_ms: 20 << (seed % 4), ..Faults::SOME };
    let mut wishes = 0;
    for _ in 0..30 {
        cluster.run(20 + cluster.seed % 7 * 60)?;
        disturb(&mut cluster, members, &mut wishes);
    }
    cluster.heal();
    cluster.faults = Faults::NONE;
    let down: Vec<u64> = cluster.nodes.keys().copied().filter(|n| !cluster.is_up(*n)).collect();
    down.into_iter().for_each(|node| cluster.start(node));
    cluster.wait(120_000, "everything is settled", Cluster::is_settled)
}

pub(crate) fn disturb(cluster: &mut Cluster, members: u64, wishes: &mut u128) {
    let node = 1 + cluster.random.below(members);
    match cluster.random.below(8) {
        0 | 1 if cluster.is_up(node) => cluster.crash(node),
        2 | 3 if !cluster.is_up(node) => cluster.start(node),
        4 => cluster.cut(&[node]),
        5 => cluster.heal(),
        _ if cluster.is_up(node) => {
            let of = NodeId(1 + cluster.random.below(members));
            let weight = 1 + cluster.random.below(9) as u32;
            let base = cluster.view_id(node).map_or(1, |view| view.layout);
            *wishes += 1;
            let command = match cluster.random.below(10) {
                0 if *wishes > 6 && of.0 > 2 => Command::Leave(of),
                _ => Command::Weight(of, weight),
            };
            cluster.stage(node, change(*wishes, base, command));
        }
        _ => {}
    }
}

#[test]
fn one_number_means_one_view() {
    with_seeds(seeds(300), walk);
}

/// With W = 3 and R = 1 a change must be seen by all owners before it finishes.
pub(crate) fn walk_read_one(seed: u64, rules: Rules) -> Result<(), String> {
    let mut cluster = Cluster::new(seed, rules, 4, bucket(1, 3));
    cluster.faults = Faults::SOME;
    for id in 1..=4 {
        let slow = cluster.random.below(4) + 1;
        cluster.cut(&[slow]);
        let on = 1 + slow % 4;
        cluster.stage(on, change(id, id as u64, Command::Weight(NodeId(on), 2 + id as u32)));
        cluster.run(1_500)?;
        cluster.heal();
        cluster.wait(60_000, "the change is done", Cluster::is_settled)?;
    }
    Ok(())
}

#[test]
fn a_change_finishes_when_owners_have_seen_it() {
    with_seeds(seeds(60), walk_read_one);
}

/// A joiner that is slow and one that dies: the change is amended while it is under way. Says whether it was: with some seeds
/// the two joins are in two changes.
pub(crate) fn walk_amended(seed: u64, rules: Rules) -> Result<bool, String> {
    let mut cluster = Cluster::new(seed, rules, 3, bucket(2, 2));
    cluster.faults = Faults::SOME;
    for node in [8, 9] {
        let joins = Command::Join(cluster.member(node));
        cluster.add(node, Some(joins), &[1]);
        cluster.node_mut(node).is_stuck = node == 9;
        cluster.start(node);
    }
    let both = |c: &Cluster| c.view(1).is_some_and(|view| view.change().commands.len() == 2);
    if cluster.wait(5_000, "both joins are in one change", both).is_err() {
        return cluster.checks.result().map(|()| false);
    }
    cluster.run(1_000)?;
    let commands = cluster.view(1).expect("a view").change().commands.clone();
    let of_nine = commands.iter().find(|staged| staged.wish.to_string().contains("n9"));
    let Some(of_nine) = of_nine.map(|staged| staged.id) else { return Ok(false) };
    cluster.stage(2, Staged { id: 7, base: 1, wish: Wish::Withdraw(of_nine) });
    cluster.wait(60_000, "n8 is a member without n9", |c| c.is_member(8) && c.is_settled())?;
    Ok(true)
}

#[test]
fn an_amended_change_is_caught_up_with_anew() {
    let (seeds, amended) = (seeds(60), Cell::new(0));
    with_seeds(seeds.clone(), |seed, rules| {
        amended.set(amended.get() + u64::from(walk_amended(seed, rules)?));
        Ok(())
    });
    let (amended, all) = (amended.into_inner(), seeds.end);
    assert!(amended > 0 || all < 60, "none of {all} walks had a change to amend");
}
