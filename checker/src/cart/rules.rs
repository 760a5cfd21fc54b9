//! What operations mean for the additions of the one cart that they are about.

use super::batch::{Batch, Items, RawItem};
use super::results::Class;
use super::state::Cart;
use super::timeline::{Moment, Timeline};
use super::tracker::{Kind, Miss};

/// A fault of an addition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) class: Class,
    pub(crate) cart: u32,
    /// Its number in the cart.
    pub(crate) addition: u32,
    pub(crate) promised: Moment,
    /// When the read that shows the fault was invoked.
    pub(crate) read: Moment,
}

/// Where faults are noted, and what is needed to compare them.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    pub(crate) timeline: &'a Timeline,
    /// Each addition once in each class.
    pub(crate) found: &'a mut Vec<Found>,
    /// The cart that is looked at.
    pub(crate) cart: u32,
}

impl Notes<'_> {
    fn fault(&mut self, class: Class, addition: u32, promised: Moment, read: Moment) {
        self.found.push(Found { class, cart: self.cart, addition, promised, read });
    }
}

/// A read that succeeded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    /// Among all reads, from 1.
    pub(crate) number: u32,
    pub(crate) invoked: Moment,
    /// An owner's own copy is never a strict answer.
    pub(crate) strict: bool,
    pub(crate) final_read: bool,
    pub(crate) local: bool,
}

impl Read {
    /// As what it is judged.
    fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| match kind {
            Kind::Any => !self.local,
            Kind::Strict => self.strict,
            Kind::Final => self.strict && self.final_read,
        })
    }
}

impl Cart {
    /// An addition is attempted.
    pub(crate) fn attempt(&mut self, batch: &Batch, item: RawItem) -> Result<u32, String> {
        let add_id = batch.str(item.add_id);
        let addition = self.intern(item.key, add_id);
        let state = &mut self.additions[addition as usize];
        if state.attempts > 0 && state.terms != item.terms {
            return Err(format!("add_id {add_id} is attempted again as something else"));
        }
        state.attempts += 1;
        state.terms = item.terms;
        Ok(addition)
    }

    /// A cancellation begins: what it names need not be shown by reads completed from now on,
    /// unless it fails.
    pub(crate) fn begin_cancel(
        &mut self,
        batch: &Batch,
        ids: Items,
        notes: &mut Notes<'_>,
    ) -> Vec<u32> {
        let mut cancel = Vec::with_capacity(ids.length as usize);
        for item in batch.items(ids) {
            let addition = self.intern(item.key, batch.str(item.add_id));
            for kind in Kind::ALL {
                self.settle(kind, addition, notes);
            }
            self.additions[addition as usize].open_cancels += 1;
            cancel.push(addition);
        }
        cancel
    }

    /// A write was acknowledged.
    pub(crate) fn acknowledge(
        &mut self,
        add: Option<u32>,
        cancel: &[u32],
        strict: bool,
        moment: Moment,
    ) {
        for &addition in cancel {
            let state = &mut self.additions[addition as usize];
            state.open_cancels -= 1;
            state.cancelled = state.cancelled.min(moment);
            if strict {
                state.cancelled_strictly = state.cancelled_strictly.min(moment);
            }
            self.maybe_cancelled(addition);
        }
        let Some(addition) = add else { return };
        let state = &mut self.additions[addition as usize];
        let first = !state.is_acknowledged();
        let first_strict = strict && state.acknowledged_strictly == Moment::NEVER;
        state.acknowledged = state.acknowledged.min(moment);
        if first_strict {
            state.acknowledged_strictly = moment;
        }
        if state.maybe_cancelled {
            return;
        }
        for kind in Kind::ALL {
            let begins = if kind == Kind::Strict { first_strict } else { first };
            if begins {
                self.expected[kind as usize].enter(kind, addition, &mut self.additions);
            }
        }
    }

    /// A write did not happen.
    pub(crate) fn fail(&mut self, add: Option<u32>, cancel: &[u32], notes: &mut Notes<'_>) {
        if let Some(addition) = add {
            self.additions[addition as usize].failed_attempts += 1;
        }
        for &addition in cancel {
            let state = &mut self.additions[addition as usize];
            state.open_cancels -= 1;
            if state.open_cancels == 0 {
                self.release(addition, notes);
            }
        }
    }

    /// No cancellation was the reason of what reads missed meanwhile.
    fn release(&mut self, addition: u32, notes: &mut Notes<'_>) {
        let is_of_it = |held: &mut (Kind, u32, Miss)| held.1 == addition;
        let released: Vec<_> = self.held.extract_if(.., is_of_it).collect();
        for (kind, addition, miss) in released {
            self.missed(kind, addition, miss, notes);
        }
    }

    /// A write may have happened or may still happen.
    pub(crate) fn leave_unknown(&mut self, cancel: &[u32]) {
        for &addition in cancel {
            self.additions[addition as usize].open_cancels -= 1;
            self.maybe_cancelled(addition);
        }
    }

    fn maybe_cancelled(&mut self, addition: u32) {
        self.additions[addition as usize].maybe_cancelled = true;
        self.held.retain(|(_, of, _)| *of != addition);
        for kind in Kind::ALL {
            self.expected[kind as usize].leave(kind, addition, &mut self.additions);
        }
    }

    /// A read succeeded. Returns what it showed.
    pub(crate) fn read(
        &mut self,
        batch: &Batch,
        items: Items,
        read: Read,
        notes: &mut Notes<'_>,
    ) -> Vec<u32> {
        let mut shown = Vec::with_capacity(items.length as usize);
        for item in batch.items(items) {
            let addition = self.intern(item.key, batch.str(item.add_id));
            self.show(read, addition, item.terms, notes);
            shown.push(addition);
        }
        for kind in read.kinds() {
            let additions = &mut self.additions;
            self.expected[kind as usize].judge(kind, read.number, read.invoked, additions);
        }
        if read.final_read {
            self.read_finally = self.read_finally.max(Some(read.invoked));
        }
        shown
    }

    fn show(&mut self, read: Read, addition: u32, terms: u64, notes: &mut Notes<'_>) {
        let state = &mut self.additions[addition as usize];
        if state.shown_in == read.number {
            if !std::mem::replace(&mut state.duplicated, true) {
                notes.fault(Class::Duplicated, addition, Moment::NEVER, read.invoked);
            }
            return;
        }
        state.shown_in = read.number;
        state.shown = true;
        state.shown_finally |= read.final_read;
        let unknown = state.attempts == 0 || state.terms != terms;
        if unknown && !std::mem::replace(&mut state.phantom, true) {
            notes.fault(Class::Phantom, addition, Moment::NEVER, read.invoked);
        }
        let forbidden = match (read.final_read, read.strict) {
            (true, _) => state.cancelled,
            (false, true) => state.cancelled_strictly,
            (false, false) => Moment::NEVER,
        };
        let cancelled = state.cancelled;
        if forbidden < read.invoked {
            if !std::mem::replace(&mut state.resurrected, true) {
                notes.fault(Class::Resurrected, addition, forbidden, read.invoked);
            }
        } else if cancelled < read.invoked && !read.local {
            self.stale(addition, cancelled, read.invoked, notes);
        }
        for kind in read.kinds() {
            self.settle(kind, addition, notes);
        }
    }

    /// Ends a time of being missing, if there was one, and notes what it amounts to.
    fn settle(&mut self, kind: Kind, addition: u32, notes: &mut Notes<'_>) {
        let expected = &mut self.expected[kind as usize];
        let Some(miss) = expected.settle(kind, addition, &mut self.additions) else { return };
        if self.additions[addition as usize].open_cancels > 0 {
            self.held.push((kind, addition, miss));
        } else {
            self.missed(kind, addition, miss, notes);
        }
    }

    /// At the end: what is missing now was missed, unless a cancellation in flight may be the reason.
    pub(crate) fn settle_all(&mut self, notes: &mut Notes<'_>) {
        for addition in 0..self.additions.len() as u32 {
            for kind in Kind::ALL {
                let state = &self.additions[addition as usize];
                let miss = self.expected[kind as usize].missing(kind, state);
                if let Some(miss) = miss.filter(|_| state.open_cancels == 0) {
                    self.missed(kind, addition, miss, notes);
                }
            }
        }
    }

    fn missed(&mut self, kind: Kind, addition: u32, miss: Miss, notes: &mut Notes<'_>) {
        let Miss { promised, read } = miss;
        match kind {
            Kind::Any => self.stale(addition, promised, read, notes),
            Kind::Strict | Kind::Final => {
                let state = &mut self.additions[addition as usize];
                if !std::mem::replace(&mut state.stale_strict, true) {
                    notes.fault(Class::StaleStrict, addition, promised, read);
                }
            }
        }
    }

    /// A process misses what it wrote itself.
    pub(crate) fn missed_own_write(&mut self, addition: u32, read: Read, notes: &mut Notes<'_>) {
        let state = &mut self.additions[addition as usize];
        if !std::mem::replace(&mut state.own_write_missed, true) {
            notes.fault(Class::ReadYourWrites, addition, state.acknowledged, read.invoked);
        }
    }

    /// A process misses what it had seen.
    pub(crate) fn missed_what_it_saw(&mut self, addition: u32, read: Read, notes: &mut Notes<'_>) {
        let state = &mut self.additions[addition as usize];
        if !std::mem::replace(&mut state.missed_again, true) {
            notes.fault(Class::MonotonicReads, addition, state.acknowledged, read.invoked);
        }
    }

    /// Keeps the longest staleness of an addition.
    fn stale(&mut self, addition: u32, promised: Moment, read: Moment, notes: &Notes<'_>) {
        let latency = |(promised, read)| notes.timeline.between(promised, read);
        let stale = &mut self.additions[addition as usize].stale;
        if stale.is_none_or(|worst| latency(worst) < latency((promised, read))) {
            *stale = Some((promised, read));
        }
    }
}
