//! What must be remembered to judge decrees, and no node knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cartwheel_protocol::{
    id::NodeId,
    layout::Layout,
    membership::{Row, Status},
    reap_page::Reaped,
    view::{Change, Era, View, ViewId},
};

use crate::property::Property;

/// What a decree has led to: views of one era differ in their raises alone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Outcome {
    layouts: Vec<Arc<Layout>>,
    change: Change,
}

/// What shards were given so far.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Ghost {
    outcomes: BTreeMap<Era, Outcome>,
    /// What each view carries of reap rounds.
    carried: BTreeMap<ViewId, Reaped>,
    /// The reap rounds that began: who is listed and not known to be fit. Fit is who was given the view with its page, and not
    /// at its start.
    rounds: BTreeMap<ViewId, BTreeSet<NodeId>>,
    /// Who started and was given no view since.
    starting: BTreeSet<NodeId>,
    /// The newest view that the shards of each node were given, over all its runs.
    newest: BTreeMap<NodeId, ViewId>,
    /// The first property that did not hold.
    pub(super) violated: Option<Property>,
}

/// What must not go down while a node runs.
type Known = BTreeMap<NodeId, (Status, u64, u64, Option<ViewId>, Option<ViewId>)>;

pub(super) fn known<'a>(rows: impl Iterator<Item = &'a Row>) -> Known {
    let known = |row: &Row| (row.status, row.label.0, row.heartbeat, row.view, row.caught_up);
    rows.map(|row| (row.node, known(row))).collect()
}

/// Whether less is known of some node than before.
pub(super) fn is_less(now: &Known, before: &Known) -> bool {
    before.iter().any(|(node, before)| {
        now.get(node).is_none_or(|now| {
            now.0 < before.0
                || now.1 < before.1
                || now.2 < before.2
                || now.3 < before.3
                || now.4 < before.4
        })
    })
}

impl Ghost {
    /// A node starts.
    pub(super) fn starts(&mut self, node: NodeId) {
        self.starting.insert(node);
    }

    /// The shards of a node are given a view. Whether that makes a reap round one that all were fit for.
    pub(super) fn given(&mut self, node: NodeId, view: &View) -> bool {
        let id = view.id();
        let outcome =
            Outcome { layouts: view.layouts().cloned().collect(), change: view.change().clone() };
        if *self.outcomes.entry(id.era()).or_insert_with(|| outcome.clone()) != outcome
            || *self.carried.entry(id).or_insert(view.reaped()) != view.reaped()
        {
            self.violate(Property::OneViewANumber);
        }
        let newest = self.newest.entry(node).or_insert(id);
        if *newest > id {
            self.violate(Property::NobodyGoesBack);
        } else {
            *newest = id;
        }
        let starts = self.starting.remove(&node);
        let mut completed = false;
        if view.page().is_some() && !starts {
            let unfit =
                self.rounds.entry(id).or_insert_with(|| view.listed().into_iter().collect());
            completed = unfit.remove(&node) && unfit.is_empty();
        }
        if self.forgets_a_round() {
            self.violate(Property::RoundsAreKept);
        }
        completed
    }

    /// Whether a view carries less than a round has left behind that all were fit for, whoever made it and when (T1).
    fn forgets_a_round(&self) -> bool {
        let over = self.rounds.iter().filter(|(_, unfit)| unfit.is_empty());
        let forgets = |round: &ViewId| {
            let left = self.carried[round];
            let mut newer = self.carried.iter().filter(|(other, _)| *other > round);
            newer.any(|(_, has)| has.fence < left.fence || has.floor < left.floor)
        };
        over.map(|(round, _)| round).any(forgets)
    }

    pub(super) fn violate(&mut self, property: Property) {
        self.violated.get_or_insert(property);
    }
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::{
        id::AddId,
        layout::Command,
        membership::{Decree, Staged, Wish, outcome},
        rules::Rules,
    };

    use super::*;
    use crate::decrees::{DecreePlan, plan::DecreeSetup};

    const N1: NodeId = NodeId(1);

    fn setup() -> DecreeSetup {
        DecreePlan::new(3).setup(Rules::sound())
    }

    /// The joint view in which n1 comes to weigh more.
    fn joint(view: &View, weight: u32) -> View {
        let wish = Wish::Change { command: Command::Weight(N1, weight), accept_loss: false };
        let commands = [Staged { id: 1, base: 1, wish }].into();
        let reaped = view.reaped();
        outcome(view, &Decree::Joint { commands, withdrawn: [].into(), reaped })
            .expect("it applies")
    }

    #[test]
    fn two_views_of_one_number_are_noticed() {
        let first = setup().view;
        let mut ghost = Ghost::default();
        ghost.given(N1, &joint(&first, 2));
        ghost.given(NodeId(2), &joint(&first, 2).raised(N1));
        assert_eq!(ghost.violated, None, "a raised view is of the same era");
        ghost.given(NodeId(2), &joint(&first, 3).raised(N1).raised(N1));
        assert_eq!(ghost.violated, Some(Property::OneViewANumber));
    }

    #[test]
    fn a_node_that_goes_back_is_noticed() {
        let first = setup().view;
        let mut ghost = Ghost::default();
        ghost.given(N1, &first.raised(N1));
        ghost.given(NodeId(2), &first);
        assert_eq!(ghost.violated, None);
        ghost.given(N1, &first);
        assert_eq!(ghost.violated, Some(Property::NobodyGoesBack));
    }

    #[test]
    fn less_knowledge_is_noticed() {
        let row = |view| Row { view, ..Row::new(N1, "n1".into(), "host".into()) };
        let of = |row: &Row| known([row].into_iter());
        let (less, more) = (row(None), row(Some(ViewId::of_layout(1))));
        assert!(is_less(&of(&less), &of(&more)));
        assert!(!is_less(&of(&more), &of(&less)) && !is_less(&of(&more), &of(&more)));
        assert!(is_less(&known([].into_iter()), &of(&less)));
    }

    #[test]
    fn a_view_that_forgets_a_round_is_noticed_if_all_were_fit_for_it() {
        let DecreeSetup { view, page, .. } = setup();
        let round = view.reaping(N1, page, Some(AddId(1)));
        let forgets = joint(&view, 2);
        let mut ghost = Ghost::default();
        assert!(!ghost.given(N1, &round) && !ghost.given(NodeId(2), &round));
        let mut restarted = ghost.clone();
        restarted.starts(NodeId(3));
        assert!(!restarted.given(NodeId(3), &round), "it was given the view at its start");
        restarted.given(N1, &forgets);
        assert_eq!(restarted.violated, None);
        assert!(ghost.given(NodeId(3), &round));
        ghost.given(N1, &joint(&round, 2));
        assert_eq!(ghost.violated, None, "this one carries the round");
        ghost.given(N1, &joint(&round, 2).carrying(Reaped::default()).raised(N1));
        assert_eq!(ghost.violated, Some(Property::RoundsAreKept));
    }
}
