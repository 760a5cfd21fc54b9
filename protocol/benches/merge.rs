//! Merging, putting and cancelling: what every replica does with every message. Inputs are made from a fixed seed.

use std::{hint::black_box, sync::Arc};

use cartwheel_protocol::{
    bucket::{Bucket, BucketName, Conflict, Kind},
    id::{AddId, Incarnation, PutId},
    key::Key,
    object::{Addition, Entry, Merging, Object, Value},
    rules::Rules,
    version::{Actor, Dot, VersionVector},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Live entries of a cart.
const ENTRIES: [u64; 5] = [1, 10, 100, 1_000, 10_000];
/// Siblings of a register.
const SIBLINGS: [u64; 4] = [1, 4, 16, 64];
/// Bytes of a value.
const VALUES: [usize; 4] = [100, 4_096, 65_536, 1 << 20];
/// Every cart here was written through so many actors.
const ACTORS: u64 = 8;

/// A seeded generator (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn merging(kind: Kind) -> Merging {
    let name = BucketName::new("bench").expect("a valid name");
    let bucket = Bucket { conflict: Conflict::Siblings, ..Bucket::new(name, kind, 3) };
    Merging::of(&bucket, Rules::sound())
}

fn dot(number: u64, incarnation: u64) -> Dot {
    let actor = Actor { incarnation: Incarnation(incarnation), n: number % ACTORS };
    Dot { actor, counter: number / ACTORS + 1 }
}

fn object(entries: Vec<(Dot, Entry)>) -> Object {
    let seen = VersionVector::from_dots(entries.iter().map(|(dot, _)| *dot));
    Object::from_parts(seen, entries, Vec::new())
}

fn addition(seeded: &mut Seeded) -> Addition {
    let add_id = AddId(u128::from(seeded.next()) << 64 | u128::from(seeded.next()));
    Addition { add_id, sku: format!("sku-{:04}", seeded.next() % 10_000).into(), quantity: 1 }
}

/// A cart of so many live additions by the actors of one run.
fn cart(entries: u64, incarnation: u64) -> Object {
    let mut seeded = Seeded(entries ^ incarnation << 32);
    let entry = |number| (dot(number, incarnation), Entry::Addition(addition(&mut seeded)));
    object((0..entries).map(entry).collect())
}

fn value(put_id: u64, bytes: usize) -> Value {
    let bytes: Arc<[u8]> = (0..bytes).map(|at| at as u8).collect();
    Value { put_id: PutId(put_id.into()), time_us: 0, bytes }
}

/// A register of so many siblings.
fn register(siblings: u64, bytes: usize, incarnation: u64) -> Object {
    let entry = |number| (dot(number, incarnation), Entry::Value(value(number, bytes)));
    object((0..siblings).map(entry).collect())
}

fn merge_carts(c: &mut Criterion) {
    let merging = merging(Kind::Cart);
    let mut group = c.benchmark_group("merge/cart");
    for entries in ENTRIES {
        group.throughput(Throughput::Elements(entries));
        let held = cart(entries, 1);
        let mut seeded = Seeded(7);
        let one_more = (dot(entries, 1), addition(&mut seeded));
        let newer = held.change(merging, &[], Some(one_more));
        group.bench_function(BenchmarkId::new("one-more", entries), |b| {
            b.iter(|| black_box(&held).merge(black_box(&newer), merging));
        });
        group.bench_function(BenchmarkId::new("nothing-new", entries), |b| {
            b.iter(|| black_box(&newer).merge(black_box(&held), merging));
        });
        let apart = cart(entries, 2);
        group.bench_function(BenchmarkId::new("apart", entries), |b| {
            b.iter(|| black_box(&held).merge(black_box(&apart), merging));
        });
    }
    group.finish();
}

fn change_carts(c: &mut Criterion) {
    let merging = merging(Kind::Cart);
    let mut group = c.benchmark_group("change/cart");
    for entries in ENTRIES {
        group.throughput(Throughput::Elements(1));
        let held = cart(entries, 1);
        let added = addition(&mut Seeded(7));
        group.bench_function(BenchmarkId::new("add", entries), |b| {
            b.iter(|| {
                let add = Some((dot(entries, 1), added.clone()));
                black_box(&held).change(merging, &[], add)
            });
        });
        let named = held.additions()[entries as usize / 2].add_id;
        group.bench_function(BenchmarkId::new("cancel", entries), |b| {
            b.iter(|| black_box(&held).change(merging, black_box(&[named]), None));
        });
        group.bench_function(BenchmarkId::new("show", entries), |b| {
            b.iter(|| black_box(&held).additions().len());
        });
    }
    group.finish();
}

fn registers(c: &mut Criterion) {
    let merging = merging(Kind::Register);
    let mut group = c.benchmark_group("register/siblings");
    for siblings in SIBLINGS {
        group.throughput(Throughput::Elements(siblings));
        let (held, apart) = (register(siblings, 100, 1), register(siblings, 100, 2));
        group.bench_function(BenchmarkId::new("merge", siblings), |b| {
            b.iter(|| black_box(&held).merge(black_box(&apart), merging));
        });
        let new = value(1_000, 100);
        group.bench_function(BenchmarkId::new("put-resolving", siblings), |b| {
            b.iter(|| {
                let context = black_box(held.seen());
                held.put(merging, context, dot(siblings, 1), new.clone())
            });
        });
    }
    group.finish();
}

fn values(c: &mut Criterion) {
    let merging = merging(Kind::Register);
    let key = Key::new(BucketName::new("bench").expect("a valid name"), *b"key");
    let mut group = c.benchmark_group("register/value");
    for bytes in VALUES {
        group.throughput(Throughput::Bytes(bytes as u64));
        let (held, apart) = (register(1, bytes, 1), register(1, bytes, 2));
        group.bench_function(BenchmarkId::new("merge", bytes), |b| {
            b.iter(|| black_box(&held).merge(black_box(&apart), merging));
        });
        group.bench_function(BenchmarkId::new("digest", bytes), |b| {
            b.iter(|| black_box(&held).digest(&key));
        });
    }
    group.finish();
}

criterion_group!(benches, merge_carts, change_carts, registers, values);
criterion_main!(benches);
