//! A page of background work is bounded in bytes too: large objects make it shorter, and every record still has its turn.

mod support;

use std::sync::Arc;

use cartwheel_protocol::{
    Config, Effects, Input, Replica, Timer,
    bucket::{Bucket, BucketName},
    id::{ClusterId, Incarnation, NodeId, PutId, Zone},
    key::{Key, Partitions},
    layout::{Layout, Member},
    request::{Operation, Request},
    view::View,
};

use support::listing::Listing;

const KEYS: u64 = 64;
const BYTES: usize = 100 << 10;
/// Four records are read at a time first, and a page ends with 256 KiB.
const MOST: u64 = 4;
/// So many records take 256 KiB: more are not taken in one step.
const FIT: u64 = 3;

/// A node alone that was started again with many large values, and has all its trees to build and all records to look at.
fn alone() -> (Replica, Listing) {
    let address = "n1:1".into();
    let me =
        Member { id: NodeId(1), name: "n1".into(), address, zone: Zone("z".into()), weight: 1 };
    let partitions = Partitions::new(1).expect("a power of two");
    let layout = Layout::form([me], partitions, Bucket::built_in()).expect("a layout");
    let view = Arc::new(View::new(Arc::new(layout)));
    let mut storage = Listing::default();
    let (tree_page, handoff_page, tree_rescan_every_ms) = (256, 256, 0);
    let config =
        Config { tree_page, handoff_page, tree_rescan_every_ms, ..Config::new(ClusterId(7)) };
    let start = |run, storage: &mut Listing| {
        let mut replica = Replica::new(NodeId(1), Incarnation(run), config.clone());
        replica.step(storage, Input::View(view.clone()), &mut Effects::new());
        replica
    };
    let mut before = start(1, &mut storage);
    for number in 0..KEYS {
        let name = BucketName::new("default").expect("a name");
        let key = Key::new(name, format!("k{number}").as_bytes());
        let (put_id, value) = (PutId(number.into()), vec![7; BYTES].into());
        let operation = Operation::Put { context: None, put_id, time_us: 0, value };
        let request = Request { key, operation, quorum: Some(1), strict: false, timeout_ms: 100 };
        before.step(&mut storage, Input::Request { number, request }, &mut Effects::new());
    }
    let replica = start(2, &mut storage);
    (replica, storage)
}

/// How many records each step lists, from this input on until the timer's lists none.
fn steps(replica: &mut Replica, storage: &mut Listing, first: Input, timer: Timer) -> Vec<u64> {
    let (mut steps, mut input) = (Vec::new(), first);
    loop {
        storage.take_listed();
        replica.step(storage, input, &mut Effects::new());
        input = Input::Timeout(timer);
        match storage.take_listed().len() as u64 {
            0 => return steps,
            listed => steps.push(listed),
        }
        assert!(steps.len() <= 2 * KEYS as usize, "{timer} has no end: {steps:?}");
    }
}

#[test]
fn trees_damage_and_reaping_list_no_more_large_records_in_a_step_than_fit_a_page() {
    for timer in [Timer::Mend, Timer::Reap, Timer::Trees] {
        let (mut replica, mut storage) = alone();
        let first =
            if timer == Timer::Reap { Input::Reap { bound: None } } else { Input::Timeout(timer) };
        let steps = steps(&mut replica, &mut storage, first, timer);
        assert!(steps.iter().all(|listed| *listed <= MOST), "{timer}: {steps:?}");
        let least = KEYS.div_ceil(FIT);
        assert!(steps.len() as u64 >= least, "{timer} passes records over: {steps:?}");
    }
}
