//! One coordinated write as a value: which slots hold it, and when that is enough.
//!
//! A key has one slot for each owner. A slot is filled by its owner or by a fallback that stands in for it, once,
//! and all slots by distinct nodes: a late owner and its fallback hand the copy to each other and drop it,
//! so together they are one copy and not two (Q1).

use alloc::vec::Vec;

use crate::{
    id::NodeId,
    key::RecordKey,
    object::Object,
    request::{Refusal, Response},
    rules::{Mutant, Rules},
    view::{View, ViewId},
};

/// A write under way.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Put {
    pub(crate) key: RecordKey,
    pub(crate) object: Object,
    pub(crate) view: ViewId,
    pub(crate) replied: bool,
    need: u8,
    strict: bool,
    /// Whether the coordinator's own copy is durable.
    durable_here: bool,
    slots: Vec<Slot>,
    /// The slots that are filled, and by whom.
    filled: Vec<Filled>,
    /// Who said that it cannot hold the object, in the order of the nodes.
    unable: Vec<NodeId>,
}

/// One owner's place, and the fallbacks that were asked to stand in for it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Slot {
    owner: NodeId,
    fallbacks: Vec<NodeId>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Filled {
    slot: NodeId,
    holder: NodeId,
}

impl Put {
    /// A write of `object` that is to fill `need` of the owners' slots.
    pub(crate) fn new(
        key: RecordKey,
        object: Object,
        view: ViewId,
        owners: &[NodeId],
        need: u8,
        strict: bool,
    ) -> Self {
        let slots = owners.iter().map(|owner| Slot { owner: *owner, fallbacks: Vec::new() });
        Self {
            key,
            object,
            view,
            replied: false,
            need,
            strict,
            durable_here: false,
            slots: slots.collect(),
            filled: Vec::new(),
            unable: Vec::new(),
        }
    }

    /// The owners whose slots nobody fills yet.
    pub(crate) fn open_slots(&self) -> impl Iterator<Item = NodeId> {
        self.slots.iter().map(|slot| slot.owner).filter(|owner| !self.is_filled(*owner))
    }

    /// Whether only owners count.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether `node` was asked to stand in for some owner already.
    pub(crate) fn has_asked(&self, node: NodeId) -> bool {
        self.slots.iter().any(|slot| slot.fallbacks.contains(&node))
    }

    /// `node` is asked to stand in for `owner`.
    pub(crate) fn ask(&mut self, owner: NodeId, node: NodeId) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.owner == owner) {
            slot.fallbacks.push(node);
        }
    }

    /// The own copy of the coordinator `me` is durable. It fills its own slot if it is an owner, or the one
    /// that it holds as a fallback; else it counts for nothing.
    pub(crate) fn durable_here(&mut self, me: NodeId, rules: Rules) {
        self.durable_here = true;
        let held = self.slots.iter().find(|s| s.owner == me || s.fallbacks.contains(&me));
        if let Some(slot) = held.map(|slot| slot.owner) {
            self.hear(me, slot, self.view, rules);
        }
    }

    /// Whether the own copy is known to be durable.
    pub(crate) fn is_durable_here(&self) -> bool {
        self.durable_here
    }

    /// `holder` says that it holds the object durably in the slot of `owner`.
    pub(crate) fn hear(&mut self, holder: NodeId, owner: NodeId, view: ViewId, rules: Rules) {
        let Some(slot) = self.slots.iter().find(|slot| slot.owner == owner) else { return };
        let stands_in = slot.fallbacks.contains(&holder) && !self.strict;
        let in_view = !self.strict || view == self.view;
        if !in_view || (holder != owner && !stands_in) {
            return;
        }
        let answer = Filled { slot: owner, holder };
        let blocked = if self.filled.contains(&answer) {
            rules.keeps(Mutant::CountDuplicateAcks)
        } else if self.is_filled(owner) {
            rules.keeps(Mutant::CountOwnerAndFallback)
        } else {
            self.filled.iter().any(|filled| filled.holder == holder)
        };
        if !blocked {
            self.filled.push(answer);
        }
    }

    /// `holder`, asked to fill the slot of `owner`, says that it cannot hold the object. Says whether another is to
    /// be asked: nobody else who was asked may still fill it.
    pub(crate) fn cannot_hold(&mut self, holder: NodeId, owner: NodeId) -> bool {
        let Some(slot) = self.slots.iter().find(|slot| slot.owner == owner) else { return false };
        let asked = holder == owner || slot.fallbacks.contains(&holder);
        let Err(at) = self.unable.binary_search(&holder) else { return false };
        if !asked || self.is_filled(owner) {
            return false;
        }
        self.unable.insert(at, holder);
        slot.fallbacks.iter().all(|fallback| self.is_unable(*fallback))
    }

    /// Whether the node said that it cannot hold the object: then it is not silent.
    pub(crate) fn is_unable(&self, node: NodeId) -> bool {
        self.unable.binary_search(&node).is_ok()
    }

    /// Whether enough slots hold the object.
    pub(crate) fn enough(&self) -> bool {
        self.filled.len() >= usize::from(self.need)
    }

    /// Whether every slot holds it.
    pub(crate) fn complete(&self) -> bool {
        self.filled.len() >= self.slots.len()
    }

    /// What the client is told: success if [`Put::enough`], else that the outcome is unknown.
    pub(crate) fn response(&self, me: NodeId, view: &View) -> Response {
        let have = self.filled.len() as u8;
        if !self.enough() {
            return Response::Refused(Refusal::Unavailable { have, need: self.need });
        }
        let mut nodes: Vec<NodeId> = self.filled.iter().map(|filled| filled.holder).collect();
        nodes.extend(self.durable_here.then_some(me));
        nodes.sort_unstable();
        nodes.dedup();
        let zones = view.zones(nodes.iter().copied()) as u8;
        Response::Written { slots: have, nodes: nodes.len() as u8, zones }
    }

    fn is_filled(&self, owner: NodeId) -> bool {
        self.filled.iter().any(|filled| filled.slot == owner)
    }
}
