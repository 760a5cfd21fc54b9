//! The cart checker: fed one event after the other, it pairs completions with invocations and hands
//! them to the rules of the cart that they are about. What that amounts to is `report.rs`'s
//! business.

use hashbrown::HashTable;

use super::batch::{Argument, Batch, Content, Items, Name, Operation};
use super::results::OpCounts;
use super::rules::{Found, Notes, Read};
use super::session::Sessions;
use super::state::{Cart, Carts, OwnCopy};
use super::timeline::{Moment, Timeline, WriteGaps};
use crate::event::EventType;

/// The state of a check.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) carts: Carts,
    pub(crate) timeline: Timeline,
    pub(crate) gaps: WriteGaps,
    pub(crate) counts: [OpCounts; 4],
    pub(crate) nodes: Vec<String>,
    /// Faults seen as they happened, each addition once in each class.
    pub(crate) found: Vec<Found>,
    processes: Processes,
    sessions: Sessions,
    reads: u32,
}

/// What a client's process is doing.
#[derive(Debug)]
enum Slot {
    Idle,
    Busy(Pending),
    /// It got `info`: its operation may still happen, so it must not begin another.
    Dead,
}

/// What each process is doing, by its number. Two look-ups an operation: the standard library's
/// hash, which defends itself against chosen keys, would show in the time of a check.
#[derive(Debug, Default)]
struct Processes(HashTable<(u64, Slot)>);

impl Processes {
    fn slot(&mut self, process: u64) -> &mut Slot {
        let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let same = |(other, _): &(u64, Slot)| *other == process;
        let entry = self.0.entry(hash(process), same, |(other, _)| hash(*other));
        &mut entry.or_insert_with(|| (process, Slot::Idle)).into_mut().1
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().map(|(_, slot)| slot)
    }
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
    /// Takes the next event, which has this index in the history.
    ///
    /// # Errors
    /// Why the history makes no sense here, in words. Nothing more may be concluded from it.
    pub(crate) fn observe(
        &mut self,
        batch: &Batch,
        event: &Operation,
        index: u64,
    ) -> Result<(), String> {
        let moment = self.timeline.push(index, event.time);
        match event.event_type {
            EventType::Invoke => self.invoke(batch, event, moment),
            EventType::Ok | EventType::Fail | EventType::Info => {
                self.complete(batch, event, moment)
            }
        }
    }

    fn invoke(&mut self, batch: &Batch, event: &Operation, invoked: Moment) -> Result<(), String> {
        match self.processes.slot(event.process) {
            Slot::Busy(_) => {
                return Err(format!("process {} is still busy and begins another", event.process));
            }
            Slot::Dead => {
                return Err(format!(
                    "process {} had an unknown outcome and goes on",
                    event.process
                ));
            }
            Slot::Idle => {}
        }
        let Argument::Of { cart, key, content } = event.argument else {
            return Err("the value is no pair of a cart's name and something".to_owned());
        };
        let cart = self.carts.intern(key, batch.str(cart));
        let (add, cancel) = match (event.name, content) {
            (Name::Add, Content::Item(item)) => (Some(item), Items::default()),
            (Name::Cancel, Content::Ids(ids)) => (None, ids),
            (Name::Change, Content::Change { cancel, add }) => (add, cancel),
            (Name::Cancel, Content::Empty) | (Name::Read, _) => (None, Items::default()),
            (Name::Add | Name::Cancel | Name::Change, _) => {
                return Err(format!("the value is not what {} takes", event.name.as_str()));
            }
        };
        let (state, mut notes) = self.look_at(cart);
        let add = add.map(|item| state.attempt(batch, item)).transpose()?;
        let cancel = state.begin_cancel(batch, cancel, &mut notes);
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
        *self.processes.slot(event.process) = Slot::Busy(pending);
        Ok(())
    }

    fn complete(&mut self, batch: &Batch, event: &Operation, moment: Moment) -> Result<(), String> {
        let (process, outcome) = (event.process, event.event_type);
        let after = if outcome == EventType::Info { Slot::Dead } else { Slot::Idle };
        let before = std::mem::replace(self.processes.slot(process), after);
        let Slot::Busy(pending) = before else {
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
            if pending.final_read || event.final_read {
                self.note_final(batch, event, &pending, outcome == EventType::Ok);
            }
            return match outcome {
                EventType::Ok => self.read(batch, event, &pending),
                EventType::Fail | EventType::Info | EventType::Invoke => Ok(()),
            };
        }
        let Pending { cart: number, strict, add, cancel, .. } = pending;
        match outcome {
            EventType::Ok => {
                self.gaps.acknowledge(event.time);
                if let Some(addition) = add {
                    self.sessions.wrote(process, number, addition);
                }
                let cart = &mut self.carts.list[number as usize];
                cart.acknowledge(add, &cancel, strict || event.strict, moment);
            }
            EventType::Fail => {
                self.gaps.give_up(event.time);
                let (cart, mut notes) = self.look_at(number);
                cart.fail(add, &cancel, &mut notes);
            }
            EventType::Info | EventType::Invoke => {
                self.gaps.give_up(event.time);
                self.carts.list[number as usize].leave_unknown(&cancel);
            }
        }
        Ok(())
    }

    /// A final read that failed has told nothing, until it is made again.
    fn note_final(&mut self, batch: &Batch, event: &Operation, pending: &Pending, is_ok: bool) {
        let node = event.node.map(|node| self.node(batch.str(node)));
        let read = (node, pending.local || event.local);
        let failed = &mut self.carts.list[pending.cart as usize].failed_finally;
        failed.retain(|other| *other != read);
        if !is_ok {
            failed.push(read);
        }
    }

    fn read(&mut self, batch: &Batch, event: &Operation, pending: &Pending) -> Result<(), String> {
        let (items, key) = match event.argument {
            Argument::Of { content: Content::Items(items), key, .. } => (items, key),
            Argument::Of { content: Content::Empty, key, .. } => (Items::default(), key),
            Argument::Of { .. } | Argument::Odd => {
                return Err("a read that is ok shows no list of items".to_owned());
            }
        };
        self.reads += 1;
        let local = pending.local || event.local;
        let read = Read {
            number: self.reads,
            invoked: pending.invoked,
            strict: (pending.strict || event.strict) && !local,
            final_read: pending.final_read || event.final_read,
            local,
        };
        let Self { carts, timeline, found, sessions, .. } = self;
        let cart = &mut carts.list[pending.cart as usize];
        if cart.key != key {
            return Err(format!("process {} reads another cart than it asked for", event.process));
        }
        let mut notes = Notes { timeline, found, cart: pending.cart };
        let shown = cart.read(batch, items, read, &mut notes);
        if !read.local {
            sessions.read(event.process, cart, read, shown, &mut notes);
        } else if read.final_read {
            let node = event.node.ok_or("a local read names no node")?;
            let node = self.node(batch.str(node));
            let copies = &mut self.carts.list[pending.cart as usize].copies;
            copies.retain(|other| other.node != node);
            let digest = event.digest.map(|digest| batch.str(digest).into());
            copies.push(OwnCopy { node, shown, digest });
        }
        Ok(())
    }

    /// Ends the judging: what reads missed to the end is noted, operations in flight are counted as
    /// unknown.
    pub(crate) fn finish(&mut self) {
        for cart in 0..self.carts.list.len() as u32 {
            let (state, mut notes) = self.look_at(cart);
            state.settle_all(&mut notes);
        }
        for slot in self.processes.slots() {
            if let Slot::Busy(pending) = slot {
                self.counts[pending.name as usize].info_count += 1;
            }
        }
    }

    fn look_at(&mut self, cart: u32) -> (&mut Cart, Notes<'_>) {
        let Self { carts, timeline, found, .. } = self;
        (&mut carts.list[cart as usize], Notes { timeline, found, cart })
    }

    fn node(&mut self, name: &str) -> u32 {
        let place = self.nodes.iter().position(|node| node == name).unwrap_or_else(|| {
            self.nodes.push(name.to_owned());
            self.nodes.len() - 1
        });
        place as u32
    }
}
