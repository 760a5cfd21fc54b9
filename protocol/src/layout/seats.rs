//! The table that a step works on: seats, loads and shares.

use alloc::{vec, vec::Vec};
use core::{cmp::Reverse, ops::Range};

use super::{
    fallback::tie,
    share::{SLOT, Shares, whole_slots},
};
use crate::id::NodeId;

/// A seat that nobody holds.
pub(super) const VACANT: u16 = u16::MAX;

/// Who should own how much of what, and who does. Nodes are counted from zero in the order of ids.
pub(super) struct Seats {
    ids: Vec<NodeId>,
    zones: Vec<u16>,
    zone_count: usize,
    /// Whether the weights differ and there are several zones: then loads are even only by chains of moves.
    is_uneven: bool,
    partitions: u32,
    /// Owners for each partition.
    width: usize,
    /// One for each `n` in use (at most `width`), ascending; the last ends at `width`.
    pub levels: Vec<Level>,
    /// Which level a rank belongs to: the first that includes it.
    level_of: Vec<usize>,
    /// `width` nodes for each partition, by rank.
    rows: Vec<u16>,
    /// How many first owners of each partition are counted as acquainted: those of the lowest level that
    /// has more than one.
    circle: usize,
    /// In how many partitions two nodes are in the circle together.
    together: Vec<u32>,
}

/// The first `end` owners of every partition.
pub(super) struct Level {
    /// How many ranks it includes.
    pub end: usize,
    /// How many distinct zones they must span.
    zones_needed: usize,
    /// How many slots each node has.
    pub loads: Vec<u32>,
    /// How many it should have, in fractions of a slot.
    shares: Vec<u64>,
    /// The share, rounded down.
    pub least: Vec<u32>,
    /// The share, rounded up.
    pub most: Vec<u32>,
    /// How many slots have got another owner in this step.
    changes: usize,
    /// With so many the step evens out no further than it must.
    enough: usize,
}

/// How much a node wants or can spare a slot; the least comes first. What its level says (0: it should
/// get or give one, 1: it may, 2: it should not), the same of all higher levels together, its load in
/// relation to its share.
pub(super) type Urgency<R> = (u8, u8, R);

impl Seats {
    /// An empty table for these nodes (id, weight and zone, by id) and sizes (ascending, not empty).
    pub(super) fn new(
        nodes: &[(NodeId, u32, u16)],
        zone_count: usize,
        partitions: u32,
        sizes: &[u8],
    ) -> Self {
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.0).collect();
        let weights: Vec<u32> = nodes.iter().map(|node| node.1).collect();
        let zones: Vec<u16> = nodes.iter().map(|node| node.2).collect();
        let shares = Shares { weights: &weights, zones: &zones, zone_count, partitions };
        let mut ends: Vec<usize> =
            sizes.iter().map(|&size| usize::from(size).min(nodes.len())).collect();
        ends.dedup();
        let levels: Vec<Level> = ends.iter().map(|&end| Level::new(end, &shares)).collect();
        let width = ends.last().copied().unwrap_or(0);
        let level_of = (0..width).map(|rank| ends.partition_point(|&end| end <= rank)).collect();
        let rows = vec![VACANT; partitions as usize * width];
        let circle = ends.iter().copied().find(|&end| end > 1).unwrap_or(width);
        let together = vec![0; nodes.len() * nodes.len()];
        let is_uneven = zone_count > 1 && weights.iter().any(|weight| *weight != weights[0]);
        Self {
            ids,
            zones,
            zone_count,
            is_uneven,
            partitions,
            width,
            levels,
            level_of,
            rows,
            circle,
            together,
        }
    }

    /// Seats a node at a vacant seat of a partition in which it has none.
    pub(super) fn seat(&mut self, partition: u32, rank: usize, node: u16) {
        debug_assert_eq!(self.row(partition)[rank], VACANT, "the seat is taken");
        self.transfer(partition, rank, node);
    }

    pub(super) fn node_count(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn partitions(&self) -> Range<u32> {
        0..self.partitions
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The ranks that belong to a level and to none below it.
    pub(super) fn ranks(&self, level: usize) -> Range<usize> {
        let start = if level == 0 { 0 } else { self.levels[level - 1].end };
        start..self.levels[level].end
    }

    /// The owners of a partition by rank.
    pub(super) fn row(&self, partition: u32) -> &[u16] {
        let start = partition as usize * self.width;
        &self.rows[start..start + self.width]
    }

    /// All seats, partition by partition.
    ///
    /// # Panics
    /// If one is vacant: there are no more seats than nodes, so that a bug here left it so.
    pub(super) fn into_rows(self) -> Vec<u16> {
        assert!(!self.rows.contains(&VACANT), "layout step left a seat vacant");
        self.rows
    }

    /// The rank of a node in a partition.
    pub(super) fn rank_of(&self, partition: u32, node: u16) -> Option<usize> {
        self.row(partition).iter().position(|&owner| owner == node)
    }

    /// By what ties between nodes are broken.
    pub(super) fn tie(&self, partition: u32, node: u16) -> u64 {
        tie(self.ids[usize::from(node)], partition)
    }

    /// How often a node is in a circle together with those whom it meets at this rank. The fewer the
    /// better: the work of a dead node is then spread over many.
    pub(super) fn acquaintance(&self, partition: u32, rank: usize, node: u16) -> u32 {
        if rank >= self.circle {
            return 0;
        }
        let circle = self.row(partition)[..self.circle].iter();
        let others = circle.filter(|&&owner| owner != VACANT && owner != node);
        others.map(|&owner| self.together[self.pair(node, owner)]).sum()
    }

    /// Whether a node can take a seat: it is not among the owners of the seat's level or below, and no
    /// level then spans fewer zones than it must. A node with a seat in a higher level swaps.
    pub(super) fn admits(&self, partition: u32, rank: usize, node: u16) -> bool {
        let row = self.row(partition);
        let seat = row.iter().position(|&owner| owner == node);
        if seat.is_some_and(|seat| self.level_of[seat] <= self.level_of[rank]) {
            return false;
        }
        let holder = row[rank];
        if self.zone_count == 1 || holder != VACANT && self.zone(holder) == self.zone(node) {
            return true;
        }
        let after = |at: usize| match at {
            _ if at == rank => node,
            _ if Some(at) == seat => holder,
            _ => row[at],
        };
        let affected = self.level_of[rank]..seat.map_or(self.levels.len(), |s| self.level_of[s]);
        self.levels[affected].iter().all(|level| self.spans(level, after))
    }

    /// Whether a level of a partition spans as many zones as it must, or still can.
    pub(super) fn is_spread(&self, partition: u32, level: usize) -> bool {
        let row = self.row(partition);
        self.spans(&self.levels[level], |rank| row[rank])
    }

    fn spans(&self, level: &Level, owner: impl Fn(usize) -> u16) -> bool {
        let distinct = (0..level.end).filter(|&rank| {
            let node = owner(rank);
            node == VACANT
                || (0..rank).all(|r| owner(r) == VACANT || !self.neighbours(owner(r), node))
        });
        distinct.count() >= level.zones_needed
    }

    /// Whether two nodes share a zone.
    pub(super) fn neighbours(&self, a: u16, b: u16) -> bool {
        self.zone(a) == self.zone(b)
    }

    fn zone(&self, node: u16) -> u16 {
        self.zones[usize::from(node)]
    }

    /// Gives a seat to a node that it admits. If the node had one in a higher level, that one goes to
    /// the former holder.
    pub(super) fn transfer(&mut self, partition: u32, rank: usize, node: u16) {
        let holder = self.row(partition)[rank];
        let seat = self.rank_of(partition, node);
        let start = partition as usize * self.width;
        if rank < self.circle && seat.is_none_or(|seat| seat >= self.circle) {
            self.acquaint(partition, holder, -1);
            self.rows[start + rank] = node;
            self.acquaint(partition, node, 1);
        }
        self.rows[start + rank] = node;
        if let Some(seat) = seat {
            self.rows[start + seat] = holder;
        }
        let affected = self.level_of[rank]..seat.map_or(self.levels.len(), |s| self.level_of[s]);
        for level in &mut self.levels[affected] {
            level.changes += 1;
            if holder != VACANT {
                level.loads[usize::from(holder)] -= 1;
            }
            level.loads[usize::from(node)] += 1;
        }
    }

    /// Swaps two seats of a partition within one level: nothing but the order changes.
    pub(super) fn reorder(&mut self, partition: u32, rank: usize, other: usize) {
        debug_assert_eq!(self.level_of[rank], self.level_of[other], "data would move");
        let start = partition as usize * self.width;
        self.rows.swap(start + rank, start + other);
    }

    fn acquaint(&mut self, partition: u32, node: u16, change: i32) {
        if node == VACANT {
            return;
        }
        for rank in 0..self.circle {
            let other = self.row(partition)[rank];
            if other != VACANT && other != node {
                for pair in [self.pair(node, other), self.pair(other, node)] {
                    self.together[pair] = self.together[pair].wrapping_add_signed(change);
                }
            }
        }
    }

    fn pair(&self, a: u16, b: u16) -> usize {
        usize::from(a) * self.ids.len() + usize::from(b)
    }

    /// From here on slots that get another owner are counted: all are where they were.
    pub(super) fn count_changes(&mut self) {
        for level in &mut self.levels {
            level.changes = 0;
        }
    }

    /// No more slots are to change for evenness alone when two fifths more than the newcomers' shares have.
    pub(super) fn limit_changes(&mut self, newcomers: &[u16]) {
        for level in &mut self.levels {
            let share: u64 = newcomers.iter().map(|node| level.shares[usize::from(*node)]).sum();
            level.enough = (share / SLOT * 7 / 5) as usize;
        }
    }

    /// Whether slots of a level may move only to make loads more even.
    pub(super) fn may_even_out(&self, level: usize) -> bool {
        self.levels[level..].iter().all(|level| level.changes < level.enough)
    }

    /// How many slots of a level a node may be left with: its share rounded up, or a little more than its share, by a fifth where
    /// weights differ over several zones.
    pub(super) fn bearable(&self, level: usize, node: u16) -> u32 {
        let percent = if self.is_uneven { 120 } else { 104 };
        let (level, node) = (&self.levels[level], usize::from(node));
        level.most[node].max((level.shares[node] * percent / (100 * SLOT)) as u32)
    }

    /// How much a node wants a slot of a level.
    pub(super) fn want(&self, level: usize, node: u16) -> Urgency<u64> {
        let node = usize::from(node);
        let class = |level: &Level| match level.loads[node] {
            load if load < level.least[node] => 0,
            load if load < level.most[node] => 1,
            _ => 2,
        };
        let own = &self.levels[level];
        let upper = self.levels[level + 1..].iter().map(class).sum();
        (class(own), upper, own.relative(node, 2 * own.loads[node] + 1))
    }

    /// How well a node can spare a slot of a level.
    pub(super) fn spare(&self, level: usize, node: u16) -> Urgency<Reverse<u64>> {
        let node = usize::from(node);
        let class = |level: &Level| match level.loads[node] {
            load if load > level.most[node] => 0,
            load if load > level.least[node] => 1,
            _ => 2,
        };
        let own = &self.levels[level];
        let upper = self.levels[level + 1..].iter().map(class).sum();
        let relative = own.relative(node, (2 * own.loads[node]).saturating_sub(1));
        (class(own), upper, Reverse(relative))
    }
}

impl Level {
    fn new(end: usize, shares: &Shares<'_>) -> Self {
        let zones_needed = end.min(shares.zone_count);
        let loads = vec![0; shares.weights.len()];
        let shares = shares.of_size(end);
        let (least, most) = shares.iter().map(|&share| whole_slots(share)).unzip();
        let (changes, enough) = (0, usize::MAX);
        Self { end, zones_needed, loads, shares, least, most, changes, enough }
    }

    /// `half_slots` in relation to the share, for comparison: at most 2 x 65,536 + 1 of them.
    fn relative(&self, node: usize, half_slots: u32) -> u64 {
        const BITS: u32 = 46;
        (u64::from(half_slots) << BITS) / self.shares[node].max(1)
    }
}
