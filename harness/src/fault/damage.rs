//! What can be done to the files of a stopped node.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One piece of damage. A position is in parts per million of all that was written to the folder, its files in the
/// order of their paths, so that it can be planned before there is a file. What a file holds after its last byte that
/// is not zero was given in advance and does not count.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "how", deny_unknown_fields)]
pub enum Damage {
    /// At each position one bit is flipped, in the first byte from there on that is not zero.
    Flip {
        /// The positions.
        at_ppm: Vec<u32>,
        /// Which bit, 0 to 7.
        bit: u8,
    },
    /// The file at the position ends there.
    Truncate {
        /// The position.
        at_ppm: u32,
    },
}

/// So many parts are all of it.
const MILLION: u64 = 1_000_000;
/// How much is read at once.
const CHUNK: usize = 64 << 10;

impl Damage {
    /// Damages the files in a folder and says what was done: nothing where there is not a byte.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn apply(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut files = Vec::new();
        collect(folder, &mut files)?;
        files.sort_unstable();
        match self {
            Self::Flip { at_ppm, bit } => {
                let places = at_ppm.iter().filter_map(|at| place(&files, *at));
                let flipped = places.map(|(path, offset)| flip(path, offset, *bit));
                flipped.filter_map(Result::transpose).collect()
            }
            Self::Truncate { at_ppm } => {
                let Some((path, length)) = place(&files, *at_ppm) else { return Ok(Vec::new()) };
                File::options().write(true).open(path)?.set_len(length)?;
                Ok(vec![format!("{} cut off at {length}", path.display())])
            }
        }
    }
}

/// The files of a folder and of those in it, each with how much of it was written.
fn collect(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            let written = written(&entry.path())?;
            files.push((entry.path(), written));
        }
    }
    Ok(())
}

/// The length of a file up to its last byte that is not zero.
fn written(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let (mut chunk, mut end) = (vec![0; CHUNK], file.metadata()?.len());
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let read = &mut chunk[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(read)?;
        if let Some(last) = read.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The file and the offset in it at a position.
fn place(files: &[(PathBuf, u64)], at_ppm: u32) -> Option<(&Path, u64)> {
    let total: u64 = files.iter().map(|(_, length)| length).sum();
    let at = u128::from(total) * u128::from(at_ppm) / u128::from(MILLION);
    let mut left = (at as u64).min(total.checked_sub(1)?);
    for (path, length) in files {
        if left < *length {
            return Some((path, left));
        }
        left -= length;
    }
    None
}

/// Flips a bit of the first byte from `offset` on that is not zero.
fn flip(path: &Path, offset: u64, bit: u8) -> io::Result<Option<String>> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let Some((at, byte)) = written_from(&mut file, offset)? else { return Ok(None) };
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[byte ^ (1 << (bit % 8))])?;
    Ok(Some(format!("{} flipped bit {} of byte {at}", path.display(), bit % 8)))
}

/// The first byte from `offset` on that is not zero.
fn written_from(file: &mut File, offset: u64) -> io::Result<Option<(u64, u8)>> {
    file.seek(SeekFrom::Start(offset))?;
    let (mut chunk, mut at) = (vec![0; CHUNK], offset);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(within) = chunk[..read].iter().position(|byte| *byte != 0) {
            return Ok(Some((at + within as u64, chunk[within])));
        }
        at += read as u64;
    }
}

impl fmt::Display for Damage {
    /// `flip 3 bits`, `truncate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip { at_ppm, .. } => write!(f, "flip {} bits", at_ppm.len()),
            Self::Truncate { .. } => f.write_str("truncate"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten bytes of `a`, none of `b/empty`, and in `b/z` ninety zeros around one byte.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).expect("a file");
        };
        fs::create_dir(folder.path().join("b")).expect("a folder");
        write("a", &[1; 10]);
        write("b/empty", &[]);
        let mut mostly_zero = vec![0; 90];
        mostly_zero[50] = 0b101;
        write("b/z", &mostly_zero);
        folder
    }

    fn read(folder: &tempfile::TempDir, name: &str) -> Vec<u8> {
        fs::read(folder.path().join(name)).expect("a file")
    }

    #[test]
    fn a_bit_is_flipped_where_something_was_written() {
        let folder = folder();
        // In the middle of `a`; in `b/z` before its one byte, and at that.
        for (at_ppm, bit, said) in [
            (90_000, 7, "a flipped bit 7 of byte 5"),
            (300_000, 0, "b/z flipped bit 0 of byte 50"),
            (1_000_000, 9, "b/z flipped bit 1 of byte 50"),
        ] {
            let damage = Damage::Flip { at_ppm: vec![at_ppm], bit };
            let done = damage.apply(folder.path()).expect("it can be written");
            assert!(done.len() == 1 && done[0].ends_with(said), "{done:?}");
        }
        assert_eq!(read(&folder, "a"), [1, 1, 1, 1, 1, 0b1000_0001, 1, 1, 1, 1]);
        assert_eq!(read(&folder, "b/z")[50], 0b110);
        assert_eq!(read(&folder, "b/z").iter().filter(|byte| **byte != 0).count(), 1);
    }

    #[test]
    fn a_file_is_cut_off_and_the_others_stay() {
        let folder = folder();
        Damage::Truncate { at_ppm: 300_000 }.apply(folder.path()).expect("it can be written");
        assert_eq!((read(&folder, "a").len(), read(&folder, "b/z").len()), (10, 8));
    }

    #[test]
    fn where_there_is_nothing_nothing_is_done() {
        let empty = tempfile::tempdir().expect("a folder");
        for damage in [Damage::Truncate { at_ppm: 7 }, Damage::Flip { at_ppm: vec![7], bit: 1 }] {
            assert_eq!(damage.apply(empty.path()).expect("nothing to read"), [""; 0]);
        }
        fs::write(empty.path().join("z"), [0; 10]).expect("a file");
        let flip = Damage::Flip { at_ppm: vec![0, 500_000], bit: 1 };
        assert_eq!(flip.apply(empty.path()).expect("zeros are read"), [""; 0]);
    }
}
