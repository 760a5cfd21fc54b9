//! A bit flipped anywhere in the folder of a stopped node: it has no effect, or the node says that it cannot start or go on, or
//! records are damaged and mended. No strict read misses what was acknowledged.
//!
//! Two of three owners hold everything. The third lacks it, and the node whose folder is spoilt is started with that one only: then
//! a strict read can find what was acknowledged nowhere else, and what it does not show as damaged it must show.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cartwheel_node::engine::{Batch, Engine, SledEngine};
use cartwheel_node::{EngineKind, Options};
use cartwheel_protocol::request::{Refusal, Request, Response};

use crate::cluster::{Client, Cluster, PATIENCE, get, get_local, put};
use crate::flips::{Random, copy, flip};

const SEED: u64 = 0x5eed_f11b;
const KEYS: usize = 60;
/// How often a bit is flipped anywhere in the folder.
const ANYWHERE: usize = 120;
/// How often one is flipped in each of some stored values, which sled takes for what was written, and of how many.
const IN_VALUES: (usize, usize) = (8, 15);
/// The owner that lacks everything, the other that holds it, and the one whose folder is spoilt.
const LACKS: usize = 0;
const HOLDS: usize = 1;
const SPOILT: usize = 2;

fn name(number: usize) -> String {
    format!("k{number}")
}

fn value(number: usize) -> Vec<u8> {
    // One is stored in pieces.
    let length = if number == 7 { 150_000 } else { 20 + number % 200 };
    format!("value {number} ").into_bytes().into_iter().cycle().take(length).collect()
}

/// The cluster, and what lay in the folders of the owners that are put back before each flip.
struct World {
    cluster: Cluster,
    saved: tempfile::TempDir,
    random: Random,
}

/// What became of a flip.
#[derive(Debug, Default)]
struct Seen {
    /// The node does not start, and says why.
    refused: usize,
    /// It stops when it comes upon the damage, and says why.
    stopped: usize,
    /// So many records are damaged and mended.
    mended: usize,
    /// All is there.
    nothing: usize,
}

impl World {
    /// Every key is written while one owner is away, and nothing but a strict write's own messages reaches the others.
    async fn new() -> Self {
        let mut cluster = Cluster::start_with(3, EngineKind::Sled, |_, config| {
            config.fallbacks = false;
            config.anti_entropy_every_ms = 0;
        })
        .await;
        cluster.kill(LACKS).await;
        let client = cluster.client(HOLDS).await;
        for number in 0..KEYS {
            client.write(&strictly(put(&name(number), &value(number)))).await;
        }
        cluster.kill(HOLDS).await;
        cluster.kill(SPOILT).await;
        let saved = tempfile::tempdir().expect("a folder");
        for number in [LACKS, SPOILT] {
            copy(&cluster.configs[number].data, &saved.path().join(number.to_string()));
        }
        Self { cluster, saved, random: Random(SEED) }
    }

    /// Makes the folder of a node that does not run what it was.
    fn put_back(&self, number: usize) {
        let data = &self.cluster.configs[number].data;
        fs::remove_dir_all(data).expect("the folder of a node that has ended");
        copy(&self.saved.path().join(number.to_string()), data);
    }

    /// Flips a bit of what is stored of so many records, as sled's own checksums do not see it.
    fn flip_in_values(&mut self, folder: PathBuf, count: usize) -> String {
        let engine = SledEngine::open(&folder.join("sled")).expect("a sound store");
        let mut records = engine.scan(&[0x10], Some(&[0x11]), 2 * KEYS).expect("it can be listed");
        assert_eq!(records.len(), KEYS);
        let mut batch = Batch::new();
        let mut what = Vec::new();
        for _ in 0..count {
            let chosen = self.random.below(records.len() as u64) as usize;
            let (key, value) = records.swap_remove(chosen);
            let mut bytes = value.expect("it can be read").to_vec();
            let at = self.random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.random.below(8);
            what.push(format!("{} byte {at} of its value", key.escape_ascii()));
            batch.write(key, Some(Bytes::from(bytes)));
        }
        engine.commit(batch).expect("it commits");
        what.join(", ")
    }

    /// Flips a bit and looks what becomes of it.
    async fn flip(&mut self, number: usize, seen: &mut Seen) {
        self.put_back(SPOILT);
        let folder = self.cluster.configs[SPOILT].data.clone();
        let what = if number < ANYWHERE {
            flip(&folder, number, &mut self.random)
        } else {
            self.flip_in_values(folder.clone(), IN_VALUES.1)
        };
        let what = format!("flip {number} of seed {SEED:#x}, {what}");
        let failed = Arc::new(AtomicBool::new(false));
        let fails = failed.clone();
        let on_failure = Box::new(move |_: &str| fails.store(true, Ordering::Relaxed));
        let options = Options { on_failure: Some(on_failure), ..Options::default() };
        if let Err(error) = self.cluster.restart_with(SPOILT, options).await {
            let text = error.to_string();
            let folder = folder.display().to_string();
            assert!(text.contains(&folder), "{what}: {text} does not name {folder}");
            seen.refused += 1;
            return;
        }
        self.put_back(LACKS);
        self.cluster.restart(LACKS).await.expect("its store is sound");
        let damaged = self.damaged(&what, &failed).await;
        if number >= ANYWHERE {
            assert_eq!(damaged.len(), IN_VALUES.1, "{what}: each is found, and nothing else");
        }
        if failed.load(Ordering::Relaxed) {
            seen.stopped += 1;
        } else if damaged.is_empty() {
            seen.nothing += 1;
        } else {
            self.mends(&what, &damaged).await;
            seen.mended += damaged.len();
        }
        self.cluster.kill(LACKS).await;
        self.cluster.kill(SPOILT).await;
    }

    /// Reads every key strictly: the numbers of those that are damaged.
    async fn damaged(&self, what: &str, failed: &AtomicBool) -> Vec<usize> {
        let began = Instant::now();
        let both = |number: usize| self.cluster.node(number).status().connected.len() == 1;
        while !(failed.load(Ordering::Relaxed) || both(LACKS) && both(SPOILT)) {
            assert!(began.elapsed() < PATIENCE, "{what}: they do not connect");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let clients = [self.cluster.client(LACKS).await, self.cluster.client(SPOILT).await];
        let reads = (0..KEYS).map(|number| {
            let client = clients[number % 2].clone();
            async move { (number, strict_read(&client, number).await) }
        });
        let mut damaged = Vec::new();
        for (number, read) in futures::future::join_all(reads).await {
            match read {
                Some(values) => assert_eq!(values, [value(number)], "{what}: {}", name(number)),
                None if failed.load(Ordering::Relaxed) => {}
                // Or the machine was slow.
                None if self.is_damaged(number).await => damaged.push(number),
                None => {
                    let local = clients[1].values(&get_local(&name(number))).await;
                    assert_eq!(local, [value(number)], "{what}: {}", name(number));
                }
            }
        }
        damaged
    }

    async fn is_damaged(&self, number: usize) -> bool {
        let client = self.cluster.client(SPOILT).await;
        client.answer(&get_local(&name(number))).await == Response::Refused(Refusal::Damaged)
    }

    /// With the owner that holds everything there, what was damaged becomes what it was.
    async fn mends(&mut self, what: &str, damaged: &[usize]) {
        self.cluster.restart(HOLDS).await.expect("its store is sound");
        let (client, began) = (self.cluster.client(SPOILT).await, Instant::now());
        for number in damaged {
            let local = get_local(&name(*number));
            while client.answer(&local).await == Response::Refused(Refusal::Damaged) {
                assert!(began.elapsed() < PATIENCE, "{what}: {} is not mended", name(*number));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(client.values(&local).await, [value(*number)], "{what}");
        }
        self.cluster.kill(HOLDS).await;
    }
}

/// The values of a key, read strictly; nothing if it was refused for want of owners that can tell.
async fn strict_read(client: &Client, number: usize) -> Option<Vec<Vec<u8>>> {
    let request = Request { timeout_ms: 400, ..strictly(get(&name(number))) };
    let asked = tokio::time::timeout(Duration::from_secs(2), client.ask(&request)).await;
    match asked {
        Ok(Ok(Ok(Response::Found { object, .. }))) => {
            Some(object.values().iter().map(|value| value.bytes.to_vec()).collect())
        }
        Ok(Ok(Ok(Response::Refused(
            Refusal::Unavailable { .. } | Refusal::Damaged | Refusal::NotReady,
        )))) => None,
        Ok(Ok(Ok(
            other @ (Response::Held { .. } | Response::Written { .. } | Response::Refused(_)),
        ))) => panic!("{request}: {other}"),
        // A node that has stopped says nothing.
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => None,
    }
}

fn strictly(request: Request) -> Request {
    Request { strict: true, ..request }
}

#[tokio::test]
async fn a_bit_flipped_in_a_stopped_nodes_folder_hides_nothing_that_was_acknowledged() {
    let (mut world, mut seen) = (World::new().await, Seen::default());
    for number in 0..ANYWHERE + IN_VALUES.0 {
        world.flip(number, &mut seen).await;
    }
    // libtest shows nothing that a passing test prints.
    let said = writeln!(std::io::stderr(), "seed {SEED:#x}: {seen:?}");
    said.expect("standard error takes it");
    assert!(seen.refused > 0 && seen.nothing > 0, "the flips show little: {seen:?}");
}
