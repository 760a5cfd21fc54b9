//! Pages of background work that peers have asked for: each waits for its turn, so that requests come first.
//!
//! To whoever asks this is a slow network: it asks again, or another.

use std::collections::VecDeque;
use std::time::Instant;

use cartwheel_protocol::Message;
use cartwheel_protocol::id::NodeId;

/// How many wait at most. A peer has a few under way at a time.
const MOST: usize = 256;

/// The queue of one shard.
#[derive(Debug, Default)]
pub(super) struct Held {
    queue: VecDeque<(NodeId, Message)>,
    /// Before this none is given.
    rests_until: Option<Instant>,
}

impl Held {
    /// Keeps what a peer asked, once however often it asks. False if there is no room.
    pub(super) fn push(&mut self, from: NodeId, message: Message) -> bool {
        let asked = (from, message);
        if self.queue.contains(&asked) {
            return true;
        }
        let has_room = self.queue.len() < MOST;
        if has_room {
            self.queue.push_back(asked);
        }
        has_room
    }

    /// When the first one's turn comes, if it was not in the turn in which it came.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.front().and(self.rests_until)
    }

    /// The first one, if it is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<(NodeId, Message)> {
        let rests = self.rests_until.is_some_and(|until| now < until);
        if rests { None } else { self.queue.pop_front() }
    }

    /// The next one must wait so long.
    pub(super) fn rest(&mut self, until: Instant) {
        self.rests_until = Some(until);
    }
}
