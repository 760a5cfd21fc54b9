//! Where the properties are judged.

use cartwheel_protocol::{
    Ticket,
    id::AddId,
    key::RecordKey,
    limits,
    object::{Entry, Object},
    version::VersionVector,
};

use crate::{
    client::Op,
    ghost::{Fact, Status, id_of},
    property::Property,
    witness::{Observer, Witness},
    world::World,
};

impl World {
    /// The property that does not hold here, if there is one; the one that was seen first.
    pub fn violation(&self) -> Option<Property> {
        let here = || Property::ALL.into_iter().find(|property| self.breaks(*property));
        self.ghost.violated.or_else(here)
    }

    /// Whether a property does not hold here.
    pub fn breaks(&self, property: Property) -> bool {
        let when_quiet = || self.is_quiet() && self.violated_when_quiet() == Some(property);
        self.ghost.violated == Some(property)
            || match property {
                Property::AcknowledgedIsDurable => !self.acknowledged_is_durable(),
                Property::NoResurrectedSibling => !self.replaced_stays_away(),
                Property::OwnersAreEqualWhenQuiet
                | Property::CancelledStaysCancelled
                | Property::OneReplyPerRequest => when_quiet(),
                Property::HintsCanEnd => !self.hints_can_end(),
                Property::OwnersCanMend => !self.owners_can_mend(),
                Property::MendingCanEnd => !self.mending_can_end(),
                Property::NothingFromNowhere
                | Property::DotNamesOneValue
                | Property::AddShownOnce
                | Property::ReapedStaysReaped
                | Property::StrictReadsSeeStrictWrites
                | Property::LimitsHold
                | Property::ForeignContextsAreRefused
                | Property::OneViewANumber
                | Property::NobodyGoesBack
                | Property::KnowledgeGrows
                | Property::RoundsAreKept => false,
            }
    }

    /// Every acknowledged write is on w disks, less those lost since it was invoked.
    fn acknowledged_is_durable(&self) -> bool {
        self.acknowledged().all(|(op, _, need)| self.holders(op, |_| true) >= need)
    }

    /// Nothing that an acknowledged write removed is back on so many disks that fewer are left of it.
    fn replaced_stays_away(&self) -> bool {
        let mut removing =
            self.acknowledged().filter(|(_, fact, _)| fact.removes != VersionVector::default());
        removing.all(|(op, _, need)| self.holders(op, |at| !self.is_back_at(at, op)) >= need)
    }

    /// The acknowledged writes, and on how many disks each must be.
    fn acknowledged(&self) -> impl Iterator<Item = (Op, &Fact, usize)> {
        let acknowledged = self.ghost.facts().filter(|(_, f)| f.status == Status::Acknowledged);
        acknowledged.map(|(op, fact)| {
            let lost = self.ghost.lost - fact.lost_before;
            (op, fact, usize::from(self.need(op).saturating_sub(lost)))
        })
    }

    fn is_back_at(&self, at: usize, op: Op) -> bool {
        let key = &self.setup.keys[usize::from(self.key_of(op))];
        let record = self.hosts[at].disk.durable_cell(key).and_then(|cell| cell.record());
        record.is_some_and(|record| self.ghost.is_back(record, op))
    }

    /// What an owner holds of each key; nothing stored is as good as an empty object.
    fn owners_hold(&self, key: &RecordKey) -> impl Iterator<Item = Object> {
        let newest = self.newest();
        let hosts = self.hosts().enumerate();
        let owners = hosts.filter(|(at, host)| self.setup.owns_in(*at, newest) && !host.out);
        owners.map(|(_, host)| {
            let record = host.disk.durable_cell(key).and_then(|cell| cell.record());
            record.map(|record| record.object.clone()).unwrap_or_default()
        })
    }

    fn owners_are_equal(&self) -> bool {
        self.setup.keys.iter().all(|key| {
            let mut copies = self.owners_hold(key);
            let first = copies.next();
            copies.all(|copy| Some(copy) == first)
        })
    }

    fn violated_when_quiet(&self) -> Option<Property> {
        if self.clients.iter().any(|client| !client.attempts.is_empty()) {
            return Some(Property::OneReplyPerRequest);
        }
        if !self.owners_are_equal() {
            return Some(Property::OwnersAreEqualWhenQuiet);
        }
        for key in &self.setup.keys {
            let first = self.owners_hold(key).next()?;
            let named = |(_, fact): &(Op, &Fact)| {
                fact.status == Status::Acknowledged
                    && first.additions().iter().any(|a| self.is_back(fact, a.add_id))
            };
            if self.ghost.facts().any(|fact| named(&fact)) {
                return Some(Property::CancelledStaysCancelled);
            }
        }
        None
    }

    /// Whether an addition that is shown was cancelled, within what a cart remembers. Beyond that only an entry
    /// that reaches a copy later may return, and not to a reader of every owner.
    fn is_back(&self, fact: &Fact, shown: AddId) -> bool {
        let bound = self.setup.bucket.cancelled_bound as usize;
        let remembered = self.ghost.newer_cancelled(shown) < bound || fact.reaches;
        fact.cancels.contains(&shown) && remembered
    }

    /// Ends a step of a node: what it wrote becomes one batch and is judged.
    pub(crate) fn close(
        &mut self,
        at: usize,
        tickets: Vec<Ticket>,
        reaps: bool,
        observer: &mut impl Observer,
    ) {
        let host = &self.hosts[at];
        let dropped = host.disk.would_drop_a_hint();
        let forgot = host.disk.would_forget_a_cancel();
        let mended = host.disk.would_mend();
        if reaps {
            let replaced: Vec<(Object, Object)> = host.disk.would_replace().collect();
            let gone = &mut self.ghost.make_mut().gone;
            replaced.iter().for_each(|(before, after)| gone.add(before, after));
        }
        let Some(batch) = self.hosts[at].make_mut().disk.close(tickets) else { return };
        if dropped {
            observer.note(Witness::HintDelivered);
        }
        if mended {
            observer.note(Witness::DamageMended);
            let view = self.view_of(at);
            if view.is_some_and(|view| !view.change().accepted_losses.is_empty()) {
                observer.note(Witness::MendedDespiteLoss);
            }
        }
        if forgot {
            observer.note(Witness::CancelledBound);
        }
        for (key, record) in batch.records() {
            if !self.is_sound(&record.object) {
                self.ghost.make_mut().violate(Property::LimitsHold);
            }
            self.judge_entries(&record.object, observer);
            if let Some(own) = record.own
                && own.actor.n > 1
                && self.setup.keys.first().is_some_and(|first: &RecordKey| first == key)
            {
                observer.note(Witness::FreshActor);
            }
        }
    }

    fn is_sound(&self, object: &Object) -> bool {
        object.cancelled().len() <= self.setup.bucket.cancelled_bound as usize
            && object.entries().len() <= limits::MAX_SIBLINGS
            && object.entries().iter().all(|(dot, _)| object.seen().covers(*dot))
    }

    /// Each entry was asked for, and its dot names nothing else.
    fn judge_entries(&mut self, object: &Object, observer: &mut impl Observer) {
        for (dot, entry) in object.entries() {
            let id = id_of(entry);
            match self.ghost.named(*dot) {
                Some(named) if named == id => {}
                Some(_) => self.ghost.make_mut().violate(Property::DotNamesOneValue),
                None => {
                    if self.ghost.dots_of(id).next().is_some() {
                        observer.note(Witness::TwoDots);
                    }
                    self.ghost.make_mut().name(*dot, id);
                }
            }
            if !self.was_asked_for(entry) {
                self.ghost.make_mut().violate(Property::NothingFromNowhere);
            }
            let gone = &self.ghost.gone;
            if gone.seen.covers(*dot) || gone.cancelled.contains(&AddId(id)) {
                self.ghost.make_mut().violate(Property::ReapedStaysReaped);
            }
        }
    }

    fn was_asked_for(&self, entry: &Entry) -> bool {
        let Some(op) = Op::of(id_of(entry)) else { return false };
        let asked = self.ghost.fact(op).is_some_and(|fact| fact.status != Status::Refused);
        asked
            && match entry {
                Entry::Value(value) => *value.bytes == *op.to_string().as_bytes(),
                Entry::Addition(addition) => &*addition.sku == "milk" && addition.quantity == 1,
            }
    }

    /// A write was refused for good: no disk may hold anything of it.
    pub(crate) fn judge_refused(&mut self, op: Op, _observer: &mut impl Observer) {
        let stored = self.hosts.iter().any(|host| {
            let cells = self.setup.keys.iter().filter_map(|key| host.disk.cell(key));
            let mut records = cells.filter_map(|cell| cell.record());
            records.any(|r| r.object.entries().iter().any(|(_, e)| id_of(e) == op.id()))
        });
        if stored {
            self.ghost.make_mut().violate(Property::NothingFromNowhere);
        }
    }

    /// A client is shown an object.
    pub(crate) fn judge_read(
        &mut self,
        op: Op,
        object: &Object,
        (owners, fallbacks): (u8, u8),
        observer: &mut impl Observer,
    ) {
        self.note_read(object, fallbacks, observer);
        if owners > self.setup.bucket.n {
            self.ghost.make_mut().violate(Property::LimitsHold);
        }
        if !shows_once(object) {
            self.ghost.make_mut().violate(Property::AddShownOnce);
        }
        if !object.entries().iter().all(|(_, entry)| self.was_asked_for(entry)) {
            self.ghost.make_mut().violate(Property::NothingFromNowhere);
        }
        let client = &self.clients[usize::from(op.client)];
        let current = client.current.as_ref().filter(|current| current.step == op.step);
        let Some(before) = current.map(|current| current.before) else { return };
        if self.is_strict(op) && before != 0 {
            observer.note(Witness::StrictReadAfterWrite);
            if let Some(property) = self.judge_strict(self.key_of(op), before, object) {
                self.ghost.make_mut().violate(property);
            }
        }
    }

    /// What a strict read owes to the strict writes that were acknowledged before it.
    fn judge_strict(&self, key: u8, before: u64, object: &Object) -> Option<Property> {
        // As many disks as were written to may be lost: then nothing is promised any more.
        let earlier = |(op, fact): &(Op, &Fact)| {
            let lost = self.ghost.lost - fact.lost_before;
            before & op.bit() != 0 && self.key_of(*op) == key && lost < self.need(*op)
        };
        for (op, fact) in self.ghost.facts().filter(earlier) {
            let task = &self.setup.clients[usize::from(op.client)].tasks[usize::from(op.step)];
            if task.what.is_entry() && !self.ghost.accounts_for(object, op.id()) {
                return Some(Property::StrictReadsSeeStrictWrites);
            }
            for (_, entry) in object.entries() {
                let id = id_of(entry);
                if self.is_back(fact, AddId(id)) {
                    return Some(Property::CancelledStaysCancelled);
                }
                if self.ghost.dots_of(id).any(|dot| fact.removes.covers(dot)) {
                    return Some(Property::NoResurrectedSibling);
                }
            }
        }
        None
    }

    fn note_read(&self, object: &Object, fallbacks: u8, observer: &mut impl Observer) {
        if object.values().len() > 1 {
            observer.note(Witness::Siblings);
        }
        if fallbacks > 0 {
            observer.note(Witness::FallbackRead);
        }
        if object.cancelled().iter().any(|id| self.ghost.dots_of(id.0).next().is_some()) {
            observer.note(Witness::Cancelled);
        }
        let live = |id: u128| object.entries().iter().any(|(_, entry)| id_of(entry) == id);
        let covered = |op: Op| self.ghost.dots_of(op.id()).any(|dot| object.seen().covers(dot));
        if self.ghost.facts().any(|(op, _)| !live(op.id()) && covered(op)) {
            observer.note(Witness::Replaced);
        }
    }
}

/// Whether no addition is shown twice and none under one id in two forms.
fn shows_once(object: &Object) -> bool {
    let additions = object.additions();
    let distinct = additions.windows(2).all(|pair| pair[0].add_id < pair[1].add_id);
    let same = object.entries().iter().all(|(_, entry)| match entry {
        Entry::Value(_) => true,
        Entry::Addition(added) => additions.contains(&added),
    });
    distinct && same
}

mod background;
#[cfg(test)]
mod tests;
