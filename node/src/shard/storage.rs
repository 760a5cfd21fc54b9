//! The typed store of one shard: records over the overlay of its uncommitted writes.
//!
//! A record is encoded in the newest format and sealed with a checksum; what does not open is damaged, never
//! absent. A shard sees the records of its own partitions only: those of others may be under change in
//! another thread.
//!
//! The core's [`Storage`] has no errors: an engine that cannot answer stops the node (fail-stop), also where it cannot list
//! what there is.

use std::cell::RefCell;
use std::collections::BTreeSet;

use bytes::Bytes;
use cartwheel_protocol::format::v1;
use cartwheel_protocol::key::{Partition, RecordKey};
use cartwheel_protocol::record::{Record, Storage, Stored};
use metrics::Counter;

use crate::committer::{Commit, STEP_PREFIX, ShardId};
use crate::engine::{EngineError, Entry, Overlay, Unreadable, checksum};

/// First byte of the keys of records in the engine.
const RECORDS: u8 = 0x10;
/// The first key after all records.
const RECORDS_END: &[u8] = &[RECORDS + 1];
/// How many damaged records are remembered, so that each is logged once.
const LOGGED_AT_MOST: usize = 1_024;

const _: () = assert!(RECORDS > STEP_PREFIX, "the committer's keys are apart");

/// The records of one shard's partitions.
pub(crate) struct ShardStorage {
    overlay: Overlay,
    shard: ShardId,
    /// How many shards share the partitions.
    shards: u16,
    /// Whether the present step has written.
    wrote: Vec<Partition>,
    /// The most entries of a version vector that was written (rule V6 asks for it: nothing drops them but reap rounds).
    clock_entries: usize,
    damaged: Counter,
    logged: RefCell<BTreeSet<Bytes>>,
}

/// The shard that has a partition, where there are so many shards.
pub(crate) fn shard_of(partition: Partition, shards: u16) -> ShardId {
    ShardId((partition.0 % u32::from(shards)) as u16)
}

impl ShardStorage {
    pub(crate) fn new(overlay: Overlay, shard: ShardId, shards: u16, damaged: Counter) -> Self {
        let (wrote, logged) = (Vec::new(), RefCell::default());
        Self { overlay, shard, shards, wrote, clock_entries: 0, damaged, logged }
    }

    /// The number of the step that writes now.
    pub(crate) fn step(&self) -> u64 {
        self.overlay.step()
    }

    /// The partitions that the present step has written to: none twice in a row.
    pub(crate) fn wrote(&self) -> &[Partition] {
        &self.wrote
    }

    /// The most entries of a version vector that was written so far.
    pub(crate) fn clock_entries(&self) -> usize {
        self.clock_entries
    }

    /// Ends the present step: what the committer must be sent.
    pub(crate) fn end_step(&mut self) -> Commit {
        self.wrote.clear();
        self.overlay.end_step()
    }

    /// Drops from memory what is on disk: the steps up to `durable`.
    pub(crate) fn trim(&mut self, durable: u64) {
        self.overlay.trim(durable);
    }

    fn is_own(&self, partition: Partition) -> bool {
        shard_of(partition, self.shards) == self.shard
    }

    /// The least partition above `partition` that is this shard's.
    fn next_own(&self, partition: Partition) -> Partition {
        let shards = u32::from(self.shards);
        let next = partition.0 + 1;
        let ahead = (u32::from(self.shard.0) + shards - next % shards) % shards;
        Partition(next + ahead)
    }

    fn open(&self, key: &[u8], sealed: &Bytes) -> Stored {
        let reason = match checksum::open(key, sealed) {
            Ok(record) => match v1::decode_record(&record) {
                Ok(record) => return Stored::Found(record),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        self.note_damage(key, &reason);
        Stored::Damaged
    }

    fn note_damage(&self, key: &[u8], reason: &str) {
        let mut logged = self.logged.borrow_mut();
        if logged.contains(key) {
            return;
        }
        self.damaged.increment(1);
        let key = Bytes::copy_from_slice(key);
        tracing::error!(shard = self.shard.0, key = %key.escape_ascii(), reason, "damaged record");
        if logged.len() < LOGGED_AT_MOST {
            logged.insert(key);
        }
    }

    /// Opens the entries of a page up to the first of another shard. Says from where to go on; `None` at the
    /// end of the store.
    fn take_own(
        &self,
        page: Vec<Entry>,
        asked: usize,
        found: &mut Vec<(RecordKey, Stored)>,
    ) -> Option<Bytes> {
        let last = page.last().filter(|_| page.len() >= asked);
        let after = last.map(|(last, _)| Bytes::from([last.as_ref(), &[0]].concat()));
        for (bytes, value) in page {
            let key = match v1::parse_record_key(&bytes[1..]) {
                Ok(key) => key,
                Err(error) => {
                    self.note_damage(&bytes, &error.to_string());
                    continue;
                }
            };
            if !self.is_own(key.partition) {
                return Some(engine_key(&RecordKey::start_of(self.next_own(key.partition))));
            }
            let stored = match value {
                Ok(sealed) => self.open(&bytes, &sealed),
                Err(Unreadable(reason)) => {
                    self.note_damage(&bytes, &reason);
                    Stored::Damaged
                }
            };
            found.push((key, stored));
        }
        after
    }
}

impl Storage for ShardStorage {
    fn read(&self, key: &RecordKey) -> Stored {
        debug_assert!(self.is_own(key.partition), "{key} is another shard's");
        let bytes = engine_key(key);
        match self.overlay.read(&bytes) {
            Ok(None) => Stored::Absent,
            Ok(Some(sealed)) => self.open(&bytes, &sealed),
            Err(EngineError::Damaged(reason)) => {
                self.note_damage(&bytes, &reason);
                Stored::Damaged
            }
            Err(error) => fail_stop(&error),
        }
    }

    fn write(&mut self, key: RecordKey, record: Option<Record>) {
        debug_assert!(self.is_own(key.partition), "{key} is another shard's");
        let bytes = engine_key(&key);
        let clock = record.as_ref().map_or(0, |record| record.object.seen().len());
        self.clock_entries = self.clock_entries.max(clock);
        let sealed = record.map(|record| checksum::seal(&bytes, &v1::encode_record(&record)));
        if self.wrote.last() != Some(&key.partition) {
            self.wrote.push(key.partition);
        }
        self.overlay.write(bytes, sealed);
    }

    fn scan(
        &self,
        from: &RecordKey,
        until: Option<Partition>,
        limit: usize,
    ) -> Vec<(RecordKey, Stored)> {
        let start = if self.is_own(from.partition) {
            engine_key(from)
        } else {
            engine_key(&RecordKey::start_of(self.next_own(from.partition)))
        };
        let end = until.map(|until| engine_key(&RecordKey::start_of(until)));
        let end = end.as_deref().unwrap_or(RECORDS_END);
        let (mut found, mut next) = (Vec::new(), Some(start));
        while let Some(from) = next.filter(|_| found.len() < limit) {
            let asked = limit - found.len();
            // Where it cannot even be said which records there are, a page would show them as absent.
            let page = self.overlay.scan(&from, Some(end), asked);
            let page = page.unwrap_or_else(|error| fail_stop(&error));
            next = self.take_own(page, asked, &mut found);
        }
        found
    }
}

/// Where a record stands in the engine.
fn engine_key(key: &RecordKey) -> Bytes {
    let bytes = v1::record_key_bytes(key);
    Bytes::from([&[RECORDS], bytes.as_slice()].concat())
}

/// The thread ends here, and with it the node: whoever started the thread sees to that.
fn fail_stop(error: &EngineError) -> ! {
    panic!("the store cannot be read: {error}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cartwheel_protocol::bucket::BucketName;
    use cartwheel_protocol::id::{Incarnation, NodeId};
    use cartwheel_protocol::key::Key;
    use cartwheel_protocol::record::Owed;
    use cartwheel_protocol::version::{Actor, Dot};
    use cartwheel_protocol::view::ViewId;

    use super::*;
    use crate::engine::{Batch, Engine, Layer, MemoryEngine};

    const SHARDS: u16 = 3;

    fn key(partition: u32, name: &str) -> RecordKey {
        let bucket = BucketName::new("default").expect("a name");
        RecordKey { partition: Partition(partition), key: Key::new(bucket, name.as_bytes()) }
    }

    fn record(counter: u64) -> Record {
        let own = Dot { actor: Actor { incarnation: Incarnation(1), n: 1 }, counter };
        let owed = Owed::new(ViewId::of_layout(1), [NodeId(2)]);
        Record { own: Some(own), owed, ..Record::default() }
    }

    fn storage<E: Engine>(engine: &Arc<E>, shard: u16) -> ShardStorage {
        let overlay = Overlay::new(engine.clone(), ShardId(shard), 0);
        ShardStorage::new(overlay, ShardId(shard), SHARDS, Counter::noop())
    }

    /// Every write of the step goes to the engine.
    fn commit(engine: &MemoryEngine, storage: &mut ShardStorage) {
        let commit = storage.end_step();
        let mut batch = Batch::new();
        commit.writes.into_iter().for_each(|(key, value)| batch.write(key, value));
        engine.commit(batch).expect("memory takes it");
        storage.trim(commit.step);
    }

    #[test]
    fn a_record_is_read_back_before_and_after_its_commit() {
        let engine = Arc::new(MemoryEngine::new());
        let mut storage = storage(&engine, 1);
        assert_eq!(storage.read(&key(1, "k")), Stored::Absent);
        storage.write(key(1, "k"), Some(record(5)));
        assert!(!storage.wrote().is_empty());
        assert_eq!(storage.read(&key(1, "k")), Stored::Found(record(5)));
        commit(&engine, &mut storage);
        assert!(storage.wrote().is_empty());
        assert_eq!(storage.read(&key(1, "k")), Stored::Found(record(5)));
        storage.write(key(1, "k"), None);
        assert_eq!(storage.read(&key(1, "k")), Stored::Absent);
    }

    #[test]
    fn a_changed_byte_reads_as_damaged_and_never_as_absent() {
        let engine = Arc::new(MemoryEngine::new());
        let mut storage = storage(&engine, 1);
        storage.write(key(1, "k"), Some(record(5)));
        commit(&engine, &mut storage);
        let at = engine_key(&key(1, "k"));
        let sealed = engine.read(&at).expect("memory").expect("the record");
        for byte in 0..sealed.len() {
            let mut bytes = sealed.to_vec();
            bytes[byte] ^= 1;
            let mut batch = Batch::new();
            batch.write(at.clone(), Some(bytes.into()));
            engine.commit(batch).expect("memory");
            assert_eq!(storage.read(&key(1, "k")), Stored::Damaged, "byte {byte}");
            let scanned = storage.scan(&key(1, ""), None, 9);
            assert_eq!(scanned, [(key(1, "k"), Stored::Damaged)], "byte {byte}");
        }
    }

    #[test]
    fn a_record_sealed_in_an_unknown_format_is_damaged() {
        let engine = Arc::new(MemoryEngine::new());
        let at = engine_key(&key(1, "k"));
        let mut batch = Batch::new();
        batch.write(at.clone(), Some(checksum::seal(&at, &[250, 1, 2])));
        engine.commit(batch).expect("memory");
        assert_eq!(storage(&engine, 1).read(&key(1, "k")), Stored::Damaged);
    }

    #[test]
    fn a_scan_shows_the_own_partitions_in_order_and_nothing_of_others() {
        let engine = Arc::new(MemoryEngine::new());
        let mut shards: Vec<ShardStorage> = (0..SHARDS).map(|s| storage(&engine, s)).collect();
        for partition in 0..12 {
            for name in ["a", "b", "c"] {
                let shard = &mut shards[partition as usize % 3];
                shard.write(key(partition, name), Some(record(1)));
                if name == "b" {
                    commit(&engine, shard);
                }
            }
        }
        let expected: Vec<RecordKey> = [1, 4, 7, 10]
            .into_iter()
            .flat_map(|partition| ["a", "b", "c"].map(|name| key(partition, name)))
            .collect();
        for limit in 1..=13 {
            let page = shards[1].scan(&key(0, ""), None, limit);
            let keys: Vec<RecordKey> = page.into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, expected[..limit.min(12)], "limit {limit}");
        }
        let from_within = shards[1].scan(&key(4, "b"), None, 3);
        assert_eq!(from_within.first().map(|(key, _)| key.clone()), Some(key(4, "b")));
        assert_eq!(shards[1].scan(&key(11, "x"), None, 5), []);
        let below = shards[1].scan(&key(0, ""), Some(Partition(4)), 99);
        assert!(below.iter().all(|(key, _)| key.partition == Partition(1)), "{below:?}");
        assert!(!below.is_empty());
    }

    /// Memory with one value that cannot be read, or where not even the keys from it on can.
    struct Broken {
        memory: MemoryEngine,
        value_of: Option<Bytes>,
        keys_at: Option<Bytes>,
    }

    impl Layer for Broken {
        fn below(&self) -> &dyn Engine {
            &self.memory
        }

        fn scan(
            &self,
            from: &[u8],
            until: Option<&[u8]>,
            limit: usize,
        ) -> Result<Vec<Entry>, EngineError> {
            let mut page = self.memory.scan(from, until, limit)?;
            if page.iter().any(|(key, _)| Some(key) == self.keys_at.as_ref()) {
                return Err(EngineError::Damaged("a page".to_owned()));
            }
            for (key, value) in &mut page {
                if Some(&*key) == self.value_of.as_ref() {
                    *value = Err(Unreadable("a value".to_owned()));
                }
            }
            Ok(page)
        }
    }

    /// Partitions 1 and 4 of shard 1 with keys a, b and c each, in an engine that is broken so.
    fn broken(value_of: Option<&RecordKey>, keys_at: Option<&RecordKey>) -> Arc<Broken> {
        let memory = Arc::new(MemoryEngine::new());
        let mut shard = storage(&memory, 1);
        for partition in [1, 4] {
            for name in ["a", "b", "c"] {
                shard.write(key(partition, name), Some(record(1)));
                commit(&memory, &mut shard);
            }
        }
        drop(shard);
        let memory = Arc::into_inner(memory).expect("the shard is gone");
        let (value_of, keys_at) = (value_of.map(engine_key), keys_at.map(engine_key));
        Arc::new(Broken { memory, value_of, keys_at })
    }

    fn found(engine: &Arc<Broken>, limit: usize) -> Vec<(RecordKey, bool)> {
        let page = storage(engine, 1).scan(&key(1, ""), None, limit);
        page.into_iter().map(|(key, stored)| (key, stored != Stored::Damaged)).collect()
    }

    #[test]
    fn a_scan_shows_a_value_that_cannot_be_read_as_damaged_and_goes_on() {
        for broken_name in ["a", "b", "c"] {
            let engine = broken(Some(&key(1, broken_name)), None);
            let all = [(1, "a"), (1, "b"), (1, "c"), (4, "a"), (4, "b"), (4, "c")].map(
                |(partition, name)| (key(partition, name), (partition, name) != (1, broken_name)),
            );
            for limit in 1..=7 {
                assert_eq!(found(&engine, limit), all[..limit.min(6)], "{broken_name}, {limit}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "the store cannot be read: the store is damaged: a page")]
    fn a_scan_that_cannot_tell_which_records_there_are_stops_the_node() {
        found(&broken(None, Some(&key(1, "b"))), 5);
    }

    #[test]
    fn the_next_own_partition_is_the_least_above() {
        let engine = Arc::new(MemoryEngine::new());
        for shard in 0..SHARDS {
            let storage = storage(&engine, shard);
            for partition in 0..20 {
                let next = storage.next_own(Partition(partition));
                let least = (partition + 1..).map(Partition).find(|p| storage.is_own(*p));
                assert_eq!(Some(next), least);
            }
        }
    }
}
