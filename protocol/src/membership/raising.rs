//! The part of membership that raises views: the same layouts under the next number, without a decree.
//!
//! Whoever goes by the raised view has heard of it after it was raised. That is what the mending of damaged records waits
//! for (W1): an answer from such a node was given after the damage was found. Raising settles nothing,
//! so one node does it alone; two that raise at once make two views, of which all come to go by the
//! newer one. A node raises once a period at most, for all of its shards that wait.
//!
//! A reap round (T1) begins with a raised view too, one that names a page. It leaves behind a fence and a floor, which every
//! later view is to carry. The next decree is made of a view of this era that was raised differently, perhaps before the
//! round: so the decree names fence and floor itself, as its proposer knows them, and two rules keep it from
//! forgetting a round that was completed.
//!
//! * An acceptor votes for no decree that falls short of its own view's fence and floor, unless the proposer is bound
//!   to it by an earlier vote. Were those refused too, a vote given before a round began could never be completed.
//! * A node that has voted before it comes to a round's view is not fit: its shards get the view without the page.
//!
//! When a round was completed all members were fit: so none of them had voted before it came to the round's view, and
//! whoever votes after that votes for what carries the round, or for what somebody has voted for before. The first
//! vote ever given to a decree is of neither bound kind; its giver has come to the round's view; so the decree carries it. In a joint view
//! there are no rounds: the later decrees of a change find everybody with the same fence and floor.

use alloc::sync::Arc;

use super::{Decree, MemberEffects, Membership};
use crate::{
    id::AddId,
    reap_page::{ReapPage, Reaped},
    rules::Mutant,
    view::{View, ViewId},
};

impl Membership {
    /// A shard wants a view that is newer than this one.
    pub(super) fn want_above(&mut self, view: ViewId, effects: &mut MemberEffects) {
        self.wants_above = self.wants_above.max(Some(view));
        self.maybe_raise(effects);
    }

    /// Raises the view, unless there is a newer one than was asked for, or this period has had its raise.
    pub(super) fn maybe_raise(&mut self, effects: &mut MemberEffects) {
        let Some(newest) = self.newest().cloned() else { return };
        if self.wants_above < Some(newest.id()) {
            self.wants_above = None;
        } else if !self.raised && newest.is_member(self.me) {
            self.raised = true;
            self.wants_above = None;
            self.adopt(Arc::new(newest.raised(self.me)), effects);
        }
    }

    /// A shard wants to begin a reap round above this view. There is none while the layout changes, and none that this
    /// node itself would not be fit for.
    pub(super) fn reap(
        &mut self,
        above: ViewId,
        page: Arc<ReapPage>,
        floor: Option<AddId>,
        effects: &mut MemberEffects,
    ) {
        let Some(newest) = self.newest().cloned() else { return };
        let may = newest.next().is_none() && newest.is_member(self.me) && !self.has_voted();
        if may && newest.id() == above {
            self.adopt(Arc::new(newest.reaping(self.me, page, floor)), effects);
        }
    }

    fn has_voted(&self) -> bool {
        self.acceptor.accepted.is_some()
    }

    /// A view as the shards get it: without the page of a reap round that they are not fit for.
    pub(super) fn for_shards(&self, view: Arc<View>) -> Arc<View> {
        let unfit = self.has_voted() && self.config.rules.keeps(Mutant::VoterIsFit);
        if view.page().is_some() && unfit { Arc::new(view.without_page()) } else { view }
    }

    /// Whether a decree that nobody is bound to forgets a reap round that this node has come to.
    pub(super) fn forgets_a_round(&self, decree: &Decree) -> bool {
        let Decree::Joint { reaped: told, .. } = decree else { return false };
        let known = self.newest().map(|newest| newest.reaped()).unwrap_or_default();
        let Reaped { fence, floor } = known;
        (told.fence < fence || told.floor < floor)
            && self.config.rules.keeps(Mutant::DecreeForgetsRound)
    }
}
