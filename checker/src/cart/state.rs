//! What is known of carts and additions while a history goes by, and how they are found by name.

use hashbrown::HashTable;

use super::batch::Key;
use super::timeline::Moment;
use super::tracker::{Expected, Kind, Miss, Watch};

/// What is known of one add_id in one cart.
#[derive(Debug)]
pub(crate) struct Addition {
    key: Key,
    name_end: usize,
    /// Hash of sku and quantity as attempted; 0 before any attempt.
    pub(crate) terms: u64,
    pub(crate) attempts: u32,
    pub(crate) failed_attempts: u32,
    /// Cancellations in flight that name it.
    pub(crate) open_cancels: u32,
    /// The last read that showed it.
    pub(crate) shown_in: u32,
    /// The first acknowledgement, and the first of a strict write.
    pub(crate) acknowledged: Moment,
    pub(crate) acknowledged_strictly: Moment,
    /// The first acknowledgement of a cancellation, and the first of a strict one.
    pub(crate) cancelled: Moment,
    pub(crate) cancelled_strictly: Moment,
    pub(crate) watches: [Watch; 3],
    /// The longest staleness so far: promise and read.
    pub(crate) stale: Option<(Moment, Moment)>,
    pub(crate) shown: bool,
    pub(crate) shown_finally: bool,
    /// A cancellation that names it did or may have happened.
    pub(crate) maybe_cancelled: bool,
    pub(crate) duplicated: bool,
    pub(crate) phantom: bool,
    pub(crate) resurrected: bool,
    pub(crate) stale_strict: bool,
    /// Some process missed it after it had written it, or seen it.
    pub(crate) own_write_missed: bool,
    pub(crate) missed_again: bool,
}

impl Addition {
    /// Since when reads of this kind must show it.
    pub(crate) fn promised(&self, kind: Kind) -> Moment {
        match kind {
            Kind::Any | Kind::Final => self.acknowledged,
            Kind::Strict => self.acknowledged_strictly,
        }
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged != Moment::NEVER
    }

    /// No cancellation has happened, may have happened, or is in flight.
    pub(crate) fn is_due(&self) -> bool {
        !self.maybe_cancelled && self.open_cancels == 0
    }

    /// The same should every cancellation in flight fail.
    pub(crate) fn may_be_due(&self) -> bool {
        !self.maybe_cancelled
    }

    fn new(key: Key, name_end: usize) -> Self {
        Self {
            key,
            name_end,
            terms: 0,
            attempts: 0,
            failed_attempts: 0,
            open_cancels: 0,
            shown_in: 0,
            acknowledged: Moment::NEVER,
            acknowledged_strictly: Moment::NEVER,
            cancelled: Moment::NEVER,
            cancelled_strictly: Moment::NEVER,
            watches: [Watch::Off; 3],
            stale: None,
            shown: false,
            shown_finally: false,
            maybe_cancelled: false,
            duplicated: false,
            phantom: false,
            resurrected: false,
            stale_strict: false,
            own_write_missed: false,
            missed_again: false,
        }
    }
}

/// What is known of one cart. Everything about its additions lies together: an operation touches
/// one cart only, so it finds most of what it needs in the cache.
#[derive(Debug)]
pub(crate) struct Cart {
    pub(crate) key: Key,
    pub(crate) name: Box<str>,
    pub(crate) additions: Vec<Addition>,
    table: HashTable<u32>,
    /// The number after the one found last: reads show additions in much the order in which they
    /// were attempted, so the next one is probably this, and the table need not be asked.
    next: u32,
    /// All add_ids, one after the other.
    names: String,
    pub(crate) expected: [Expected; 3],
    /// Misses that are over while a cancellation was in flight: they count if all of those fail.
    pub(crate) held: Vec<(Kind, u32, Miss)>,
    /// The final reads that failed and did not succeed since: through which node, and whether of its own copy.
    pub(crate) failed_finally: Vec<(Option<u32>, bool)>,
    /// When the last final read of it was invoked.
    pub(crate) read_finally: Option<Moment>,
    /// The last own copy that each owner showed in a final read.
    pub(crate) copies: Vec<OwnCopy>,
}

/// An owner's own copy of a cart.
#[derive(Debug)]
pub(crate) struct OwnCopy {
    /// The owner's number.
    pub(crate) node: u32,
    /// The additions that it showed.
    pub(crate) shown: Vec<u32>,
    /// Its digest, if the history has it.
    pub(crate) digest: Option<Box<str>>,
}

impl Cart {
    fn new(key: Key, name: &str) -> Self {
        Self {
            key,
            name: name.into(),
            additions: Vec::new(),
            table: HashTable::new(),
            next: 0,
            names: String::new(),
            expected: Default::default(),
            held: Vec::new(),
            failed_finally: Vec::new(),
            read_finally: None,
            copies: Vec::new(),
        }
    }

    /// The addition's number in this cart.
    pub(crate) fn intern(&mut self, key: Key, add_id: &str) -> u32 {
        let Self { additions, table, names, next, .. } = self;
        let same = |number: &u32| additions.get(*number as usize).is_some_and(|a| a.key == key);
        let known = Some(*next).filter(same).or_else(|| table.find(key.hash(), same).copied());
        if let Some(number) = known {
            *next = number + 1;
            return number;
        }
        let number = additions.len() as u32;
        names.push_str(add_id);
        additions.push(Addition::new(key, names.len()));
        table.insert_unique(key.hash(), number, |n| additions[*n as usize].key.hash());
        number
    }

    /// The add_id of an addition.
    pub(crate) fn add_id(&self, number: u32) -> &str {
        let place = number as usize;
        let start = if place == 0 { 0 } else { self.additions[place - 1].name_end };
        &self.names[start..self.additions[place].name_end]
    }
}

/// All carts, found by name.
#[derive(Debug, Default)]
pub(crate) struct Carts {
    pub(crate) list: Vec<Cart>,
    table: HashTable<u32>,
}

impl Carts {
    /// The cart's number.
    pub(crate) fn intern(&mut self, key: Key, name: &str) -> u32 {
        let Self { list, table } = self;
        if let Some(number) = table.find(key.hash(), |number| list[*number as usize].key == key) {
            return *number;
        }
        let number = list.len() as u32;
        list.push(Cart::new(key, name));
        table.insert_unique(key.hash(), number, |n| list[*n as usize].key.hash());
        number
    }
}
