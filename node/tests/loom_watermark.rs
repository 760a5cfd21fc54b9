//! All interleavings of the committer and the shards over the watermarks, explored by loom.
//!
//! Checked: a shard reads no mark above what is on the disk (with all that the commit wrote visible to it),
//! marks only grow, no wake-up is lost, and no second poke is sent while one is in the inbox. Three broken
//! watermarks, each wrong in one line, must fail.

#![cfg(feature = "loom")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

use std::sync::Arc;

use bytes::Bytes;
use cartwheel_node::committer::{Commit, ShardId, Wake, Watermarks, commit_round};
use cartwheel_node::engine::{Batch, DiskSpace, Engine, EngineError, Entry};
use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use loom::thread;

/// A disk that holds one number for each shard: the last step that was committed. It orders nothing by
/// itself, so that only the watermark can make it visible.
struct Disk(Vec<AtomicU64>);

impl Engine for Disk {
    fn read(&self, _: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(None)
    }

    fn scan(&self, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<Entry>, EngineError> {
        Ok(Vec::new())
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        for (key, value) in batch {
            if let [b'k', shard] = *key {
                let step = value.unwrap()[0];
                self.0[usize::from(shard)].store(u64::from(step), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64, EngineError> {
        Ok(0)
    }

    fn space(&self) -> Result<DiskSpace, EngineError> {
        Ok(DiskSpace::BOUNDLESS)
    }
}

fn step(shard: u16, step: u8) -> Commit {
    let key = Bytes::from(vec![b'k', shard as u8]);
    let writes = vec![(key, Some(Bytes::from(vec![step])))];
    Commit { shard: ShardId(shard), step: u64::from(step), writes }
}

/// What the exploration needs of a watermark: the real one, or a broken one of one shard.
trait Marks: Send + Sync + 'static {
    fn new(shards: usize, wake: Wake) -> Self;
    fn round(&self, disk: &Disk, commits: Vec<Commit>);
    fn take(&self, shard: ShardId) -> u64;
}

impl Marks for Watermarks {
    fn new(shards: usize, wake: Wake) -> Self {
        Self::new(&vec![0; shards], wake)
    }

    fn round(&self, disk: &Disk, commits: Vec<Commit>) {
        commit_round(disk, self, commits).unwrap();
    }

    fn take(&self, shard: ShardId) -> u64 {
        self.take(shard)
    }
}

/// The number of pokes in each shard's inbox. As a channel does, it orders what was before a poke was sent
/// before what is done after it was received.
type Inboxes = Arc<Vec<AtomicUsize>>;

fn inboxes(shards: usize) -> (Wake, Inboxes) {
    let inboxes = Arc::new((0..shards).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
    let pokes = inboxes.clone();
    let wake = move |shard: ShardId, _| {
        let before = pokes[usize::from(shard.0)].fetch_add(1, Ordering::Release);
        assert_eq!(before, 0, "a second poke in the inbox");
    };
    (Box::new(wake), inboxes)
}

/// The committer commits `rounds` while each shard looks into its inbox twice. Whatever they meet, in the
/// end a shard has seen its last step as durable, or there is a poke that will make it look again.
fn explore<M: Marks>(shards: usize, rounds: fn() -> Vec<Vec<Commit>>) {
    loom::model(move || {
        let (wake, inboxes) = inboxes(shards);
        let marks = Arc::new(M::new(shards, wake));
        let disk = Arc::new(Disk((0..shards).map(|_| AtomicU64::new(0)).collect()));
        let threads: Vec<_> = (0..shards)
            .map(|shard| {
                let (marks, disk, inboxes) = (marks.clone(), disk.clone(), inboxes.clone());
                thread::spawn(move || {
                    let mut durable = 0;
                    for _ in 0..2 {
                        if inboxes[shard].load(Ordering::Acquire) == 0 {
                            continue;
                        }
                        inboxes[shard].fetch_sub(1, Ordering::Relaxed);
                        let mark = marks.take(ShardId(shard as u16));
                        assert!(mark >= durable, "the mark went back");
                        let on_disk = disk.0[shard].load(Ordering::Relaxed);
                        assert!(
                            mark <= on_disk,
                            "step {mark} was acknowledged, {on_disk} is there"
                        );
                        durable = mark;
                    }
                    durable
                })
            })
            .collect();
        for round in rounds() {
            marks.round(&disk, round);
        }
        for (shard, thread) in threads.into_iter().enumerate() {
            let seen = thread.join().unwrap();
            let steps = rounds().into_iter().flatten().filter(|c| usize::from(c.shard.0) == shard);
            let is_done = seen == steps.map(|commit| commit.step).max().unwrap();
            let will_look = inboxes[shard].load(Ordering::Relaxed) == 1;
            assert!(
                is_done || will_look,
                "a wake-up was lost: shard {shard} sleeps at step {seen}"
            );
        }
    });
}

fn three_rounds() -> Vec<Vec<Commit>> {
    vec![vec![step(0, 1)], vec![step(0, 2), step(0, 3)], vec![step(0, 4)]]
}

#[test]
fn no_acknowledgement_before_its_commit_and_none_is_lost() {
    explore::<Watermarks>(1, three_rounds);
}

#[test]
fn two_shards_are_told_apart() {
    explore::<Watermarks>(2, || vec![vec![step(0, 1), step(1, 1)], vec![step(1, 2)]]);
}

/// A watermark with one of the mistakes that the exploration must find.
struct Broken<const MISTAKE: u8> {
    durable: AtomicU64,
    poked: AtomicBool,
    wake: Wake,
}

/// The mark moves before the commit.
const MARK_FIRST: u8 = 0;
/// The shard reads the mark and then takes the flag down: a move in between is lost.
const READ_FIRST: u8 = 1;
/// The mark and the flag are changed without acquire and release.
const UNORDERED: u8 = 2;

impl<const MISTAKE: u8> Marks for Broken<MISTAKE> {
    fn new(_: usize, wake: Wake) -> Self {
        Self { durable: AtomicU64::new(0), poked: AtomicBool::new(false), wake }
    }

    fn round(&self, disk: &Disk, commits: Vec<Commit>) {
        let step = commits.last().unwrap().step;
        let mut batch = Batch::new();
        for (key, value) in commits.into_iter().flat_map(|commit| commit.writes) {
            batch.write(key, value);
        }
        if MISTAKE != MARK_FIRST {
            disk.commit(batch.clone()).unwrap();
        }
        let (store, swap) = match MISTAKE {
            UNORDERED => (Ordering::Relaxed, Ordering::Relaxed),
            _ => (Ordering::Release, Ordering::AcqRel),
        };
        self.durable.store(step, store);
        if MISTAKE == MARK_FIRST {
            disk.commit(batch).unwrap();
        }
        if !self.poked.swap(true, swap) {
            (self.wake)(ShardId(0), step);
        }
    }

    fn take(&self, _: ShardId) -> u64 {
        match MISTAKE {
            READ_FIRST => {
                let durable = self.durable.load(Ordering::Acquire);
                self.poked.swap(false, Ordering::AcqRel);
                durable
            }
            UNORDERED => {
                self.poked.swap(false, Ordering::Relaxed);
                self.durable.load(Ordering::Relaxed)
            }
            _ => {
                self.poked.swap(false, Ordering::AcqRel);
                self.durable.load(Ordering::Acquire)
            }
        }
    }
}

#[test]
#[should_panic(expected = "was acknowledged")]
fn a_mark_before_the_commit_is_found() {
    explore::<Broken<MARK_FIRST>>(1, three_rounds);
}

#[test]
#[should_panic(expected = "a wake-up was lost")]
fn a_lost_wake_up_is_found() {
    explore::<Broken<READ_FIRST>>(1, three_rounds);
}

#[test]
#[should_panic(expected = "a wake-up was lost")]
fn missing_order_is_found() {
    explore::<Broken<UNORDERED>>(1, three_rounds);
}
