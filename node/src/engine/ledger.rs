//! How many commits a store has seen, noted beside sled's log.
//!
//! sled reads its log at a start up to the first entry whose checksum fails, and takes that for the end: after a power
//! loss it is. A bit that flips in the middle of the log looks the same, and everything behind it would be gone without
//! a word: a store rolled back, which may not serve under its old id (rule W1). So each commit carries its
//! number in the log, and when it is durable that number is noted in a file of its own. A log that ends before the
//! number noted has lost commits that may have been acknowledged.
//!
//! The file is never fsynced: a power loss may leave an older number there, which proves less and nothing wrong.

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
    /// Opens the file in sled's folder, which may have none yet.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.open(folder.join(FILE)).map(Self)
    }

    /// The number noted last; zero where there is none, or none that can be read.
    pub(super) fn noted(&self) -> io::Result<u64> {
        let mut sealed = [0; size_of::<u64>() + checksum::SEAL_BYTES];
        match self.0.read_exact_at(&mut sealed, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            read => read?,
        }
        let number = checksum::open(NAME, &sealed.to_vec().into());
        let number = number.ok().and_then(|number| number.as_ref().try_into().ok());
        Ok(number.map_or(0, u64::from_be_bytes))
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
    fn what_was_noted_last_is_read_and_a_spoilt_file_says_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(folder.path()).expect("a file");
        assert_eq!(ledger.noted().expect("it can be read"), 0);
        for number in [1, 300, 299] {
            ledger.note(number).expect("it can be written");
            let again = Ledger::open(folder.path()).expect("the file");
            assert_eq!(again.noted().expect("it can be read"), number);
        }
        ledger.0.write_all_at(&[7], 3).expect("it can be written");
        assert_eq!(ledger.noted().expect("it can be read"), 0);
    }
}
