//! The plan of a campaign's faults: made from a seed before anything starts, saved, replayed.
//!
//! A planned fault carries its own end, so that a schedule from which some were taken out is still
//! one. Whatever the seed, a schedule keeps what the promise asks: no fault of the vocabulary takes
//! a disk, fewer than half of the nodes are down or paused at any moment, and everything is over
//! before the time limit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::{Connections, Fault, FaultKind, NodeNumber, Shape};
use crate::rng::Rng;

/// The stream of the seed that schedules are drawn from.
const STREAM: u64 = 0x5c4e_d01e;
/// Milliseconds at the beginning of a campaign without faults.
const CALM_MS: u64 = 500;
/// The shortest fault worth planning, in milliseconds.
const SHORTEST_MS: u64 = 100;

/// What a schedule is made of.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How many nodes there are.
    pub nodes: usize,
    /// How long clients work, in milliseconds.
    pub time_limit_ms: u64,
    /// Which faults happen.
    pub kinds: Vec<FaultKind>,
    /// The mean time from one fault's beginning to the next one's, in milliseconds.
    pub fault_every_ms: u64,
}

/// Faults in the order of their beginning.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// What it was made from.
    pub seed: u64,
    /// How many nodes it is for.
    pub nodes: usize,
    /// The time within which it lies, in milliseconds.
    pub time_limit_ms: u64,
    /// The faults.
    pub faults: Vec<Planned>,
}

/// One fault with its time.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// When it begins, in milliseconds since the clients began.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds.
    pub for_ms: u64,
    /// What happens.
    pub fault: Fault,
}

/// The beginning or the end of a planned fault.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Turn {
    /// When, in milliseconds since the clients began.
    pub at_ms: u64,
    /// Whether it is the beginning.
    pub begins: bool,
    /// The fault's place in [`Schedule::faults`].
    pub fault: usize,
}

/// Why a schedule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// It names a node that the cluster does not have.
    #[error("fault {number} names {node}, and there are {nodes} nodes")]
    NoSuchNode {
        /// The fault's place, from 1.
        number: usize,
        /// The node.
        node: NodeNumber,
        /// How many there are.
        nodes: usize,
    },
    /// A fault ends after the time limit.
    #[error("fault {number} ends at {end_ms} ms, after the time limit of {limit_ms} ms")]
    TooLate {
        /// The fault's place, from 1.
        number: usize,
        /// When it ends.
        end_ms: u64,
        /// The time limit.
        limit_ms: u64,
    },
}

impl Schedule {
    /// The schedule of a seed: the same for the same pace, everywhere and always.
    pub fn generate(seed: u64, pace: &Pace) -> Self {
        let mut planner = Planner::new(seed, pace);
        planner.run();
        Self { seed, nodes: pace.nodes, time_limit_ms: pace.time_limit_ms, faults: planner.faults }
    }

    /// Whether it fits a cluster of so many nodes that is worked on for so long.
    ///
    /// # Errors
    /// The first fault that does not fit, and why.
    pub fn check(&self, nodes: usize, time_limit_ms: u64) -> Result<(), ScheduleError> {
        for (place, planned) in self.faults.iter().enumerate() {
            let number = place + 1;
            if let Some(node) = planned.fault.nodes().into_iter().find(|node| node.0 >= nodes) {
                return Err(ScheduleError::NoSuchNode { number, node, nodes });
            }
            let end_ms = planned.at_ms.saturating_add(planned.for_ms);
            if end_ms > time_limit_ms {
                return Err(ScheduleError::TooLate { number, end_ms, limit_ms: time_limit_ms });
            }
        }
        Ok(())
    }

    /// Beginnings and ends in the order of time; at one moment ends come first.
    pub fn turns(&self) -> Vec<Turn> {
        let mut turns: Vec<_> = self
            .faults
            .iter()
            .enumerate()
            .flat_map(|(fault, planned)| {
                let begin = Turn { at_ms: planned.at_ms, begins: true, fault };
                [begin, Turn { at_ms: planned.at_ms + planned.for_ms, begins: false, fault }]
            })
            .collect();
        turns.sort_unstable();
        turns
    }

    /// How many faults of each kind it plans.
    pub fn counts(&self) -> BTreeMap<FaultKind, u64> {
        let mut counts = BTreeMap::new();
        for planned in &self.faults {
            *counts.entry(planned.fault.kind()).or_default() += 1;
        }
        counts
    }
}

/// How many nodes may be down or paused at one moment: fewer than half, or the only ones there are.
pub fn most_disturbed(nodes: usize) -> usize {
    (nodes.saturating_sub(1) / 2).max(1)
}

/// A schedule being made.
struct Planner<'a> {
    rng: Rng,
    pace: &'a Pace,
    /// Kinds still to come before every kind has had its turn again.
    bag: Vec<FaultKind>,
    faults: Vec<Planned>,
}

impl<'a> Planner<'a> {
    fn new(seed: u64, pace: &'a Pace) -> Self {
        Self { rng: Rng::of(seed, STREAM), pace, bag: Vec::new(), faults: Vec::new() }
    }

    fn run(&mut self) {
        let every = self.pace.fault_every_ms.max(SHORTEST_MS);
        let room = self.pace.time_limit_ms.saturating_sub(CALM_MS);
        if self.pace.kinds.is_empty() {
            return;
        }
        for slot in 0..room / every {
            let at_ms = CALM_MS + slot * every + self.rng.below(every / 2);
            let kind = self.next_kind();
            if let Some(planned) = self.maybe_plan(kind, at_ms) {
                self.faults.push(planned);
            }
        }
    }

    /// Every kind comes up once before any comes up again.
    fn next_kind(&mut self) -> FaultKind {
        if self.bag.is_empty() {
            self.bag.clone_from(&self.pace.kinds);
            self.rng.shuffle(&mut self.bag);
        }
        self.bag.pop().unwrap_or(FaultKind::Kill)
    }

    fn maybe_plan(&mut self, kind: FaultKind, at_ms: u64) -> Option<Planned> {
        let fault = match kind {
            FaultKind::Kill => Fault::Kill { node: self.maybe_node(at_ms)? },
            FaultKind::Pause => Fault::Pause { node: self.maybe_node(at_ms)? },
            FaultKind::Partition => self.maybe_partition()?,
        };
        // Mostly short, sometimes long enough for fallbacks to take over for good.
        let longest = match kind {
            FaultKind::Kill => 4_000,
            FaultKind::Pause => 5_000,
            FaultKind::Partition => 8_000,
        };
        let left = self.pace.time_limit_ms.saturating_sub(at_ms + 1);
        let for_ms = self.rng.between(300, longest).min(left);
        (for_ms >= SHORTEST_MS).then_some(Planned { at_ms, for_ms, fault })
    }

    /// A node that is neither down nor paused. If as many are as may be, the one that has been for
    /// the longest comes back first.
    fn maybe_node(&mut self, at_ms: u64) -> Option<NodeNumber> {
        let disturbed = |planned: &Planned| {
            planned.fault.node().filter(|_| planned.at_ms + planned.for_ms >= at_ms)
        };
        let mut busy: Vec<_> = self.faults.iter().filter_map(disturbed).collect();
        while busy.len() >= most_disturbed(self.pace.nodes) {
            let oldest = self.faults.iter_mut().find(|planned| disturbed(planned).is_some())?;
            let for_ms = at_ms.checked_sub(oldest.at_ms + SHORTEST_MS / 2)?;
            if for_ms < SHORTEST_MS {
                return None;
            }
            oldest.for_ms = for_ms;
            busy = self.faults.iter().filter_map(disturbed).collect();
        }
        let free: Vec<_> =
            (0..self.pace.nodes).map(NodeNumber).filter(|node| !busy.contains(node)).collect();
        self.rng.pick(&free).copied()
    }

    fn maybe_partition(&mut self) -> Option<Fault> {
        let shape = *self.rng.pick(&Shape::possible(self.pace.nodes))?;
        // To refuse connections takes both directions.
        let stalls = self.rng.chance(0.5) || shape == Shape::OneWay;
        let connections = if stalls { Connections::Stall } else { Connections::Reset };
        let cut = shape.cut(self.pace.nodes, &mut self.rng);
        Some(Fault::Partition { shape, connections, cut })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{Pace, Planned, Schedule, most_disturbed};
    use crate::fault::{Fault, FaultKind, NodeNumber};

    fn default_pace() -> Pace {
        let kinds = FaultKind::ALL.to_vec();
        Pace { nodes: 5, time_limit_ms: 60_000, kinds, fault_every_ms: 3_000 }
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
    fn a_schedule_for_another_cluster_is_refused() {
        let mut schedule = Schedule::generate(1, &default_pace());
        schedule.check(5, 60_000).expect("its own cluster");
        let kill = Fault::Kill { node: NodeNumber(5) };
        schedule.faults.insert(0, Planned { at_ms: 1, for_ms: 1, fault: kill });
        let refused = schedule.check(5, 60_000).expect_err("there is no n6").to_string();
        assert_eq!(refused, "fault 1 names n6, and there are 5 nodes");
        schedule.faults[0] =
            Planned { at_ms: 59_000, for_ms: 2_000, fault: Fault::Pause { node: NodeNumber(0) } };
        let refused = schedule.check(5, 60_000).expect_err("too late").to_string();
        assert_eq!(refused, "fault 1 ends at 61000 ms, after the time limit of 60000 ms");
    }

    /// The nodes that are down or paused at a moment.
    fn disturbed(schedule: &Schedule, at_ms: u64) -> Vec<NodeNumber> {
        let during =
            |planned: &&Planned| planned.at_ms <= at_ms && at_ms < planned.at_ms + planned.for_ms;
        schedule.faults.iter().filter(during).filter_map(|planned| planned.fault.node()).collect()
    }

    proptest! {
        #[test]
        fn every_schedule_keeps_what_the_promise_asks(
            seed in any::<u64>(),
            nodes in 1_usize..9,
            time_limit_ms in 0_u64..90_000,
            fault_every_ms in 0_u64..10_000,
            kinds in proptest::sample::subsequence(FaultKind::ALL.to_vec(), 0..=3),
        ) {
            let pace = Pace { nodes, time_limit_ms, kinds, fault_every_ms };
            let schedule = Schedule::generate(seed, &pace);
            prop_assert_eq!(&schedule, &Schedule::generate(seed, &pace));
            prop_assert!(schedule.check(nodes, time_limit_ms).is_ok());
            prop_assert!(schedule.faults.is_sorted_by_key(|planned| planned.at_ms));
            for planned in &schedule.faults {
                prop_assert!(pace.kinds.contains(&planned.fault.kind()));
                let mut busy = disturbed(&schedule, planned.at_ms);
                prop_assert!(busy.len() <= most_disturbed(nodes), "{:?}", busy);
                busy.sort_unstable();
                busy.dedup();
                prop_assert_eq!(busy.len(), disturbed(&schedule, planned.at_ms).len());
            }
            let turns = schedule.turns();
            prop_assert_eq!(turns.len(), 2 * schedule.faults.len());
            prop_assert!(turns.is_sorted());
        }
    }

    #[test]
    fn different_seeds_give_different_schedules() {
        let pace = default_pace();
        assert_ne!(Schedule::generate(1, &pace).faults, Schedule::generate(2, &pace).faults);
    }
}
