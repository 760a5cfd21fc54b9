//! Views that are raised: the same layouts under a new number, whatever decrees do meanwhile.

use std::sync::Arc;

use cartwheel_protocol::{
    Fact,
    id::NodeId,
    layout::Command,
    membership::{
        Ballot, Decree, MemberConfig, MemberEffect, MemberInput, MemberMessage, MemberTicket,
        MemberTimer, Membership, Saved,
    },
    reap_page::Reaped,
    rules::Rules,
    view::{View, ViewId},
};

use crate::{
    agreement::disturb,
    cluster::{Cluster, Faults, bucket, change, seeds, with_seeds},
};

pub(crate) fn step(membership: &mut Membership, input: MemberInput) -> Vec<MemberEffect> {
    let mut effects = Vec::new();
    membership.step(input, &mut effects);
    effects
}

/// The first of three members as it starts.
pub(crate) fn first_of_three() -> (Membership, Arc<View>) {
    let cluster = Cluster::new(0, Rules::sound(), 3, bucket(2, 2));
    let view = cluster.view(1).expect("a view").clone();
    let config = MemberConfig { shards: 2, ..MemberConfig::new("n1", "host:1") };
    let mut node = Membership::new(NodeId(1), config);
    step(&mut node, MemberInput::Start(Some(Arc::new(Saved::new(view.clone())))));
    (node, view)
}

fn damage(node: &mut Membership, shard: u16, view: ViewId) -> Vec<MemberEffect> {
    step(node, MemberInput::Report { shard, fact: Fact::Damaged(view) })
}

/// What is to be saved, with its ticket.
pub(crate) fn saves(effects: &[MemberEffect]) -> Vec<(Arc<Saved>, MemberTicket)> {
    let save = |effect: &MemberEffect| match effect {
        MemberEffect::Save { saved, ticket } => Some((saved.clone(), ticket.clone())),
        MemberEffect::Send { .. }
        | MemberEffect::View(_)
        | MemberEffect::Suspect { .. }
        | MemberEffect::Addresses
        | MemberEffect::Disagrees { .. }
        | MemberEffect::SetTimer { .. }
        | MemberEffect::Choose { .. } => None,
    };
    effects.iter().filter_map(save).collect()
}

/// Who is told which view.
pub(crate) fn told(effects: &[MemberEffect]) -> Vec<(u64, ViewId)> {
    let view_to = |effect: &MemberEffect| match effect {
        MemberEffect::Send { to, message: MemberMessage::View(view) } => Some((to.0, view.id())),
        MemberEffect::Send { .. }
        | MemberEffect::Save { .. }
        | MemberEffect::View(_)
        | MemberEffect::Suspect { .. }
        | MemberEffect::Addresses
        | MemberEffect::Disagrees { .. }
        | MemberEffect::SetTimer { .. }
        | MemberEffect::Choose { .. } => None,
    };
    effects.iter().filter_map(view_to).collect()
}

#[test]
fn a_raised_view_is_saved_then_gone_by_and_told_to_everybody_listed() {
    let (mut node, view) = first_of_three();
    let effects = damage(&mut node, 0, view.id());
    let raised = ViewId { reap: (1, NodeId(1)), ..view.id() };
    let [(saved, ticket)] = &saves(&effects)[..] else { panic!("one view is saved") };
    assert_eq!(saved.view.id(), raised);
    assert_eq!(saved.view.layout(), view.layout());
    assert_eq!(told(&effects), [], "nobody hears of it before it is on disk");
    assert_eq!(node.view().map(|view| view.id()), Some(view.id()));
    let effects = step(&mut node, MemberInput::Synced(ticket.clone()));
    assert_eq!(told(&effects), [(2, raised), (3, raised)]);
    assert!(effects.contains(&MemberEffect::View(saved.view.clone())), "the shards go by it");
}

#[test]
fn one_raise_is_for_all_that_wait_and_there_is_one_a_period() {
    let (mut node, view) = first_of_three();
    let first = saves(&damage(&mut node, 0, view.id()));
    assert_eq!(saves(&damage(&mut node, 1, view.id())), [], "it is under way");
    step(&mut node, MemberInput::Synced(first[0].1.clone()));
    assert_eq!(saves(&damage(&mut node, 1, view.id())), [], "there is a newer one");
    let raised = first[0].0.view.id();
    assert_eq!(saves(&damage(&mut node, 1, raised)), [], "this period has had its raise");
    let effects = step(&mut node, MemberInput::Timeout(MemberTimer::Gossip));
    let [(saved, _)] = &saves(&effects)[..] else { panic!("the next period has one") };
    assert_eq!(saved.view.id().reap, (2, NodeId(1)));
    let effects = step(&mut node, MemberInput::Timeout(MemberTimer::Gossip));
    assert_eq!(saves(&effects), [], "nobody waits any more");
}

#[test]
fn a_vote_holds_on_in_a_raised_view() {
    let (mut node, view) = first_of_three();
    let ballot = |round, proposer| Ballot { round, proposer };
    let decree = Decree::Joint {
        commands: [change(1, 1, weight(5))].into(),
        withdrawn: [].into(),
        reaped: Reaped::default(),
    };
    let from_two = |message| MemberInput::Message { from: NodeId(2), message };
    step(
        &mut node,
        from_two(MemberMessage::Accept(view.id(), ballot(1, 2), decree.clone(), false)),
    );
    let raise = saves(&damage(&mut node, 0, view.id())).pop().expect("it is saved");
    assert_eq!(raise.0.accepted, Some((ballot(1, 2), decree.clone())), "a crash keeps the vote");
    // While the raised view is being saved, and when it is gone by: a message that names the other view of the era.
    let asks = |node: &mut Membership, round| {
        let effects = step(node, from_two(MemberMessage::Prepare(view.id(), ballot(round, 3))));
        let (saved, ticket) = saves(&effects).pop().expect("a promise is saved");
        assert_eq!(saved.view.id().reap, (1, NodeId(1)), "never over the newer view");
        let MemberTicket::Send { message, .. } = ticket else { panic!("a promise is sent") };
        message
    };
    for round in [2, 3] {
        let MemberMessage::Promise(_, at, vote) = asks(&mut node, round) else {
            panic!("it promises");
        };
        assert_eq!((at, vote), (ballot(round, 3), Some((ballot(1, 2), decree.clone()))));
        step(&mut node, MemberInput::Synced(raise.1.clone()));
    }
}

#[test]
fn what_a_decree_leads_to_is_not_raised() {
    let (_, view) = first_of_three();
    let raised = view.raised(NodeId(1)).raised(NodeId(2));
    assert_eq!(raised.id().reap, (2, NodeId(2)));
    let next = raised.layout().step(&[weight(5)], false).expect("it fits");
    let joint = raised.joint(1, Arc::new(next), Default::default(), Reaped::default());
    let finished = joint.raised(NodeId(3)).finished().expect("there is a change to finish");
    for after in [joint.id(), finished.id()] {
        assert_eq!(after.reap, (0, NodeId(0)));
        assert!(after > raised.id());
    }
}

pub(crate) fn weight(weight: u32) -> Command {
    Command::Weight(NodeId(1), weight)
}

/// A walk in which views are raised at random moments while decrees run and nodes crash.
pub(crate) fn walk_raised(seed: u64, rules: Rules) -> Result<(), String> {
    let members = 3 + seed % 3;
    let mut cluster = Cluster::new(seed, rules, members, bucket(2, 2));
    cluster.faults = Faults { delay_ms: 20 << (seed % 4), ..Faults::SOME };
    let mut wishes = 0;
    for _ in 0..60 {
        cluster.run(10 + cluster.seed % 5 * 20)?;
        for node in 1..=members {
            if cluster.random.percent(30) {
                cluster.find_damage(node);
            }
        }
        if cluster.random.percent(50) {
            disturb(&mut cluster, members, &mut wishes);
        }
    }
    cluster.heal();
    cluster.faults = Faults::NONE;
    let down: Vec<u64> = cluster.nodes.keys().copied().filter(|n| !cluster.is_up(*n)).collect();
    down.into_iter().for_each(|node| cluster.start(node));
    cluster.wait(120_000, "everything is settled", Cluster::is_settled)
}

#[test]
fn one_decree_has_one_outcome_however_often_its_view_is_raised() {
    with_seeds(seeds(300), walk_raised);
}
