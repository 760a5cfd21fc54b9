//! What something costs the foreground: latencies while it goes on, beside those of the same load before.
//!
//! Clients ask all the time. Half of the time nothing else happens; then it begins, and what counts is
//! what was asked while it went on, beside what was asked in as much time before it, or in all of that if it went on longer:
//! of two stretches the longer one has the worse moments.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::load::{self, Load};
use super::{Asker, BenchArgs, Draws};

/// How long clients ask before anything is measured.
const SETTLE: Duration = Duration::from_secs(2);
/// What p99.9 may be while something goes on, in times of what it is before.
pub(super) const BUDGET: f64 = 1.5;

/// Latencies before something began and while it went on.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Beside {
    /// Operations in a second before.
    pub idle_per_s: f64,
    /// 999 of 1,000 took no longer, before, in milliseconds.
    pub idle_p999_ms: f64,
    /// Operations in a second while it went on.
    pub during_per_s: f64,
    /// 999 of 1,000 took no longer, while it went on, in milliseconds.
    pub during_p999_ms: f64,
    /// Operations that failed.
    pub failed_count: u64,
    /// Why one of them failed.
    pub failure: Option<String>,
}

/// What went on: from when until when it counts, and what else is known of it.
pub(super) struct Happened<T> {
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) what: T,
}

/// Asks for twice `--time`, has something begin after half of it, and waits until that is over.
pub(super) async fn observe<T>(
    args: &BenchArgs,
    asker: &Asker<'_>,
    draws: &Draws,
    happen: impl Future<Output = anyhow::Result<Happened<T>>>,
) -> anyhow::Result<(Beside, T)> {
    let half = Duration::from_secs(args.time);
    let load = Load {
        clients: args.clients as usize,
        rate: args.rate.map(|rate| rate as f64),
        warm_up: SETTLE,
        time: 2 * half,
    };
    let (asked, began) = (RefCell::new(Vec::new()), Instant::now());
    let ask = |client, due: Instant| {
        let ((key, number), asked) = (draws.next(client), &asked);
        async move {
            let done = asker.operate(key, number).await;
            let (at, took) = (due.saturating_duration_since(began), due.elapsed());
            asked.borrow_mut().push(Asked { at, took, is_ok: done.is_ok() });
            done
        }
    };
    let happens = async {
        tokio::time::sleep_until((began + SETTLE + half).into()).await;
        let from = began.elapsed();
        happen.await.map(|happened| (from, happened))
    };
    let (measured, happened) =
        futures::future::join(load::run(&load, ask, async || {}), happens).await;
    let (idle_until, Happened { from, until, what }) = happened?;
    let asked = asked.into_inner();
    let end = (until - began).min(SETTLE + 2 * half);
    let idle_from = idle_until.saturating_sub(end.saturating_sub(from - began)).max(SETTLE);
    let (idle_per_s, idle_p999_ms) = between(&asked, idle_from, idle_until);
    let (during_per_s, during_p999_ms) = between(&asked, from - began, end);
    let beside = Beside {
        idle_per_s,
        idle_p999_ms,
        during_per_s,
        during_p999_ms,
        failed_count: measured.failed,
        failure: measured.failure,
    };
    Ok((beside, what))
}

/// One operation.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// When it was due, since the load began.
    at: Duration,
    /// How long it took from then on: one that failed would have taken longer.
    took: Duration,
    is_ok: bool,
}

/// Of the operations due in this stretch: how many succeeded a second, and p99.9 of all in milliseconds.
fn between(asked: &[Asked], from: Duration, until: Duration) -> (f64, f64) {
    let mut latencies = load::histogram();
    let mut succeeded = 0_u64;
    for one in asked.iter().filter(|one| (from..until).contains(&one.at)) {
        latencies.saturating_record(one.took.as_nanos() as u64);
        succeeded += u64::from(one.is_ok);
    }
    let per_s = succeeded as f64 / until.saturating_sub(from).as_secs_f64();
    (per_s, latencies.value_at_quantile(0.999) as f64 / 1e6)
}

impl Beside {
    /// p99.9 while it went on in times of p99.9 before; where nothing succeeded meanwhile, more than any number.
    pub fn ratio(&self) -> f64 {
        if self.during_per_s == 0.0 {
            f64::INFINITY
        } else {
            self.during_p999_ms / self.idle_p999_ms
        }
    }
}

/// The ratio in the middle: of an even number the larger of the two.
pub(super) fn median_ratio<'a>(all: impl Iterator<Item = &'a Beside>) -> f64 {
    let mut ratios: Vec<_> = all.map(Beside::ratio).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The last line of a table: the ratio in the middle beside what it may be.
pub(super) fn verdict(ratio_median: f64) -> String {
    let met = if ratio_median <= BUDGET { "met" } else { "missed" };
    format!("median ratio {ratio_median:.2}, budget {BUDGET}: {met}\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Asked, Beside, between, median_ratio, verdict};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn beside(during_p999_ms: f64) -> Beside {
        Beside {
            idle_per_s: 1.0,
            idle_p999_ms: 4.0,
            during_per_s: 1.0,
            during_p999_ms,
            failed_count: 0,
            failure: None,
        }
    }

    #[test]
    fn what_was_asked_in_a_stretch_counts_with_all_of_its_wait() {
        let one = |(at, took, is_ok)| Asked { at: ms(at), took: ms(took), is_ok };
        let asked = [(99, 500, true), (100, 4, true), (1_099, 80, true), (1_100, 900, true)];
        let mut asked = asked.map(one).to_vec();
        let (per_s, p999) = between(&asked, ms(100), ms(1_100));
        assert_eq!(per_s, 2.0);
        assert!((79.9..80.2).contains(&p999), "{p999}");
        asked.push(one((500, 300, false)));
        let (per_s, p999) = between(&asked, ms(100), ms(1_100));
        assert_eq!(per_s, 2.0, "one that fails is none");
        assert!((299.9..300.5).contains(&p999), "and took at least so long: {p999}");
    }

    #[test]
    fn a_stretch_in_which_nothing_succeeds_is_no_budget_met() {
        let nothing = Beside { during_per_s: 0.0, ..beside(0.0) };
        assert!(verdict(median_ratio([nothing].iter())).ends_with(": missed\n"));
    }

    #[test]
    fn the_ratio_is_to_the_time_before_and_the_one_in_the_middle_is_judged() {
        let all = [beside(6.0), beside(40.0), beside(2.0)];
        assert_eq!(median_ratio(all.iter()), 1.5);
        assert!(verdict(1.5).ends_with(": met\n"));
        assert!(verdict(1.51).ends_with(": missed\n"));
    }
}
