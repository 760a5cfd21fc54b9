//! One coordinated write as a value: which slots hold it, and when that is enough.
//!
//! A key has one slot for each owner. A slot is filled by its owner or by a fallback that stands in for it, once,
//! and all slots by distinct nodes: a late owner and its fallback hand the copy to each other and drop it,
//! so together they are one copy and not two (Q1).

use alloc::vec::Vec;

use crate::{
    bucket::{Bucket, Spread},
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
    /// The older layout's: what sloppy writes count.
    slots: Vec<Slot>,
    /// The owners in the newer layout of a joint view, and those of them that hold the object.
    next: Vec<NodeId>,
    next_held: Vec<NodeId>,
    /// Who answered in another view than this write counts in: not silent, and asked again.
    in_other_views: Vec<NodeId>,
    /// Whether distinct zones are counted, not slots (Q3).
    by_zone: bool,
    /// The slots that are filled, and by whom.
    filled: Vec<Filled>,
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

/// The slots of a key in the older layout, and the owners in the newer.
fn places(view: &View, key: &RecordKey, n: u8) -> (Vec<Slot>, Vec<NodeId>) {
    let owners = view.owners(key.partition, n).iter();
    let slots = owners.map(|owner| Slot { owner: *owner, fallbacks: Vec::new() }).collect();
    let next = view.next_owners(key.partition, n).map_or_else(Vec::new, <[NodeId]>::to_vec);
    (slots, next)
}

impl Put {
    /// A write of `object` that is to fill `need` of the owners' slots.
    pub(crate) fn new(
        (key, bucket): (RecordKey, &Bucket),
        object: Object,
        view: &View,
        need: u8,
        strict: bool,
    ) -> Self {
        let (slots, next) = places(view, &key, bucket.n);
        Self {
            key,
            object,
            view: view.id(),
            replied: false,
            need,
            strict,
            durable_here: false,
            slots,
            next,
            next_held: Vec::new(),
            in_other_views: Vec::new(),
            by_zone: bucket.spread == Spread::Zone,
            filled: Vec::new(),
        }
    }

    /// The view has changed: a strict write counts anew, by the owners in all layouts of the new one (L2). The own
    /// copy does not count on either.
    pub(crate) fn restart(&mut self, view: &View, n: u8) {
        self.view = view.id();
        (self.slots, self.next) = places(view, &self.key, n);
        self.filled.clear();
        self.next_held.clear();
        self.durable_here = false;
    }

    /// The owners whose slots nobody fills yet.
    pub(crate) fn open_slots(&self) -> impl Iterator<Item = NodeId> {
        self.slots.iter().map(|slot| slot.owner).filter(|owner| !self.is_filled(*owner))
    }

    /// Everybody who is to hold the object and is not known to: the owners with open slots, then the other owners in the
    /// newer layout.
    pub(crate) fn missing(&self) -> impl Iterator<Item = NodeId> {
        let is_slot = |node: &NodeId| self.slots.iter().any(|slot| slot.owner == *node);
        let added = self.next.iter().filter(move |node| !is_slot(node));
        self.open_slots().chain(added.filter(|node| !self.next_held.contains(node)).copied())
    }

    /// Who was asked to stand in for an owner whose slot is open, beside that owner.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        let open = self.slots.iter().filter(|slot| !self.is_filled(slot.owner));
        open.flat_map(|slot| slot.fallbacks.iter().map(|fallback| (slot.owner, *fallback)))
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
        let slot = held.map_or(me, |slot| slot.owner);
        self.hear(me, slot, self.view, rules);
    }

    /// Whether the own copy is known to be durable.
    pub(crate) fn is_durable_here(&self) -> bool {
        self.durable_here
    }

    /// `holder` says that it holds the object durably in the slot of `owner`.
    pub(crate) fn hear(&mut self, holder: NodeId, owner: NodeId, view: ViewId, rules: Rules) {
        let counts_late = view < self.view && !rules.keeps(Mutant::StrictWriteCountsOlderView);
        let fits = view == self.view || counts_late || !rules.keeps(Mutant::NoViewMatch);
        let in_view = !self.strict || fits;
        if !in_view {
            if !self.in_other_views.contains(&holder) {
                self.in_other_views.push(holder);
            }
            return;
        }
        if self.next.contains(&holder) && !self.next_held.contains(&holder) {
            self.next_held.push(holder);
        }
        let Some(slot) = self.slots.iter().find(|slot| slot.owner == owner) else { return };
        let stands_in = slot.fallbacks.contains(&holder) && !self.strict;
        if holder != owner && !stands_in {
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

    /// Whether the node has answered, though its answer fills no slot.
    pub(crate) fn is_heard(&self, node: NodeId) -> bool {
        self.in_other_views.contains(&node)
    }

    /// Whether enough slots hold the object.
    pub(crate) fn enough(&self, view: &View, rules: Rules) -> bool {
        let need = usize::from(self.need);
        let counts_next =
            self.strict && !self.next.is_empty() && rules.keeps(Mutant::ReadOneLayout);
        let zones = |nodes: &[NodeId]| {
            !self.by_zone
                || !rules.keeps(Mutant::CountAcksInOneZone)
                || view.zones(nodes.iter().copied()) >= need
        };
        let holders: Vec<NodeId> = self.filled.iter().map(|filled| filled.holder).collect();
        let next_enough = self.next_held.len() >= need && zones(&self.next_held);
        holders.len() >= need && zones(&holders) && (!counts_next || next_enough)
    }

    /// Whether every slot holds it, and every owner in the newer layout.
    pub(crate) fn complete(&self) -> bool {
        self.filled.len() >= self.slots.len() && self.next_held.len() >= self.next.len()
    }

    /// What the client is told: success if [`Put::enough`], else that the outcome is unknown.
    pub(crate) fn response(&self, me: NodeId, view: &View, rules: Rules) -> Response {
        let have = self.filled.len() as u8;
        if !self.enough(view, rules) {
            let mut counted = have;
            if self.by_zone {
                let zones = view.zones(self.filled.iter().map(|filled| filled.holder));
                counted = counted.min(zones as u8);
            }
            if self.strict && !self.next.is_empty() {
                counted = counted.min(self.next_held.len() as u8);
            }
            return Response::Refused(Refusal::Unavailable { have: counted, need: self.need });
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
