//! Feasible shares: how many slots each node should have.

use alloc::{vec, vec::Vec};

/// Shares are counted in this fraction of a slot.
pub(super) const SLOT: u64 = 1 << 24;

/// Rounding slack: a share this near to a whole number is that number.
const SLACK: u64 = 1 << 8;

/// Scale of the water level (slots for one unit of weight).
const SCALE_BITS: u32 = 20;

/// Whose shares are asked for.
pub(super) struct Shares<'a> {
    /// Weight of each node, at least 1.
    pub weights: &'a [u32],
    /// Zone of each node, counted from zero.
    pub zones: &'a [u16],
    /// How many zones there are.
    pub zone_count: usize,
    /// How many partitions there are.
    pub partitions: u32,
}

impl Shares<'_> {
    /// The share of each node, in [`SLOT`]s, when every partition has `size` owners (at most as many as
    /// there are nodes).
    ///
    /// In proportion to the weights, filled up like water under lids: no node can have more than one
    /// slot of a partition; a zone has at most one while there are at least `size` zones, and at least
    /// one while there are at most `size`.
    pub(super) fn of_size(&self, size: usize) -> Vec<u64> {
        let lid = u64::from(self.partitions) * SLOT;
        let most = if self.zone_count >= size { lid } else { u64::MAX };
        let least = if self.zone_count <= size { lid } else { 0 };
        let total = lid * size as u64;
        let level = self.water_level(lid, |sums| {
            sums.iter().map(|sum| (*sum).clamp(least, most)).sum::<u64>() >= total
        });
        let sums = self.zone_sums(level, lid);
        let levels: Vec<u128> = (0..self.zone_count)
            .map(|zone| match sums[zone].clamp(least, most) {
                sum if sum == sums[zone] => level,
                sum => self.water_level(lid, |sums| sums[zone] >= sum),
            })
            .collect();
        let share = |node: usize| self.at_level(node, levels[usize::from(self.zones[node])], lid);
        (0..self.weights.len()).map(share).collect()
    }

    /// The least level at which the zones' sums are enough, or the highest that makes a difference.
    fn water_level(&self, lid: u64, enough: impl Fn(&[u64]) -> bool) -> u128 {
        let (mut below, mut level) = (0, u128::from(lid) << SCALE_BITS);
        while below < level {
            let middle = (below + level) / 2;
            if enough(&self.zone_sums(middle, lid)) {
                level = middle;
            } else {
                below = middle + 1;
            }
        }
        level
    }

    fn zone_sums(&self, level: u128, lid: u64) -> Vec<u64> {
        let mut sums = vec![0; self.zone_count];
        for node in 0..self.weights.len() {
            sums[usize::from(self.zones[node])] += self.at_level(node, level, lid);
        }
        sums
    }

    fn at_level(&self, node: usize, level: u128, lid: u64) -> u64 {
        let share = (level * u128::from(self.weights[node])) >> SCALE_BITS;
        share.min(u128::from(lid)) as u64
    }
}

/// The whole numbers of slots just below and just above a share; the same for a whole share.
pub(super) fn whole_slots(share: u64) -> (u32, u32) {
    let floor = ((share + SLACK) / SLOT) as u32;
    let ceil = share.saturating_sub(SLACK).div_ceil(SLOT) as u32;
    (floor, ceil.max(floor))
}
