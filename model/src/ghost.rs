//! What nobody in the cluster knows: the facts that the properties compare it with.

use std::sync::Arc;

use cartwheel_protocol::{
    id::AddId,
    object::{Entry, Object},
    record::Record,
    version::{Dot, VersionVector},
};

use crate::{client::Op, property::Property, reap::Gone};

/// Facts about the past of a world, in an order that does not depend on how it came about.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Ghost {
    /// The writes that were invoked, sorted.
    facts: Vec<(Op, Fact)>,
    /// Which entry each dot ever named, sorted by dot.
    dots: Vec<(Dot, u128)>,
    /// What reap rounds have taken away.
    pub(crate) gone: Gone,
    /// How many disks and records were lost.
    pub(crate) lost: u8,
    /// Nothing was lost since every owner answered one read.
    pub(crate) stirred: bool,
    /// The property that was seen not to hold, the first one.
    pub(crate) violated: Option<Property>,
}

/// A write that some client has asked for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Fact {
    /// What its context covers: what it removes from a register. Recorded at invocation.
    pub(crate) removes: VersionVector,
    /// The additions that it cancels. Recorded at invocation.
    pub(crate) cancels: Arc<[AddId]>,
    /// How many disks were lost before.
    pub(crate) lost_before: u8,
    /// All that it cancels had been acknowledged before. Once it has reached every owner none of that may come
    /// back, whatever the cart forgets.
    pub(crate) reaches: bool,
    /// What became of it.
    pub(crate) status: Status,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Status {
    /// It may have taken effect, or may yet.
    Asked,
    /// The client was told that it is durable.
    Acknowledged,
    /// The client was told that it was not carried out and never will be.
    Refused,
}

impl Ghost {
    /// The writes that were invoked.
    pub(crate) fn facts(&self) -> impl Iterator<Item = (Op, &Fact)> {
        self.facts.iter().map(|(op, fact)| (*op, fact))
    }

    pub(crate) fn fact(&self, op: Op) -> Option<&Fact> {
        let at = self.facts.binary_search_by_key(&op, |(op, _)| *op).ok()?;
        Some(&self.facts[at].1)
    }

    pub(crate) fn fact_mut(&mut self, op: Op) -> Option<&mut Fact> {
        let at = self.facts.binary_search_by_key(&op, |(op, _)| *op).ok()?;
        Some(&mut self.facts[at].1)
    }

    pub(crate) fn asked(&mut self, op: Op, fact: Fact) {
        let at = self.facts.partition_point(|(known, _)| *known < op);
        self.facts.insert(at, (op, fact));
    }

    /// Notes that a property does not hold, unless another was seen before.
    pub(crate) fn violate(&mut self, property: Property) {
        self.violated.get_or_insert(property);
    }

    /// The entry that a dot names, if it was ever written.
    pub(crate) fn named(&self, dot: Dot) -> Option<u128> {
        let at = self.dots.binary_search_by_key(&dot, |(dot, _)| *dot).ok()?;
        Some(self.dots[at].1)
    }

    pub(crate) fn name(&mut self, dot: Dot, id: u128) {
        let at = self.dots.partition_point(|(known, _)| *known < dot);
        self.dots.insert(at, (dot, id));
    }

    /// The dots that ever named an entry: more than one if it was coordinated more than once.
    pub(crate) fn dots_of(&self, id: u128) -> impl Iterator<Item = Dot> {
        self.dots.iter().filter(move |(_, named)| *named == id).map(|(dot, _)| *dot)
    }

    /// Whether some client asked to cancel the addition.
    pub(crate) fn is_cancelled(&self, add_id: AddId) -> bool {
        self.facts().any(|(_, fact)| fact.cancels.contains(&add_id))
    }

    /// How many additions newer than this one some client asked to cancel.
    pub(crate) fn newer_cancelled(&self, add_id: AddId) -> usize {
        let all = self.facts().flat_map(|(_, fact)| fact.cancels.iter());
        let mut newer: Vec<AddId> = all.copied().filter(|other| *other > add_id).collect();
        newer.sort_unstable();
        newer.dedup();
        newer.len()
    }

    /// Whether an object has taken the entry in: it is live there, or gone after some client that had seen it
    /// asked for that.
    pub(crate) fn accounts_for(&self, object: &Object, id: u128) -> bool {
        object.entries().iter().any(|(_, entry)| id_of(entry) == id) || self.is_gone(object, id)
    }

    fn is_gone(&self, object: &Object, id: u128) -> bool {
        let add_id = AddId(id);
        let covered = |dot: &Dot| object.seen().covers(*dot) || self.gone.seen.covers(*dot);
        if self.is_cancelled(add_id) {
            let known = object.cancelled().binary_search(&add_id).is_ok()
                || self.gone.cancelled.contains(&add_id);
            return known || self.dots_of(id).any(|dot| covered(&dot));
        }
        let removed = |dot: &Dot| self.facts().any(|(_, fact)| fact.removes.covers(*dot));
        self.dots_of(id).any(|dot| covered(&dot) && removed(&dot))
    }

    /// Whether a record has something live that a write removed.
    pub(crate) fn is_back(&self, record: &Record, op: Op) -> bool {
        let removed = |dot| self.fact(op).is_some_and(|fact| fact.removes.covers(dot));
        record.object.entries().iter().any(|(dot, _)| removed(*dot))
    }

    /// Whether a record holds all that a write did: what it wrote and what it removed. `bound` is how many
    /// cancelled add_ids a cart remembers.
    pub(crate) fn holds(&self, record: &Record, op: Op, writes: bool, bound: usize) -> bool {
        let Some(fact) = self.fact(op) else { return false };
        let object = &record.object;
        let forgotten = |add_id: &AddId| {
            object.cancelled().len() == bound && object.cancelled().first() > Some(add_id)
        };
        let cancelled = |add_id: &AddId| {
            object.cancelled().binary_search(add_id).is_ok() || self.gone.cancelled.contains(add_id)
        };
        let is_live = |(_, entry): &(Dot, Entry)| writes && id_of(entry) == op.id();
        // Where what it wrote is live, it was put over what it removed: whether that is back is another question. Elsewhere only
        // the clock can tell.
        let removed = object.entries().iter().any(is_live)
            || object.seen().join(&self.gone.seen).includes(&fact.removes);
        (!writes || self.accounts_for(object, op.id()))
            && removed
            && fact.cancels.iter().all(|add_id| cancelled(add_id) || forgotten(add_id))
    }
}

/// The id of an entry, whatever it is.
pub(crate) fn id_of(entry: &Entry) -> u128 {
    match entry {
        Entry::Value(value) => value.put_id.0,
        Entry::Addition(addition) => addition.add_id.0,
    }
}
