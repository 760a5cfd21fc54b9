//! Rings computed from the members alone, to show that the targets can be missed.

use std::collections::BTreeMap;

use cartwheel_protocol::layout::Member;

use crate::{
    clusters::{form, member},
    measure::Ring,
};

const PARTITIONS: u64 = 1024;

fn mix(partition: u64, node: u64) -> u64 {
    let mut value = partition.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ node;
    for _ in 0..2 {
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value ^= value >> 27;
    }
    value
}

fn members(count: u64) -> Vec<Member> {
    (0..count).map(|number| member(number, number % 3, 1)).collect()
}

fn ring(members: Vec<Member>, list: impl Fn(u64, &[Member]) -> Vec<u64>) -> Ring {
    let lists = (0..PARTITIONS).map(|partition| list(partition, &members)).collect();
    Ring { lists: BTreeMap::from([(3, lists)]), members }
}

/// Highest random weight: nothing moves without need, and the loads are as chance will have it.
fn rendezvous(count: u64) -> Ring {
    ring(members(count), |partition, members| {
        let mut ids: Vec<u64> = members.iter().map(|member| member.id.0).collect();
        ids.sort_by_key(|id| mix(partition, *id));
        ids
    })
}

/// Round robin over the sorted ids: perfectly even, and everything moves.
fn round_robin(count: u64) -> Ring {
    ring(members(count), |partition, members| {
        let mut ids: Vec<u64> = members.iter().map(|member| member.id.0).collect();
        ids.sort_unstable();
        ids.rotate_left((partition % count) as usize);
        ids
    })
}

fn missed(result: Result<(), String>, what: &str) {
    let message = result.expect_err("a poor ring must miss the target");
    assert!(message.contains(what), "{message}");
}

#[test]
fn rendezvous_alone_misses_balance_and_zones() {
    let (before, after) = (rendezvous(30), rendezvous(31));
    after.check_moves(&before, members(31)[30].id.0, 3, 1.2).expect("its strength");
    missed(after.check_loads(3, 1.05), "load");
    missed(after.check_zones(3), "zones");
}

#[test]
fn round_robin_misses_movement_and_failover() {
    let (before, after) = (round_robin(30), round_robin(31));
    after.check_loads(3, 1.1).expect("its strength");
    missed(after.check_moves(&before, members(31)[30].id.0, 3, 1.2), "moves");
    missed(after.check_failover(3), "coordination");
    missed(after.check_first_living(3), "first living");
}

#[test]
fn fallbacks_next_on_the_ring_miss_failover() {
    // The right owners, with the next on a ring for fallbacks: one node gets all that a dead one had.
    let mut ring = Ring::of(&form(members(30), 1024, &[3]));
    ring.check_failover(3).expect("a good ring");
    let ids: Vec<u64> = ring.members.iter().map(|member| member.id.0).collect();
    for list in ring.lists.get_mut(&3).expect("three copies") {
        let last = ids.iter().position(|id| *id == list[2]).expect("a member");
        let next = (1..ids.len()).map(|step| ids[(last + step) % ids.len()]);
        let heir = next.into_iter().find(|id| !list[..3].contains(id)).expect("a fallback");
        list[3] = heir;
    }
    let narrow = Ring { members: ring.members.clone(), lists: ring.lists.clone() };
    missed(narrow.check_failover(3), "replicas");
    // And with one fallback for all.
    for list in ring.lists.get_mut(&3).expect("three copies") {
        list[3] = if list[..3].contains(&ids[0]) { ids[1] } else { ids[0] };
    }
    missed(ring.check_failover(3), "replicas");
}
