//! The engine on sled 0.34.7.
//!
//! What sled 0.34.7 was measured to do, and so what this file does:
//! * `flush()` ends in `sync_file_range`, never in fsync: a power loss takes what it acknowledged. A commit
//!   is `flush()`, **then** `fdatasync` of the log file.
//! * `flush_async` deadlocks with eight or more callers: it is never called, and sled's own flusher, which
//!   would wake up between our commits, is off.
//! * A value above a quarter of a segment goes to a file that is never fsynced: segments are as large as
//!   sled allows and values are cut into [pieces](super::pieces).
//! * A log that is damaged in the middle ends there, without an error: see [`ledger`](super::ledger).
//! * Creating and opening: see [`sled_folder`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::ledger::Ledger;
use super::pieces::{self, Head};
use super::sled_folder::{self, LOG_FILE};
use super::{Batch, DiskSpace, Engine, EngineError, Entry, Unreadable};

/// How a [`SledEngine`] is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for pages of the store, in bytes. sled's own default is 1 GiB, too much for a machine
    /// that runs a whole cluster.
    pub cache_bytes: u64,
    /// Whether a commit ends in `fdatasync`. Only the test that shows what is lost without it says no.
    #[doc(hidden)]
    pub fdatasync: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 128 * 1024 * 1024, fdatasync: true }
    }
}

/// An [`Engine`] on one sled tree.
#[derive(Debug)]
pub struct SledEngine {
    db: sled::Db,
    /// The same file that sled writes.
    log: File,
    path: PathBuf,
    fdatasync: bool,
    /// Held for writing while entries of a value in pieces change, for reading while one is put together.
    cut_values: RwLock<()>,
    /// The number of the last commit.
    commits: AtomicU64,
    ledger: Ledger,
    /// Whether any value is in pieces: while there is none, a commit need not look for old pieces.
    has_pieces: AtomicBool,
}

impl SledEngine {
    /// Opens the store in the folder `path`, creating it when there is none.
    ///
    /// # Errors
    /// [`EngineError::InUse`], [`EngineError::CannotOpen`] (also where sled panics) or the disk's.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        Self::open_with(path, &Options::default())
    }

    /// As [`SledEngine::open`], with options.
    ///
    /// # Errors
    /// As [`SledEngine::open`].
    pub fn open_with(path: &Path, options: &Options) -> Result<Self, EngineError> {
        let db = sled_folder::open(path, options.cache_bytes)?;
        let log = File::open(path.join(LOG_FILE))?;
        let cannot_open = |reason| EngineError::CannotOpen { path: path.to_owned(), reason };
        let unknown = |is: &str| {
            cannot_open(format!(
                "the file that tells how many commits were durable is {is}, so nobody can tell whether its log is whole"
            ))
        };
        let ledger = Ledger::open(path)?.ok_or_else(|| unknown("gone"))?;
        let commits = last_commit(&db)?;
        let noted = ledger.noted()?.ok_or_else(|| unknown("damaged"))?;
        if commits < noted {
            return Err(cannot_open(format!(
                "its log ends with commit {commits} and commit {noted} was durable: what came after is damaged or gone"
            )));
        }
        let has_pieces = db.scan_prefix(pieces::all_pieces()).next().transpose()?.is_some();
        Ok(Self {
            db,
            log,
            path: path.to_owned(),
            fdatasync: options.fdatasync,
            commits: AtomicU64::new(commits),
            ledger,
            cut_values: RwLock::new(()),
            has_pieces: AtomicBool::new(has_pieces),
        })
    }

    /// The value of a head that says that it is in pieces. The head is read again: a commit may have
    /// replaced it together with its pieces.
    fn read_cut(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let _unchanging = self.cut_values.read().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = self.db.get(pieces::head_key(key))? else { return Ok(None) };
        match Head::parse(&entry)? {
            Head::Whole(value) => Ok(Some(value)),
            Head::Cut(length) => {
                pieces::assemble(key, length, |piece| Ok(self.db.get(piece)?)).map(Some)
            }
        }
    }

    /// Adds the write of `key` to `batch`; says whether pieces change.
    fn add(
        &self,
        batch: &mut sled::Batch,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<bool, EngineError> {
        if key.len() > pieces::MAX_KEY_BYTES {
            return Err(EngineError::Failed(format!("a key of {} bytes", key.len())));
        }
        let head_key = pieces::head_key(key);
        let old_pieces = if self.has_pieces.load(Ordering::Relaxed) {
            self.db.get(&head_key)?.map_or(Ok(0), |entry| Head::pieces_of(&entry))?
        } else {
            0
        };
        let mut new_pieces = 0;
        match value {
            Some(value) => {
                let (entry, chunks) = pieces::head_of(value);
                batch.insert(head_key, entry);
                for chunk in chunks {
                    batch.insert(pieces::piece_key(key, new_pieces), chunk);
                    new_pieces += 1;
                }
            }
            None => batch.remove(head_key),
        }
        for number in new_pieces..old_pieces {
            batch.remove(pieces::piece_key(key, number));
        }
        if new_pieces > 0 {
            self.has_pieces.store(true, Ordering::Relaxed);
        }
        Ok(new_pieces.max(old_pieces) > 0)
    }
}

/// The number of the last commit that the log holds.
fn last_commit(db: &sled::Db) -> Result<u64, EngineError> {
    let Some(number) = db.get(pieces::COMMITS)? else { return Ok(0) };
    let number: Result<[u8; 8], _> = number.as_ref().try_into();
    let damaged = |_| EngineError::Damaged("the number of the last commit".to_owned());
    number.map(u64::from_be_bytes).map_err(damaged)
}

impl Engine for SledEngine {
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let Some(entry) = self.db.get(pieces::head_key(key))? else { return Ok(None) };
        match Head::parse(&entry)? {
            Head::Whole(value) => Ok(Some(value)),
            Head::Cut(_) => self.read_cut(key),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        until: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        let page = || self.page(from, until, limit);
        // Read twice: what the second read finds whole was not the disk's fault.
        let page = page().or_else(|_| page());
        if let Err(EngineError::Damaged(what)) = &page {
            self.note_damage(what);
        }
        page
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        self.write(&batch)
    }

    fn size_bytes(&self) -> Result<u64, EngineError> {
        Ok(self.db.size_on_disk()?)
    }

    fn space(&self) -> Result<DiskSpace, EngineError> {
        let stat = rustix::fs::statvfs(&self.path).map_err(std::io::Error::from)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(DiskSpace { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
    }
}

impl SledEngine {
    /// A page for which nobody can say which records are in it stops the node, and would stop it again after each start: a node
    /// lists all its records then.
    fn note_damage(&self, what: &str) {
        if let Err(error) = sled_folder::note_damage(&self.path, what) {
            tracing::error!(%error, what, "that the store is damaged could not be noted");
        }
    }

    fn page(
        &self,
        from: &[u8],
        until: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        if until.is_some_and(|until| until <= from) {
            return Ok(Vec::new());
        }
        let until = until.map_or_else(pieces::end_of_heads, pieces::head_key);
        let mut page = Vec::new();
        for pair in self.db.range(pieces::head_key(from)..until) {
            if page.len() >= limit {
                break;
            }
            let (head_key, entry) = pair?;
            let key = Bytes::copy_from_slice(pieces::key_of(&head_key));
            let value = match Head::parse(&entry) {
                Ok(Head::Whole(value)) => Ok(Some(value)),
                Ok(Head::Cut(_)) => self.read_cut(&key),
                Err(error) => Err(error),
            };
            match value {
                Ok(Some(value)) => page.push((key, Ok(value))),
                // It was removed meanwhile.
                Ok(None) => {}
                Err(EngineError::Damaged(reason)) => page.push((key, Err(Unreadable(reason)))),
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut entries = sled::Batch::default();
        let mut cut = false;
        for (key, value) in batch.iter() {
            cut |= self.add(&mut entries, key, value.map(AsRef::as_ref))?;
        }
        let number = self.commits.load(Ordering::Relaxed) + 1;
        entries.insert(&pieces::COMMITS, &number.to_be_bytes());
        {
            let _alone =
                cut.then(|| self.cut_values.write().unwrap_or_else(PoisonError::into_inner));
            self.db.apply_batch(entries)?;
        }
        self.db.flush()?;
        if self.fdatasync {
            self.log.sync_data()?;
        }
        self.commits.store(number, Ordering::Relaxed);
        self.ledger.note(number)?;
        Ok(())
    }
}

impl From<sled::Error> for EngineError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Io(error),
            error @ sled::Error::Corruption { .. } => Self::Damaged(error.to_string()),
            error @ (sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)) => Self::Failed(error.to_string()),
        }
    }
}
