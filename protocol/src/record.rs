//! What a node stores for a key, and the store that it is kept in.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    id::NodeId,
    key::{Partition, RecordKey},
    object::Object,
    version::Dot,
    view::ViewId,
};

/// One record a key, whoever owns it: the object, and what is private to the node.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Record {
    /// What all copies exchange.
    pub object: Object,
    /// The dot of this node's last coordination of the key; never sent, never merged (V1).
    pub own: Option<Dot>,
    /// The owners that lack this record. A record that owes somebody is a *hint* (H1).
    pub owed: Option<Owed>,
    /// The mark of a record that was damaged: the view in which that was found. The object is what was taken in
    /// since, so readers are told nothing of it (W1).
    pub damaged: Option<ViewId>,
}

/// The owners that lack a record, as counted in one view.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Owed {
    /// In another view than this, all owners of that view are owed.
    pub view: ViewId,
    /// Sorted, never empty.
    pub owners: Arc<[NodeId]>,
}

/// What a store answers.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stored {
    /// The key was never written here, or was dropped.
    Absent,
    /// The record.
    Found(Record),
    /// There is a record and its checksum fails. It is never "not found" (W1).
    Damaged,
}

/// A store: synchronous to read and write, asynchronous to become durable.
///
/// An ordered map of typed records. A read sees every write before it. What is written becomes durable in
/// order, at the latest at the next barrier ([`crate::Effect::Sync`]); a crash loses a suffix of what was
/// written since, in whole steps.
pub trait Storage {
    /// The record of `key`.
    fn read(&self, key: &RecordKey) -> Stored;

    /// Replaces the record of `key`, or removes it.
    fn write(&mut self, key: RecordKey, record: Option<Record>);

    /// The first `limit` records from `from` on and below the partition `until`, in order; shorter only where there are no more of
    /// them. Without `until` they go on to the end of the store.
    fn scan(
        &self,
        from: &RecordKey,
        until: Option<Partition>,
        limit: usize,
    ) -> Vec<(RecordKey, Stored)>;
}

/// A map is a store that is always durable and never damaged.
impl Storage for BTreeMap<RecordKey, Record> {
    fn read(&self, key: &RecordKey) -> Stored {
        self.get(key).cloned().map_or(Stored::Absent, Stored::Found)
    }

    fn write(&mut self, key: RecordKey, record: Option<Record>) {
        match record {
            Some(record) => self.insert(key, record),
            None => self.remove(&key),
        };
    }

    fn scan(
        &self,
        from: &RecordKey,
        until: Option<Partition>,
        limit: usize,
    ) -> Vec<(RecordKey, Stored)> {
        let below = |key: &RecordKey| until.is_none_or(|until| key.partition < until);
        let found = self.range(from..).take_while(|(key, _)| below(key)).take(limit);
        found.map(|(key, record)| (key.clone(), Stored::Found(record.clone()))).collect()
    }
}

impl Owed {
    /// The owners owed; `None` when there are none left.
    pub fn new(view: ViewId, owners: impl IntoIterator<Item = NodeId>) -> Option<Self> {
        let mut owners: Vec<NodeId> = owners.into_iter().collect();
        owners.sort_unstable();
        owners.dedup();
        (!owners.is_empty()).then(|| Self { view, owners: owners.into() })
    }
}

impl fmt::Display for Record {
    /// The object, then `own i1.1:2`, `owes n2 n3` and the mark where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)?;
        if let Some(own) = self.own {
            write!(f, " own {own}")?;
        }
        if let Some(owed) = &self.owed {
            f.write_str(" owes")?;
            for owner in owed.owners.iter() {
                write!(f, " {owner}")?;
            }
        }
        self.damaged.iter().try_for_each(|view| write!(f, " damaged, found in {view}"))
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Found(record) => record.fmt(f),
            Self::Damaged => f.write_str("damaged"),
        }
    }
}
