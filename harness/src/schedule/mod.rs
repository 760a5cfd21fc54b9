//! The plan of a campaign's faults: made from a seed before anything starts, saved, replayed.
//!
//! A planned fault carries its own end, so that a schedule from which some were taken out is still
//! one. Whatever the seed, a schedule keeps what the promise asks: fewer than half of the nodes are down
//! or paused at any moment, no more disks are lost between two quiet points than may be, three members
//! stay, and everything is over before the time limit. At a *quiet point* no fault is active; clients rest and
//! time stands still until the cluster is quiet.

mod members;
mod planner;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultKind, NodeNumber};
use planner::Planner;

/// The fewest members that a cluster is left with: as many as a key has owners.
pub const FEWEST_MEMBERS: usize = 3;

/// What a schedule is made of.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How many nodes there are at the beginning.
    pub nodes: usize,
    /// Over how many zones they are spread, one after the other.
    pub zones: usize,
    /// How long clients work, in milliseconds.
    pub time_limit_ms: u64,
    /// Which faults happen.
    pub kinds: Vec<FaultKind>,
    /// The mean time from one fault's beginning to the next one's, in milliseconds.
    pub fault_every_ms: u64,
    /// How many disks (or zones) may be lost between two quiet points: w − 1.
    pub may_lose: usize,
}

/// Faults in the order of their beginning.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// What it was made from.
    pub seed: u64,
    /// How many nodes it begins with.
    pub nodes: usize,
    /// Over how many zones they are spread.
    #[serde(default = "one")]
    pub zones: usize,
    /// The time within which it lies, in milliseconds.
    pub time_limit_ms: u64,
    /// The faults.
    pub faults: Vec<Planned>,
    /// The quiet points, in milliseconds since the clients began.
    #[serde(default)]
    pub quiet_at_ms: Vec<u64>,
}

fn one() -> usize {
    1
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

/// Something that the nemesis does at a moment.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Turn {
    /// When, in milliseconds since the clients began.
    pub at_ms: u64,
    /// What.
    pub act: Act,
}

/// What the nemesis does; at one moment in this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Act {
    /// It ends the fault at this place in [`Schedule::faults`].
    End(usize),
    /// It waits until the cluster is quiet.
    Quiet,
    /// It begins the fault at this place.
    Begin(usize),
}

/// Why a schedule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// It was made for a cluster of another shape.
    #[error("it is for {} nodes in {} zones, not for {} in {}", planned.0, planned.1, given.0, given.1)]
    OtherCluster {
        /// How many nodes in how many zones it was made for.
        planned: (usize, usize),
        /// How many there are.
        given: (usize, usize),
    },
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
    /// It makes a fresh node of one that is or was there.
    #[error("fault {number} makes a fresh node of {node}, which is or was there")]
    NotFresh {
        /// The fault's place, from 1.
        number: usize,
        /// The node.
        node: NodeNumber,
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
    /// More disks are lost than the promise allows.
    #[error(
        "fault {number} is number {lost} to lose a disk since the last quiet point, and {may_lose} may"
    )]
    TooManyLost {
        /// The fault's place, from 1.
        number: usize,
        /// How many are lost with it.
        lost: usize,
        /// How many may be.
        may_lose: usize,
    },
    /// Too few members are left.
    #[error("fault {number} leaves {left} members; the fewest are {FEWEST_MEMBERS}")]
    TooFewMembers {
        /// The fault's place, from 1.
        number: usize,
        /// How many are left.
        left: usize,
    },
    /// A quiet point at which a fault is active.
    #[error("fault {number} is active at the quiet point at {at_ms} ms")]
    NotQuiet {
        /// The fault's place, from 1.
        number: usize,
        /// The quiet point.
        at_ms: u64,
    },
}

impl Schedule {
    /// The schedule of a seed: the same for the same pace, everywhere and always.
    pub fn generate(seed: u64, pace: &Pace) -> Self {
        let (faults, quiet_at_ms) = Planner::new(seed, pace).run();
        let Pace { nodes, zones, time_limit_ms, .. } = *pace;
        Self { seed, nodes, zones, time_limit_ms, faults, quiet_at_ms }
    }

    /// Whether it fits a cluster that begins with so many nodes in so many zones, is worked on for so long and may lose so many
    /// disks between two quiet points.
    ///
    /// # Errors
    /// The first fault that does not fit, and why.
    pub fn check(
        &self,
        (nodes, zones): (usize, usize),
        time_limit_ms: u64,
        may_lose: usize,
    ) -> Result<(), ScheduleError> {
        let (planned, given) = ((self.nodes, self.zones), (nodes, zones));
        if planned != given {
            return Err(ScheduleError::OtherCluster { planned, given });
        }
        let mut places: BTreeSet<_> = (0..nodes).map(NodeNumber).collect();
        let (mut members, mut lost) = (nodes, 0);
        for turn in self.turns() {
            let place = match turn.act {
                Act::End(_) => continue,
                Act::Quiet => {
                    lost = 0;
                    self.check_quiet(turn.at_ms)?;
                    continue;
                }
                Act::Begin(place) => place,
            };
            let (number, planned) = (place + 1, &self.faults[place]);
            let fault = &planned.fault;
            if let Some(node) = fault.nodes().into_iter().find(|node| !places.contains(node)) {
                return Err(ScheduleError::NoSuchNode { number, node, nodes: places.len() });
            }
            if let Some(node) = fault.fresh() {
                if !places.insert(node) {
                    return Err(ScheduleError::NotFresh { number, node });
                }
                members += 1;
            }
            members -= usize::from(fault.gone().is_some());
            let shrinks = fault.gone().is_some() && fault.fresh().is_none();
            if shrinks && members < FEWEST_MEMBERS {
                return Err(ScheduleError::TooFewMembers { number, left: members });
            }
            lost += fault.losses();
            if fault.losses() > 0 && lost > may_lose {
                return Err(ScheduleError::TooManyLost { number, lost, may_lose });
            }
            let end_ms = planned.at_ms.saturating_add(planned.for_ms);
            if end_ms > time_limit_ms {
                return Err(ScheduleError::TooLate { number, end_ms, limit_ms: time_limit_ms });
            }
        }
        Ok(())
    }

    fn check_quiet(&self, at_ms: u64) -> Result<(), ScheduleError> {
        let is_active =
            |planned: &Planned| planned.at_ms < at_ms && at_ms < planned.at_ms + planned.for_ms;
        match self.faults.iter().position(is_active) {
            Some(place) => Err(ScheduleError::NotQuiet { number: place + 1, at_ms }),
            None => Ok(()),
        }
    }

    /// Everything that the nemesis does, in the order of time.
    pub fn turns(&self) -> Vec<Turn> {
        let faults = self.faults.iter().enumerate().flat_map(|(fault, planned)| {
            let (begin, end) = (planned.at_ms, planned.at_ms.saturating_add(planned.for_ms));
            [(begin, Act::Begin(fault)), (end, Act::End(fault))]
        });
        let quiet = self.quiet_at_ms.iter().map(|at_ms| (*at_ms, Act::Quiet));
        let mut turns: Vec<_> =
            faults.chain(quiet).map(|(at_ms, act)| Turn { at_ms, act }).collect();
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

#[cfg(test)]
mod tests;
