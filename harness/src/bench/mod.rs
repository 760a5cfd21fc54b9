//! `cartwheel bench`: how fast a cluster is, beside what the same disk gives a raw log.

mod beside;
mod gap;
mod join;
mod keys;
mod load;
mod messages;
mod repair;
mod report;
mod restart;
mod trees;

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use futures::stream::{self, StreamExt};

pub use beside::Beside;
pub use gap::Gap;
pub use join::{Join, Joins};
pub use keys::{Keys, Spread};
pub use load::{Load, Measured};
pub use repair::{Bringing, Repair, Repairs};
pub use report::{Report, Row};
pub use restart::{Restart, Restarts};

use self::messages::Messages;
use crate::ground::process::{ClusterSpec, Connection, ProcessGround};
use crate::ground::{Action, Answer, Call};
use crate::progress::say;
use crate::rng::Rng;
use crate::runtime;
use crate::workload::LWW_BUCKET;

/// How many keys are written at a time before gets are measured.
const FILLERS: usize = 256;
/// How long one operation may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments of `cartwheel bench`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  cartwheel bench                                   (puts with 64 clients and with one, gets)
  cartwheel bench --operation get --clients 64 --spread zipf
  cartwheel bench --operation put --rate 2000       (open loop: latency from when each was due)
  cartwheel bench --gap                             (how long nothing is acknowledged when nodes die)
  cartwheel bench --join --time 60                  (latencies while a node joins)
  cartwheel bench --restart get --keys 1000000      (until a killed node serves and has its trees)
  cartwheel bench --repair 1000 --rate 1000         (latencies while 1,000 of the keys are repaired)
  cartwheel bench --hints 1000 --nodes 4 --rate 1000  (the same while hints of 1,000 keys are handed over)
  cartwheel bench --against 127.0.0.1:7400 --json")]
pub struct BenchArgs {
    /// A node of a running cluster, host:port [default: a cluster of its own]
    #[arg(long, value_name = "ADDRESS")]
    pub against: Option<String>,
    /// How many nodes a cluster of its own has
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub nodes: u16,
    /// What is measured [default: put with all clients, put with one, get with all]
    #[arg(long, value_enum)]
    pub operation: Option<Operation>,
    /// Measure the write gap instead: the longest time without an acknowledged write when nodes of
    /// three are killed or paused. A paused node never refuses, so a put that it was sent waits for
    /// it, and a cart-add is made elsewhere [default operation: cart-add]
    #[arg(long, value_name = "OPERATION", num_args = 0..=1, default_missing_value = "cart-add",
        value_parser = gap::parse_write,
        conflicts_with_all = ["against", "nodes", "operation", "r", "w", "strict"])]
    pub gap: Option<Operation>,
    /// Measure latencies while a node joins instead, beside those before it, for `--time` each [default
    /// operation: put]
    #[arg(long, value_name = "OPERATION", num_args = 0..=1, default_missing_value = "put", value_enum,
        conflicts_with_all = ["against", "gap", "operation"])]
    pub join: Option<Operation>,
    /// Measure a restart instead: how long a node that was killed takes until it serves and until its trees are
    /// whole, and latencies from then on, beside those before, for `--time` each [default operation: put]
    #[arg(long, value_name = "OPERATION", num_args = 0..=1, default_missing_value = "put", value_enum,
        conflicts_with_all = ["against", "gap", "join", "operation"])]
    pub restart: Option<Operation>,
    /// Measure repairs instead: a node is killed and misses writes of so many of the keys, which exchanges of trees bring
    /// it; latencies of operations on the other keys until then, beside those before, for at most `--time` each. Nodes have
    /// no fallbacks then [default operation: get]
    #[arg(long, value_name = "KEYS", conflicts_with_all = ["against", "gap", "join", "restart", "strict"])]
    pub repair: Option<u64>,
    /// The same, but that hints bring it what it missed: nodes do not compare trees then, and there must be four or more, so
    /// that one holds what another misses [default operation: get]
    #[arg(long, value_name = "KEYS",
        conflicts_with_all = ["against", "gap", "join", "restart", "repair", "strict"])]
    pub hints: Option<u64>,
    /// How often a join, a restart, a repair, or the write gap with each fault, is measured
    #[arg(long, default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub repetitions: u64,
    /// How many clients ask at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub clients: u64,
    /// Operations due in a second, whatever the cluster does (open loop) [default: closed loop]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rate: Option<u64>,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub time: u64,
    /// How many keys there are
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub keys: u64,
    /// How requests are spread over the keys
    #[arg(long, value_enum, default_value_t = Spread::Uniform)]
    pub spread: Spread,
    /// The length of values, in bytes
    #[arg(long, default_value_t = 100, value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub value_bytes: u64,
    /// The bucket. In one with siblings, puts pile up siblings: use update there
    #[arg(long, default_value = LWW_BUCKET)]
    pub bucket: String,
    /// The quorum of reads [default: the bucket's]
    #[arg(short, long)]
    pub r: Option<u8>,
    /// The quorum of writes [default: the bucket's]
    #[arg(short, long)]
    pub w: Option<u8>,
    /// Count owners only
    #[arg(long)]
    pub strict: bool,
    /// What keys follow from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Any option of `serve`, as NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::options::parse)]
    pub node_option: Vec<(String, String)>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Operation {
    /// Write a value without reading.
    Put,
    /// Read a value that is there.
    Get,
    /// Read a value and write another with its context.
    Update,
    /// Add to a cart (in the bucket `carts`).
    CartAdd,
}

/// A raw log that is open: appends durably, from any thread.
pub type Append = Box<dyn Fn(&[u8]) -> io::Result<()> + Send + Sync>;
/// Opens a raw log at a path: the baseline that writes are compared to.
pub type Baseline<'a> = &'a dyn Fn(&Path) -> io::Result<Append>;

/// Measures; says on the way what is measured, unless the report is to be JSON. It must be called from
/// the main thread, outside any async runtime.
///
/// # Errors
/// The cluster cannot be started or reached, or the baseline not be written.
pub fn run(args: &BenchArgs, program: &Path, baseline: Baseline<'_>) -> anyhow::Result<Report> {
    let folder = std::env::current_dir()?.join(format!(".cartwheel-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let measured = measure(args, program, baseline, &folder);
    std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    measured
}

fn measure(
    args: &BenchArgs,
    program: &Path,
    baseline: Baseline<'_>,
    folder: &Path,
) -> anyhow::Result<Report> {
    let runtime = runtime::new()?;
    let cluster = runtime.block_on(Cluster::start(args, program, folder))?;
    if let (Some(operation), Some(ground)) = (args.gap, &cluster.own) {
        let gaps = runtime.block_on(gap::measure(args, operation, ground, &cluster.connection));
        runtime.block_on(cluster.stop());
        return Ok(Report { gaps: gaps?, ..Report::new(args) });
    }
    if let (Some(operation), Some(ground)) = (args.join, &cluster.own) {
        let joins = runtime.block_on(join::measure(args, operation, ground, &cluster.connection));
        runtime.block_on(cluster.stop());
        return Ok(Report { joins: Some(joins?), ..Report::new(args) });
    }
    if let (Some(operation), Some(ground)) = (args.restart, &cluster.own) {
        let restarts = restart::measure(args, operation, ground, &cluster.connection);
        let restarts = runtime.block_on(restarts);
        runtime.block_on(cluster.stop());
        return Ok(Report { restarts: Some(restarts?), ..Report::new(args) });
    }
    if let (Some(missed), Some(ground)) = (Bringing::of(args), &cluster.own) {
        let repairs = repair::measure(args, missed, ground, &cluster.connection);
        let repairs = runtime.block_on(repairs);
        runtime.block_on(cluster.stop());
        return Ok(Report { repairs: Some(repairs?), ..Report::new(args) });
    }
    let mut rows = Vec::new();
    let all = args.clients;
    let plan = match args.operation {
        Some(operation) => vec![(operation, all)],
        None => vec![(Operation::Put, all), (Operation::Put, 1), (Operation::Get, all)],
    };
    for (operation, clients) in plan {
        if !args.json {
            say(&format!("{} with {clients} clients, {} s …", operation.name(), args.time));
        }
        let mut row = runtime.block_on(cluster.measure(args, operation, clients as usize))?;
        if operation.writes() {
            row.raw_log_per_s = Some(raw_log(args, clients, baseline, &folder.join("raw-log"))?);
        }
        rows.push(row);
    }
    runtime.block_on(cluster.stop());
    Ok(Report { rows, ..Report::new(args) })
}

/// Appends in a second to a raw log, by as many writers, for `--time` or five seconds, whichever is less.
fn raw_log(
    args: &BenchArgs,
    writers: u64,
    baseline: Baseline<'_>,
    path: &Path,
) -> anyhow::Result<f64> {
    let append = baseline(path).context("the raw log")?;
    let (ends, appends) = (AtomicBool::new(false), AtomicU64::new(0));
    let value = vec![0x5a; args.value_bytes as usize];
    let began = Instant::now();
    let written = std::thread::scope(|scope| {
        let writer = || {
            while !ends.load(Ordering::Relaxed) {
                append(&value)?;
                appends.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let writers: Vec<_> = (0..writers).map(|_| scope.spawn(writer)).collect();
        std::thread::sleep(Duration::from_secs(args.time.min(5)));
        ends.store(true, Ordering::Relaxed);
        let join = |writer: std::thread::ScopedJoinHandle<'_, io::Result<()>>| {
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        writers.into_iter().try_for_each(join)
    });
    written.context("the raw log")?;
    std::fs::remove_file(path).context("the raw log")?;
    Ok(appends.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

/// The cluster that is measured.
struct Cluster {
    /// Of its own: its processes and the CPU that they use are known.
    own: Option<ProcessGround>,
    connection: Connection,
}

impl Cluster {
    async fn start(args: &BenchArgs, program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let own = match args.against {
            Some(_) => None,
            None => {
                let mut options = args.node_option.clone();
                options.extend(Bringing::of(args).map(|(by, _)| by.option()));
                let spec = ClusterSpec {
                    program: program.to_owned(),
                    nodes: args.nodes.into(),
                    data: folder.join("data"),
                    logs: folder.join("nodes"),
                    first_port: None,
                    first_http_port: None,
                    options,
                    own_disks: false,
                };
                Some(ProcessGround::start(&spec, false).await?)
            }
        };
        let addresses = match (&args.against, &own) {
            (Some(address), _) => vec![address.clone()],
            (None, Some(own)) => own.addresses().iter().map(ToString::to_string).collect(),
            (None, None) => Vec::new(),
        };
        let connection = Connection::new(addresses, Vec::new());
        connection.client().await.context("no node answers")?;
        Ok(Self { own, connection })
    }

    async fn stop(&self) {
        if let Some(own) = &self.own {
            own.stop().await;
        }
    }

    /// One measurement.
    async fn measure(
        &self,
        args: &BenchArgs,
        operation: Operation,
        clients: usize,
    ) -> anyhow::Result<Row> {
        let draws = Draws::new(args, clients);
        let asker = Asker { args, operation, w: args.w, connection: &self.connection };
        if matches!(operation, Operation::Get) {
            asker.fill(draws.keys.count()).await?;
        }
        let pids = match &self.own {
            Some(own) => own.pids().await,
            None => Vec::new(),
        };
        let load = Load {
            clients,
            rate: args.rate.map(|rate| rate as f64),
            warm_up: Duration::from_secs(args.time.min(2)),
            time: Duration::from_secs(args.time),
        };
        let messages = Messages::of(&self.connection).await;
        let sent = async || messages.as_ref()?.sent().await;
        let (cpu_before, sent_before) = (Cell::new(None), RefCell::new(None));
        let operate = |client, _| {
            let (key, number) = draws.next(client);
            asker.operate(key, number)
        };
        let warm = async || {
            cpu_before.set(report::cpu_time(&pids));
            sent_before.replace(sent().await);
        };
        let measured = load::run(&load, operate, warm).await;
        let cpu = cpu_before.get().zip(report::cpu_time(&pids));
        let cpu = cpu.map(|(before, after)| after.saturating_sub(before));
        let sent = sent_before.into_inner().zip(sent().await);
        let sent = sent.and_then(|(before, after)| after.since(&before));
        Ok(Row::new(operation.name(), clients, args.rate, &measured, (cpu, sent)))
    }
}

/// What each client asks for next.
struct Draws {
    keys: Keys,
    rngs: Vec<RefCell<Rng>>,
}

impl Draws {
    fn new(args: &BenchArgs, clients: usize) -> Self {
        let rng = |client| RefCell::new(Rng::of(args.seed, client as u64));
        let rngs = (0..clients).map(rng).collect();
        Self { keys: Keys::new(args.keys, args.spread), rngs }
    }

    /// A key, and a random number for the value.
    fn next(&self, client: usize) -> (u64, u64) {
        let mut rng = self.rngs[client].borrow_mut();
        (self.keys.draw(&mut rng), rng.bits())
    }
}

/// Asks a cluster for one kind of operation.
struct Asker<'a> {
    args: &'a BenchArgs,
    operation: Operation,
    /// The quorum of writes; `None` is the bucket's.
    w: Option<u8>,
    connection: &'a Connection,
}

impl Asker<'_> {
    /// One operation on a key; `number` is random.
    async fn operate(&self, key: u64, number: u64) -> Result<(), String> {
        let key = format!("key-{key}");
        match self.operation {
            Operation::Put => self.put(key, None, number).await,
            Operation::Get => self.call(key, Action::Read).await.map(|_| ()),
            Operation::Update => match self.call(key.clone(), Action::Read).await? {
                Answer::Register { context, .. } => self.put(key, context, number).await,
                Answer::Cart { .. } | Answer::Written => Err("no register".to_owned()),
            },
            Operation::CartAdd => {
                let item = cartwheel_checker::cart::Item {
                    add_id: uuid::Uuid::now_v7().to_string(),
                    sku: "milk".to_owned(),
                    quantity: 1,
                };
                let add = Action::Change { cancel: Vec::new(), add: Some(item) };
                self.call(key, add).await.map(|_| ())
            }
        }
    }

    async fn put(&self, key: String, context: Option<Vec<u8>>, number: u64) -> Result<(), String> {
        let value = self.value(number);
        self.call(key, Action::Put { context, value }).await.map(|_| ())
    }

    fn value(&self, number: u64) -> Vec<u8> {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(self.args.value_bytes as usize, 0x5a);
        value
    }

    async fn call(&self, key: String, action: Action) -> Result<Answer, String> {
        let reads = matches!(action, Action::Read | Action::ReadLocal);
        let bucket = match self.operation {
            Operation::CartAdd => crate::workload::CART_BUCKET,
            Operation::Put | Operation::Get | Operation::Update => &self.args.bucket,
        };
        let call = Call {
            node: None,
            only: false,
            bucket: bucket.to_owned(),
            key,
            action,
            strict: self.args.strict,
            quorum: if reads { self.args.r } else { self.w },
            timeout: TIMEOUT,
        };
        self.connection.call(call).await.map_err(|error| error.message)
    }

    /// Writes every key once, so that gets find something.
    async fn fill(&self, keys: u64) -> anyhow::Result<()> {
        let puts = (0..keys).map(|key| self.put(format!("key-{key}"), None, key));
        let failed = stream::iter(puts)
            .buffer_unordered(FILLERS)
            .filter_map(|put| std::future::ready(put.err()))
            .next()
            .await;
        match failed {
            Some(error) => bail!("the keys cannot be written: {error}"),
            None => Ok(()),
        }
    }
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Update => "update",
            Self::CartAdd => "cart-add",
        }
    }

    fn writes(self) -> bool {
        match self {
            Self::Put | Self::Update | Self::CartAdd => true,
            Self::Get => false,
        }
    }
}
