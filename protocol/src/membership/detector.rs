//! Failure detection: who is thought to be down (paper §4.8.3).
//!
//! It is a local opinion that chooses fallbacks and nothing else: it is never sent, and safety never depends on
//! it. A suspected peer is still written to, and gossiped with. What a node's own requests and connections tell outweighs what
//! gossip says of a peer's heartbeat: a peer that others hear and this node does not is down for this node.

use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;

use crate::id::NodeId;

/// What a node's own requests and connections tell about a peer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Evidence {
    /// It answered a request while it was suspected, or gossip at any time.
    Answered(NodeId),
    /// It did not answer a request in time.
    Silent(NodeId),
    /// The connection to the peer was closed or refused: a silence that needs no waiting.
    Closed(NodeId),
    /// A connection to the peer was opened and it answered the handshake.
    Opened(NodeId),
}

/// Why a peer is suspected: only what brought a suspicion, or what is stronger, ends it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Cause {
    /// Its heartbeat did not advance.
    Heartbeat,
    /// It did not answer this node, or its connection was closed.
    Silence,
}

/// One node's opinions, shared by its shards.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Detector(BTreeMap<NodeId, Cause>);

impl Detector {
    /// Weighs what was seen of a peer: the node and whether it is suspected now, if that changed.
    pub fn weigh(&mut self, evidence: Evidence) -> Option<(NodeId, bool)> {
        match evidence {
            Evidence::Silent(node) | Evidence::Closed(node) => {
                let before = self.0.insert(node, Cause::Silence);
                before.is_none().then_some((node, true))
            }
            Evidence::Answered(node) | Evidence::Opened(node) => {
                self.0.remove(&node).map(|_| (node, false))
            }
        }
    }

    /// A peer's heartbeat advanced, or has not for too long: the new opinion, if it changed.
    pub(crate) fn heartbeat(&mut self, node: NodeId, advances: bool) -> Option<(NodeId, bool)> {
        match self.0.get(&node) {
            None if !advances => {
                self.0.insert(node, Cause::Heartbeat);
                Some((node, true))
            }
            Some(Cause::Heartbeat) if advances => {
                self.0.remove(&node);
                Some((node, false))
            }
            None | Some(_) => None,
        }
    }

    /// Whether the peer is suspected.
    pub(crate) fn suspects(&self, node: NodeId) -> bool {
        self.0.contains_key(&node)
    }

    /// The peers that are suspected now, sorted.
    pub fn suspected(&self) -> Vec<NodeId> {
        self.0.keys().copied().collect()
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(node) => write!(f, "{node} answered"),
            Self::Silent(node) => write!(f, "{node} silent"),
            Self::Closed(node) => write!(f, "{node} closed"),
            Self::Opened(node) => write!(f, "{node} opened"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(2);

    #[test]
    fn a_silence_of_its_own_is_not_outweighed_by_a_heartbeat_that_others_pass_on() {
        let mut detector = Detector::default();
        assert_eq!(detector.weigh(Evidence::Closed(PEER)), Some((PEER, true)));
        assert_eq!(detector.heartbeat(PEER, true), None);
        assert!(detector.suspects(PEER));
        assert_eq!(detector.weigh(Evidence::Opened(PEER)), Some((PEER, false)));
    }

    #[test]
    fn a_heartbeat_that_stopped_is_taken_back_by_one_that_advances_or_by_an_answer() {
        let mut detector = Detector::default();
        assert_eq!(detector.heartbeat(PEER, false), Some((PEER, true)));
        assert_eq!(detector.heartbeat(PEER, false), None);
        assert_eq!(detector.heartbeat(PEER, true), Some((PEER, false)));
        detector.heartbeat(PEER, false);
        assert_eq!(detector.weigh(Evidence::Opened(PEER)), Some((PEER, false)));
        assert_eq!(detector.suspected(), []);
    }
}
