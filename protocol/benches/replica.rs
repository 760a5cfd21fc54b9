//! One step of a replica: what a node does for one message, without network and disk.

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod inputs;

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use cartwheel_protocol::{
    Config, Effect, Effects, Input, Message, Replica, Timer,
    bucket::{Bucket, BucketName},
    id::{ClusterId, Incarnation, NodeId, Zone},
    key::{Key, Partitions, RecordKey},
    layout::{Layout, Member},
    object::Value,
    record::Record,
    request::{Operation, Request},
    view::View,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use inputs::{Seeded, VALUES};

/// Additions that the cart already holds; one more is allowed.
const ENTRIES: [u64; 4] = [1, 10, 100, 999];
/// Records that a page of a tree's scan finds more than enough of.
const RECORDS: u64 = 1_000;

/// One of three owners of everything, with its store.
#[derive(Clone)]
struct Node {
    replica: Replica,
    memory: BTreeMap<RecordKey, Record>,
}

impl Node {
    fn new(id: u64, view: &Arc<View>) -> Self {
        let replica = Replica::new(NodeId(id), Incarnation(id), Config::new(ClusterId(7)));
        let mut node = Self { replica, memory: BTreeMap::new() };
        node.step(Input::View(view.clone()));
        node
    }

    /// One whose trees are whole.
    fn with_trees(id: u64, view: &Arc<View>) -> Self {
        let mut node = Self::new(id, view);
        while node.replica.trees_left() > 0 {
            node.step(Input::Timeout(Timer::Trees));
        }
        node
    }

    fn step(&mut self, input: Input) -> Effects {
        let mut effects = Effects::new();
        self.replica.step(&mut self.memory, input, &mut effects);
        effects
    }
}

fn view() -> Arc<View> {
    let member = |id: u64| Member {
        id: NodeId(id),
        name: format!("n{id}").into(),
        address: format!("n{id}:7400").into(),
        zone: Zone("a".into()),
        weight: 1,
    };
    let layout = Layout::form((1..=3).map(member), Partitions::DEFAULT, Bucket::built_in());
    Arc::new(View::new(Arc::new(layout.expect("three members make a layout"))))
}

fn key(bucket: &str) -> Key {
    Key::new(BucketName::new(bucket).expect("a valid name"), *b"key")
}

fn request(number: u64, key: Key, operation: Operation) -> Input {
    let request = Request { key, operation, quorum: None, strict: false, timeout_ms: 1_000 };
    Input::Request { number, request }
}

fn add(number: u64) -> Input {
    let add = Some(Seeded::new(number).addition());
    let operation = Operation::Change { cancel: [].into(), add, context: None };
    request(number, key("carts"), operation)
}

fn put(number: u64, bytes: usize) -> Input {
    request(number, key("default"), put_of(number, bytes))
}

/// A put of a value that follows from a seed.
fn put_of(seed: u64, bytes: usize) -> Operation {
    let Value { put_id, time_us, bytes: value } = Seeded::new(seed).value(bytes);
    Operation::Put { context: None, put_id, time_us, value }
}

/// The messages to one node among some effects.
fn messages(to: NodeId, effects: Effects) -> Vec<Message> {
    let message = |effect| match effect {
        Effect::Send { to: receiver, message } => (receiver == to).then_some(message),
        Effect::Reply { .. }
        | Effect::Sync(_)
        | Effect::SetTimer { .. }
        | Effect::CancelTimer(_)
        | Effect::Report(_) => None,
    };
    effects.into_iter().filter_map(message).collect()
}

/// Runs one step on a copy of the node: the copy is not timed.
fn bench_step(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    id: BenchmarkId,
    node: &Node,
    input: &Input,
) {
    group.bench_function(id, |b| {
        b.iter_batched(
            || (node.clone(), input.clone()),
            |(mut node, input)| {
                let effects = node.step(black_box(input));
                (node, effects)
            },
            BatchSize::SmallInput,
        );
    });
}

fn carts(c: &mut Criterion) {
    let view = view();
    let mut group = c.benchmark_group("step/cart");
    group.throughput(Throughput::Elements(1));
    for entries in ENTRIES {
        let (mut n1, mut n2) = (Node::new(1, &view), Node::new(2, &view));
        let mut sent = Vec::new();
        for number in 1..=entries {
            sent = messages(NodeId(2), n1.step(add(number)));
        }
        for message in sent {
            n2.step(Input::Message { from: NodeId(1), message });
        }
        // Only the cart counts: nothing of the requests that made it is left.
        let n1 = Node { memory: n1.memory, ..Node::new(1, &view) };
        let next = add(entries + 1);
        bench_step(&mut group, BenchmarkId::new("coordinate-add", entries), &n1, &next);
        let copy = messages(NodeId(2), n1.clone().step(next)).remove(0);
        let receive = Input::Message { from: NodeId(1), message: copy };
        bench_step(&mut group, BenchmarkId::new("receive-put", entries), &n2, &receive);
        let get = request(1, key("carts"), Operation::Get);
        bench_step(&mut group, BenchmarkId::new("coordinate-get", entries), &n1, &get);
        let asked = messages(NodeId(2), n1.clone().step(get)).remove(0);
        let answer = Input::Message { from: NodeId(1), message: asked };
        bench_step(&mut group, BenchmarkId::new("answer-get", entries), &n2, &answer);
    }
    group.finish();
}

fn registers(c: &mut Criterion) {
    let view = view();
    let mut group = c.benchmark_group("step/register");
    for bytes in VALUES {
        group.throughput(Throughput::Bytes(bytes as u64));
        let (n1, n2) = (Node::new(1, &view), Node::new(2, &view));
        let put = put(1, bytes);
        bench_step(&mut group, BenchmarkId::new("coordinate-put", bytes), &n1, &put);
        let copy = messages(NodeId(2), n1.clone().step(put)).remove(0);
        let receive = Input::Message { from: NodeId(1), message: copy };
        bench_step(&mut group, BenchmarkId::new("receive-put", bytes), &n2, &receive);
    }
    group.finish();
}

/// What trees cost a write, one page of building them, and one comparison of a root.
fn trees(c: &mut Criterion) {
    let view = view();
    let mut group = c.benchmark_group("step/trees");
    group.throughput(Throughput::Elements(1));
    let sent = messages(NodeId(2), Node::new(1, &view).step(put(1, VALUES[0]))).remove(0);
    let receive = Input::Message { from: NodeId(1), message: sent };
    for (name, node) in [("without", Node::new(2, &view)), ("with", Node::with_trees(2, &view))] {
        bench_step(&mut group, BenchmarkId::new("receive-put", name), &node, &receive);
    }
    let mut full = Node::new(2, &view);
    for number in 0..RECORDS {
        let name = number.to_be_bytes();
        let key = Key::new(BucketName::new("default").expect("a valid name"), name);
        full.step(request(number, key, put_of(number, VALUES[0])));
    }
    // Only the records count: nothing of the requests that made them is left.
    let full = Node { memory: full.memory, ..Node::new(2, &view) };
    let page = Input::Timeout(Timer::Trees);
    bench_step(&mut group, BenchmarkId::new("build", "page"), &full, &page);
    let mut n1 = Node::with_trees(1, &view);
    let n2 = Node::with_trees(2, &view);
    let next = Input::Timeout(Timer::AntiEntropy);
    bench_step(&mut group, BenchmarkId::new("compare", "batch"), &n1, &next);
    let asked = messages(NodeId(2), n1.step(next)).remove(0);
    let answer = Input::Message { from: NodeId(1), message: asked };
    bench_step(&mut group, BenchmarkId::new("compare", "answer"), &n2, &answer);
    group.finish();
}

criterion_group!(benches, carts, registers, trees);
criterion_main!(benches);
