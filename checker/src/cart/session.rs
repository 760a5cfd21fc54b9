//! What one process was told of a cart: the session guarantees *read your writes* and *monotonic
//! reads* (Terry et al., PDIS 1994). A process is one client, and does one thing after the other.
//!
//! Only additions are followed: what was cancelled and shows again is for the rules of `stale` and
//! `resurrected`. A read is compared with what its process had seen before it, and with what it had written and not
//! seen yet, so that a check costs no more than the reads themselves: what was shown or missed once
//! is compared no more with the write.

use hashbrown::HashTable;

use super::rules::{Notes, Read};
use super::state::{Addition, Cart};

/// For multiplicative hashing.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a process knows of a cart.
#[derive(Debug, Default)]
struct Session {
    /// Additions of its own that were acknowledged and that no read of its own has shown or missed since.
    written: Vec<u32>,
    /// What its last read of the cart showed.
    seen: Vec<u32>,
}

/// All sessions, by the numbers of process and cart.
#[derive(Debug, Default)]
pub(crate) struct Sessions(HashTable<((u64, u32), Session)>);

impl Sessions {
    /// The process was told that its addition happened.
    pub(crate) fn wrote(&mut self, process: u64, cart: u32, addition: u32) {
        self.of(process, cart).written.push(addition);
    }

    /// The process has read these additions: what should have been among them is noted.
    pub(crate) fn read(
        &mut self,
        process: u64,
        cart: &mut Cart,
        read: Read,
        shown: Vec<u32>,
        notes: &mut Notes<'_>,
    ) {
        let session = self.of(process, notes.cart);
        let is_missed = |state: &Addition| state.shown_in != read.number && state.is_due();
        // Whether it is missed cannot be told while a cancellation is in flight, which may fail.
        let waits = |state: &Addition| state.shown_in != read.number && state.may_be_due();
        let written = std::mem::take(&mut session.written);
        let seen = std::mem::replace(&mut session.seen, shown);
        for addition in written {
            if is_missed(&cart.additions[addition as usize]) {
                cart.missed_own_write(addition, read, notes);
            } else if waits(&cart.additions[addition as usize]) {
                session.written.push(addition);
            }
        }
        for addition in seen {
            if is_missed(&cart.additions[addition as usize]) {
                cart.missed_what_it_saw(addition, read, notes);
            } else if waits(&cart.additions[addition as usize]) {
                session.seen.push(addition);
            }
        }
    }

    fn of(&mut self, process: u64, cart: u32) -> &mut Session {
        // The table goes by the lowest bits and the highest: both halves must reach both.
        let hash = |(process, cart): (u64, u32)| {
            let mixed = (process.rotate_left(32) ^ u64::from(cart)).wrapping_mul(ODD);
            (mixed ^ mixed >> 32).wrapping_mul(ODD)
        };
        let key = (process, cart);
        let entry = self.0.entry(hash(key), |(other, _)| *other == key, |(other, _)| hash(*other));
        &mut entry.or_insert_with(|| (key, Session::default())).into_mut().1
    }
}
