//! Two shards that write to one store through several lives, each ended by a power loss.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use cartwheel_node::committer::{
    CommitSender, Committer, Config, ShardId, Watermarks, durable_step,
};
use cartwheel_node::engine::{Engine, Options, Overlay, SledEngine, Unreadable, checksum};

use crate::disk::LossyDisks;
use crate::random::Random;

const SHARDS: u16 = 2;
/// Keys of each shard.
const KEYS: u64 = 300;
/// Steps of a shard that may wait for the committer.
const IN_FLIGHT: u64 = 8;
/// How long the store may take for a life's steps.
const LIFE_TIMEOUT: Duration = Duration::from_secs(60);

type Contents = BTreeMap<Bytes, Bytes>;
/// The writes of a step, with its number.
type Step = (u64, Vec<(Bytes, Option<Bytes>)>);

/// One shard as the test knows it.
#[derive(Default)]
struct Known {
    /// What the store must hold after step `durable`.
    contents: Contents,
    durable: u64,
    /// The steps sent since.
    sent: Mutex<VecDeque<Step>>,
}

/// The store's lives on one disk after the other.
pub(crate) struct Lives<'a> {
    disks: &'a LossyDisks,
    options: Options,
    life: u64,
    folder: PathBuf,
    shards: Vec<Known>,
}

impl<'a> Lives<'a> {
    pub(crate) fn begin(disks: &'a LossyDisks, options: Options) -> Self {
        let shards = (0..SHARDS).map(|_| Known::default()).collect();
        Self { disks, options, life: 0, folder: disks.format("life 0"), shards }
    }

    /// Opens the store, checks it, writes until the power fails, and says what the next life will find
    /// missing.
    pub(crate) fn live_until_power_loss(&mut self, seed: u64) -> Result<(), String> {
        let engine = self.open()?;
        let (woken, watermarks) = watermarks(&self.durable());
        let stopping = AtomicBool::new(false);
        let committer = Committer::spawn(
            engine.clone(),
            watermarks.clone(),
            Config { queue: 4, ..Config::default() },
            Box::new(|error| panic!("the lossy disk has no errors: {error}")),
        )
        .unwrap();
        let goal = 1 + Random::new(seed).below(60);
        let acknowledged: Vec<u64> = thread::scope(|scope| {
            for (number, known) in self.shards.iter().enumerate() {
                let shard = ShardId(number as u16);
                let overlay = Overlay::new(engine.clone(), shard, known.durable);
                let writer = Writer {
                    shard,
                    known,
                    overlay,
                    sender: committer.sender(),
                    random: Random::new(seed * u64::from(SHARDS) + number as u64 + 1),
                };
                scope.spawn(|| writer.run(&watermarks, &woken, &stopping));
            }
            let since = self.durable();
            let so_far = || -> Vec<u64> {
                (0..SHARDS).map(|shard| watermarks.durable(ShardId(shard))).collect()
            };
            woken.wait_until(|| {
                so_far().iter().zip(&since).map(|(a, b)| a - b).sum::<u64>() >= goal
            });
            // First what is acknowledged, then the loss; the shards go on meanwhile.
            let acknowledged = so_far();
            self.folder = self.disks.power_loss(
                &format!("life {}", self.life),
                &format!("life {}", self.life + 1),
                seed,
            );
            stopping.store(true, Ordering::Release);
            woken.wake();
            acknowledged
        });
        committer.join();
        drop(engine);
        self.disks.discard(&format!("life {}", self.life));
        self.life += 1;
        self.check(&acknowledged)
    }

    fn open(&self) -> Result<Arc<dyn Engine>, String> {
        let engine = SledEngine::open_with(&self.folder.join("store"), &self.options)
            .map_err(|error| error.to_string())?;
        Ok(Arc::new(engine))
    }

    fn durable(&self) -> Vec<u64> {
        self.shards.iter().map(|known| known.durable).collect()
    }

    /// The store must hold exactly a prefix of each shard's steps, with all acknowledged ones.
    fn check(&mut self, acknowledged: &[u64]) -> Result<(), String> {
        let engine = self.open()?;
        for (number, known) in self.shards.iter_mut().enumerate() {
            let shard = ShardId(number as u16);
            let found = durable_step(engine.as_ref(), shard).map_err(|error| error.to_string())?;
            if found < known.durable {
                return Err(format!("{shard} was found at {} and now at {found}", known.durable));
            }
            let steps = std::mem::take(&mut known.sent).into_inner().unwrap();
            for (step, writes) in steps {
                // A step without writes is nowhere to be found and needs not be.
                if step > found && step <= acknowledged[number] && !writes.is_empty() {
                    return Err(format!("{shard} lost step {step}, found {found}"));
                }
                for (key, value) in writes.into_iter().filter(|_| step <= found) {
                    match value {
                        Some(value) => known.contents.insert(key, value),
                        None => known.contents.remove(&key),
                    };
                }
            }
            known.durable = found;
            let (from, until) = ([1, number as u8], [1, number as u8 + 1]);
            let pairs = engine
                .scan(&from, Some(&until), usize::MAX)
                .map_err(|error| format!("{shard}: {error}"))?;
            let entry = |(key, value)| Ok::<_, Unreadable>((key, value?));
            let pairs: Contents = pairs
                .into_iter()
                .map(entry)
                .collect::<Result<_, _>>()
                .map_err(|error| format!("{shard}: {error}"))?;
            if pairs != known.contents {
                return Err(format!("{shard} differs from its steps up to {found}"));
            }
        }
        Ok(())
    }
}

/// Wakes whoever waits for a watermark.
#[derive(Default)]
struct Woken {
    lock: Mutex<()>,
    moved: Condvar,
}

impl Woken {
    fn wake(&self) {
        drop(self.lock.lock().unwrap());
        self.moved.notify_all();
    }

    fn wait_until(&self, mut done: impl FnMut() -> bool) {
        let guard = self.lock.lock().unwrap();
        let waited = self.moved.wait_timeout_while(guard, LIFE_TIMEOUT, |()| !done()).unwrap();
        assert!(!waited.1.timed_out(), "the store did not get on in {LIFE_TIMEOUT:?}");
    }
}

fn watermarks(durable: &[u64]) -> (Arc<Woken>, Arc<Watermarks>) {
    let woken = Arc::new(Woken::default());
    let wake = woken.clone();
    (woken, Arc::new(Watermarks::new(durable, Box::new(move |_, _| wake.wake()))))
}

/// A shard's thread.
struct Writer<'a> {
    shard: ShardId,
    known: &'a Known,
    overlay: Overlay,
    sender: CommitSender,
    random: Random,
}

impl Writer<'_> {
    fn run(mut self, watermarks: &Watermarks, woken: &Woken, stopping: &AtomicBool) {
        while !stopping.load(Ordering::Acquire) {
            for _ in 0..self.random.below(6) {
                self.write();
            }
            let commit = self.overlay.end_step();
            let step = commit.step;
            self.known.sent.lock().unwrap().push_back((step, commit.writes.clone()));
            self.sender.send(commit).unwrap();
            woken.wait_until(|| {
                stopping.load(Ordering::Acquire) || watermarks.take(self.shard) + IN_FLIGHT >= step
            });
            self.overlay.trim(watermarks.take(self.shard));
        }
    }

    fn write(&mut self) {
        let mut key = vec![1, self.shard.0 as u8];
        key.extend_from_slice(&self.random.below(KEYS).to_be_bytes());
        let size = match self.random.below(40) {
            0 => 60_000 + self.random.below(150_000),
            1..10 => self.random.below(3_000),
            _ => self.random.below(100),
        };
        let fill = self.random.below(256) as u8;
        let value =
            (self.random.below(5) > 0).then(|| checksum::seal(&key, &vec![fill; size as usize]));
        self.overlay.write(key.into(), value);
    }
}
