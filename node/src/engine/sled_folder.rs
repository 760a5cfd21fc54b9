//! The folder of a sled store: creating it so that no crash leaves half of one, and opening it.
//!
//! sled itself fsyncs neither its folder nor its configuration file, leaves `snap.*.generating` files that
//! its next start takes for snapshots, and panics on some damaged stores. What is done about it is here.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::EngineError;
use super::ledger::Ledger;
use crate::durable;

/// The log file inside of sled's folder: the one whose bytes decide what survives.
pub(super) const LOG_FILE: &str = "db";
/// The file with sled's segment size, which it needs to read the log.
const CONFIGURATION_FILE: &str = "conf";
/// The largest segment that sled allows, in bytes.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
/// How long the lock of a store may take to become free: a store that was closed lets go of it when its
/// background threads have noticed.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How often the lock is tried.
const LOCK_RETRY: Duration = Duration::from_millis(5);
/// The file that says that the store was found damaged while it was in use.
const SPOILT_FILE: &str = "damaged";
/// First letters of the names of sled's snapshots: summaries of the log that can be computed again.
const SNAPSHOT_PREFIX: &str = "snap.";
/// Last letters of the name of a snapshot that was not finished.
const UNFINISHED_SUFFIX: &str = ".generating";

/// Opens the store in `path`, creating it when `path` is absent or an empty folder.
///
/// On return everything that the store shows is durable, also what a killed process had written and not
/// yet synced.
pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<sled::Db, EngineError> {
    if is_absent_or_empty(path)? {
        create(path, cache_bytes)?;
    }
    check_files(path)?;
    remove_snapshots(path, |name| name.ends_with(UNFINISHED_SUFFIX))?;
    let db = match open_unlocked(path, cache_bytes)? {
        Ok(db) => db,
        Err(sled::Error::Corruption { .. }) => {
            remove_snapshots(path, |_| true)?;
            open_unlocked(path, cache_bytes)?.map_err(|error| cannot_open(path, error))?
        }
        Err(error) => return Err(cannot_open(path, error)),
    };
    sync_all_below(path)?;
    Ok(db)
}

/// Creates a store beside `path` and moves it there when it is whole and durable: a crash at any moment
/// leaves either no store or a good one.
fn create(path: &Path, cache_bytes: u64) -> Result<(), EngineError> {
    let mut beside = OsString::from(path);
    beside.push(".creating");
    let beside = PathBuf::from(beside);
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    let parent = durable::parent(path);
    durable::create_folder(parent)?;
    let db = open_caught(&beside, cache_bytes)?.map_err(|error| cannot_open(path, error))?;
    db.flush().map_err(|error| cannot_open(path, error))?;
    drop(db);
    Ledger::create(&beside)?;
    sync_all_below(&beside)?;
    fs::rename(&beside, path)?;
    Ok(durable::sync_folder(parent)?)
}

/// Notes in the store's folder that it was found damaged while it was in use. sled reads at a start only what came after its
/// last snapshot, so it would open, and stop again when it comes upon the same page.
pub(super) fn note_damage(path: &Path, what: &str) -> io::Result<()> {
    durable::write(&path.join(SPOILT_FILE), &format!("{what}\n"))
}

/// sled would make a new log when the log is gone, and so forget everything in silence.
fn check_files(path: &Path) -> Result<(), EngineError> {
    let spoilt = path.join(SPOILT_FILE);
    match fs::read(&spoilt) {
        Ok(what) => {
            let (what, file) = (String::from_utf8_lossy(&what), spoilt.display());
            let what = what.trim_end();
            let reason =
                format!("it was found damaged while it was in use: {what} (noted in {file})");
            return Err(EngineError::CannotOpen { path: path.to_owned(), reason });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    for name in [CONFIGURATION_FILE, LOG_FILE] {
        if !path.join(name).try_exists()? {
            let reason = format!("the file {name} is missing");
            return Err(EngineError::CannotOpen { path: path.to_owned(), reason });
        }
    }
    Ok(())
}

/// sled's answer, when the lock is free or has not become free in time.
fn open_unlocked(
    path: &Path,
    cache_bytes: u64,
) -> Result<Result<sled::Db, sled::Error>, EngineError> {
    let began = Instant::now();
    loop {
        let answer = open_caught(path, cache_bytes)?;
        if !answer.as_ref().is_err_and(is_locked) || began.elapsed() > LOCK_WAIT {
            return Ok(answer);
        }
        thread::sleep(LOCK_RETRY);
    }
}

/// sled's answer; its panics become an error.
fn open_caught(
    path: &Path,
    cache_bytes: u64,
) -> Result<Result<sled::Db, sled::Error>, EngineError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None);
    panic::catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        let reason = format!("the engine panicked: {said}");
        EngineError::CannotOpen { path: path.to_owned(), reason }
    })
}

fn cannot_open(path: &Path, error: sled::Error) -> EngineError {
    if is_locked(&error) {
        return EngineError::InUse { path: path.to_owned() };
    }
    match error {
        sled::Error::Io(error) => EngineError::Io(error),
        error @ (sled::Error::Corruption { .. }
        | sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)) => {
            EngineError::CannotOpen { path: path.to_owned(), reason: error.to_string() }
        }
    }
}

/// Whether another process has the lock; sled has no error of its own for this.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn is_absent_or_empty(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().transpose()?.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn remove_snapshots(path: &Path, which: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(SNAPSHOT_PREFIX) && which(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Fsyncs every file and folder in `folder`, then `folder`.
fn sync_all_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all_below(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}
