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
/// How many records are read at a time, at first and at most: not much more than fits is read, should they be large.
const READ_AHEAD: (usize, usize) = (4, 16);

/// A page of what is stored.
pub(crate) struct Page {
    pub(crate) records: Vec<(RecordKey, Stored)>,
    /// Where the page ends; nothing at the end of what is looked for.
    pub(crate) last: Option<RecordKey>,
}

/// What becomes of a record that is looked at.
enum Look {
    Keep,
    PassOver,
}

/// What is stored from a place on: at most `limit` records.
pub(crate) fn read<S: Storage>(storage: &S, from: RecordKey, limit: usize) -> Page {
    gather(storage, from, None, limit, |_| Look::Keep)
}

/// What is stored of a partition after a key, or from its start: at most `limit` records are looked at, and those that fit
/// are kept. With it comes the key where the page ends; nothing at the partition's end.
pub(crate) fn scan<S: Storage>(
    storage: &S,
    partition: Partition,
    after: Option<&Key>,
    limit: usize,
    fits: impl Fn(&Key) -> bool,
) -> (Vec<(Key, Stored)>, Option<Key>) {
    let from = match after {
        Some(key) => hints::after(RecordKey { partition, key: key.clone() }),
        None => RecordKey::start_of(partition),
    };
    let until = Some(Partition(partition.0 + 1));
    let page = gather(storage, from, until, limit, |place| {
        if fits(&place.key) { Look::Keep } else { Look::PassOver }
    });
    let records = page.records.into_iter().map(|(place, stored)| (place.key, stored));
    (records.collect(), page.last.map(|place| place.key))
}

/// Looks at no more than `limit` records, until their objects take [`PAGE_BYTES`], and keeps some.
fn gather<S: Storage>(
    storage: &S,
    from: RecordKey,
    until: Option<Partition>,
    limit: usize,
    look: impl Fn(&RecordKey) -> Look,
) -> Page {
    let (mut records, mut bytes, mut left, mut from) = (Vec::new(), 0, limit, from);
    loop {
        let (least, most) = READ_AHEAD;
        let count = left.min((limit - left).clamp(least, most));
        left -= count;
        let stored = storage.scan(&from, until, count);
        let mut last = None;
        let goes_on = stored.len() == count;
        for (place, stored) in stored {
            match look(&place) {
                Look::PassOver => {
                    last = Some(place);
                    bytes += size_of(&stored);
                }
                Look::Keep => {
                    last = Some(place.clone());
                    bytes += size_of(&stored);
                    records.push((place, stored));
                }
            }
            if bytes >= PAGE_BYTES {
                return Page { records, last };
            }
        }
        match last.filter(|_| goes_on) {
            Some(last) if left > 0 => from = hints::after(last),
            last => return Page { records, last },
        }
    }
}

/// About how many bytes of an object are stored.
pub(crate) fn size_of(stored: &Stored) -> usize {
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

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, format, vec};

    use super::*;
    use crate::{
        bucket::{Bucket, Kind},
        id::{Incarnation, PutId},
        object::{Merging, Object, Value},
        record::Record,
        rules::Rules,
        version::{Actor, Dot, VersionVector},
    };

    const KEYS: usize = 40;

    /// Keys of two partitions, all but one in the first, each with a value of so many bytes.
    fn stored(bytes: usize) -> BTreeMap<RecordKey, Record> {
        let built_in = Bucket::built_in();
        let bucket = built_in.iter().find(|bucket| bucket.kind == Kind::Register);
        let bucket = bucket.expect("there is one");
        let record = |number: usize| {
            let dot = Dot { actor: Actor { incarnation: Incarnation(1), n: 1 }, counter: 1 };
            let value = Value { put_id: PutId(1), time_us: 0, bytes: vec![7; bytes].into() };
            let merging = Merging::of(bucket, Rules::sound());
            let object = Object::new().put(merging, &VersionVector::default(), dot, value);
            let key = Key::new(bucket.name.clone(), format!("k{number:02}").as_bytes());
            let partition = Partition(u32::from(number + 1 == KEYS));
            (RecordKey { partition, key }, Record { object, ..Record::default() })
        };
        (0..KEYS).map(record).collect()
    }

    /// The sizes of the pages of the first partition, and all keys that they had.
    fn pages(
        storage: &BTreeMap<RecordKey, Record>,
        limit: usize,
        fits: impl Fn(&Key) -> bool,
    ) -> (Vec<usize>, Vec<Key>) {
        let (mut sizes, mut keys, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let (found, last) = scan(storage, Partition(0), after.as_ref(), limit, &fits);
            sizes.push(found.len());
            keys.extend(found.into_iter().map(|(key, _)| key));
            match &last {
                Some(last) => assert!(Some(last) > after.as_ref(), "it goes on"),
                None => return (sizes, keys),
            }
            after = last;
        }
    }

    #[test]
    fn every_key_is_in_one_page_whatever_its_size() {
        for bytes in [10, 100 << 10, PAGE_BYTES] {
            let storage = stored(bytes);
            let all: Vec<Key> =
                storage.keys().take(KEYS - 1).map(|place| place.key.clone()).collect();
            for limit in [1, 3, 4, 5, 16, KEYS - 2, KEYS - 1, KEYS, KEYS + 1, 256] {
                let (sizes, keys) = pages(&storage, limit, |_| true);
                assert_eq!(keys, all, "{bytes} bytes, {limit} a page");
                let fit = PAGE_BYTES.div_ceil(bytes).min(limit);
                assert!(sizes.iter().all(|size| *size <= fit), "{bytes} bytes: {sizes:?}");
            }
        }
    }

    #[test]
    fn what_is_passed_over_counts_too() {
        let storage = stored(100 << 10);
        let (sizes, keys) = pages(&storage, 256, |_| false);
        assert!(keys.is_empty());
        assert_eq!(sizes.len(), (KEYS - 1) / 3 + 1, "three records take a page");
    }
}
