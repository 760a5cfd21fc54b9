//! What a shard's exchanges of trees have found: the core has no clock, so their times are kept here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cartwheel_protocol::Compared;
use cartwheel_protocol::TreeId;

/// What others may see of a shard's exchanges while it runs.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    /// How many a rotation has: one for each tree and partner.
    rotation: AtomicU64,
    /// How many of the newest in a row found equal trees since the shard last wrote.
    equal: AtomicU64,
    /// How many partitions are still to be scanned before all trees are whole.
    left: AtomicU64,
    trees: Mutex<BTreeMap<TreeId, TreeExchanges>>,
}

/// The exchanges of one tree in this run of the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeExchanges {
    /// When the last one ended that went through all that differed, if anything did.
    pub(crate) last: Instant,
    /// How many keys they found to differ.
    pub(crate) repaired: u64,
}

impl Exchanges {
    /// The shard goes by another view.
    pub(crate) fn adopted(&self, rotation: usize) {
        self.rotation.store(rotation as u64, Ordering::Relaxed);
        self.equal.store(0, Ordering::Relaxed);
    }

    /// The shard has written something: what was found equal before need not be any more.
    pub(crate) fn wrote(&self) {
        self.equal.store(0, Ordering::Relaxed);
    }

    /// Trees are being built, or are whole.
    pub(crate) fn building(&self, left: usize) {
        self.left.store(left as u64, Ordering::Relaxed);
    }

    /// An exchange has ended.
    pub(crate) fn ended(&self, tree: TreeId, outcome: Compared, now: Instant) {
        let repaired = match outcome {
            Compared::Equal => {
                self.equal.fetch_add(1, Ordering::Relaxed);
                0
            }
            Compared::Differed(keys) => {
                self.equal.store(0, Ordering::Relaxed);
                keys.into()
            }
            Compared::Missed => return self.equal.store(0, Ordering::Relaxed),
        };
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = trees.entry(tree).or_insert(TreeExchanges { last: now, repaired: 0 });
        seen.last = now;
        seen.repaired += repaired;
    }

    /// How many exchanges a rotation has, and how many in a row found equal trees: at most as many.
    pub(crate) fn equal(&self) -> (u64, u64) {
        let rotation = self.rotation.load(Ordering::Relaxed);
        (rotation, self.equal.load(Ordering::Relaxed).min(rotation))
    }

    /// How many partitions are still to be scanned.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// What became of the exchanges of a tree: how long ago the last one was, and how many keys differed.
    pub(crate) fn of(&self, tree: TreeId) -> Option<(Duration, u64)> {
        let trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        trees.get(&tree).map(|seen| (seen.last.elapsed(), seen.repaired))
    }
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::key::Partition;

    use super::*;

    const TREE: TreeId = (Partition(3), 3);

    #[test]
    fn equal_exchanges_count_in_a_row_and_since_the_last_write() {
        let (exchanges, now) = (Exchanges::default(), Instant::now());
        exchanges.adopted(3);
        for _ in 0..5 {
            exchanges.ended(TREE, Compared::Equal, now);
        }
        assert_eq!(exchanges.equal(), (3, 3));
        exchanges.wrote();
        assert_eq!(exchanges.equal(), (3, 0));
        for broken in [Compared::Missed, Compared::Differed(2)] {
            exchanges.ended(TREE, Compared::Equal, now);
            assert_eq!(exchanges.equal(), (3, 1));
            exchanges.ended(TREE, broken, now);
            assert_eq!(exchanges.equal(), (3, 0));
        }
    }

    #[test]
    fn repaired_keys_add_up_and_a_missed_exchange_is_no_full_one() {
        let (exchanges, now) = (Exchanges::default(), Instant::now());
        exchanges.ended(TREE, Compared::Missed, now);
        assert!(exchanges.of(TREE).is_none());
        exchanges.ended(TREE, Compared::Differed(2), now);
        exchanges.ended(TREE, Compared::Equal, now);
        exchanges.ended(TREE, Compared::Differed(3), now);
        assert_eq!(exchanges.of(TREE).map(|(_, repaired)| repaired), Some(5));
    }
}
