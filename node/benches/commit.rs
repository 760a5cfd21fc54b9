//! What a durable record costs: the engine with its committer, beside a raw log with group commit.
//!
//! One iteration is one durable write of one writer; with 64 writers an iteration is 64 writes at once, one
//! from each. Everything is on the disk that holds the temporary folder.

use std::hint::black_box;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cartwheel_node::committer::{Commit, CommitSender, Committer, Config, ShardId, Watermarks};
use cartwheel_node::engine::rawlog::RawLog;
use cartwheel_node::engine::{SledEngine, checksum};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const VALUE_BYTES: [usize; 4] = [100, 4 << 10, 64 << 10, 1 << 20];
const WRITERS: [u16; 2] = [1, 64];
/// Keys of one writer: they are overwritten, as records are.
const KEYS: u64 = 100;
/// Every so many bytes of a value differ from those that the key had before.
const STAMPED_BYTES: usize = 4096;

/// A shard's thread without a shard: it writes a record a step and waits until it is durable.
struct Writer {
    shard: ShardId,
    step: u64,
    sender: CommitSender,
    woken: Receiver<u64>,
    watermarks: Arc<Watermarks>,
    value: Vec<u8>,
}

impl Writer {
    fn write(&mut self) {
        self.step += 1;
        // sled writes nothing for an entry that is what it was: each part of each value is new.
        for part in self.value.chunks_mut(STAMPED_BYTES) {
            part[..8].copy_from_slice(&self.step.to_be_bytes());
        }
        let mut key = vec![1];
        key.extend_from_slice(&self.shard.0.to_be_bytes());
        key.extend_from_slice(&(self.step % KEYS).to_be_bytes());
        let sealed = checksum::seal(&key, black_box(&self.value));
        let writes = vec![(Bytes::from(key), Some(sealed))];
        self.sender.send(Commit { shard: self.shard, step: self.step, writes }).expect("it runs");
        while self.watermarks.take(self.shard) < self.step {
            self.woken.recv().expect("the committer runs");
        }
    }
}

fn writers(folder: &std::path::Path, count: u16, bytes: usize) -> (Committer, Vec<Writer>) {
    let engine = Arc::new(SledEngine::open(&folder.join("store")).expect("a new store"));
    let (wakers, woken): (Vec<Mutex<Sender<u64>>>, Vec<Receiver<u64>>) = (0..count)
        .map(|_| {
            let (sender, receiver) = channel();
            (Mutex::new(sender), receiver)
        })
        .unzip();
    let wake = move |shard: ShardId, step| {
        let waker = wakers[usize::from(shard.0)].lock().expect("no writer panics");
        // A writer that has ended needs no waking.
        let _ended = waker.send(step);
    };
    let watermarks = Arc::new(Watermarks::new(&vec![0; usize::from(count)], Box::new(wake)));
    let fail = Box::new(|error| panic!("the disk of the bench failed: {error}"));
    let committer =
        Committer::spawn(engine, watermarks.clone(), Config::default(), fail).expect("a thread");
    let writers = woken
        .into_iter()
        .zip(0..)
        .map(|(woken, shard)| Writer {
            shard: ShardId(shard),
            step: 0,
            sender: committer.sender(),
            woken,
            watermarks: watermarks.clone(),
            value: vec![7; bytes],
        })
        .collect();
    (committer, writers)
}

/// Lets each of `writers` do `rounds` writes at its own pace; how long it took until all were done.
fn timed<W: Send>(writers: &mut [W], rounds: u64, write: impl Fn(&mut W) + Sync) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for writer in writers {
            let write = &write;
            scope.spawn(move || (0..rounds).for_each(|_| write(writer)));
        }
    });
    began.elapsed()
}

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(10).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for bytes in VALUE_BYTES {
        for count in WRITERS {
            let value = vec![7; bytes];
            group.throughput(Throughput::ElementsAndBytes {
                elements: u64::from(count),
                bytes: u64::from(count) * bytes as u64,
            });
            let parameter = format!("{bytes} B, {count} writers");
            let folder = tempfile::tempdir().expect("a temporary folder");
            let (committer, mut writers) = writers(folder.path(), count, bytes);
            group.bench_function(BenchmarkId::new("sled", &parameter), |bencher| {
                bencher.iter_custom(|rounds| timed(&mut writers, rounds, Writer::write));
            });
            drop(writers);
            committer.join();
            let log = RawLog::create(&folder.path().join("log")).expect("a new file");
            let mut logs = vec![&log; usize::from(count)];
            group.bench_function(BenchmarkId::new("raw log", &parameter), |bencher| {
                bencher.iter_custom(|rounds| {
                    timed(&mut logs, rounds, |log| {
                        log.append(black_box(&value)).expect("the disk takes it");
                    })
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
