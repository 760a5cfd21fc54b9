//! Each command: what it does, what is refused and in which words.

use cartwheel_protocol::{
    bucket::{Bucket, BucketName, Kind, Spread},
    id::{NodeId, Zone},
    key::{Partition, Partitions},
    layout::{Command, Layout, LayoutError, Member, Plan},
};

use crate::{
    clusters::{buckets, form, member},
    measure::Ring,
};

/// Five nodes `n1` to `n5` with plain ids, the odd ones in zone `a`, the even ones in zone `b`.
fn five() -> Layout {
    Layout::form((1..=5).map(plain), Partitions::new(64).expect("a power of two"), buckets(&[3]))
        .expect("a layout")
}

fn plain(id: u64) -> Member {
    let zone = Zone(if id % 2 == 1 { "a" } else { "b" }.into());
    let address = format!("127.0.0.1:{}", 7_400 + id).into();
    Member { id: NodeId(id), name: format!("n{id}").into(), address, zone, weight: 1 }
}

fn step(layout: &Layout, command: Command) -> Layout {
    layout.step(&[command], false).expect("a layout")
}

fn refusal(layout: &Layout, command: Command) -> String {
    layout.step(&[command], false).expect_err("a refusal").to_string()
}

/// How many slots get another owner, for each size in use afterwards.
fn moves(before: &Layout, after: &Layout) -> Vec<usize> {
    Plan::new(before, after).sizes.iter().map(|size| size.moves.len()).collect()
}

fn name(text: &str) -> BucketName {
    BucketName::new(text).expect("a valid name")
}

#[test]
fn a_step_counts_on_and_without_commands_moves_nothing() {
    let first = form((0..40).map(|n| member(n, n % 4, 1 + (n % 3) as u32)), 1024, &[1, 3]);
    assert_eq!(first.number(), 1);
    let second = first.step(&[], false).expect("a layout");
    assert_eq!(second.number(), 2);
    assert_eq!(moves(&first, &second), [0, 0]);
    assert_ne!(first.hash(), second.hash());
}

/// Several commands at once, with more zones than before: what a lower level of seats may take then depends on what higher ones
/// span, and no seat may be left over.
#[test]
fn a_step_of_several_commands_fills_every_seat() {
    let sizes: [&[u8]; 5] = [&[2, 3], &[2, 5], &[3, 5], &[1, 3], &[1, 2, 3, 5]];
    let mut steps = 0;
    for (sizes, nodes, zones) in sizes
        .iter()
        .flat_map(|sizes| (3..9).map(move |nodes| (sizes, nodes)))
        .flat_map(|(sizes, nodes)| (1..4).map(move |zones| (sizes, nodes, zones)))
    {
        let before = form((0..nodes).map(|n| member(n, n % zones, 1 + (n % 2) as u32)), 64, sizes);
        let ids: Vec<NodeId> = before.members().iter().map(|member| member.id).collect();
        let elsewhere = member(nodes + 1, zones, 1);
        let moved = |at: usize| Command::Zone(ids[at], elsewhere.zone.clone());
        let join = || Command::Join(elsewhere.clone());
        for commands in [
            vec![join(), Command::Leave(ids[1])],
            vec![join(), Command::Remove(ids[0]), Command::Weight(ids[1], 3)],
            vec![moved(0), Command::Leave(ids[1])],
            vec![moved(1), join(), Command::Remove(ids[2])],
            vec![join(), Command::Join(member(nodes + 2, zones + 1, 2)), Command::Leave(ids[2])],
        ] {
            let Ok(after) = before.step(&commands, true) else { continue };
            steps += 1;
            for partition in after.partitions().iter() {
                let mut owners: Vec<NodeId> = after.owners(partition).collect();
                owners.sort_unstable();
                owners.dedup();
                let most = usize::from(*sizes.last().expect("a size")).min(after.members().len());
                assert_eq!(owners.len(), most, "{sizes:?}, {nodes} nodes: {commands:?}");
                for n in after.sizes() {
                    let first = after.owners(partition).take(usize::from(n));
                    let mut zones: Vec<&Zone> =
                        first.map(|id| &after.member(id).expect("a member").zone).collect();
                    zones.sort_unstable();
                    zones.dedup();
                    let spans = usize::from(n).min(after.zones().len()).min(after.members().len());
                    assert_eq!(zones.len(), spans, "{sizes:?}, {nodes} nodes: {commands:?}");
                }
            }
        }
    }
    assert!(steps > 300, "{steps} steps were made");
}

/// What a join leaves uneven on purpose, to move little, is not evened out by a step that asks for nothing: an abort would
/// move data, and so would a new address.
#[test]
fn a_step_that_changes_no_shares_moves_nothing() {
    for seed in 0..30 {
        let zones = 1 + seed % 3;
        let mut layout =
            form((0..4 + seed % 5).map(|n| member(n, n % zones, 1 + (n % 4) as u32)), 64, &[3, 5]);
        for n in 20..24 {
            let join = Command::Join(member(n, n % zones, 1 + ((n + seed) % 4) as u32));
            layout = layout.step(&[join], true).expect("it joins");
            let first = layout.members()[0].id;
            for commands in [vec![], vec![Command::Address(first, "elsewhere:1".into())]] {
                let same = layout.step(&commands, true).expect("a layout");
                assert_eq!(moves(&layout, &same), [0, 0], "seed {seed}, after n{n}: {commands:?}");
            }
        }
    }
}

#[test]
fn owners_are_distinct_members_and_lists_name_everybody_once() {
    let layout = form((0..20).map(|n| member(n, n % 4, 1)), 64, &[2, 5]);
    let all: Vec<NodeId> = layout.members().iter().map(|member| member.id).collect();
    for partition in layout.partitions().iter() {
        assert_eq!(layout.owners(partition).len(), 5);
        for n in layout.sizes() {
            let mut list = layout.preference_list(partition, n);
            let owners: Vec<NodeId> = layout.owners(partition).take(usize::from(n)).collect();
            assert_eq!(list[..usize::from(n)], owners[..]);
            let fallbacks: Vec<NodeId> = layout.fallbacks(partition, n).collect();
            assert_eq!(list[usize::from(n)..], fallbacks[..]);
            assert!(owners.iter().all(|owner| layout.owns(*owner, partition, n)));
            assert!(!layout.owns(fallbacks[0], partition, n));
            list.sort_unstable();
            assert_eq!(list, all);
        }
    }
    assert_eq!(layout.owners(Partition(64)).len(), 0);
}

#[test]
fn with_fewer_members_than_copies_all_are_owners() {
    let mut layout = form((0..2).map(|n| member(n, 0, 1)), 64, &[1, 3]);
    for (number, owners) in [(2, 2), (3, 3), (4, 3)] {
        assert!(layout.partitions().iter().all(|p| layout.owners(p).len() == owners));
        layout = step(&layout, Command::Join(member(number, 0, 1)));
    }
    for owners in [3, 3, 2, 1] {
        let leaver = layout.members()[0].id;
        layout = step(&layout, Command::Leave(leaver));
        assert!(layout.partitions().iter().all(|p| layout.owners(p).len() == owners));
        Ring::of_owners(&layout).check_loads(1, 1.05).expect("balance");
    }
}

#[test]
fn replace_inherits_every_seat() {
    let before = five();
    let after = step(&before, Command::Replace { old: NodeId(2), new: plain(8) });
    let heir = |id: NodeId| if id == NodeId(2) { NodeId(8) } else { id };
    for partition in before.partitions().iter() {
        let expected: Vec<NodeId> = before.owners(partition).map(heir).collect();
        assert_eq!(after.owners(partition).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn commands_of_one_step_follow_each_other() {
    let layout = five();
    let commands = [
        Command::Replace { old: NodeId(2), new: plain(8) },
        Command::Replace { old: NodeId(8), new: plain(10) },
        Command::Join(plain(7)),
        Command::Leave(NodeId(7)),
    ];
    let after = layout.step(&commands, false).expect("a layout");
    let only = step(&layout, Command::Replace { old: NodeId(2), new: plain(10) });
    assert_eq!(after, only);
    assert_eq!(after.draining(), [plain(2)], "who joined and went in one step never was a member");
}

#[test]
fn an_id_never_returns_and_former_members_drain_until_they_are_forgotten() {
    let left = step(&five(), Command::Leave(NodeId(1)));
    assert_eq!(left.draining(), [plain(1)]);
    let words = refusal(&left, Command::Join(plain(1)));
    let again = "n1 was a member before; format its store again, so that it is a new node";
    assert_eq!(words, again);
    let forgotten = step(&left, Command::Forget(NodeId(1)));
    assert_eq!(forgotten.draining(), []);
    assert_ne!(forgotten.hash(), left.hash());
    assert!(left.lists(NodeId(1)) && !forgotten.lists(NodeId(1)));
    let words = refusal(&forgotten, Command::Forget(NodeId(2)));
    assert_eq!(words, "n2 is not a former member that drains");
}

#[test]
fn leave_and_remove_make_the_same_layout() {
    let layout = five();
    let left = step(&layout, Command::Leave(NodeId(3)));
    assert_eq!(left, step(&layout, Command::Remove(NodeId(3))));
    assert_eq!(left.member(NodeId(3)), None);
}

#[test]
fn weight_moves_slots_only_to_or_from_its_node() {
    let light = form((0..9).map(|n| member(n, 0, 2)), 1024, &[3]);
    let node = light.members()[4].id;
    let heavy = step(&light, Command::Weight(node, 3));
    for (before, after) in [(&light, &heavy), (&heavy, &step(&heavy, Command::Weight(node, 1)))] {
        let ring = Ring::of_owners(after);
        ring.check_loads(3, 1.05).expect("balance");
        let moves = &Plan::new(before, after).sizes[0].moves;
        assert!(!moves.is_empty());
        let concerned = moves.iter().filter(|m| m.from == Some(node) || m.to == Some(node));
        assert_eq!(concerned.count(), moves.len());
    }
}

#[test]
fn zone_and_address_are_changed() {
    let layout = form((0..9).map(|n| member(n, n % 4, 1)), 64, &[3]);
    let node = layout.members()[0].id;
    let zone = Zone("z3".into());
    let after = step(&layout, Command::Zone(node, zone.clone()));
    assert_eq!(after.member(node).expect("a member").zone, zone);
    Ring::of_owners(&after).check_zones(3).expect("zones");
    let address = step(&layout, Command::Address(node, "far.example:7400".into()));
    assert_eq!(&*address.member(node).expect("a member").address, "far.example:7400");
    assert_eq!(moves(&layout, &address), [0]);
}

#[test]
fn buckets_of_a_new_size_move_nothing_of_the_others() {
    let layout = form((0..12).map(|n| member(n, n % 3, 1)), 1024, &[3]);
    let larger = step(&layout, Command::BucketCreate(buckets(&[5]).remove(0)));
    assert_eq!(larger.sizes(), [3, 5]);
    assert_eq!(moves(&layout, &larger)[0], 0);
    let smaller = step(&larger, Command::BucketCreate(buckets(&[2]).remove(0)));
    assert_eq!(moves(&larger, &smaller)[1..], [0, 0]);
    for n in smaller.sizes() {
        Ring::of_owners(&smaller).check_loads(n, 1.05).expect("balance");
    }
}

#[test]
fn bucket_set_changes_the_defaults_alone() {
    let layout = five();
    let after = step(&layout, Command::BucketSet { name: name("size-3"), r: 1, w: 3 });
    let bucket = after.bucket(&name("size-3")).expect("the bucket");
    assert_eq!((bucket.r, bucket.w, bucket.strict_r), (1, 3, 2));
    assert_eq!(moves(&layout, &after), [0]);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let layout = five();
    let mut heavy = plain(7);
    heavy.weight = Member::MAX_WEIGHT + 1;
    let mut bad = buckets(&[3]).remove(0);
    bad.w = 4;
    let same = buckets(&[3]).remove(0);
    let unknown = Command::BucketSet { name: name("none"), r: 1, w: 1 };
    for (command, words) in [
        (Command::Join(plain(5)), "n5 is a member already"),
        (Command::Join(heavy), "weight of n7 is 1000001; allowed is 1 to 1000000"),
        (Command::Weight(NodeId(1), 0), "weight of n1 is 0; allowed is 1 to 1000000"),
        (Command::Weight(NodeId(9), 1), "n9 is not a member"),
        (Command::Leave(NodeId(9)), "n9 is not a member"),
        (Command::Remove(NodeId(9)), "n9 is not a member"),
        (Command::Zone(NodeId(9), Zone("a".into())), "n9 is not a member"),
        (Command::Replace { old: NodeId(9), new: plain(7) }, "n9 is not a member"),
        (Command::Replace { old: NodeId(1), new: plain(3) }, "n3 is a member already"),
        (
            Command::Replace { old: NodeId(1), new: plain(8) },
            "n8 of zone b cannot replace n1; allowed is a node of zone a",
        ),
        (Command::BucketCreate(bad), "bucket size-3: w is 4; allowed is 1 to n"),
        (Command::BucketCreate(same), "bucket size-3 exists already"),
        (unknown, "there is no bucket none"),
    ] {
        assert_eq!(refusal(&layout, command), words);
    }
}

#[test]
fn layouts_without_members_or_buckets_or_with_too_many_are_refused() {
    let partitions = Partitions::new(1).expect("a power of two");
    let form = |count, buckets| Layout::form((0..count).map(plain), partitions, buckets);
    assert_eq!(form(0, buckets(&[3])), Err(LayoutError::NoMembers));
    assert_eq!(form(3, Vec::new()), Err(LayoutError::NoBuckets));
    assert_eq!(form(1_025, buckets(&[1])), Err(LayoutError::TooManyMembers(1_025)));
    assert!(form(1_024, buckets(&[1])).is_ok());
}

#[test]
fn small_bounds_of_cancelled_are_for_models_alone() {
    let mut cart = Bucket::new(name("carts"), Kind::Cart, 3);
    cart.cancelled_bound = 2;
    let partitions = Partitions::new(1).expect("a power of two");
    assert!(Layout::form((1..=3).map(plain), partitions, [cart.clone()]).is_ok());
    let words = refusal(&five(), Command::BucketCreate(cart));
    assert_eq!(words, "bucket carts: cancelled_bound is 2; at least 2000 is allowed");
}

#[test]
fn losing_zones_is_refused_unless_accepted() {
    let layout = five();
    let commands = [Command::Leave(NodeId(2)), Command::Leave(NodeId(4))];
    let refused = layout.step(&commands, false).expect_err("a refusal");
    assert_eq!(refused, LayoutError::ZonesLost { n: 3, partitions: 64, zones: 1, needed: 2 });
    assert_eq!(
        refused.to_string(),
        "with n=3 the owners of 64 partitions would span 1 zones; \
         2 are needed unless the loss is accepted"
    );
    let accepted = layout.step(&commands, true).expect("a layout");
    assert_eq!(accepted.zones().len(), 1);
    let plan = Plan::new(&layout, &accepted);
    let size = plan.sizes.iter().find(|size| size.n == 3).expect("a size in use");
    assert_eq!(size.zones_short.len(), 64, "the plan names every partition");
    assert!(size.zones_short.iter().all(|(_, zones)| *zones == 1));
    assert!(layout.step(&commands[..1], false).is_ok());
}

#[test]
fn a_bucket_that_writes_to_more_zones_than_there_are_is_refused_unless_accepted() {
    let mut bucket = Bucket::new(name("safe"), Kind::Register, 3);
    bucket.spread = Spread::Zone;
    bucket.w = 3;
    let create = [Command::BucketCreate(bucket.clone())];
    let refused = five().step(&create, false).expect_err("a refusal");
    assert_eq!(refused, LayoutError::ZoneQuorum { bucket: name("safe"), w: 3, zones: 2 });
    assert!(five().step(&create, true).is_ok());
    let partitions = Partitions::new(64).expect("a power of two");
    assert_eq!(Layout::form((1..=5).map(plain), partitions, [bucket.clone()]), Err(refused));
    bucket.w = 2;
    assert!(five().step(&[Command::BucketCreate(bucket)], false).is_ok());
    let raise = Command::BucketSet { name: name("size-3"), r: 2, w: 3 };
    assert!(five().step(&[raise], false).is_ok(), "spread over nodes needs no zones");
}

#[test]
fn an_accepted_loss_of_zones_holds_up_no_later_command() {
    let mut bucket = Bucket::new(name("safe"), Kind::Register, 3);
    bucket.spread = Spread::Zone;
    let created =
        five().step(&[Command::BucketCreate(bucket)], false).expect("two zones are enough");
    let leaves = [Command::Leave(NodeId(2)), Command::Leave(NodeId(4))];
    let short = created.step(&leaves, true).expect("the loss is accepted");
    for command in [
        Command::Forget(NodeId(2)),
        Command::Weight(NodeId(1), 2),
        Command::Address(NodeId(1), "127.0.0.1:9".into()),
        Command::Join(plain(6)),
    ] {
        assert!(short.step(std::slice::from_ref(&command), false).is_ok(), "{command}");
    }
    let raise = Command::BucketSet { name: name("safe"), r: 2, w: 3 };
    assert!(short.step(&[raise], false).is_err(), "it would be shorter than before");
}

#[test]
fn fallbacks_follow_the_weights_and_nobody_else() {
    let weights = |n: u64| if n < 8 { 1 } else { 3 };
    let layout = form((0..16).map(|n| member(n, 0, weights(n))), 4_096, &[1]);
    let light: Vec<NodeId> = (0..8).map(|n| member(n, 0, 1).id).collect();
    // Each partition has one owner; the next is a draw among 15 nodes with 32 units between them.
    let first = layout.partitions().iter().filter_map(|p| layout.fallbacks(p, 1).next());
    let part = first.filter(|node| light.contains(node)).count() as f64 / 4_096.0;
    assert!((0.23..0.29).contains(&part), "a quarter of the weight, but {part} of the fallbacks");
    // A new node comes in between, the others stay in their order.
    let more = step(&layout, Command::Join(member(16, 0, 2)));
    for partition in layout.partitions().iter() {
        let both = |node: &NodeId| {
            layout.owners(partition).all(|owner| owner != *node)
                && more.owners(partition).all(|owner| owner != *node)
        };
        let known = |node: &NodeId| both(node) && layout.member(*node).is_some();
        let before: Vec<NodeId> = layout.fallbacks(partition, 1).filter(both).collect();
        let after: Vec<NodeId> = more.fallbacks(partition, 1).filter(known).collect();
        assert_eq!(before, after, "{partition}");
    }
}

#[test]
fn plan_says_what_moves_and_who_is_short() {
    let layout = five();
    let joined = step(&layout, Command::Join(plain(6)));
    let plan = Plan::new(&layout, &joined);
    assert_eq!(
        plan.to_string(),
        "layout 1 -> 2, 64 partitions\n\
         n=3: 32 of 192 slots move\n  \
         n1 38 -> 32 slots, first in 10\n  \
         n2 39 -> 32 slots, first in 10\n  \
         n3 38 -> 32 slots, first in 11\n  \
         n4 38 -> 32 slots, first in 11\n  \
         n5 39 -> 32 slots, first in 11\n  \
         n6 0 -> 32 slots, first in 11"
    );
    assert!(plan.sizes[0].moves.iter().all(|m| m.to == Some(NodeId(6)) && m.from.is_some()));
    assert!(plan.sizes[0].zones_short.is_empty());
    // Nodes that lost all seats are listed too, and slots that vanish have nobody to go to.
    let three = layout.step(&[Command::Leave(NodeId(1)), Command::Leave(NodeId(2))], false);
    let two = step(&three.clone().expect("a layout"), Command::Leave(NodeId(3)));
    let plan = Plan::new(&three.expect("a layout"), &two);
    assert_eq!(plan.sizes[0].moves.len(), 64);
    assert_eq!(plan.sizes[0].moves[5].to_string(), "q5 n3 -> -");
    assert_eq!(plan.sizes[0].loads[0].to_string(), "n3 64 -> 0 slots, first in 0");
}

#[test]
fn partitions_with_too_few_living_owners_are_counted() {
    let layout = five();
    assert_eq!(Plan::thin(&layout, &[NodeId(1)]), []);
    let hit = |p: &Partition| {
        layout.owners(*p).filter(|owner| [NodeId(1), NodeId(3)].contains(owner)).count() == 2
    };
    let both = layout.partitions().iter().filter(hit).count();
    assert!(both > 0);
    assert_eq!(Plan::thin(&layout, &[NodeId(1), NodeId(3)]), [(3, both)]);
}

#[test]
fn commands_and_members_have_one_line_names() {
    let lines: Vec<String> = [
        Command::Join(plain(7)),
        Command::Leave(NodeId(1)),
        Command::Remove(NodeId(1)),
        Command::Replace { old: NodeId(1), new: plain(7) },
        Command::Weight(NodeId(1), 3),
        Command::Zone(NodeId(1), Zone("b".into())),
        Command::Address(NodeId(1), "h:1".into()),
        Command::BucketCreate(buckets(&[3]).remove(0)),
        Command::BucketSet { name: name("x"), r: 1, w: 2 },
    ]
    .iter()
    .map(Command::to_string)
    .collect();
    assert_eq!(
        lines,
        [
            "join n7 n7 (127.0.0.1:7407, zone a, weight 1)",
            "leave n1",
            "remove n1",
            "replace n1 by n7 n7 (127.0.0.1:7407, zone a, weight 1)",
            "weight n1 3",
            "zone n1 b",
            "address n1 h:1",
            "bucket size-3 register n=3 r=2 w=2",
            "bucket x r=1 w=2",
        ]
    );
    assert_eq!(five().to_string(), "layout 1 (5 members, 64 partitions)");
}
