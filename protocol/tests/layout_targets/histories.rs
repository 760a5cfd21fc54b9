//! Random histories of commands.

use cartwheel_protocol::{
    id::{NodeId, Zone},
    layout::{Command, Layout},
};
use std::collections::BTreeMap;

use proptest::{
    collection::vec, prelude::*, sample::Index, strategy::ValueTree, test_runner::TestRunner,
};

use crate::{
    clusters::{buckets, form, member},
    measure::{Ring, whole},
};

/// A command before it is known who is a member.
#[derive(Clone, Debug)]
enum Wish {
    Join(u64, u32),
    Leave(Index),
    Remove(Index),
    Replace(Index, u32),
    Weight(Index, u32),
    Zone(Index, u64),
    Bucket(u8),
}

/// Wishes with weights up to `heaviest` in `zones` zones.
fn wishes(heaviest: u32, zones: u64) -> impl Strategy<Value = Wish> {
    let (weights, zone, node) = (1..=heaviest, 0..zones, any::<Index>);
    prop_oneof![
        4 => (zone.clone(), weights.clone()).prop_map(|(zone, weight)| Wish::Join(zone, weight)),
        2 => node().prop_map(Wish::Leave),
        1 => node().prop_map(Wish::Remove),
        1 => (node(), weights.clone()).prop_map(|(node, weight)| Wish::Replace(node, weight)),
        2 => (node(), weights).prop_map(|(node, weight)| Wish::Weight(node, weight)),
        1 => (node(), zone).prop_map(|(node, zone)| Wish::Zone(node, zone)),
        1 => (1_u8..=5).prop_map(Wish::Bucket),
    ]
}

/// The command that a wish comes to, and the node that comes, if one does.
fn command(wish: &Wish, layout: &Layout, fresh: u64) -> Option<(Command, Option<NodeId>)> {
    let nth = |index: &Index| &layout.members()[index.index(layout.members().len())];
    let command = match wish {
        Wish::Join(zone, weight) => {
            let joiner = member(fresh, *zone, *weight);
            return Some((Command::Join(joiner.clone()), Some(joiner.id)));
        }
        Wish::Leave(index) => Command::Leave(nth(index).id),
        Wish::Remove(index) => Command::Remove(nth(index).id),
        Wish::Replace(index, weight) => {
            let old = nth(index);
            let mut new = member(fresh, 0, *weight);
            new.zone = old.zone.clone();
            Command::Replace { old: old.id, new }
        }
        Wish::Weight(index, weight) => Command::Weight(nth(index).id, *weight),
        Wish::Zone(index, zone) => Command::Zone(nth(index).id, Zone(format!("z{zone}").into())),
        Wish::Bucket(n) if layout.sizes().contains(n) => return None,
        Wish::Bucket(n) => Command::BucketCreate(buckets(&[*n]).remove(0)),
    };
    Some((command, None))
}

/// Carries out wishes one a step, and hands each step to `check`.
fn live(
    mut layout: Layout,
    wishes: &[Wish],
    mut check: impl FnMut(&Layout, &Layout, Option<NodeId>) -> Result<(), String>,
) -> Result<Layout, TestCaseError> {
    for (step, wish) in wishes.iter().enumerate() {
        let Some((command, joiner)) = command(wish, &layout, 1_000 + step as u64) else { continue };
        let shrinks = matches!(command, Command::Leave(_) | Command::Remove(_));
        if shrinks && layout.members().len() <= 3 {
            continue;
        }
        let next = layout.step(std::slice::from_ref(&command), true);
        let next = next.map_err(|error| TestCaseError::fail(format!("{command}: {error}")))?;
        check(&layout, &next, joiner)
            .map_err(|missed| TestCaseError::fail(format!("{layout}, {command}: {missed}")))?;
        layout = next;
    }
    Ok(layout)
}

fn sizes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(vec![3]),
        1 => Just(vec![1, 3]),
        1 => Just(vec![2, 3]),
        1 => Just(vec![3, 5]),
        1 => Just(vec![1, 2, 3, 5]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn equal_nodes_meet_the_strict_targets(
        count in 3_u64..=100,
        sizes in sizes(),
        wishes in vec(wishes(1, 1), 1..12),
    ) {
        let layout = form((0..count).map(|number| member(number, 0, 1)), 1024, &sizes);
        let last = live(layout, &wishes, |before, after, joiner| {
            let (old, new) = (Ring::of_owners(before), Ring::of_owners(after));
            for n in after.sizes() {
                new.check_loads(n, 1.05)?;
                if let Some(joiner) = joiner {
                    new.check_moves(&old, joiner.0, n, 1.2)?;
                }
            }
            Ok(())
        })?;
        let ring = Ring::of(&last);
        for n in last.sizes().into_iter().filter(|n| *n > 1) {
            ring.check_failover(n).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn the_same_history_makes_the_same_layout(
        count in 3_u64..=30,
        wishes in vec(wishes(4, 4), 1..6),
    ) {
        let start: Vec<_> = (0..count).map(|number| member(number, number % 4, 1)).collect();
        let forwards = live(form(start.clone(), 64, &[3]), &wishes, |_, _, _| Ok(()))?;
        let backwards = live(form(start.into_iter().rev(), 64, &[3]), &wishes, |_, _, _| Ok(()))?;
        prop_assert_eq!(forwards.hash(), backwards.hash());
        prop_assert_eq!(forwards, backwards);
    }
}

/// How many slots a join moves beyond one and a half times the joiner's share, or that rounded up; negative below that.
fn excess(old: &Ring, new: &Ring, joiner: NodeId, n: u8) -> f64 {
    let share = new.shares(n)[&joiner.0];
    new.moved_since(old, n) as f64 - whole(share).max(1.5 * share)
}

/// The histories are the same in every run: what is counted in them has no bound that holds for all.
#[test]
fn weights_and_zones_meet_the_wider_targets() {
    let histories = (
        (1_u64..=6, 3_u64..=100),
        vec(1_u32..=4, 100),
        prop_oneof![Just(64), Just(1024)],
        sizes(),
        vec(wishes(4, 6), 1..12),
    );
    let mut runner = TestRunner::deterministic();
    // For each number of partitions, and whether all buckets have one size.
    let mut excesses: BTreeMap<(u32, bool), Vec<f64>> = BTreeMap::new();
    for number in 0..400 {
        let history = histories.new_tree(&mut runner).expect("a history").current();
        let ((zones, count), weights, partitions, sizes, wishes) = history;
        let start = (0..count).map(|n| member(n, n * 7 % 11 % zones, weights[n as usize]));
        let lived = live(form(start, partitions, &sizes), &wishes, |before, after, joiner| {
            let (old, new) = (Ring::of_owners(before), Ring::of_owners(after));
            for n in after.sizes() {
                new.check_zones(n)?;
                new.check_loads(n, 1.25)?;
                if let Some(joiner) = joiner {
                    let of_kind = excesses.entry((partitions, after.sizes().len() == 1));
                    of_kind.or_default().push(excess(&old, &new, joiner, n));
                }
            }
            Ok(())
        });
        lived.unwrap_or_else(|missed| panic!("history {number}: {missed}"));
    }
    for ((partitions, one_size), excesses) in excesses {
        let over = excesses.iter().filter(|excess| **excess > 0.0).count();
        let worst = excesses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (joins, what) =
            (excesses.len(), format!("{partitions} partitions, one size: {one_size}"));
        let said =
            format!("{what}: {over} of {joins} joins move too much, the worst {worst} slots");
        // With several sizes a seat of one is a seat of larger ones too, and what evens out one size moves the others'.
        let allowed = if partitions == 1024 && one_size { 0 } else { joins / 50 };
        assert!(joins > 100 && over <= allowed && worst <= 32.0, "{said}");
    }
}
