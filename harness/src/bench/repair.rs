//! What bringing a node what it missed costs the foreground, for a number of keys: by exchanges of trees, or by hints.
//!
//! One node is killed and misses writes of so many keys. Clients ask for other keys only, so that reads mend nothing. Where trees
//! are measured nobody owes it anything, for there are no fallbacks; where hints are there are no trees. What counts is what
//! was asked from when it serves again (with hints: from when it is started) until it holds all that it missed, and its trees,
//! which it lost with its memory, are built again; beside it stands what was asked in as much time before the kill. With no key
//! that differs it is what building trees and comparing equal ones costs.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::bail;
use futures::stream::{self, StreamExt};
use serde::Serialize;

use super::beside::{self, BUDGET, Beside, Happened};
use super::trees::{self, LOOK_EVERY, WITHIN};
use super::{Asker, BenchArgs, Draws, FILLERS, Operation, TIMEOUT};
use crate::fault::{Fault, NodeNumber};
use crate::ground::process::{Connection, ProcessGround};
use crate::ground::{Action, Answer, Call, Ground};
use crate::progress::say;

/// How many copies of the node are read at a time to see whether it holds what it missed.
const READERS: usize = 8;
/// How many nodes own a copy of a key in the buckets that are measured.
const OWNERS: usize = 3;

/// What brings a node what it missed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bringing {
    /// Exchanges of trees.
    Trees,
    /// Those who hold it, and know that it is owed.
    Hints,
}

impl Bringing {
    /// What is asked for: the way, and of how many keys.
    pub(super) fn of(args: &BenchArgs) -> Option<(Self, u64)> {
        let trees = args.repair.map(|keys| (Self::Trees, keys));
        trees.or(args.hints.map(|keys| (Self::Hints, keys)))
    }

    /// The option of the nodes that leaves this way alone.
    pub(super) fn option(self) -> (String, String) {
        match self {
            Self::Trees => ("fallbacks".to_owned(), "off".to_owned()),
            Self::Hints => ("anti-entropy-every-ms".to_owned(), "0".to_owned()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Trees => "trees",
            Self::Hints => "hints",
        }
    }
}

/// Repairs under load.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Repairs {
    /// What the clients did.
    pub operation: &'static str,
    /// How many they were.
    pub clients: usize,
    /// How many operations were due in a second (open loop).
    pub rate: Option<u64>,
    /// What brought the node what it missed.
    pub by: Bringing,
    /// How many keys differed.
    pub differing: u64,
    /// One a repair.
    pub repairs: Vec<Repair>,
    /// p99.9 during the repair in times of p99.9 before, of the repair in the middle.
    pub ratio_median: f64,
    /// What that may be.
    pub budget: f64,
    /// Whether it is.
    pub budget_met: bool,
}

/// One repair.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Repair {
    /// Latencies before the kill, and during the repair.
    #[serde(flatten)]
    pub beside: Beside,
    /// How many keys exchanges of trees found to differ, counted by who began the exchange. Where clients write it is more than
    /// what was missed: a tree that is compared in the middle of a write differs too.
    pub repaired: u64,
    /// From when the node served (with hints: was started) until its trees were whole and it held what it had missed, in seconds.
    pub took_s: f64,
    /// The same until its trees were whole only; at once where there are none.
    pub trees_after_s: f64,
}

/// Measures as often as `--repetitions` says, each time with another node.
pub(super) async fn measure(
    args: &BenchArgs,
    (by, differing): (Bringing, u64),
    ground: &ProcessGround,
    connection: &Connection,
) -> anyhow::Result<Repairs> {
    let reserved = reserved(args.nodes, differing);
    if reserved >= args.keys {
        bail!(
            "{reserved} keys for {differing} that are missed leave none of {} to ask for",
            args.keys
        );
    }
    if by == Bringing::Hints && usize::from(args.nodes) <= OWNERS {
        bail!(
            "--hints needs a node that owns no copy of a key and holds it for the one that is down: --nodes 4 or more"
        );
    }
    let operation = args.operation.unwrap_or(Operation::Get);
    if operation == Operation::CartAdd {
        bail!("--repair and --hints go with get, put and update: what is missed are registers");
    }
    let asker = Asker { args, operation, w: args.w, connection };
    asker.fill(args.keys).await?;
    // Clients ask for the others.
    let asked = BenchArgs { keys: args.keys - reserved, ..args.clone() };
    let draws = Draws::new(&asked, args.clients as usize);
    let mut repairs = Vec::new();
    for repetition in 0..args.repetitions as usize {
        if !args.json {
            let (name, of) = (operation.name(), args.repetitions);
            let which = repetition + 1;
            let by = by.name();
            say(&format!("{name} while {by} bring {differing} keys, {which} of {of} …"));
        }
        let restless = ground.restless(WITHIN, &mut |_| {}).await;
        if !restless.is_empty() {
            bail!("not quiet before the kill: {}", restless.join("; "));
        }
        if by == Bringing::Trees {
            trees::check(&trees::look(ground, connection).await?)?;
        }
        let node = NodeNumber(repetition % usize::from(args.nodes));
        let keys = owned(ground, node, args, (reserved, differing)).await?;
        let missed = Missed { asker: &asker, ground, by, node, repetition, keys };
        let (beside, repair) = beside::observe(args, &asker, &draws, missed.happen()).await?;
        let (repaired, took_s, trees_after_s) = repair;
        repairs.push(Repair { beside, repaired, took_s, trees_after_s });
    }
    Ok(Repairs::new(args, operation, (by, differing, repairs)))
}

/// So many of the last keys are not asked for by clients, so that there are enough among them of which a node owns a copy.
fn reserved(nodes: u16, count: u64) -> u64 {
    if usize::from(nodes) <= OWNERS {
        return count;
    }
    // Twice what it owns of them on an even layout, and some where that is few.
    2 * count * u64::from(nodes) / OWNERS as u64 + 64
}

/// So many of the last keys of which a node owns a copy.
async fn owned(
    ground: &ProcessGround,
    node: NodeNumber,
    args: &BenchArgs,
    (reserved, count): (u64, u64),
) -> anyhow::Result<Vec<u64>> {
    let mut owned = Vec::new();
    for key in args.keys - reserved..args.keys {
        if owned.len() as u64 == count {
            break;
        }
        if ground.owners(&args.bucket, &format!("key-{key}")).await?.contains(&node) {
            owned.push(key);
        }
    }
    if (owned.len() as u64) < count {
        bail!("n{} owns {} of {reserved} keys, and is to miss {count}", node.0 + 1, owned.len());
    }
    Ok(owned)
}

/// What a node misses and gets back.
struct Missed<'a> {
    asker: &'a Asker<'a>,
    ground: &'a ProcessGround,
    by: Bringing,
    node: NodeNumber,
    repetition: usize,
    /// The keys that it is to miss.
    keys: Vec<u64>,
}

impl Missed<'_> {
    /// Kills the node, writes, starts it again and waits until it holds what was written: how many keys were repaired, and after
    /// how many seconds it held them and its trees were whole.
    async fn happen(&self) -> anyhow::Result<Happened<(u64, f64, f64)>> {
        let (ground, connection) = (self.ground, self.asker.connection);
        let kill = Fault::Kill { node: self.node };
        if !ground.begin(self.repetition, &kill).await? {
            bail!("{kill:?} changed nothing");
        }
        self.write().await?;
        // The other nodes count since their start, the one that was killed begins anew.
        let mut before = Vec::new();
        for place in (0..ground.addresses().len()).filter(|place| *place != self.node.0) {
            before.push(trees::look_at(ground, connection, place).await?);
        }
        let started = Instant::now();
        ground.end(self.repetition).await?;
        ground.ready().await?;
        // Hints come as soon as others are connected to it, which may be before it is known to serve.
        let from = if self.by == Bringing::Hints { started } else { Instant::now() };
        if self.by == Bringing::Trees {
            trees::wait_until_whole(ground, connection, (self.node.0, started)).await?;
        }
        let whole = Instant::now();
        let until = self.wait_until_held(started).await?.max(whole);
        let after = trees::repaired(&trees::look(ground, connection).await?);
        let repaired = after.saturating_sub(trees::repaired(&before));
        let seconds = |until: Instant| (until - from).as_secs_f64();
        Ok(Happened { from, until, what: (repaired, seconds(until), seconds(whole)) })
    }

    /// What the node misses of a key: another value in each repetition, and none that a key was filled with.
    fn number(&self, key: u64) -> u64 {
        u64::MAX - key * 1_000 - self.repetition as u64
    }

    /// Writes a value, again where the outcome is unknown: the first to ask the killed node do not know yet that it is down.
    async fn put(&self, key: u64) -> Result<(), String> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let put = self.asker.put(format!("key-{key}"), None, self.number(key)).await;
            if put.is_ok() || Instant::now() > deadline {
                return put;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn write(&self) -> anyhow::Result<()> {
        let puts =
            stream::iter(self.keys.iter().map(|key| self.put(*key))).buffer_unordered(FILLERS);
        let failed = puts.filter_map(|put| std::future::ready(put.err())).next().await;
        match failed {
            Some(error) => bail!("what is to be missed cannot be written: {error}"),
            None => Ok(()),
        }
    }

    /// Waits until the node's own copies are what was written; gives the time from which on all of them were.
    async fn wait_until_held(&self, started: Instant) -> anyhow::Result<Instant> {
        let mut missing = self.keys.clone();
        loop {
            let looked = Instant::now();
            let looks =
                stream::iter(missing).map(|key| async move { (key, self.holds(key).await) });
            let looks: Vec<_> = looks.buffer_unordered(READERS).collect().await;
            missing =
                looks.into_iter().filter_map(|(key, holds)| (!holds).then_some(key)).collect();
            if missing.is_empty() {
                return Ok(looked);
            }
            if started.elapsed() > WITHIN {
                bail!("{} keys are not repaired within {} s", missing.len(), WITHIN.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the node's own copy of a key is what it missed.
    async fn holds(&self, key: u64) -> bool {
        let call = Call {
            node: Some(self.node),
            only: true,
            bucket: self.asker.args.bucket.clone(),
            key: format!("key-{key}"),
            action: Action::ReadLocal,
            strict: false,
            quorum: None,
            timeout: TIMEOUT,
        };
        match self.ground.call(call).await {
            Ok(Answer::Register { values, .. }) => {
                values.contains(&self.asker.value(self.number(key)))
            }
            Ok(Answer::Cart { .. } | Answer::Written) | Err(_) => false,
        }
    }
}

impl Repairs {
    fn new(
        args: &BenchArgs,
        operation: Operation,
        (by, differing, repairs): (Bringing, u64, Vec<Repair>),
    ) -> Self {
        let ratio_median = beside::median_ratio(repairs.iter().map(|repair| &repair.beside));
        Self {
            operation: operation.name(),
            clients: args.clients as usize,
            rate: args.rate,
            by,
            differing,
            repairs,
            ratio_median,
            budget: BUDGET,
            budget_met: ratio_median <= BUDGET,
        }
    }

    /// A line a repair, and the verdict.
    pub(super) fn lines(&self) -> String {
        let mut table = format!(
            "by {:<6} {:>7} {:>9} {:>10} {:>10} {:>10} {:>10} {:>6} {:>9} {:>7} {:>8}\n",
            self.by.name(),
            "clients",
            "differing",
            "idle op/s",
            "p99.9 ms",
            "then op/s",
            "p99.9 ms",
            "ratio",
            "repaired",
            "took s",
            "trees s"
        );
        for Repair { beside, repaired, took_s, trees_after_s } in &self.repairs {
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "{:<9} {:>7} {:>9} {:>10.0} {:>10.2} {:>10.0} {:>10.2} {:>6.2} {:>9} {:>7.2} {:>8.2}",
                self.operation,
                self.clients,
                self.differing,
                beside.idle_per_s,
                beside.idle_p999_ms,
                beside.during_per_s,
                beside.during_p999_ms,
                beside.ratio(),
                repaired,
                took_s,
                trees_after_s,
            );
            if let Some(failure) = &beside.failure {
                let _ = writeln!(table, "          {} failed: {failure}", beside.failed_count);
            }
        }
        table.push_str(&beside::verdict(self.ratio_median));
        table
    }
}
