//! Laws of the merge on states that replicas can reach (C1, V4, V5).
//!
//! Each law is a function of a history and of the rules, so that with the cargo feature `mutants` the same law is
//! shown to reject a core with a rule left out.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cartwheel_protocol::{
    id::{AddId, Incarnation, PutId},
    object::{Addition, Entry, Merging, Object, Value},
    rules::Rules,
    version::{Actor, Dot, VersionVector},
};
use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestCaseResult},
};

use support::history::{Shape, Step, World};

/// A bound of `cancelled` that no history here reaches.
const WIDE: u32 = 64;
/// One that nearly all exceed.
const NARROW: u32 = 2;

/// A law of histories of one shape.
type Law = fn(Shape, Rules, &[Step]) -> TestCaseResult;

fn live(object: &Object) -> BTreeMap<Dot, Entry> {
    object.entries().iter().cloned().collect()
}

fn shown(object: &Object) -> BTreeSet<AddId> {
    object.additions().iter().map(|addition| addition.add_id).collect()
}

fn add_id(entry: &Entry) -> Option<AddId> {
    match entry {
        Entry::Addition(addition) => Some(addition.add_id),
        Entry::Value(_) => None,
    }
}

/// The merge by its definition, slowly.
fn merge_by_definition(a: &Object, b: &Object, bound: usize) -> Object {
    let (left, right) = (live(a), live(b));
    let cancelled: BTreeSet<AddId> = a.cancelled().iter().chain(b.cancelled()).copied().collect();
    let mut entries: BTreeMap<Dot, Entry> = BTreeMap::new();
    for (dot, entry) in left.iter().chain(&right) {
        let here = left.contains_key(dot) || !a.seen().covers(*dot);
        let there = right.contains_key(dot) || !b.seen().covers(*dot);
        if here && there && add_id(entry).is_none_or(|id| !cancelled.contains(&id)) {
            entries.insert(*dot, entry.clone());
        }
    }
    let seen = a.seen().dots().iter().chain(b.seen().dots());
    let newest = cancelled.into_iter().rev().take(bound).collect();
    Object::from_parts(
        VersionVector::from_dots(seen.copied()),
        entries.into_iter().collect(),
        newest,
    )
}

/// Some of the states, among them the last of every copy.
fn sample(world: &World) -> Vec<Object> {
    let mut states = world.copies();
    states.extend(world.states.iter().rev().step_by(3).take(6).cloned());
    states.sort();
    states.dedup();
    states
}

fn is_a_join(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let merge = |a: &Object, b: &Object| a.merge(b, world.merging);
    let states = sample(&world);
    for a in &states {
        prop_assert_eq!(&merge(a, a), a, "idempotent");
        prop_assert_eq!(&merge(a, &Object::new()), a, "the new object is neutral");
        for b in &states {
            let ab = merge(a, b);
            prop_assert_eq!(&ab, &merge(b, a), "commutative: {} and {}", a, b);
            prop_assert_eq!(&merge(a, &ab), &ab, "absorbing: {} and {}", a, b);
            prop_assert!(ab.seen().includes(a.seen()) && ab.seen().includes(b.seen()));
            for c in &states {
                let (left, right) = (merge(&ab, c), merge(a, &merge(b, c)));
                prop_assert_eq!(left, right, "associative: {}, {} and {}", a, b, c);
            }
        }
    }
    Ok(())
}

/// Where `a` is below `b`, it stays so whatever both take in.
fn is_monotone(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let merge = |a: &Object, b: &Object| a.merge(b, world.merging);
    let states = sample(&world);
    for a in &states {
        for b in states.iter().filter(|b| merge(a, b) == **b) {
            for c in &states {
                let (low, high) = (merge(a, c), merge(b, c));
                prop_assert_eq!(&merge(&low, &high), &high, "{} below {}, with {}", a, b, c);
            }
        }
    }
    Ok(())
}

fn follows_its_definition(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let bound = if let Shape::Cart(bound) = shape { bound as usize } else { usize::MAX };
    let states = sample(&world);
    for a in &states {
        for b in &states {
            let merged = a.merge(b, world.merging);
            prop_assert_eq!(merged, merge_by_definition(a, b, bound), "{} and {}", a, b);
        }
    }
    Ok(())
}

/// After everything is merged, the live dots are those that were made and that no used context covers.
fn drops_what_contexts_cover(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let left: BTreeSet<Dot> = live(&world.merged()).into_keys().collect();
    let made = world.made.iter().copied();
    let expected: BTreeSet<Dot> = made.filter(|dot| !world.used.covers(*dot)).collect();
    prop_assert_eq!(left, expected);
    Ok(())
}

/// After everything is merged, a cart shows what was added and never cancelled, and nothing else.
fn shows_what_was_not_cancelled(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let expected: BTreeSet<AddId> = world.added.difference(&world.cancelled).copied().collect();
    prop_assert_eq!(shown(&world.merged()), expected);
    Ok(())
}

/// The same above the bound: then what was cancelled may return, but nothing else is lost.
fn loses_nothing(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let shown = shown(&world.merged());
    for add_id in world.added.difference(&world.cancelled) {
        prop_assert!(shown.contains(add_id), "{} is lost", add_id);
    }
    Ok(())
}

/// Copies that exchange become equal, and stay so.
fn converges(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let mut copies = world.copies();
    // Nothing that an exchange can still remove is made by an exchange: a few rounds are enough.
    for _ in 0..4 {
        for at in 0..copies.len() {
            let other = copies[(at + 1) % copies.len()].clone();
            copies[at] = copies[at].merge(&other, world.merging);
        }
    }
    for copy in &copies {
        prop_assert_eq!(copy, &copies[0]);
        prop_assert_eq!(&copy.merge(&copies[0], world.merging), &copies[0]);
    }
    Ok(())
}

/// A merge shows nothing that either side has cancelled, also when the merge forgets it.
fn drops_what_either_side_cancelled(
    shape: Shape,
    rules: Rules,
    history: &[Step],
) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let states = sample(&world);
    for a in &states {
        for b in &states {
            let shown = shown(&a.merge(b, world.merging));
            for add_id in a.cancelled().iter().chain(b.cancelled()) {
                prop_assert!(!shown.contains(add_id), "{} of {} and {}", add_id, a, b);
            }
        }
    }
    Ok(())
}

/// A put keeps exactly what its context does not cover, and adds its own entry.
fn puts_exactly(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    each_write(shape, rules, history, |merging, before, other| {
        let context = other.seen();
        let fresh = fresh_dot(before, other);
        let value = Value { put_id: PutId(99), time_us: 99, bytes: Arc::from(*b"new") };
        let after = before.put(merging, context, fresh, value.clone());
        let mut expected = live(before);
        expected.retain(|dot, _| !context.covers(*dot));
        let deleted = before.delete(context);
        prop_assert_eq!(&live(&deleted), &expected);
        prop_assert_eq!(deleted.seen(), &before.seen().join(context));
        expected.insert(fresh, Entry::Value(value));
        prop_assert_eq!(live(&after), expected);
        prop_assert_eq!(after.seen(), &before.seen().join(context).with(fresh));
        Ok(())
    })
}

/// A change removes exactly what it names, remembers it, and adds its own entry.
fn changes_exactly(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    each_write(shape, rules, history, |merging, before, other| {
        // Some that are there, some that are not.
        let named: Vec<AddId> = shown(other).into_iter().step_by(2).chain([AddId(77)]).collect();
        let fresh = fresh_dot(before, other);
        let added = Addition { add_id: AddId(99), sku: "new".into(), quantity: 1 };
        let after = before.change(merging, &named, Some((fresh, added.clone())));
        let mut expected = live(before);
        expected.retain(|_, entry| add_id(entry).is_none_or(|id| !named.contains(&id)));
        prop_assert_eq!(&live(&before.change(merging, &named, None)), &expected);
        expected.insert(fresh, Entry::Addition(added));
        prop_assert_eq!(live(&after), expected);
        prop_assert_eq!(after.seen(), &before.seen().with(fresh), "no context is joined");
        for add_id in &named {
            prop_assert!(after.knows(*add_id), "{} is forgotten", add_id);
        }
        Ok(())
    })
}

fn each_write(
    shape: Shape,
    rules: Rules,
    history: &[Step],
    check: impl Fn(Merging, &Object, &Object) -> TestCaseResult,
) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let states = sample(&world);
    states.iter().try_for_each(|before| {
        states.iter().try_for_each(|other| check(world.merging, before, other))
    })
}

fn fresh_dot(a: &Object, b: &Object) -> Dot {
    let actor = Actor { incarnation: Incarnation(1), n: 1_000 };
    debug_assert!(a.seen().counter(actor) == 0 && b.seen().counter(actor) == 0);
    Dot { actor, counter: 1 }
}

/// A last-write-wins register ends with the put of the latest time, ties by put_id.
fn ends_with_the_latest(shape: Shape, rules: Rules, history: &[Step]) -> TestCaseResult {
    let world = World::after(shape, rules, history);
    let merged = world.merged();
    let values = merged.values();
    let left = values.iter().map(|value| (value.time_us, value.put_id));
    prop_assert_eq!(
        left.collect::<Vec<_>>(),
        world.puts.last().copied().into_iter().collect::<Vec<_>>()
    );
    Ok(())
}

fn test(law: Law, shape: Shape, losses: bool, rules: Rules) -> Result<(), String> {
    let config = ProptestConfig { cases: 1_000, failure_persistence: None, ..Default::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = |history: Vec<Step>| -> Result<(), TestCaseError> { law(shape, rules, &history) };
    runner.run(&shape.histories(losses), run).map_err(|error| error.to_string())
}

fn holds(law: Law, shape: Shape, losses: bool) {
    if let Err(why) = test(law, shape, losses, Rules::sound()) {
        panic!("{why}");
    }
}

#[test]
fn merging_is_a_join_on_reachable_states() {
    holds(is_a_join, Shape::Register, true);
    holds(is_a_join, Shape::Cart(WIDE), true);
}

#[test]
fn merging_is_monotone_on_reachable_states() {
    holds(is_monotone, Shape::Register, true);
    holds(is_monotone, Shape::Cart(WIDE), true);
}

#[test]
fn merging_follows_its_definition() {
    holds(follows_its_definition, Shape::Register, true);
    holds(follows_its_definition, Shape::Cart(WIDE), true);
    holds(follows_its_definition, Shape::Cart(NARROW), true);
}

#[test]
fn a_put_drops_exactly_what_its_context_covers() {
    holds(drops_what_contexts_cover, Shape::Register, false);
    holds(puts_exactly, Shape::Register, true);
}

#[test]
fn a_cancel_removes_exactly_what_it_names() {
    holds(shows_what_was_not_cancelled, Shape::Cart(WIDE), false);
    holds(changes_exactly, Shape::Cart(WIDE), true);
}

#[test]
fn above_the_bound_nothing_uncancelled_is_lost_and_copies_become_equal() {
    holds(loses_nothing, Shape::Cart(NARROW), false);
    holds(converges, Shape::Cart(NARROW), true);
    holds(drops_what_either_side_cancelled, Shape::Cart(NARROW), true);
}

#[test]
fn copies_of_every_kind_become_equal() {
    holds(converges, Shape::Register, true);
    holds(converges, Shape::Cart(WIDE), true);
    holds(converges, Shape::Latest, true);
}

#[test]
fn last_write_wins_converges_to_the_latest() {
    holds(ends_with_the_latest, Shape::Latest, false);
}

/// The bad cases: a law that accepts a broken core would be no law.
#[cfg(feature = "mutants")]
mod mutants {
    use cartwheel_protocol::rules::Mutant;

    use super::*;

    fn rejects(law: Law, shape: Shape, mutant: Mutant) {
        let verdict = test(law, shape, false, Rules::without(mutant));
        assert!(verdict.is_err(), "{mutant} passes");
    }

    #[test]
    fn last_write_wins_is_rejected() {
        rejects(loses_nothing, Shape::Cart(NARROW), Mutant::LastWriteWins);
        rejects(drops_what_contexts_cover, Shape::Register, Mutant::LastWriteWins);
        rejects(follows_its_definition, Shape::Cart(WIDE), Mutant::LastWriteWins);
    }

    #[test]
    fn put_overwrites_local_is_rejected() {
        rejects(drops_what_contexts_cover, Shape::Register, Mutant::PutOverwritesLocal);
        rejects(puts_exactly, Shape::Register, Mutant::PutOverwritesLocal);
    }

    #[test]
    fn cut_before_drop_is_rejected() {
        rejects(drops_what_either_side_cancelled, Shape::Cart(NARROW), Mutant::CutBeforeDrop);
        rejects(follows_its_definition, Shape::Cart(NARROW), Mutant::CutBeforeDrop);
    }

    #[test]
    fn forget_cancelled_is_rejected() {
        rejects(shows_what_was_not_cancelled, Shape::Cart(WIDE), Mutant::ForgetCancelled);
        rejects(changes_exactly, Shape::Cart(WIDE), Mutant::ForgetCancelled);
    }
}

/// Outside the reachable states the laws need not hold, which is why histories obey V1: here one dot names two
/// values, and the merge depends on the order.
#[test]
fn a_reused_dot_breaks_the_merge() {
    let history = [Step::Put { at: 0, context: None, put_id: 1, time_us: 1 }];
    let world = World::after(Shape::Register, Rules::sound(), &history);
    let a = world.merged();
    let (dot, _) = a.entries()[0].clone();
    let value = Value { put_id: PutId(2), time_us: 2, bytes: Arc::from(*b"other") };
    let b = Object::from_parts(a.seen().clone(), vec![(dot, Entry::Value(value))], Vec::new());
    assert_ne!(a.merge(&b, world.merging), b.merge(&a, world.merging));
}
