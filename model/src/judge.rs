//! Where the properties are judged.

use cartwheel_protocol::{
    Input, Ticket, Timer,
    id::AddId,
    key::RecordKey,
    limits,
    object::{Entry, Object},
};

use crate::{
    action::Action,
    client::Op,
    ghost::{Fact, Status, id_of},
    property::Property,
    witness::{Observer, Witness},
    world::World,
};

/// How often hints may have to be handed on: a copy goes from a node to an owner, and no further.
const ROUNDS: usize = 3;

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
                Property::OwnersAreEqualWhenQuiet
                | Property::CancelledStaysCancelled
                | Property::OneReplyPerRequest => when_quiet(),
                Property::HintsCanEnd => !self.hints_can_end(),
                Property::NothingFromNowhere
                | Property::DotNamesOneValue
                | Property::AddShownOnce
                | Property::NoResurrectedSibling
                | Property::StrictReadsSeeStrictWrites
                | Property::LimitsHold
                | Property::ForeignContextsAreRefused => false,
            }
    }

    /// Every acknowledged write is on w disks, less those lost since it was invoked.
    fn acknowledged_is_durable(&self) -> bool {
        let acknowledged = self.ghost.facts().filter(|(_, f)| f.status == Status::Acknowledged);
        let mut asked = acknowledged.map(|(op, fact)| {
            let lost = self.ghost.lost - fact.lost_before;
            (op, usize::from(self.need(op).saturating_sub(lost)))
        });
        asked.all(|(op, need)| self.holders(op, |_| true) >= need)
    }

    /// Whether hand-off would end, if from here on nothing else happened. Hints wait for whom is lost or damaged, and for who is
    /// behind: there nothing is asked.
    fn hints_can_end(&self) -> bool {
        let owes = |world: &Self| (0..world.hosts.len()).any(|at| world.holds_a_hint(at));
        let is_whole = |host: &crate::host::Host| {
            !host.out && host.disk.durable().all(|(_, cell)| cell.record().is_some())
        };
        if !owes(self) || !self.is_at_rest() || !self.hosts().all(is_whole) {
            return true;
        }
        let mut world = self.clone();
        for _ in 0..ROUNDS {
            world.hand_all_off();
        }
        !owes(&world)
    }

    /// Every node makes a pass over its hints, and all that follows is done.
    fn hand_all_off(&mut self) {
        for at in 0..self.hosts.len() {
            if self.hosts[at].make_mut().timers.remove(&Timer::Handoff) {
                self.step(at, Input::Timeout(Timer::Handoff), &mut ());
            }
        }
        let may_run = |action: &Action| matches!(action, Action::Deliver(_) | Action::Sync(_));
        while let Some(action) = self.enabled().into_iter().find(may_run) {
            self.apply(action, &mut ());
        }
    }

    fn violated_when_quiet(&self) -> Option<Property> {
        if self.clients.iter().any(|client| !client.attempts.is_empty()) {
            return Some(Property::OneReplyPerRequest);
        }
        let newest = self.newest();
        let hosts = || self.hosts.iter().enumerate();
        let owners = || hosts().filter(|(at, host)| self.setup.owns_in(*at, newest) && !host.out);
        for key in &self.setup.keys {
            let object = |host: &crate::host::Host| {
                let record = host.disk.durable_cell(key).and_then(|cell| cell.record());
                record.map(|record| record.object.clone())
            };
            let mut copies = owners().map(|(_, host)| object(host).unwrap_or_default());
            let first = copies.next()?;
            if copies.any(|copy| copy != first) {
                return Some(Property::OwnersAreEqualWhenQuiet);
            }
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
    pub(crate) fn close(&mut self, at: usize, tickets: Vec<Ticket>, observer: &mut impl Observer) {
        let host = &self.hosts[at];
        let dropped = host.disk.would_drop_a_hint();
        let forgot = host.disk.would_forget_a_cancel();
        let Some(batch) = self.hosts[at].make_mut().disk.close(tickets) else { return };
        if dropped {
            observer.note(Witness::HintDelivered);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cartwheel_protocol::{
        bucket::Kind,
        id::{AddId, Incarnation, NodeId},
        object::{Addition, Value},
        record::{Owed, Record, Storage as _, Stored},
        request::{Refusal, Response},
        rules::Rules,
        version::{Actor, Dot, VersionVector},
    };

    use super::*;
    use crate::{
        action::Action,
        client::{Script, Task, What},
        setup::Plan,
    };

    fn dot(counter: u64) -> Dot {
        Dot { actor: Actor { incarnation: Incarnation(1), n: 1 }, counter }
    }

    fn op(client: u8) -> Op {
        Op { client, step: 0 }
    }

    fn object(entries: Vec<(Dot, Entry)>, cancelled: &[AddId]) -> Object {
        let seen = VersionVector::from_dots(entries.iter().map(|(dot, _)| *dot));
        Object::from_parts(seen, entries, cancelled.to_vec())
    }

    fn value(client: u8) -> Entry {
        let bytes = Arc::from(op(client).to_string().as_bytes());
        Entry::Value(Value { put_id: op(client).put_id(), time_us: 0, bytes })
    }

    fn addition(client: u8, quantity: u32) -> Entry {
        Entry::Addition(Addition { add_id: op(client).add_id(), sku: Arc::from("milk"), quantity })
    }

    /// Two owners; each of these tasks was asked for at the first.
    fn after(kind: Kind, tasks: &[Task]) -> World {
        let plan = tasks
            .iter()
            .fold(Plan::new(2, 0, kind), |plan, task| plan.client(Script::new([task.clone()])));
        let mut world = World::new(&plan, Rules::sound());
        for client in 0..tasks.len() as u8 {
            world.apply(Action::Ask { client, at: 0 }, &mut ());
        }
        assert_eq!(world.violation(), None);
        world
    }

    fn store(world: &mut World, object: Object) {
        let key = world.setup().keys[0].clone();
        let record = Record { object, own: None, owed: None };
        world.hosts[0].make_mut().disk.write(key, Some(record));
        world.close(0, Vec::new(), &mut ());
        world.hosts[0].make_mut().disk.sync();
    }

    fn shown(world: &mut World, client: u8, object: &Object) -> Option<Property> {
        world.judge_read(op(client), object, (2, 0), &mut ());
        world.violation()
    }

    fn put() -> Task {
        Task::new(What::Put, &[0]).strict()
    }

    fn get() -> Task {
        Task::new(What::Get, &[0]).strict()
    }

    /// A world in which every task was carried out.
    fn done(kind: Kind, tasks: &[Task]) -> World {
        let mut world = after(kind, tasks);
        while let Some(action) = world.enabled().first() {
            world.apply(*action, &mut ());
        }
        assert_eq!(world.violation(), None);
        assert!(world.is_quiet() && world.is_finished());
        world
    }

    #[test]
    fn an_acknowledged_write_that_left_a_disk_is_noticed() {
        let mut world = done(Kind::Register, &[put()]);
        world.hosts[1].make_mut().wipe();
        assert_eq!(world.violation(), Some(Property::AcknowledgedIsDurable));
        world.ghost.make_mut().lost = 1;
        assert_eq!(world.violation(), None, "a disk that was lost is forgiven");
    }

    #[test]
    fn a_value_that_nobody_asked_for_is_noticed() {
        let mut world = after(Kind::Register, &[put()]);
        assert_eq!(shown(&mut world, 0, &object(vec![(dot(1), value(0))], &[])), None);
        let strange = object(vec![(dot(1), value(3))], &[]);
        assert_eq!(shown(&mut world, 0, &strange), Some(Property::NothingFromNowhere));
        let mut world = after(Kind::Register, &[put()]);
        store(&mut world, strange);
        assert_eq!(world.violation(), Some(Property::NothingFromNowhere));
    }

    #[test]
    fn a_dot_that_names_a_second_value_is_noticed() {
        let mut world = after(Kind::Register, &[put(), put()]);
        store(&mut world, object(vec![(dot(1), value(0))], &[]));
        assert_eq!(world.violation(), None);
        store(&mut world, object(vec![(dot(1), value(1))], &[]));
        assert_eq!(world.violation(), Some(Property::DotNamesOneValue));
    }

    #[test]
    fn an_addition_in_two_forms_is_noticed() {
        let task = Task::new(What::Add, &[0]);
        let mut world = after(Kind::Cart, std::slice::from_ref(&task));
        let twice = |second| object(vec![(dot(1), addition(0, 1)), (dot(2), second)], &[]);
        assert_eq!(shown(&mut world, 0, &twice(addition(0, 1))), None);
        let in_two_forms = twice(addition(0, 2));
        assert_eq!(shown(&mut world, 0, &in_two_forms), Some(Property::AddShownOnce));
    }

    #[test]
    fn a_strict_read_that_misses_a_strict_write_is_noticed() {
        let world = done(Kind::Register, &[put()]);
        let missed = world.judge_strict(0, op(0).bit(), &Object::new());
        assert_eq!(missed, Some(Property::StrictReadsSeeStrictWrites));
        let seen = object(vec![(dot(1), value(0))], &[]);
        assert_eq!(world.judge_strict(0, op(0).bit(), &seen), None);
    }

    #[test]
    fn a_replaced_value_that_is_back_is_noticed() {
        let mut world = done(Kind::Register, &[put(), put()]);
        let replaced = world.ghost.dots_of(op(0).id()).next().expect("it was written");
        let fact = world.ghost.make_mut().fact_mut(op(1)).expect("it was asked for");
        fact.removes = VersionVector::from_dots([replaced]);
        let both = object(vec![(dot(1), value(0)), (dot(2), value(1))], &[]);
        let judged = world.judge_strict(0, op(1).bit(), &both);
        assert_eq!(judged, Some(Property::NoResurrectedSibling));
    }

    #[test]
    fn a_cancelled_addition_that_is_back_is_noticed() {
        let cancel = Task::new(What::Cancel(op(0)), &[0]).strict();
        let world = done(Kind::Cart, &[Task::new(What::Add, &[0]), cancel]);
        let back = object(vec![(dot(1), addition(0, 1))], &[]);
        let judged = world.judge_strict(0, op(1).bit(), &back);
        assert_eq!(judged, Some(Property::CancelledStaysCancelled));
        assert_eq!(world.judge_strict(0, op(1).bit(), &Object::new()), None);
    }

    #[test]
    fn a_hint_that_nobody_takes_is_noticed() {
        let mut plan = Plan::new(1, 1, Kind::Register).client(Script::new([put()]));
        plan.suspected = vec![(1, 0)];
        plan.clients[0].tasks[0].at = vec![1];
        let mut world = World::new(&plan, Rules::sound());
        world.apply(Action::Ask { client: 0, at: 1 }, &mut ());
        while let Some(action) = world.enabled().first() {
            world.apply(*action, &mut ());
        }
        assert_eq!(world.violation(), None, "the owner would take it");
        let key = world.setup().keys[0].clone();
        let Stored::Found(mut record) = world.hosts[1].disk.read(&key) else {
            panic!("node 1 holds a hint")
        };
        let view = world.newest().id();
        record.owed = Owed::new(view, [NodeId(99)]);
        world.hosts[1].make_mut().disk.write(key, Some(record));
        world.close(1, Vec::new(), &mut ());
        world.hosts[1].make_mut().disk.sync();
        assert_eq!(world.violation(), Some(Property::HintsCanEnd));
    }

    #[test]
    fn owners_that_differ_when_quiet_are_noticed() {
        let mut world = done(Kind::Register, &[]);
        store(&mut world, object(Vec::new(), &[AddId(1)]));
        assert_eq!(world.violation(), Some(Property::OwnersAreEqualWhenQuiet));
    }

    #[test]
    fn a_cart_that_remembers_too_much_is_noticed() {
        let mut plan = Plan::new(2, 0, Kind::Cart);
        plan.cancelled_bound = 1;
        let mut world = World::new(&plan, Rules::sound());
        store(&mut world, object(Vec::new(), &[AddId(1)]));
        assert_ne!(world.violation(), Some(Property::LimitsHold));
        store(&mut world, object(Vec::new(), &[AddId(1), AddId(2)]));
        assert_eq!(world.violation(), Some(Property::LimitsHold));
    }

    #[test]
    fn a_write_with_a_foreign_context_that_is_taken_is_noticed() {
        let mut world = after(Kind::Register, &[put(), Task::new(What::PutForeign, &[0])]);
        let attempt = crate::client::Attempt { host: 0, number: 9, step: 0 };
        world.clients.make_mut()[1].attempts.push(attempt);
        let written = Response::Written { slots: 2, nodes: 2, zones: 1 };
        world.hear(0, 9, &written, &mut ());
        assert_eq!(world.violation(), Some(Property::ForeignContextsAreRefused));
    }

    #[test]
    fn a_second_reply_is_noticed_and_one_that_never_comes() {
        let mut world = done(Kind::Register, &[put(), get()]);
        let mut silent = world.clone();
        world.hear(0, 1, &Response::Refused(Refusal::NotReady), &mut ());
        assert_eq!(world.violation(), Some(Property::OneReplyPerRequest));
        let attempt = crate::client::Attempt { host: 0, number: 9, step: 0 };
        silent.clients.make_mut()[0].attempts.push(attempt);
        assert_eq!(silent.violation(), Some(Property::OneReplyPerRequest));
    }
}
