//! Who is at which place, for everybody who asks without waiting.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cartwheel_client::{NodeId, parse_node_id};

use crate::fault::NodeNumber;

/// Places, the nodes that are and were there, and which of them are members. A node is known by its id; a place
/// whose disk was erased has had several.
#[derive(Debug, Default)]
pub struct Roster {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Of every node that ever was.
    places: BTreeMap<u64, NodeNumber>,
    /// The node at each place now.
    nodes: BTreeMap<NodeNumber, u64>,
    members: Vec<NodeNumber>,
    /// Where each place is reached by others.
    addresses: BTreeMap<SocketAddr, NodeNumber>,
}

impl Roster {
    /// From now on this node, named by its id as text, is at this place. `None` if that is no id.
    pub fn maybe_move_in(&self, place: NodeNumber, id: &str) -> Option<u64> {
        let NodeId(node) = parse_node_id(id)?;
        let mut inner = self.inner();
        inner.places.insert(node, place);
        inner.nodes.insert(place, node);
        Some(node)
    }

    /// Whoever is at this place is reached here by the others.
    pub fn is_reached_at(&self, place: NodeNumber, address: SocketAddr) {
        self.inner().addresses.insert(address, place);
    }

    /// The place of a node that dials, by its id, or by where it says that it is reached: one that came up with a new store
    /// is known by that alone at first.
    pub fn place_of_dialler(&self, node: u64, address: &str) -> Option<NodeNumber> {
        let reached = || self.inner().addresses.get(&address.parse().ok()?).copied();
        self.place(node).or_else(reached)
    }

    /// Nobody is at this place any more.
    pub fn move_out(&self, place: NodeNumber) {
        let mut inner = self.inner();
        inner.nodes.remove(&place);
        inner.members.retain(|member| *member != place);
    }

    /// These nodes are the members now.
    pub fn set_members(&self, is_member: impl Fn(u64) -> bool) {
        let mut inner = self.inner();
        let members = inner.nodes.iter().filter(|(_, node)| is_member(**node));
        inner.members = members.map(|(place, _)| *place).collect();
    }

    /// The places of the members, in order.
    pub fn members(&self) -> Vec<NodeNumber> {
        self.inner().members.clone()
    }

    /// The node at a place now.
    pub fn node(&self, place: NodeNumber) -> Option<u64> {
        self.inner().nodes.get(&place).copied()
    }

    /// The place where a node is, or was.
    pub fn place(&self, node: u64) -> Option<NodeNumber> {
        self.inner().places.get(&node).copied()
    }

    /// The place where a node is now.
    pub fn present_place(&self, node: u64) -> Option<NodeNumber> {
        self.place(node).filter(|place| self.node(*place) == Some(node))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Roster;
    use crate::fault::NodeNumber;

    #[test]
    fn a_place_is_remembered_by_all_its_nodes_and_held_by_the_last() {
        let (roster, n1, n2) = (Roster::default(), NodeNumber(0), NodeNumber(1));
        let old = roster.maybe_move_in(n1, "na").expect("an id");
        let other = roster.maybe_move_in(n2, "nb").expect("an id");
        roster.set_members(|_| true);
        let new = roster.maybe_move_in(n1, "nc").expect("an id");
        assert_eq!((roster.place(old), roster.present_place(old)), (Some(n1), None));
        assert_eq!(roster.present_place(new), Some(n1));
        assert_eq!(roster.members(), [n1, n2]);
        roster.is_reached_at(n2, ([127, 0, 0, 1], 7).into());
        assert_eq!(roster.place_of_dialler(old, "127.0.0.1:7"), Some(n1));
        assert_eq!(roster.place_of_dialler(77, "127.0.0.1:7"), Some(n2));
        assert_eq!(roster.place_of_dialler(77, "elsewhere"), None);
        roster.set_members(|node| node == other || node == old);
        assert_eq!(roster.members(), [n2], "the node that was there is not the one that is");
        roster.move_out(n2);
        assert_eq!((roster.members(), roster.node(n2)), (vec![], None));
        assert_eq!(roster.maybe_move_in(n1, "n1 "), None);
    }
}
