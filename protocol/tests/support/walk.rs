//! Random walks over a small cluster: what happens, and what clients asked and were told meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use cartwheel_protocol::{
    Config, Input, Timer,
    bucket::BucketName,
    context::Context,
    id::{AddId, NodeId, PutId},
    key::Key,
    object::Addition,
    request::{Operation, Request, Response},
    rules::Rules,
};
use proptest::{prelude::*, sample::Index};

use super::cluster::{Cluster, Setup};

/// How many nodes a cluster has: three owners and two fallbacks of every key.
pub(crate) const NODES: u64 = 5;

/// One thing that happens; what an index or a node means depends on what there is.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Add to a cart.
    Add {
        at: u64,
        cart: u8,
        strict: bool,
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
    /// Read the register.
    Get {
        at: u64,
    },
    /// Read a cart strictly.
    GetStrictly {
        at: u64,
        cart: u8,
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
pub(crate) struct Clients {
    /// By request number.
    pub(crate) additions: BTreeMap<u64, (Key, AddId)>,
    /// Every addition and its cart, in order; the retries reuse them.
    pub(crate) known: Vec<(Key, AddId)>,
    /// By request number, what was cancelled.
    pub(crate) cancels: BTreeMap<u64, (Key, AddId)>,
    /// The additions that were made strictly, by request number.
    pub(crate) strict: BTreeSet<u64>,
    /// The strict reads, by request number, and what they must show: strict additions acknowledged before.
    pub(crate) due: BTreeMap<u64, Vec<(Key, AddId)>>,
    pub(crate) puts: BTreeMap<u64, PutId>,
    /// The put_ids that a context of some put covered.
    pub(crate) replaced: BTreeSet<PutId>,
    /// What the last read of the register showed.
    pub(crate) read: Option<(Context, Vec<PutId>)>,
}

/// A cluster and its clients.
pub(crate) struct Walk {
    pub(crate) cluster: Cluster,
    pub(crate) clients: Clients,
    pub(crate) next_id: u128,
}

/// Any of them; deliveries most of all, so that requests end.
pub(crate) fn action() -> impl Strategy<Value = Action> {
    let node = || 1..=NODES;
    prop_oneof![
        6 => (node(), 0..2_u8, any::<bool>())
            .prop_map(|(at, cart, strict)| Action::Add { at, cart, strict }),
        2 => (node(), any::<Index>()).prop_map(|(at, which)| Action::Retry { at, which }),
        2 => (node(), any::<Index>()).prop_map(|(at, which)| Action::Cancel { at, which }),
        4 => (node(), any::<bool>()).prop_map(|(at, with_context)| Action::Put { at, with_context }),
        3 => node().prop_map(|at| Action::Get { at }),
        3 => (node(), 0..2_u8).prop_map(|(at, cart)| Action::GetStrictly { at, cart }),
        40 => any::<Index>().prop_map(Action::Deliver),
        4 => any::<Index>().prop_map(Action::Drop),
        4 => any::<Index>().prop_map(Action::Duplicate),
        20 => node().prop_map(Action::Sync),
        16 => (node(), any::<Index>()).prop_map(|(at, timer)| Action::Fire(at, timer)),
        2 => (node(), 0..3_usize).prop_map(|(at, keep)| Action::Crash(at, keep)),
        4 => node().prop_map(Action::Restart),
        12 => (node(), node()).prop_map(|(of, node)| Action::Suspect(of, node)),
        3 => (node(), node()).prop_map(|(of, node)| Action::Trust(of, node)),
    ]
}

/// The one register.
pub(crate) fn register() -> Key {
    Key::new(BucketName::new("default").expect("a valid name"), *b"k")
}

/// One of two carts.
pub(crate) fn cart(number: u8) -> Key {
    Key::new(BucketName::new("carts").expect("a valid name"), [b'a' + number])
}

impl Walk {
    /// All nodes started, under these rules.
    pub(crate) fn new(rules: Rules) -> Self {
        let setup = Setup { nodes: NODES, ..Setup::default() };
        let config = Config { rules, ..setup.config };
        let cluster = Cluster::new(&Setup { config, ..setup });
        Self { cluster, clients: Clients::default(), next_id: 0 }
    }

    /// Lets it happen.
    pub(crate) fn act(&mut self, action: &Action) {
        match action {
            Action::Add { at, cart: number, strict } => {
                self.next_id += 1;
                let (cart, add_id) = (cart(*number), AddId(self.next_id));
                self.clients.known.push((cart.clone(), add_id));
                self.add(*at, cart, add_id, *strict);
            }
            Action::Retry { at, which } => {
                if let Some((cart, add_id)) = chosen(&self.clients.known, which) {
                    self.add(*at, cart, add_id, false);
                }
            }
            Action::Cancel { at, which } => {
                if let Some((cart, add_id)) = chosen(&self.clients.known, which) {
                    let cancel = [add_id].into();
                    let operation = Operation::Change { cancel, add: None, context: None };
                    let number = self.ask(*at, cart.clone(), operation, false);
                    self.clients.cancels.extend(number.map(|number| (number, (cart, add_id))));
                }
            }
            Action::Put { at, with_context } => self.put(*at, *with_context),
            Action::Get { at } => self.read(*at),
            Action::GetStrictly { at, cart: number } => self.read_strictly(*at, cart(*number)),
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
    fn ask(&mut self, at: u64, key: Key, operation: Operation, strict: bool) -> Option<u64> {
        let at = NodeId(at);
        if !self.cluster.is_up(at) {
            return None;
        }
        let request = Request { key, operation, quorum: None, strict, timeout_ms: 1_000 };
        let (number, _) = self.cluster.request(at, request);
        Some(number)
    }

    fn add(&mut self, at: u64, cart: Key, add_id: AddId, strict: bool) {
        let add = Some(Addition { add_id, sku: format!("{add_id}").into(), quantity: 1 });
        let operation = Operation::Change { cancel: [].into(), add, context: None };
        let number = self.ask(at, cart.clone(), operation, strict);
        self.clients.strict.extend(number.filter(|_| strict));
        self.clients.additions.extend(number.map(|number| (number, (cart, add_id))));
    }

    fn put(&mut self, at: u64, with_context: bool) {
        self.next_id += 1;
        let put_id = PutId(self.next_id);
        let read = self.clients.read.clone().filter(|_| with_context);
        let (context, covered) = read.unzip();
        let value = self.next_id.to_be_bytes().into();
        let operation = Operation::Put { context, put_id, time_us: 0, value };
        if let Some(number) = self.ask(at, register(), operation, false) {
            self.clients.replaced.extend(covered.into_iter().flatten());
            self.clients.puts.insert(number, put_id);
        }
    }

    /// Asks for the register, and takes note of the newest answer that is there.
    fn read(&mut self, at: u64) {
        self.ask(at, register(), Operation::Get, false);
        let found = self.cluster.replies.values().rev().find_map(|response| match response {
            Response::Found { object, context, .. } if object.additions().is_empty() => {
                let shown = object.values().iter().map(|value| value.put_id).collect();
                Some((context.clone(), shown))
            }
            Response::Found { .. }
            | Response::Held { .. }
            | Response::Written { .. }
            | Response::Refused(_) => None,
        });
        self.clients.read = found.or(self.clients.read.take());
    }

    /// Reads a cart strictly; the answer must show every strict addition that is acknowledged by now.
    fn read_strictly(&mut self, at: u64, cart: Key) {
        let written = |number: &&u64| self.was_written(**number);
        let acknowledged = self.clients.strict.iter().filter(written);
        let due = acknowledged.map(|number| self.clients.additions[number].clone());
        let due = due.filter(|(of, _)| *of == cart).collect();
        if let Some(number) = self.ask(at, cart, Operation::Get, true) {
            self.clients.due.insert(number, due);
        }
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
    pub(crate) fn heal(&mut self) {
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

    /// Whether the client was told that the write is durable.
    pub(crate) fn was_written(&self, number: u64) -> bool {
        matches!(self.cluster.replies.get(&number), Some(Response::Written { .. }))
    }
}

fn chosen<T: Clone>(all: &[T], which: &Index) -> Option<T> {
    (!all.is_empty()).then(|| which.get(all).clone())
}
