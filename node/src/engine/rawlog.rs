//! A raw append-only log with group commit: the baseline that every rate of durable writes is compared to.
//!
//! It stores nothing that could be found again: it is what the disk gives to a program that does no more
//! than append and `fdatasync`. The first writer that finds no sync under way leads: it writes what all
//! waiting writers have appended, syncs once, and wakes them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

/// An append-only file whose writers share their `fdatasync`s.
#[derive(Debug)]
pub struct RawLog {
    file: File,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What was appended and not yet handed to the file.
    waiting: Vec<u8>,
    /// Appends so far.
    appended: u64,
    /// Of these, how many are durable.
    durable: u64,
    /// Whether a writer is syncing.
    is_led: bool,
    /// The first failure: nothing is acknowledged after it.
    failed: Option<io::ErrorKind>,
}

impl RawLog {
    /// Opens the file `path`, creating or emptying it.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        file.sync_all()?;
        Ok(Self { file, state: Mutex::default(), moved: Condvar::new() })
    }

    /// Appends `bytes`; on return they survive a power loss. Any number of threads may call it.
    ///
    /// # Errors
    /// The file system's, and after one the same for everybody.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.extend_from_slice(bytes);
        state.appended += 1;
        let mine = state.appended;
        loop {
            if let Some(kind) = state.failed {
                return Err(kind.into());
            }
            if state.durable >= mine {
                return Ok(());
            }
            if state.is_led {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_led = true;
            let group = std::mem::take(&mut state.waiting);
            let newest = state.appended;
            drop(state);
            let result = (&self.file).write_all(&group).and_then(|()| self.file.sync_data());
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_led = false;
            match result {
                Ok(()) => state.durable = newest,
                Err(error) => state.failed = Some(error.kind()),
            }
            self.moved.notify_all();
        }
    }
}
