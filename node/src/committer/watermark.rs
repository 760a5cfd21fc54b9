//! The watermarks: how far each shard's steps are durable, told from the committer to the shards.
//!
//! Per shard there is a mark, a *poked* flag and, in the shard's inbox, at most one poke. The committer
//! moves the mark and pokes the shard unless a poke is already on its way; the shard, when it meets the
//! poke, takes the flag down **and then** reads the mark. In this order a mark that moves meanwhile either
//! is read or pokes again. So a poke needs one place in the inbox, and handing it over never blocks.
//!
//! Both sides change the flag by a read-modify-write with acquire and release: whoever finds it up knows
//! that the other side's next look at the mark sees what was stored before.

use super::ShardId;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Tells a shard that its mark has moved, here to the given step. Called by the committer's thread; it must
/// not block, and it is called again only after the shard has [taken](Watermarks::take) its mark.
pub type Wake = Box<dyn Fn(ShardId, u64) + Send + Sync>;

/// How far the steps of each shard of a node are durable.
pub struct Watermarks {
    marks: Box<[Mark]>,
    wake: Wake,
}

struct Mark {
    durable: AtomicU64,
    poked: AtomicBool,
}

impl Watermarks {
    /// The marks of as many shards as `durable` has elements: each shard's newest durable step at the start.
    #[must_use]
    pub fn new(durable: &[u64], wake: Wake) -> Self {
        let mark =
            |step: &u64| Mark { durable: AtomicU64::new(*step), poked: AtomicBool::new(false) };
        Self { marks: durable.iter().map(mark).collect(), wake }
    }

    /// For the committer: the steps of `shard` up to `step` are durable.
    ///
    /// # Panics
    /// When there is no such shard, or its mark would not move forward: a bug of the shard.
    pub fn advance(&self, shard: ShardId, step: u64) {
        let mark = self.mark(shard);
        // Only the committer stores, so this is what it stored last.
        let before = mark.durable.load(Ordering::Relaxed);
        assert!(before < step, "{shard} sent step {step} after step {before}");
        mark.durable.store(step, Ordering::Release);
        if !mark.poked.swap(true, Ordering::AcqRel) {
            (self.wake)(shard, step);
        }
    }

    /// For the shard, when it was woken: its newest durable step. From here on it will be woken again.
    ///
    /// # Panics
    /// When there is no such shard.
    #[must_use]
    pub fn take(&self, shard: ShardId) -> u64 {
        let mark = self.mark(shard);
        mark.poked.swap(false, Ordering::AcqRel);
        mark.durable.load(Ordering::Acquire)
    }

    /// The newest durable step of `shard`, without a change to who is woken.
    ///
    /// # Panics
    /// When there is no such shard.
    #[must_use]
    pub fn durable(&self, shard: ShardId) -> u64 {
        self.mark(shard).durable.load(Ordering::Acquire)
    }

    fn mark(&self, shard: ShardId) -> &Mark {
        &self.marks[usize::from(shard.0)]
    }
}
