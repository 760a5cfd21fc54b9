//! Storage engines: an ordered map of bytes that is durable when [`Engine::commit`] returns.
//!
//! An engine knows nothing of records, shards or steps. Above it stand the [`Overlay`] (what a shard
//! wrote and the disk does not hold yet), the committer (which merges the steps of all shards into one
//! batch) and the typed records. A second engine has to implement these five methods and nothing else.
//!
//! **Invariant:** no engine is asked to detect a damaged value by itself: what is stored is
//! [sealed](checksum::seal) above the engine, so that a damaged value reads as damaged in every engine.

pub mod checksum;
mod layer;
mod ledger;
mod memory;
mod overlay;
mod pieces;
pub mod rawlog;
mod sled_engine;
mod sled_folder;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;

pub use self::layer::Layer;
pub use self::memory::MemoryEngine;
pub use self::overlay::Overlay;
pub use self::sled_engine::{Options, SledEngine};

/// An ordered map of bytes on a disk.
///
/// Reads may run in any number of threads while one thread commits. Whoever commits to the same key from
/// two threads at once gets one of the two values.
pub trait Engine: Send + Sync + 'static {
    /// The value of `key`, or `None` when there is none.
    ///
    /// # Errors
    /// [`EngineError::Damaged`] when the engine knows that there is a value and cannot give it.
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// The first `limit` entries in the order of their keys, from `from` on (inclusive) and, when given, up
    /// to `until` (exclusive); fewer only where there are no more. Each entry is of some moment during the
    /// call; the page is no snapshot. A value that cannot be read ends nothing: its entry says so.
    ///
    /// # Errors
    /// [`EngineError::Damaged`] when the engine cannot even say which keys there are.
    fn scan(
        &self,
        from: &[u8],
        until: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError>;

    /// Applies all of `batch` or nothing of it, and returns when it survives a power loss. So do, then,
    /// all batches before it.
    ///
    /// # Errors
    /// After an error nothing is known of the batch, and the process must stop: a file system may have
    /// dropped what it failed to write, and a second attempt would succeed without it.
    fn commit(&self, batch: Batch) -> Result<(), EngineError>;

    /// What the store takes on the disk, in bytes.
    ///
    /// # Errors
    /// When the file system does not say.
    fn size_bytes(&self) -> Result<u64, EngineError>;

    /// What the disk takes, and still takes: new writes are refused below a reserve, measured before a
    /// commit could fail for lack of space.
    ///
    /// # Errors
    /// When the file system does not say.
    fn space(&self) -> Result<DiskSpace, EngineError>;
}

/// One measurement of the file system that a store lies in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DiskSpace {
    /// What may still be written, in bytes.
    pub free_bytes: u64,
    /// Its whole size, in bytes.
    pub total_bytes: u64,
}

impl DiskSpace {
    /// Of what has no bound of its own.
    pub const BOUNDLESS: Self = Self { free_bytes: u64::MAX, total_bytes: u64::MAX };
}

/// A key and its value, or why that cannot be read.
pub type Entry = (Bytes, Result<Bytes, Unreadable>);

/// There is a value and the engine cannot give it: the text says why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// What one commit writes: for each key a value, or `None` to remove the key. A later write of a key
/// replaces an earlier one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batch {
    writes: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
}

impl Batch {
    /// A batch that writes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `value` to `key`, or removes `key`.
    pub fn write(&mut self, key: Bytes, value: Option<Bytes>) {
        let key_bytes = key.len();
        self.bytes += key_bytes + value.as_ref().map_or(0, Bytes::len);
        if let Some(replaced) = self.writes.insert(key, value) {
            self.bytes -= key_bytes + replaced.as_ref().map_or(0, Bytes::len);
        }
    }

    /// Whether it writes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The size of all keys and values, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The writes in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.writes.iter().map(|(key, value)| (key, value.as_ref()))
    }
}

impl IntoIterator for Batch {
    type Item = (Bytes, Option<Bytes>);
    type IntoIter = std::collections::btree_map::IntoIter<Bytes, Option<Bytes>>;

    fn into_iter(self) -> Self::IntoIter {
        self.writes.into_iter()
    }
}

/// What can be wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another process (or another engine in this one) holds the store.
    #[error("the store in {} is in use by another process", path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
    },
    /// The store is there and cannot be read; nothing in it was changed. The caller decides what becomes
    /// of the node.
    #[error("the store in {} cannot be opened: {reason}", path.display())]
    CannotOpen {
        /// The store's folder.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
    /// A value is there and cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A value is whole and in a format that this build does not know.
    #[error("{0}; a later build wrote it, and only such a one can read it")]
    Newer(String),
    /// The operating system's answer.
    #[error("the store's disk failed: {0}")]
    Io(#[from] io::Error),
    /// Any other failure of the engine.
    #[error("the store failed: {0}")]
    Failed(String),
}
