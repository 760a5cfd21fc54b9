//! Reap rounds (rules T1 and V6), as an operator sees them: one node is asked for a run of them, and tells how far it is.
//!
//! Values encoded by position, like those in [`crate::service`].

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cartwheel_protocol::{
    Freed as CoreFreed, ReapEnd as CoreEnd,
    id::{AddId, NodeId},
};
use serde::{Deserialize, Serialize};

use crate::{client::Client, error::Error};

/// Why no run was begun.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum ReapError {
    /// The node is no member, so it is the first owner of nothing.
    #[error("the node is no member of the cluster: there is nothing for it to reap")]
    NoMember,
    /// It has one under way already.
    #[error("the node has a run of reap rounds under way already")]
    UnderWay,
    /// The node is going down, or does not answer just now.
    #[error("the node does not take it now; ask again")]
    Busy,
}

/// How a node's runs of reap rounds are.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReapSeen {
    /// How many the node has begun since it started.
    pub runs: u64,
    /// How far the present one has come, from 0 to 1,000; nothing if there is none.
    pub permille: Option<u32>,
    /// How many rounds of the present or last run have come to their end.
    pub rounds: u64,
    /// How many pages of it came to nothing: a node was not fit, or silent, or the view changed, again and again.
    pub given_up: u64,
    /// Why the last run ended.
    pub end: Option<ReapEnd>,
    /// What rounds have freed at this node since it started, whoever carried them through.
    pub freed: Freed,
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ReapEnd {
    /// All that the node is the first owner of was looked at.
    Done,
    /// This node is away.
    Away(u64),
    /// The layout changes.
    Changing,
    /// The view was not raised.
    NotRaised,
}

/// What rounds have freed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Freed {
    /// Records that are gone whole.
    pub records: u64,
    /// Cancelled add_ids, those of the records included.
    pub cancelled: u64,
    /// Entries of version vectors, those of the records included.
    pub clock_entries: u64,
    /// About how many bytes that were.
    pub bytes: u64,
}

/// The newest add_id that a client with a right clock can have made so long ago: they begin with their time in
/// milliseconds (UUIDv7).
pub fn made_before(now: SystemTime, ago: Duration) -> AddId {
    const TIME_AT_BIT: u32 = 80;
    let then = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago);
    AddId(then.as_millis() << TIME_AT_BIT)
}

impl Client {
    /// Begins a run at the node at this address: one reap round after the other over all of which it is the first owner.
    /// Cancelled add_ids up to `up_to` may go.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if the node does not answer: then the run may have begun. Inside, why it did not.
    pub async fn reap_at(
        &self,
        address: &str,
        up_to: Option<AddId>,
        within: Duration,
    ) -> Result<Result<(), ReapError>, Error> {
        let asking = async |connection: &crate::Connection| connection.reap(up_to, within).await;
        self.asked_at(address, within, asking).await
    }

    /// How the runs of the node at this address are.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn reaping_at(&self, address: &str, within: Duration) -> Result<ReapSeen, Error> {
        self.asked_at(address, within, async |connection| connection.reaping(within).await).await
    }
}

impl From<CoreEnd> for ReapEnd {
    fn from(end: CoreEnd) -> Self {
        match end {
            CoreEnd::Done => Self::Done,
            CoreEnd::Away(node) => Self::Away(node.0),
            CoreEnd::Changing => Self::Changing,
            CoreEnd::NotRaised => Self::NotRaised,
        }
    }
}

impl From<CoreFreed> for Freed {
    fn from(freed: CoreFreed) -> Self {
        let CoreFreed { records, cancelled, clock_entries, bytes } = freed;
        Self { records, cancelled, clock_entries, bytes }
    }
}

impl Freed {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            cancelled: self.cancelled + other.cancelled,
            clock_entries: self.clock_entries + other.clock_entries,
            bytes: self.bytes + other.bytes,
        }
    }

    /// What came after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            records: self.records.saturating_sub(before.records),
            cancelled: self.cancelled.saturating_sub(before.cancelled),
            clock_entries: self.clock_entries.saturating_sub(before.clock_entries),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

impl fmt::Display for Freed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, cancelled, clock_entries, bytes } = self;
        write!(
            f,
            "{records} records, {cancelled} cancelled add_ids, {clock_entries} clock entries, about {bytes} bytes"
        )
    }
}

impl fmt::Display for ReapEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Away(node) => write!(f, "{} is away", NodeId(*node)),
            Self::Changing => f.write_str("the layout changes"),
            Self::NotRaised => f.write_str("the view was not raised"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_add_id;

    #[test]
    fn an_id_that_was_made_before_is_lower_and_one_made_now_is_not() {
        let now = SystemTime::now();
        let fresh = new_add_id();
        assert!(fresh > made_before(now, Duration::from_millis(1)));
        assert!(fresh < made_before(now + Duration::from_secs(60), Duration::ZERO));
        assert_eq!(made_before(now, Duration::MAX), AddId(0));
    }
}
