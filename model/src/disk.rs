//! A node's disk: what is durable, and the batches that are not yet.

use cartwheel_protocol::{
    Ticket,
    key::{Partition, RecordKey},
    object::Object,
    record::{Record, Storage, Stored},
};

use crate::hashed::Hashed;

/// An ordered map of records with an unsynced tail of step batches. A crash keeps any prefix of the tail.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Disk {
    durable: Vec<(RecordKey, Hashed<Cell>)>,
    tail: Vec<Hashed<Batch>>,
    /// What the step that is running has written.
    open: Vec<Write>,
}

/// What one write puts under a key: a record, or nothing.
type Write = (RecordKey, Option<Hashed<Cell>>);

/// A record on the disk.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Cell {
    /// It can be read.
    Sound(Record),
    /// Its checksum fails.
    Damaged,
}

/// What one step wrote, and who waits until it is durable.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Batch {
    writes: Vec<Write>,
    tickets: Vec<Ticket>,
}

impl Batch {
    /// Whether it changes nothing on the disk.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

impl Cell {
    fn stored(&self) -> Stored {
        match self {
            Self::Sound(record) => Stored::Found(record.clone()),
            Self::Damaged => Stored::Damaged,
        }
    }

    /// Whether it can be read and is all that it was.
    pub fn is_whole(&self) -> bool {
        self.record().is_some_and(|record| record.damaged.is_none())
    }

    /// The record, if it can be read.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Sound(record) => Some(record),
            Self::Damaged => None,
        }
    }
}

impl Disk {
    /// The batches that are not durable, oldest first.
    pub fn tail(&self) -> &[Hashed<Batch>] {
        &self.tail
    }

    /// The records that would be found after a crash that keeps nothing of the tail.
    pub fn durable(&self) -> impl Iterator<Item = (&RecordKey, &Cell)> {
        self.durable.iter().map(|(key, cell)| (key, &**cell))
    }

    /// The record under `key` as a crash would leave it.
    pub fn durable_cell(&self, key: &RecordKey) -> Option<&Cell> {
        self.durable.iter().find(|(known, _)| known == key).map(|(_, cell)| &**cell)
    }

    /// The record under `key` as the node sees it.
    pub fn cell(&self, key: &RecordKey) -> Option<&Cell> {
        match self.open.iter().find(|(written, _)| written == key) {
            Some((_, cell)) => cell.as_deref(),
            None => self.cell_before(key),
        }
    }

    /// The record under `key` as it was before the step that is running.
    fn cell_before(&self, key: &RecordKey) -> Option<&Cell> {
        let mut writes = self.tail.iter().rev().flat_map(|batch| batch.writes.iter());
        match writes.find(|(written, _)| written == key) {
            Some((_, cell)) => cell.as_deref(),
            None => self.durable_cell(key),
        }
    }

    /// Whether the node sees any record.
    pub fn is_empty(&self) -> bool {
        self.durable.is_empty() && self.tail.iter().all(|batch| batch.is_empty())
    }

    /// Whether the node would find a damaged record, or one that was and is not mended.
    pub(crate) fn has_damage(&self) -> bool {
        let unsynced = self.tail.iter().flat_map(|batch| batch.writes.iter()).map(|(key, _)| key);
        let mut keys = self.durable.iter().map(|(key, _)| key).chain(unsynced);
        keys.any(|key| self.cell(key).is_some_and(|cell| !cell.is_whole()))
    }

    /// Whether all that is durable can be read.
    pub(crate) fn is_whole(&self) -> bool {
        self.durable.iter().all(|(_, cell)| cell.is_whole())
    }

    /// The objects that the step that is running replaces, each with what comes in its place.
    pub(crate) fn would_replace(&self) -> impl Iterator<Item = (Object, Object)> {
        self.open.iter().filter_map(|(key, cell)| {
            let before = self.cell_before(key).and_then(Cell::record)?;
            let after = cell.as_ref().and_then(|cell| cell.record());
            let after = after.map(|record| record.object.clone()).unwrap_or_default();
            Some((before.object.clone(), after))
        })
    }

    /// Whether the step that is running mends a damaged record.
    pub(crate) fn would_mend(&self) -> bool {
        self.open.iter().any(|(key, cell)| {
            let before = self.cell_before(key).and_then(Cell::record);
            let was_marked = before.is_some_and(|record| record.damaged.is_some());
            was_marked && cell.as_ref().is_some_and(|cell| cell.is_whole())
        })
    }

    /// Whether the step that is running removes a record that owes somebody.
    pub(crate) fn would_drop_a_hint(&self) -> bool {
        let removed = self.open.iter().filter(|(_, cell)| cell.is_none()).map(|(key, _)| key);
        let mut before = removed.filter_map(|key| self.cell_before(key)?.record());
        before.any(|record| record.owed.is_some())
    }

    /// Whether the step that is running drops an add_id from what a cart remembers as cancelled.
    pub(crate) fn would_forget_a_cancel(&self) -> bool {
        self.open.iter().any(|(key, cell)| {
            let after = cell.as_ref().and_then(|cell| cell.record()).map(|r| r.object.cancelled());
            let before = self.cell_before(key).and_then(Cell::record).map(|r| r.object.cancelled());
            let (Some(after), Some(before)) = (after, before) else { return false };
            before.iter().any(|add_id| after.binary_search(add_id).is_err())
        })
    }

    /// Ends a step: what it wrote becomes one batch. Gives the records written.
    pub(crate) fn close(&mut self, tickets: Vec<Ticket>) -> Option<Hashed<Batch>> {
        if self.open.is_empty() && tickets.is_empty() {
            return None;
        }
        let batch = Hashed::new(Batch { writes: std::mem::take(&mut self.open), tickets });
        self.tail.push(batch.clone());
        Some(batch)
    }

    /// Makes the oldest batch durable and hands back the tickets that waited for it.
    pub(crate) fn sync(&mut self) -> Vec<Ticket> {
        if self.tail.is_empty() {
            return Vec::new();
        }
        let batch = self.tail.remove(0);
        for (key, cell) in &batch.writes {
            set(&mut self.durable, key, cell.clone());
        }
        batch.tickets.clone()
    }

    /// What a crash does that keeps the first `keep` batches of the tail.
    pub(crate) fn crash(&mut self, keep: usize) {
        for _ in 0..keep {
            self.sync();
        }
        self.tail.clear();
    }

    /// Damages the durable record under `key`; the tail is on top of it, untouched.
    pub(crate) fn damage(&mut self, key: &RecordKey) {
        set(&mut self.durable, key, Some(Hashed::new(Cell::Damaged)));
    }
}

fn set(cells: &mut Vec<(RecordKey, Hashed<Cell>)>, key: &RecordKey, cell: Option<Hashed<Cell>>) {
    match (cells.binary_search_by(|(known, _)| known.cmp(key)), cell) {
        (Ok(at), Some(cell)) => cells[at].1 = cell,
        (Ok(at), None) => drop(cells.remove(at)),
        (Err(at), Some(cell)) => cells.insert(at, (key.clone(), cell)),
        (Err(_), None) => {}
    }
}

impl Batch {
    /// The records that it puts on the disk.
    pub fn records(&self) -> impl Iterator<Item = (&RecordKey, &Record)> {
        self.writes.iter().filter_map(|(key, cell)| Some((key, cell.as_ref()?.record()?)))
    }

    /// The keys whose records it removes.
    pub fn removals(&self) -> impl Iterator<Item = &RecordKey> {
        self.writes.iter().filter(|(_, cell)| cell.is_none()).map(|(key, _)| key)
    }
}

impl Storage for Disk {
    fn read(&self, key: &RecordKey) -> Stored {
        self.cell(key).map_or(Stored::Absent, Cell::stored)
    }

    fn write(&mut self, key: RecordKey, record: Option<Record>) {
        let cell = record.map(|record| Hashed::new(Cell::Sound(record)));
        match self.open.iter_mut().find(|(written, _)| *written == key) {
            Some(write) => write.1 = cell,
            None => self.open.push((key, cell)),
        }
    }

    fn scan(
        &self,
        from: &RecordKey,
        until: Option<Partition>,
        limit: usize,
    ) -> Vec<(RecordKey, Stored)> {
        let durable = self.durable.iter().map(|(key, _)| key);
        let unsynced = self.tail.iter().flat_map(|batch| batch.writes.iter()).map(|(key, _)| key);
        let open = self.open.iter().map(|(key, _)| key);
        let among =
            |key: &&RecordKey| *key >= from && until.is_none_or(|until| key.partition < until);
        let mut keys: Vec<&RecordKey> = durable.chain(unsynced).chain(open).filter(among).collect();
        keys.sort_unstable();
        keys.dedup();
        let found =
            keys.into_iter().filter_map(|key| Some((key.clone(), self.cell(key)?.stored())));
        found.take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::{id::AddId, key::Key, object::Object, version::VersionVector};

    use super::*;

    fn key(name: &str) -> RecordKey {
        let bucket = cartwheel_protocol::bucket::BucketName::new("carts").expect("a valid name");
        RecordKey { partition: Partition(0), key: Key::new(bucket, name.as_bytes()) }
    }

    fn record(id: u128) -> Record {
        let object =
            Object::from_parts(VersionVector::default(), Vec::new(), Vec::from([AddId(id)]));
        Record { object, ..Record::default() }
    }

    fn disk_with_three_batches() -> Disk {
        let mut disk = Disk::default();
        for (name, written) in [("a", Some(record(1))), ("b", Some(record(2))), ("a", None)] {
            disk.write(key(name), written);
            disk.close(Vec::new());
        }
        disk
    }

    #[test]
    fn a_read_sees_every_write_before_it() {
        let disk = disk_with_three_batches();
        assert_eq!(disk.read(&key("a")), Stored::Absent);
        assert_eq!(disk.read(&key("b")), Stored::Found(record(2)));
        assert_eq!(disk.scan(&key(""), None, 9), [(key("b"), Stored::Found(record(2)))]);
    }

    #[test]
    fn a_crash_keeps_any_prefix_of_the_batches_and_nothing_else() {
        let found = |keep: usize, name: &str| {
            let mut disk = disk_with_three_batches();
            disk.crash(keep);
            disk.read(&key(name)) != Stored::Absent
        };
        let after = |keep| (found(keep, "a"), found(keep, "b"));
        let expected = [(false, false), (true, false), (true, true), (false, true)];
        assert_eq!([after(0), after(1), after(2), after(3)], expected);
    }

    #[test]
    fn a_damaged_record_is_not_absent() {
        let mut disk = disk_with_three_batches();
        disk.crash(2);
        disk.damage(&key("a"));
        assert_eq!(disk.read(&key("a")), Stored::Damaged);
        assert_eq!(disk.scan(&key(""), None, 1), [(key("a"), Stored::Damaged)]);
    }
}
