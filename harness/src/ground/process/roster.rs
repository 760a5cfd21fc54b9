//! Who is at which place, for everybody who asks without waiting.

use std::collections::BTreeMap;
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
        roster.set_members(|node| node == other || node == old);
        assert_eq!(roster.members(), [n2], "the node that was there is not the one that is");
        roster.move_out(n2);
        assert_eq!((roster.members(), roster.node(n2)), (vec![], None));
        assert_eq!(roster.maybe_move_in(n1, "n1 "), None);
    }
}
