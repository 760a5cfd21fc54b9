//! What a cart's next read must show, and what the reads before it missed.
//!
//! Comparing every read with every addition would cost their product where additions are lost. Here
//! an addition that a read missed leaves the list of what is expected and comes back when a read
//! shows it, so each comparison is paid for by an acknowledgement or by an add_id in a read, and
//! the whole is linear in the history. (Reads in flight together while an addition is acknowledged
//! compare it once each.)

use super::state::Addition;
use super::timeline::Moment;
use crate::latest::LatestSince;

/// Which reads must show which additions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Every read, everything acknowledged: what is missing is stale, no more.
    Any,
    /// Strict reads, what was acknowledged strictly.
    Strict,
    /// Strict final reads, everything acknowledged.
    Final,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Any, Self::Strict, Self::Final];
}

/// A cart's side of it, for one kind.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    additions: Vec<u32>,
    /// When the reads that are complete had been invoked, by their numbers.
    reads: LatestSince<Moment>,
}

/// An addition's side of it, for one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Watch {
    /// Nobody need show it.
    #[default]
    Off,
    /// At this place of its cart's list.
    Expected(u32),
    /// Missing from the read of this number, and from all that were completed since.
    Missing(u32),
}

/// An addition was missing from a read although it had been promised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Miss {
    /// When it was acknowledged.
    pub(crate) promised: Moment,
    /// When the last read that missed it was invoked.
    pub(crate) read: Moment,
}

impl Expected {
    /// From now on reads must show this addition.
    pub(crate) fn enter(&mut self, kind: Kind, addition: u32, additions: &mut [Addition]) {
        additions[addition as usize].watches[kind as usize] =
            Watch::Expected(self.additions.len() as u32);
        self.additions.push(addition);
    }

    /// It was shown, or is about to be cancelled: if it had been missing, that is over. A cancellation in flight may have
    /// been the reason.
    pub(crate) fn settle(
        &mut self,
        kind: Kind,
        addition: u32,
        additions: &mut [Addition],
    ) -> Option<Miss> {
        let miss = self.missing(kind, &additions[addition as usize]);
        if let Watch::Missing(_) = additions[addition as usize].watches[kind as usize] {
            self.enter(kind, addition, additions);
        }
        miss
    }

    /// Whether it is missing now.
    pub(crate) fn missing(&self, kind: Kind, state: &Addition) -> Option<Miss> {
        match state.watches[kind as usize] {
            Watch::Missing(first) => {
                let read = self.reads.since(first)?;
                Some(Miss { promised: state.promised(kind), read })
            }
            Watch::Expected(_) | Watch::Off => None,
        }
    }

    /// Nobody need show it any more: it is, or may be, cancelled.
    pub(crate) fn leave(&mut self, kind: Kind, addition: u32, additions: &mut [Addition]) {
        let watch = &mut additions[addition as usize].watches[kind as usize];
        if let Watch::Expected(place) = std::mem::take(watch) {
            self.take_out(kind, place, additions);
        }
    }

    /// A read invoked then is complete; what it showed carries its number in `shown_in`.
    pub(crate) fn judge(
        &mut self,
        kind: Kind,
        read: u32,
        invoked: Moment,
        additions: &mut [Addition],
    ) {
        let mut place = 0;
        while let Some(&addition) = self.additions.get(place as usize) {
            let state = &mut additions[addition as usize];
            if state.shown_in == read || state.promised(kind) > invoked {
                place += 1;
            } else {
                state.watches[kind as usize] = Watch::Missing(read);
                self.take_out(kind, place, additions);
            }
        }
        self.reads.push(read, invoked);
    }

    fn take_out(&mut self, kind: Kind, place: u32, additions: &mut [Addition]) {
        self.additions.swap_remove(place as usize);
        if let Some(&moved) = self.additions.get(place as usize) {
            additions[moved as usize].watches[kind as usize] = Watch::Expected(place);
        }
    }
}
