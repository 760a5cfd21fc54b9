//! What becomes of wishes: which losses are accepted, and which wishes are too old to know.

use std::sync::Arc;

use cartwheel_protocol::{
    id::NodeId,
    layout::{Command, LayoutError},
    membership::{
        Decree, Evidence, Fate, MemberConfig, MemberInput, Membership, Saved, Staged, Wish, outcome,
    },
    rules::Rules,
    view::{Change, View},
};

use crate::cluster::{Cluster, bucket, change};

fn accepting(id: u128, command: Command) -> Staged {
    Staged { id, base: 1, wish: Wish::Change { command, accept_loss: true } }
}

/// Five members of which 2 and 4 are alone in their zone.
fn in_two_zones() -> Cluster {
    Cluster::with_zones(0, Rules::sound(), 5, bucket(2, 2), 2)
}

#[test]
fn a_loss_that_is_accepted_for_one_command_is_not_accepted_for_another() {
    let cluster = in_two_zones();
    let first = accepting(1, Command::Weight(NodeId(1), 2));
    let leaves = [2, 4].map(|node| Command::Leave(NodeId(node)));
    let [one, other] = &leaves;
    let wishes = [first.clone(), change(2, 1, one.clone()), change(3, 1, other.clone())];
    let outlook = cluster.membership(1).outlook(&wishes).expect("it has a view");
    let fates: Vec<&Fate> = outlook.fates.iter().map(|(_, fate)| fate).collect();
    let refused =
        Fate::Refused(LayoutError::ZonesLost { n: 3, partitions: 4, zones: 1, needed: 2 });
    assert_eq!(fates, [&Fate::Next, &Fate::Next, &refused]);
    let view = cluster.view(1).expect("a view");
    let decree = |commands: &[Staged]| Decree::Joint {
        commands: commands.into(),
        withdrawn: [].into(),
        reaped: view.reaped(),
    };
    assert!(outcome(view, &decree(&wishes)).is_none(), "nobody votes for it either");

    let wishes = [first, change(2, 1, one.clone()), accepting(3, other.clone())];
    let outlook = cluster.membership(1).outlook(&wishes).expect("it has a view");
    assert!(outlook.fates.iter().all(|(_, fate)| *fate == Fate::Next), "{:?}", outlook.fates);
    let after = change(4, 1, Command::Weight(NodeId(3), 2));
    let all = [&wishes[..], &[after]].concat();
    assert!(outcome(view, &decree(&all)).is_some(), "what loses nothing more needs no word");
}

#[test]
fn an_owner_that_is_not_suspected_is_not_named_as_lost() {
    let mut cluster = in_two_zones();
    let named = |cluster: &Cluster, staged: &Staged| {
        cluster.membership(1).names_a_living_owner(&staged.wish)
    };
    let removes = accepting(1, Command::Remove(NodeId(2)));
    assert_eq!(named(&cluster, &removes), Some(NodeId(2)));
    assert_eq!(named(&cluster, &change(1, 1, Command::Remove(NodeId(2)))), None);
    assert_eq!(named(&cluster, &accepting(1, Command::Leave(NodeId(2)))), None);
    cluster.step(1, MemberInput::Evidence(Evidence::Closed(NodeId(2))));
    assert_eq!(named(&cluster, &removes), None);
}

/// A membership that goes by layout 20, after decrees that settled so many wishes.
fn after_twenty_layouts(settled: usize) -> Membership {
    let cluster = in_two_zones();
    let mut view = View::clone(cluster.view(1).expect("a view"));
    while view.layout().number() < 20 {
        let next = view.layout().step(&[], true).expect("nothing changes");
        let settled = (0..settled).map(|id| 1_000 + id as u128).collect();
        let change = Change { settled, ..Change::default() };
        let joint = view.joint(1, Arc::new(next), change, view.reaped());
        view = joint.finished().expect("it is joint");
    }
    let mut node = Membership::new(NodeId(1), MemberConfig::new("n1", "host1:1"));
    let saved = Arc::new(Saved::new(Arc::new(view)));
    node.step(MemberInput::Start(Some(saved)), &mut Vec::new());
    node
}

#[test]
fn an_old_wish_is_dropped_only_where_it_may_have_been_settled_and_forgotten() {
    for (settled, is_kept) in [(Change::MAX_SETTLED - 1, true), (Change::MAX_SETTLED, false)] {
        let mut node = after_twenty_layouts(settled);
        let old = change(1, 20 - Staged::TOO_OLD, Command::Weight(NodeId(1), 2));
        node.step(MemberInput::Stage(old), &mut Vec::new());
        assert_eq!(node.staged().count(), usize::from(is_kept), "{settled} are remembered");
        let younger = change(2, 21 - Staged::TOO_OLD, Command::Weight(NodeId(1), 3));
        node.step(MemberInput::Stage(younger), &mut Vec::new());
        assert_eq!(node.staged().count(), usize::from(is_kept) + 1);
    }
}
