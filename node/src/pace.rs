//! How fast background work may go, so that it yields to foreground requests (paper §6.5).
//!
//! A node's shards move, compare and mend data in pages, with a pause in between. This is what makes the pauses longer: one
//! feedback controller a node, driven by how long foreground requests take that the node coordinates, and copies that
//! it makes durable for others. Ten times a second it compares that with what is usual and sets an *allowance*,
//! between a floor and 1: pauses are divided by it. See [`controller`](self::controller).
//!
//! It holds for hand-off, catching up, looking for damage, trees, their exchange, and for answers to peers that ask for a page:
//! who answers suffers as much as who asks. On the hot path there are only atomics.

mod controller;
mod latencies;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) use self::controller::Limits;
use self::controller::{Controller, Seen};
use self::latencies::Meter;
use crate::router::Router;

/// How often the allowance is set.
const TICK: Duration = Duration::from_millis(100);
/// No pause gets longer than it was by more than this: background work is part of safety in time.
const LONGEST_MS: u32 = 1_000;
/// The pause after a page that a peer asked for, at half speed.
const PAGE_GAP: Duration = Duration::from_millis(2);
/// The allowance is kept in parts of this.
const WHOLE: u32 = 1 << 16;

/// Foreground work, by what is comparable with each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Foreground {
    /// A client's read, from its arrival to its reply.
    Read,
    /// A client's write.
    Write,
    /// A copy of a write that another node coordinates, from its arrival until it is durable.
    Copy,
}

impl Foreground {
    /// All of them, with their names in figures.
    pub(crate) const ALL: [(Self, &'static str); 3] =
        [(Self::Read, "read"), (Self::Write, "write"), (Self::Copy, "copy")];
}

/// What shards, router and controller share.
pub(crate) struct Pace {
    meters: [Meter; 3],
    /// In parts of [`WHOLE`].
    allowance: AtomicU32,
    /// Pages of background work that were begun.
    pages: AtomicU64,
    /// Those of them whose pause was made longer.
    held: AtomicU64,
    /// For who ticks and who looks.
    controller: Mutex<Controller>,
}

/// What is shown of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// From just above 0 to 1.
    pub(crate) allowance: f64,
    /// By kind, in the order of [`Foreground::ALL`].
    pub(crate) latencies: [Latency; 3],
    /// Pages of background work since the start.
    pub(crate) pages: u64,
    /// Those of them whose pause was made longer.
    pub(crate) held: u64,
}

/// A latency that 95 of 100 stay below: lately, and usually. Zero as long as nothing was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Latency {
    pub(crate) recent_us: f64,
    pub(crate) usual_us: f64,
}

impl Pace {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            meters: Default::default(),
            allowance: AtomicU32::new(WHOLE),
            pages: AtomicU64::new(0),
            held: AtomicU64::new(0),
            controller: Mutex::new(Controller::new(limits)),
        }
    }

    /// Something of the foreground took so long.
    pub(crate) fn observe(&self, kind: Foreground, took: Duration) {
        self.meters[kind as usize].observe(took);
    }

    /// A page of background work is to follow after so many milliseconds: after how many it may.
    pub(crate) fn stretch_ms(&self, after_ms: u32) -> u32 {
        let allowance = self.allowance.load(Ordering::Relaxed);
        self.count_page(allowance);
        let longer = u64::from(after_ms) * u64::from(WHOLE) / u64::from(allowance);
        let most = after_ms.saturating_add(LONGEST_MS);
        u32::try_from(longer).unwrap_or(most).min(most)
    }

    /// The pause after a page that a peer asked for: none at full speed.
    pub(crate) fn rest(&self) -> Duration {
        let allowance = self.allowance.load(Ordering::Relaxed);
        self.count_page(allowance);
        PAGE_GAP * (WHOLE - allowance) / allowance
    }

    fn count_page(&self, allowance: u32) {
        self.pages.fetch_add(1, Ordering::Relaxed);
        if allowance < WHOLE {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One tick; so many requests of clients are under way.
    fn tick(&self, open: usize) {
        let mut controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = self.pages.load(Ordering::Relaxed);
        let seen = Seen { latencies: self.meters.each_ref().map(Meter::take), open, pages };
        let allowance = controller.tick(&seen);
        // Never 0, which is divided by.
        let parts = (allowance * f64::from(WHOLE)).clamp(1.0, f64::from(WHOLE)) as u32;
        self.allowance.store(parts, Ordering::Relaxed);
    }

    /// As if requests suffered as much as they can.
    #[cfg(test)]
    pub(crate) fn slow_down(&self) {
        for _ in 0..100 {
            self.tick(1);
        }
    }

    /// Ticks for as long as it is let to.
    pub(crate) async fn watch(self: Arc<Self>, router: Arc<Router>) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            self.tick(router.open());
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        Figures {
            allowance: controller.allowance(),
            latencies: controller.latencies(),
            pages: self.pages.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { least: 0.02, slowdown: 1.5 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Requests of so many milliseconds for so many ticks.
    fn load(pace: &Pace, took: Duration, ticks: usize) {
        for _ in 0..ticks {
            (0..100).for_each(|_| pace.observe(Foreground::Write, took));
            pace.tick(1);
        }
    }

    #[test]
    fn pauses_get_longer_under_pressure_up_to_a_bound_and_shorter_again() {
        let pace = Pace::new(LIMITS);
        load(&pace, ms(4), 50);
        assert_eq!((pace.stretch_ms(5), pace.rest()), (5, Duration::ZERO));
        assert_eq!(pace.figures().held, 0);
        load(&pace, ms(40), 4);
        let (longer, rest) = (pace.stretch_ms(5), pace.rest());
        assert!((40..=5 * 50).contains(&longer), "{longer} ms");
        assert!((ms(10)..=ms(100)).contains(&rest), "{rest:?}");
        assert_eq!(pace.stretch_ms(500), 500 + LONGEST_MS);
        assert_eq!((pace.figures().held, pace.figures().pages), (3, 5));
        load(&pace, ms(4), 100);
        assert_eq!((pace.stretch_ms(5), pace.rest()), (5, Duration::ZERO));
    }

    #[test]
    fn kinds_are_in_the_order_of_their_numbers() {
        for (number, (kind, _)) in Foreground::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }

    #[test]
    fn figures_show_what_is_recent_and_what_is_usual() {
        let pace = Pace::new(LIMITS);
        assert_eq!(pace.figures().latencies, [Latency::default(); 3]);
        load(&pace, ms(4), 50);
        load(&pace, ms(40), 2);
        let [read, write, _] = pace.figures().latencies;
        assert_eq!(read, Latency::default());
        assert!((36_000.0..46_000.0).contains(&write.recent_us), "{write:?}");
        assert!((3_600.0..8_000.0).contains(&write.usual_us), "{write:?}");
    }
}
