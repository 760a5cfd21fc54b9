//! What a restart costs: how long a node that was killed takes until it serves and until its trees are whole, and what building
//! and comparing them, and mending what it missed, costs the foreground.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;

use super::beside::{self, BUDGET, Beside, Happened};
use super::trees::{self, WITHIN};
use super::{Asker, BenchArgs, Draws, Operation};
use crate::fault::{Fault, NodeNumber};
use crate::ground::Ground;
use crate::ground::process::{Connection, ProcessGround};
use crate::progress::say;

/// How long the node is down: what is written meanwhile, exchanges of trees bring it.
const DOWN: Duration = Duration::from_secs(2);

/// Restarts under load.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restarts {
    /// What the clients did.
    pub operation: &'static str,
    /// How many they were.
    pub clients: usize,
    /// How many operations were due in a second (open loop).
    pub rate: Option<u64>,
    /// One a restart.
    pub restarts: Vec<Restart>,
    /// p99.9 after the restart in times of p99.9 before, of the restart in the middle.
    pub ratio_median: f64,
    /// What that may be.
    pub budget: f64,
    /// Whether it is.
    pub budget_met: bool,
}

/// One restart.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restart {
    /// Latencies before the kill, and from when the node served until the end of the measurement.
    #[serde(flatten)]
    pub beside: Beside,
    /// From the start of the process until it answered, in seconds.
    pub serves_after_s: f64,
    /// From the start of the process until its trees were whole, in seconds.
    pub trees_after_s: f64,
}

/// Measures as often as `--repetitions` says, each time with another node.
pub(super) async fn measure(
    args: &BenchArgs,
    operation: Operation,
    ground: &ProcessGround,
    connection: &Connection,
) -> anyhow::Result<Restarts> {
    let asker = Asker { args, operation, w: args.w, connection };
    let draws = Draws::new(args, args.clients as usize);
    if operation != Operation::CartAdd {
        asker.fill(draws.keys.count()).await?;
    }
    let mut restarts = Vec::new();
    for repetition in 0..args.repetitions as usize {
        if !args.json {
            let (name, of) = (operation.name(), args.repetitions);
            say(&format!("{name} while a node restarts, {} of {of} …", repetition + 1));
        }
        let restless = ground.restless(WITHIN, &mut |_| {}).await;
        if !restless.is_empty() {
            bail!("not quiet before the restart: {}", restless.join("; "));
        }
        trees::check(&trees::look(ground, connection).await?)?;
        let node = NodeNumber(repetition % usize::from(args.nodes));
        let again = restart(ground, connection, (repetition, node));
        let (beside, (serves_after_s, trees_after_s)) =
            beside::observe(args, &asker, &draws, again).await?;
        restarts.push(Restart { beside, serves_after_s, trees_after_s });
    }
    Ok(Restarts::new(args, operation, restarts))
}

/// Kills a node and starts it again after a while. What counts is what goes on from when it serves, to the end of the load.
async fn restart(
    ground: &ProcessGround,
    connection: &Connection,
    (id, node): (usize, NodeNumber),
) -> anyhow::Result<Happened<(f64, f64)>> {
    let kill = Fault::Kill { node };
    if !ground.begin(id, &kill).await? {
        bail!("{kill:?} changed nothing");
    }
    tokio::time::sleep(DOWN).await;
    let started = Instant::now();
    ground.end(id).await?;
    ground.ready().await?;
    let from = Instant::now();
    trees::wait_until_whole(ground, connection, (node.0, started)).await?;
    let what = ((from - started).as_secs_f64(), started.elapsed().as_secs_f64());
    Ok(Happened { from, until: Instant::now() + WITHIN, what })
}

impl Restarts {
    fn new(args: &BenchArgs, operation: Operation, restarts: Vec<Restart>) -> Self {
        let ratio_median = beside::median_ratio(restarts.iter().map(|restart| &restart.beside));
        Self {
            operation: operation.name(),
            clients: args.clients as usize,
            rate: args.rate,
            restarts,
            ratio_median,
            budget: BUDGET,
            budget_met: ratio_median <= BUDGET,
        }
    }

    /// A line a restart, and the verdict.
    pub(super) fn lines(&self) -> String {
        let mut table = format!(
            "{:<9} {:>7} {:>10} {:>10} {:>10} {:>10} {:>6} {:>9} {:>9}\n",
            "restart",
            "clients",
            "idle op/s",
            "p99.9 ms",
            "then op/s",
            "p99.9 ms",
            "ratio",
            "serves s",
            "trees s"
        );
        for Restart { beside, serves_after_s, trees_after_s } in &self.restarts {
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "{:<9} {:>7} {:>10.0} {:>10.2} {:>10.0} {:>10.2} {:>6.2} {:>9.2} {:>9.2}",
                self.operation,
                self.clients,
                beside.idle_per_s,
                beside.idle_p999_ms,
                beside.during_per_s,
                beside.during_p999_ms,
                beside.ratio(),
                serves_after_s,
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
