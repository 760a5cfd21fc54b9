//! When things happened: the order of the history, and its clock.

use super::results::Availability;

/// A client's event, by its place in the history among clients' events.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moment(u32);

impl Moment {
    /// Later than every event.
    pub(crate) const NEVER: Self = Self(u32::MAX);
}

/// Index and time of each moment.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    events: Vec<(u64, i64)>,
}

impl Timeline {
    /// The next moment.
    pub(crate) fn push(&mut self, index: u64, time: i64) -> Moment {
        let moment = Moment(self.events.len() as u32);
        self.events.push((index, time));
        moment
    }

    /// The event's index in the history; `None` for never.
    pub(crate) fn index(&self, moment: Moment) -> Option<u64> {
        self.events.get(moment.0 as usize).map(|(index, _)| *index)
    }

    /// Nanoseconds from one moment to the other, if both have a time.
    pub(crate) fn between(&self, from: Moment, to: Moment) -> Option<u64> {
        let (_, from) = self.events.get(from.0 as usize)?;
        let (_, to) = self.events.get(to.0 as usize)?;
        (*from >= 0 && *to >= 0).then(|| to.saturating_sub(*from).max(0).unsigned_abs())
    }
}

/// A gap goes on over a pause as long as clients make between operations; not over one in which they are told to rest.
const RESUMED_WITHIN_NS: i64 = 1_000_000_000;

/// Follows the writes: how many were acknowledged, and how long none was while some were attempted.
#[derive(Debug, Default)]
pub(crate) struct WriteGaps {
    attempts: u64,
    acknowledged: u64,
    outstanding: u64,
    /// Since when nothing was acknowledged although a write was attempted.
    waiting_since: Option<i64>,
    /// Since when no write is attempted though the last one was not acknowledged.
    idle_since: Option<i64>,
    last: i64,
    longest: i64,
    timeless: bool,
}

impl WriteGaps {
    pub(crate) fn begin(&mut self, time: i64) {
        self.see(time);
        self.attempts += 1;
        self.outstanding += 1;
        let idle = self.idle_since.take();
        if idle.is_some_and(|idle| time.saturating_sub(idle) > RESUMED_WITHIN_NS) {
            self.waiting_since = None;
        }
        self.waiting_since.get_or_insert(time);
    }

    pub(crate) fn acknowledge(&mut self, time: i64) {
        self.see(time);
        self.acknowledged += 1;
        self.outstanding -= 1;
        self.close(time);
        self.waiting_since = (self.outstanding > 0).then_some(time);
    }

    /// The write failed or its outcome is unknown: the gap goes on, if another one is attempted soon.
    pub(crate) fn give_up(&mut self, time: i64) {
        self.see(time);
        self.outstanding -= 1;
        if self.outstanding == 0 {
            self.close(time);
            self.idle_since = Some(time);
        }
    }

    /// A gap that is open at the end ends with the last event of a write.
    pub(crate) fn finish(mut self) -> Availability {
        self.close(self.last);
        let known = self.attempts > 0 && !self.timeless;
        Availability {
            attempt_count: self.attempts,
            ok_count: self.acknowledged,
            ok_fraction: (self.attempts > 0)
                .then(|| self.acknowledged as f64 / self.attempts as f64),
            longest_gap_ms: known.then(|| self.longest as f64 / 1e6),
        }
    }

    fn see(&mut self, time: i64) {
        self.timeless |= time < 0;
        self.last = self.last.max(time);
    }

    fn close(&mut self, time: i64) {
        if let Some(since) = self.waiting_since {
            self.longest = self.longest.max(time.saturating_sub(since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WriteGaps;

    const MS: i64 = 1_000_000;

    #[test]
    fn a_gap_counts_only_while_writes_are_attempted() {
        let mut gaps = WriteGaps::default();
        gaps.begin(0);
        gaps.acknowledge(2 * MS);
        // Nobody asks for a second; the next write takes 5 ms in two attempts.
        gaps.begin(1_000 * MS);
        gaps.give_up(1_003 * MS);
        gaps.begin(1_004 * MS);
        gaps.acknowledge(1_005 * MS);
        let availability = gaps.finish();
        assert_eq!(availability.longest_gap_ms, Some(5.0));
        assert_eq!((availability.attempt_count, availability.ok_count), (3, 2));
    }

    #[test]
    fn a_gap_does_not_go_on_while_clients_rest() {
        let mut gaps = WriteGaps::default();
        gaps.begin(0);
        gaps.give_up(70 * MS);
        gaps.begin(20_000 * MS);
        gaps.acknowledge(20_004 * MS);
        assert_eq!(gaps.finish().longest_gap_ms, Some(70.0));
    }

    #[test]
    fn a_gap_at_the_end_counts() {
        let mut gaps = WriteGaps::default();
        gaps.begin(0);
        gaps.begin(MS);
        gaps.acknowledge(2 * MS);
        gaps.give_up(50 * MS);
        assert_eq!(gaps.finish().longest_gap_ms, Some(48.0));
    }

    #[test]
    fn without_times_there_is_no_gap() {
        let mut gaps = WriteGaps::default();
        gaps.begin(-1);
        gaps.acknowledge(-1);
        assert_eq!(gaps.finish().longest_gap_ms, None);
    }
}
