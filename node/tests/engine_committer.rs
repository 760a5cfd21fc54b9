//! The committer on an engine whose commits the test holds back, fails or counts.

#![cfg(not(feature = "loom"))]
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cartwheel_node::committer::{
    Commit, Committer, Config, ShardId, Stopped, Watermarks, durable_step,
};
use cartwheel_node::engine::{Batch, Engine, EngineError, Layer, MemoryEngine};

const DEADLINE: Duration = Duration::from_secs(10);

/// What the test lets a commit do.
enum Order {
    Go,
    Fail,
    Panic,
}

/// An engine that says when a commit begins, and waits there for an order.
struct Held {
    memory: MemoryEngine,
    began: Mutex<Sender<usize>>,
    orders: Mutex<Receiver<Order>>,
}

impl Layer for Held {
    fn below(&self) -> &dyn Engine {
        &self.memory
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        self.began.lock().unwrap().send(batch.iter().count()).unwrap();
        match self.orders.lock().unwrap().recv_timeout(DEADLINE).unwrap() {
            Order::Go => self.memory.commit(batch),
            Order::Fail => Err(io::Error::from(io::ErrorKind::StorageFull).into()),
            Order::Panic => panic!("the engine's bug, wanted by this test"),
        }
    }
}

/// A committer on a held engine, with what it says.
struct Stage {
    committer: Committer,
    engine: Arc<Held>,
    orders: Sender<Order>,
    began: Receiver<usize>,
    woken: Receiver<(ShardId, u64)>,
    failed: Receiver<String>,
}

impl Stage {
    fn new(config: Config) -> Self {
        let (began_sender, began) = channel();
        let (orders, orders_receiver) = channel();
        let (wake, woken) = channel();
        let (fail, failed) = channel();
        let engine = Arc::new(Held {
            memory: MemoryEngine::new(),
            began: Mutex::new(began_sender),
            orders: Mutex::new(orders_receiver),
        });
        let wake = Mutex::new(wake);
        let wake = move |shard, step| wake.lock().unwrap().send((shard, step)).unwrap();
        let watermarks = Arc::new(Watermarks::new(&[0, 0], Box::new(wake)));
        let fail_stop = move |error: EngineError| fail.send(error.to_string()).unwrap();
        let committer =
            Committer::spawn(engine.clone(), watermarks, config, Box::new(fail_stop)).unwrap();
        Self { committer, engine, orders, began, woken, failed }
    }

    fn send(&self, shard: u16, step: u64, keys: &[&'static str]) {
        self.committer.sender().send(commit(shard, step, keys)).unwrap();
    }

    /// Waits for a commit to begin and answers how many keys it writes.
    fn begun(&self) -> usize {
        self.began.recv_timeout(DEADLINE).unwrap()
    }

    fn woken(&self) -> (u16, u64) {
        let (shard, step) = self.woken.recv_timeout(DEADLINE).unwrap();
        assert_eq!(self.committer.watermarks().take(shard), step);
        (shard.0, step)
    }

    /// Takes the marks of the shards that are woken until they are these.
    fn woken_until(&self, durable: [u64; 2]) {
        while [self.durable(0), self.durable(1)] != durable {
            let (shard, _) = self.woken.recv_timeout(DEADLINE).unwrap();
            assert!(self.committer.watermarks().take(shard) <= durable[usize::from(shard.0)]);
        }
    }

    fn durable(&self, shard: u16) -> u64 {
        self.committer.watermarks().durable(ShardId(shard))
    }
}

fn commit(shard: u16, step: u64, keys: &[&'static str]) -> Commit {
    let write = |key: &&'static str| (Bytes::from(*key), Some(Bytes::from(step.to_string())));
    Commit { shard: ShardId(shard), step, writes: keys.iter().map(write).collect() }
}

#[test]
fn what_waits_is_merged_and_acknowledged_after_its_commit() {
    let stage = Stage::new(Config::default());
    stage.send(0, 1, &["a"]);
    assert_eq!(stage.begun(), 2, "the key and the step's number");
    for step in 2..10 {
        stage.send(0, step, &["a", "b"]);
    }
    stage.send(1, 1, &["c"]);
    assert_eq!((stage.durable(0), stage.durable(1)), (0, 0));
    stage.orders.send(Order::Go).unwrap();
    assert_eq!(stage.woken(), (0, 1));
    assert_eq!(stage.begun(), 5, "three keys and two numbers of steps");
    assert_eq!((stage.durable(0), stage.durable(1)), (1, 0));
    stage.orders.send(Order::Go).unwrap();
    assert_eq!([stage.woken(), stage.woken()], [(0, 9), (1, 1)]);
    assert_eq!(
        stage.engine.memory.read(b"a").unwrap().as_deref(),
        Some(b"9".as_ref()),
        "the last wins"
    );
    assert_eq!(durable_step(stage.engine.as_ref(), ShardId(0)).unwrap(), 9);
    assert_eq!(durable_step(stage.engine.as_ref(), ShardId(1)).unwrap(), 1);
    stage.committer.join();
    assert_eq!(stage.failed.recv().ok(), None);
}

#[test]
fn a_step_without_writes_waits_for_those_before_and_costs_no_commit() {
    let stage = Stage::new(Config::default());
    stage.send(0, 1, &[]);
    assert_eq!(stage.woken(), (0, 1));
    stage.send(0, 2, &["a"]);
    stage.begun();
    stage.send(0, 3, &[]);
    stage.send(1, 1, &[]);
    assert_eq!((stage.durable(0), stage.durable(1)), (1, 0));
    stage.orders.send(Order::Go).unwrap();
    stage.woken_until([3, 1]);
    assert_eq!(durable_step(stage.engine.as_ref(), ShardId(0)).unwrap(), 2);
    stage.committer.join();
    assert_eq!(stage.began.try_iter().count(), 0);
}

#[test]
fn a_round_is_bounded_in_bytes() {
    let stage = Stage::new(Config { round_bytes: 4, ..Config::default() });
    stage.send(0, 1, &["a"]);
    stage.begun();
    for (step, key) in (2..).zip(["b", "c", "d", "e"]) {
        stage.send(0, step, &[key]);
    }
    stage.orders.send(Order::Go).unwrap();
    for _ in 0..2 {
        assert_eq!(stage.begun(), 3, "two keys of two bytes with their values, and the number");
        stage.orders.send(Order::Go).unwrap();
    }
    stage.committer.join();
}

#[test]
fn after_a_failed_commit_nothing_is_acknowledged() {
    for (order, said) in [
        (Order::Fail, "the store's disk failed: no storage space"),
        (Order::Panic, "the store failed: the engine panicked in a commit"),
    ] {
        let stage = Stage::new(Config::default());
        stage.send(0, 1, &["a"]);
        stage.begun();
        stage.send(1, 1, &[]);
        stage.orders.send(order).unwrap();
        assert_eq!(stage.failed.recv_timeout(DEADLINE).unwrap(), said);
        let sender = stage.committer.sender();
        let watermarks = stage.committer.watermarks().clone();
        stage.committer.join();
        assert_eq!(sender.send(commit(0, 2, &["b"])), Err(Stopped));
        assert_eq!([0, 1].map(|shard| watermarks.durable(ShardId(shard))), [0, 0]);
        assert_eq!(stage.woken.try_iter().count(), 0);
    }
}

#[test]
fn a_damaged_number_of_a_step_is_an_error() {
    let engine = MemoryEngine::new();
    assert_eq!(durable_step(&engine, ShardId(7)).unwrap(), 0);
    let mut batch = Batch::new();
    batch.write(Bytes::from_static(&[0, 0, 7]), Some(Bytes::from_static(&[9; 16])));
    engine.commit(batch).unwrap();
    assert!(matches!(durable_step(&engine, ShardId(7)), Err(EngineError::Damaged(_))));
}
