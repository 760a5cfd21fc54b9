//! What a shard's exchanges of trees have found: the core has no clock, so their times are kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::key::Partition;
use cartwheel_protocol::{Compared, TreeId};

/// A tree and with whom it is compared.
type Pair = (TreeId, NodeId);

/// What others may see of a shard's exchanges while it runs.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    /// How many a rotation has: one for each tree and partner.
    rotation: AtomicU64,
    /// How many partitions are still to be scanned before all trees are whole.
    left: AtomicU64,
    found: Mutex<Found>,
}

/// What the exchanges found.
#[derive(Debug, Default)]
struct Found {
    /// The pairs whose last exchange found equal trees, where the shard has written nothing to the partition since.
    equal: BTreeSet<Pair>,
    trees: BTreeMap<TreeId, TreeExchanges>,
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
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard goes by another view: there may be other owners. So many partitions are to be scanned: whoever sees the
    /// rotation sees that too, and does not take trees for whole that have not been begun.
    pub(crate) fn adopted(&self, rotation: usize, left: usize) {
        self.building(left);
        self.rotation.store(rotation as u64, Ordering::Release);
        self.found().equal.clear();
    }

    /// The shard has written to these partitions: what was found equal before need not be any more.
    pub(crate) fn wrote(&self, partitions: impl Iterator<Item = Partition>) {
        let mut found = self.found();
        for partition in partitions {
            let pairs = ((partition, 0), NodeId(0))..=((partition, u8::MAX), NodeId(u64::MAX));
            while let Some(pair) = found.equal.range(pairs.clone()).next().copied() {
                found.equal.remove(&pair);
            }
        }
    }

    /// Trees are being built, or are whole.
    pub(crate) fn building(&self, left: usize) {
        self.left.store(left as u64, Ordering::Relaxed);
    }

    /// An exchange has ended. One that was missed says nothing.
    pub(crate) fn ended(&self, (tree, with): Pair, outcome: Compared, now: Instant) {
        let mut found = self.found();
        let repaired = match outcome {
            Compared::Equal => {
                found.equal.insert((tree, with));
                0
            }
            Compared::Differed(keys) => {
                found.equal.remove(&(tree, with));
                keys.into()
            }
            Compared::Missed => return,
        };
        let seen = found.trees.entry(tree).or_insert(TreeExchanges { last: now, repaired: 0 });
        seen.last = now;
        seen.repaired += repaired;
    }

    /// How many exchanges a rotation has, and how many trees are known to be equal to a partner's: at most as many.
    pub(crate) fn equal(&self) -> (u64, u64) {
        let rotation = self.rotation.load(Ordering::Acquire);
        (rotation, rotation.min(self.found().equal.len() as u64))
    }

    /// How many partitions are still to be scanned.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// What became of the exchanges of a tree: how long ago the last one was, and how many keys differed.
    pub(crate) fn of(&self, tree: TreeId) -> Option<(Duration, u64)> {
        let found = self.found();
        found.trees.get(&tree).map(|seen| (seen.last.elapsed(), seen.repaired))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: TreeId = (Partition(3), 3);

    const WITH: NodeId = NodeId(7);

    #[test]
    fn equal_trees_count_once_each_until_their_partition_is_written_to() {
        let (exchanges, now) = (Exchanges::default(), Instant::now());
        exchanges.adopted(3, 5);
        assert_eq!(exchanges.left(), 5, "its trees are not whole yet");
        let other = (Partition(4), 3);
        for pair in [(TREE, WITH), (TREE, WITH), (TREE, NodeId(8)), (other, WITH)] {
            exchanges.ended(pair, Compared::Equal, now);
        }
        assert_eq!(exchanges.equal(), (3, 3));
        exchanges.wrote([Partition(3)].into_iter());
        assert_eq!(exchanges.equal(), (3, 1));
        exchanges.ended((other, WITH), Compared::Missed, now);
        assert_eq!(exchanges.equal(), (3, 1), "a missed exchange says nothing");
        exchanges.ended((other, WITH), Compared::Differed(2), now);
        assert_eq!(exchanges.equal(), (3, 0));
        exchanges.ended((other, WITH), Compared::Equal, now);
        exchanges.adopted(3, 0);
        assert_eq!(exchanges.equal(), (3, 0), "there may be other owners");
    }

    #[test]
    fn repaired_keys_add_up_and_a_missed_exchange_is_no_full_one() {
        let (exchanges, now) = (Exchanges::default(), Instant::now());
        exchanges.ended((TREE, WITH), Compared::Missed, now);
        assert!(exchanges.of(TREE).is_none());
        exchanges.ended((TREE, WITH), Compared::Differed(2), now);
        exchanges.ended((TREE, WITH), Compared::Equal, now);
        exchanges.ended((TREE, WITH), Compared::Differed(3), now);
        assert_eq!(exchanges.of(TREE).map(|(_, repaired)| repaired), Some(5));
    }
}
