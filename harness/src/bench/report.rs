//! What a benchmark prints.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::gap::Gap;
use super::join::Joins;
use super::load::Measured;
use super::repair::Repairs;
use super::restart::Restarts;
use super::{BenchArgs, Spread};

/// All measurements of one run, and what they were made with.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The nodes of a cluster of its own; `None` for one that ran already.
    pub nodes: Option<u16>,
    /// How many keys.
    pub keys: u64,
    /// `uniform` or `zipf`.
    pub spread: &'static str,
    /// The length of values.
    pub value_bytes: u64,
    /// Processors of this machine, which clients and nodes share.
    pub processors: usize,
    /// One a measurement.
    pub rows: Vec<Row>,
    /// One a fault, if the write gap was measured.
    pub gaps: Vec<Gap>,
    /// If joins were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joins: Option<Joins>,
    /// If restarts were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Restarts>,
    /// If repairs were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repairs: Option<Repairs>,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// What was done.
    pub operation: &'static str,
    /// By how many at the same time.
    pub clients: usize,
    /// How many were due in a second (open loop).
    pub rate: Option<u64>,
    /// How many succeeded in a second.
    pub per_s: f64,
    /// How many succeeded.
    pub ok_count: u64,
    /// How many did not, those of the warm-up included.
    pub failed_count: u64,
    /// Why one of them did not.
    pub failure: Option<String>,
    /// Half took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// 999 of 1,000 took no longer.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Processor time of all nodes together for one operation, in microseconds; `None` where the
    /// nodes are not ours to look at.
    pub server_cpu_us: Option<f64>,
    /// Messages that the nodes sent each other for one operation, what they sent in the background included; `None`
    /// where a node could not be asked or was restarted.
    pub messages: Option<f64>,
    /// Appends in a second to a raw log on the same disk by as many writers, for writes.
    pub raw_log_per_s: Option<f64>,
}

impl Report {
    /// With nothing measured yet.
    pub(super) fn new(args: &BenchArgs) -> Self {
        Self {
            nodes: args.against.is_none().then_some(args.nodes),
            keys: args.keys,
            spread: match args.spread {
                Spread::Uniform => "uniform",
                Spread::Zipf => "zipf",
            },
            value_bytes: args.value_bytes,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            rows: Vec::new(),
            gaps: Vec::new(),
            joins: None,
            restarts: None,
            repairs: None,
        }
    }

    /// A line a measurement.
    pub fn table(&self) -> String {
        let joins = self.joins.as_ref().map(Joins::lines);
        let restarts = self.restarts.as_ref().map(Restarts::lines);
        let repairs = self.repairs.as_ref().map(Repairs::lines);
        let mut table = joins.or(restarts).or(repairs).unwrap_or_else(|| {
            if self.gaps.is_empty() { self.row_lines() } else { super::gap::lines(&self.gaps) }
        });
        let nodes = self.nodes.map_or("a running cluster".to_owned(), |n| format!("{n} nodes"));
        // Writing to a string cannot fail.
        let _ = write!(
            table,
            "{nodes}, {} {} keys, values of {} bytes; clients and nodes share {} processors",
            self.keys, self.spread, self.value_bytes, self.processors
        );
        table
    }

    fn row_lines(&self) -> String {
        let mut table = format!(
            "{:<9} {:>7} {:>9} {:>8} {:>8} {:>8} {:>8} {:>10} {:>8} {:>9} {:>9}\n",
            "",
            "clients",
            "ops/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "max ms",
            "CPU µs/op",
            "msgs/op",
            "raw log",
            "× raw log",
        );
        for row in &self.rows {
            let cell = |value: Option<f64>, digits: usize| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let ratio = row.raw_log_per_s.map(|raw| row.per_s / raw);
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "{:<9} {:>7} {:>9.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>10} {:>8} {:>9} {:>9}",
                row.operation,
                row.clients,
                row.per_s,
                row.p50_ms,
                row.p99_ms,
                row.p999_ms,
                row.max_ms,
                cell(row.server_cpu_us, 1),
                cell(row.messages, 2),
                cell(row.raw_log_per_s, 0),
                cell(ratio, 2),
            );
            if let Some(failure) = &row.failure {
                let _ = writeln!(table, "          {} failed: {failure}", row.failed_count);
            }
        }
        table
    }
}

impl Row {
    pub(super) fn new(
        operation: &'static str,
        clients: usize,
        rate: Option<u64>,
        measured: &Measured,
        (cpu, messages): (Option<Duration>, Option<u64>),
    ) -> Self {
        let ok_count = measured.latencies.len();
        let for_one = |cpu: Duration| cpu.as_secs_f64() * 1e6 / ok_count.max(1) as f64;
        Self {
            operation,
            clients,
            rate,
            per_s: measured.per_second(),
            ok_count,
            failed_count: measured.failed,
            failure: measured.failure.clone(),
            p50_ms: measured.quantile_ms(0.5),
            p99_ms: measured.quantile_ms(0.99),
            p999_ms: measured.quantile_ms(0.999),
            max_ms: measured.latencies.max() as f64 / 1e6,
            server_cpu_us: cpu.map(for_one),
            messages: messages.map(|sent| sent as f64 / ok_count.max(1) as f64),
            raw_log_per_s: None,
        }
    }
}

/// Processor time that these processes have used so far, user and system together; `None` if there
/// are none or the system does not tell.
pub(super) fn cpu_time(pids: &[u32]) -> Option<Duration> {
    let per_second = rustix::param::clock_ticks_per_second();
    let mut ticks = 0;
    for pid in pids {
        ticks += cpu_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    }
    let time = Duration::from_secs_f64(ticks as f64 / per_second.max(1) as f64);
    (!pids.is_empty()).then_some(time)
}

/// The fields utime and stime of a line of `/proc/PID/stat`. The program's name, which may hold
/// anything, ends with the last closing parenthesis.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{cpu_ticks, cpu_time};

    #[test]
    fn the_processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (sh) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn work_takes_processor_time() {
        let before = cpu_time(&[std::process::id()]).expect("our own");
        let began = Instant::now();
        while cpu_time(&[std::process::id()]).expect("our own") <= before {
            assert!(began.elapsed() < Duration::from_secs(60), "no time passes");
        }
        assert_eq!(cpu_time(&[]), None);
    }
}
