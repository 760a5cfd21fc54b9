//! Passes of the hand-off end, wherever a page does. A node looks through what it holds page by page and skips what it owns
//! every key of; a pass whose last page ends just where nothing is left to skip to once began again from the front, and
//! again, without an end: a hint was said to be held for ever, and a suspected owner was offered one hint alone.

mod support;

use std::{collections::BTreeMap, sync::Arc};

use cartwheel_protocol::{
    Config, Effect, Effects, Input, Replica, Timer,
    bucket::BucketName,
    id::{ClusterId, Incarnation, NodeId, PutId},
    key::{Key, RecordKey},
    record::Record,
    request::{Operation, Request},
};

use support::{layouts::view, listing::Listing};

const ME: NodeId = NodeId(1);
const KEYS: u64 = 40;

/// What the only node of a cluster holds after so many puts.
fn stored_alone() -> BTreeMap<RecordKey, Record> {
    let mut storage = BTreeMap::new();
    let mut replica = Replica::new(ME, Incarnation(1), Config::new(ClusterId(7)));
    let mut effects = Effects::new();
    replica.step(&mut storage, Input::View(view([1], 16)), &mut effects);
    for number in 0..KEYS {
        let name = BucketName::new("default").expect("a name");
        let value = Arc::from(*b"v");
        let put_id = PutId(number.into());
        let put = Operation::Put { context: None, put_id, time_us: 0, value };
        let key = Key::new(name, format!("k{number}").as_bytes());
        let request =
            Request { key, operation: put, quorum: Some(1), strict: false, timeout_ms: 100 };
        replica.step(&mut storage, Input::Request { number, request }, &mut effects);
    }
    storage
}

/// How many pages a pass has, and how many hints it sends. `None` if it does not end.
fn pass(
    replica: &mut Replica,
    storage: &mut BTreeMap<RecordKey, Record>,
) -> Option<(usize, usize)> {
    let mut sent = 0;
    for pages in 1..=2 * KEYS as usize {
        let mut effects = Effects::new();
        replica.step(storage, Input::Timeout(Timer::Handoff), &mut effects);
        sent += effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).count();
        let arms =
            |effect: &&Effect| matches!(effect, Effect::SetTimer { timer: Timer::Handoff, .. });
        let armed = effects.iter().find(arms).expect("the timer is armed after each page");
        if matches!(armed, Effect::SetTimer { yields: false, .. }) {
            return Some((pages, sent));
        }
    }
    None
}

#[test]
fn a_pass_ends_with_any_size_of_its_pages() {
    let held = stored_alone();
    let view = view(1..=4, 16);
    let owned = |key: &RecordKey| view.owns(ME, key.partition, 3);
    let hints = held.keys().filter(|key| !owned(key)).count();
    assert!(hints > 0, "four nodes own three copies");
    assert!(held.keys().next_back().is_some_and(owned), "a pass ends with what is skipped");
    for page in 1..=held.len() + 1 {
        let config = Config { handoff_page: page, ..Config::new(ClusterId(7)) };
        let mut replica = Replica::new(ME, Incarnation(2), config);
        let mut storage = held.clone();
        replica.step(&mut storage, Input::View(view.clone()), &mut Effects::new());
        for _ in 0..2 {
            let (pages, sent) = pass(&mut replica, &mut storage)
                .unwrap_or_else(|| panic!("with {page} records a page the pass does not end"));
            assert_eq!(sent, 3 * hints, "each hint to its three owners, {page} records a page");
            assert!(pages <= held.len() / page + 1, "{pages} pages of {page} records");
        }
    }
}

#[test]
fn a_pass_reads_nothing_of_what_the_node_owns() {
    let mut records = stored_alone();
    let view = view(1..=4, 16);
    let mut replica = Replica::new(ME, Incarnation(2), Config::new(ClusterId(7)));
    replica.step(&mut records, Input::View(view.clone()), &mut Effects::new());
    let mut storage = Listing::of(records);
    let mut sent = 0;
    for _ in 0..KEYS {
        let mut effects = Effects::new();
        replica.step(&mut storage, Input::Timeout(Timer::Handoff), &mut effects);
        sent += effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).count();
    }
    assert!(sent > 0, "there are hints");
    let listed = storage.take_listed();
    let owned = listed.iter().find(|key| view.owns(ME, key.partition, 3));
    assert_eq!(owned, None, "it is owned, and was read");
}
