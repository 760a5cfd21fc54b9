//! Bits that are flipped somewhere in a folder.

use std::fs;
use std::path::{Path, PathBuf};

/// A seeded source of numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 16) % bound
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("it can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).expect("it is below"));
        fs::create_dir_all(target.parent().expect("a parent")).expect("a folder");
        fs::copy(&path, &target).expect("a copy");
    }
}

/// The bytes of a file up to the last that is not zero: sled's log is longer than what is in it.
fn used(path: &Path) -> u64 {
    let bytes = fs::read(path).expect("it can be read");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

/// Flips a bit somewhere, three of four times in the log; says where.
pub(crate) fn flip(folder: &Path, number: usize, random: &mut Random) -> String {
    let mut all = files(folder);
    all.retain(|path| used(path) > 0);
    let log = all.iter().position(|path| path.ends_with("sled/db")).expect("sled has a log");
    let any = random.below(all.len() as u64) as usize;
    let path = &all[if number.is_multiple_of(4) { any } else { log }];
    let at = random.below(used(path));
    let mut bytes = fs::read(path).expect("it can be read");
    bytes[at as usize] ^= 1 << random.below(8);
    fs::write(path, bytes).expect("it can be written");
    format!("{} byte {at}", path.display())
}
