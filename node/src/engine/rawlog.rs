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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_acknowledged_is_in_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let log = RawLog::create(&path).expect("a new file");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let log = &log;
                scope.spawn(move || {
                    for _ in 0..20 {
                        log.append(&[writer; 10]).expect("the disk takes it");
                    }
                });
            }
        });
        let bytes = std::fs::read(&path).expect("the file is there");
        let mut counts = [0; 8];
        for append in bytes.chunks(10) {
            assert_eq!(append, [append[0]; 10], "appends are not mixed");
            counts[usize::from(append[0])] += 1;
        }
        assert_eq!(counts, [20; 8]);
    }

    #[test]
    fn after_a_failure_nothing_is_acknowledged() {
        let full = File::options().write(true).open("/dev/full");
        let Ok(file) = full else { return };
        let log = RawLog { file, state: Mutex::default(), moved: Condvar::new() };
        for _ in 0..2 {
            let error = log.append(b"x").expect_err("the device is full");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
