//! Membership: what a node thinks of its peers. For now only failure detection.
//!
//! Failure detection is a local opinion that chooses fallbacks and nothing else: it is never sent and safety
//! never depends on it (paper §4.8.3). A suspected peer is still written to, and taken back at its first answer.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    id::NodeId,
    step::{Fact, Input},
};

/// One node's opinions, shared by its shards.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Membership {
    suspected: Vec<NodeId>,
}

/// What a node learns about a peer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Evidence {
    /// A shard's own requests told.
    Reported(Fact),
    /// The connection to the peer was closed or refused: a silence that needs no waiting.
    Closed(NodeId),
    /// A connection to the peer was opened and it answered the handshake.
    Opened(NodeId),
}

impl Membership {
    /// A node that suspects nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Weighs evidence; a change of opinion is to be given to every shard.
    pub fn step(&mut self, evidence: Evidence) -> Option<Input> {
        let (node, suspected) = match evidence {
            Evidence::Reported(Fact::Silent(node)) | Evidence::Closed(node) => (node, true),
            Evidence::Reported(Fact::Answered(node)) | Evidence::Opened(node) => (node, false),
        };
        match self.suspected.binary_search(&node) {
            Err(at) if suspected => self.suspected.insert(at, node),
            Ok(at) if !suspected => {
                self.suspected.remove(at);
            }
            Ok(_) | Err(_) => return None,
        }
        Some(Input::Suspect { node, suspected })
    }

    /// The peers that are suspected now, sorted.
    pub fn suspected(&self) -> &[NodeId] {
        &self.suspected
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported(fact) => fact.fmt(f),
            Self::Closed(node) => write!(f, "{node} closed"),
            Self::Opened(node) => write!(f, "{node} opened"),
        }
    }
}
