//! Fallbacks: who holds a silent owner's slot, in weighted rendezvous order.
//!
//! A node's score for a partition is `-log2(h) / weight`, where `h` in (0, 1] is a hash of both, and the
//! lowest score comes first: the place of each node is a fair draw in proportion to the weights, for
//! each partition anew, and a member that comes or goes leaves the order of the others as it is. The
//! logarithm is an integer (8 bits before the point, 24 behind it), squared out bit by bit, and scores
//! are compared crosswise, so that every platform finds the same order.

use alloc::vec::Vec;

use xxhash_rust::xxh3::xxh3_64;

use super::Layout;
use crate::{id::NodeId, key::Partition};

/// Bits of the logarithm behind the point.
const FRACTION_BITS: u32 = 24;

impl Layout {
    /// The members that are not among the first `n` owners of a partition, in rendezvous order: the
    /// first that is well holds a silent owner's slot.
    pub fn fallbacks(&self, partition: Partition, n: u8) -> impl Iterator<Item = NodeId> {
        let mut list = self.preference_list(partition, n);
        list.drain(..self.owner_indexes(partition).len().min(usize::from(n)));
        list.into_iter()
    }

    /// All members as a bucket of size `n` prefers them for a partition: the first `n` owners, then the
    /// fallbacks.
    pub fn preference_list(&self, partition: Partition, n: u8) -> Vec<NodeId> {
        let owners = self.owner_indexes(partition);
        let owners = &owners[..owners.len().min(usize::from(n))];
        let mut draws: Vec<Draw> = (0..self.members.len() as u16)
            .filter(|index| !owners.contains(index))
            .map(|index| self.draw(partition, index))
            .collect();
        draws.sort_unstable_by(Draw::order);
        let rest = draws.iter().map(|draw| draw.index);
        owners.iter().copied().chain(rest).map(|i| self.members[usize::from(i)].id).collect()
    }

    fn draw(&self, partition: Partition, index: u16) -> Draw {
        let member = &self.members[usize::from(index)];
        let hash = tie(member.id, partition.0);
        Draw { distance: negative_log2(hash), weight: u64::from(member.weight), hash, index }
    }
}

/// One node's draw for a partition.
struct Draw {
    /// `-log2` of the hash as a fraction of 1.
    distance: u64,
    weight: u64,
    hash: u64,
    index: u16,
}

impl Draw {
    /// By `distance / weight`, then by hash, then by id.
    fn order(&self, other: &Self) -> core::cmp::Ordering {
        let (ours, theirs) = (self.distance * other.weight, other.distance * self.weight);
        ours.cmp(&theirs).then(other.hash.cmp(&self.hash)).then(self.index.cmp(&other.index))
    }
}

/// The hash of a node and a partition: what draws and ties are decided by.
pub(super) fn tie(node: NodeId, partition: u32) -> u64 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&node.0.to_le_bytes());
    bytes[8..].copy_from_slice(&partition.to_le_bytes());
    xxh3_64(&bytes)
}

/// `-log2((hash + 1) / 2^64)`, rounded up to [`FRACTION_BITS`] bits behind the point.
fn negative_log2(hash: u64) -> u64 {
    let Some(value) = hash.checked_add(1) else { return 0 };
    let zeros = value.leading_zeros();
    let mut mantissa = value << zeros;
    let mut fraction = 0;
    for _ in 0..FRACTION_BITS {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let carry = (square >> 127) as u64;
        mantissa = (square >> (63 + carry)) as u64;
        fraction = fraction << 1 | carry;
    }
    (u64::from(zeros + 1) << FRACTION_BITS) - fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_is_exact_at_powers_of_two_and_monotone_between() {
        for power in 0..64 {
            let expected = (64 - power) << FRACTION_BITS;
            assert_eq!(negative_log2((1 << power) - 1), expected, "2^{power}");
        }
        assert_eq!(negative_log2(u64::MAX), 0);
        // -log2(0.75) = 0.415037499...
        let three_quarters = negative_log2((3 << 62) - 1);
        assert_eq!(three_quarters, (0.415_037_499_278_844_f64 * 16_777_216.0).ceil() as u64);
        let mut previous = u64::MAX;
        for hash in (0..1_000).map(|step| step * (u64::MAX / 1_000)) {
            let distance = negative_log2(hash);
            assert!(distance < previous, "{hash}");
            previous = distance;
        }
    }
}
