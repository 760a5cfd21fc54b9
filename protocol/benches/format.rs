//! Encoding and decoding of records in format 1: carts by entries, registers by siblings and value sizes.

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod inputs;

use std::hint::black_box;

use cartwheel_protocol::{format::v1, object::Object, record::Record};
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};

use inputs::{VALUES, cart, dot, register};

fn record(object: Object) -> Record {
    Record { object, own: Some(dot(0, 1)), ..Record::default() }
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
        both_ways(&mut group, entries, &record(cart(entries, 1)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("format/siblings");
    for siblings in [1, 8, 64] {
        both_ways(&mut group, siblings, &record(register(siblings, 100, 1)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("format/value_bytes");
    for bytes in VALUES {
        both_ways(&mut group, bytes as u64, &record(register(1, bytes, 1)));
    }
    group.finish();
}

criterion_group!(benches, format);
criterion_main!(benches);
