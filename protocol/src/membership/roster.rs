//! The roster: what a node knows of every node, and how two rosters become one (paper §4.8.1).
//!
//! Every field is merged by a rule of its own that does not depend on the order of arrival, so gossip may be
//! lost, late or repeated: numbers take the greater one, the status the higher rank, and a label is a version
//! and a value, of which the higher version wins and ties go by the value.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::{
    id::NodeId,
    rules::{Mutant, Rules},
    view::ViewId,
};

/// Where a node stands. Ranks only rise: *removed* is the end, and its id never returns.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Status {
    /// Known, and no member yet.
    Joining,
    /// A member.
    Up,
    /// A member of the older layout only, or a former one that drains.
    Leaving,
    /// No member any more, and drained or given up.
    Removed,
}

/// What is known of one node.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Row {
    /// The node.
    pub node: NodeId,
    /// Advances with each period of the node. Not persisted: a node that hears of its own beyond what it has sent goes on from there.
    pub heartbeat: u64,
    /// Its name for people, and where it can be reached, under a version.
    pub label: (u64, Arc<str>, Arc<str>),
    /// Where it stands.
    pub status: Status,
    /// The least view of its shards.
    pub view: Option<ViewId>,
    /// The newest joint view in which it had caught up with all that it must.
    pub caught_up: Option<ViewId>,
}

/// A row in brief: enough to see who knows more.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Glimpse {
    /// The node.
    pub node: NodeId,
    /// Its heartbeat.
    pub heartbeat: u64,
    /// A hash of the rest.
    pub rest: u64,
}

/// The rows that a node holds, by node.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Roster(BTreeMap<NodeId, Row>);

/// What merging a row brought.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct News {
    pub(crate) beats: bool,
    pub(crate) label: bool,
    pub(crate) other: bool,
}

impl Row {
    /// A node that nothing is known of but its name and address.
    pub fn new(node: NodeId, name: Arc<str>, address: Arc<str>) -> Self {
        let label = (0, name, address);
        Self { node, heartbeat: 0, label, status: Status::Joining, view: None, caught_up: None }
    }

    /// The row in brief.
    pub fn glimpse(&self) -> Glimpse {
        let mut hasher = Xxh3::new();
        let (version, name, address) = &self.label;
        hasher.update(&version.to_le_bytes());
        for text in [name, address] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&[self.status as u8]);
        for view in [self.view, self.caught_up] {
            let ViewId { layout, decree, reap } = view.unwrap_or(ViewId::of_layout(0));
            for number in [layout, decree, reap.0, reap.1.0] {
                hasher.update(&number.to_le_bytes());
            }
        }
        Glimpse { node: self.node, heartbeat: self.heartbeat, rest: hasher.digest() }
    }

    /// Takes over what the other row knows more.
    fn merge(&mut self, other: &Self, rules: Rules) -> News {
        if !rules.keeps(Mutant::GossipOverwritesNewer) {
            let before = core::mem::replace(self, other.clone());
            let label = before.label != self.label;
            return News {
                beats: before.heartbeat != self.heartbeat,
                label,
                other: before != *self,
            };
        }
        let before = self.clone();
        self.heartbeat = self.heartbeat.max(other.heartbeat);
        self.status = self.status.max(other.status);
        self.view = self.view.max(other.view);
        self.caught_up = self.caught_up.max(other.caught_up);
        if other.label > self.label {
            self.label = other.label.clone();
        }
        News {
            beats: self.heartbeat > before.heartbeat,
            label: self.label != before.label,
            other: (self.status, self.view, self.caught_up)
                != (before.status, before.view, before.caught_up),
        }
    }
}

impl Roster {
    pub(crate) fn row(&self, node: NodeId) -> Option<&Row> {
        self.0.get(&node)
    }

    pub(crate) fn row_mut(&mut self, node: NodeId) -> Option<&mut Row> {
        self.0.get_mut(&node)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.values()
    }

    /// A row of which nothing is known yet; one that is there stays.
    pub(crate) fn meet(&mut self, row: Row) {
        self.0.entry(row.node).or_insert(row);
    }

    pub(crate) fn merge(&mut self, row: &Row, rules: Rules) -> News {
        match self.0.get_mut(&row.node) {
            Some(known) => known.merge(row, rules),
            None => {
                self.0.insert(row.node, row.clone());
                News { beats: true, label: true, other: true }
            }
        }
    }

    pub(crate) fn glimpses(&self) -> Arc<[Glimpse]> {
        self.0.values().map(Row::glimpse).collect()
    }

    /// What the other, as its glimpses say, does not know: heartbeats where nothing else is new, else rows.
    pub(crate) fn lacked_by(&self, glimpses: &[Glimpse]) -> (Vec<(NodeId, u64)>, Vec<Row>) {
        let (mut beats, mut rows) = (Vec::new(), Vec::new());
        for row in self.0.values() {
            let mine = row.glimpse();
            let theirs = glimpses.binary_search_by_key(&row.node, |glimpse| glimpse.node);
            match theirs.ok().map(|at| glimpses[at]) {
                Some(theirs) if theirs.rest == mine.rest => {
                    if theirs.heartbeat < mine.heartbeat {
                        beats.push((row.node, row.heartbeat));
                    }
                }
                Some(_) | None => rows.push(row.clone()),
            }
        }
        (beats, rows)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Up => "up",
            Self::Leaving => "leaving",
            Self::Removed => "removed",
        })
    }
}

impl fmt::Display for Row {
    /// `n4 up v3.1 caught up in v3.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.node, self.status)?;
        self.view.iter().try_for_each(|view| write!(f, " {view}"))?;
        self.caught_up.iter().try_for_each(|view| write!(f, " caught up in {view}"))
    }
}
