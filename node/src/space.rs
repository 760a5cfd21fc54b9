//! Free space (H2): below a reserve the shards are told to refuse clients' writes, long before a commit fails.
//!
//! The reserve is kept for what must not be refused: copies, hints and hand-off that peers send, views, and what the
//! engine writes again by itself. Space is measured once a second, and by the committer before each round: an engine
//! may write several times what is committed, so that committed bytes do not tell when to look again, and to ask is
//! nothing beside a sync. It is a measurement and no promise: where peers go on writing, a disk that stays short ends
//! in a failed commit, which stops the process.
//!
//! A commit that never ends is no failure that anybody is told of: how long the present one has run is shown, and a node
//! whose disk has not answered for [`STALL`] is not healthy.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::engine::{Batch, DiskSpace, Engine, EngineError, Layer};

/// How often it is looked when nothing is committed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The reserve of a node that is told none, in bytes, unless [`SHARE`] of its disk is less. It is many times what can
/// be under way at one moment in values of some KiB, and nothing that anybody misses on a disk for data.
const DEFAULT_RESERVE: u64 = 256 << 20;
/// A small disk is not all reserve: of one below 2 GiB it is an eighth.
const SHARE: u64 = 8;
/// Clients' writes are taken again when so much more than the reserve is free, as a share of it: a disk that stands
/// at the reserve does not make the node change its mind with every commit.
const MARGIN: u64 = 8;

/// A commit that has run for so long is said to hang.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// What watches a node's disk.
pub(crate) struct Space {
    engine: Arc<dyn Engine>,
    reserve_bytes: u64,
    /// Tells the shards whether the disk is short.
    tell: Box<dyn Fn(bool) + Send + Sync>,
    state: Mutex<State>,
    /// When the commit that runs began.
    commit: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    /// Whether the log has been told that a commit hangs.
    hangs: bool,
    short: bool,
    free_bytes: u64,
    /// Whether the last measurement failed.
    failed: bool,
}

/// What was last measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Measured {
    pub(crate) free_bytes: u64,
    pub(crate) reserve_bytes: u64,
    /// Whether clients' writes are refused.
    pub(crate) short: bool,
}

impl Space {
    /// Measures once. `reserve_bytes` is what was configured, if anything was.
    ///
    /// # Errors
    /// When the file system does not say how much there is.
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        reserve_bytes: Option<u64>,
        tell: impl Fn(bool) + Send + Sync + 'static,
    ) -> Result<Self, EngineError> {
        let DiskSpace { free_bytes, total_bytes } = engine.space()?;
        let reserve_bytes = reserve_bytes.unwrap_or(DEFAULT_RESERVE.min(total_bytes / SHARE));
        let state = State { hangs: false, short: false, free_bytes, failed: false };
        let (tell, state, commit) = (Box::new(tell), Mutex::new(state), Mutex::default());
        let space = Self { engine, reserve_bytes, tell, state, commit };
        space.look(0);
        Ok(space)
    }

    /// Looks for as long as it is let to.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let mut looking: Option<JoinHandle<()>> = None;
        loop {
            ticks.tick().await;
            self.look_at_commit();
            // One look at a time, and none of the network's threads waits for the disk.
            if looking.as_ref().is_none_or(JoinHandle::is_finished) {
                let space = self.clone();
                looking = Some(tokio::task::spawn_blocking(move || space.look(0)));
            }
        }
    }

    /// What was last measured.
    pub(crate) fn measured(&self) -> Measured {
        let State { short, free_bytes, .. } = *self.lock();
        Measured { free_bytes, reserve_bytes: self.reserve_bytes, short }
    }

    /// Measures, when so many bytes are about to be written, and tells the shards what has changed.
    fn look(&self, coming: u64) {
        // Not under the lock: on a disk that does not even answer this, nobody else is to wait.
        let space = self.engine.space();
        let mut state = self.lock();
        let free_bytes = match space {
            Ok(space) => space.free_bytes,
            Err(error) => {
                if !mem::replace(&mut state.failed, true) {
                    tracing::warn!(%error, "the free space cannot be measured; as before is assumed");
                }
                return;
            }
        };
        (state.failed, state.free_bytes) = (false, free_bytes);
        let reserve_bytes = self.reserve_bytes;
        let enough = if state.short {
            reserve_bytes.saturating_add(reserve_bytes / MARGIN)
        } else {
            reserve_bytes
        };
        let short = free_bytes.saturating_sub(coming) < enough;
        if short == mem::replace(&mut state.short, short) {
            return;
        }
        if short {
            tracing::warn!(
                free_bytes,
                reserve_bytes,
                "the disk is short of space: clients' writes are refused; reads and copies go on"
            );
        } else {
            tracing::info!(free_bytes, reserve_bytes, "there is space again: writes are taken");
        }
        // Under the lock: two changes are told in their order.
        (self.tell)(short);
    }

    /// How long the commit that runs has been running; no time where there is none.
    pub(crate) fn commit_runs_for(&self) -> Duration {
        lock(&self.commit).map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Tells the log of a commit that hangs, once, and when it has come to an end.
    fn look_at_commit(&self) {
        let runs_for = self.commit_runs_for();
        let hangs = runs_for >= STALL;
        if hangs == mem::replace(&mut self.lock().hangs, hangs) {
            return;
        }
        if hangs {
            tracing::error!(
                ?runs_for,
                "the disk does not answer: a commit hangs, and nothing is acknowledged"
            );
        } else {
            tracing::info!("the disk answers again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Whoever panicked in there has changed nothing by halves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An engine whose commits are watched.
pub(crate) struct Watched {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) space: Arc<Space>,
}

impl Layer for Watched {
    fn below(&self) -> &dyn Engine {
        &*self.engine
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        *lock(&self.space.commit) = Some(Instant::now());
        self.space.look(batch.bytes() as u64);
        let done = self.engine.commit(batch);
        *lock(&self.space.commit) = None;
        done
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engine::MemoryEngine;

    /// A disk with as much free space as a test says, or that does not say.
    struct Disk {
        records: MemoryEngine,
        free_bytes: Mutex<Option<u64>>,
        total_bytes: u64,
        /// Whoever holds this lets no commit end.
        held: Mutex<()>,
    }

    /// What is written to it for each byte that is committed.
    const AMPLIFIED: u64 = 4;

    impl Disk {
        fn new(total_bytes: u64, free_bytes: u64) -> Arc<Self> {
            let free_bytes = Mutex::new(Some(free_bytes));
            Arc::new(Self {
                records: MemoryEngine::new(),
                free_bytes,
                total_bytes,
                held: Mutex::default(),
            })
        }

        fn set(&self, free_bytes: Option<u64>) {
            *self.free_bytes.lock().expect("nobody panicked") = free_bytes;
        }
    }

    impl Layer for Disk {
        fn below(&self) -> &dyn Engine {
            &self.records
        }

        fn commit(&self, batch: Batch) -> Result<(), EngineError> {
            drop(self.held.lock());
            let mut free = self.free_bytes.lock().expect("nobody panicked");
            *free = free.map(|free| free.saturating_sub(AMPLIFIED * batch.bytes() as u64));
            self.records.commit(batch)
        }

        fn space(&self) -> Result<DiskSpace, EngineError> {
            let free = *self.free_bytes.lock().expect("nobody panicked");
            let free_bytes = free.ok_or_else(|| EngineError::Failed("no answer".into()))?;
            Ok(DiskSpace { free_bytes, total_bytes: self.total_bytes })
        }
    }

    /// A disk with so much free space, what watches it, and what it told.
    fn watched(
        free_bytes: u64,
        reserve_bytes: Option<u64>,
    ) -> (Arc<Disk>, Watched, Arc<Mutex<Vec<bool>>>) {
        let disk = Disk::new(100 << 30, free_bytes);
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = told.clone();
        let tell = move |short| hears.lock().expect("nobody panicked").push(short);
        let space = Space::new(disk.clone(), reserve_bytes, tell).expect("it can be measured");
        (disk.clone(), Watched { engine: disk, space: Arc::new(space) }, told)
    }

    fn told(told: &Mutex<Vec<bool>>) -> Vec<bool> {
        told.lock().expect("nobody panicked").clone()
    }

    #[test]
    fn only_changes_are_told_and_there_must_be_more_than_the_reserve_again() {
        let (disk, watched, heard) = watched(1_000, Some(800));
        for (free, expected) in [
            (800, &[][..]),
            (799, &[true]),
            (0, &[true]),
            (800, &[true]),
            (899, &[true]),
            (900, &[true, false]),
            (800, &[true, false]),
            (799, &[true, false, true]),
        ] {
            disk.set(Some(free));
            watched.space.look(0);
            assert_eq!(told(&heard), expected, "{free} free");
        }
    }

    #[test]
    fn a_disk_that_is_short_at_the_start_is_told_at_once_and_no_reserve_refuses_nothing() {
        assert_eq!(told(&watched(799, Some(800)).2), [true]);
        assert_eq!(told(&watched(0, Some(0)).2), []);
    }

    #[test]
    fn a_disk_that_does_not_answer_changes_nothing() {
        let (disk, watched, heard) = watched(0, Some(800));
        disk.set(None);
        watched.space.look(0);
        assert_eq!(told(&heard), [true]);
        let now = Measured { free_bytes: 0, reserve_bytes: 800, short: true };
        assert_eq!(watched.space.measured(), now);
    }

    #[test]
    fn the_reserve_of_a_small_disk_is_a_share_of_it() {
        let reserve = |total_bytes| {
            let disk = Disk::new(total_bytes, total_bytes);
            let space = Space::new(disk, None, |_| {}).expect("it can be measured");
            space.measured().reserve_bytes >> 20
        };
        assert_eq!([64 << 20, 2 << 30, 100 << 30].map(reserve), [8, 256, 256]);
    }

    fn commit(watched: &Watched, bytes: u64) {
        let mut batch = Batch::new();
        let value = Bytes::from(vec![0; bytes as usize - 1]);
        batch.write(Bytes::from_static(b"k"), Some(value));
        Engine::commit(watched, batch).expect("it fits");
    }

    #[test]
    fn an_engine_that_writes_more_than_is_committed_does_not_use_up_the_reserve() {
        let (disk, watched, heard) = watched(40 << 20, Some(16 << 20));
        let taken = (0..1_000).take_while(|_| told(&heard).is_empty());
        taken.for_each(|_| commit(&watched, 64 << 10));
        assert_eq!(told(&heard), [true], "it is short in the end");
        let left = Layer::space(&*disk).expect("it says").free_bytes;
        assert!(left > 15 << 20, "{left} bytes are left when the first write is refused");
    }

    #[test]
    fn how_long_a_commit_hangs_is_told_until_it_ends() {
        let (disk, watched, _) = watched(8_000, Some(2_000));
        let runs_for = || watched.space.commit_runs_for();
        std::thread::scope(|scope| {
            let held = disk.held.lock().expect("nobody panicked");
            let commits = scope.spawn(|| commit(&watched, 10));
            let began = Instant::now();
            let least = Duration::from_millis(5);
            while runs_for() < least {
                assert!(began.elapsed() < STALL, "no commit runs");
                std::thread::yield_now();
            }
            drop(held);
            commits.join().expect("it ends");
        });
        assert_eq!(runs_for(), Duration::ZERO);
    }

    #[test]
    fn what_is_about_to_be_written_is_counted_as_gone() {
        let (_, watched, heard) = watched(3_999, Some(2_000));
        commit(&watched, 2_000);
        assert_eq!(told(&heard), [true]);
    }
}
