//! The rule by which background work yields. It has no clock: it is told what was seen in each tick.
//!
//! * Latencies of one kind are gathered in a window until they are enough to judge, or a second has passed. Above
//!   `slowdown` times what is usual the allowance is halved at once, else it grows by a small step (additive increase,
//!   multiplicative decrease, as TCP shares a link).
//! * What is *usual* follows what is recent, slowly. As what background work does to requests must not come to pass for
//!   usual, it rises only while that work is held back to its floor or there was none: what requests take then is their
//!   own.
//! * Nothing asked and nothing under way: full speed. Requests under way and none answered: the worst case.

use super::latencies::Counts;
use super::{Foreground, Latency};

/// What is judged is what so large a share of the requests stay below.
const SHARE: f64 = 0.95;
/// So many are enough to judge.
const ENOUGH: u64 = 64;
/// After so many ticks fewer must do.
const WINDOW_TICKS: u32 = 10;
/// So many ticks without an answer are a stall if requests are under way, and else after [`WINDOW_TICKS`] idle.
const STALL_TICKS: u32 = 3;
/// A difference of so many microseconds is none.
const SLACK_US: f64 = 500.0;
/// What a good window adds to the allowance.
const INCREASE: f64 = 0.02;
/// What is left of it after a bad one.
const DECREASE: f64 = 0.5;
/// How much of the difference to what is recent a window takes away, when what is usual follows.
const FOLLOW: f64 = 1.0 / 32.0;
/// The same, upwards while background work may be the reason: so little that it takes minutes.
const CREEP: f64 = 1.0 / 2_048.0;

/// What may be configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// The floor of the allowance: above 0, at most 1.
    pub(crate) least: f64,
    /// Requests may take so many times what is usual.
    pub(crate) slowdown: f64,
}

/// What happened in a tick.
pub(super) struct Seen {
    /// By kind, in the order of [`Foreground::ALL`].
    pub(super) latencies: [Counts; 3],
    /// Clients' requests under way at its end.
    pub(super) open: usize,
    /// Pages of background work, all that ever were.
    pub(super) pages: u64,
}

#[derive(Debug)]
pub(super) struct Controller {
    limits: Limits,
    allowance: f64,
    kinds: [Kind; 3],
    /// Ticks in a row in which nothing was answered.
    quiet_ticks: u32,
}

/// One kind of foreground work.
#[derive(Debug, Default)]
struct Kind {
    window: Counts,
    ticks: u32,
    /// Pages there had been when the last window was judged.
    pages: u64,
    recent_us: f64,
    usual_us: Option<f64>,
}

impl Controller {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, allowance: 1.0, kinds: Default::default(), quiet_ticks: 0 }
    }

    pub(super) fn allowance(&self) -> f64 {
        self.allowance
    }

    pub(super) fn latencies(&self) -> [Latency; Foreground::ALL.len()] {
        self.kinds.each_ref().map(|kind| Latency {
            recent_us: kind.recent_us,
            usual_us: kind.usual_us.unwrap_or(0.0),
        })
    }

    /// A tick has passed; gives the allowance from now on.
    pub(super) fn tick(&mut self, seen: &Seen) -> f64 {
        let (limits, allowance) = (self.limits, self.allowance);
        let kinds = self.kinds.iter_mut().zip(&seen.latencies);
        let judged = kinds.filter_map(|(kind, counts)| {
            kind.gather(counts).then(|| kind.judge(limits, allowance, seen.pages))
        });
        // All windows that are full are judged, and the worst counts.
        let is_good = judged.fold(None, |all, one| Some(all.unwrap_or(true) & one));
        let answered = seen.latencies.iter().any(|counts| counts.total() > 0);
        self.quiet_ticks = if answered { 0 } else { self.quiet_ticks.saturating_add(1) };
        let is_stalled = seen.open > 0 && self.quiet_ticks >= STALL_TICKS;
        if seen.open == 0 && self.quiet_ticks >= WINDOW_TICKS {
            self.allowance = 1.0;
        } else if is_stalled || is_good == Some(false) {
            self.allowance = (allowance * DECREASE).max(limits.least);
        } else if is_good == Some(true) {
            self.allowance = (allowance + INCREASE).min(1.0);
        }
        self.allowance
    }
}

impl Kind {
    /// Adds what was seen; says whether the window is to be judged.
    fn gather(&mut self, counts: &Counts) -> bool {
        if self.window.total() == 0 {
            self.ticks = 0;
        }
        self.window.add(counts);
        self.ticks += 1;
        let total = self.window.total();
        total >= ENOUGH || (total > 0 && self.ticks >= WINDOW_TICKS)
    }

    /// Whether what was gathered is within the limits; a new window begins.
    fn judge(&mut self, limits: Limits, allowance: f64, pages: u64) -> bool {
        let recent = std::mem::take(&mut self.window).quantile_us(SHARE);
        let had_pages = std::mem::replace(&mut self.pages, pages) != pages;
        self.recent_us = recent;
        let usual = *self.usual_us.get_or_insert(recent);
        let is_good = recent <= usual * limits.slowdown + SLACK_US;
        let is_held_back = !had_pages || allowance <= 2.0 * limits.least;
        let follow = if recent <= usual || is_held_back { FOLLOW } else { CREEP };
        // One window that is far off says no more than one that is twice the usual.
        self.usual_us = Some(usual + (recent.min(2.0 * usual) - usual) * follow);
        is_good
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::super::latencies::Meter;
    use super::*;

    const LIMITS: Limits = Limits { least: 0.02, slowdown: 1.5 };

    /// A controller, and background work that does so many pages a tick at full speed.
    struct Node {
        controller: Controller,
        rng: StdRng,
        pages_per_tick: f64,
        pages: f64,
    }

    impl Node {
        fn new(limits: Limits, pages_per_tick: f64) -> Self {
            let controller = Controller::new(limits);
            Self { controller, rng: StdRng::seed_from_u64(7), pages_per_tick, pages: 0.0 }
        }

        /// A tick in which so many writes took about so long, some of them three times that.
        fn tick(&mut self, count: u32, ms: f64) -> f64 {
            let meter = Meter::default();
            for _ in 0..count {
                let noise = self.rng.random_range(0.7..1.3);
                let long = if self.rng.random_ratio(1, 50) { 3.0 } else { 1.0 };
                meter.observe(Duration::from_secs_f64(ms * noise * long / 1_000.0));
            }
            let open = usize::from(count > 0);
            self.seen([Counts::default(), meter.take(), Counts::default()], open)
        }

        fn seen(&mut self, latencies: [Counts; 3], open: usize) -> f64 {
            self.pages += self.pages_per_tick * self.controller.allowance();
            self.controller.tick(&Seen { latencies, open, pages: self.pages as u64 })
        }

        /// The mean allowance in so many ticks.
        fn mean(&mut self, ticks: u32, count: u32, ms: f64) -> f64 {
            (0..ticks).map(|_| self.tick(count, ms)).sum::<f64>() / f64::from(ticks)
        }
    }

    #[test]
    fn steady_latencies_leave_it_at_full_speed() {
        for count in [1, 10, 100, 1_000] {
            let mut node = Node::new(LIMITS, 20.0);
            let mean = node.mean(2_000, count, 4.0);
            assert!(mean > 0.8, "{mean} with {count} a tick");
        }
    }

    #[test]
    fn it_falls_when_latencies_rise_and_recovers_when_they_are_back() {
        let mut node = Node::new(LIMITS, 20.0);
        node.mean(100, 100, 4.0);
        let mut before = node.controller.allowance();
        for _ in 0..4 {
            let now = node.tick(100, 40.0);
            assert!(now <= before * DECREASE + 1e-9, "{now} after {before}");
            before = now;
        }
        node.mean(80, 100, 4.0);
        assert_eq!(node.controller.allowance(), 1.0);
    }

    #[test]
    fn a_few_slow_requests_are_no_reason() {
        let mut node = Node::new(LIMITS, 20.0);
        node.mean(100, 100, 4.0);
        let meter = Meter::default();
        (0..97).for_each(|_| meter.observe(Duration::from_millis(4)));
        (0..3).for_each(|_| meter.observe(Duration::from_secs(1)));
        assert_eq!(node.seen([Counts::default(), meter.take(), Counts::default()], 1), 1.0);
    }

    #[test]
    fn it_stays_within_its_bounds_whatever_happens() {
        for seed in 0..20 {
            let mut node = Node::new(LIMITS, 20.0);
            let mut rng = StdRng::seed_from_u64(seed);
            for _ in 0..5_000 {
                let count = if rng.random_ratio(1, 3) { 0 } else { rng.random_range(0..200) };
                let allowance = match rng.random_range(0..10) {
                    0 => node.seen(Default::default(), 5),
                    _ => node.tick(count, rng.random_range(0.0_f64..12.0).exp2()),
                };
                assert!((LIMITS.least..=1.0).contains(&allowance), "{allowance}, seed {seed}");
            }
        }
    }

    #[test]
    fn it_goes_at_full_speed_as_soon_as_nobody_asks() {
        let mut node = Node::new(LIMITS, 20.0);
        node.mean(100, 100, 4.0);
        node.mean(10, 100, 100.0);
        assert!(node.controller.allowance() < 0.1);
        for _ in 0..WINDOW_TICKS {
            node.tick(0, 0.0);
        }
        assert_eq!(node.controller.allowance(), 1.0);
    }

    #[test]
    fn requests_that_are_not_answered_are_the_worst_case() {
        let mut node = Node::new(LIMITS, 20.0);
        node.mean(100, 100, 4.0);
        for _ in 0..10 {
            node.seen(Default::default(), 64);
        }
        assert!(node.controller.allowance() < 0.05, "{}", node.controller.allowance());
    }

    #[test]
    fn the_worst_kind_counts() {
        let mut node = Node::new(LIMITS, 20.0);
        let both = |read_ms, copy_ms| {
            [read_ms, 0, copy_ms].map(|ms| {
                let meter = Meter::default();
                (0..100).for_each(|_| meter.observe(Duration::from_millis(ms)));
                meter.take()
            })
        };
        for _ in 0..100 {
            node.seen(both(1, 5), 1);
        }
        assert_eq!(node.controller.allowance(), 1.0);
        assert!(node.seen(both(1, 50), 1) < 1.0);
    }

    #[test]
    fn what_background_work_does_to_requests_does_not_come_to_pass_for_usual() {
        let mut node = Node::new(LIMITS, 20.0);
        node.mean(100, 100, 4.0);
        let mut sum = 0.0;
        for _ in 0..600 {
            // At full speed it makes requests ten times as slow.
            let allowance = node.controller.allowance();
            sum += allowance;
            node.tick(100, 4.0 * (1.0 + 9.0 * allowance));
        }
        let [_, Latency { usual_us, .. }, _] = node.controller.latencies();
        assert!((3_000.0..9_000.0).contains(&usual_us), "{usual_us}");
        let mean = sum / 600.0;
        assert!((0.02..0.2).contains(&mean), "{mean}");
    }

    #[test]
    fn what_requests_take_by_themselves_becomes_usual() {
        let mut node = Node::new(LIMITS, 20.0);
        node.mean(100, 100, 4.0);
        assert!(node.mean(50, 100, 20.0) < 0.15);
        node.mean(300, 100, 20.0);
        let mean = node.mean(2_000, 100, 20.0);
        assert!(mean > 0.8, "{mean}");
    }

    #[test]
    fn with_a_floor_of_one_it_never_yields() {
        let mut node = Node::new(Limits { least: 1.0, ..LIMITS }, 20.0);
        node.mean(100, 100, 4.0);
        assert_eq!(node.mean(100, 100, 400.0), 1.0);
    }
}
