//! What anti-entropy costs: two owners with the same million keys, of which some are written at one of them alone.
//!
//! `cargo run --release -p cartwheel-protocol --example exchange [KEYS]` drives two replicas in memory and prints how long the
//! trees take to build, what a rotation costs when nothing differs, and what it takes to mend 1 to 10,000 keys: messages, round
//! trips one after the other, and bytes as format 1 encodes them.

#![expect(clippy::print_stdout, reason = "an example that prints a table")]
#![expect(clippy::disallowed_types, reason = "it measures, and is no part of the core")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use cartwheel_protocol::{
    Compared, Config, Effect, Fact, Input, Message, Replica, Timer,
    bucket::{Bucket, BucketName},
    format::v1,
    id::{ClusterId, Incarnation, NodeId, PutId, Zone},
    key::{Key, Partitions, RecordKey},
    layout::{Layout, Member},
    object::{Entry, Object, Value},
    record::{Record, Storage},
    request::{Operation, Request},
    version::{Actor, Dot, VersionVector},
    view::View,
};

/// Bytes of a value.
const VALUE: usize = 100;

struct Node {
    replica: Replica,
    memory: BTreeMap<RecordKey, Record>,
}

/// What was sent, and how the exchanges ended.
#[derive(Default)]
struct Cost {
    exchanges: u64,
    differed: u64,
    repaired: u64,
    messages: u64,
    /// Answers to who began, one after the other.
    round_trips: u64,
    bytes: u64,
    /// Bytes of exchanges that found equal roots.
    idle_bytes: u64,
    took: Duration,
}

impl Node {
    fn new(id: u64, view: &Arc<View>, memory: BTreeMap<RecordKey, Record>) -> Self {
        // Nobody hands tickets back here, so requests stay open. One exchange at a time, to tell what each costs.
        let (max_pending, anti_entropy_batch) = (usize::MAX, 1);
        let config = Config { max_pending, anti_entropy_batch, ..Config::new(ClusterId(7)) };
        let replica = Replica::new(NodeId(id), Incarnation(id), config);
        let mut node = Self { replica, memory };
        node.step(Input::View(view.clone()));
        node
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.replica.step(&mut self.memory, input, &mut effects);
        effects
    }

    /// Gives how long it took, and the longest step.
    fn build_trees(&mut self) -> (Duration, Duration, u64) {
        let (mut whole, mut longest, mut steps) = (Duration::ZERO, Duration::ZERO, 0);
        while self.replica.trees_left() > 0 {
            let began = Instant::now();
            self.step(Input::Timeout(Timer::Trees));
            let took = began.elapsed();
            (whole, longest, steps) = (whole + took, longest.max(took), steps + 1);
        }
        (whole, longest, steps)
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
    let layout = Layout::form((1..=2).map(member), Partitions::DEFAULT, Bucket::built_in());
    Arc::new(View::new(Arc::new(layout.expect("two members make a layout"))))
}

fn key(number: u64) -> Key {
    let bucket = BucketName::new("default").expect("a valid name");
    Key::new(bucket, format!("key-{number:012}").into_bytes())
}

fn record(number: u64) -> Record {
    let actor = Actor { incarnation: Incarnation(9), n: number };
    let dot = Dot { actor, counter: 1 };
    let bytes = vec![number as u8; VALUE].into();
    let value = Value { put_id: PutId(number.into()), time_us: 0, bytes };
    let entries = vec![(dot, Entry::Value(value))];
    let object = Object::from_parts(VersionVector::from_dots([dot]), entries, Vec::new());
    Record { object, ..Record::default() }
}

/// Lets the first node compare all of its trees with the second.
fn rotate(n1: &mut Node, n2: &mut Node) -> Cost {
    let mut cost = Cost::default();
    let began = Instant::now();
    for _ in 0..n1.replica.exchanges() {
        exchange(n1, n2, &mut cost);
    }
    cost.took = began.elapsed();
    cost
}

fn exchange(n1: &mut Node, n2: &mut Node, cost: &mut Cost) {
    let before = cost.bytes;
    let mut effects = n1.step(Input::Timeout(Timer::AntiEntropy));
    loop {
        let mut flight: VecDeque<Message> = VecDeque::new();
        let mut outcome = None;
        for effect in effects {
            match effect {
                Effect::Send { message, .. } => flight.push_back(message),
                Effect::Report(Fact::Compared { outcome: ended, .. }) => outcome = Some(ended),
                Effect::Report(_)
                | Effect::Reply { .. }
                | Effect::Sync(_)
                | Effect::SetTimer { .. }
                | Effect::CancelTimer(_) => {}
            }
        }
        // Between two pages it waits for its timer.
        let is_paused = flight.is_empty() && outcome.is_none();
        effects = if is_paused { n1.step(Input::Timeout(Timer::AntiEntropy)) } else { Vec::new() };
        for message in flight {
            count(&message, cost);
            let answers = n2.step(Input::Message { from: NodeId(1), message });
            for effect in answers {
                let Effect::Send { message, .. } = effect else { continue };
                count(&message, cost);
                cost.round_trips += 1;
                effects.extend(n1.step(Input::Message { from: NodeId(2), message }));
            }
        }
        match outcome {
            None => continue,
            Some(Compared::Equal) => cost.idle_bytes += cost.bytes - before,
            Some(Compared::Differed(keys)) => {
                cost.differed += 1;
                cost.repaired += u64::from(keys);
            }
            Some(Compared::Missed) => panic!("nobody is silent here"),
        }
        cost.exchanges += 1;
        return;
    }
}

fn count(message: &Message, cost: &mut Cost) {
    cost.messages += 1;
    cost.bytes += v1::encode_message(message).len() as u64;
}

fn main() {
    let keys: u64 =
        std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a number of keys"));
    let view = view();
    let mut memory = BTreeMap::new();
    for number in 0..keys {
        memory.write(view.place(key(number)), Some(record(number)));
    }
    let mut n1 = Node::new(1, &view, memory.clone());
    let mut n2 = Node::new(2, &view, memory);
    let (took, longest, steps) = n1.build_trees();
    n2.build_trees();
    println!("{keys} keys of {VALUE} bytes in {} partitions", view.partitions().count());
    println!("trees are built in {took:.1?} of CPU, {steps} steps, the longest {longest:.1?}\n");
    println!(
        "| keys that differ | exchanges | messages | round trips | bytes | bytes a key | time |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut number = 0;
    for differing in [0, 1, 10, 100, 1_000, 10_000] {
        for _ in 0..differing {
            number += 1;
            let at = number * 7_919 % keys;
            let value = vec![1; VALUE].into();
            let put_id = PutId(u128::from(number) << 64);
            let operation = Operation::Put { context: None, put_id, time_us: 0, value };
            let request =
                Request { key: key(at), operation, quorum: Some(1), strict: false, timeout_ms: 1 };
            n1.step(Input::Request { number, request });
        }
        let cost = rotate(&mut n1, &mut n2);
        let again = rotate(&mut n1, &mut n2);
        assert_eq!((cost.repaired, again.differed), (differing, 0), "one rotation mends all");
        // What the other partitions' equal roots cost is the first row.
        let idle = if differing == 0 { 0 } else { cost.exchanges - cost.differed };
        let bytes = if differing == 0 { cost.bytes } else { cost.bytes - cost.idle_bytes };
        println!(
            "| {differing} | {} | {} | {} | {bytes} | {} | {:.1?} |",
            cost.exchanges - idle,
            cost.messages - 2 * idle,
            cost.round_trips - idle,
            bytes / differing.max(1),
            cost.took,
        );
    }
}
