//! The members that a schedule being made counts on.

use std::collections::BTreeMap;

use crate::fault::{NodeNumber, ZoneNumber};

/// How long a node has been a member before it is counted on as one, in milliseconds: until then its join may
/// be under way.
const SETTLED_AFTER_MS: u64 = 8_000;

/// Who is at which place, as planned.
#[derive(Clone, Debug)]
pub(super) struct Members {
    seats: BTreeMap<NodeNumber, Seat>,
    /// The next place that nobody has had.
    next: usize,
    zones: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    zone: ZoneNumber,
    /// When it can be counted on.
    settled_ms: u64,
    weight: u32,
}

impl Members {
    pub(super) fn new(nodes: usize, zones: usize) -> Self {
        let zones = zones.max(1);
        let seat = |node| {
            (NodeNumber(node), Seat { zone: ZoneNumber(node % zones), settled_ms: 0, weight: 1 })
        };
        Self { seats: (0..nodes).map(seat).collect(), next: nodes, zones }
    }

    pub(super) fn count(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn all(&self) -> Vec<NodeNumber> {
        self.seats.keys().copied().collect()
    }

    /// Those that can be counted on at a moment.
    pub(super) fn settled(&self, at_ms: u64) -> Vec<NodeNumber> {
        let settled = self.seats.iter().filter(|(_, seat)| seat.settled_ms <= at_ms);
        settled.map(|(node, _)| *node).collect()
    }

    /// Those of the zones with the most members: a zone that is no more than others loses none.
    pub(super) fn in_full_zones(&self, among: Vec<NodeNumber>) -> Vec<NodeNumber> {
        let most = self.zones().into_iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
        let full = |node: &NodeNumber| {
            self.zone(*node).is_some_and(|zone| self.of_zone(zone).len() == most)
        };
        among.into_iter().filter(full).collect()
    }

    /// Every zone with its members.
    pub(super) fn zones(&self) -> Vec<(ZoneNumber, Vec<NodeNumber>)> {
        (0..self.zones).map(ZoneNumber).map(|zone| (zone, self.of_zone(zone))).collect()
    }

    /// The first of the zones with the fewest members.
    pub(super) fn emptiest(&self) -> ZoneNumber {
        let zones = self.zones().into_iter();
        zones.min_by_key(|(_, nodes)| nodes.len()).map_or(ZoneNumber(0), |(zone, _)| zone)
    }

    /// A member's weight.
    pub(super) fn weight(&mut self, node: NodeNumber) -> Option<&mut u32> {
        self.seats.get_mut(&node).map(|seat| &mut seat.weight)
    }

    /// A fresh node becomes a member at this moment; gives its place.
    pub(super) fn join(&mut self, zone: ZoneNumber, at_ms: u64) -> NodeNumber {
        let node = NodeNumber(self.next);
        self.next += 1;
        self.seats.insert(node, Seat { zone, settled_ms: at_ms + SETTLED_AFTER_MS, weight: 1 });
        node
    }

    /// A fresh node takes the seat of another; gives its place.
    pub(super) fn replace(&mut self, old: NodeNumber, at_ms: u64) -> NodeNumber {
        let zone = self.zone(old).unwrap_or_else(|| self.emptiest());
        self.leave(old);
        self.join(zone, at_ms)
    }

    pub(super) fn leave(&mut self, node: NodeNumber) {
        self.seats.remove(&node);
    }

    /// A member's disk is another from now on.
    pub(super) fn unsettle(&mut self, node: NodeNumber, at_ms: u64) {
        if let Some(seat) = self.seats.get_mut(&node) {
            seat.settled_ms = at_ms + SETTLED_AFTER_MS;
        }
    }

    fn zone(&self, node: NodeNumber) -> Option<ZoneNumber> {
        self.seats.get(&node).map(|seat| seat.zone)
    }

    fn of_zone(&self, zone: ZoneNumber) -> Vec<NodeNumber> {
        let nodes = self.seats.iter().filter(|(_, seat)| seat.zone == zone);
        nodes.map(|(node, _)| *node).collect()
    }
}
