//! What is known of carts and additions while a history goes by, and how they are found by name.

use hashbrown::HashTable;

use super::timeline::Moment;
use super::tracker::{Expected, Kind, Watch};

/// What is known of one add_id in one cart.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) cart: u32,
    name_start: usize,
    name_length: u32,
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
    /// The longest staleness so far: nanoseconds, promise, read.
    pub(crate) stale: Option<(u64, Moment, Moment)>,
    pub(crate) shown: bool,
    pub(crate) shown_finally: bool,
    /// A cancellation that names it did or may have happened.
    pub(crate) maybe_cancelled: bool,
    pub(crate) duplicated: bool,
    pub(crate) phantom: bool,
    pub(crate) resurrected: bool,
    pub(crate) stale_strict: bool,
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

    fn new(cart: u32, name_start: usize, name_length: u32) -> Self {
        Self {
            cart,
            name_start,
            name_length,
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
        }
    }
}

/// What is known of one cart.
#[derive(Debug)]
pub(crate) struct Cart {
    pub(crate) name: Box<str>,
    pub(crate) expected: [Expected; 3],
    /// When the last final read of it was invoked.
    pub(crate) read_finally: Option<Moment>,
    /// The additions in the last own copy that each owner showed in a final read, with its number.
    pub(crate) copies: Vec<(u32, Vec<u32>)>,
}

/// All carts, found by key.
#[derive(Debug, Default)]
pub(crate) struct Carts {
    pub(crate) list: Vec<Cart>,
    table: HashTable<(u64, u32)>,
}

impl Carts {
    /// The cart's number.
    pub(crate) fn intern(&mut self, name: &str, hash: u64) -> u32 {
        let same = |(_, cart): &(u64, u32)| *self.list[*cart as usize].name == *name;
        if let Some((_, cart)) = self.table.find(hash, same) {
            return *cart;
        }
        let cart = self.list.len() as u32;
        self.list.push(Cart {
            name: name.into(),
            expected: Default::default(),
            read_finally: None,
            copies: Vec::new(),
        });
        self.table.insert_unique(hash, (hash, cart), |(hash, _)| *hash);
        cart
    }
}

/// All additions, found by cart and add_id.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    pub(crate) list: Vec<Addition>,
    table: HashTable<(u64, u32)>,
    /// All add_ids, one after the other.
    names: String,
}

impl Additions {
    /// The addition's number. The same add_id in another cart is another addition.
    pub(crate) fn intern(&mut self, cart: u32, name: &str, hash: u64) -> u32 {
        let hash = hash ^ u64::from(cart).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let same = |(other, addition): &(u64, u32)| {
            let addition = &self.list[*addition as usize];
            *other == hash && addition.cart == cart && text(&self.names, addition) == name
        };
        if let Some((_, addition)) = self.table.find(hash, same) {
            return *addition;
        }
        let addition = self.list.len() as u32;
        self.list.push(Addition::new(cart, self.names.len(), name.len() as u32));
        self.names.push_str(name);
        self.table.insert_unique(hash, (hash, addition), |(hash, _)| *hash);
        addition
    }

    pub(crate) fn name(&self, addition: u32) -> &str {
        text(&self.names, &self.list[addition as usize])
    }
}

fn text<'a>(names: &'a str, addition: &Addition) -> &'a str {
    &names[addition.name_start..addition.name_start + addition.name_length as usize]
}
