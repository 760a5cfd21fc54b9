//! Latencies counted by size: eight buckets for each doubling, so that one is known to an eighth.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Each doubling is divided into so many.
const STEPS: u32 = 8;
/// The last bucket begins at about 30 s.
const BUCKETS: usize = 184;

/// What any thread adds to.
pub(super) struct Meter([AtomicU32; BUCKETS]);

/// What was taken out of a meter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Counts([u32; BUCKETS]);

impl Default for Meter {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Meter {
    pub(super) fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0[bucket(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since this was last called.
    pub(super) fn take(&self) -> Counts {
        Counts(self.0.each_ref().map(|count| match count.load(Ordering::Relaxed) {
            // Most are: looking is cheaper than taking.
            0 => 0,
            _ => count.swap(0, Ordering::Relaxed),
        }))
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// What so large a share of them stay below, in microseconds; 0 if there are none. It is rounded down: where there
    /// are few, one that is far off says nothing.
    pub(super) fn quantile_us(&self, share: f64) -> f64 {
        let rank = (self.total() as f64 * share) as u64;
        let mut below = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            below += u64::from(*count);
            if below > 0 && below >= rank {
                return begin_us(bucket + 1);
            }
        }
        0.0
    }
}

fn bucket(us: u64) -> usize {
    let doublings = us.max(1).ilog2();
    let bucket = match doublings.checked_sub(STEPS.ilog2()) {
        None => us as usize,
        Some(shift) => (shift * STEPS) as usize + (us >> shift) as usize,
    };
    bucket.min(BUCKETS - 1)
}

/// The least that falls into a bucket.
fn begin_us(bucket: usize) -> f64 {
    let (bucket, steps) = (bucket as u32, STEPS);
    let shift = (bucket / steps).saturating_sub(1);
    (u64::from(bucket - shift * steps) << shift) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_lies_between_its_beginning_and_the_next() {
        for us in (0..5_000).chain((0..40).map(|bit| 1 << bit)).chain([30_000_000, u64::MAX]) {
            let bucket = bucket(us);
            assert!(begin_us(bucket) <= us as f64, "{us} in {bucket}");
            assert!(bucket == BUCKETS - 1 || begin_us(bucket + 1) > us as f64, "{us} in {bucket}");
        }
        assert!(begin_us(BUCKETS - 1) >= 15_000_000.0);
    }

    #[test]
    fn a_quantile_is_known_to_an_eighth() {
        let meter = Meter::default();
        for us in 1..=1_000_u64 {
            meter.observe(Duration::from_micros(us * 10));
        }
        let counts = meter.take();
        assert_eq!(counts.total(), 1_000);
        for (share, us) in [(0.5, 5_000.0), (0.95, 9_500.0), (1.0, 10_000.0)] {
            let found = counts.quantile_us(share);
            assert!((us..=us * 1.126).contains(&found), "{share}: {found}");
        }
        assert_eq!(meter.take(), Counts::default(), "they are taken once");
        assert_eq!(Counts::default().quantile_us(0.5), 0.0);
    }
}
