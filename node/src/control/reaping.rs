//! Runs of reap rounds (T1): begun by an operator or by the node's schedule, one shard after the other.
//!
//! Shards of one node would end each other's rounds, since each round is a view of its own; so do nodes. A schedule
//! therefore waits while the views change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use cartwheel_client::reaping::{Freed, ReapEnd, ReapError, ReapSeen, made_before};
use cartwheel_protocol::id::AddId;
use metrics::{Counter, counter};

use crate::shard::ShardStatus;

/// A scheduled run waits until the view has not changed for so long: another node's rounds may be under way.
const CALM: Duration = Duration::from_secs(2);
/// A scheduled run that came to nothing, because a node was away or the layout changed, is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// When the node reaps by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// The time from one run to the next.
    pub(crate) every: Duration,
    /// How old cancelled additions are that may go.
    pub(crate) older_than: Duration,
}

/// The node's runs.
pub(crate) struct Reaping {
    /// Of each shard.
    shards: Vec<Arc<ShardStatus>>,
    schedule: Option<Schedule>,
    next: Option<Instant>,
    run: Option<Run>,
    begun: u64,
    /// Of the present run, or of the last one.
    rounds: u64,
    given_up: u64,
    end: Option<ReapEnd>,
    counters: [Counter; 2],
}

/// A run under way.
struct Run {
    up_to: Option<AddId>,
    /// The shard whose turn it is.
    shard: u16,
    is_scheduled: bool,
}

/// What a shard is to do: reap, up to this add_id.
pub(super) type Order = (u16, Option<AddId>);

impl Reaping {
    pub(crate) fn new(shards: Vec<Arc<ShardStatus>>, schedule: Option<Schedule>) -> Self {
        // Nodes that start together do not reap together.
        let first = |schedule: Schedule| schedule.every.mul_f64(rand::random_range(0.5..1.0));
        let counters =
            [counter!("cartwheel_reap_rounds_total"), counter!("cartwheel_reap_given_up_total")];
        Self {
            shards,
            schedule,
            next: schedule.map(|schedule| Instant::now() + first(schedule)),
            run: None,
            begun: 0,
            rounds: 0,
            given_up: 0,
            end: None,
            counters,
        }
    }

    /// When to look at the schedule.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a run is under way.
    pub(super) fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// An operator wants a run.
    pub(super) fn begin(&mut self, up_to: Option<AddId>) -> Result<Order, ReapError> {
        if self.run.is_some() { Err(ReapError::UnderWay) } else { Ok(self.start(up_to, false)) }
    }

    /// Begins what the schedule says, if it is time.
    pub(super) fn fire(&mut self, now: Instant, changed: Instant, may: bool) -> Option<Order> {
        let schedule = self.schedule.filter(|_| self.next.is_some_and(|at| at <= now))?;
        if self.run.is_some() || !may {
            self.next = Some(now + AGAIN.min(schedule.every));
            return None;
        }
        if now.duration_since(changed) < CALM {
            self.next = Some(changed + CALM.mul_f64(rand::random_range(1.0..3.0)));
            return None;
        }
        self.next = Some(now + schedule.every);
        Some(self.start(Some(made_before(SystemTime::now(), schedule.older_than)), true))
    }

    fn start(&mut self, up_to: Option<AddId>, is_scheduled: bool) -> Order {
        (self.rounds, self.given_up, self.end) = (0, 0, None);
        self.begun += 1;
        self.run = Some(Run { up_to, shard: 0, is_scheduled });
        tracing::info!(run = self.begun, is_scheduled, "a run of reap rounds begins");
        (0, up_to)
    }

    /// A shard has ended its part: the next one's turn, if all is well.
    pub(super) fn ended(
        &mut self,
        shard: u16,
        end: ReapEnd,
        (rounds, given_up): (u32, u32),
    ) -> Option<Order> {
        let run = self.run.as_mut().filter(|run| run.shard == shard)?;
        self.rounds += u64::from(rounds);
        self.given_up += u64::from(given_up);
        let [all, came_to_nothing] = &self.counters;
        all.increment(rounds.into());
        came_to_nothing.increment(given_up.into());
        if end == ReapEnd::Done && usize::from(shard) + 1 < self.shards.len() {
            run.shard += 1;
            return Some((run.shard, run.up_to));
        }
        if let Some(schedule) = self.schedule.filter(|_| run.is_scheduled && end != ReapEnd::Done) {
            self.next = Some(Instant::now() + AGAIN.min(schedule.every));
        }
        (self.run, self.end) = (None, Some(end));
        let (rounds, given_up) = (self.rounds, self.given_up);
        tracing::info!(run = self.begun, %end, rounds, given_up, "a run of reap rounds is over");
        None
    }

    /// What others are shown.
    pub(super) fn seen(&self) -> ReapSeen {
        let freed = self.shards.iter().map(|shard| shard.freed.seen());
        ReapSeen {
            runs: self.begun,
            permille: self.run.as_ref().map(|run| self.permille(run.shard)),
            rounds: self.rounds,
            given_up: self.given_up,
            end: self.end,
            freed: freed.fold(Freed::default(), Freed::and),
        }
    }

    fn permille(&self, shard: u16) -> u32 {
        let within =
            self.shards.get(usize::from(shard)).map_or(0, |at| at.reaps_at.load(Ordering::Relaxed));
        (u32::from(shard) * 1_000 + within.min(1_000)) / (self.shards.len() as u32).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(600);

    fn reaping(shards: usize, schedule: Option<Schedule>) -> Reaping {
        Reaping::new((0..shards).map(|_| Arc::default()).collect(), schedule)
    }

    #[test]
    fn a_run_goes_from_shard_to_shard_and_ends_with_the_last() {
        let mut reaping = reaping(2, None);
        let up_to = Some(AddId(7));
        assert_eq!(reaping.begin(up_to), Ok((0, up_to)));
        assert_eq!(reaping.begin(None), Err(ReapError::UnderWay));
        assert_eq!(reaping.ended(0, ReapEnd::Done, (2, 0)), Some((1, up_to)));
        assert_eq!(reaping.seen().permille, Some(500));
        assert_eq!(reaping.ended(1, ReapEnd::Done, (1, 1)), None);
        let seen = reaping.seen();
        assert_eq!((seen.permille, seen.end), (None, Some(ReapEnd::Done)));
        assert_eq!((seen.runs, seen.rounds, seen.given_up), (1, 3, 1));
    }

    #[test]
    fn a_node_that_is_away_ends_it_and_a_new_run_begins_from_nothing() {
        let mut reaping = reaping(2, None);
        assert!(reaping.begin(None).is_ok());
        assert_eq!(reaping.ended(0, ReapEnd::Away(3), (4, 0)), None);
        assert_eq!(reaping.seen().end, Some(ReapEnd::Away(3)));
        assert!(reaping.begin(None).is_ok());
        assert_eq!((reaping.seen().end, reaping.seen().rounds), (None, 0));
    }

    #[test]
    fn a_schedule_waits_for_calm_and_comes_again() {
        let older_than = Duration::from_secs(60);
        let mut reaping = reaping(1, Some(Schedule { every: EVERY, older_than }));
        let now = Instant::now();
        let due = reaping.next().expect("there is a schedule");
        assert!(due >= now + EVERY / 2 && due <= now + EVERY);
        assert_eq!(reaping.fire(due - CALM, now, true), None, "it is not time");
        assert_eq!(reaping.fire(due, due, true), None, "the view has just changed");
        let calm = reaping.next().expect("it waits");
        let (shard, up_to) = reaping.fire(calm, due, true).expect("it is calm");
        assert!(shard == 0 && up_to.is_some());
        assert_eq!(reaping.next(), Some(calm + EVERY));
        assert_eq!(reaping.ended(0, ReapEnd::Changing, (0, 0)), None);
        let again = reaping.next().expect("it is tried again");
        assert!(again < now + EVERY, "before its time");
        assert_eq!(reaping.fire(again, due, false), None, "the node may not now");
        assert!(reaping.next() > Some(again));
    }
}
