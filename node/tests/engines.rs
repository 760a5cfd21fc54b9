//! What every engine must do, run over each of them; then what sled's folder must withstand.

#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cartwheel_node::engine::{
    Batch, Engine, EngineError, MemoryEngine, Options, SledEngine, Unreadable,
};

/// Runs `test` on an empty store of each engine.
fn on_each_engine(test: impl Fn(&dyn Engine)) {
    test(&MemoryEngine::new());
    let folder = tempfile::tempdir().unwrap();
    test(&open(folder.path()));
}

fn open(folder: &Path) -> SledEngine {
    try_open(folder).unwrap()
}

fn try_open(folder: &Path) -> Result<SledEngine, EngineError> {
    let options = Options { cache_bytes: 16 * 1024 * 1024, ..Options::default() };
    SledEngine::open_with(&folder.join("store"), &options)
}

fn bytes(value: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(value.as_ref())
}

fn put(engine: &dyn Engine, writes: &[(&str, Option<&[u8]>)]) {
    let mut batch = Batch::new();
    for (key, value) in writes {
        batch.write(bytes(key), value.map(bytes));
    }
    engine.commit(batch).unwrap();
}

fn keys(engine: &dyn Engine, from: &str, until: Option<&str>, limit: usize) -> Vec<String> {
    let page = engine.scan(from.as_bytes(), until.map(str::as_bytes), limit).unwrap();
    page.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
}

#[test]
fn a_commit_is_read_until_it_is_replaced_or_removed() {
    on_each_engine(|engine| {
        assert_eq!(engine.read(b"a").unwrap(), None);
        put(engine, &[("a", Some(b"1")), ("b", Some(b"")), ("", Some(b"empty key"))]);
        assert_eq!(engine.read(b"a").unwrap(), Some(bytes("1")));
        assert_eq!(engine.read(b"b").unwrap(), Some(bytes("")));
        assert_eq!(engine.read(b"").unwrap(), Some(bytes("empty key")));
        put(engine, &[("a", Some(b"2")), ("b", None), ("never there", None)]);
        assert_eq!(engine.read(b"a").unwrap(), Some(bytes("2")));
        assert_eq!(engine.read(b"b").unwrap(), None);
    });
}

#[test]
fn a_scan_is_ordered_and_bounded() {
    on_each_engine(|engine| {
        put(engine, &["b", "a", "c", "ab", ""].map(|key| (key, Some(b"v".as_ref()))));
        assert_eq!(keys(engine, "", None, 9), ["", "a", "ab", "b", "c"]);
        assert_eq!(keys(engine, "a", None, 2), ["a", "ab"]);
        assert_eq!(keys(engine, "aa", Some("c"), 9), ["ab", "b"]);
        assert_eq!(keys(engine, "b", Some("b"), 9), [""; 0]);
        assert_eq!(keys(engine, "c", Some("a"), 9), [""; 0]);
        assert_eq!(keys(engine, "", None, 0), [""; 0]);
    });
}

#[test]
fn values_of_every_size_come_back_whole_and_leave_nothing_behind() {
    let piece = 64 * 1024;
    let sizes = [0, 1, piece - 1, piece, piece + 1, 2 * piece, 10 * piece + 7, 3, 1 << 20, piece];
    on_each_engine(|engine| {
        for (round, size) in sizes.into_iter().enumerate() {
            let value: Vec<u8> = (0..size).map(|i| (i * 31 + round) as u8).collect();
            put(engine, &[("k", Some(&value)), ("l", Some(b"next"))]);
            assert_eq!(engine.read(b"k").unwrap().unwrap(), value, "{size} bytes");
            let page = engine.scan(b"", None, 9).unwrap();
            assert_eq!(page, [(bytes("k"), Ok(bytes(value))), (bytes("l"), Ok(bytes("next")))]);
        }
        put(engine, &[("k", None), ("l", None)]);
        assert_eq!(engine.read(b"k").unwrap(), None);
        assert_eq!(engine.scan(b"", None, 9).unwrap(), []);
    });
}

#[test]
fn no_piece_of_a_removed_value_stays_in_sled() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    put(&engine, &[("k", Some(&[1; 300_000])), ("l", Some(&[2; 200_000]))]);
    drop(engine);
    // A value that an earlier process cut, made shorter and removed by this one.
    let engine = open(folder.path());
    put(&engine, &[("k", Some(&[3; 70_000])), ("l", None)]);
    put(&engine, &[("k", None)]);
    drop(engine);
    let db = open_raw(&folder.path().join("store"));
    let left: Vec<_> = db.iter().keys().map(Result::unwrap).collect();
    assert_eq!(left, [[2]], "the number of the last commit is left");
    assert_eq!(fs::read_dir(folder.path().join("store/blobs")).unwrap().count(), 0);
}

/// How long a lock may take to be let go.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the engine stored, as sled sees it. A sled that was dropped lets go of its lock a little later.
fn open_raw(path: &Path) -> sled::Db {
    let began = Instant::now();
    loop {
        match sled::Config::new().path(path).segment_size(16 * 1024 * 1024).open() {
            Ok(db) => return db,
            Err(error) => {
                assert!(began.elapsed() < PATIENCE, "{} stays locked: {error}", path.display())
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_scan_goes_on_behind_values_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    put(&engine, &["a", "b", "d"].map(|key| (key, Some(b"v".as_ref()))));
    put(&engine, &[("c", Some(&[7; 200_000]))]);
    drop(engine);
    let path = folder.path().join("store");
    let db = open_raw(&path);
    // A head of no known kind, and a value without its second piece.
    db.insert(b"\0b", &[9]).unwrap();
    assert!(db.remove(b"\x01\0\x01c\0\0\0\x01").unwrap().is_some());
    db.flush().unwrap();
    drop(db);
    let engine = open(folder.path());
    for limit in 1..=5 {
        let page = engine.scan(b"", None, limit).unwrap();
        let is_read = |(key, value): (Bytes, Result<Bytes, Unreadable>)| (key, value.is_ok());
        let found: Vec<_> = page.into_iter().map(is_read).collect();
        let all = [("a", true), ("b", false), ("c", false), ("d", true)];
        assert_eq!(
            found,
            all[..limit.min(4)].iter().map(|(k, ok)| (bytes(k), *ok)).collect::<Vec<_>>()
        );
    }
    assert!(matches!(engine.read(b"b"), Err(EngineError::Damaged(_))));
    assert!(matches!(engine.read(b"c"), Err(EngineError::Damaged(_))));
}

#[test]
fn an_engine_agrees_with_a_map_over_many_commits_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut map = BTreeMap::new();
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _restart in 0..3 {
        let engine = open(folder.path());
        for _commit in 0..40 {
            let mut batch = Batch::new();
            for _write in 0..random(30) {
                let key = bytes(format!("key {}", random(200)));
                let size = if random(20) == 0 { random(200_000) } else { random(200) } as usize;
                let value = (random(4) > 0).then(|| bytes(vec![random(256) as u8; size]));
                match &value {
                    Some(value) => map.insert(key.clone(), value.clone()),
                    None => map.remove(&key),
                };
                batch.write(key, value);
            }
            engine.commit(batch).unwrap();
        }
        let all: Vec<_> = map.clone().into_iter().map(|(key, value)| (key, Ok(value))).collect();
        assert!(!all.is_empty());
        assert_eq!(engine.scan(b"", None, usize::MAX).unwrap(), all);
        for number in 0..200 {
            let key = bytes(format!("key {number}"));
            assert_eq!(engine.read(&key).unwrap(), map.get(&key).cloned());
        }
    }
}

/// Set also where the writer panics: else the readers would go on for ever.
struct SetAtTheEnd<'a>(&'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn readers_never_see_half_of_a_value_in_pieces() {
    on_each_engine(|engine| {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _at_the_end = SetAtTheEnd(&done);
                for round in 0..60_u8 {
                    let size = if round % 3 == 0 { 10 } else { 70_000 + 3000 * usize::from(round) };
                    put(engine, &[("k", Some(&vec![round; size]))]);
                }
            });
            while !done.load(Ordering::Acquire) {
                let page = engine.scan(b"", None, 2).unwrap();
                let read = engine.read(b"k").unwrap();
                for value in page.into_iter().map(|(_, value)| value.unwrap()).chain(read) {
                    assert!(value.iter().all(|byte| *byte == value[0]), "two values in one");
                    let round = usize::from(value[0]);
                    let size = if round % 3 == 0 { 10 } else { 70_000 + 3000 * round };
                    assert_eq!(value.len(), size, "half of a value");
                }
            }
        });
    });
}

#[test]
fn sizes_are_told() {
    on_each_engine(|engine| {
        put(engine, &[("k", Some(&[1; 10_000]))]);
        assert!(engine.size_bytes().unwrap() >= 10_000);
        let space = engine.space().unwrap();
        assert!(0 < space.free_bytes && space.free_bytes <= space.total_bytes, "{space:?}");
    });
}

#[test]
fn a_store_in_use_is_not_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    assert!(matches!(try_open(folder.path()), Err(EngineError::InUse { .. })));
}

#[test]
fn a_store_can_be_opened_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20_u8 {
        let engine = open(folder.path());
        put(&engine, &[("k", Some(&[round]))]);
    }
    assert_eq!(open(folder.path()).read(b"k").unwrap(), Some(bytes([19])));
}

#[test]
fn what_a_crash_left_of_a_creation_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("store.creating");
    fs::create_dir_all(half.join("blobs")).unwrap();
    fs::write(half.join("conf"), b"segment_size: 167").unwrap();
    let engine = open(folder.path());
    assert!(!half.exists());
    put(&engine, &[("k", Some(b"v"))]);
}

#[test]
fn a_store_whose_log_is_gone_is_not_taken_for_a_new_one() {
    for missing in ["db", "conf"] {
        let folder = tempfile::tempdir().unwrap();
        put(&open(folder.path()), &[("k", Some(b"v"))]);
        fs::remove_file(folder.path().join("store").join(missing)).unwrap();
        match try_open(folder.path()) {
            Err(EngineError::CannotOpen { reason, .. }) => {
                assert_eq!(reason, format!("the file {missing} is missing"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_unfinished_snapshot_is_removed_and_a_damaged_one_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    put(&open(folder.path()), &[("k", Some(b"v"))]);
    // A second start writes a snapshot of the log.
    drop(open(folder.path()));
    let store = folder.path().join("store");
    fs::write(store.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    assert_eq!(open(folder.path()).read(b"k").unwrap(), Some(bytes("v")));
    assert!(!store.join("snap.FFFFFFFFFFFFFFFF.generating").exists());

    fs::write(store.join("snap.FFFFFFFFFFFFFFFF"), [0; 100]).unwrap();
    assert_eq!(open(folder.path()).read(b"k").unwrap(), Some(bytes("v")));
}

#[test]
fn a_store_that_cannot_be_read_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    put(&open(folder.path()), &[("k", Some(b"v"))]);
    let conf = folder.path().join("store/conf");
    fs::write(&conf, b"segment_size: none\nuse_compression: none\n????").unwrap();
    assert!(matches!(try_open(folder.path()), Err(EngineError::CannotOpen { .. })));
    assert!(fs::read(&conf).unwrap().ends_with(b"????"));
}
