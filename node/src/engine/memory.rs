//! The engine that keeps everything in memory: for tests, and for nodes that may forget.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::{Batch, DiskSpace, Engine, EngineError, Entry};

/// An [`Engine`] whose disk is this process's memory: a commit survives until the value is dropped.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    map: RwLock<BTreeMap<Bytes, Bytes>>,
}

impl MemoryEngine {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

// A panic cannot leave the map half changed in a way that matters: the node stops on it.
impl Engine for MemoryEngine {
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.map.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        until: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        if until.is_some_and(|until| until <= from) {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), until.map_or(Bound::Unbounded, Bound::Excluded));
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let entries = map.range::<[u8], _>(range).take(limit);
        Ok(entries.map(|(key, value)| (key.clone(), Ok(value.clone()))).collect())
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64, EngineError> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        Ok(map.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    /// Without bound: memory has no reserve of its own.
    fn space(&self) -> Result<DiskSpace, EngineError> {
        Ok(DiskSpace::BOUNDLESS)
    }
}
