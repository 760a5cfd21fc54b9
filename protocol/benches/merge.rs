//! Merging, putting and cancelling: what every replica does with every message.

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod inputs;

use std::hint::black_box;

use cartwheel_protocol::{
    bucket::{Bucket, BucketName, Conflict, Kind},
    key::Key,
    object::Merging,
    rules::Rules,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use inputs::{Seeded, VALUES, cart, dot, register};

/// Live entries of a cart.
const ENTRIES: [u64; 5] = [1, 10, 100, 1_000, 10_000];
/// Siblings of a register.
const SIBLINGS: [u64; 4] = [1, 4, 16, 64];

fn merging(kind: Kind) -> Merging {
    let name = BucketName::new("bench").expect("a valid name");
    let bucket = Bucket { conflict: Conflict::Siblings, ..Bucket::new(name, kind, 3) };
    Merging::of(&bucket, Rules::sound())
}

fn merge_carts(c: &mut Criterion) {
    let merging = merging(Kind::Cart);
    let mut group = c.benchmark_group("merge/cart");
    for entries in ENTRIES {
        group.throughput(Throughput::Elements(entries));
        let held = cart(entries, 1);
        let one_more = (dot(entries, 1), Seeded::new(7).addition());
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
        let added = Seeded::new(7).addition();
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
        let new = Seeded::new(7).value(100);
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
