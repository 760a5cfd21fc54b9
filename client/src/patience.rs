//! How long a peer may take to say that it queued what it was sent.
//!
//! A batch may be much larger than what a slow link carries in the time after which a silent peer is given up, and many
//! may be on their way at once. So only the oldest of them counts, from when those before it were answered, and it
//! has the time that a link needs which is as slow as may be.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::Limits;

/// What is on its way to a peer, in order.
pub(crate) struct Patience<'a> {
    limits: &'a Limits,
    /// How many bytes each batch has.
    sizes: VecDeque<usize>,
    /// When the one before the oldest of them was answered, or the oldest was sent.
    since: Instant,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(limits: &'a Limits, now: Instant) -> Self {
        Self { limits, sizes: VecDeque::new(), since: now }
    }

    /// Whether one more batch may be sent.
    pub(crate) fn may_send(&self) -> bool {
        self.sizes.len() < self.limits.batches_in_flight
    }

    /// Whether an answer is missing.
    pub(crate) fn waits(&self) -> bool {
        !self.sizes.is_empty()
    }

    pub(crate) fn sent(&mut self, bytes: usize, now: Instant) {
        if self.sizes.is_empty() {
            self.since = now;
        }
        self.sizes.push_back(bytes);
    }

    /// The oldest batch was answered.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.sizes.pop_front();
        self.since = now;
    }

    /// How long the oldest batch may take.
    pub(crate) fn allowed(&self) -> Duration {
        let oldest = self.sizes.front().copied().unwrap_or(0);
        let carried = oldest as f64 / f64::from(self.limits.slowest_link.max(1));
        self.limits.deliver + Duration::from_secs_f64(carried)
    }

    /// When the peer is given up if nothing is answered until then.
    pub(crate) fn due(&self) -> Instant {
        self.since + self.allowed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_batch_counts_by_its_size() {
        let second = Duration::from_secs(1);
        let limits = Limits { deliver: second, slowest_link: 100, ..Limits::default() };
        let opened = Instant::now();
        let mut patience = Patience::new(&limits, opened);
        let begun = opened + second * 50;
        patience.sent(200, begun);
        patience.sent(400, begun + second);
        assert_eq!(patience.due(), begun + second * 3);
        patience.answered(begun + second * 2);
        assert_eq!(patience.due(), begun + second * 2 + second * 5);
        patience.answered(begun + second * 4);
        assert!(!patience.waits());
    }
}
