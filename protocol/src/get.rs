//! One coordinated read as a value: who answered what, when that is enough, and who is to be repaired.

use alloc::vec::Vec;

use crate::{
    context::{Binding, Context},
    id::NodeId,
    key::RecordKey,
    message::Answer,
    object::{Merging, Object},
    request::{Refusal, Response},
    rules::{Mutant, Rules},
    view::{View, ViewId},
};

/// A read under way.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Get {
    pub(crate) key: RecordKey,
    pub(crate) replied: bool,
    view: ViewId,
    need: u8,
    strict: bool,
    /// Whether answers to what was asked before may still come: a view change made it count anew, or it was passed on,
    /// and that may have arrived twice.
    again: bool,
    /// Of the older layout.
    owners: Vec<NodeId>,
    /// Of the newer layout, for a strict read in a joint view.
    next: Vec<NodeId>,
    fallbacks: Vec<NodeId>,
    /// In the order of the nodes, each at most once.
    answers: Vec<(NodeId, Answer)>,
}

impl Get {
    /// A read that `need` of the owners, or of the fallbacks asked, must answer. `again`: it may have run before under the
    /// same id.
    pub(crate) fn new(
        key: RecordKey,
        view: &View,
        (n, need): (u8, u8),
        (strict, again): (bool, bool),
        rules: Rules,
    ) -> Self {
        let mut get = Self {
            key,
            replied: false,
            view: view.id(),
            need,
            strict,
            again,
            owners: Vec::new(),
            next: Vec::new(),
            fallbacks: Vec::new(),
            answers: Vec::new(),
        };
        get.count_anew(view, n, rules);
        get
    }

    /// The view has changed: a strict read counts anew, by the owners in all layouts of the new one (L2).
    pub(crate) fn restart(&mut self, view: &View, n: u8, rules: Rules) {
        self.again = true;
        self.count_anew(view, n, rules);
    }

    fn count_anew(&mut self, view: &View, n: u8, rules: Rules) {
        self.view = view.id();
        self.owners = view.owners(self.key.partition, n).to_vec();
        let next = view.next_owners(self.key.partition, n);
        let next = next.filter(|_| self.strict && rules.keeps(Mutant::ReadOneLayout));
        self.next = next.map_or_else(Vec::new, <[NodeId]>::to_vec);
        self.answers.clear();
    }

    /// All answers are forgotten: the same nodes are asked again.
    pub(crate) fn forget(&mut self) {
        self.answers.clear();
    }

    /// Whether only owners count.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether fallbacks may be asked: not by a strict read, because their "not found" proves nothing (Q2).
    pub(crate) fn asks_fallbacks(&self, rules: Rules) -> bool {
        !self.strict || !rules.keeps(Mutant::FallbackNotfoundCounts)
    }

    /// The owners that have not answered.
    pub(crate) fn silent_owners(&self) -> impl Iterator<Item = NodeId> {
        let added = self.next.iter().filter(|node| !self.owners.contains(node));
        self.owners.iter().chain(added).copied().filter(|owner| !self.has_answered(*owner))
    }

    /// The fallbacks that were asked.
    pub(crate) fn fallbacks(&self) -> &[NodeId] {
        &self.fallbacks
    }

    /// A fallback is asked in place of some silent owner.
    pub(crate) fn ask(&mut self, node: NodeId) {
        self.fallbacks.push(node);
    }

    /// One node's answer. A second one of the same node never counts (Q1).
    ///
    /// A strict read counts none of a newer view (L2). When it has begun again, or may have, it counts none of an older one
    /// either: that may be the answer to what was asked before the view changed, given by an owner of the next layout that had not
    /// caught up yet.
    pub(crate) fn hear(&mut self, from: NodeId, answer: Answer, view: ViewId, rules: Rules) {
        let other = view > self.view || (self.again && view < self.view);
        let misfit = self.strict && other && rules.keeps(Mutant::NoViewMatch);
        let asked = self.is_owner(from) || self.fallbacks.contains(&from);
        if misfit || !asked {
            return;
        }
        if let Err(at) = self.answers.binary_search_by_key(&from, |(node, _)| *node) {
            self.answers.insert(at, (from, answer));
        }
    }

    /// Whether who has given no answer that counts may have answered all the same: in another view, or in one that a reap
    /// round has made too old.
    pub(crate) fn may_be_heard(&self, present: ViewId) -> bool {
        self.again || self.view != present
    }

    /// Whether the answers that count are enough.
    pub(crate) fn enough(&self) -> bool {
        let need = usize::from(self.need);
        let next_enough = self.next.is_empty() || self.counted_of(&self.next) >= need;
        let of_older = if self.strict && self.fallbacks.is_empty() {
            self.counted_of(&self.owners)
        } else {
            self.counted()
        };
        of_older >= need && next_enough
    }

    /// Whether nothing is to be expected any more.
    pub(crate) fn complete(&self) -> bool {
        self.silent_owners().next().is_none()
    }

    /// What the client is told: the merge of all answers if they are enough.
    pub(crate) fn response(&self, binding: Binding, merging: Merging) -> Response {
        if !self.enough() {
            let mut have = self.counted();
            if self.strict {
                let of_next = || self.counted_of(&self.next);
                have = have.min(self.counted_of(&self.owners));
                have = if self.next.is_empty() { have } else { have.min(of_next()) };
            }
            let (have, need) = (have as u8, self.need);
            return Response::Refused(Refusal::Unavailable { have, need });
        }
        let object = self.merged(merging);
        let context = Context::new(binding, object.seen().clone());
        let readable = |nodes: &[NodeId]| {
            let counts = |(node, answer): &&(NodeId, Answer)| {
                nodes.contains(node) && *answer != Answer::Damaged
            };
            self.answers.iter().filter(counts).count() as u8
        };
        let (owners, fallbacks) = (readable(&self.owners), readable(&self.fallbacks));
        Response::Found { object, context, owners, fallbacks }
    }

    /// The merged object and the owners that answered with less (paper §5, read repair). Fallbacks are
    /// never repaired, and a damaged copy is not mended by a single read (W1).
    pub(crate) fn repair(&self, merging: Merging) -> (Object, Vec<NodeId>) {
        let merged = self.merged(merging);
        let is_stale = |answer: &Answer| match answer {
            Answer::Absent => !merged.is_new(),
            Answer::Found(object) => *object != merged,
            Answer::Damaged => false,
        };
        let stale =
            self.answers.iter().filter(|(node, answer)| self.is_owner(*node) && is_stale(answer));
        let stale = stale.map(|(node, _)| *node).collect();
        (merged, stale)
    }

    fn merged(&self, merging: Merging) -> Object {
        let found = self.answers.iter().filter_map(|(_, answer)| match answer {
            Answer::Found(object) => Some(object),
            Answer::Absent | Answer::Damaged => None,
        });
        found.fold(Object::new(), |merged, object| object.merge(&merged, merging))
    }

    fn counted(&self) -> usize {
        self.answers.iter().filter(|(_, answer)| *answer != Answer::Damaged).count()
    }

    /// How many of these nodes have given an answer that counts.
    fn counted_of(&self, nodes: &[NodeId]) -> usize {
        let counts =
            |(node, answer): &&(NodeId, Answer)| nodes.contains(node) && *answer != Answer::Damaged;
        self.answers.iter().filter(counts).count()
    }

    fn is_owner(&self, node: NodeId) -> bool {
        self.owners.contains(&node) || self.next.contains(&node)
    }

    fn has_answered(&self, node: NodeId) -> bool {
        self.answers.binary_search_by_key(&node, |(node, _)| *node).is_ok()
    }
}
