//! A shard's view of its store: the engine, and over it what the shard wrote and the disk does not hold.
//!
//! A step reads its own writes and those of all steps before it at once; the engine learns them from the
//! committer later. The overlay belongs to one shard's thread. What a crash loses is the overlay.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{Engine, EngineError, Entry};
use crate::committer::{Commit, ShardId};

/// The uncommitted writes of one shard over an [`Engine`].
pub struct Overlay {
    engine: Arc<dyn Engine>,
    shard: ShardId,
    /// The number of the step that writes now.
    step: u64,
    /// The newest uncommitted write of each key, with its step.
    newest: BTreeMap<Bytes, (u64, Option<Bytes>)>,
    /// What the present step has written, in order.
    writes: Vec<(Bytes, Option<Bytes>)>,
    /// The keys of each step that wrote and may not be durable, oldest first.
    untrimmed: VecDeque<(u64, Vec<Bytes>)>,
}

impl Overlay {
    /// An overlay without writes, for a shard whose last durable step is `durable` (0 in a new store).
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, shard: ShardId, durable: u64) -> Self {
        Self {
            engine,
            shard,
            step: durable + 1,
            newest: BTreeMap::new(),
            writes: Vec::new(),
            untrimmed: VecDeque::new(),
        }
    }

    /// The value of `key` as the present step sees it.
    ///
    /// # Errors
    /// The engine's.
    pub fn read(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.newest.get(key) {
            Some((_, value)) => Ok(value.clone()),
            None => self.engine.read(key),
        }
    }

    /// [`Engine::scan`] as the present step sees it.
    ///
    /// # Errors
    /// The engine's.
    pub fn scan(
        &self,
        from: &[u8],
        until: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        if limit == 0 || until.is_some_and(|until| until <= from) {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), until.map_or(Bound::Unbounded, Bound::Excluded));
        let mut over = self.newest.range::<[u8], _>(range).peekable();
        let mut found: Vec<Entry> = Vec::new();
        let mut from = Bytes::copy_from_slice(from);
        loop {
            let page = self.engine.scan(&from, until, limit - found.len())?;
            let is_last = page.len() < limit - found.len();
            // One past the page's last key: the least key greater than it ends in a zero byte.
            let next = page.last().map(|(key, _)| Bytes::from([key.as_ref(), &[0]].concat()));
            for (key, value) in page {
                while let Some((above, written)) = over.next_if(|(above, _)| **above < key) {
                    found.extend(entry(above, written));
                }
                match over.next_if(|(above, _)| **above == key) {
                    Some((above, written)) => found.extend(entry(above, written)),
                    None => found.push((key, value)),
                }
                if found.len() >= limit {
                    found.truncate(limit);
                    return Ok(found);
                }
            }
            match next {
                Some(next) if !is_last => from = next,
                Some(_) | None => break,
            }
        }
        found.extend(over.filter_map(|(key, written)| entry(key, written)));
        found.truncate(limit);
        Ok(found)
    }

    /// Writes `value` to `key` in the present step, or removes `key`.
    pub fn write(&mut self, key: Bytes, value: Option<Bytes>) {
        self.newest.insert(key.clone(), (self.step, value.clone()));
        self.writes.push((key, value));
    }

    /// Ends the present step: what the committer must be sent, in the order of the steps. Every step
    /// that asked for a barrier is sent, also one without writes.
    #[must_use = "the overlay keeps the writes until they are committed"]
    pub fn end_step(&mut self) -> Commit {
        let step = self.step;
        self.step += 1;
        let writes = std::mem::take(&mut self.writes);
        if !writes.is_empty() {
            self.untrimmed.push_back((step, writes.iter().map(|(key, _)| key.clone()).collect()));
        }
        Commit { shard: self.shard, step, writes }
    }

    /// Drops what the engine holds now: the writes of the steps up to `durable`, inclusive.
    pub fn trim(&mut self, durable: u64) {
        while self.untrimmed.front().is_some_and(|(step, _)| *step <= durable) {
            for key in self.untrimmed.pop_front().map(|(_, keys)| keys).unwrap_or_default() {
                if self.newest.get(&key).is_some_and(|(step, _)| *step <= durable) {
                    self.newest.remove(&key);
                }
            }
        }
    }

    /// The number of the step that writes now.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// How many keys have uncommitted writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    /// Whether the engine holds everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }
}

/// The entry that a write shows, `None` where it removes.
fn entry(key: &Bytes, (_, value): &(u64, Option<Bytes>)) -> Option<Entry> {
    value.as_ref().map(|value| (key.clone(), Ok(value.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Batch, MemoryEngine};

    fn bytes(value: &str) -> Bytes {
        Bytes::copy_from_slice(value.as_bytes())
    }

    fn overlay() -> (Arc<MemoryEngine>, Overlay) {
        let engine = Arc::new(MemoryEngine::new());
        (engine.clone(), Overlay::new(engine, ShardId(3), 10))
    }

    fn make_durable(engine: &MemoryEngine, commit: Commit) {
        let mut batch = Batch::new();
        for (key, value) in commit.writes {
            batch.write(key, value);
        }
        engine.commit(batch).expect("memory takes everything");
    }

    fn read(overlay: &Overlay, key: &str) -> Option<Bytes> {
        overlay.read(key.as_bytes()).expect("memory reads")
    }

    #[test]
    fn a_step_reads_its_own_writes_and_hands_them_over_in_order() {
        let (_, mut overlay) = overlay();
        overlay.write(bytes("k"), Some(bytes("1")));
        overlay.write(bytes("k"), None);
        overlay.write(bytes("l"), Some(bytes("2")));
        assert_eq!(read(&overlay, "k"), None);
        assert_eq!(read(&overlay, "l"), Some(bytes("2")));
        let writes = vec![
            (bytes("k"), Some(bytes("1"))),
            (bytes("k"), None),
            (bytes("l"), Some(bytes("2"))),
        ];
        assert_eq!(overlay.end_step(), Commit { shard: ShardId(3), step: 11, writes });
        assert_eq!(overlay.end_step(), Commit { shard: ShardId(3), step: 12, writes: vec![] });
        assert_eq!(read(&overlay, "l"), Some(bytes("2")), "until it is trimmed");
    }

    #[test]
    fn trimming_keeps_what_a_later_step_wrote() {
        let (engine, mut overlay) = overlay();
        overlay.write(bytes("k"), Some(bytes("old")));
        overlay.write(bytes("l"), Some(bytes("old")));
        make_durable(&engine, overlay.end_step());
        overlay.write(bytes("k"), None);
        let _waits = overlay.end_step();
        overlay.trim(11);
        assert_eq!(overlay.len(), 1);
        assert_eq!(read(&overlay, "k"), None, "the engine's value is older");
        assert_eq!(read(&overlay, "l"), Some(bytes("old")));
        overlay.trim(12);
        assert!(overlay.is_empty());
        assert_eq!(read(&overlay, "k"), Some(bytes("old")), "trimmed too early, as this test did");
    }

    #[test]
    fn a_scan_merges_in_order_whatever_the_limit() {
        let (engine, mut overlay) = overlay();
        for key in ["b", "c", "d", "f", "h"] {
            overlay.write(bytes(key), Some(bytes("engine")));
        }
        make_durable(&engine, overlay.end_step());
        overlay.trim(11);
        for key in ["a", "c", "e", "i"] {
            overlay.write(bytes(key), Some(bytes("overlay")));
        }
        for key in ["b", "d", "f", "never there"] {
            overlay.write(bytes(key), None);
        }
        let all = [("a", 1), ("c", 1), ("e", 1), ("h", 0), ("i", 1)];
        for (from, until) in [("", None), ("b", None), ("b", Some("h")), ("c", Some("i"))] {
            let within: Vec<Entry> = all
                .iter()
                .filter(|(key, _)| *key >= from && until.is_none_or(|until| *key < until))
                .map(|(key, over)| (bytes(key), Ok(bytes(["engine", "overlay"][*over]))))
                .collect();
            for limit in 0..7 {
                let page = overlay
                    .scan(from.as_bytes(), until.map(str::as_bytes), limit)
                    .expect("memory scans");
                let expected = &within[..limit.min(within.len())];
                assert_eq!(page, expected, "from {from:?} until {until:?}, {limit}");
            }
        }
        assert_eq!(overlay.scan(b"h", Some(b"b"), 9).expect("memory scans"), []);
    }
}
