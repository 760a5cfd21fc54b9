//! Pages: how much background work does in one go, and how long it pauses before the next (paper §6.5).
//!
//! A page is bounded in records, and in bytes because an object may be large. Between two pages foreground requests come in;
//! the more a page moved the longer the pause, so that what is moved is bounded in rate. A driver may make each of these
//! pauses longer while foreground requests suffer: see [`crate::Effect::SetTimer`].

use alloc::vec::Vec;

use crate::{
    env::Env,
    hints,
    key::{Key, Partition, RecordKey},
    record::{Storage, Stored},
    step::Timer,
};

/// A page ends when its objects take about so many bytes.
pub(crate) const PAGE_BYTES: usize = 1 << 18;
/// How many records are read at a time: not much more than fits is read, should they be large.
const READ_AHEAD: usize = 16;

/// What is stored of a partition after a key, or from its start: at most `limit` records are looked at, and those that fit are
/// kept until their objects take [`PAGE_BYTES`]. With it comes the key where the page ends; nothing at the partition's
/// end.
pub(crate) fn scan<S: Storage>(
    storage: &S,
    partition: Partition,
    after: Option<&Key>,
    limit: usize,
    fits: impl Fn(&Key) -> bool,
) -> (Vec<(Key, Stored)>, Option<Key>) {
    let mut last = after.cloned();
    let (mut found, mut bytes, mut left) = (Vec::new(), 0, limit);
    while left > 0 {
        let count = left.min(READ_AHEAD);
        left -= count;
        let start = match last.take() {
            Some(key) => hints::after(RecordKey { partition, key }),
            None => RecordKey::start_of(partition),
        };
        let stored = storage.scan(&start, count);
        let goes_on = stored.len() == count;
        for (RecordKey { partition: place, key }, stored) in stored {
            if place != partition {
                return (found, None);
            }
            last = Some(key.clone());
            if fits(&key) {
                bytes += size(&stored);
                found.push((key, stored));
            }
            if bytes >= PAGE_BYTES {
                return (found, last);
            }
        }
        if !goes_on {
            return (found, None);
        }
    }
    (found, last)
}

/// About how many bytes of an object are stored.
fn size(stored: &Stored) -> usize {
    match stored {
        Stored::Found(record) => record.object.size_hint(),
        Stored::Absent | Stored::Damaged => 0,
    }
}

/// Arms the timer of the next page after one that moved so many bytes: after `least_ms` or longer.
pub(crate) fn pause<S: Storage>(env: &mut Env<'_, S>, timer: Timer, least_ms: u32, bytes: usize) {
    let rate = u64::from(env.config.move_bytes_per_s.max(1));
    let took_ms = bytes as u64 * 1_000 / rate;
    env.rest(timer, least_ms.max(u32::try_from(took_ms).unwrap_or(u32::MAX)));
}
