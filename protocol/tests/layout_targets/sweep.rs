//! One by one from 3 nodes to 100 and back.

use cartwheel_protocol::{
    id::NodeId,
    layout::{Command, Layout},
};

use crate::{
    clusters::{form, member},
    measure::Ring,
};

/// Joins nodes until there are 100, then takes out one after the other until 3 are left, and hands each
/// step to `check` with the layouts before and after and the node.
fn there_and_back(
    partitions: u32,
    sizes: &[u8],
    zones: u64,
    mut check: impl FnMut(&Layout, &Layout, NodeId),
) {
    let mut layout = form((0..3).map(|n| member(n, n % zones, 1)), partitions, sizes);
    for number in 3..100 {
        let joiner = member(number, number % zones, 1);
        let next = layout.step(&[Command::Join(joiner.clone())], false).expect("a layout");
        check(&layout, &next, joiner.id);
        layout = next;
    }
    while layout.members().len() > 3 {
        let leaver = layout.members()[layout.members().len() * 5 / 7].id;
        let next = layout.step(&[Command::Leave(leaver)], true).expect("a layout");
        check(&layout, &next, leaver);
        layout = next;
    }
}

#[test]
fn three_copies_in_one_zone() {
    there_and_back(1024, &[3], 1, |before, after, node| {
        let (old, new) = (Ring::of_owners(before), Ring::of(after));
        new.check_loads(3, 1.05).expect("balance");
        new.check_moves(&old, node.0, 3, 1.2).expect("movement");
        new.check_failover(3).expect("failover");
        new.check_first_living(3).expect("failover by order");
    });
}

#[test]
fn three_copies_of_few_partitions() {
    there_and_back(64, &[3], 1, |before, after, node| {
        let (old, new) = (Ring::of_owners(before), Ring::of_owners(after));
        new.check_loads(3, 1.05).expect("balance");
        new.check_moves(&old, node.0, 3, 1.2).expect("movement");
    });
}

#[test]
fn several_sizes_in_one_zone() {
    there_and_back(1024, &[1, 2, 3, 5], 1, |before, after, node| {
        let (old, new) = (Ring::of_owners(before), Ring::of_owners(after));
        for n in [1, 2, 3, 5] {
            new.check_loads(n, 1.05).expect("balance");
            if after.members().len() > before.members().len() {
                new.check_moves(&old, node.0, n, 1.2).expect("movement");
            }
        }
        if after.members().len() % 10 == 0 {
            let new = Ring::of(after);
            for n in [2, 3, 5] {
                new.check_failover(n).expect("failover");
            }
        }
    });
}

#[test]
fn as_many_zones_as_copies() {
    there_and_back(1024, &[1, 3], 3, |before, after, node| {
        let (old, new) = (Ring::of_owners(before), Ring::of_owners(after));
        for n in [1, 3] {
            new.check_zones(n).expect("zones");
            new.check_loads(n, 1.05).expect("balance");
            if after.members().len() > before.members().len() {
                new.check_moves(&old, node.0, n, 1.5).expect("movement");
            }
        }
    });
}

#[test]
fn more_zones_than_copies() {
    there_and_back(1024, &[3], 7, |before, after, node| {
        let (old, new) = (Ring::of_owners(before), Ring::of_owners(after));
        new.check_zones(3).expect("zones");
        new.check_loads(3, 1.05).expect("balance");
        if after.members().len() > before.members().len() {
            new.check_moves(&old, node.0, 3, 1.5).expect("movement");
        }
    });
}
