//! Bugs that were found, each with the steps that showed it.

use std::sync::Arc;

use cartwheel_protocol::{
    id::NodeId,
    key::Partitions,
    layout::{Command, Layout},
    membership::{
        Ballot, Choice, Decree, Evidence, Fate, MemberConfig, MemberEffect, MemberInput,
        MemberMessage, MemberTimer, Membership, Saved, Staged, Status, Wish,
    },
    rules::Rules,
    view::View,
};

use crate::{
    cluster::{Cluster, Faults, bucket, change, with_seeds},
    raises::saves,
};

const LONG: u64 = 60_000;

fn step(membership: &mut Membership, input: MemberInput) -> Vec<MemberEffect> {
    let mut effects = Vec::new();
    membership.step(input, &mut effects);
    effects
}

/// The layout of three nodes, and the joint view of it and one with this wish carried out.
fn views(staged: &Staged) -> (Arc<View>, Arc<View>) {
    let cluster = Cluster::new(0, Rules::sound(), 3, bucket(2, 2));
    let view = cluster.view(1).expect("a view").clone();
    let Wish::Change { command, .. } = &staged.wish else { panic!("it changes nothing") };
    let next: Layout = view.layout().step(std::slice::from_ref(command), false).expect("it fits");
    let joint = view.joint(1, Arc::new(next), Default::default(), Default::default());
    (view, Arc::new(joint))
}

/// A promise that came while a newer view was being saved brought about a vote, which was saved with the older view
/// over the newer one: after a crash the node went back.
#[test]
fn a_vote_is_not_saved_over_a_newer_view() {
    let wish = change(1, 1, Command::Weight(NodeId(1), 5));
    let (view, joint) = views(&wish);
    let mut node = Membership::new(NodeId(1), MemberConfig::new("n1", "host:1"));
    step(&mut node, MemberInput::Start(Some(Arc::new(Saved::new(view.clone())))));
    step(&mut node, MemberInput::Stage(wish));
    step(&mut node, MemberInput::Chosen(Choice::Backoff, 0));
    let effects = step(&mut node, MemberInput::Timeout(MemberTimer::Propose));
    let own_promise = saves(&effects).pop().expect("its promise is saved first").1;
    step(&mut node, MemberInput::Synced(own_promise));
    let mut undisturbed = node.clone();
    let message = MemberMessage::View(joint.clone());
    let effects = step(&mut node, MemberInput::Message { from: NodeId(2), message });
    assert_eq!(saves(&effects).len(), 1, "the newer view is being saved");
    let ballot = Ballot { round: 1, proposer: 1 };
    let message = MemberMessage::Promise(view.id(), ballot, None);
    let promise = MemberInput::Message { from: NodeId(2), message };
    let effects = step(&mut undisturbed, promise.clone());
    assert_eq!(saves(&effects).len(), 1, "without a newer view it votes");
    let effects = step(&mut node, promise);
    assert_eq!(saves(&effects), [], "the newer view was saved over");
    let message = MemberMessage::Accept(view.id(), ballot, Decree::Finish, false);
    let effects = step(&mut node, MemberInput::Message { from: NodeId(2), message });
    assert_eq!(effects, []);
}

/// The pause before the next attempt did not grow: where four messages took longer, no attempt ever succeeded.
#[test]
fn slow_links_do_not_keep_a_decree_from_being_decided() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 3, bucket(2, 2));
        cluster.faults = Faults { loss: 0, twice: 0, delay_ms: 250 };
        cluster.stage(1, change(1, 1, Command::Weight(NodeId(2), 5)));
        cluster.wait(LONG, "the change is done", |c| {
            c.is_settled() && c.view_id(1).is_some_and(|view| view.layout == 2)
        })
    });
}

/// A change without the command that was taken back was no layout any more, because another one rested on it: nobody
/// voted for the amendment, and it was proposed for ever.
#[test]
fn what_rests_on_a_withdrawn_join_is_given_up_with_it() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 3, bucket(2, 2));
        let member = cluster.member(9);
        cluster.stage(1, change(1, 1, Command::Join(member)));
        cluster.stage(1, change(2, 1, Command::Weight(NodeId(9), 5)));
        cluster.wait(LONG, "both are under way", |c| {
            c.view(1).is_some_and(|view| view.change().commands.len() == 2)
        })?;
        cluster.stage(2, Staged { id: 3, base: 1, wish: Wish::Withdraw(1) });
        cluster.wait(LONG, "the change is amended", Cluster::is_settled)?;
        assert!(!cluster.members(1).contains(&9));
        Ok(())
    });
}

/// A wish that asks for what is so already was proposed only together with another one, and shown until then.
#[test]
fn a_wish_for_what_is_so_is_not_kept() {
    let mut cluster = Cluster::new(0, Rules::sound(), 3, bucket(2, 2));
    let member = cluster.member(2);
    for (id, command) in [
        Command::Weight(NodeId(1), 1),
        Command::Join(member.clone()),
        Command::Address(NodeId(2), member.address),
        Command::Forget(NodeId(77)),
        Command::BucketCreate(bucket(2, 2)),
    ]
    .into_iter()
    .enumerate()
    {
        let text = command.to_string();
        cluster.stage(1, change(id as u128, 1, command));
        assert_eq!(cluster.membership(1).staged().next(), None, "{text}");
    }
    cluster.stage(1, change(9, 1, Command::Weight(NodeId(1), 2)));
    assert_eq!(cluster.membership(1).staged().count(), 1, "this one is of use");
}

/// A wish that the layout refused was settled together with others, and nobody was told.
#[test]
fn a_refused_wish_stays_and_says_why() {
    let mut cluster = Cluster::with_zones(0, Rules::sound(), 3, bucket(2, 2), 3);
    let leave = change(1, 1, Command::Leave(NodeId(3)));
    cluster.stage(1, leave.clone());
    cluster.stage(1, change(2, 1, Command::Weight(NodeId(1), 2)));
    let done = cluster.wait(LONG, "the other one is done", |c| {
        (1..=3).all(|n| c.view_id(n).is_some_and(|view| view.layout == 2))
    });
    assert_eq!(done, Ok(()));
    let staged: Vec<Staged> = cluster.membership(2).staged().cloned().collect();
    assert_eq!(staged, [leave]);
    let outlook = cluster.membership(2).outlook(&staged).expect("it has a view");
    let [(_, Fate::Refused(why))] = outlook.fates.as_slice() else { panic!("{outlook:?}") };
    assert!(why.to_string().contains("would span 2 zones"), "{why}");
    assert_eq!(outlook.next.number(), 2, "nothing applies");
}

/// A node forgot with a restart what it had claimed: the others knew more of it than it did itself, and told it so in
/// every exchange.
#[test]
fn a_restarted_node_learns_its_own_claims_from_others() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 3, bucket(2, 2));
        cluster.add_joiner(9, &[1]);
        cluster.wait(LONG, "n9 is a member", |c| c.is_member(9) && c.is_settled())?;
        cluster.run(1_000)?;
        cluster.crash(9);
        cluster.start(9);
        cluster.wait(5_000, "all know the same of n9", |c| {
            let of_nine = |observer: u64| {
                let mut rows = c.membership(observer).rows();
                rows.find(|row| row.node == NodeId(9)).map(|row| (row.view, row.caught_up))
            };
            of_nine(9).is_some_and(|mine| mine.1.is_some()) && of_nine(9) == of_nine(1)
        })
    });
}

/// A peer that opened a connection and then fell silent was never suspected again by its heartbeat.
#[test]
fn a_peer_that_falls_silent_after_it_opened_is_suspected_again() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 3, bucket(2, 2));
        cluster.cut(&[3]);
        let suspects = |c: &Cluster| c.membership(1).suspected().contains(&NodeId(3));
        cluster.wait(10_000, "n3 is suspected", suspects)?;
        let evidence = Evidence::Opened(NodeId(3));
        cluster.step(1, MemberInput::Evidence(evidence));
        assert!(!suspects(&cluster));
        cluster.wait(10_000, "n3 is suspected again", suspects)
    });
}

/// A joiner whose join was taken back was left out of every layout, with the copies that it had taken in as a fallback.
#[test]
fn a_joiner_that_lives_hands_off_when_its_join_is_taken_back() {
    with_seeds(0..10, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 3, bucket(2, 2));
        let joins = Command::Join(cluster.member(9));
        cluster.add(9, Some(joins), &[1]);
        cluster.node_mut(9).is_stuck = true;
        cluster.start(9);
        cluster.wait(LONG, "its join is under way", |c| {
            c.view(9).is_some_and(|view| view.next().is_some())
        })?;
        let of_nine = cluster.view(9).expect("a view").change().commands[0].id;
        cluster.stage(2, Staged { id: 3, base: 1, wish: Wish::Withdraw(of_nine) });
        cluster.wait(LONG, "the change is amended", Cluster::is_settled)?;
        let view = cluster.view(9).expect("a view");
        assert!(view.lists(NodeId(9)) && !view.is_member(NodeId(9)), "it drains");
        assert_eq!(cluster.status(1, 9), Some(Status::Leaving));
        Ok(())
    });
}

/// Two nodes that each met a silence of the other suspected each other for as long as nothing else was to be said: their trees were
/// not compared, and the cluster never became quiet.
#[test]
fn nodes_that_suspect_each_other_and_have_nothing_to_say_are_taken_back() {
    with_seeds(0..20, |seed, rules| {
        let mut cluster = Cluster::new(seed, rules, 7, bucket(2, 2));
        cluster.run(5_000)?;
        let silent = |node| MemberInput::Evidence(Evidence::Silent(NodeId(node)));
        cluster.step(1, silent(3));
        cluster.step(3, silent(1));
        let suspects = |cluster: &Cluster, node| !cluster.membership(node).suspected().is_empty();
        assert!(suspects(&cluster, 1) && suspects(&cluster, 3));
        cluster.wait(1_000, "they are taken back", |cluster| {
            !suspects(cluster, 1) && !suspects(cluster, 3)
        })
    });
}

/// Two programs that lay out a cluster differently make two layouts of one decree, and their view has one number: nobody
/// noticed.
#[test]
fn two_layouts_under_one_number_are_told_of() {
    let heavier = |weight| {
        let command = Command::Weight(NodeId(1), weight);
        views(&change(1, 1, command)).1
    };
    let (mine, other) = (heavier(5), heavier(6));
    assert_eq!(mine.id(), other.id(), "one number");
    let node_in = |view: &Arc<View>, id: u64| {
        let mut node = Membership::new(NodeId(id), MemberConfig::new("n", "host:1"));
        step(&mut node, MemberInput::Start(Some(Arc::new(Saved::new(view.clone())))));
        node
    };
    for (theirs, disagrees) in [(&mine, false), (&other, true)] {
        let (mut node, mut peer) = (node_in(&mine, 1), node_in(theirs, 2));
        let effects = step(&mut peer, MemberInput::Chosen(Choice::Partner, 0));
        let gossip = effects.iter().find_map(|effect| {
            let MemberEffect::Send { to: NodeId(1), message } = effect else { return None };
            Some(message.clone())
        });
        let message = gossip.expect("it gossips with the first of the others");
        let effects = step(&mut node, MemberInput::Message { from: NodeId(2), message });
        let told = MemberEffect::Disagrees { node: NodeId(2), era: mine.id().era() };
        assert_eq!(effects.contains(&told), disagrees, "{effects:?}");
    }
}

/// A view in which keys hash into fewer partitions was gone by, saved, and gone by again at every later start: what was
/// stored had no place in it.
#[test]
fn a_view_with_another_number_of_partitions_is_ignored() {
    let wish = change(1, 1, Command::Weight(NodeId(1), 5));
    let (view, joint) = views(&wish);
    let few = Partitions::new(1).expect("a power of two");
    assert_ne!(view.partitions(), few);
    let layout = |of: &Layout| {
        let members = of.members().iter().cloned();
        Layout::form(members, few, of.buckets().iter().cloned()).expect("a layout")
    };
    let other = View::new(Arc::new(layout(view.layout())));
    let next = Arc::new(other.layout().step(&[], false).expect("it fits"));
    let other = Arc::new(other.joint(1, next, Default::default(), Default::default()));
    let mut node = Membership::new(NodeId(1), MemberConfig::new("n1", "host:1"));
    step(&mut node, MemberInput::Start(Some(Arc::new(Saved::new(view)))));
    for (sent, taken) in [(other, 0), (joint, 1)] {
        let message = MemberMessage::View(sent);
        let effects = step(&mut node, MemberInput::Message { from: NodeId(2), message });
        assert_eq!(saves(&effects).len(), taken);
    }
}
