//! A raw append-only log with group commit: the baseline that every rate of durable writes is compared to.
//!
//! It stores nothing that could be found again: it is what the disk gives to a program that does no more
//! than append and `fdatasync`. The first writer that finds no sync under way leads: it writes what all
//! waiting writers have appended, syncs once, and wakes them.
//!
//! The file is written once before the first append, and from its end the log goes on at its start, as
//! logs that recycle their segments do. In a file that grows an `fdatasync` also waits for the file
//! system's journal, which would flatter whoever is compared to it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

/// The length of the file, in bytes.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// How many bytes are written at once to make the file.
const FILL_BYTES: usize = 1024 * 1024;

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
    /// Where the next group goes in the file.
    offset: u64,
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
        let zeros = vec![0; FILL_BYTES];
        for offset in (0..FILE_BYTES).step_by(FILL_BYTES) {
            file.write_all_at(&zeros, offset)?;
        }
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
            let (newest, offset) = (state.appended, state.offset);
            state.offset = (offset + group.len() as u64) % FILE_BYTES;
            drop(state);
            let result = self.write(offset, &group).and_then(|()| self.file.sync_data());
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_led = false;
            match result {
                Ok(()) => state.durable = newest,
                Err(error) => state.failed = Some(error.kind()),
            }
            self.moved.notify_all();
        }
    }

    /// Writes `bytes` from `offset` on, and at the start of the file what does not fit before its end.
    fn write(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = usize::try_from(FILE_BYTES - offset).unwrap_or(usize::MAX);
            let (fits, rest) = bytes.split_at(room.min(bytes.len()));
            self.file.write_all_at(fits, offset)?;
            (offset, bytes) = (0, rest);
        }
        Ok(())
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
        for append in bytes[..1600].chunks(10) {
            assert_eq!(append, [append[0]; 10], "appends are not mixed");
            counts[usize::from(append[0])] += 1;
        }
        assert_eq!(counts, [20; 8]);
        assert!(bytes[1600..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn from_the_end_of_the_file_it_goes_on_at_the_start() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let log = RawLog::create(&path).expect("a new file");
        log.append(&vec![1; FILE_BYTES as usize - 5]).expect("the disk takes it");
        log.append(&[2; 8]).expect("the disk takes it");
        log.append(&[3; 2]).expect("the disk takes it");
        let bytes = std::fs::read(&path).expect("the file is there");
        assert_eq!(bytes.len() as u64, FILE_BYTES);
        assert_eq!(bytes[..6], [2, 2, 2, 3, 3, 1]);
        assert_eq!(bytes[bytes.len() - 6..], [1, 2, 2, 2, 2, 2]);
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
