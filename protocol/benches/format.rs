//! Encoding and decoding of records in format 1: carts by entries, registers by siblings and value sizes.

use std::hint::black_box;

use cartwheel_protocol::{
    format::v1,
    id::{AddId, Incarnation, PutId},
    object::{Addition, Entry, Object, Value},
    record::Record,
    version::{Actor, Dot, VersionVector},
};
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};

/// Three actors, as of the owners of a key, and their dots in turn.
fn dots(count: u64) -> impl Iterator<Item = Dot> {
    (0..count).map(|at| {
        let incarnation = Incarnation(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(1 + at % 3));
        Dot { actor: Actor { incarnation, n: 1 }, counter: 1 + at / 3 }
    })
}

fn record(entries: u64, entry: impl Fn(u64) -> Entry) -> Record {
    let live = dots(entries).enumerate().map(|(at, dot)| (dot, entry(at as u64))).collect();
    let object = Object::from_parts(VersionVector::from_dots(dots(entries)), live, Vec::new());
    Record { object, own: dots(1).next(), ..Record::default() }
}

fn addition(at: u64) -> Entry {
    let add_id = AddId((0x0190_0000_0000 + u128::from(at)) << 80 | 0x7000 << 64);
    Entry::Addition(Addition { add_id, sku: format!("article-{at:06}").into(), quantity: 2 })
}

fn value(at: u64, len: usize) -> Entry {
    let put_id = PutId(u128::from(at));
    Entry::Value(Value { put_id, time_us: 1_700_000_000_000_000, bytes: vec![7; len].into() })
}

fn both_ways(group: &mut BenchmarkGroup<'_, WallTime>, parameter: u64, record: &Record) {
    let bytes = v1::encode_record(record);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(BenchmarkId::new("encode", parameter), |b| {
        b.iter(|| v1::encode_record(black_box(record)));
    });
    group.bench_function(BenchmarkId::new("decode", parameter), |b| {
        b.iter(|| v1::decode_record(black_box(&bytes)).expect("it was encoded just now"));
    });
}

fn format(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("format/cart_entries");
    for entries in [1, 10, 100, 1_000] {
        both_ways(&mut group, entries, &record(entries, addition));
    }
    group.finish();
    let mut group = criterion.benchmark_group("format/siblings");
    for siblings in [1, 8, 64] {
        both_ways(&mut group, siblings, &record(siblings, |at| value(at, 100)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("format/value_bytes");
    for len in [100, 1_024, 65_536, 1 << 20] {
        both_ways(&mut group, len, &record(1, |at| value(at, len as usize)));
    }
    group.finish();
}

criterion_group!(benches, format);
criterion_main!(benches);
