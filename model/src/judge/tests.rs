//! Each property against a world that breaks it.

use std::sync::Arc;

use cartwheel_protocol::{
    bucket::Kind,
    id::{AddId, Incarnation},
    object::{Addition, Value},
    record::{Owed, Record, Storage as _, Stored},
    request::{Refusal, Response},
    rules::Rules,
    version::{Actor, Dot, VersionVector},
};

use super::*;
use crate::{
    action::Action,
    client::{Script, Task, What},
    setup::{Budget, Plan},
};

fn dot(counter: u64) -> Dot {
    Dot { actor: Actor { incarnation: Incarnation(1), n: 1 }, counter }
}

fn op(client: u8) -> Op {
    Op { client, step: 0 }
}

fn object(entries: Vec<(Dot, Entry)>, cancelled: &[AddId]) -> Object {
    let seen = VersionVector::from_dots(entries.iter().map(|(dot, _)| *dot));
    Object::from_parts(seen, entries, cancelled.to_vec())
}

fn value(client: u8) -> Entry {
    let bytes = Arc::from(op(client).to_string().as_bytes());
    Entry::Value(Value { put_id: op(client).put_id(), time_us: 0, bytes })
}

fn addition(client: u8, quantity: u32) -> Entry {
    Entry::Addition(Addition { add_id: op(client).add_id(), sku: Arc::from("milk"), quantity })
}

/// Two owners; each of these tasks was asked for at the first.
fn after(kind: Kind, tasks: &[Task]) -> World {
    let plan = tasks
        .iter()
        .fold(Plan::new(2, 0, kind), |plan, task| plan.client(Script::new([task.clone()])));
    let mut world = World::new(&plan, Rules::sound());
    for client in 0..tasks.len() as u8 {
        world.apply(Action::Ask { client, at: 0 }, &mut ());
    }
    assert_eq!(world.violation(), None);
    world
}

fn store(world: &mut World, object: Object) {
    store_at(world, 0, object);
}

fn store_at(world: &mut World, at: usize, object: Object) {
    let key = world.setup().keys[0].clone();
    let record = Record { object, ..Record::default() };
    world.hosts[at].make_mut().disk.write(key, Some(record));
    world.close(at, Vec::new(), false, &mut ());
    world.hosts[at].make_mut().disk.sync();
}

fn shown(world: &mut World, client: u8, object: &Object) -> Option<Property> {
    world.judge_read(op(client), object, (2, 0), &mut ());
    world.violation()
}

fn put() -> Task {
    Task::new(What::Put, &[0]).strict()
}

fn get() -> Task {
    Task::new(What::Get, &[0]).strict()
}

/// All that may happen has happened.
fn run_on(world: &mut World) {
    while let Some(action) = world.enabled().first() {
        world.apply(*action, &mut ());
    }
}

/// A world in which every task was carried out.
fn done(kind: Kind, tasks: &[Task]) -> World {
    let mut world = after(kind, tasks);
    run_on(&mut world);
    assert_eq!(world.violation(), None);
    assert!(world.is_quiet() && world.is_finished());
    world
}

#[test]
fn an_acknowledged_write_that_left_a_disk_is_noticed() {
    let mut world = done(Kind::Register, &[put()]);
    world.hosts[1].make_mut().wipe();
    assert_eq!(world.violation(), Some(Property::AcknowledgedIsDurable));
    world.ghost.make_mut().lost = 1;
    assert_eq!(world.violation(), None, "a disk that was lost is forgiven");
}

#[test]
fn a_value_that_nobody_asked_for_is_noticed() {
    let mut world = after(Kind::Register, &[put()]);
    assert_eq!(shown(&mut world, 0, &object(vec![(dot(1), value(0))], &[])), None);
    let strange = object(vec![(dot(1), value(3))], &[]);
    assert_eq!(shown(&mut world, 0, &strange), Some(Property::NothingFromNowhere));
    let mut world = after(Kind::Register, &[put()]);
    store(&mut world, strange);
    assert_eq!(world.violation(), Some(Property::NothingFromNowhere));
}

#[test]
fn a_dot_that_names_a_second_value_is_noticed() {
    let mut world = after(Kind::Register, &[put(), put()]);
    store(&mut world, object(vec![(dot(1), value(0))], &[]));
    assert_eq!(world.violation(), None);
    store(&mut world, object(vec![(dot(1), value(1))], &[]));
    assert_eq!(world.violation(), Some(Property::DotNamesOneValue));
}

#[test]
fn an_addition_in_two_forms_is_noticed() {
    let task = Task::new(What::Add, &[0]);
    let mut world = after(Kind::Cart, std::slice::from_ref(&task));
    let twice = |second| object(vec![(dot(1), addition(0, 1)), (dot(2), second)], &[]);
    assert_eq!(shown(&mut world, 0, &twice(addition(0, 1))), None);
    let in_two_forms = twice(addition(0, 2));
    assert_eq!(shown(&mut world, 0, &in_two_forms), Some(Property::AddShownOnce));
}

#[test]
fn a_strict_read_that_misses_a_strict_write_is_noticed() {
    let world = done(Kind::Register, &[put()]);
    let missed = world.judge_strict(0, op(0).bit(), &Object::new());
    assert_eq!(missed, Some(Property::StrictReadsSeeStrictWrites));
    let seen = object(vec![(dot(1), value(0))], &[]);
    assert_eq!(world.judge_strict(0, op(0).bit(), &seen), None);
}

#[test]
fn a_replaced_value_that_is_back_on_a_disk_is_noticed() {
    let mut world = done(Kind::Register, &[put(), put()]);
    let replaced = world.ghost.dots_of(op(0).id()).next().expect("it was written");
    let second = world.ghost.dots_of(op(1).id()).next().expect("it was written");
    let fact = world.ghost.make_mut().fact_mut(op(1)).expect("it was asked for");
    fact.removes = VersionVector::from_dots([replaced]);
    let seen = VersionVector::from_dots([replaced, second]);
    let after = Object::from_parts(seen.clone(), vec![(second, value(1))], Vec::new());
    for at in 0..2 {
        store_at(&mut world, at, after.clone());
    }
    assert_eq!(world.violation(), None);
    let back = vec![(replaced, value(0)), (second, value(1))];
    store_at(&mut world, 1, Object::from_parts(seen, back, Vec::new()));
    assert_eq!(world.violation(), Some(Property::NoResurrectedSibling));
}

#[test]
fn a_replaced_value_that_is_back_is_noticed() {
    let mut world = done(Kind::Register, &[put(), put()]);
    let replaced = world.ghost.dots_of(op(0).id()).next().expect("it was written");
    let fact = world.ghost.make_mut().fact_mut(op(1)).expect("it was asked for");
    fact.removes = VersionVector::from_dots([replaced]);
    let both = object(vec![(dot(1), value(0)), (dot(2), value(1))], &[]);
    let judged = world.judge_strict(0, op(1).bit(), &both);
    assert_eq!(judged, Some(Property::NoResurrectedSibling));
}

#[test]
fn a_cancelled_addition_that_is_back_is_noticed() {
    let cancel = Task::new(What::Cancel(op(0)), &[0]).strict();
    let world = done(Kind::Cart, &[Task::new(What::Add, &[0]), cancel]);
    let back = object(vec![(dot(1), addition(0, 1))], &[]);
    let judged = world.judge_strict(0, op(1).bit(), &back);
    assert_eq!(judged, Some(Property::CancelledStaysCancelled));
    assert_eq!(world.judge_strict(0, op(1).bit(), &Object::new()), None);
}

#[test]
fn a_hint_that_nobody_takes_is_noticed() {
    let mut plan = Plan::new(1, 2, Kind::Register).client(Script::new([put()]));
    plan.suspected = vec![(1, 0)];
    plan.clients[0].tasks[0].at = vec![1];
    let mut world = World::new(&plan, Rules::sound());
    world.apply(Action::Ask { client: 0, at: 1 }, &mut ());
    run_on(&mut world);
    assert_eq!(world.violation(), None, "the owner would take it");
    let key = world.setup().keys[0].clone();
    let Stored::Found(mut record) = world.hosts[1].disk.read(&key) else {
        panic!("node 1 holds a hint")
    };
    let view = world.newest().id();
    // Who owns nothing may take it, and that settles nothing.
    record.owed = Owed::new(view, [world.setup().nodes[2]]);
    world.hosts[1].make_mut().disk.write(key, Some(record));
    world.close(1, Vec::new(), false, &mut ());
    world.hosts[1].make_mut().disk.sync();
    assert_eq!(world.violation(), Some(Property::HintsCanEnd));
}

#[test]
fn owners_that_differ_and_whose_trees_do_not_are_noticed() {
    let mut plan = Plan::new(2, 0, Kind::Register);
    plan.trees = true;
    let mut world = World::new(&plan, Rules::sound());
    run_on(&mut world);
    assert!(!world.breaks(Property::OwnersCanMend));
    // The disk takes a record of which the tree is not told.
    store(&mut world, object(Vec::new(), &[AddId(1)]));
    assert!(world.breaks(Property::OwnersCanMend));
    world.left = world.left.with(Budget::Crash, 1);
    world.apply(Action::Crash { node: 0, keep: 0 }, &mut ());
    run_on(&mut world);
    assert!(!world.breaks(Property::OwnersCanMend), "a tree that was built again has it");
}

#[test]
fn a_mark_that_nobody_asks_about_is_noticed() {
    let mut plan = Plan::new(2, 0, Kind::Register).client(Script::new([put()]));
    plan.raises = 1;
    let mut world = World::new(&plan, Rules::sound());
    world.apply(Action::Ask { client: 0, at: 0 }, &mut ());
    run_on(&mut world);
    let key = world.setup().keys[0].clone();
    let record = Record { damaged: Some(world.newest().id()), ..Record::default() };
    world.hosts[0].make_mut().disk.write(key, Some(record));
    world.close(0, Vec::new(), false, &mut ());
    world.hosts[0].make_mut().disk.sync();
    world.ghost.make_mut().lost = 1;
    assert_eq!(world.violation(), None, "the look after the start is still to come");
    world.hosts[0].make_mut().timers.clear();
    assert_eq!(world.violation(), Some(Property::MendingCanEnd));
    world.hosts[1].make_mut().wipe();
    assert!(!world.breaks(Property::MendingCanEnd), "there is nothing to mend it from");
}

#[test]
fn what_was_reaped_and_is_written_again_is_noticed() {
    let deleted = Object::from_parts(VersionVector::from_dots([dot(1)]), Vec::new(), Vec::new());
    let cancelled = Object::from_parts(VersionVector::default(), Vec::new(), vec![op(0).add_id()]);
    for (kind, task, entry, reaped) in [
        (Kind::Register, put(), value(0), deleted),
        (Kind::Cart, Task::new(What::Add, &[0]), addition(0, 1), cancelled),
    ] {
        let mut world = after(kind, &[task]);
        world.ghost.make_mut().gone.add(&reaped, &Object::new());
        store(&mut world, object(vec![(dot(1), entry)], &[]));
        assert_eq!(world.violation(), Some(Property::ReapedStaysReaped));
    }
}

#[test]
fn every_property_has_a_world_that_breaks_it() {
    let tests = include_str!("tests.rs");
    for property in Property::ALL {
        let asked =
            [format!("Some(Property::{property:?})"), format!("breaks(Property::{property:?})")];
        assert!(asked.iter().any(|asked| tests.contains(asked)), "{property:?}");
    }
}

#[test]
fn owners_that_differ_when_quiet_are_noticed() {
    let mut world = done(Kind::Register, &[]);
    store(&mut world, object(Vec::new(), &[AddId(1)]));
    assert_eq!(world.violation(), Some(Property::OwnersAreEqualWhenQuiet));
}

#[test]
fn a_cart_that_remembers_too_much_is_noticed() {
    let mut plan = Plan::new(2, 0, Kind::Cart);
    plan.cancelled_bound = 1;
    let mut world = World::new(&plan, Rules::sound());
    store(&mut world, object(Vec::new(), &[AddId(1)]));
    assert_ne!(world.violation(), Some(Property::LimitsHold));
    store(&mut world, object(Vec::new(), &[AddId(1), AddId(2)]));
    assert_eq!(world.violation(), Some(Property::LimitsHold));
}

#[test]
fn a_write_with_a_foreign_context_that_is_taken_is_noticed() {
    let mut world = after(Kind::Register, &[put(), Task::new(What::PutForeign, &[0])]);
    let attempt = crate::client::Attempt { host: 0, number: 9, step: 0 };
    world.clients.make_mut()[1].attempts.push(attempt);
    let written = Response::Written { slots: 2, nodes: 2, zones: 1 };
    world.hear(0, 9, &written, &mut ());
    assert_eq!(world.violation(), Some(Property::ForeignContextsAreRefused));
}

#[test]
fn a_second_reply_is_noticed_and_one_that_never_comes() {
    let mut world = done(Kind::Register, &[put(), get()]);
    let mut silent = world.clone();
    world.hear(0, 1, &Response::Refused(Refusal::NotReady), &mut ());
    assert_eq!(world.violation(), Some(Property::OneReplyPerRequest));
    let attempt = crate::client::Attempt { host: 0, number: 9, step: 0 };
    silent.clients.make_mut()[0].attempts.push(attempt);
    assert_eq!(silent.violation(), Some(Property::OneReplyPerRequest));
}
