//! What is under way in the background when a view comes goes on after it.

mod support;

use std::{collections::BTreeMap, sync::Arc};

use cartwheel_protocol::{
    Config, Effects, Input, Replica, Timer,
    bucket::BucketName,
    id::{ClusterId, Incarnation, NodeId, PutId},
    key::{Key, RecordKey},
    layout::Command,
    object::{Entry, Object, Value},
    record::Record,
    request::{Operation, Request},
    version::{Actor, Dot, VersionVector},
    view::View,
};

use support::layouts::{layout, member, view};

const ME: NodeId = NodeId(1);

type Disk = BTreeMap<RecordKey, Record>;

fn key(number: u32) -> Key {
    Key::new(BucketName::new("default").expect("a name"), format!("k{number}").as_bytes())
}

fn object() -> Object {
    let dot = Dot { actor: Actor { incarnation: Incarnation(9), n: 1 }, counter: 1 };
    let value = Value { put_id: PutId(1), time_us: 0, bytes: (*b"v").into() };
    Object::from_parts(
        VersionVector::from_dots([dot]),
        vec![(dot, Entry::Value(value))],
        Vec::new(),
    )
}

fn step(replica: &mut Replica, disk: &mut Disk, input: Input) -> Effects {
    let mut effects = Effects::new();
    replica.step(disk, input, &mut effects);
    effects
}

/// Every view, raised ones too, began the scan anew: while they came faster than a partition was scanned, its trees were never
/// whole.
#[test]
fn a_scan_for_trees_goes_on_in_a_raised_view() {
    let mut now = view(1..=3, 1);
    let config = Config { tree_page: 1, ..Config::new(ClusterId(7)) };
    let mut replica = Replica::new(ME, Incarnation(1), config);
    let record = || Record { object: object(), ..Record::default() };
    let mut disk: Disk = (0..5).map(|number| (now.place(key(number)), record())).collect();
    step(&mut replica, &mut disk, Input::View(now.clone()));
    for _ in 0..6 {
        assert_eq!(replica.trees_left(), 1);
        step(&mut replica, &mut disk, Input::Timeout(Timer::Trees));
        now = Arc::new(now.raised(NodeId(2)));
        step(&mut replica, &mut disk, Input::View(now.clone()));
    }
    assert_eq!(replica.trees_left(), 0, "six pages of one record come to the end of five");
}

/// Where a node stopped owning a damaged record and then owned it again, nobody asked about its mark any more: it answered an
/// error until the next restart, and nothing said so.
#[test]
fn a_mark_is_found_again_by_a_node_that_owns_its_record_again() {
    let first = layout(1..=3, 16);
    let joins: Vec<Command> = (4..=6).map(|id| Command::Join(member(id))).collect();
    let leaves: Vec<Command> = (4..=6).map(|id| Command::Remove(NodeId(id))).collect();
    let second = first.step(&joins, false).expect("they join");
    let third = second.step(&leaves, true).expect("they go");
    let [first, second, third] =
        [first, second, third].map(|layout| Arc::new(View::new(Arc::new(layout))));
    let foreign = |number: &u32| !second.owns(ME, second.place(key(*number)).partition, 3);
    let number = (0..).find(foreign).expect("some partition goes to others");
    let place = first.place(key(number));

    let marked = Record { object: object(), damaged: Some(first.id()), ..Record::default() };
    let mut disk = Disk::from([(place.clone(), marked)]);
    let mut replica = Replica::new(ME, Incarnation(1), Config::new(ClusterId(7)));
    step(&mut replica, &mut disk, Input::View(first));
    step(&mut replica, &mut disk, Input::Timeout(Timer::Mend));
    assert_eq!(replica.unmended(), 1, "it is found after the start");
    step(&mut replica, &mut disk, Input::View(second));
    step(&mut replica, &mut disk, Input::Timeout(Timer::Mend));
    assert_eq!(replica.unmended(), 0, "it is not this node's to mend");
    let kept = matches!(disk.get(&place), Some(Record { damaged: Some(_), .. }));
    assert!(kept, "the mark stays in the record");

    step(&mut replica, &mut disk, Input::View(third));
    let operation = Operation::GetLocal;
    let request =
        Request { key: key(number), operation, quorum: None, strict: false, timeout_ms: 9 };
    let effects = step(&mut replica, &mut disk, Input::Request { number: 1, request });
    assert_eq!(replica.unmended(), 1, "who reads it comes back to it: {effects:?}");
}
