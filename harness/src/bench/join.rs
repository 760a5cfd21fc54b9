//! What a join costs the foreground.
//!
//! A fresh node joins under load, and what counts is what was asked until it is a member and the cluster is at rest again.
//! Before the next one joins it leaves, and nobody is measured.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::beside::{self, BUDGET, Beside, Happened};
use super::{Asker, BenchArgs, Draws, Operation};
use crate::fault::{Fault, NodeNumber, ZoneNumber};
use crate::ground::process::{Connection, ProcessGround};
use crate::progress::say;

/// How long a change may take beyond the time of a measurement.
const CHANGE_WITHIN: Duration = Duration::from_secs(300);

/// Latencies during joins.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Joins {
    /// What the clients did.
    pub operation: &'static str,
    /// How many they were.
    pub clients: usize,
    /// How many operations were due in a second (open loop).
    pub rate: Option<u64>,
    /// One a join.
    pub joins: Vec<Join>,
    /// p99.9 during the join in times of p99.9 before, of the join in the middle.
    pub ratio_median: f64,
    /// What that may be.
    pub budget: f64,
    /// Whether it is.
    pub budget_met: bool,
}

/// One join.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Join {
    /// Latencies before and during the join.
    #[serde(flatten)]
    pub beside: Beside,
    /// From the start of the fresh node until the cluster was at rest, in seconds.
    pub took_s: f64,
}

/// Measures as often as `--repetitions` says.
pub(super) async fn measure(
    args: &BenchArgs,
    operation: Operation,
    ground: &ProcessGround,
    connection: &Connection,
) -> anyhow::Result<Joins> {
    let asker = Asker { args, operation, w: args.w, connection };
    let draws = Draws::new(args, args.clients as usize);
    if operation != Operation::CartAdd {
        asker.fill(draws.keys.count()).await?;
    }
    let mut joins = Vec::new();
    for repetition in 0..args.repetitions as usize {
        if !args.json {
            let (name, of) = (operation.name(), args.repetitions);
            say(&format!("{name} while a node joins, {} of {of} …", repetition + 1));
        }
        let fresh = NodeNumber(usize::from(args.nodes) + repetition);
        let join = async {
            let from = Instant::now();
            let joins = Fault::Join { node: fresh, zone: ZoneNumber(0) };
            let joined = ground.carry_through(2 * repetition, &joins, CHANGE_WITHIN).await;
            joined.context("a fresh node joins")?;
            let until = Instant::now();
            Ok(Happened { from, until, what: (until - from).as_secs_f64() })
        };
        let (beside, took_s) = beside::observe(args, &asker, &draws, join).await?;
        joins.push(Join { beside, took_s });
        let leaves = Fault::Leave { node: fresh };
        let left = ground.carry_through(2 * repetition + 1, &leaves, CHANGE_WITHIN).await;
        left.context("the node that joined leaves")?;
    }
    Ok(Joins::new(args, operation, joins))
}

impl Joins {
    fn new(args: &BenchArgs, operation: Operation, joins: Vec<Join>) -> Self {
        let ratio_median = beside::median_ratio(joins.iter().map(|join| &join.beside));
        Self {
            operation: operation.name(),
            clients: args.clients as usize,
            rate: args.rate,
            joins,
            ratio_median,
            budget: BUDGET,
            budget_met: ratio_median <= BUDGET,
        }
    }

    /// A line a join, and the verdict.
    pub(super) fn lines(&self) -> String {
        let mut table = format!(
            "{:<9} {:>7} {:>10} {:>12} {:>10} {:>12} {:>6} {:>8}\n",
            "join", "clients", "idle op/s", "p99.9 ms", "join op/s", "p99.9 ms", "ratio", "took s"
        );
        for Join { beside, took_s } in &self.joins {
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "{:<9} {:>7} {:>10.0} {:>12.2} {:>10.0} {:>12.2} {:>6.2} {:>8.1}",
                self.operation,
                self.clients,
                beside.idle_per_s,
                beside.idle_p999_ms,
                beside.during_per_s,
                beside.during_p999_ms,
                beside.ratio(),
                took_s,
            );
            if let Some(failure) = &beside.failure {
                let _ = writeln!(table, "          {} failed: {failure}", beside.failed_count);
            }
        }
        table.push_str(&beside::verdict(self.ratio_median));
        table
    }
}
