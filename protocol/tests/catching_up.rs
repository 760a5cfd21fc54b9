//! What catching up costs, in a cluster with a clock of its own: how long a joiner takes when a source is dead, whom it asks,
//! and how large and how frequent its pages are.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cartwheel_protocol::{
    Config, Effect, Effects, Fact, Input, Message, Replica, Ticket, Timer,
    bucket::BucketName,
    id::{ClusterId, Incarnation, NodeId, PutId},
    key::Key,
    layout::Command,
    request::{Operation, Request},
    view::{Change, View},
};

use support::{
    disk::Disk,
    layouts::{layout, member},
};

/// Three nodes own everything, and a fourth joins.
const JOINER: NodeId = NodeId(4);
const PARTITIONS: u32 = 256;
/// How long a message is on its way.
const LATENCY_MS: u64 = 1;
/// No run takes longer.
const END_MS: u64 = 600_000;

enum Event {
    Arrive { from: NodeId, to: NodeId, message: Message },
    Fire(NodeId, Timer),
    Synced(NodeId, Ticket),
    Suspect(NodeId, NodeId),
}

struct Host {
    replica: Replica,
    disk: Disk,
    timers: BTreeMap<Timer, u64>,
}

/// A page that the joiner was sent.
struct Page {
    at_ms: u64,
    bytes: usize,
}

struct Run {
    now_ms: u64,
    hosts: BTreeMap<NodeId, Host>,
    dead: BTreeSet<NodeId>,
    /// By time, then in the order in which they came up.
    events: BTreeMap<(u64, u64), Event>,
    next: u64,
    /// How often the joiner asked each source for a page.
    asked: BTreeMap<NodeId, usize>,
    pages: Vec<Page>,
    caught_up_ms: Option<u64>,
    put: u128,
}

impl Run {
    /// Three nodes that hold so many values of so many bytes.
    fn new(config: Config, keys: u32, bytes: usize) -> Self {
        let config = Arc::new(Config { anti_entropy_every_ms: 0, ..config });
        let host = |id: u64| Host {
            replica: Replica::new(NodeId(id), Incarnation(id), config.clone()),
            disk: Disk::default(),
            timers: BTreeMap::new(),
        };
        let mut run = Self {
            now_ms: 0,
            hosts: (1..=JOINER.0).map(|id| (NodeId(id), host(id))).collect(),
            dead: BTreeSet::new(),
            events: BTreeMap::new(),
            next: 0,
            asked: BTreeMap::new(),
            pages: Vec::new(),
            caught_up_ms: None,
            put: 0,
        };
        let view = Arc::new(View::new(Arc::new(layout(1..=3, PARTITIONS))));
        for id in 1..JOINER.0 {
            run.step(NodeId(id), Input::View(view.clone()));
        }
        for key in 0..keys {
            run.put(key, bytes);
        }
        run.until(|run| run.now_ms >= 1_000);
        run
    }

    fn put(&mut self, key: u32, bytes: usize) {
        self.put += 1;
        let name = BucketName::new("default").expect("a valid name");
        let value = vec![b'v'; bytes].into();
        let put_id = PutId(self.put);
        let operation = Operation::Put { context: None, put_id, time_us: 0, value };
        let key = Key::new(name, key.to_be_bytes());
        let request = Request { key, operation, quorum: None, strict: false, timeout_ms: 500 };
        self.step(NodeId(1), Input::Request { number: self.put as u64, request });
    }

    /// The joiner joins; gives how many milliseconds it takes to catch up.
    fn join(&mut self) -> u64 {
        let present = View::new(Arc::new(layout(1..=3, PARTITIONS)));
        let next = present.layout().step(&[Command::Join(member(JOINER.0))], false);
        let next = Arc::new(next.expect("it may join"));
        let joint = Arc::new(present.joint(1, next, Change::default(), present.reaped()));
        let began_ms = self.now_ms;
        for id in 1..=JOINER.0 {
            self.step(NodeId(id), Input::View(joint.clone()));
        }
        self.until(|run| run.caught_up_ms.is_some());
        self.caught_up_ms.expect("it has caught up") - began_ms
    }

    fn after(&mut self, after_ms: u64, event: Event) {
        self.next += 1;
        self.events.insert((self.now_ms + after_ms, self.next), event);
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let ((at_ms, _), event) = self.events.pop_first().expect("something is left to do");
            assert!(at_ms < END_MS, "it does not end");
            self.now_ms = at_ms;
            match event {
                Event::Arrive { from, to, message } => {
                    self.step(to, Input::Message { from, message });
                }
                Event::Fire(id, timer) => {
                    let timers = &mut self.hosts.get_mut(&id).expect("a host").timers;
                    if timers.get(&timer) == Some(&at_ms) {
                        timers.remove(&timer);
                        self.step(id, Input::Timeout(timer));
                    }
                }
                Event::Synced(id, ticket) => self.step(id, Input::Synced(ticket)),
                Event::Suspect(id, node) => self.step(id, Input::Suspect { node, suspected: true }),
            }
        }
    }

    fn step(&mut self, id: NodeId, input: Input) {
        if self.dead.contains(&id) {
            return;
        }
        let host = self.hosts.get_mut(&id).expect("a host");
        let mut effects = Effects::new();
        host.replica.step(&mut host.disk, input, &mut effects);
        host.disk.end_step();
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.send(id, to, message),
                Effect::Sync(ticket) => self.after(LATENCY_MS, Event::Synced(id, ticket)),
                Effect::SetTimer { timer, after_ms, .. } => {
                    let at_ms = self.now_ms + u64::from(after_ms);
                    self.hosts.get_mut(&id).expect("a host").timers.insert(timer, at_ms);
                    self.after(after_ms.into(), Event::Fire(id, timer));
                }
                Effect::CancelTimer(timer) => {
                    self.hosts.get_mut(&id).expect("a host").timers.remove(&timer);
                }
                Effect::Report(Fact::CaughtUp(_)) if id == JOINER => {
                    self.caught_up_ms = Some(self.now_ms);
                }
                Effect::Reply { .. } | Effect::Report(_) => {}
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        let said = message.to_string();
        if from == JOINER && said.starts_with("Sync ") {
            *self.asked.entry(to).or_default() += 1;
        }
        if to == JOINER && said.starts_with("SyncPage ") {
            self.pages.push(Page { at_ms: self.now_ms, bytes: said.len() });
        }
        self.after(LATENCY_MS, Event::Arrive { from, to, message });
    }

    fn asked(&self, id: u64) -> usize {
        self.asked.get(&NodeId(id)).copied().unwrap_or(0)
    }
}

fn config() -> Config {
    Config::new(ClusterId(7))
}

#[test]
fn a_dead_source_costs_one_silence_and_not_one_for_each_batch_of_partitions() {
    let mut run = Run::new(config(), 1_000, 10);
    let all_live = run.join();
    let mut run = Run::new(config(), 1_000, 10);
    run.dead.insert(NodeId(2));
    let took = run.join();
    let retry = u64::from(config().catch_up_retry_ms);
    assert!(took <= all_live + 3 * retry / 2, "{took} ms, and {all_live} ms with all");
    let window = config().catch_up_parallel;
    assert!(run.asked(2) <= window, "{:?}", run.asked);
}

#[test]
fn a_source_that_becomes_suspected_is_replaced_at_once() {
    let mut run = Run::new(config(), 1_000, 10);
    let all_live = run.join();
    let mut run = Run::new(config(), 1_000, 10);
    run.dead.insert(NodeId(2));
    run.after(20, Event::Suspect(JOINER, NodeId(2)));
    let took = run.join();
    assert!(took <= all_live + 50, "{took} ms, and {all_live} ms with all");
}

#[test]
fn a_suspected_source_is_not_asked_while_others_suffice() {
    let mut run = Run::new(config(), 1_000, 10);
    run.step(JOINER, Input::Suspect { node: NodeId(2), suspected: true });
    run.join();
    assert_eq!(run.asked(2), 0, "{:?}", run.asked);
}

#[test]
fn sources_that_all_fell_silent_are_asked_again_and_believed_when_they_answer() {
    let mut run = Run::new(config(), 100, 10);
    run.dead = [NodeId(1), NodeId(2)].into();
    let back_ms = run.now_ms + 2_300;
    let present = View::new(Arc::new(layout(1..=3, PARTITIONS)));
    let next = present.layout().step(&[Command::Join(member(JOINER.0))], false);
    let joint = Arc::new(present.joint(
        1,
        Arc::new(next.expect("it may join")),
        Change::default(),
        present.reaped(),
    ));
    for id in 1..=JOINER.0 {
        run.step(NodeId(id), Input::View(joint.clone()));
    }
    run.until(|run| run.now_ms >= back_ms);
    assert_eq!(run.caught_up_ms, None);
    run.dead.clear();
    run.step(NodeId(1), Input::View(joint.clone()));
    run.until(|run| run.caught_up_ms.is_some());
    let took = run.caught_up_ms.expect("it has caught up") - back_ms;
    assert!(took < 2 * u64::from(config().catch_up_retry_ms), "{took} ms");
}

#[test]
fn pages_are_bounded_in_bytes() {
    let mut run = Run::new(config(), 2_000, 40_000);
    run.join();
    let largest = run.pages.iter().map(|page| page.bytes).max();
    assert!(largest < Some(320_000), "{largest:?}");
    assert!(largest > Some(200_000), "{largest:?}: pages are full");
}

#[test]
fn what_is_moved_is_bounded_in_rate() {
    let rate = 4_000_000_u64;
    let config = Config { move_bytes_per_s: rate as u32, ..config() };
    let mut run = Run::new(config, 500, 40_000);
    let began_ms = run.now_ms;
    let took_ms = run.join();
    let bytes: usize = run.pages.iter().map(|page| page.bytes).sum();
    // What is asked for at the start is not held back.
    let window_ms = 16 * (1_u64 << 18) * 1_000 / rate;
    let least_ms = bytes as u64 * 1_000 / rate - window_ms;
    assert!(took_ms >= least_ms, "{bytes} bytes in {took_ms} ms");
    assert!(took_ms <= 2 * least_ms + 1_000, "{bytes} bytes in {took_ms} ms");
    assert!(run.pages.iter().all(|page| page.at_ms >= began_ms));
}
