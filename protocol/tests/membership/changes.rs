//! Nodes that join, leave, are replaced and removed; changes that are interrupted, taken back and resumed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use cartwheel_protocol::{
    id::NodeId,
    layout::{Command, Member},
    membership::{Decree, Evidence, Fate, MemberInput, Staged, Status, Wish, outcome},
    reap_page::Reaped,
    rules::Rules,
    view::{View, ViewId},
};

use crate::cluster::{Cluster, Faults, bucket, change, with_seeds};

const SEEDS: std::ops::Range<u64> = 0..40;
/// In milliseconds of virtual time: changes take tenths of seconds, gossip's period is one tenth.
const LONG: u64 = 60_000;

fn cluster(seed: u64, rules: Rules, members: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, rules, members, bucket(2, 2));
    cluster.faults = Faults::SOME;
    cluster
}

fn set<const N: usize>(nodes: [u64; N]) -> BTreeSet<u64> {
    nodes.into()
}

fn accepting(id: u128, command: Command) -> Staged {
    Staged { id, base: 1, wish: Wish::Change { command, accept_loss: true } }
}

fn withdraw(id: u128, of: u128) -> Staged {
    Staged { id, base: 1, wish: Wish::Withdraw(of) }
}

#[test]
fn a_joiner_that_knows_one_seed_becomes_a_member() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 1 + seed % 4);
        cluster.add_joiner(9, &[1]);
        cluster.wait(LONG, "n9 is a member", |c| c.is_member(9) && c.is_settled())?;
        assert_eq!(cluster.status(1, 9), Some(Status::Up));
        Ok(())
    });
}

#[test]
fn two_joins_at_once_are_both_carried_out() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 3);
        cluster.add_joiner(8, &[1]);
        cluster.add_joiner(9, &[2]);
        cluster.wait(LONG, "n8 and n9 are members", |c| {
            c.is_member(8) && c.is_member(9) && c.is_settled()
        })
    });
}

#[test]
fn a_node_that_leaves_drains_and_is_forgotten() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 4);
        cluster.stage(2, change(1, 1, Command::Leave(NodeId(3))));
        cluster.wait(LONG, "n3 is removed", |c| {
            [1, 2, 3, 4].iter().all(|n| c.status(*n, 3) == Some(Status::Removed)) && c.is_settled()
        })?;
        assert_eq!(cluster.members(1), set([1, 2, 4]));
        assert!(!cluster.view(1).expect("a view").lists(NodeId(3)));
        Ok(())
    });
}

#[test]
fn a_node_that_leaves_is_listed_until_it_has_drained() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 4);
        cluster.node_mut(3).is_stuck = true;
        cluster.stage(2, change(1, 1, Command::Leave(NodeId(3))));
        let is_out = |c: &Cluster| c.is_settled() && !c.is_member(3);
        cluster.wait(LONG, "n3 is no member", is_out)?;
        cluster.run(5_000)?;
        assert!(cluster.view(1).expect("a view").lists(NodeId(3)), "n3 has not drained");
        assert_eq!(cluster.status(1, 3), Some(Status::Leaving));
        cluster.stage(1, change(2, 1, Command::Forget(NodeId(3))));
        cluster.wait(LONG, "n3 is forgotten", |c| {
            c.status(2, 3) == Some(Status::Removed) && c.is_settled()
        })
    });
}

#[test]
fn a_node_with_an_empty_disk_replaces_its_dead_namesake_by_itself() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 3);
        cluster.crash(2);
        let heir = Member { id: NodeId(22), ..cluster.member(2) };
        cluster.add(22, Some(Command::Join(heir)), &[1]);
        cluster.start(22);
        cluster.wait(LONG, "n22 has the place of n2", |c| c.is_member(22) && c.is_settled())?;
        assert_eq!(cluster.members(1), set([1, 3, 22]));
        assert_eq!(cluster.status(1, 2), Some(Status::Leaving), "n2 may hold hints");
        Ok(())
    });
}

/// Three members, and n22, which would join under the name of the second.
fn with_namesake_of_the_second(seed: u64, rules: Rules) -> Cluster {
    let mut cluster = cluster(seed, rules, 3);
    cluster.faults = Faults::NONE;
    let heir = Member { id: NodeId(22), ..cluster.member(2) };
    cluster.add(22, Some(Command::Join(heir)), &[1]);
    cluster.start(22);
    cluster
}

#[test]
fn a_mistyped_name_evicts_nobody_who_lives() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = with_namesake_of_the_second(seed, rules);
        cluster.run(20_000)?;
        assert_eq!(cluster.members(1), set([1, 2, 3]));
        assert_eq!(cluster.status(1, 22), Some(Status::Joining), "it is shown as waiting");
        Ok(())
    });
}

/// It lives for everybody but the node that would have its place.
#[test]
fn a_namesake_whose_heart_beats_is_not_evicted_by_a_node_that_cannot_reach_it() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = with_namesake_of_the_second(seed, rules);
        cluster.wait(LONG, "n22 has a view", |c| c.view(22).is_some())?;
        for _ in 0..200 {
            // What n2 sends to it gets through, so that it has to find out again.
            cluster.step(22, MemberInput::Evidence(Evidence::Closed(NodeId(2))));
            assert!(cluster.membership(22).suspected().contains(&NodeId(2)), "n22 cannot reach it");
            cluster.run(100)?;
        }
        assert_eq!(cluster.members(1), set([1, 2, 3]));
        Ok(())
    });
}

/// A joiner that was cut off for a while found everybody dead, its namesake too, and wished for that one's place: when it is heard
/// again the wish waits, however long it stays.
#[test]
fn a_namesake_that_only_a_cut_off_joiner_found_dead_is_not_evicted() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = with_namesake_of_the_second(seed, rules);
        cluster.wait(LONG, "n22 has a view", |c| c.view(22).is_some())?;
        cluster.cut(&[22]);
        let wishes = |c: &Cluster, node: u64| {
            let is_replacement = |staged: &&Staged| {
                matches!(&staged.wish, Wish::Change { command: Command::Replace { .. }, .. })
            };
            c.membership(node).staged().any(|staged| is_replacement(&staged))
        };
        cluster.wait(LONG, "n22 wishes for the place of n2", |c| wishes(c, 22))?;
        cluster.heal();
        cluster.wait(LONG, "n1 knows of the wish", |c| wishes(c, 1))?;
        cluster.run(30_000)?;
        assert_eq!(cluster.members(1), set([1, 2, 3]));
        cluster.crash(2);
        cluster.wait(LONG, "n22 has the place of n2, which is dead", |c| c.is_member(22))
    });
}

/// With Ws = 1 every owner may hold the only strict copy: one dead owner blocks.
#[test]
fn a_dead_owner_blocks_its_removal_until_the_loss_is_accepted() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 3, bucket(3, 1));
        cluster.faults = Faults::SOME;
        cluster.crash(2);
        // What it sent before arrives, and counts as an answer.
        cluster.run(2_000)?;
        cluster.wait(LONG, "n2 is suspected", |c| {
            [1, 3].iter().all(|n| c.membership(*n).suspected().contains(&NodeId(2)))
        })?;
        let remove = change(1, 1, Command::Remove(NodeId(2)));
        cluster.stage(1, remove.clone());
        cluster.run(10_000)?;
        assert_eq!(cluster.members(1), set([1, 2, 3]), "the removal waits");
        let outlook = cluster.membership(1).outlook(&[remove]).expect("it has a view");
        assert_eq!(outlook.thin, [(3, 4)]);
        assert!(outlook.fates[0].1.to_string().starts_with("blocked"), "{}", outlook.fates[0].1);
        cluster.stage(3, accepting(2, Command::Remove(NodeId(2))));
        cluster.wait(LONG, "n2 is taken out", |c| c.is_settled() && !c.members(1).contains(&2))
    });
}

/// A leaver that dies while it leaves is an owner of the older layout still, and with Rs = 1 the change waits until it is in the joint
/// view.
#[test]
fn a_leaver_that_dies_while_it_leaves_is_named_as_lost_within_the_change() {
    let named = AtomicU64::new(0);
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 4, bucket(1, 3));
        cluster.stage(1, change(1, 1, Command::Leave(NodeId(2))));
        cluster.wait(LONG, "the change has begun", |c| {
            c.view(1).is_some_and(|view| view.next().is_some())
        })?;
        cluster.crash(2);
        cluster.wait(LONG, "n2 is suspected", |c| {
            [1, 3, 4].iter().all(|n| c.membership(*n).suspected().contains(&NodeId(2)))
        })?;
        cluster.run(10_000)?;
        let Some(view) = cluster.view(3).filter(|view| view.next().is_some()) else {
            // With some seeds it was in the joint view before it died.
            return Ok(());
        };
        assert!(view.layout().member(NodeId(2)).is_some(), "it is an owner still");
        named.fetch_add(1, Ordering::Relaxed);
        let lost = accepting(2, Command::Remove(NodeId(2)));
        let outlook = cluster.membership(3).outlook(std::slice::from_ref(&lost)).expect("a view");
        assert_eq!(outlook.fates[0].1, Fate::Next, "it amends the change");
        cluster.stage(3, lost);
        cluster.wait(LONG, "the change is amended and finishes", |c| {
            c.is_settled() && !c.members(1).contains(&2)
        })
    });
    assert!(named.into_inner() > 0, "no seed had it stuck");
}

/// What only names a loss takes nothing else back: neither the node that replaces the lost one, nor, when it is taken back
/// itself, the command that it stands beside.
#[test]
fn a_loss_that_is_named_within_a_change_changes_nothing_else_of_it() {
    let new = Cluster::new(0, Rules::sound(), 4, bucket(1, 3)).member(9);
    let replace = change(1, 1, Command::Replace { old: NodeId(2), new });
    let leave = change(1, 1, Command::Leave(NodeId(2)));
    let loss = accepting(2, Command::Remove(NodeId(2)));
    for first in [replace, leave] {
        let before = Cluster::new(0, Rules::sound(), 4, bucket(1, 3));
        let view = before.view(1).expect("a view").clone();
        let joint = |view: &View, commands: &[Staged]| {
            let (commands, withdrawn) = (commands.into(), [].into());
            let decree = Decree::Joint { commands, withdrawn, reaped: Reaped::default() };
            outcome(view, &decree).expect("it is a change")
        };
        let changing = joint(&view, std::slice::from_ref(&first));
        let named = joint(&changing, &[first.clone(), loss.clone()]);
        assert_eq!(*named.change().accepted_losses, [NodeId(2)]);
        assert_eq!(named.next(), changing.next(), "the layout is the same: {first}");
        let without = joint(&named, std::slice::from_ref(&first));
        assert!(without.change().accepted_losses.is_empty(), "it was taken back: {first}");
        assert_eq!(without.next(), changing.next(), "and nothing else: {first}");
    }
}

/// A loss that was wished for and taken back before anybody carried it out is not carried out.
#[test]
fn a_loss_that_is_taken_back_in_time_is_not_named() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 4, bucket(1, 3));
        cluster.stage(1, change(1, 1, Command::Leave(NodeId(2))));
        cluster.wait(LONG, "the change has begun", |c| {
            c.view(1).is_some_and(|view| view.next().is_some())
        })?;
        cluster.crash(2);
        cluster.stage(1, accepting(2, Command::Remove(NodeId(2))));
        cluster.stage(1, withdraw(3, 2));
        cluster.run(10_000)?;
        let view = cluster.view(1).expect("a view");
        assert!(view.change().accepted_losses.is_empty(), "{:?}", view.change());
        Ok(())
    });
}

#[test]
fn a_dead_owner_that_comes_back_unblocks_its_removal() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 4, bucket(3, 1));
        cluster.crash(2);
        cluster.stage(1, change(1, 1, Command::Remove(NodeId(2))));
        cluster.run(3_000)?;
        cluster.start(2);
        cluster.wait(LONG, "n2 has drained and is forgotten", |c| {
            c.is_settled() && c.status(1, 2) == Some(Status::Removed)
        })
    });
}

#[test]
fn wishes_of_both_sides_of_a_partition_are_carried_out_when_it_heals() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 5);
        cluster.cut(&[4, 5]);
        cluster.stage(1, change(1, 1, Command::Weight(NodeId(1), 3)));
        cluster.stage(4, change(2, 1, Command::Weight(NodeId(4), 5)));
        cluster.stage(5, change(3, 1, Command::Address(NodeId(5), "elsewhere:1".into())));
        let begun = |view: ViewId| (view.layout, view.decree) > (1, 0);
        cluster.wait(LONG, "the greater side decides", |c| c.view_id(1).is_some_and(begun))?;
        assert_eq!(cluster.view_id(4), Some(ViewId::of_layout(1)), "the lesser side waits");
        cluster.heal();
        cluster.wait(LONG, "all wishes are carried out", |c| {
            let layout = c.view(1).expect("a view").layout();
            let member = |id| layout.member(NodeId(id)).expect("a member");
            c.is_settled()
                && (member(1).weight, member(4).weight) == (3, 5)
                && &*member(5).address == "elsewhere:1"
        })
    });
}

#[test]
fn an_interrupted_change_goes_on_when_all_have_restarted() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 3);
        cluster.add_joiner(9, &[1]);
        cluster.wait(LONG, "the change has begun", |c| {
            c.view(2).is_some_and(|view| view.next().is_some())
        })?;
        [1, 2, 3, 9].into_iter().for_each(|node| cluster.crash(node));
        [1, 2, 3, 9].into_iter().for_each(|node| cluster.start(node));
        cluster.wait(LONG, "n9 is a member", |c| c.is_member(9) && c.is_settled())
    });
}

#[test]
fn the_join_of_a_node_that_died_is_taken_back() {
    let taken_back = AtomicU64::new(0);
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 3);
        cluster.add_joiner(9, &[1]);
        cluster.wait(LONG, "the change has begun", |c| {
            c.view(1).is_some_and(|view| view.next().is_some())
        })?;
        cluster.crash(9);
        cluster.run(2_000)?;
        let commands = cluster.view(1).expect("a view").change().commands.clone();
        // With some seeds it was a member before it died.
        let Some(join) = commands.first() else { return Ok(()) };
        taken_back.fetch_add(1, Ordering::Relaxed);
        cluster.stage(2, withdraw(7, join.id));
        cluster.wait(LONG, "the change is amended", |c| c.is_settled())?;
        assert_eq!(cluster.members(1), set([1, 2, 3]));
        let lists = cluster.view(1).expect("a view").lists(NodeId(9));
        assert!(lists, "n9 may hold what it took in while it was about to be a member");
        cluster.start(9);
        cluster.wait(LONG, "n9 has drained", |c| {
            c.is_settled() && c.status(1, 9) == Some(Status::Removed)
        })
    });
    assert!(taken_back.into_inner() > 0, "no seed has a change to take back");
}

#[test]
fn a_dead_node_that_a_change_waits_for_is_removed_within_it() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 4);
        cluster.node_mut(2).is_stuck = true;
        cluster.node_mut(4).is_stuck = true;
        cluster.stage(1, change(1, 1, Command::Leave(NodeId(3))));
        cluster.wait(LONG, "the change has begun", |c| {
            c.view(1).is_some_and(|view| view.next().is_some())
        })?;
        cluster.run(3_000)?;
        cluster.crash(2);
        cluster.node_mut(4).is_stuck = false;
        cluster.crash(4);
        cluster.start(4);
        cluster.stage(1, change(2, 1, Command::Remove(NodeId(2))));
        cluster.wait(LONG, "n2 and n3 are out", |c| c.is_settled() && c.members(1) == set([1, 4]))
    });
}

#[test]
fn a_removed_node_that_comes_back_goes_by_the_newest_view_and_drains() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 4);
        cluster.crash(4);
        cluster.stage(1, change(1, 1, Command::Remove(NodeId(4))));
        cluster.wait(LONG, "n4 is taken out", |c| c.is_settled() && !c.members(1).contains(&4))?;
        cluster.stage(2, change(2, 2, Command::Weight(NodeId(1), 7)));
        cluster.wait(LONG, "the cluster went on", |c| {
            c.is_settled() && c.view_id(1).is_some_and(|view| view.layout == 3)
        })?;
        cluster.start(4);
        cluster.wait(LONG, "n4 has drained and knows it", |c| {
            c.status(4, 4) == Some(Status::Removed) && c.is_settled()
        })?;
        assert!(!cluster.view(4).expect("a view").is_member(NodeId(4)));
        Ok(())
    });
}

#[test]
fn a_forgotten_node_does_not_join_again_by_itself_after_any_restart() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = cluster(seed, rules, 3);
        cluster.add_joiner(9, &[1]);
        cluster.wait(LONG, "n9 is a member", |c| c.is_member(9) && c.is_settled())?;
        cluster.stage(1, change(1, 2, Command::Leave(NodeId(9))));
        let is_gone = |c: &Cluster| c.is_settled() && c.status(9, 9) == Some(Status::Removed);
        cluster.wait(LONG, "n9 is removed", is_gone)?;
        [1, 2, 3, 9].into_iter().for_each(|node| cluster.crash(node));
        [1, 2, 3, 9].into_iter().for_each(|node| cluster.start(node));
        cluster.run(5_000)?;
        assert_eq!(cluster.members(1), set([1, 2, 3]));
        assert_eq!(cluster.status(9, 9), Some(Status::Removed));
        Ok(())
    });
}

#[test]
fn a_wish_that_is_taken_back_in_time_is_never_carried_out() {
    with_seeds(SEEDS, |seed, rules| {
        let mut cluster = cluster(seed, rules, 3);
        cluster.cut(&[1]);
        cluster.stage(1, change(1, 1, Command::Leave(NodeId(2))));
        cluster.stage(1, withdraw(2, 1));
        cluster.run(2_000)?;
        cluster.heal();
        cluster.wait(LONG, "both are settled", |c| c.is_settled())?;
        assert_eq!(cluster.members(3), set([1, 2, 3]));
        Ok(())
    });
}
