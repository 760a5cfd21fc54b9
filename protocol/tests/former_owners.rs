//! A node that owned a key in a former layout still holds it. Its record says that it owes nobody, because owners
//! owe nobody; in a layout in which it owns no copy that must read as *all owners of the present view* (Hints 2),
//! or every former owner deletes its copy and the key is gone.

mod support;

use std::{collections::BTreeMap, sync::Arc};

use cartwheel_protocol::{
    Config, Effect, Input, Replica, Timer,
    bucket::Bucket,
    id::{ClusterId, Incarnation, NodeId},
    key::{Key, RecordKey},
    record::{Record, Storage, Stored},
    request::{Operation, Request},
};

use support::layouts::view;

#[test]
fn a_former_owner_hands_its_copy_to_all_owners_and_keeps_it_until_they_have_it() {
    let me = NodeId(1);
    let (before, after) = (view([1], 1), view([2, 3, 4], 1));
    let mut storage: BTreeMap<RecordKey, Record> = BTreeMap::new();
    let config = Config::new(ClusterId(7));
    let mut replica = Replica::new(me, Incarnation(1), config.clone());
    let mut effects = Vec::new();
    let name = Bucket::built_in()[1].name.clone();
    let key = Key::new(name, *b"k");
    let put = Request {
        key: key.clone(),
        operation: Operation::Put {
            context: None,
            put_id: cartwheel_protocol::id::PutId(1),
            time_us: 0,
            value: Arc::from(*b"v"),
        },
        quorum: Some(1),
        strict: false,
        timeout_ms: 100,
    };
    replica.step(&mut storage, Input::View(before.clone()), &mut effects);
    replica.step(&mut storage, Input::Request { number: 1, request: put }, &mut effects);
    let place = before.place(key);
    let held = storage.read(&place);
    assert!(matches!(&held, Stored::Found(record) if record.owed.is_none()), "{held}");

    let mut replica = Replica::new(me, Incarnation(2), config);
    replica.step(&mut storage, Input::View(after.clone()), &mut effects);
    effects.clear();
    replica.step(&mut storage, Input::Timeout(Timer::Handoff), &mut effects);
    assert_eq!(storage.read(&place), held, "the copy stays");
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, .. } => Some(*to),
        Effect::Reply { .. }
        | Effect::Sync(_)
        | Effect::SetTimer { .. }
        | Effect::CancelTimer(_)
        | Effect::Report(_) => None,
    });
    let mut sent: Vec<NodeId> = sent.collect();
    sent.sort();
    assert_eq!(sent, [NodeId(2), NodeId(3), NodeId(4)], "{effects:?}");
}
