//! Layouts: one step, the preference list, where a key belongs.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use cartwheel_protocol::{
    bucket::{Bucket, BucketName, Kind},
    id::{NodeId, Zone},
    key::{Key, Partition, Partitions},
    layout::{Command, Layout, Member},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn member(number: u64) -> Member {
    let id = NodeId(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let zone = Zone(format!("z{}", number % 3).into());
    let address = format!("127.0.0.1:{}", 7_400 + number).into();
    Member { id, name: format!("n{number}").into(), address, zone, weight: 1 }
}

fn layout(partitions: u32, nodes: u64) -> Layout {
    let partitions = Partitions::new(partitions).expect("a power of two");
    Layout::form((0..nodes).map(member), partitions, Bucket::built_in()).expect("a layout")
}

/// Every size of the cluster that is measured: partitions and nodes.
fn clusters() -> impl Iterator<Item = (u32, u64)> {
    [64, 1024].into_iter().flat_map(|q| [5, 30, 100].into_iter().map(move |nodes| (q, nodes)))
}

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("layout_step");
    for (partitions, nodes) in clusters() {
        let layout = layout(partitions, nodes);
        let commands = [
            ("join", Command::Join(member(nodes))),
            ("leave", Command::Leave(member(nodes / 2).id)),
        ];
        group.throughput(Throughput::Elements(u64::from(partitions)));
        for (name, command) in commands {
            let id = BenchmarkId::new(name, format!("Q={partitions} S={nodes}"));
            group.bench_function(id, |b| {
                b.iter(|| black_box(&layout).step(std::slice::from_ref(&command), false));
            });
        }
    }
    group.finish();
}

fn preference_lists(c: &mut Criterion) {
    let mut group = c.benchmark_group("preference_list");
    group.throughput(Throughput::Elements(1));
    for (partitions, nodes) in clusters() {
        let layout = layout(partitions, nodes);
        let id = BenchmarkId::from_parameter(format!("Q={partitions} S={nodes}"));
        let mut partition = 0;
        group.bench_function(id, |b| {
            b.iter(|| {
                partition = (partition + 1) % partitions;
                layout.preference_list(Partition(black_box(partition)), 3)
            });
        });
    }
    group.finish();
}

fn key_lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("key_lookup");
    group.throughput(Throughput::Elements(1));
    let layout = layout(1024, 30);
    for bytes in [8, 64, 1_024] {
        let bucket = Bucket::new(BucketName::new("carts").expect("a name"), Kind::Cart, 3);
        let key = Key { bucket: bucket.name, name: vec![b'k'; bytes].into() };
        group.bench_function(BenchmarkId::from_parameter(format!("{bytes} B")), |b| {
            b.iter(|| {
                let partition = layout.partitions().of(black_box(&key));
                layout.owner_indexes(partition)[0]
            });
        });
    }
    group.finish();
}

criterion_group!(benches, steps, preference_lists, key_lookup);
criterion_main!(benches);
