//! Load on a cluster and how it is measured.
//!
//! In the *closed* loop every client waits for its answer before it asks again: what is measured is
//! throughput, and latency as such clients see it. In the *open* loop operations are due at a fixed
//! rate whatever the cluster does, and latency counts from when an operation was due, not from when
//! somebody got round to it: a stall is felt by all that were due in it (no coordinated omission).

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use futures::future::join_all;
use hdrhistogram::Histogram;

/// The longest latency that is told apart, in nanoseconds: two minutes.
const LONGEST_NS: u64 = 120_000_000_000;

/// How a cluster is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many operations may be under way.
    pub clients: usize,
    /// Operations due in a second (open loop); `None` for as many as there are answers (closed).
    pub rate: Option<f64>,
    /// How long nothing is measured at the beginning.
    pub warm_up: Duration,
    /// How long it is measured.
    pub time: Duration,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// From the first operation that counts to the last answer.
    pub elapsed: Duration,
    /// Latencies of operations that succeeded, in nanoseconds.
    pub latencies: Histogram<u64>,
    /// Operations that failed, those of the warm-up included.
    pub failed: u64,
    /// Why one of them failed.
    pub failure: Option<String>,
}

impl Measured {
    /// Operations that succeeded in a second.
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that this part of the operations did not exceed, in milliseconds.
    pub fn quantile_ms(&self, part: f64) -> f64 {
        self.latencies.value_at_quantile(part) as f64 / 1e6
    }
}

/// Loads a cluster. `operate` carries out one operation of a client, which was due at that time; `warm` is called when
/// the measurement begins, and goes on beside it.
pub(super) async fn run<F: Future<Output = Result<(), String>>>(
    load: &Load,
    operate: impl Fn(usize, Instant) -> F,
    warm: impl AsyncFnOnce(),
) -> Measured {
    let began = Instant::now();
    let (counted, end) = (began + load.warm_up, began + load.warm_up + load.time);
    let due = Due { began, rate: load.rate, next: Cell::new(0) };
    let (operate, due) = (&operate, &due);
    let clients = (0..load.clients).map(|client| async move {
        let mut own =
            Measured { elapsed: Duration::ZERO, latencies: histogram(), failed: 0, failure: None };
        loop {
            let due = due.next().await;
            if due >= end {
                return own;
            }
            let done = operate(client, due).await;
            let latency = u64::try_from(due.elapsed().as_nanos()).unwrap_or(LONGEST_NS);
            match done {
                Ok(()) if due < counted => {}
                Ok(()) => own.latencies.saturating_record(latency.max(1)),
                Err(error) => {
                    own.failed += 1;
                    own.failure = Some(error);
                }
            }
        }
    });
    let warming = async {
        tokio::time::sleep_until(counted.into()).await;
        warm().await;
    };
    let (measured, ()) = futures::future::join(join_all(clients), warming).await;
    let mut all =
        Measured { elapsed: counted.elapsed(), latencies: histogram(), failed: 0, failure: None };
    for one in measured {
        all.latencies += one.latencies;
        all.failed += one.failed;
        all.failure = all.failure.or(one.failure);
    }
    all
}

/// Says when the next operation is due, whoever does it.
struct Due {
    began: Instant,
    rate: Option<f64>,
    next: Cell<u64>,
}

impl Due {
    async fn next(&self) -> Instant {
        let Some(rate) = self.rate else {
            // Answers that are there at once must not keep the others waiting.
            tokio::task::coop::consume_budget().await;
            return Instant::now();
        };
        let number = self.next.replace(self.next.get() + 1);
        let due = self.began + Duration::from_secs_f64(number as f64 / rate.max(0.001));
        tokio::time::sleep_until(due.into()).await;
        due
    }
}

/// For latencies in nanoseconds.
pub(super) fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LONGEST_NS, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants that fit: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::{Load, run};

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn an_open_loop_counts_the_wait_for_a_stalled_cluster() {
        let load = Load { clients: 1, rate: Some(200.0), warm_up: Duration::ZERO, time: 500 * MS };
        let stalled = Cell::new(false);
        let measured = run(
            &load,
            |_, _| async {
                if !stalled.replace(true) {
                    tokio::time::sleep(300 * MS).await;
                }
                Ok(())
            },
            async || {},
        )
        .await;
        // Sixty operations were due in the stall; a loop that only looks at its own calls sees one.
        let slow = measured.latencies.len() - measured.latencies.count_between(0, 20_000_000);
        assert!(slow > 40, "{slow} of {} felt the stall", measured.latencies.len());
    }

    #[tokio::test]
    async fn a_closed_loop_has_one_operation_a_client() {
        let load = Load { clients: 3, rate: None, warm_up: 20 * MS, time: 1_000 * MS };
        let (under_way, most, warm) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let measured = run(
            &load,
            |client, _| {
                let (under_way, most) = (&under_way, &most);
                async move {
                    under_way.set(under_way.get() + 1);
                    most.set(most.get().max(under_way.get()));
                    tokio::time::sleep(MS).await;
                    under_way.set(under_way.get() - 1);
                    if client == 0 { Err("refused".to_owned()) } else { Ok(()) }
                }
            },
            async || warm.set(warm.get() + 1),
        )
        .await;
        assert_eq!((most.get(), warm.get()), (3, 1));
        assert!(measured.latencies.len() > 4 && measured.failed > 2);
        assert_eq!(measured.failure.as_deref(), Some("refused"));
        assert!(measured.quantile_ms(0.5) >= 1.0);
    }
}
