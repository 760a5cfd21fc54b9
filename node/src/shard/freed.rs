//! What reap rounds have freed in a shard: for status and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use cartwheel_client::reaping::Freed as Seen;
use cartwheel_protocol::Freed;

/// Sums since the node started.
#[derive(Debug, Default)]
pub(crate) struct FreedCounts {
    records: AtomicU64,
    cancelled: AtomicU64,
    clock_entries: AtomicU64,
    bytes: AtomicU64,
}

impl FreedCounts {
    /// One more round has freed this.
    pub(crate) fn add(&self, freed: &Freed) {
        self.records.fetch_add(freed.records, Ordering::Relaxed);
        self.cancelled.fetch_add(freed.cancelled, Ordering::Relaxed);
        self.clock_entries.fetch_add(freed.clock_entries, Ordering::Relaxed);
        self.bytes.fetch_add(freed.bytes, Ordering::Relaxed);
    }

    /// What others are shown.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            records: self.records.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
            clock_entries: self.clock_entries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
