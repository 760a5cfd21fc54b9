//! The named timers of one shard.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use cartwheel_protocol::Timer;

/// Timers that are set, by name and by time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: HashMap<Timer, Instant>,
    queue: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Sets a timer, again if it is set.
    pub(crate) fn set(&mut self, now: Instant, timer: Timer, after_ms: u32) {
        let at = now + Duration::from_millis(after_ms.into());
        if let Some(before) = self.at.insert(timer, at) {
            self.queue.remove(&(before, timer));
        }
        self.queue.insert((at, timer));
    }

    /// Forgets a timer if it is set.
    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    /// When the next one fires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The timers that are due at `until`, earliest first. Each is still set: see [`Timers::take`].
    pub(crate) fn due(&self, until: Instant) -> Vec<(Instant, Timer)> {
        self.queue.iter().take_while(|(at, _)| *at <= until).copied().collect()
    }

    /// Takes a timer if it is still set to that time: neither cancelled nor set again since.
    pub(crate) fn take(&mut self, (at, timer): (Instant, Timer)) -> Option<Timer> {
        self.queue.remove(&(at, timer)).then(|| {
            self.at.remove(&timer);
            timer
        })
    }
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::id::{Incarnation, RequestId};

    use super::*;

    fn deadline(number: u64) -> Timer {
        let run = Incarnation(1);
        Timer::Deadline(RequestId { coordinator: run, caller: run, number })
    }

    fn due(timers: &mut Timers, until: Instant) -> Vec<Timer> {
        timers.due(until).into_iter().filter_map(|due| timers.take(due)).collect()
    }

    #[test]
    fn timers_fire_in_order_when_they_are_due() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        timers.set(now, deadline(1), 30);
        timers.set(now, deadline(2), 10);
        timers.set(now, Timer::Handoff, 20);
        assert_eq!(timers.next(), Some(now + Duration::from_millis(10)));
        let later = now + Duration::from_millis(20);
        assert_eq!(due(&mut timers, later), [deadline(2), Timer::Handoff]);
        assert_eq!(timers.next(), Some(now + Duration::from_millis(30)));
    }

    #[test]
    fn a_timer_set_again_fires_once_at_the_later_time() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        timers.set(now, deadline(1), 10);
        timers.set(now, deadline(1), 50);
        assert_eq!(due(&mut timers, now + Duration::from_millis(49)), []);
        assert_eq!(due(&mut timers, now + Duration::from_millis(50)), [deadline(1)]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cancelled_timer_does_not_fire() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        timers.set(now, deadline(1), 10);
        timers.cancel(deadline(1));
        timers.cancel(deadline(2));
        assert_eq!(due(&mut timers, now + Duration::from_secs(1)), []);
    }

    #[test]
    fn what_is_cancelled_or_set_again_after_it_was_due_is_not_taken() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        timers.set(now, deadline(1), 10);
        timers.set(now, deadline(2), 20);
        timers.set(now, Timer::Handoff, 30);
        let later = now + Duration::from_secs(1);
        let due = timers.due(later);
        assert_eq!(due.len(), 3);
        timers.cancel(deadline(1));
        timers.set(later, deadline(2), 10);
        let taken: Vec<Timer> = due.into_iter().filter_map(|due| timers.take(due)).collect();
        assert_eq!(taken, [Timer::Handoff]);
        assert_eq!(timers.next(), Some(later + Duration::from_millis(10)));
    }

    #[test]
    fn zero_is_due_at_once() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        timers.set(now, Timer::Handoff, 0);
        assert_eq!(due(&mut timers, now), [Timer::Handoff]);
    }
}
