//! How many commits a store has seen, noted beside sled's log.
//!
//! sled reads its log at a start up to the first entry whose checksum fails, and takes that for the end: after a power
//! loss it is. A bit that flips in the middle of the log looks the same, and everything behind it would be gone without
//! a word: a store rolled back, which may not serve under its old id (rule W1). So each commit carries its
//! number in the log, and when it is durable that number is noted in a file of its own. A log that ends before the
//! number noted has lost commits that may have been acknowledged.
//!
//! The file is made with the store, and fsynced with it, before the store serves. After that it is never fsynced: its
//! few bytes lie in one sector, so a power loss leaves the number noted last or an older one, which proves less and
//! nothing wrong. It never leaves no file or one that cannot be read: such a file is damage, and then nobody can tell
//! whether the log is whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::checksum;

/// The file, inside of sled's folder.
const FILE: &str = "commits";
/// What its checksum is seeded with.
const NAME: &[u8] = FILE.as_bytes();

/// The file that tells how many commits are durable.
#[derive(Debug)]
pub(super) struct Ledger(File);

impl Ledger {
    /// Makes the file in a new store's folder, where there is none. The caller fsyncs file and folder.
    pub(super) fn create(folder: &Path) -> io::Result<()> {
        let file = File::options().write(true).create_new(true).open(folder.join(FILE))?;
        Self(file).note(0)
    }

    /// Opens the file in sled's folder; `None` if it is gone.
    pub(super) fn open(folder: &Path) -> io::Result<Option<Self>> {
        match File::options().read(true).write(true).open(folder.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(|file| Some(Self(file))),
        }
    }

    /// The number noted last; `None` if it cannot be read.
    pub(super) fn noted(&self) -> io::Result<Option<u64>> {
        let mut sealed = [0; size_of::<u64>() + checksum::SEAL_BYTES];
        match self.0.read_exact_at(&mut sealed, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let number = checksum::open(NAME, &sealed.to_vec().into());
        let number = number.ok().and_then(|number| number.as_ref().try_into().ok());
        Ok(number.map(u64::from_be_bytes))
    }

    /// Notes that so many commits are durable.
    pub(super) fn note(&self, commits: u64) -> io::Result<()> {
        self.0.write_all_at(&checksum::seal(NAME, &commits.to_be_bytes()), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_last_is_read_and_a_spoilt_file_or_none_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Ledger::open(folder.path()).expect("it can be looked for").is_none());
        Ledger::create(folder.path()).expect("a file");
        let open = || Ledger::open(folder.path()).expect("it can be looked for").expect("the file");
        let ledger = open();
        assert_eq!(ledger.noted().expect("it can be read"), Some(0));
        for number in [1, 300, 299] {
            ledger.note(number).expect("it can be written");
            assert_eq!(open().noted().expect("it can be read"), Some(number));
        }
        ledger.0.write_all_at(&[7], 3).expect("it can be written");
        assert_eq!(ledger.noted().expect("it can be read"), None);
        ledger.0.set_len(9).expect("it can be cut off");
        assert_eq!(ledger.noted().expect("it can be read"), None);
    }
}
