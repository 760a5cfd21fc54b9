//! The write gap: how long nothing is acknowledged when nodes die or fall silent.
//!
//! Many writers write all the time. What is measured is the longest stretch in which none of them
//! was acknowledged, in the seconds after a fault; beside it stand the same in as many seconds
//! before the fault, which is what this machine does by itself, and the longest that any one writer
//! waited.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;

use super::load::{self, Load};
use super::{Asker, BenchArgs, Draws, Operation};
use crate::fault::{Fault, NodeNumber};
use crate::ground::Ground;
use crate::ground::process::{Connection, ProcessGround};
use crate::progress::say;

/// How long is measured before a fault and while it lasts, unless `--time` is less.
const WINDOW: Duration = Duration::from_secs(3);
/// How long writers write before anything is measured: connections are made again, and what was
/// handed to others meanwhile comes back.
const SETTLE: Duration = Duration::from_secs(2);
/// How long writers go on after the window, so that its end is no gap.
const BEYOND: Duration = Duration::from_millis(200);

/// The write gap with one kind of fault.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gap {
    /// What was done to the nodes.
    pub fault: &'static str,
    /// What the writers did.
    pub operation: &'static str,
    /// How many they were.
    pub clients: usize,
    /// The quorum of writes; `None` is the bucket's.
    pub w: Option<u8>,
    /// How often it was measured.
    pub repetitions: usize,
    /// The longest stretch without an acknowledged write after the fault, in milliseconds: of the
    /// repetitions in the middle.
    pub gap_median_ms: f64,
    /// The same of the worst repetition.
    pub gap_worst_ms: f64,
    /// The same before the fault, of the repetition in the middle.
    pub calm_gap_median_ms: f64,
    /// The same before the fault, of the worst repetition.
    pub calm_gap_worst_ms: f64,
    /// The longest that a writer waited after the fault, in milliseconds, of the worst repetition.
    pub longest_wait_ms: f64,
    /// How many writes failed, or were not acknowledged in time.
    pub failed_count: u64,
    /// Why one of them failed.
    pub failure: Option<String>,
    /// What the worst gap may be, in milliseconds.
    pub budget_ms: f64,
    /// Whether it is.
    pub budget_met: bool,
}

/// What is done to a cluster of three, and what may come of it.
struct Scenario {
    name: &'static str,
    /// The faults, if the first node that they hit is this one.
    faults: fn(usize) -> Vec<Fault>,
    w: Option<u8>,
    budget: Duration,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "one of three killed",
        faults: |first| vec![Fault::Kill { node: node(first) }],
        w: None,
        budget: Duration::from_millis(25),
    },
    Scenario {
        name: "one of three paused",
        faults: |first| vec![Fault::Pause { node: node(first) }],
        w: None,
        budget: Duration::from_millis(100),
    },
    Scenario {
        name: "two of three killed",
        faults: |first| [first, first + 1].map(|at| Fault::Kill { node: node(at) }).into(),
        w: Some(1),
        budget: Duration::from_millis(25),
    },
];

/// The node at this place of three, counted around.
fn node(place: usize) -> NodeNumber {
    NodeNumber(place % 3)
}

/// The operation whose gap is measured: one that writes.
pub(super) fn parse_write(name: &str) -> Result<Operation, String> {
    match Operation::from_str(name, false) {
        Ok(operation) if operation.writes() => Ok(operation),
        Ok(_) | Err(_) => Err("allowed are put, update and cart-add".to_owned()),
    }
}

/// Measures with every fault.
pub(super) async fn measure(
    args: &BenchArgs,
    operation: Operation,
    ground: &ProcessGround,
    connection: &Connection,
) -> anyhow::Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    for scenario in &SCENARIOS {
        if !args.json {
            let (name, often) = (operation.name(), args.repetitions);
            say(&format!("write gap, {}, {name}, {often} times …", scenario.name));
        }
        let asker = Asker { args, operation, w: scenario.w, connection };
        let mut seen = Vec::new();
        for repetition in 0..args.repetitions as usize {
            let faults = (scenario.faults)(repetition);
            let once = observe(args, &asker, ground, &faults).await;
            seen.push(once.with_context(|| scenario.name)?);
        }
        gaps.push(Gap::new(scenario, &asker, &seen));
    }
    Ok(gaps)
}

/// One repetition, as it was seen.
struct Seen {
    gap: Duration,
    calm_gap: Duration,
    longest_wait: Duration,
    failed: u64,
    failure: Option<String>,
}

/// Writes, disturbs the nodes meanwhile, mends them and waits until they are as before.
async fn observe(
    args: &BenchArgs,
    asker: &Asker<'_>,
    ground: &ProcessGround,
    faults: &[Fault],
) -> anyhow::Result<Seen> {
    let window = WINDOW.min(Duration::from_secs(args.time));
    let load = Load {
        clients: args.clients as usize,
        rate: args.rate.map(|rate| rate as f64),
        warm_up: SETTLE + window,
        time: window + BEYOND,
    };
    let draws = Draws::new(args, load.clients);
    let (writes, began) = (RefCell::new(Vec::new()), Instant::now());
    let write = |client, _| {
        let ((key, number), writes) = (draws.next(client), &writes);
        async move {
            let asked = began.elapsed();
            let done = asker.operate(key, number).await;
            let ended = began.elapsed();
            writes.borrow_mut().push(Write { asked, ended, acknowledged: done.is_ok() });
            done
        }
    };
    let disturb = async {
        tokio::time::sleep_until((began + load.warm_up).into()).await;
        let from = began.elapsed();
        for (id, fault) in faults.iter().enumerate() {
            if !ground.begin(id, fault).await? {
                bail!("{fault:?} changed nothing");
            }
        }
        tokio::time::sleep_until((began + from + window).into()).await;
        let until = began.elapsed();
        for id in 0..faults.len() {
            ground.end(id).await?;
        }
        anyhow::Ok((from, until))
    };
    let (measured, disturbed) =
        futures::future::join(load::run(&load, write, async || {}), disturb).await;
    let (from, until) = disturbed?;
    ground.ready().await?;
    if let Some(mishap) = ground.mishaps().first() {
        bail!("{mishap}");
    }
    let writes = writes.into_inner();
    let acknowledged: Vec<_> = writes.iter().filter(|w| w.acknowledged).map(|w| w.ended).collect();
    Ok(Seen {
        gap: longest_gap(&acknowledged, from, until),
        calm_gap: longest_gap(&acknowledged, from.saturating_sub(window), from),
        longest_wait: longest_wait(&writes, from, until),
        failed: measured.failed,
        failure: measured.failure,
    })
}

/// One write, in time since the beginning.
#[derive(Clone, Copy)]
struct Write {
    asked: Duration,
    ended: Duration,
    acknowledged: bool,
}

/// The longest stretch without an acknowledgement that has a part between `from` and `until`. One
/// that is under way at `from` counts from its beginning; none counts beyond `until`. `acknowledged`
/// is in order.
fn longest_gap(acknowledged: &[Duration], from: Duration, until: Duration) -> Duration {
    let inside = acknowledged.partition_point(|at| *at <= from);
    let end = acknowledged.partition_point(|at| *at < until);
    let mut last = if inside > 0 { acknowledged[inside - 1] } else { from };
    let mut longest = Duration::ZERO;
    for at in acknowledged[inside..end.max(inside)].iter().chain([&until]) {
        longest = longest.max(at.saturating_sub(last));
        last = *at;
    }
    longest
}

/// The longest that a write took that was under way between `from` and `until`.
fn longest_wait(writes: &[Write], from: Duration, until: Duration) -> Duration {
    let under_way = writes.iter().filter(|write| write.ended >= from && write.asked <= until);
    under_way.map(|write| write.ended.saturating_sub(write.asked)).max().unwrap_or_default()
}

/// The one in the middle; of an even number the longer of the two.
fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Gap {
    fn new(scenario: &Scenario, asker: &Asker<'_>, seen: &[Seen]) -> Self {
        let all = |of: fn(&Seen) -> Duration| seen.iter().map(of).collect::<Vec<_>>();
        let worst = |of| all(of).into_iter().max().unwrap_or_default();
        let gap_worst = worst(|seen| seen.gap);
        Self {
            fault: scenario.name,
            operation: asker.operation.name(),
            clients: asker.args.clients as usize,
            w: scenario.w,
            repetitions: seen.len(),
            gap_median_ms: ms(median(all(|seen| seen.gap))),
            gap_worst_ms: ms(gap_worst),
            calm_gap_median_ms: ms(median(all(|seen| seen.calm_gap))),
            calm_gap_worst_ms: ms(worst(|seen| seen.calm_gap)),
            longest_wait_ms: ms(worst(|seen| seen.longest_wait)),
            failed_count: seen.iter().map(|seen| seen.failed).sum(),
            failure: seen.iter().find_map(|seen| seen.failure.clone()),
            budget_ms: ms(scenario.budget),
            budget_met: gap_worst <= scenario.budget,
        }
    }
}

/// A line a fault.
pub(super) fn lines(gaps: &[Gap]) -> String {
    let mut table = format!(
        "{:<20} {:<9} {:>7} {:>2} {:>5} {:>10} {:>9} {:>10} {:>9} {:>12} {:>9}\n",
        "write gap",
        "",
        "clients",
        "w",
        "times",
        "median ms",
        "worst ms",
        "calm: med.",
        "worst ms",
        "longest wait",
        "budget ms",
    );
    for gap in gaps {
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "{:<20} {:<9} {:>7} {:>2} {:>5} {:>10.1} {:>9.1} {:>10.1} {:>9.1} {:>12.1} {:>5.0} {}",
            gap.fault,
            gap.operation,
            gap.clients,
            gap.w.map_or_else(|| "-".to_owned(), |w| w.to_string()),
            gap.repetitions,
            gap.gap_median_ms,
            gap.gap_worst_ms,
            gap.calm_gap_median_ms,
            gap.calm_gap_worst_ms,
            gap.longest_wait_ms,
            gap.budget_ms,
            if gap.budget_met { "met" } else { "missed" },
        );
        if let Some(failure) = &gap.failure {
            let _ = writeln!(table, "          {} failed: {failure}", gap.failed_count);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Operation, Write, longest_gap, longest_wait, median, parse_write};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The gap between 100 ms and 200 ms.
    fn gap(acknowledged: &[u64]) -> u64 {
        let acknowledged: Vec<_> = acknowledged.iter().copied().map(ms).collect();
        longest_gap(&acknowledged, ms(100), ms(200)).as_millis() as u64
    }

    #[test]
    fn the_gap_is_the_longest_stretch_without_an_acknowledgement() {
        assert_eq!(gap(&[99, 101, 110, 150, 190, 199, 205]), 40);
        assert_eq!(gap(&[100, 120, 121, 122, 199]), 77);
    }

    #[test]
    fn stretches_outside_the_window_do_not_count() {
        assert_eq!(gap(&[1, 99, 130, 160, 190, 201, 900]), 31);
    }

    #[test]
    fn a_stretch_that_the_fault_comes_into_counts_from_its_beginning() {
        assert_eq!(gap(&[50, 130, 160, 190]), 80);
    }

    #[test]
    fn a_gap_without_an_end_lasts_to_the_end_of_the_window() {
        assert_eq!(gap(&[99, 110]), 90);
        assert_eq!(gap(&[99, 110, 900]), 90);
        assert_eq!(gap(&[99]), 101);
        assert_eq!(gap(&[]), 100);
    }

    #[test]
    fn the_longest_wait_is_of_a_write_under_way_in_the_window_acknowledged_or_not() {
        let write =
            |asked, ended, acknowledged| Write { asked: ms(asked), ended: ms(ended), acknowledged };
        let before = write(0, 99, true);
        let (into, failed) = (write(90, 120, true), write(150, 250, false));
        let after = write(201, 900, true);
        assert_eq!(longest_wait(&[before, into, after], ms(100), ms(200)), ms(30));
        assert_eq!(longest_wait(&[before, into, failed, after], ms(100), ms(200)), ms(100));
        assert_eq!(longest_wait(&[before, after], ms(100), ms(200)), Duration::ZERO);
    }

    #[test]
    fn the_median_is_in_the_middle_and_no_shorter() {
        assert_eq!(median(vec![ms(9), ms(1), ms(5)]), ms(5));
        assert_eq!(median(vec![ms(9), ms(1), ms(5), ms(7)]), ms(7));
    }

    #[test]
    fn a_gap_is_measured_of_writes_only() {
        assert_eq!(parse_write("cart-add"), Ok(Operation::CartAdd));
        assert_eq!(parse_write("put"), Ok(Operation::Put));
        assert!(parse_write("get").is_err() && parse_write("").is_err());
    }
}
