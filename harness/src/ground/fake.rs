//! A cluster that is one map in memory, for tests of what stands on a ground.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use cartwheel_checker::cart::Item;

use super::{Action, Answer, Call, CallError, Ground, OwnCopy};
use crate::fault::{Fault, NodeNumber};

/// What is wrong with the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flaws {
    /// Every so many writes are acknowledged and forgotten.
    pub(crate) forgets_every: Option<u64>,
    /// Every so many writes happen, and their client hears nothing.
    pub(crate) silent_every: Option<u64>,
    /// This node's own copy always looks empty.
    pub(crate) empty_copy: Option<NodeNumber>,
    /// The last node, no owner, still has something to hand over.
    pub(crate) owes: bool,
    /// The last node, no owner, still holds a copy that it owes nobody.
    pub(crate) keeps: bool,
    /// This node's own copy shows what the others show, and differs beneath.
    pub(crate) odd_copy: Option<NodeNumber>,
    /// Until a cart is read with a quorum of its own, only the first node holds it.
    pub(crate) thin: bool,
    /// The members never come to rest.
    pub(crate) restless: bool,
    /// A register forgets siblings: the last write wins.
    pub(crate) last_write_wins: bool,
}

/// How many owners each key has: the first nodes.
const OWNERS: usize = 3;

/// How often a register was written, and its values, each with the number of its write.
type Register = (u64, Vec<(u64, Vec<u8>)>);

/// The cluster. All nodes share the map; its clock is the real one.
pub(crate) struct FakeGround {
    members: RefCell<BTreeSet<NodeNumber>>,
    flaws: Flaws,
    began: Instant,
    writes: Cell<u64>,
    carts: RefCell<BTreeMap<String, BTreeMap<String, Item>>>,
    registers: RefCell<BTreeMap<String, Register>>,
    /// The keys that were read with a quorum of the call's own.
    repaired: RefCell<BTreeSet<String>>,
    pub(crate) active: RefCell<BTreeSet<usize>>,
    pub(crate) begun: Cell<usize>,
    /// Changes of the members that are not completed yet.
    changing: Cell<u64>,
    changed: Cell<u64>,
    /// The disks lost since the members were last at rest, and the most that ever were.
    lost: Cell<usize>,
    pub(crate) most_lost: Cell<usize>,
    /// The nodes that were asked after the first change.
    pub(crate) asked: RefCell<BTreeSet<NodeNumber>>,
}

impl FakeGround {
    pub(crate) fn new(nodes: usize, flaws: Flaws) -> Self {
        Self {
            members: RefCell::new((0..nodes).map(NodeNumber).collect()),
            flaws,
            began: Instant::now(),
            writes: Cell::new(0),
            carts: RefCell::default(),
            registers: RefCell::default(),
            repaired: RefCell::default(),
            active: RefCell::default(),
            begun: Cell::new(0),
            changing: Cell::new(0),
            changed: Cell::new(0),
            lost: Cell::new(0),
            most_lost: Cell::new(0),
            asked: RefCell::default(),
        }
    }

    /// Changes a cart.
    fn change(&self, key: &str, cancel: &[String], add: Option<Item>) {
        let mut carts = self.carts.borrow_mut();
        let cart = carts.entry(key.to_owned()).or_default();
        cart.retain(|add_id, _| !cancel.contains(add_id));
        cart.extend(add.map(|item| (item.add_id.clone(), item)));
    }

    /// Puts a value beside those that the context does not cover.
    fn put(&self, key: &str, context: Option<Vec<u8>>, value: Vec<u8>) {
        let mut registers = self.registers.borrow_mut();
        let (version, values) = registers.entry(key.to_owned()).or_default();
        let seen = context.map_or(0, |bytes| u64::from(bytes[0]) << 8 | u64::from(bytes[1]));
        *version += 1;
        let last_write_wins = self.flaws.last_write_wins;
        values.retain(|(written, _)| *written > seen && !last_write_wins);
        values.push((*version, value));
    }

    /// What lies beneath `shown`, read from one node's own copy.
    fn own_copy(&self, call: &Call, shown: impl Debug) -> OwnCopy {
        let odd = self.flaws.odd_copy.is_some() && call.node == self.flaws.odd_copy;
        let last = call.node.is_some() && call.node == self.members.borrow().last().copied();
        OwnCopy {
            digest: format!("{shown:?}{}", if odd { " and more" } else { "" }),
            is_stored: self.is_owner(call) || (last && self.flaws.keeps),
            owes: u8::from(last && self.flaws.owes),
        }
    }

    /// Whether the call is to a node that owns the key and holds it by now.
    fn is_owner(&self, call: &Call) -> bool {
        let late = self.flaws.thin && !self.repaired.borrow().contains(&call.key);
        let members = self.members.borrow();
        let mut owners = members.iter().take(if late { 1 } else { OWNERS });
        owners.any(|owner| call.node == Some(*owner))
    }

    fn is_every(&self, every: Option<u64>) -> bool {
        every.is_some_and(|every| self.writes.get().is_multiple_of(every))
    }
}

impl Ground for FakeGround {
    fn members(&self) -> Vec<NodeNumber> {
        self.members.borrow().iter().copied().collect()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep(at.saturating_sub(self.now())).await;
    }

    async fn call(&self, call: Call) -> Result<Answer, CallError> {
        // Between the halves of a read-modify-write others get their turn.
        tokio::task::yield_now().await;
        let local = matches!(call.action, Action::ReadLocal);
        if self.begun.get() > 1 {
            self.asked.borrow_mut().extend(call.node);
        }
        if matches!(call.action, Action::Read) && call.quorum.is_some() {
            self.repaired.borrow_mut().insert(call.key.clone());
        }
        let empty = self.flaws.empty_copy.is_some() && call.node == self.flaws.empty_copy;
        let empty = local && (empty || !self.is_owner(&call));
        match call.action {
            Action::Read | Action::ReadLocal if call.bucket == crate::workload::CART_BUCKET => {
                let carts = self.carts.borrow();
                let cart = carts.get(&call.key).filter(|_| !empty);
                let items: Vec<Item> =
                    cart.map(|cart| cart.values().cloned().collect()).unwrap_or_default();
                let copy = local.then(|| self.own_copy(&call, &items));
                Ok(Answer::Cart { items, copy })
            }
            Action::Read | Action::ReadLocal => {
                let registers = self.registers.borrow();
                let register = registers.get(&call.key).filter(|_| !empty);
                let (version, values) = register.cloned().unwrap_or_default();
                let values: Vec<_> = values.into_iter().map(|(_, value)| value).collect();
                let context = Some(vec![(version >> 8) as u8, version as u8]);
                let copy = local.then(|| self.own_copy(&call, &values));
                Ok(Answer::Register { values, context, copy })
            }
            write @ (Action::Change { .. } | Action::Put { .. }) => {
                self.writes.set(self.writes.get() + 1);
                if self.is_every(self.flaws.forgets_every) {
                    return Ok(Answer::Written);
                }
                match write {
                    Action::Change { cancel, add } => self.change(&call.key, &cancel, add),
                    Action::Put { context, value } => self.put(&call.key, context, value),
                    Action::Read | Action::ReadLocal => {}
                }
                if self.is_every(self.flaws.silent_every) {
                    return Err(CallError { definite: false, message: "silence".to_owned() });
                }
                Ok(Answer::Written)
            }
        }
    }

    async fn begin(&self, id: usize, fault: &Fault) -> anyhow::Result<bool> {
        self.begun.set(self.begun.get() + 1);
        self.changing.set(self.changing.get() + u64::from(!fault.is_passing()));
        self.lost.set(self.lost.get() + fault.losses());
        self.most_lost.set(self.most_lost.get().max(self.lost.get()));
        let mut members = self.members.borrow_mut();
        members.extend(fault.fresh());
        members.retain(|node| fault.gone() != Some(*node));
        Ok(self.active.borrow_mut().insert(id))
    }

    async fn end(&self, id: usize) -> anyhow::Result<()> {
        self.active.borrow_mut().remove(&id);
        Ok(())
    }

    async fn tend(&self) -> anyhow::Result<()> {
        let never = self.flaws.restless;
        self.changed.set(self.changed.get() + self.changing.take() * u64::from(!never));
        Ok(())
    }

    async fn restless(&self, _within: Duration, _tell: &mut dyn FnMut(&[String])) -> Vec<String> {
        if self.changing.get() > 0 || self.flaws.restless {
            return vec!["a change is under way".to_owned()];
        }
        self.lost.set(0);
        Vec::new()
    }

    fn completed(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("changes-completed", self.changed.get())])
    }

    async fn heal(&self) -> anyhow::Result<()> {
        self.active.borrow_mut().clear();
        Ok(())
    }

    async fn ready(&self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn owners(&self, _: &str, _: &str) -> anyhow::Result<Vec<NodeNumber>> {
        Ok(self.members.borrow().iter().copied().take(OWNERS).collect())
    }

    fn mishaps(&self) -> Vec<String> {
        Vec::new()
    }
}
