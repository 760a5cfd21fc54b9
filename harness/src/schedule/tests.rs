//! What schedules are made of, and what they keep.

use std::collections::BTreeSet;

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{FEWEST_MEMBERS, Pace, Planned, Schedule, ScheduleError, most_disturbed};
use crate::fault::{Fault, FaultKind, NodeNumber, WayBack, ZoneNumber};

fn default_pace() -> Pace {
    let kinds = FaultKind::DEFAULT.to_vec();
    Pace { nodes: 5, zones: 1, time_limit_ms: 60_000, kinds, fault_every_ms: 3_000, may_lose: 1 }
}

/// What changes the members for two minutes.
fn lasting_pace(nodes: usize) -> Pace {
    let kinds = [FaultKind::Membership, FaultKind::Wipe];
    let kinds = FaultKind::DEFAULT.into_iter().chain(kinds).collect();
    Pace { nodes, kinds, time_limit_ms: 120_000, ..default_pace() }
}

#[test]
fn a_seed_means_this_schedule_for_good() {
    let schedule = Schedule::generate(7, &default_pace());
    let first: Vec<_> = schedule
        .faults
        .iter()
        .take(3)
        .map(|planned| format!("{} {} {}", planned.at_ms, planned.for_ms, planned.fault))
        .collect();
    let expected = [
        "1921 4903 pause n2",
        "3873 3423 kill n5",
        "6813 1007 partition one-way n4→n1 n4→n2 n4→n3 n5→n1 n5→n2 n5→n3",
    ];
    assert_eq!(first, expected);
}

#[test]
fn a_default_minute_has_more_than_five_kills_three_partitions_three_pauses() {
    for seed in 0..2_000 {
        let counts = Schedule::generate(seed, &default_pace()).counts();
        assert!(counts[&FaultKind::Kill] > 5, "seed {seed}: {counts:?}");
        assert!(counts[&FaultKind::Partition] > 3, "seed {seed}: {counts:?}");
        assert!(counts[&FaultKind::Pause] > 3, "seed {seed}: {counts:?}");
    }
}

#[test]
fn survives_being_saved_and_loaded() {
    let schedule = Schedule::generate(1, &default_pace());
    let text = serde_json::to_string_pretty(&schedule).expect("json");
    assert_eq!(serde_json::from_str::<Schedule>(&text).expect("schedule"), schedule);
}

#[test]
fn two_minutes_have_every_change_of_the_members() {
    for (seed, nodes) in (0..1_500).map(|seed| (seed, 5 + seed as usize % 3)) {
        let schedule = Schedule::generate(seed, &lasting_pace(nodes));
        let any = |is: fn(&Fault) -> bool| schedule.faults.iter().any(|p| is(&p.fault));
        assert!(any(|fault| matches!(fault, Fault::Join { .. })), "seed {seed}");
        assert!(any(|fault| matches!(fault, Fault::Leave { .. })), "seed {seed}");
        assert!(any(|fault| matches!(fault, Fault::Replace { .. })), "seed {seed}");
        assert!(any(|fault| matches!(fault, Fault::Wipe { .. })), "seed {seed}");
        assert!((2..=8).contains(&schedule.quiet_at_ms.len()), "seed {seed}");
        assert!(schedule.counts()[&FaultKind::Kill] >= 3, "seed {seed}");
    }
}

#[test]
fn a_destroyed_zone_is_a_whole_one_and_the_others_stand() {
    let mut destroyed = 0;
    for seed in 0..300 {
        let kinds = [FaultKind::Zone, FaultKind::ZoneDestroy, FaultKind::Kill].to_vec();
        let pace = Pace { zones: 3, nodes: 6, kinds, ..lasting_pace(6) };
        let schedule = Schedule::generate(seed, &pace);
        for planned in &schedule.faults {
            if let Fault::ZoneDestroy { zone, nodes } | Fault::ZoneKill { zone, nodes } =
                &planned.fault
            {
                let of_zone: Vec<_> = (0..6).filter(|n| n % 3 == zone.0).map(NodeNumber).collect();
                assert_eq!(nodes, &of_zone, "seed {seed}");
            }
        }
        destroyed += schedule.counts().get(&FaultKind::ZoneDestroy).copied().unwrap_or(0);
    }
    assert!(destroyed > 600, "{destroyed}");
}

#[test]
fn where_no_disk_may_be_lost_none_is() {
    for seed in 0..200 {
        let schedule = Schedule::generate(seed, &Pace { may_lose: 0, ..lasting_pace(5) });
        assert!(schedule.faults.iter().all(|planned| planned.fault.losses() == 0), "seed {seed}");
        assert_eq!(schedule.quiet_at_ms, [0; 0]);
        assert!(schedule.counts().contains_key(&FaultKind::Membership), "seed {seed}");
    }
}

#[test]
fn a_disk_is_full_once_at_a_time_and_fewer_than_half_are_at_one_moment() {
    let mut together = 0;
    for seed in 0..300 {
        let kinds = [FaultKind::DiskFull, FaultKind::Kill].to_vec();
        let pace = Pace { kinds, fault_every_ms: 700, ..default_pace() };
        let schedule = Schedule::generate(seed, &pace);
        let is_full = |planned: &&Planned| planned.fault.kind() == FaultKind::DiskFull;
        for planned in schedule.faults.iter().filter(is_full) {
            let at_ms = planned.at_ms;
            let during = |p: &&Planned| p.at_ms <= at_ms && at_ms <= p.at_ms + p.for_ms;
            let active = schedule.faults.iter().filter(is_full).filter(during);
            let full: Vec<_> = active.flat_map(|planned| planned.fault.nodes()).collect();
            let distinct: BTreeSet<_> = full.iter().collect();
            assert_eq!(full.len(), distinct.len(), "seed {seed} at {at_ms} ms: {full:?}");
            assert!(full.len() <= most_disturbed(5), "seed {seed} at {at_ms} ms: {full:?}");
            together += usize::from(full.len() == 2);
        }
    }
    assert!(together > 300, "{together}");
}

#[test]
fn a_damaged_disk_is_a_lost_one_and_takes_turns_with_wiped_ones() {
    for seed in 0..300 {
        let kinds = [FaultKind::Corrupt, FaultKind::Wipe, FaultKind::Kill].to_vec();
        let schedule = Schedule::generate(seed, &Pace { kinds, ..lasting_pace(5) });
        let losses = schedule.faults.iter().filter(|planned| planned.fault.losses() > 0);
        let kinds: Vec<_> = losses.map(|planned| planned.fault.kind()).collect();
        assert!(kinds.len() > 3 && kinds.iter().zip(&kinds[1..]).all(|(a, b)| a != b), "{kinds:?}");
        assert!(schedule.quiet_at_ms.len() + 1 >= kinds.len(), "seed {seed}");
    }
}

/// A schedule of these faults, each of half a second.
fn schedule_of(faults: &[(u64, Fault)], quiet_at_ms: &[u64]) -> Schedule {
    let planned = |(at_ms, fault): &(u64, Fault)| Planned {
        at_ms: *at_ms,
        for_ms: 500,
        fault: fault.clone(),
    };
    let faults = faults.iter().map(planned).collect();
    let quiet_at_ms = quiet_at_ms.to_vec();
    Schedule { seed: 1, nodes: 5, zones: 1, time_limit_ms: 60_000, faults, quiet_at_ms }
}

fn refusal(schedule: &Schedule) -> String {
    schedule.check((5, 1), 60_000, 1).expect_err("it does not fit").to_string()
}

#[test]
fn a_schedule_for_another_cluster_is_refused() {
    let kill = |node| Fault::Kill { node: NodeNumber(node) };
    schedule_of(&[(1, kill(4))], &[]).check((5, 1), 60_000, 0).expect("it fits");
    assert_eq!(
        refusal(&schedule_of(&[(1, kill(5))], &[])),
        "fault 1 names n6, and there are 5 nodes"
    );
    assert_eq!(
        refusal(&schedule_of(&[(59_600, kill(0))], &[])),
        "fault 1 ends at 60100 ms, after the time limit of 60000 ms"
    );
    for (shape, named) in [((4, 1), "4 in 1"), ((6, 1), "6 in 1"), ((5, 3), "5 in 3")] {
        let said = schedule_of(&[], &[]).check(shape, 60_000, 1).expect_err("another shape");
        assert_eq!(said.to_string(), format!("it is for 5 nodes in 1 zones, not for {named}"));
    }
    let join = Fault::Join { node: NodeNumber(5), zone: ZoneNumber(0) };
    schedule_of(&[(1, join.clone()), (2, kill(5))], &[]).check((5, 1), 60_000, 0).expect("it fits");
    assert_eq!(
        refusal(&schedule_of(&[(1, join.clone()), (2, join)], &[])),
        "fault 2 makes a fresh node of n6, which is or was there"
    );
}

#[test]
fn a_second_lost_disk_needs_a_quiet_point() {
    let wipe = Fault::Wipe { node: NodeNumber(0), way: WayBack::Replace };
    let remove = Fault::Remove { node: NodeNumber(1), returns: true };
    let faults = [(1_000, wipe), (2_000, remove)];
    schedule_of(&faults, &[1_700]).check((5, 1), 60_000, 1).expect("quiet in between");
    schedule_of(&faults, &[]).check((5, 1), 60_000, 2).expect("two may be lost");
    for quiet_at_ms in [&[][..], &[500], &[2_800]] {
        assert_eq!(
            refusal(&schedule_of(&faults, quiet_at_ms)),
            "fault 2 is number 2 to lose a disk since the last quiet point, and 1 may"
        );
    }
    let early = schedule_of(&faults, &[1_200]);
    assert_eq!(refusal(&early), "fault 1 is active at the quiet point at 1200 ms");
}

#[test]
fn three_members_stay() {
    let leave = |node| (1_000 * node as u64, Fault::Leave { node: NodeNumber(node) });
    let schedule = schedule_of(&[leave(0), leave(1)], &[]);
    schedule.check((5, 1), 60_000, 0).expect("three are left");
    let smaller = Schedule { nodes: 4, ..schedule };
    assert!(matches!(
        smaller.check((4, 1), 60_000, 0),
        Err(ScheduleError::TooFewMembers { number: 2, left: 2 })
    ));
}

/// The nodes that are down or paused at a moment, and how many are.
fn disturbed(schedule: &Schedule, at_ms: u64) -> (Vec<NodeNumber>, usize) {
    let during =
        |planned: &&Planned| planned.at_ms <= at_ms && at_ms < planned.at_ms + planned.for_ms;
    let active: Vec<_> = schedule.faults.iter().filter(during).map(|p| &p.fault).collect();
    let nodes = active.iter().flat_map(|fault| fault.downs().to_vec()).collect();
    (nodes, active.iter().map(|fault| fault.down_count()).sum())
}

/// How many members there are at a moment, as planned.
fn members(schedule: &Schedule, at_ms: u64) -> usize {
    let begun = || schedule.faults.iter().filter(|p| p.at_ms < at_ms).map(|p| &p.fault);
    let fresh = begun().filter(|fault| fault.fresh().is_some()).count();
    schedule.nodes + fresh - begun().filter(|fault| fault.gone().is_some()).count()
}

proptest! {
    #[test]
    fn every_schedule_keeps_what_the_promise_asks(
        seed in any::<u64>(),
        nodes in 1_usize..9,
        zones in 1_usize..4,
        time_limit_ms in 0_u64..90_000,
        fault_every_ms in 0_u64..10_000,
        may_lose in 0_usize..3,
        kinds in proptest::sample::subsequence(FaultKind::ALL.to_vec(), 0..=FaultKind::ALL.len()),
    ) {
        let pace = Pace { nodes, zones, time_limit_ms, kinds, fault_every_ms, may_lose };
        let schedule = Schedule::generate(seed, &pace);
        prop_assert_eq!(&schedule, &Schedule::generate(seed, &pace));
        let checked = schedule.check((nodes, zones), time_limit_ms, may_lose);
        prop_assert!(checked.is_ok(), "{:?}", checked);
        prop_assert!(schedule.faults.is_sorted_by_key(|planned| planned.at_ms));
        for planned in &schedule.faults {
            prop_assert!(pace.kinds.contains(&planned.fault.kind()));
            let (mut busy, count) = disturbed(&schedule, planned.at_ms);
            let most = most_disturbed(members(&schedule, planned.at_ms));
            prop_assert!(count <= most, "{:?} of {}: {:?}", busy, most, planned);
            busy.sort_unstable();
            busy.dedup();
            prop_assert_eq!(busy.len(), disturbed(&schedule, planned.at_ms).0.len());
            prop_assert!(nodes < FEWEST_MEMBERS || members(&schedule, planned.at_ms) >= 3);
        }
        let turns = schedule.turns();
        prop_assert_eq!(turns.len(), 2 * schedule.faults.len() + schedule.quiet_at_ms.len());
        prop_assert!(turns.is_sorted());
    }
}

#[test]
fn different_seeds_give_different_schedules() {
    let pace = default_pace();
    assert_ne!(Schedule::generate(1, &pace).faults, Schedule::generate(2, &pace).faults);
}
