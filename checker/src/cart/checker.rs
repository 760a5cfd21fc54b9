//! The cart checker: fed one operation after the other, it keeps what each addition has been
//! promised and where it was seen. What that amounts to is `report.rs`'s business.

use std::collections::HashMap;

use super::batch::{Argument, Batch, Content, Items, Name, Operation, RawItem};
use super::results::{Class, OpCounts};
use super::state::{Addition, Additions, Carts};
use super::timeline::{Moment, Timeline, WriteGaps};
use super::tracker::{Kind, Miss};
use crate::event::EventType;

/// The state of a check.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) carts: Carts,
    pub(crate) additions: Additions,
    pub(crate) timeline: Timeline,
    pub(crate) gaps: WriteGaps,
    pub(crate) counts: [OpCounts; 4],
    pub(crate) nodes: Vec<String>,
    /// Faults seen as they happened, each addition once in each class.
    pub(crate) found: Vec<Found>,
    processes: HashMap<u64, Slot>,
    reads: u32,
}

/// A fault of an addition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) class: Class,
    pub(crate) addition: u32,
    pub(crate) promised: Moment,
    /// When the read that shows the fault was invoked.
    pub(crate) read: Moment,
}

/// What a client's process is doing.
#[derive(Debug)]
enum Slot {
    Idle,
    Busy(Pending),
    /// It got `info`: its operation may still happen, so it must not begin another.
    Dead,
}

/// An operation in flight.
#[derive(Debug)]
struct Pending {
    name: Name,
    cart: u32,
    invoked: Moment,
    strict: bool,
    final_read: bool,
    local: bool,
    add: Option<u32>,
    cancel: Vec<u32>,
}

impl Checker {
    /// Takes the next event.
    ///
    /// # Errors
    /// Why the history makes no sense here, in words. Nothing more may be concluded from it.
    pub(crate) fn observe(&mut self, batch: &Batch, event: &Operation) -> Result<(), String> {
        let moment = self.timeline.push(event.index, event.time);
        match event.event_type {
            EventType::Invoke => self.invoke(batch, event, moment),
            EventType::Ok | EventType::Fail | EventType::Info => {
                self.complete(batch, event, moment)
            }
        }
    }

    fn invoke(&mut self, batch: &Batch, event: &Operation, invoked: Moment) -> Result<(), String> {
        match self.processes.get(&event.process) {
            Some(Slot::Busy(_)) => {
                return Err(format!("process {} is still busy and begins another", event.process));
            }
            Some(Slot::Dead) => {
                return Err(format!(
                    "process {} had an unknown outcome and goes on",
                    event.process
                ));
            }
            Some(Slot::Idle) | None => {}
        }
        let Argument::Of { cart, hash, content } = event.argument else {
            return Err("the value is no pair of a cart's key and something".to_owned());
        };
        let cart = self.carts.intern(batch.str(cart), hash);
        let (add, cancel) = match (event.name, content) {
            (Name::Add, Content::Item(item)) => (Some(item), Items::default()),
            (Name::Cancel, Content::Ids(ids)) => (None, ids),
            (Name::Change, Content::Change { cancel, add }) => (add, cancel),
            (Name::Cancel, Content::Empty) | (Name::Read, _) => (None, Items::default()),
            (Name::Add | Name::Cancel | Name::Change, _) => {
                return Err(format!("the value is none of {}", event.name.as_str()));
            }
        };
        let add = add.map(|item| self.attempt(batch, cart, item)).transpose()?;
        let cancel = self.begin_cancel(batch, cart, cancel);
        if event.name != Name::Read {
            self.gaps.begin(event.time);
        }
        self.counts[event.name as usize].count += 1;
        let pending = Pending {
            name: event.name,
            cart,
            invoked,
            strict: event.strict,
            final_read: event.final_read,
            local: event.local,
            add,
            cancel,
        };
        self.processes.insert(event.process, Slot::Busy(pending));
        Ok(())
    }

    fn attempt(&mut self, batch: &Batch, cart: u32, item: RawItem) -> Result<u32, String> {
        let add_id = batch.str(item.add_id);
        let addition = self.additions.intern(cart, add_id, item.hash);
        let state = &mut self.additions.list[addition as usize];
        if state.attempts > 0 && state.terms != item.terms {
            return Err(format!("add_id {add_id} is attempted again as something else"));
        }
        state.attempts += 1;
        state.terms = item.terms;
        Ok(addition)
    }

    fn begin_cancel(&mut self, batch: &Batch, cart: u32, ids: Items) -> Vec<u32> {
        let mut cancel = Vec::with_capacity(ids.length as usize);
        for item in batch.items(ids) {
            let addition = self.additions.intern(cart, batch.str(item.add_id), item.hash);
            for kind in Kind::ALL {
                self.settle(kind, cart, addition);
            }
            self.additions.list[addition as usize].open_cancels += 1;
            cancel.push(addition);
        }
        cancel
    }

    fn complete(&mut self, batch: &Batch, event: &Operation, moment: Moment) -> Result<(), String> {
        let (process, outcome) = (event.process, event.event_type);
        let after = if outcome == EventType::Info { Slot::Dead } else { Slot::Idle };
        let Some(Slot::Busy(pending)) = self.processes.insert(process, after) else {
            return Err(format!("process {process} completes what it did not begin"));
        };
        if pending.name != event.name {
            let (began, ended) = (pending.name.as_str(), event.name.as_str());
            return Err(format!("process {process} began {began} and completes {ended}"));
        }
        let counts = &mut self.counts[event.name as usize];
        match outcome {
            EventType::Ok => counts.ok_count += 1,
            EventType::Fail => counts.fail_count += 1,
            EventType::Info | EventType::Invoke => counts.info_count += 1,
        }
        if event.name == Name::Read {
            return match outcome {
                EventType::Ok => self.read(batch, event, &pending),
                EventType::Fail | EventType::Info | EventType::Invoke => Ok(()),
            };
        }
        match outcome {
            EventType::Ok => {
                self.gaps.acknowledge(event.time);
                self.acknowledge(&pending, moment);
            }
            EventType::Fail | EventType::Info | EventType::Invoke => {
                self.gaps.give_up(event.time);
                self.give_up(&pending, outcome);
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, pending: &Pending, moment: Moment) {
        for &addition in &pending.cancel {
            let state = &mut self.additions.list[addition as usize];
            state.open_cancels -= 1;
            state.cancelled = state.cancelled.min(moment);
            if pending.strict {
                state.cancelled_strictly = state.cancelled_strictly.min(moment);
            }
            self.maybe_cancelled(addition);
        }
        let Some(addition) = pending.add else { return };
        let expected = &mut self.carts.list[pending.cart as usize].expected;
        let additions = &mut self.additions.list;
        let state = &mut additions[addition as usize];
        let first = !state.is_acknowledged();
        let first_strict = pending.strict && state.acknowledged_strictly == Moment::NEVER;
        state.acknowledged = state.acknowledged.min(moment);
        if first_strict {
            state.acknowledged_strictly = moment;
        }
        if state.maybe_cancelled {
            return;
        }
        if first {
            for kind in [Kind::Any, Kind::Final] {
                expected[kind as usize].enter(kind, addition, additions);
            }
        }
        if first_strict {
            expected[Kind::Strict as usize].enter(Kind::Strict, addition, additions);
        }
    }

    fn give_up(&mut self, pending: &Pending, outcome: EventType) {
        if let (Some(addition), EventType::Fail) = (pending.add, outcome) {
            self.additions.list[addition as usize].failed_attempts += 1;
        }
        for &addition in &pending.cancel {
            self.additions.list[addition as usize].open_cancels -= 1;
            if outcome == EventType::Info {
                self.maybe_cancelled(addition);
            }
        }
    }

    fn maybe_cancelled(&mut self, addition: u32) {
        let additions = &mut self.additions.list;
        let state = &mut additions[addition as usize];
        state.maybe_cancelled = true;
        let expected = &mut self.carts.list[state.cart as usize].expected;
        for kind in Kind::ALL {
            expected[kind as usize].leave(kind, addition, additions);
        }
    }

    fn read(&mut self, batch: &Batch, event: &Operation, pending: &Pending) -> Result<(), String> {
        let items = match event.argument {
            Argument::Of { content: Content::Items(items), .. } => items,
            Argument::Of { content: Content::Empty, .. } => Items::default(),
            Argument::Of { .. } | Argument::Odd => {
                return Err("a read that is ok shows no list of items".to_owned());
            }
        };
        if let Argument::Of { cart, hash, .. } = event.argument
            && self.carts.intern(batch.str(cart), hash) != pending.cart
        {
            return Err(format!("process {} reads another cart than it asked for", event.process));
        }
        self.reads += 1;
        let read = Read {
            number: self.reads,
            cart: pending.cart,
            invoked: pending.invoked,
            strict: (pending.strict || event.strict) && !pending.local && !event.local,
            final_read: pending.final_read || event.final_read,
            local: pending.local || event.local,
        };
        let mut shown = Vec::with_capacity(if read.is_copy() { items.length as usize } else { 0 });
        for item in batch.items(items) {
            let addition = self.additions.intern(read.cart, batch.str(item.add_id), item.hash);
            self.show(&read, addition, item.terms);
            if read.is_copy() {
                shown.push(addition);
            }
        }
        let cart = &mut self.carts.list[read.cart as usize];
        for kind in read.kinds() {
            let additions = &mut self.additions.list;
            cart.expected[kind as usize].judge(kind, read.number, read.invoked, additions);
        }
        if read.final_read {
            cart.read_finally = cart.read_finally.max(Some(read.invoked));
        }
        if read.is_copy() {
            let node = event.node.ok_or("a local read names no node")?;
            let node = self.node(batch.str(node));
            let copies = &mut self.carts.list[read.cart as usize].copies;
            copies.retain(|(other, _)| *other != node);
            copies.push((node, shown));
        }
        Ok(())
    }

    /// A read shows an addition.
    fn show(&mut self, read: &Read, addition: u32, terms: u64) {
        let mut fault = |class, promised| {
            self.found.push(Found { class, addition, promised, read: read.invoked });
        };
        let state = &mut self.additions.list[addition as usize];
        if state.shown_in == read.number {
            if !std::mem::replace(&mut state.duplicated, true) {
                fault(Class::Duplicated, Moment::NEVER);
            }
            return;
        }
        state.shown_in = read.number;
        state.shown = true;
        state.shown_finally |= read.final_read;
        let unknown = state.attempts == 0 || state.terms != terms;
        if unknown && !std::mem::replace(&mut state.phantom, true) {
            fault(Class::Phantom, Moment::NEVER);
        }
        let forbidden = match (read.final_read, read.strict) {
            (true, _) => state.cancelled,
            (false, true) => state.cancelled_strictly,
            (false, false) => Moment::NEVER,
        };
        if forbidden < read.invoked {
            if !std::mem::replace(&mut state.resurrected, true) {
                fault(Class::Resurrected, forbidden);
            }
        } else if state.cancelled < read.invoked && !read.local {
            let cancelled = state.cancelled;
            stale(&self.timeline, state, cancelled, read.invoked);
        }
        for kind in read.kinds() {
            self.settle(kind, read.cart, addition);
        }
    }

    /// Ends a time of being missing, if there was one, and keeps what it amounts to.
    fn settle(&mut self, kind: Kind, cart: u32, addition: u32) {
        let expected = &mut self.carts.list[cart as usize].expected[kind as usize];
        if let Some(miss) = expected.settle(kind, addition, &mut self.additions.list) {
            self.missed(kind, miss);
        }
    }

    /// Keeps that an addition was missing from reads of this kind.
    pub(crate) fn missed(&mut self, kind: Kind, miss: Miss) {
        let Miss { addition, promised, read } = miss;
        let state = &mut self.additions.list[addition as usize];
        match kind {
            Kind::Any => stale(&self.timeline, state, promised, read),
            Kind::Strict | Kind::Final => {
                if !std::mem::replace(&mut state.stale_strict, true) {
                    self.found.push(Found { class: Class::StaleStrict, addition, promised, read });
                }
            }
        }
    }

    /// How many operations of each name were never completed is known at the end.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = Name> {
        self.processes.values().filter_map(|slot| match slot {
            Slot::Busy(pending) => Some(pending.name),
            Slot::Idle | Slot::Dead => None,
        })
    }

    fn node(&mut self, name: &str) -> u32 {
        let place = self.nodes.iter().position(|node| node == name).unwrap_or_else(|| {
            self.nodes.push(name.to_owned());
            self.nodes.len() - 1
        });
        place as u32
    }
}

/// A read that succeeded.
#[derive(Clone, Copy, Debug)]
struct Read {
    number: u32,
    cart: u32,
    invoked: Moment,
    /// An owner's own copy is never a strict answer.
    strict: bool,
    final_read: bool,
    local: bool,
}

impl Read {
    /// Whether owners are compared by it.
    fn is_copy(&self) -> bool {
        self.local && self.final_read
    }

    /// As what it is judged.
    fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        let (strict, final_read) = (self.strict, self.final_read);
        let judged = !self.local;
        Kind::ALL.into_iter().filter(move |kind| match kind {
            Kind::Any => judged,
            Kind::Strict => strict,
            Kind::Final => strict && final_read,
        })
    }
}

/// Keeps the longest staleness of an addition.
fn stale(timeline: &Timeline, state: &mut Addition, promised: Moment, read: Moment) {
    let latency = timeline.between(promised, read).unwrap_or(0);
    if state.stale.is_none_or(|(worst, _, _)| worst < latency) {
        state.stale = Some((latency, promised, read));
    }
}
