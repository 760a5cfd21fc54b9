//! What a join costs the foreground: latencies while a node joins, beside those of the same load before.
//!
//! Clients ask all the time. Half of the time nothing else happens; then a fresh node joins, and what counts is
//! what was asked until it is a member and the cluster is at rest again. In between it leaves, and nobody is measured.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::load::{self, Load};
use super::{Asker, BenchArgs, Draws, Operation};
use crate::fault::{Fault, NodeNumber, ZoneNumber};
use crate::ground::process::{Connection, ProcessGround};
use crate::progress::say;

/// How long clients ask before anything is measured.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a change may take beyond the time of a measurement.
const CHANGE_WITHIN: Duration = Duration::from_secs(300);
/// What p99.9 during a join may be, in times of what it is before.
const BUDGET: f64 = 1.5;

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
    /// Operations in a second before.
    pub idle_per_s: f64,
    /// 999 of 1,000 took no longer, before, in milliseconds.
    pub idle_p999_ms: f64,
    /// Operations in a second during the join.
    pub join_per_s: f64,
    /// 999 of 1,000 took no longer, during the join, in milliseconds.
    pub join_p999_ms: f64,
    /// From the start of the fresh node until the cluster was at rest, in seconds.
    pub took_s: f64,
    /// Operations that failed.
    pub failed_count: u64,
    /// Why one of them failed.
    pub failure: Option<String>,
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
        joins.push(observe(args, &asker, &draws, ground, (2 * repetition, fresh)).await?);
        let leaves = Fault::Leave { node: fresh };
        ground
            .carry_through(2 * repetition + 1, &leaves, CHANGE_WITHIN)
            .await
            .context("the node that joined leaves")?;
    }
    Ok(Joins::new(args, operation, joins))
}

/// Asks all the time, lets a node join after half of it, and waits until it is a member.
async fn observe(
    args: &BenchArgs,
    asker: &Asker<'_>,
    draws: &Draws,
    ground: &ProcessGround,
    (id, fresh): (usize, NodeNumber),
) -> anyhow::Result<Join> {
    let half = Duration::from_secs(args.time);
    let load = Load {
        clients: args.clients as usize,
        rate: args.rate.map(|rate| rate as f64),
        warm_up: SETTLE,
        time: 2 * half,
    };
    let (asked, began) = (RefCell::new(Vec::new()), Instant::now());
    let ask = |client| {
        let ((key, number), asked) = (draws.next(client), &asked);
        async move {
            let at = began.elapsed();
            let done = asker.operate(key, number).await;
            if done.is_ok() {
                asked.borrow_mut().push((at, began.elapsed() - at));
            }
            done
        }
    };
    let join = async {
        tokio::time::sleep_until((began + SETTLE + half).into()).await;
        let from = began.elapsed();
        let joins = Fault::Join { node: fresh, zone: ZoneNumber(0) };
        ground.carry_through(id, &joins, CHANGE_WITHIN).await?;
        anyhow::Ok((from, began.elapsed()))
    };
    let (measured, joined) = futures::future::join(load::run(&load, ask, || {}), join).await;
    let (from, until) = joined.context("a fresh node joins")?;
    let asked = asked.into_inner();
    let end = until.min(SETTLE + 2 * half);
    let (idle_per_s, idle_p999_ms) = between(&asked, SETTLE, from);
    let (join_per_s, join_p999_ms) = between(&asked, from, end);
    Ok(Join {
        idle_per_s,
        idle_p999_ms,
        join_per_s,
        join_p999_ms,
        took_s: (until - from).as_secs_f64(),
        failed_count: measured.failed,
        failure: measured.failure,
    })
}

/// Of the operations asked in this stretch: how many a second, and p99.9 in milliseconds.
fn between(asked: &[(Duration, Duration)], from: Duration, until: Duration) -> (f64, f64) {
    let mut latencies = load::histogram();
    for (_, took) in asked.iter().filter(|(at, _)| (from..until).contains(at)) {
        latencies.saturating_record(took.as_nanos() as u64);
    }
    let per_s = latencies.len() as f64 / (until - from).as_secs_f64();
    (per_s, latencies.value_at_quantile(0.999) as f64 / 1e6)
}

impl Join {
    fn ratio(&self) -> f64 {
        self.join_p999_ms / self.idle_p999_ms
    }
}

impl Joins {
    fn new(args: &BenchArgs, operation: Operation, joins: Vec<Join>) -> Self {
        let mut ratios: Vec<_> = joins.iter().map(Join::ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let ratio_median = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
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
        for join in &self.joins {
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "{:<9} {:>7} {:>10.0} {:>12.2} {:>10.0} {:>12.2} {:>6.2} {:>8.1}",
                self.operation,
                self.clients,
                join.idle_per_s,
                join.idle_p999_ms,
                join.join_per_s,
                join.join_p999_ms,
                join.ratio(),
                join.took_s,
            );
            if let Some(failure) = &join.failure {
                let _ = writeln!(table, "          {} failed: {failure}", join.failed_count);
            }
        }
        let met = if self.budget_met { "met" } else { "missed" };
        let (median, budget) = (self.ratio_median, self.budget);
        let _ = writeln!(table, "median ratio {median:.2}, budget {budget}: {met}");
        table
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Join, between};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_was_asked_in_a_stretch_counts_with_all_of_its_wait() {
        let asked =
            [(ms(99), ms(500)), (ms(100), ms(4)), (ms(1_099), ms(80)), (ms(1_100), ms(900))];
        let (per_s, p999) = between(&asked, ms(100), ms(1_100));
        assert_eq!(per_s, 2.0);
        assert!((79.9..80.2).contains(&p999), "{p999}");
    }

    #[test]
    fn the_ratio_is_of_the_join_to_the_time_before() {
        let join = Join {
            idle_per_s: 1.0,
            idle_p999_ms: 4.0,
            join_per_s: 1.0,
            join_p999_ms: 6.0,
            took_s: 1.0,
            failed_count: 0,
            failure: None,
        };
        assert_eq!(join.ratio(), 1.5);
    }
}
