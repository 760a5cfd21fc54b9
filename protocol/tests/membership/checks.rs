//! What must never happen, checked at each step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cartwheel_protocol::{
    Fact,
    id::NodeId,
    membership::{MemberMessage, Row, Status},
    reap_page::Reaped,
    view::{Era, View, ViewId},
};

use crate::cluster::must_catch_up;

/// What was seen so far, and the first thing that must not have happened.
#[derive(Default)]
pub(crate) struct Checks {
    violation: Option<String>,
    /// What each decree has led to.
    pub(crate) outcomes: BTreeMap<Era, Arc<View>>,
    /// The newest view that a node's shards were given, over all its lives.
    newest: BTreeMap<u64, ViewId>,
    adopted: BTreeMap<u64, ViewId>,
    caught_up: BTreeMap<u64, ViewId>,
    /// Standing and label's version, by observer and observed, in the observer's present life.
    rows: BTreeMap<(u64, u64), (Status, u64)>,
    /// What each view that was given to shards carries of reap rounds, page or not.
    carried: BTreeMap<ViewId, Reaped>,
    /// The rounds that began, and whose shards were fit: each was given the view with its page, and not at its start.
    rounds: BTreeMap<ViewId, Round>,
    /// How many of them all were fit for.
    pub(crate) completed: u64,
    /// Who started and was given no view since.
    starting: BTreeSet<u64>,
    /// How many messages each node sent.
    pub(crate) sent: BTreeMap<u64, u64>,
}

/// Who must be fit for a reap round, and who is.
#[derive(Default)]
struct Round {
    listed: BTreeSet<u64>,
    fit: BTreeSet<u64>,
}

/// The view of which a shard says how far it is.
pub(crate) fn is_about(fact: &Fact) -> Option<ViewId> {
    match *fact {
        Fact::Adopted(view) | Fact::CaughtUp(view) | Fact::Drained(view) => Some(view),
        Fact::Answered(_)
        | Fact::Silent(_)
        | Fact::Newer(_)
        | Fact::Damaged(_)
        | Fact::Reap { .. }
        | Fact::Judged { .. }
        | Fact::Reaped(_)
        | Fact::ReapEnded { .. }
        | Fact::Compared { .. } => None,
    }
}

/// Whether two views differ in their raises alone.
fn is_same_but_raised(one: &View, other: &View) -> bool {
    one.layouts().eq(other.layouts()) && one.change() == other.change()
}

impl Checks {
    pub(crate) fn result(&self) -> Result<(), String> {
        self.violation.clone().map_or(Ok(()), Err)
    }

    fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(crate) fn crashed(&mut self, node: u64) {
        self.rows.retain(|(observer, _), _| *observer != node);
        self.starting.insert(node);
    }

    pub(crate) fn sent(&mut self, from: u64, _: &MemberMessage) {
        *self.sent.entry(from).or_default() += 1;
    }

    /// A node says that another goes by another layout under one number.
    pub(crate) fn disagrees(&mut self, node: u64, other: u64, era: Era) {
        self.violated(format!("n{node} and n{other} go by two layouts in {era:?}"));
    }

    /// The shards of a node are given a view.
    pub(crate) fn given(&mut self, node: u64, view: &Arc<View>) {
        let id = view.id();
        self.carries(node, view);
        match self.outcomes.get(&id.era()) {
            Some(known) if !is_same_but_raised(known, view) => {
                self.violated(format!("two views of one number: {id} and {}", known.id()));
            }
            Some(_) => {}
            None => {
                if view.next().is_none() && id.layout > 1 {
                    self.finished(view);
                }
                self.outcomes.insert(id.era(), view.clone());
            }
        }
        let newest = self.newest.entry(node).or_insert(id);
        if *newest > id {
            let newest = *newest;
            self.violated(format!("n{node} went back from {newest} to {id}"));
        } else {
            *newest = id;
        }
    }

    /// A view carries what every round has left behind that all were fit for, whoever made it and when (T1).
    fn carries(&mut self, node: u64, view: &View) {
        let (id, reaped) = (view.id(), view.reaped());
        let starts = self.starting.remove(&node);
        if *self.carried.entry(id).or_insert(reaped) != reaped {
            self.violated(format!("two views of one number: {id} carries two things"));
        }
        if view.page().is_some() && !starts {
            let round = self.rounds.entry(id).or_default();
            round.listed = view.listed().iter().map(|node| node.0).collect();
            self.completed += u64::from(round.fit.insert(node) && round.fit == round.listed);
        }
        let over = self.rounds.iter().filter(|(_, round)| round.fit == round.listed);
        let forgets = |round: ViewId| {
            let left = self.carried[&round];
            let newer = self.carried.iter().filter(move |(other, _)| **other > round);
            let mut short =
                newer.filter(move |(_, has)| has.fence < left.fence || has.floor < left.floor);
            short.next().map(|(other, _)| format!("{other} forgets the round of {round}"))
        };
        if let Some(what) = over.filter_map(|(round, _)| forgets(*round)).next() {
            self.violated(what);
        }
    }

    /// Somebody goes by the next layout alone: it must have been allowed to (L3).
    fn finished(&mut self, view: &View) {
        let joint = self.outcomes.values().rev().find(|v| v.id() < view.id()).cloned();
        let Some(joint) = joint.filter(|joint| joint.next().is_some()) else {
            return self.violated(format!("{} follows no joint view", view.id()));
        };
        let id = joint.id().era();
        for member in view.layout().members() {
            let node = member.id;
            let has = self.caught_up.get(&node.0).is_some_and(|caught_up| caught_up.era() >= id);
            if must_catch_up(&joint, node) && !has {
                self.violated(format!("{} finished and {node} had not caught up", joint.id()));
            }
        }
        let is_in = |node: &NodeId| {
            let named = joint.change().accepted_losses.contains(node);
            named || self.adopted.get(&node.0).is_some_and(|adopted| adopted.era() >= id)
        };
        let mut unseen = None;
        for bucket in joint.layout().buckets() {
            for partition in joint.partitions().iter() {
                let owners = joint.owners(partition, bucket.n);
                let needed = (owners.len() + 1 - usize::from(bucket.strict_r)).max(1);
                if owners.iter().filter(|node| is_in(node)).count() < needed {
                    unseen = Some(partition);
                }
            }
        }
        if let Some(partition) = unseen {
            self.violated(format!("{} finished unseen by owners of {partition}", joint.id()));
        }
    }

    pub(crate) fn reported(&mut self, node: u64, fact: &Fact) {
        let (of, view) = match *fact {
            Fact::Adopted(view) => (&mut self.adopted, view),
            Fact::CaughtUp(view) => (&mut self.caught_up, view),
            Fact::Drained(_)
            | Fact::Answered(_)
            | Fact::Silent(_)
            | Fact::Newer(_)
            | Fact::Damaged(_)
            | Fact::Reap { .. }
            | Fact::Judged { .. }
            | Fact::Reaped(_)
            | Fact::ReapEnded { .. }
            | Fact::Compared { .. } => return,
        };
        let newest = of.entry(node).or_insert(view);
        *newest = view.max(*newest);
    }

    /// What a node knows of others only grows while it runs.
    pub(crate) fn rows<'a>(&mut self, observer: u64, rows: impl Iterator<Item = &'a Row>) {
        for row in rows {
            let now = (row.status, row.label.0);
            let before = self.rows.insert((observer, row.node.0), now);
            if before.is_some_and(|before| before.0 > now.0 || before.1 > now.1) {
                self.violated(format!("n{observer} knew more of {} before", row.node));
            }
        }
    }
}
