//! Views that begin reap rounds: what they leave behind is in every later view, whatever decrees do meanwhile.

use std::sync::Arc;

use cartwheel_protocol::{
    Fact,
    id::{AddId, NodeId},
    key::{Key, Partition},
    membership::{Ballot, Decree, MemberEffect, MemberInput, MemberMessage, Membership, Saved},
    object::Digest,
    reap_page::{Goes, ReapPage, Reapable, Reaped},
    rules::Rules,
    view::{View, ViewId},
};

use crate::{
    agreement::disturb,
    cluster::{Cluster, Faults, bucket, change, seeds, with_seeds},
    raises::{first_of_three, saves, step, told, weight},
};

const FLOOR: Option<AddId> = Some(AddId(7));

/// What a round names: which keys does not matter here.
fn page() -> Arc<ReapPage> {
    let key = Key::new(bucket(2, 2).name, &b"k"[..]);
    let item = Reapable { key, digest: Digest(1), goes: Goes::Whole };
    Arc::new(ReapPage { partition: Partition(0), items: [item].into() })
}

/// A shard of the node wants to begin a round.
fn want_round(cluster: &mut Cluster, node: u64) {
    let Some(view) = cluster.view_id(node) else { return };
    let floor = Some(AddId(cluster.random.below(1_000).into()));
    let fact = Fact::Reap { view, page: page(), floor };
    cluster.step(node, MemberInput::Report { shard: 0, fact });
}

/// A shard wants a round above this view: what is to be saved then.
fn want(node: &mut Membership, view: ViewId) -> Option<(Arc<Saved>, MemberInput)> {
    let fact = Fact::Reap { view, page: page(), floor: FLOOR };
    let effects = step(node, MemberInput::Report { shard: 0, fact });
    saves(&effects).pop().map(|(saved, ticket)| (saved, MemberInput::Synced(ticket)))
}

/// The view that the shards are given.
fn given(effects: &[MemberEffect]) -> Option<Arc<View>> {
    effects.iter().find_map(|effect| match effect {
        MemberEffect::View(view) => Some(view.clone()),
        MemberEffect::Send { .. }
        | MemberEffect::Save { .. }
        | MemberEffect::Suspect { .. }
        | MemberEffect::Addresses
        | MemberEffect::Disagrees { .. }
        | MemberEffect::SetTimer { .. }
        | MemberEffect::Choose { .. } => None,
    })
}

fn decree(reaped: Reaped) -> Decree {
    Decree::Joint { commands: [change(1, 1, weight(5))].into(), withdrawn: [].into(), reaped }
}

/// The second member asks for a vote: whether it is given.
fn votes(node: &mut Membership, after: ViewId, round: u64, decree: Decree, bound: bool) -> bool {
    let ballot = Ballot { round, proposer: 2 };
    let message = MemberMessage::Accept(after, ballot, decree.clone(), bound);
    let effects = step(node, MemberInput::Message { from: NodeId(2), message });
    saves(&effects).iter().any(|(saved, _)| saved.accepted == Some((ballot, decree.clone())))
}

#[test]
fn a_round_begins_with_a_raised_view_that_names_its_page() {
    let (mut node, view) = first_of_three();
    let (saved, synced) = want(&mut node, view.id()).expect("the view is raised");
    let id = ViewId { reap: (1, NodeId(1)), ..view.id() };
    assert_eq!(saved.view.id(), id);
    assert_eq!(saved.view.page(), Some(&page()));
    assert_eq!(saved.view.reaped(), Reaped { fence: Some(id), floor: FLOOR });
    let effects = step(&mut node, synced);
    assert_eq!(told(&effects), [(2, id), (3, id)]);
    assert_eq!(given(&effects).as_ref(), Some(&saved.view));
    // A later raise names nothing, and carries what this round has left behind.
    let fact = Fact::Damaged(id);
    let effects = step(&mut node, MemberInput::Report { shard: 0, fact });
    let (later, _) = saves(&effects).pop().expect("the view is raised");
    assert_eq!((later.view.page(), later.view.reaped()), (None, saved.view.reaped()));
}

#[test]
fn there_is_no_round_above_an_older_view_nor_while_the_layout_changes_nor_for_who_has_voted() {
    let (mut node, view) = first_of_three();
    let joint = Arc::new(View::clone(&view)).layout().step(&[weight(5)], false).expect("it fits");
    let joint = view.joint(1, Arc::new(joint), Default::default(), Reaped::default());
    let mut changing = first_of_three().0;
    let message = MemberMessage::View(Arc::new(joint.clone()));
    let effects = step(&mut changing, MemberInput::Message { from: NodeId(2), message });
    let (_, ticket) = saves(&effects).pop().expect("the joint view is saved");
    step(&mut changing, MemberInput::Synced(ticket));
    assert!(want(&mut changing, joint.id()).is_none(), "the layout changes");
    assert!(want(&mut changing, view.id()).is_none(), "the view is another");
    assert!(votes(&mut node, view.id(), 1, decree(Reaped::default()), false));
    assert!(want(&mut node, view.id()).is_none(), "it has voted");
}

#[test]
fn who_has_voted_takes_no_part_in_a_round() {
    let (mut node, view) = first_of_three();
    assert!(votes(&mut node, view.id(), 1, decree(Reaped::default()), false));
    let round = Arc::new(view.reaping(NodeId(2), page(), FLOOR));
    let message = MemberMessage::View(round.clone());
    let effects = step(&mut node, MemberInput::Message { from: NodeId(2), message });
    let (saved, ticket) = saves(&effects).pop().expect("the view is saved");
    assert_eq!(saved.view, round, "others may yet hear of it from here");
    let effects = step(&mut node, MemberInput::Synced(ticket));
    assert_eq!(given(&effects), Some(Arc::new(round.without_page())), "its shards judge nothing");
}

#[test]
fn an_acceptor_votes_for_no_decree_that_forgets_a_round_unless_it_is_bound() {
    let (mut node, view) = first_of_three();
    let (saved, synced) = want(&mut node, view.id()).expect("the view is raised");
    let known = saved.view.reaped();
    // While the view is being saved, and when it is gone by.
    for round in [1, 2] {
        assert!(!votes(&mut node, view.id(), round, decree(Reaped::default()), false));
        let lower = Reaped { floor: Some(AddId(6)), ..known };
        assert!(!votes(&mut node, view.id(), round, decree(lower), false));
        step(&mut node, synced.clone());
    }
    let mut bound = node.clone();
    assert!(votes(&mut bound, view.id(), 3, decree(Reaped::default()), true));
    assert!(votes(&mut node, saved.view.id(), 3, decree(known), false));
}

#[test]
fn what_a_decree_leads_to_carries_what_the_decree_names() {
    let (_, view) = first_of_three();
    let reaping = view.reaping(NodeId(2), page(), FLOOR);
    let reaped = reaping.reaped();
    // Whoever carries it out, whether it has come to the round's view or not.
    let outcomes = [&*view, &reaping].map(|before| {
        cartwheel_protocol::membership::outcome(before, &decree(reaped)).expect("it fits")
    });
    assert_eq!(outcomes[0], outcomes[1]);
    let finished = outcomes[0].finished().expect("there is a change to finish");
    assert_eq!((outcomes[0].reaped(), finished.reaped()), (reaped, reaped));
}

/// A walk in which rounds begin and views are raised at random moments while decrees run and nodes crash. Gives how many
/// rounds everybody was fit for.
pub(crate) fn walk_reaped(seed: u64, rules: Rules) -> Result<u64, String> {
    let members = 3 + seed % 3;
    let mut cluster = Cluster::new(seed, rules, members, bucket(2, 2));
    cluster.faults = Faults { delay_ms: 10 << (seed % 4), loss: 5, ..Faults::SOME };
    let mut wishes = 0;
    for _ in 0..80 {
        cluster.run(20 + cluster.seed % 5 * 20)?;
        for node in 1..=members {
            if cluster.random.percent(20) {
                want_round(&mut cluster, node);
            }
            if cluster.random.percent(3) {
                cluster.find_damage(node);
            }
        }
        if cluster.random.percent(30) {
            disturb(&mut cluster, members, &mut wishes);
        }
    }
    cluster.heal();
    cluster.faults = Faults::NONE;
    let down: Vec<u64> = cluster.nodes.keys().copied().filter(|n| !cluster.is_up(*n)).collect();
    down.into_iter().for_each(|node| cluster.start(node));
    cluster.wait(120_000, "everything is settled", Cluster::is_settled)?;
    Ok(cluster.checks.completed)
}

#[test]
fn no_view_forgets_a_round_that_everybody_was_fit_for() {
    let completed = std::cell::Cell::new(0);
    with_seeds(seeds(300), |seed, rules| {
        completed.set(completed.get() + walk_reaped(seed, rules)?);
        Ok(())
    });
    assert!(completed.get() > 0, "rounds are completed");
}
