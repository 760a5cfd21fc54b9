//! Which suspicions were wrong, for the metrics.

use std::collections::BTreeSet;

use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::membership::Evidence;
use metrics::{Counter, Gauge, counter, gauge};

/// Counts suspicions. One was *false* if it is taken back and the peer's connection was there all the time: the peer ran, and
/// was slow, paused or out of earshot. Where the connection was lost nobody can tell.
pub(super) struct Suspicions {
    /// The peers whose connection is lost.
    lost: BTreeSet<NodeId>,
    /// The peers that are suspected though their connection was never lost since.
    doubtful: BTreeSet<NodeId>,
    all: Counter,
    wrong: Counter,
    now: Gauge,
}

impl Suspicions {
    pub(super) fn new() -> Self {
        Self {
            lost: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            all: counter!("cartwheel_suspicions_total"),
            wrong: counter!("cartwheel_false_suspicions_total"),
            now: gauge!("cartwheel_suspected"),
        }
    }

    /// A connection came or went. To be told before Membership is.
    pub(super) fn connection(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Closed(node) => {
                self.lost.insert(node);
                self.doubtful.remove(&node);
            }
            Evidence::Opened(node) => {
                self.lost.remove(&node);
            }
            Evidence::Answered(_) | Evidence::Silent(_) => {}
        }
    }

    /// Membership has changed its mind. Says whether a suspicion turned out to be false.
    pub(super) fn opinion(&mut self, node: NodeId, suspected: bool) -> bool {
        if suspected {
            self.all.increment(1);
            if !self.lost.contains(&node) {
                self.doubtful.insert(node);
            }
            return false;
        }
        let was_wrong = self.doubtful.remove(&node);
        self.wrong.increment(u64::from(was_wrong));
        was_wrong
    }

    /// So many peers are suspected now.
    pub(super) fn count(&self, suspected: usize) {
        self.now.set(suspected as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(2);

    #[test]
    fn a_suspicion_is_false_only_where_the_connection_held() {
        let mut suspicions = Suspicions::new();
        assert!(!suspicions.opinion(PEER, true));
        assert!(suspicions.opinion(PEER, false), "it was there all the time");

        suspicions.connection(Evidence::Closed(PEER));
        suspicions.opinion(PEER, true);
        suspicions.connection(Evidence::Opened(PEER));
        assert!(!suspicions.opinion(PEER, false), "its connection was lost before");

        suspicions.opinion(PEER, true);
        suspicions.connection(Evidence::Closed(PEER));
        suspicions.connection(Evidence::Opened(PEER));
        assert!(!suspicions.opinion(PEER, false), "its connection was lost meanwhile");
    }
}
