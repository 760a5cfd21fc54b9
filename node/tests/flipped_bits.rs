//! A bit flipped anywhere in the folder of a stopped store: what was committed is there, or reads as damaged, or the store is
//! not opened at all. It is never absent, and never an older value.

#[path = "support/flips.rs"]
mod flips;

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use cartwheel_node::engine::{Batch, Engine, EngineError, SledEngine, checksum};

use self::flips::{Random, copy, flip};

const KEYS: usize = 210;
const ROUNDS: usize = 3;
const FLIPS: usize = 300;

fn key(number: usize) -> Bytes {
    Bytes::from(format!("\u{10}key{number:05}"))
}

fn value(number: usize, round: usize) -> Bytes {
    let length = if number.is_multiple_of(70) { 150_000 } else { 20 + number % 200 };
    let text = format!("value {number} of round {round} ");
    let bytes: Vec<u8> = text.bytes().cycle().take(length.max(text.len())).collect();
    checksum::seal(&key(number), &bytes)
}

/// A folder with a store in which every key was written in each round.
fn store() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = SledEngine::open(&folder.path().join("sled")).expect("a new store");
    for round in 0..ROUNDS {
        for first in (0..KEYS).step_by(30) {
            let mut batch = Batch::new();
            for number in first..first + 30 {
                batch.write(key(number), Some(value(number, round)));
            }
            engine.commit(batch).expect("it commits");
        }
    }
    folder
}

/// What was seen of a store with a flipped bit.
#[derive(Debug, Default)]
struct Seen {
    /// It was not opened.
    refused: usize,
    /// Something in it reads as damaged, or cannot be listed.
    damaged: usize,
    /// All is there.
    nothing: usize,
}

/// Whether a key reads as it was written last; `None` if it reads as damaged.
fn is_whole(engine: &SledEngine, number: usize) -> Option<bool> {
    match engine.read(&key(number)) {
        Err(EngineError::Damaged(_)) => None,
        Err(error) => panic!("{error}"),
        Ok(Some(sealed)) if checksum::open(&key(number), &sealed).is_err() => None,
        Ok(found) => Some(found == Some(value(number, ROUNDS - 1))),
    }
}

#[test]
fn a_flipped_bit_hides_nothing() {
    let whole = store();
    let (mut seen, mut random) = (Seen::default(), Random(0x1234_5678_9abc_def1));
    for number in 0..FLIPS {
        let folder = tempfile::tempdir().expect("a folder");
        copy(whole.path(), folder.path());
        let what = flip(folder.path(), number, &mut random);
        let Ok(engine) = SledEngine::open(&folder.path().join("sled")) else {
            seen.refused += 1;
            continue;
        };
        let reads: Vec<Option<bool>> = (0..KEYS).map(|at| is_whole(&engine, at)).collect();
        assert!(!reads.contains(&Some(false)), "{what}: something is gone or old");
        match engine.scan(&[], None, 2 * KEYS) {
            Ok(page) => {
                assert_eq!(page.len(), KEYS, "{what}: a scan shows other keys than there are")
            }
            Err(EngineError::Damaged(_)) => {}
            Err(error) => panic!("{what}: {error}"),
        }
        if reads.contains(&None) { seen.damaged += 1 } else { seen.nothing += 1 }
    }
    assert!(seen.refused > FLIPS / 2 && seen.nothing > 0, "the flips show little: {seen:?}");
}

/// sled reads at a start only what came after its last snapshot: what is damaged before that is found when it is used.
#[test]
fn a_store_that_was_found_damaged_while_it_was_in_use_is_not_opened_again() {
    const VALUES: usize = 400;
    const FIRST_SEGMENT: u64 = 16 << 20;

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sled");
    let engine = SledEngine::open(&path).expect("a new store");
    for number in 0..VALUES {
        let mut batch = Batch::new();
        let value = vec![number as u8; 60_000];
        batch.write(key(number), Some(checksum::seal(&key(number), &value)));
        engine.commit(batch).expect("it commits");
    }
    drop(engine);
    drop(SledEngine::open(&path).expect("a sound store, and a snapshot of it"));
    let mut random = Random(0x0dd_b175);
    let log = File::options().read(true).write(true).open(path.join("db")).expect("its log");
    // What nobody points at may be spoilt without anybody's notice.
    for _ in 0..FLIPS {
        let (mut byte, at) = ([0], random.below(FIRST_SEGMENT));
        log.read_exact_at(&mut byte, at).expect("it can be read");
        log.write_all_at(&[byte[0] ^ 1], at).expect("it can be written");
        let engine = SledEngine::open(&path).expect("a start reads nothing of it");
        let Err(EngineError::Damaged(reason)) = engine.scan(&[], None, 2 * VALUES) else {
            continue;
        };
        drop(engine);
        let again = SledEngine::open(&path).expect_err("it would stop again").to_string();
        let said = [path.to_str().expect("a name"), "while it was in use", &reason];
        assert!(said.iter().all(|part| again.contains(part)), "byte {at}: {again}");
        return;
    }
    panic!("none of {FLIPS} flips is found by a scan");
}
