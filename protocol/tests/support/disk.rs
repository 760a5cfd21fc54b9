//! A store in memory that can lose what was not made durable.

use std::collections::BTreeMap;

use cartwheel_protocol::{
    key::{Partition, RecordKey},
    record::{Record, Storage, Stored},
};

/// The writes of one step, atomic: they survive a crash together or not at all.
type Batch = Vec<(RecordKey, Option<Record>)>;

/// A disk: what is durable, and behind it the unsynced tail as one batch for each step that wrote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    durable: BTreeMap<RecordKey, Stored>,
    tail: Vec<Batch>,
    /// The writes of the step under way.
    step: Batch,
    /// What a read sees: `durable` with all batches applied.
    now: BTreeMap<RecordKey, Stored>,
}

impl Disk {
    /// Ends a step: what it wrote becomes one batch.
    pub(crate) fn end_step(&mut self) {
        if !self.step.is_empty() {
            self.tail.push(std::mem::take(&mut self.step));
        }
    }

    /// Makes everything durable.
    pub(crate) fn sync(&mut self) {
        self.tail.clear();
        self.durable = self.now.clone();
    }

    /// Loses the tail but for its first `keep` batches, which are durable from now on.
    pub(crate) fn crash(&mut self, keep: usize) {
        self.step.clear();
        self.tail.truncate(keep);
        for (key, record) in self.tail.drain(..).flatten() {
            apply(&mut self.durable, key, record);
        }
        self.now = self.durable.clone();
    }

    /// How many batches are not durable.
    pub(crate) fn unsynced(&self) -> usize {
        self.tail.len()
    }

    /// Spoils a record.
    pub(crate) fn damage(&mut self, key: &RecordKey) {
        self.now.insert(key.clone(), Stored::Damaged);
        self.durable.insert(key.clone(), Stored::Damaged);
    }

    /// Loses a record, and nobody notices.
    pub(crate) fn lose(&mut self, key: &RecordKey) {
        self.now.remove(key);
        self.durable.remove(key);
    }

    /// What a crash without luck would leave of a record.
    pub(crate) fn durable(&self, key: &RecordKey) -> Stored {
        self.durable.get(key).cloned().unwrap_or(Stored::Absent)
    }
}

impl Storage for Disk {
    fn read(&self, key: &RecordKey) -> Stored {
        self.now.get(key).cloned().unwrap_or(Stored::Absent)
    }

    fn write(&mut self, key: RecordKey, record: Option<Record>) {
        apply(&mut self.now, key.clone(), record.clone());
        self.step.push((key, record));
    }

    fn scan(
        &self,
        from: &RecordKey,
        until: Option<Partition>,
        limit: usize,
    ) -> Vec<(RecordKey, Stored)> {
        self.now
            .range(from..)
            .take_while(|(key, _)| until.is_none_or(|until| key.partition < until))
            .take(limit)
            .map(|(key, stored)| (key.clone(), stored.clone()))
            .collect()
    }
}

fn apply(map: &mut BTreeMap<RecordKey, Stored>, key: RecordKey, record: Option<Record>) {
    match record {
        Some(record) => map.insert(key, Stored::Found(record)),
        None => map.remove(&key),
    };
}
