//! A count of what waits in a queue, with a limit: the bound of an inbox that itself has none.
//!
//! An inbox also takes what must never be refused (a poke of the committer, a change of opinion, the end), so
//! the channel below it is unbounded, and each kind of load from outside passes a gate of its own: clients
//! cannot crowd out peers.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// Admits at most so many at once.
#[derive(Debug)]
pub struct Gate {
    within: AtomicUsize,
    limit: usize,
}

impl Gate {
    /// A gate that nobody has passed.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { within: AtomicUsize::new(0), limit }
    }

    /// Lets in `count` at once, or none of them. Whoever finds nobody within is let in, however many they
    /// are: else they never would be.
    #[must_use]
    pub fn enter(&self, count: usize) -> bool {
        // The count orders nothing else: what is admitted travels through a channel of its own.
        let before = self.within.fetch_add(count, Ordering::Relaxed);
        let admitted = before == 0 || before + count <= self.limit;
        if !admitted {
            self.within.fetch_sub(count, Ordering::Relaxed);
        }
        admitted
    }

    /// `count` of those let in have left.
    pub fn leave(&self, count: usize) {
        let before = self.within.fetch_sub(count, Ordering::Relaxed);
        debug_assert!(before >= count, "{count} left and {before} were in");
    }

    /// How many are in, more or less: those just being refused count for a moment.
    #[must_use]
    pub fn within(&self) -> usize {
        self.within.load(Ordering::Relaxed)
    }
}
