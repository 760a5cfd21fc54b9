//! The committer: one thread that makes the steps of all shards durable, many at a time.
//!
//! A shard sends each step's writes as a [`Commit`]. The committer merges all that wait into one batch of
//! the engine, writes into it the number of each shard's newest step (so that a restart knows which prefix
//! of its steps survived), commits, and only then moves the shards' [watermarks](Watermarks) and wakes
//! them. With 64 puts outstanding this is five times the rate of a commit in each step. After a round of
//! more than one step it [rests](Config::rest), so that the next one holds more: much of
//! what a round costs the processor does not depend on how many steps it has.
//!
//! **Invariant:** only the way from a shard to the committer may block. The committer waits for nothing
//! but the disk, its own queue and its bounded rest, so shards that wait for it always get on.

mod watermark;

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

pub use self::watermark::{Wake, Watermarks};
use crate::engine::{Batch, Engine, EngineError, checksum};

/// First byte of the keys that the committer writes. Everybody else's keys begin with a greater byte.
pub const STEP_PREFIX: u8 = 0;

/// The number of a shard of this node, from 0.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(pub u16);

impl std::fmt::Display for ShardId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shard {}", self.0)
    }
}

/// What one step of a shard writes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Commit {
    /// Whose step it is.
    pub shard: ShardId,
    /// The step's number; a shard sends its steps in order and without a number twice.
    pub step: u64,
    /// The writes in order. A step without any is a barrier: it is durable when all before it are.
    pub writes: Vec<(Bytes, Option<Bytes>)>,
}

impl Commit {
    fn bytes(&self) -> usize {
        let length = |(key, value): &(Bytes, Option<Bytes>)| {
            key.len() + value.as_ref().map_or(0, Bytes::len)
        };
        self.writes.iter().map(length).sum()
    }
}

/// The committer's limits.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many steps may wait; a shard that sends one more waits.
    pub queue: usize,
    /// Above so many bytes a round takes no more steps. One step is never split, so a round may be
    /// larger by one step.
    pub round_bytes: usize,
    /// How long the committer rests at most after a round of more than one step. It rests twice the
    /// time that the round took where that is less: a quick disk is not held up, a slow one gathers
    /// steps by itself, and who writes alone never waits.
    pub rest: Duration,
}

impl Config {
    /// How long to rest after a round of so many steps and bytes that took so long.
    fn rest_after(&self, steps: usize, bytes: usize, took: Duration) -> Duration {
        // Where a round was full there is enough for the next one already.
        let rests = steps > 1 && bytes < self.round_bytes;
        if rests { (2 * took).min(self.rest) } else { Duration::ZERO }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { queue: 4096, round_bytes: 8 * 1024 * 1024, rest: Duration::from_millis(4) }
    }
}

/// What is done about an engine that failed. It must not return to a state in which the process answers
/// requests: in production it logs and aborts.
pub type FailStop = Box<dyn FnOnce(EngineError) + Send>;

/// The running committer.
pub struct Committer {
    sender: SyncSender<Commit>,
    watermarks: Arc<Watermarks>,
    thread: JoinHandle<()>,
}

impl Committer {
    /// Starts the thread. `watermarks` are the shards'; `fail_stop` is called at most once, in the
    /// committer's thread, and after it nothing is acknowledged.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn spawn(
        engine: Arc<dyn Engine>,
        watermarks: Arc<Watermarks>,
        config: Config,
        fail_stop: FailStop,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(config.queue);
        let marks = watermarks.clone();
        let thread = std::thread::Builder::new().name("committer".into()).spawn(move || {
            let rounds = || run(&receiver, engine.as_ref(), &marks, &config);
            let error = match panic::catch_unwind(AssertUnwindSafe(rounds)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => EngineError::Failed("the engine panicked in a commit".into()),
            };
            fail_stop(error);
        })?;
        Ok(Self { sender, watermarks, thread })
    }

    /// A shard's way to the committer.
    #[must_use]
    pub fn sender(&self) -> CommitSender {
        CommitSender { sender: self.sender.clone() }
    }

    /// How far each shard's steps are durable.
    #[must_use]
    pub fn watermarks(&self) -> &Arc<Watermarks> {
        &self.watermarks
    }

    /// Waits until all senders are dropped and everything sent is durable (or the engine has failed).
    pub fn join(self) {
        drop(self.sender);
        if let Err(panic) = self.thread.join() {
            panic::resume_unwind(panic);
        }
    }
}

/// A shard's way to the committer.
#[derive(Clone, Debug)]
pub struct CommitSender {
    sender: SyncSender<Commit>,
}

/// The committer has stopped: the engine failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the committer has stopped")]
pub struct Stopped;

impl CommitSender {
    /// Hands over a step; waits while the committer's queue is full.
    ///
    /// # Errors
    /// [`Stopped`]; the step will never be durable.
    pub fn send(&self, commit: Commit) -> Result<(), Stopped> {
        self.sender.send(commit).map_err(|_| Stopped)
    }
}

/// One round: everything in `commits` becomes durable, then the watermarks move.
///
/// # Errors
/// The engine's; no watermark has moved then.
#[doc(hidden)]
pub fn commit_round(
    engine: &(impl Engine + ?Sized),
    watermarks: &Watermarks,
    commits: Vec<Commit>,
) -> Result<(), EngineError> {
    let mut batch = Batch::new();
    let mut steps: Vec<(ShardId, u64)> = Vec::with_capacity(commits.len());
    for Commit { shard, step, writes } in commits {
        if !writes.is_empty() {
            let key = step_key(shard);
            let value = checksum::seal(&key, &step.to_be_bytes());
            batch.write(key, Some(value));
        }
        for (key, value) in writes {
            batch.write(key, value);
        }
        steps.push((shard, step));
    }
    // With nothing to write all before these steps is durable already: the rounds before have ended.
    if !batch.is_empty() {
        let bytes = batch.bytes();
        let began = Instant::now();
        engine.commit(batch)?;
        metrics::histogram!("cartwheel_commit_seconds").record(began.elapsed());
        metrics::counter!("cartwheel_commit_bytes_total").increment(bytes as u64);
    }
    metrics::counter!("cartwheel_commit_steps_total").increment(steps.len() as u64);
    // A shard's last step speaks for those before it.
    steps.sort_unstable();
    for pair in steps.chunk_by(|a, b| a.0 == b.0) {
        if let Some(&(shard, step)) = pair.last() {
            watermarks.advance(shard, step);
        }
    }
    Ok(())
}

/// The newest durable step of `shard`, 0 when it never wrote. A shard goes on counting from there.
///
/// # Errors
/// The engine's, and [`EngineError::Damaged`].
pub fn durable_step(engine: &dyn Engine, shard: ShardId) -> Result<u64, EngineError> {
    let key = step_key(shard);
    let Some(sealed) = engine.read(&key)? else { return Ok(0) };
    let damaged = || EngineError::Damaged(format!("the step number of {shard}"));
    let step = checksum::open(&key, &sealed).map_err(|_| damaged())?;
    Ok(u64::from_be_bytes(step.as_ref().try_into().map_err(|_| damaged())?))
}

/// Whether the step numbers of all shards can be read.
///
/// # Errors
/// As [`durable_step`].
pub(crate) fn check_steps(engine: &dyn Engine) -> Result<(), EngineError> {
    let all = usize::from(u16::MAX) + 1;
    for (key, _) in engine.scan(&[STEP_PREFIX], Some(&[STEP_PREFIX + 1]), all)? {
        if let [_, high, low] = key[..] {
            durable_step(engine, ShardId(u16::from_be_bytes([high, low])))?;
        }
    }
    Ok(())
}

fn run(
    receiver: &Receiver<Commit>,
    engine: &dyn Engine,
    watermarks: &Watermarks,
    config: &Config,
) -> Result<(), EngineError> {
    let mut rested = Instant::now();
    while let Ok(first) = receiver.recv() {
        // Not a wait on the queue: that would wake this thread with each step.
        std::thread::sleep(rested.saturating_duration_since(Instant::now()));
        let began = Instant::now();
        let mut bytes = first.bytes();
        let mut commits = vec![first];
        while bytes < config.round_bytes {
            let Ok(next) = receiver.try_recv() else { break };
            bytes += next.bytes();
            commits.push(next);
        }
        let steps = commits.len();
        commit_round(engine, watermarks, commits)?;
        let ended = Instant::now();
        rested = ended + config.rest_after(steps, bytes, ended - began);
    }
    Ok(())
}

fn step_key(shard: ShardId) -> Bytes {
    let mut key = BytesMut::with_capacity(3);
    key.put_u8(STEP_PREFIX);
    key.put_u16(shard.0);
    key.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_alone_and_who_fills_a_round_never_waits_and_nobody_for_long() {
        let config =
            Config { round_bytes: 100, rest: Duration::from_millis(4), ..Config::default() };
        let ms = Duration::from_millis;
        assert_eq!(config.rest_after(1, 10, ms(1)), ms(0));
        assert_eq!(config.rest_after(2, 10, ms(1)), ms(2));
        assert_eq!(config.rest_after(9, 99, ms(3)), ms(4), "at most");
        assert_eq!(config.rest_after(9, 100, ms(1)), ms(0), "full");
    }
}
