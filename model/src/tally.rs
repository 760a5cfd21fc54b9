//! What an exploration counts for itself, so that nobody need trust the checker's own account.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::witness::{Witness, Witnesses};

/// Counts of one exploration, outside all state.
#[derive(Debug, Default)]
pub struct Tally {
    /// What happened on the way.
    pub(crate) witnesses: Witnesses,
    /// How many unique states were judged.
    judged: AtomicU64,
    /// Set to end an exploration early: no state has successors from then on.
    stop: AtomicBool,
}

impl Tally {
    /// How many unique states were judged so far.
    pub fn judged(&self) -> u64 {
        self.judged.load(Ordering::Relaxed)
    }

    pub(crate) fn judge_one(&self) {
        self.judged.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the exploration: what is pending is judged and not continued.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was ended early.
    pub fn was_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How often each witness was seen.
    pub(crate) fn seen(&self) -> Vec<(Witness, u64)> {
        Witness::ALL.map(|witness| (witness, self.witnesses.count(witness))).to_vec()
    }
}
