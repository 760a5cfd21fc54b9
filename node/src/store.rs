//! A node's folder: who it is, whose it is, and what keeps its records.
//!
//! ```text
//! node.toml        format, id, name; once it has served, its cluster, first layout and engine
//! lock             held by the process that serves the store
//! clean-shutdown   there if the last run ended by draining; gone while one runs
//! sled/            the engine's
//! ```
//!
//! A node *is* its disk: the id is drawn when the folder is formatted and never again, so a wiped disk is
//! another node (rule W1).

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cartwheel_protocol::id::{ClusterId, Incarnation, NodeId};
use cartwheel_protocol::layout::LayoutHash;

use crate::config::EngineKind;
use crate::durable;
use crate::engine::{Engine, EngineError, MemoryEngine, Options, SledEngine};
use crate::identity::{IDENTITY, read_identity, write_identity};

const LOCK: &str = "lock";
const CLEAN: &str = "clean-shutdown";
/// The folder of the records that sled keeps.
pub(crate) const SLED: &str = "sled";

/// Who a formatted store is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreId {
    /// The node, for ever.
    pub id: NodeId,
    /// Its name for people.
    pub name: String,
}

/// What can be wrong with a node's folder.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store.
    #[error(
        "{} is not a store; make one with `cartwheel format --data {} --name NAME`",
        path.display(), path.display()
    )]
    NotFormatted {
        /// The folder.
        path: PathBuf,
    },
    /// There is something already where a store was to be made.
    #[error("{} is not empty: it is {found}; nothing was changed", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The name that a store was to be given.
    #[error("the name is {0:?}; allowed are 1 to 64 of a-z, A-Z, 0-9, . - and _")]
    Name(String),
    /// The store belongs to another cluster.
    #[error("the store in {} belongs to cluster {stored}, not to {asked}", path.display())]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// The cluster that it has served.
        stored: ClusterId,
        /// The cluster of the configuration.
        asked: ClusterId,
    },
    /// The cluster file is not the one that the store began with.
    #[error(
        "the store in {} began with layout {stored}, and the cluster file describes layout {asked}: the \
         file was edited (members, addresses, buckets or partitions), which changes nothing in a cluster that \
         runs; restore the file or leave it out, and use `cartwheel member` and `cartwheel bucket`",
        path.display()
    )]
    OtherLayout {
        /// The folder.
        path: PathBuf,
        /// The first layout when it first served.
        stored: LayoutHash,
        /// The layout of the configuration.
        asked: LayoutHash,
    },
    /// The store's records are kept by another engine.
    #[error("the store in {} is kept by the engine {stored}, not by {asked}", path.display())]
    OtherEngine {
        /// The folder.
        path: PathBuf,
        /// What keeps it.
        stored: EngineKind,
        /// What was asked for.
        asked: EngineKind,
    },
    /// The store has served and its records are gone.
    #[error(
        "the store in {} has served and its folder {} is gone",
        path.display(), records.display()
    )]
    Lost {
        /// The folder.
        path: PathBuf,
        /// Where the records were.
        records: PathBuf,
    },
    /// The store has served and cannot any more.
    #[error(
        "{why}; under its old id the node would deny what it acknowledged (rule W1). Started with --name, --seed and \
         --join it sets the folder {} aside by itself and takes its old place as a new node; or move the folder away \
         and format a new store",
        path.display()
    )]
    Spoilt {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<Self>,
    },
    /// The store has served in memory.
    #[error(
        "the store in {} has served with the engine memory, and its records went with that process: under \
         its old id it would deny what it acknowledged (rule W1); remove the folder and format it again, \
         which makes a new node",
        path.display()
    )]
    Forgotten {
        /// The folder.
        path: PathBuf,
    },
    /// The file that says who the store is makes no sense.
    #[error("{}: {reason}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another process serves it.
    #[error("the store in {} is in use by another process", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file system's answer.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The engine's answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl StoreError {
    /// Whether the store is sound and something else was asked of it.
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Name(_)
            | Self::OtherCluster { .. }
            | Self::OtherLayout { .. }
            | Self::OtherEngine { .. } => true,
            Self::NotFormatted { .. }
            | Self::NotEmpty { .. }
            | Self::Lost { .. }
            | Self::Spoilt { .. }
            | Self::Forgotten { .. }
            | Self::Identity { .. }
            | Self::InUse { .. }
            | Self::Io { .. }
            | Self::Engine(_) => false,
        }
    }
}

/// What a store serves with, from its first run on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Served {
    pub(crate) cluster: ClusterId,
    /// The first layout, if a cluster file described it.
    pub(crate) layout: Option<LayoutHash>,
    pub(crate) engine: EngineKind,
}

/// Makes a store in `data`, a folder that is empty or not there, with an id of 64 random bits.
///
/// # Errors
/// [`StoreError::NotEmpty`], [`StoreError::Name`], [`StoreError::Io`].
pub fn format_store(data: &Path, name: &str) -> Result<StoreId, StoreError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
        return Err(StoreError::Name(name.to_owned()));
    }
    let failed = |source| StoreError::Io { path: data.to_owned(), source };
    let not_empty = |found| StoreError::NotEmpty { path: data.to_owned(), found };
    durable::create_folder(data).map_err(failed)?;
    match read_identity(data) {
        Ok((store, _)) => {
            return Err(not_empty(format!("the store of {} {}", store.name, store.id)));
        }
        Err(StoreError::NotFormatted { .. }) => {}
        Err(error) => return Err(error),
    }
    // What a crash, or a full disk, left of an earlier attempt is written over.
    let half = durable::beside(Path::new(IDENTITY));
    for entry in fs::read_dir(data).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if half == Path::new(&name) {
            continue;
        }
        return Err(not_empty(format!("no store, but there is {}", name.to_string_lossy())));
    }
    let store = StoreId { id: NodeId(rand::random()), name: name.to_owned() };
    write_identity(data, &store, None)?;
    Ok(store)
}

/// Who the store in `data` is.
///
/// # Errors
/// [`StoreError::NotFormatted`], [`StoreError::Identity`], [`StoreError::Io`].
pub fn store_id(data: &Path) -> Result<StoreId, StoreError> {
    Ok(read_identity(data)?.0)
}

/// The cluster that a store has served; `None` if it never served.
pub(crate) fn served_cluster(data: &Path) -> Result<Option<ClusterId>, StoreError> {
    Ok(read_identity(data)?.1.map(|served| served.cluster))
}

/// A store that this process serves: no other process can until it is dropped.
pub(crate) struct Store {
    pub(crate) id: StoreId,
    pub(crate) engine: Arc<dyn Engine>,
    /// Whether the run before ended by draining, or there was none.
    pub(crate) was_clean: bool,
    /// Whether it served before.
    pub(crate) has_served: bool,
    serves: Served,
    data: PathBuf,
    _lock: File,
}

impl Store {
    /// Takes the store for a run as asked. Nothing is noted before [`Store::begin`].
    pub(crate) fn open(data: &Path, asked: Served, cache_mib: u64) -> Result<Self, StoreError> {
        let (id, served) = read_identity(data)?;
        let lock = lock(data)?;
        if let Some(served) = served {
            check_served(data, served, asked)?;
        }
        let engine: Arc<dyn Engine> = match asked.engine {
            EngineKind::Memory => Arc::new(MemoryEngine::new()),
            EngineKind::Sled => {
                let options = Options { cache_bytes: cache_mib << 20, ..Options::default() };
                Arc::new(SledEngine::open_with(&data.join(SLED), &options)?)
            }
        };
        let has_served = served.is_some();
        let was_clean = data.join(CLEAN).exists() || !has_served;
        let data = data.to_owned();
        Ok(Self { id, engine, was_clean, serves: asked, has_served, data, _lock: lock })
    }

    /// Notes that it serves, before its first record is written and only when nothing else can keep the node
    /// from starting: what is noted here is what every later run must ask for.
    pub(crate) fn begin(&self) -> Result<(), StoreError> {
        if !self.has_served {
            write_identity(&self.data, &self.id, Some(self.serves))?;
        }
        let clean = self.data.join(CLEAN);
        match fs::remove_file(&clean) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { path: clean, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Notes that the run ended with nothing under way. Nothing relies on it: it is for people.
    pub(crate) fn mark_clean(&self, run: Incarnation) -> Result<(), StoreError> {
        let path = self.data.join(CLEAN);
        durable::write(&path, &format!("{run}\n")).map_err(|source| StoreError::Io { path, source })
    }
}

/// Whether a store that has served can serve again, so asked.
fn check_served(data: &Path, served: Served, asked: Served) -> Result<(), StoreError> {
    let path = data.to_owned();
    if served.cluster != asked.cluster {
        let (stored, asked) = (served.cluster, asked.cluster);
        return Err(StoreError::OtherCluster { path, stored, asked });
    }
    if let (Some(stored), Some(asked)) = (served.layout, asked.layout)
        && stored != asked
    {
        return Err(StoreError::OtherLayout { path, stored, asked });
    }
    if served.engine != asked.engine {
        let (stored, asked) = (served.engine, asked.engine);
        return Err(StoreError::OtherEngine { path, stored, asked });
    }
    let records = data.join(SLED);
    match served.engine {
        EngineKind::Memory => Err(StoreError::Forgotten { path }),
        EngineKind::Sled => match fs::read_dir(&records).map(|mut entries| entries.next()) {
            Ok(Some(Ok(_))) => Ok(()),
            Ok(None) => Err(StoreError::Lost { path, records }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::Lost { path, records })
            }
            // That it cannot be listed says nothing of what is in it.
            Ok(Some(Err(source))) | Err(source) => Err(StoreError::Io { path: records, source }),
        },
    }
}

/// Keeps other processes from the folder while the file is held.
pub(crate) fn lock(data: &Path) -> Result<File, StoreError> {
    let path = data.join(LOCK);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: data.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests;
