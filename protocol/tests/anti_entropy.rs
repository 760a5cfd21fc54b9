//! Owners that take writes apart, lose messages and crash become equal by comparing their trees alone: no fallback is asked,
//! no hint handed over and no read made. When they are equal, an exchange is two messages without an object.

mod support;

use cartwheel_protocol::{
    Compared, Config, Effect, Fact, Timer,
    bucket::BucketName,
    id::{AddId, NodeId, PutId},
    key::Key,
    object::{Addition, Object},
    record::Stored,
    request::{Operation, Request},
    rules::Rules,
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{TestCaseResult, TestRng, TestRunner},
};

use support::cluster::{Cluster, Done, Setup};

/// Three owners, and a node that owns nothing.
const OWNERS: u64 = 3;
const NODES: u64 = 4;
const KEYS: u8 = 6;

/// One thing that happens at an owner.
#[derive(Clone, Debug)]
enum Event {
    Put {
        at: u64,
        key: u8,
    },
    Change {
        at: u64,
        key: u8,
        cancel: u8,
    },
    Deliver(Index),
    Drop(Index),
    Sync(u64),
    /// A page of a tree's scan, or a step of an exchange.
    Fire(u64, Timer),
    Crash(u64, usize),
    Restart(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let at = || 1..=OWNERS;
    prop_oneof![
        6 => (at(), 0..KEYS).prop_map(|(at, key)| Event::Put { at, key }),
        3 => (at(), 0..KEYS, 0..9_u8)
            .prop_map(|(at, key, cancel)| Event::Change { at, key, cancel }),
        6 => any::<Index>().prop_map(Event::Deliver),
        6 => any::<Index>().prop_map(Event::Drop),
        6 => at().prop_map(Event::Sync),
        6 => at().prop_map(|at| Event::Fire(at, Timer::Trees)),
        6 => at().prop_map(|at| Event::Fire(at, Timer::AntiEntropy)),
        1 => (at(), 0..3_usize).prop_map(|(at, keep)| Event::Crash(at, keep)),
        2 => at().prop_map(Event::Restart),
    ]
}

struct Run {
    cluster: Cluster,
    written: u128,
}

impl Run {
    fn new(rules: Rules, tree_depth: u8, tree_page: usize, batch: usize) -> Self {
        Self::with(|config| Config {
            rules,
            anti_entropy_batch: batch,
            tree_depth,
            tree_page,
            ..config
        })
    }

    fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let setup = Setup { nodes: NODES, ..Setup::default() };
        let config = change(Config { anti_entropy_every_ms: 5, ..setup.config.clone() });
        Self { cluster: Cluster::new(&Setup { config, ..setup }), written: 0 }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Put { at, key } => {
                self.written += 1;
                let value = self.written.to_be_bytes().into();
                let put_id = PutId(self.written);
                let put = Operation::Put { context: None, put_id, time_us: 0, value };
                self.ask(*at, "default", *key, put);
            }
            Event::Change { at, key, cancel } => {
                self.written += 1;
                let add_id = AddId(self.written);
                let add = Some(Addition { add_id, sku: "milk".into(), quantity: 1 });
                let cancel = [AddId(u128::from(*cancel))].into();
                self.ask(*at, "carts", *key, Operation::Change { cancel, add, context: None });
            }
            Event::Deliver(which) => {
                if let Some(at) = self.in_flight(which) {
                    let flight = self.cluster.net.swap_remove(at);
                    self.cluster.deliver(flight);
                }
            }
            Event::Drop(which) => {
                if let Some(at) = self.in_flight(which) {
                    self.cluster.net.swap_remove(at);
                }
            }
            Event::Sync(at) => drop(self.cluster.sync(NodeId(*at))),
            Event::Fire(at, timer) => drop(self.fire(*at, *timer)),
            Event::Crash(at, keep) if self.cluster.is_up(NodeId(*at)) => {
                self.cluster.crash(NodeId(*at), *keep);
            }
            Event::Restart(at) if !self.cluster.is_up(NodeId(*at)) => {
                self.cluster.start(NodeId(*at));
                self.cluster.adopt(NodeId(*at));
            }
            Event::Crash(..) | Event::Restart(_) => {}
        }
    }

    fn ask(&mut self, at: u64, bucket: &str, key: u8, operation: Operation) {
        if self.cluster.is_up(NodeId(at)) {
            let key = key_of(bucket, key);
            let request =
                Request { key, operation, quorum: Some(1), strict: false, timeout_ms: 1_000 };
            self.cluster.request(NodeId(at), request);
        }
    }

    fn in_flight(&self, which: &Index) -> Option<usize> {
        let len = self.cluster.net.len();
        (len > 0).then(|| which.index(len))
    }

    fn fire(&mut self, at: u64, timer: Timer) -> Vec<Done> {
        let at = NodeId(at);
        let is_set = self.cluster.nodes[&at].timers.contains(&timer);
        if is_set { self.cluster.fire(at, timer) } else { Vec::new() }
    }

    /// Everybody is up, what was in flight is lost, and the trees are whole.
    fn heal(&mut self) {
        for at in 1..=NODES {
            self.happen(&Event::Restart(at));
        }
        self.cluster.net.clear();
        self.cluster.settle();
        for at in 1..=OWNERS {
            while self.trees_left(at) > 0 {
                self.fire(at, Timer::Trees);
            }
        }
    }

    fn trees_left(&self, at: u64) -> usize {
        self.cluster.nodes[&NodeId(at)].replica.as_ref().map_or(0, |replica| replica.trees_left())
    }

    /// Each owner carries an exchange with each other owner through to its end; gives how they ended, and how many
    /// messages there were.
    fn round(&mut self) -> (Vec<Compared>, usize) {
        let (mut outcomes, mut sent) = (Vec::new(), 0);
        for at in 1..=OWNERS {
            let mut ended = 0;
            while ended < OWNERS - 1 {
                let mut done = self.fire(at, Timer::AntiEntropy);
                done.extend(self.cluster.settle());
                for (_, effect) in &done {
                    sent += usize::from(matches!(effect, Effect::Send { .. }));
                    if let Effect::Report(Fact::Compared { outcome, .. }) = effect {
                        outcomes.push(*outcome);
                        ended += 1;
                    }
                }
            }
        }
        (outcomes, sent)
    }

    fn check(&mut self) -> TestCaseResult {
        self.heal();
        // Each round brings what one owner holds to all; the first may only end what was under way.
        for _ in 0..3 {
            self.round();
        }
        for bucket in ["default", "carts"] {
            for key in 0..KEYS {
                let first = self.object(1, bucket, key);
                for owner in 2..=OWNERS {
                    let other = self.object(owner, bucket, key);
                    prop_assert_eq!(&other, &first, "n{} differs in {}/{}", owner, bucket, key);
                }
                let place = self.cluster.place(key_of(bucket, key));
                let elsewhere = self.cluster.stored(NodeId(NODES), &place);
                prop_assert_eq!(elsewhere, Stored::Absent, "who owns nothing was given something");
            }
        }
        let (outcomes, sent) = self.round();
        prop_assert!(outcomes.iter().all(|outcome| *outcome == Compared::Equal), "{:?}", outcomes);
        prop_assert_eq!(sent, 2 * outcomes.len());
        Ok(())
    }

    fn object(&self, at: u64, bucket: &str, key: u8) -> Object {
        match self.cluster.stored(NodeId(at), &self.cluster.place(key_of(bucket, key))) {
            Stored::Absent => Object::new(),
            Stored::Found(record) => record.object,
            Stored::Damaged => panic!("nothing damages records here"),
        }
    }
}

fn key_of(bucket: &str, key: u8) -> Key {
    Key::new(BucketName::new(bucket).expect("a valid name"), [b'a' + key])
}

fn test(rules: Rules, cases: u32) -> Result<(), String> {
    let config = ProptestConfig { cases, failure_persistence: None, ..Default::default() };
    let seeded = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, seeded);
    let depths_and_pages = (0..=3_u8, 1..9_usize, 1..4_usize);
    let strategy = (depths_and_pages, vec(event(), 10..120));
    let run = |((depth, page, batch), events): ((u8, usize, usize), Vec<Event>)| {
        let mut run = Run::new(rules, depth, page, batch);
        events.iter().for_each(|event| run.happen(event));
        run.check()
    };
    runner.run(&strategy, run).map_err(|error| error.to_string())
}

#[test]
fn owners_that_compare_their_trees_become_equal() {
    if let Err(why) = test(Rules::sound(), 1_500) {
        panic!("{why}");
    }
}

/// The bad cases: runs that accept a broken core would prove nothing.
#[cfg(feature = "mutants")]
mod mutants {
    use cartwheel_protocol::rules::Mutant;

    use super::*;

    #[test]
    fn a_tree_that_misses_an_update_is_rejected() {
        assert!(test(Rules::without(Mutant::TreeMissesAnUpdate), 1_500).is_err());
    }

    #[test]
    fn a_tree_that_is_compared_with_a_fallback_is_rejected() {
        assert!(test(Rules::without(Mutant::TreesWithFallbacks), 1_500).is_err());
    }
}

#[test]
fn what_an_exchange_moved_makes_the_pause_after_it_longer() {
    const RATE: u32 = 10_000;
    const BYTES: usize = 5_000;
    let mut run = Run::with(|config| Config {
        move_bytes_per_s: RATE,
        anti_entropy_batch: 1,
        anti_entropy_rest_ms: 100,
        ..config
    });
    let value = vec![7; BYTES].into();
    let put = Operation::Put { context: None, put_id: PutId(1), time_us: 0, value };
    run.ask(1, "default", 0, put);
    // Nobody else hears of it.
    run.heal();
    // The pauses after what moved the value, and after what moved nothing.
    let (mut after_moving, mut after_nothing) = (None, None);
    for _ in 0..100 {
        let mut done = run.fire(2, Timer::AntiEntropy);
        done.extend(run.cluster.settle());
        let mut ended = None;
        for (_, effect) in done.into_iter().filter(|(at, _)| *at == NodeId(2)) {
            if let Effect::Report(Fact::Compared { outcome, .. }) = effect {
                ended = Some(outcome);
            } else if let Effect::SetTimer { timer: Timer::AntiEntropy, after_ms, yields: true } =
                effect
            {
                match ended.take() {
                    Some(Compared::Differed(1)) => after_moving = Some(after_ms),
                    Some(Compared::Equal) => after_nothing = Some(after_ms),
                    Some(Compared::Differed(_) | Compared::Missed) | None => {}
                }
            }
        }
    }
    let took_ms = BYTES as u32 * 1_000 / RATE;
    let after_moving = after_moving.expect("the value was moved");
    assert!((took_ms..2 * took_ms).contains(&after_moving), "{after_moving} ms");
    let after_nothing = after_nothing.expect("all is equal in the end");
    assert!(after_nothing < took_ms, "what moved nothing rests as always: {after_nothing} ms");
}
