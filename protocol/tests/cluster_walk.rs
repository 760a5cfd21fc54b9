//! Random walks over a small cluster: messages lost, duplicated and reordered, crashes that lose the unsynced tail,
//! timers at any time, suspicion right or wrong. Whatever happens, a request gets at most one reply (the cluster
//! refuses a second one), what was acknowledged is durable on w disks at any time, and after healing it is there.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use cartwheel_protocol::{
    Config, Input, Timer,
    bucket::BucketName,
    context::Context,
    id::{AddId, ClusterId, NodeId, PutId},
    key::{Key, RecordKey},
    object::{Addition, Object},
    record::Stored,
    request::{Operation, Request, Response},
    rules::Rules,
};
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestCaseResult};

use support::cluster::{Cluster, Setup};

const NODES: u64 = 5;
/// The bucket's default: slots that hold what is acknowledged.
const W: usize = 2;

/// One thing that happens; what an index or a node means depends on what there is.
#[derive(Clone, Debug)]
enum Action {
    Add {
        at: u64,
        cart: u8,
    },
    /// Add once more what was added before, anywhere.
    Retry {
        at: u64,
        which: Index,
    },
    Cancel {
        at: u64,
        which: Index,
    },
    Put {
        at: u64,
        with_context: bool,
    },
    Get {
        at: u64,
        cart: bool,
    },
    Deliver(Index),
    Drop(Index),
    Duplicate(Index),
    Sync(u64),
    Fire(u64, Index),
    Crash(u64, usize),
    Restart(u64),
    Suspect(u64, u64),
    Trust(u64, u64),
}

/// What clients asked for and what they were told.
#[derive(Default)]
struct Clients {
    /// By request number.
    additions: BTreeMap<u64, (Key, AddId)>,
    /// Every addition and its cart, in order; the retries reuse them.
    known: Vec<(Key, AddId)>,
    /// By request number, what was cancelled.
    cancels: BTreeMap<u64, (Key, AddId)>,
    puts: BTreeMap<u64, PutId>,
    /// The put_ids that a context of some put covered.
    replaced: BTreeSet<PutId>,
    /// What the last read of the register showed.
    read: Option<(Context, Vec<PutId>)>,
}

struct Walk {
    cluster: Cluster,
    clients: Clients,
    next_id: u128,
    asked: Vec<(u64, NodeId)>,
}

fn action() -> impl Strategy<Value = Action> {
    let node = || 1..=NODES;
    prop_oneof![
        6 => (node(), 0..2_u8).prop_map(|(at, cart)| Action::Add { at, cart }),
        2 => (node(), any::<Index>()).prop_map(|(at, which)| Action::Retry { at, which }),
        2 => (node(), any::<Index>()).prop_map(|(at, which)| Action::Cancel { at, which }),
        4 => (node(), any::<bool>()).prop_map(|(at, with_context)| Action::Put { at, with_context }),
        4 => (node(), any::<bool>()).prop_map(|(at, cart)| Action::Get { at, cart }),
        40 => any::<Index>().prop_map(Action::Deliver),
        4 => any::<Index>().prop_map(Action::Drop),
        4 => any::<Index>().prop_map(Action::Duplicate),
        20 => node().prop_map(Action::Sync),
        10 => (node(), any::<Index>()).prop_map(|(at, timer)| Action::Fire(at, timer)),
        2 => (node(), 0..3_usize).prop_map(|(at, keep)| Action::Crash(at, keep)),
        4 => node().prop_map(Action::Restart),
        4 => (node(), node()).prop_map(|(of, node)| Action::Suspect(of, node)),
        2 => (node(), node()).prop_map(|(of, node)| Action::Trust(of, node)),
    ]
}

fn register() -> Key {
    Key::new(BucketName::new("default").expect("a valid name"), *b"k")
}

fn cart(number: u8) -> Key {
    Key::new(BucketName::new("carts").expect("a valid name"), [b'a' + number])
}

impl Walk {
    fn new(rules: Rules) -> Self {
        let config = Config { rules, ..Config::new(ClusterId(7)) };
        let cluster = Cluster::new(&Setup { nodes: NODES, config, ..Setup::default() });
        Self { cluster, clients: Clients::default(), next_id: 0, asked: Vec::new() }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Add { at, cart: number } => {
                self.next_id += 1;
                let (cart, add_id) = (cart(*number), AddId(self.next_id));
                self.clients.known.push((cart.clone(), add_id));
                self.add(*at, cart, add_id);
            }
            Action::Retry { at, which } => {
                if let Some((cart, add_id)) = chosen(&self.clients.known, which) {
                    self.add(*at, cart, add_id);
                }
            }
            Action::Cancel { at, which } => {
                if let Some((cart, add_id)) = chosen(&self.clients.known, which) {
                    let cancel = [add_id].into();
                    let operation = Operation::Change { cancel, add: None, context: None };
                    let number = self.ask(*at, cart.clone(), operation);
                    self.clients.cancels.extend(number.map(|number| (number, (cart, add_id))));
                }
            }
            Action::Put { at, with_context } => self.put(*at, *with_context),
            Action::Get { at, cart: true } => drop(self.ask(*at, cart(0), Operation::Get)),
            Action::Get { at, cart: false } => self.read(*at),
            Action::Deliver(which) => {
                if let Some(at) = self.in_flight(which) {
                    let flight = self.cluster.net.swap_remove(at);
                    self.cluster.deliver(flight);
                }
            }
            Action::Drop(which) => {
                if let Some(at) = self.in_flight(which) {
                    self.cluster.net.swap_remove(at);
                }
            }
            Action::Duplicate(which) => {
                if let Some(at) = self.in_flight(which)
                    && self.cluster.net[at].message.may_be_duplicated()
                {
                    let flight = self.cluster.net[at].clone();
                    self.cluster.net.push(flight);
                }
            }
            Action::Sync(at) => drop(self.cluster.sync(NodeId(*at))),
            Action::Fire(at, which) => {
                let set: Vec<Timer> =
                    self.cluster.nodes[&NodeId(*at)].timers.iter().copied().collect();
                if let Some(timer) = chosen(&set, which) {
                    self.cluster.fire(NodeId(*at), timer);
                }
            }
            Action::Crash(at, keep) => {
                if self.cluster.is_up(NodeId(*at)) {
                    self.cluster.crash(NodeId(*at), *keep);
                }
            }
            Action::Restart(at) => self.restart(NodeId(*at)),
            Action::Suspect(of, node) => self.judge(*of, *node, true),
            Action::Trust(of, node) => self.judge(*of, *node, false),
        }
    }

    /// Gives the number of the request, unless the node is down.
    fn ask(&mut self, at: u64, key: Key, operation: Operation) -> Option<u64> {
        let at = NodeId(at);
        if !self.cluster.is_up(at) {
            return None;
        }
        let request = Request { key, operation, quorum: None, strict: false, timeout_ms: 1_000 };
        let (number, _) = self.cluster.request(at, request);
        self.asked.push((number, at));
        Some(number)
    }

    fn add(&mut self, at: u64, cart: Key, add_id: AddId) {
        let add = Some(Addition { add_id, sku: format!("{add_id}").into(), quantity: 1 });
        let operation = Operation::Change { cancel: [].into(), add, context: None };
        let number = self.ask(at, cart.clone(), operation);
        self.clients.additions.extend(number.map(|number| (number, (cart, add_id))));
    }

    fn put(&mut self, at: u64, with_context: bool) {
        self.next_id += 1;
        let put_id = PutId(self.next_id);
        let read = self.clients.read.clone().filter(|_| with_context);
        let (context, covered) = read.unzip();
        let value = self.next_id.to_be_bytes().into();
        let operation = Operation::Put { context, put_id, time_us: 0, value };
        if let Some(number) = self.ask(at, register(), operation) {
            self.clients.replaced.extend(covered.into_iter().flatten());
            self.clients.puts.insert(number, put_id);
        }
    }

    /// Asks for the register, and takes note of the newest answer that is there.
    fn read(&mut self, at: u64) {
        self.ask(at, register(), Operation::Get);
        let found = self.cluster.replies.values().rev().find_map(|response| match response {
            Response::Found { object, context, .. } if object.additions().is_empty() => {
                let shown = object.values().iter().map(|value| value.put_id).collect();
                Some((context.clone(), shown))
            }
            Response::Found { .. } | Response::Written { .. } | Response::Refused(_) => None,
        });
        self.clients.read = found.or(self.clients.read.take());
    }

    fn judge(&mut self, of: u64, node: u64, suspected: bool) {
        self.cluster.step(NodeId(of), Input::Suspect { node: NodeId(node), suspected });
    }

    fn in_flight(&self, which: &Index) -> Option<usize> {
        let len = self.cluster.net.len();
        (len > 0).then(|| which.index(len))
    }

    fn restart(&mut self, id: NodeId) {
        if !self.cluster.is_up(id) {
            self.cluster.start(id);
            self.cluster.adopt(id);
        }
    }

    /// Ends all faults, answers every client, hands everything over and repairs every key.
    fn heal(&mut self) {
        for id in self.cluster.ids() {
            self.restart(id);
            for node in 1..=NODES {
                self.judge(id.0, node, false);
            }
        }
        self.cluster.settle();
        self.fire_all(|timer| matches!(timer, Timer::Fallback(_)));
        self.fire_all(|timer| matches!(timer, Timer::Deadline(_)));
        // Every pass may find records of some other owner; three are enough when nothing is lost.
        for _ in 0..3 {
            self.fire_all(|timer| *timer == Timer::Handoff);
        }
        for key in [register(), cart(0), cart(1)] {
            let request = Request {
                key,
                operation: Operation::Get,
                quorum: Some(3),
                strict: true,
                timeout_ms: 1_000,
            };
            self.cluster.request(NodeId(1), request);
            self.cluster.settle();
        }
    }

    fn fire_all(&mut self, kind: fn(&Timer) -> bool) {
        for id in self.cluster.ids() {
            let set: Vec<Timer> = self.cluster.nodes[&id].timers.iter().copied().collect();
            for timer in set.into_iter().filter(kind) {
                // An earlier one may have cancelled it.
                if self.cluster.nodes[&id].timers.contains(&timer) {
                    self.cluster.fire(id, timer);
                }
            }
        }
        self.cluster.settle();
    }

    fn object(&self, owner: u64, key: &Key) -> Object {
        let key: RecordKey = self.cluster.place(key.clone());
        match self.cluster.stored(NodeId(owner), &key) {
            Stored::Absent => Object::new(),
            Stored::Found(record) => record.object,
            Stored::Damaged => panic!("nothing damages records here"),
        }
    }

    fn was_written(&self, number: u64) -> bool {
        matches!(self.cluster.replies.get(&number), Some(Response::Written { .. }))
    }

    /// How many disks hold durably what `holds` looks for.
    fn disks(&self, key: &Key, holds: impl Fn(&Object) -> bool) -> usize {
        let place = self.cluster.place(key.clone());
        let held = |id: &NodeId| match self.cluster.nodes[id].disk.durable(&place) {
            Stored::Found(record) => holds(&record.object),
            Stored::Absent | Stored::Damaged => false,
        };
        self.cluster.ids().iter().filter(|id| held(id)).count()
    }

    /// Asking whether some copy is left would miss whoever loses copies one at a time.
    fn check_copies(&self) -> TestCaseResult {
        let attempted: BTreeSet<&(Key, AddId)> = self.clients.cancels.values().collect();
        for (number, addition) in &self.clients.additions {
            if self.was_written(*number) && !attempted.contains(addition) {
                let (cart, add_id) = addition;
                let shows = |object: &Object| {
                    object.additions().iter().any(|addition| addition.add_id == *add_id)
                };
                let disks = self.disks(cart, shows);
                prop_assert!(disks >= W, "{} of r{} is on {} disks", add_id, number, disks);
            }
        }
        for (number, put_id) in &self.clients.puts {
            if self.was_written(*number) && !self.clients.replaced.contains(put_id) {
                let shows =
                    |object: &Object| object.values().iter().any(|value| value.put_id == *put_id);
                let disks = self.disks(&register(), shows);
                prop_assert!(disks >= W, "{} of r{} is on {} disks", put_id, number, disks);
            }
        }
        Ok(())
    }

    fn check(&self) -> TestCaseResult {
        for node in self.cluster.nodes.values() {
            prop_assert!(node.waiting.is_empty(), "no reply to {:?}", node.waiting);
        }
        for key in [register(), cart(0), cart(1)] {
            let first = self.object(1, &key);
            for owner in 2..=3 {
                prop_assert_eq!(&self.object(owner, &key), &first, "owners differ in {}", key);
            }
            for fallback in 4..=NODES {
                let left = self.cluster.stored(NodeId(fallback), &self.cluster.place(key.clone()));
                prop_assert_eq!(left, Stored::Absent, "n{} still holds {}", fallback, key);
            }
        }
        self.check_carts()?;
        self.check_register()
    }

    fn check_carts(&self) -> TestCaseResult {
        let attempted: BTreeSet<&(Key, AddId)> = self.clients.cancels.values().collect();
        let shown = |cart: &Key| -> BTreeSet<AddId> {
            self.object(1, cart).additions().iter().map(|addition| addition.add_id).collect()
        };
        for (number, addition) in &self.clients.additions {
            let (cart, add_id) = addition;
            let kept = shown(cart).contains(add_id) || attempted.contains(addition);
            prop_assert!(kept || !self.was_written(*number), "lost {} of r{}", add_id, number);
        }
        for (number, (cart, add_id)) in &self.clients.cancels {
            let gone = !shown(cart).contains(add_id);
            prop_assert!(gone || !self.was_written(*number), "{} came back", add_id);
        }
        for number in 0..2 {
            for add_id in shown(&cart(number)) {
                let asked = self.clients.known.contains(&(cart(number), add_id));
                prop_assert!(asked, "{} comes from nowhere", add_id);
            }
        }
        Ok(())
    }

    fn check_register(&self) -> TestCaseResult {
        let object = self.object(1, &register());
        let shown: BTreeSet<PutId> = object.values().iter().map(|value| value.put_id).collect();
        for (number, put_id) in &self.clients.puts {
            let kept = shown.contains(put_id) || self.clients.replaced.contains(put_id);
            prop_assert!(kept || !self.was_written(*number), "lost {} of r{}", put_id, number);
        }
        Ok(())
    }
}

fn chosen<T: Clone>(all: &[T], which: &Index) -> Option<T> {
    (!all.is_empty()).then(|| which.get(all).clone())
}

fn test(rules: Rules, cases: u32) -> Result<(), String> {
    let config = ProptestConfig { cases, failure_persistence: None, ..Default::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = |actions: Vec<Action>| {
        let mut walk = Walk::new(rules);
        actions.iter().for_each(|action| walk.act(action));
        walk.check_copies()?;
        walk.heal();
        walk.check()
    };
    runner.run(&vec(action(), 20..200), run).map_err(|error| error.to_string())
}

#[test]
fn nothing_acknowledged_is_lost_on_any_walk() {
    if let Err(why) = test(Rules::sound(), 1_000) {
        panic!("{why}");
    }
}

/// The bad cases: walks that accept a broken core would prove nothing.
#[cfg(feature = "mutants")]
mod mutants {
    use cartwheel_protocol::rules::Mutant;

    use super::*;

    /// Walks until one breaks a promise.
    fn rejects(mutant: Mutant) {
        assert!(test(Rules::without(mutant), 20_000).is_err(), "{mutant} passes");
    }

    #[test]
    fn counter_per_key_is_rejected() {
        rejects(Mutant::CounterPerKey);
    }

    #[test]
    fn extend_after_restart_is_rejected() {
        rejects(Mutant::ExtendAfterRestart);
    }

    #[test]
    fn node_wide_counter_is_rejected() {
        rejects(Mutant::NodeWideCounter);
    }

    #[test]
    fn put_overwrites_local_is_rejected() {
        rejects(Mutant::PutOverwritesLocal);
    }

    #[test]
    fn repair_overwrites_is_rejected() {
        rejects(Mutant::RepairOverwrites);
    }

    #[test]
    fn last_write_wins_is_rejected() {
        rejects(Mutant::LastWriteWins);
    }

    #[test]
    fn forget_cancelled_is_rejected() {
        rejects(Mutant::ForgetCancelled);
    }

    #[test]
    fn replicate_only_new_entry_is_rejected() {
        rejects(Mutant::ReplicateOnlyNewEntry);
    }

    #[test]
    fn ack_before_sync_is_rejected() {
        rejects(Mutant::AckBeforeSync);
    }

    #[test]
    fn expire_hints_is_rejected() {
        rejects(Mutant::ExpireHints);
    }

    #[test]
    fn delete_hint_unconditionally_is_rejected() {
        rejects(Mutant::DeleteHintUnconditionally);
    }

    #[test]
    fn count_duplicate_acks_is_rejected() {
        rejects(Mutant::CountDuplicateAcks);
    }
}
