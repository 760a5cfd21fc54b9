//! Whom this node dials: those whose addresses membership knows, its seeds, and whoever dialled it.
//!
//! A node that is no member yet, or comes back from another address, is in no layout and in no gossip under that
//! address. It says it when it dials; without dialling it back it could not be answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use cartwheel_client::{Dropped, TcpPeers};
use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::membership::MemberMessage;
use metrics::{Counter, counter};
use tokio::runtime::Handle;

use crate::metrics::{dropped, unconnected};

/// So many nodes' own words about where they are reached are remembered.
const REMEMBERED_AT_MOST: usize = 1_024;
/// So many nodes of which only that is known are dialled at most.
const GREETED_AT_MOST: usize = 256;

/// The ways to other nodes.
pub(crate) struct Peers {
    me: NodeId,
    transport: Arc<TcpPeers>,
    /// Where the transport's tasks run.
    runtime: Handle,
    seeds: BTreeMap<NodeId, Arc<str>>,
    /// Where nodes said that they are reached when they dialled last.
    said: BTreeMap<NodeId, Arc<str>>,
    /// Those that are dialled because they said so.
    greeted: BTreeMap<NodeId, Arc<str>>,
    /// Who is dialled now.
    dialled: BTreeMap<NodeId, Arc<str>>,
    sent: Counter,
    full: Counter,
    unconnected: Counter,
}

impl Peers {
    /// For use within a tokio runtime, which will run the connections.
    pub(crate) fn new(me: NodeId, transport: Arc<TcpPeers>) -> Self {
        Self {
            me,
            transport,
            runtime: Handle::current(),
            seeds: BTreeMap::new(),
            said: BTreeMap::new(),
            greeted: BTreeMap::new(),
            dialled: BTreeMap::new(),
            sent: counter!("cartwheel_gossip_sent_total"),
            full: dropped("peer-gossip"),
            unconnected: unconnected("peer-gossip"),
        }
    }

    /// Sends at most once. What is dropped membership takes for lost on the way.
    pub(crate) fn send(&self, to: NodeId, message: &MemberMessage) {
        match self.transport.gossip(to, message) {
            Ok(()) => self.sent.increment(1),
            Err(Dropped::Full) => self.full.increment(1),
            Err(Dropped::NotConnected | Dropped::UnknownPeer) => self.unconnected.increment(1),
        }
    }

    /// A node has dialled this one; whether that is news.
    pub(crate) fn greeted(&mut self, node: NodeId, address: Arc<str>) -> bool {
        if self.said.len() < REMEMBERED_AT_MOST || self.said.contains_key(&node) {
            self.said.insert(node, address.clone());
        }
        self.greet(node, address)
    }

    /// A node has said something; whether it must be dialled, where it said last that it is reached, to be answered: one
    /// that was a member and is none any more must be told so, and one that has moved is listed where it was.
    pub(crate) fn heard_from(&mut self, node: NodeId) -> bool {
        let said = self.said.get(&node).cloned();
        said.is_some_and(|address| self.greet(node, address))
    }

    fn greet(&mut self, node: NodeId, address: Arc<str>) -> bool {
        let is_known = self.dialled.get(&node) == Some(&address);
        let has_room = self.greeted.len() < GREETED_AT_MOST || self.greeted.contains_key(&node);
        if node == self.me || is_known || !has_room || address.is_empty() {
            return false;
        }
        self.greeted.insert(node, address);
        true
    }

    /// A node answers at a seed's address; whether that is news.
    pub(crate) fn seed(&mut self, node: NodeId, address: Arc<str>) -> bool {
        // Another node that answered there before is not to be found there any more.
        self.seeds.retain(|known, at| known == &node || *at != address);
        node != self.me && self.seeds.insert(node, address.clone()) != Some(address)
    }

    /// The connection to a node is lost; whether it is dialled elsewhere now, or not at all: what it said of itself
    /// counts no more.
    pub(crate) fn closed(&mut self, node: NodeId) -> bool {
        self.greeted.remove(&node).is_some()
    }

    /// Dials these, and those that membership does not know.
    pub(crate) fn dial(&mut self, known: BTreeMap<NodeId, Arc<str>>) {
        let mut all = self.seeds.clone();
        all.extend(known);
        // What a node says itself is newer than what others remember of it.
        all.extend(self.greeted.iter().map(|(node, address)| (*node, address.clone())));
        all.remove(&self.me);
        if all != self.dialled {
            let _within = self.runtime.enter();
            self.transport.set_peers(all.iter().map(|(node, address)| (*node, address.clone())));
            self.dialled = all;
        }
    }
}

#[cfg(test)]
mod tests {
    use cartwheel_client::{Closed, Identity, Limits, PeerEvents};
    use cartwheel_protocol::format::Formats;
    use cartwheel_protocol::id::ClusterId;

    use super::*;

    struct Deaf;

    impl PeerEvents for Deaf {
        fn on_opened(&self, _: NodeId) {}
        fn on_closed(&self, _: NodeId, _: &Closed) {}
    }

    #[tokio::test]
    async fn a_node_that_has_moved_is_dialled_where_it_says_though_it_is_listed_where_it_was() {
        let (me, other) = (NodeId(1), NodeId(2));
        let identity = Identity {
            node: me,
            cluster: ClusterId(7),
            address: "127.0.0.1:1".into(),
            formats: Formats::SPOKEN,
            layout: None,
        };
        let transport = Arc::new(TcpPeers::new(identity, Limits::default(), Arc::new(Deaf)));
        let mut peers = Peers::new(me, transport);
        let listed: BTreeMap<NodeId, Arc<str>> = [(other, "127.0.0.1:2".into())].into();
        let (was, is) = (Some(&*listed[&other]), Some("127.0.0.1:3"));
        let dialled = |peers: &Peers| peers.dialled.get(&other).cloned();
        peers.dial(listed.clone());
        assert!(!peers.heard_from(other), "it has not said where else it is");
        assert!(peers.greeted(other, "127.0.0.1:3".into()));
        peers.dial(listed.clone());
        assert_eq!(dialled(&peers).as_deref(), is);
        assert!(peers.closed(other));
        peers.dial(listed.clone());
        assert_eq!(dialled(&peers).as_deref(), was, "it may have moved again");
        assert!(peers.heard_from(other));
        peers.dial(listed);
        assert_eq!(dialled(&peers).as_deref(), is);
    }
}
