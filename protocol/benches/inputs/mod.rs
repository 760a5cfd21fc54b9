//! What the benchmarks work on: the same in every run and on every machine, for all of it follows from seeds.

use std::sync::Arc;

use cartwheel_protocol::{
    id::{AddId, Incarnation, PutId},
    object::{Addition, Entry, Object, Value},
    version::{Actor, Dot, VersionVector},
};

/// Bytes of a value, up to the largest that is taken.
pub(crate) const VALUES: [usize; 4] = [100, 4_096, 65_536, 1 << 20];
/// Every object was written through so many actors.
const ACTORS: u64 = 8;

/// A seeded generator (splitmix64).
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn next_id(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Arc<[u8]> {
        let mut bytes: Vec<u8> = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes.into()
    }

    pub(crate) fn value(&mut self, bytes: usize) -> Value {
        let put_id = PutId(self.next_id());
        Value { put_id, time_us: 1_700_000_000_000_000, bytes: self.bytes(bytes) }
    }

    pub(crate) fn addition(&mut self) -> Addition {
        let add_id = AddId(self.next_id());
        let sku = format!("sku-{:04}", self.next() % 10_000).into();
        Addition { add_id, sku, quantity: 1 }
    }
}

/// The dots of one run of a cluster, by number. An incarnation is 64 random bits, in the encoding too.
pub(crate) fn dot(number: u64, run: u64) -> Dot {
    let incarnation = Incarnation(Seeded::new(run ^ ((number % ACTORS) << 32)).next());
    Dot { actor: Actor { incarnation, n: 1 }, counter: number / ACTORS + 1 }
}

/// A cart of so many live additions by the actors of one run.
pub(crate) fn cart(additions: u64, run: u64) -> Object {
    let mut seeded = Seeded::new(additions ^ run << 32);
    object(additions, run, || Entry::Addition(seeded.addition()))
}

/// A register of so many siblings of so many bytes each.
pub(crate) fn register(siblings: u64, bytes: usize, run: u64) -> Object {
    let mut seeded = Seeded::new(siblings ^ run << 32 ^ (bytes as u64) << 40);
    object(siblings, run, || Entry::Value(seeded.value(bytes)))
}

fn object(entries: u64, run: u64, mut entry: impl FnMut() -> Entry) -> Object {
    let entries: Vec<_> = (0..entries).map(|number| (dot(number, run), entry())).collect();
    let seen = VersionVector::from_dots(entries.iter().map(|(dot, _)| *dot));
    Object::from_parts(seen, entries, Vec::new())
}
