//! The part of membership that goes from view to view, and hears from the shards how far they are.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Acceptor, Evidence, MemberEffect, MemberEffects, MemberMessage, MemberTicket, Membership, Row,
    Saved, Staged, Status, Wish, change, wishes,
};
use crate::{
    id::NodeId,
    layout::Command,
    rules::Mutant,
    step::Fact,
    view::{View, ViewId},
};

/// Up to so many others are told of progress directly.
const SMALL_CLUSTER: usize = 16;

impl Membership {
    /// A view that is newer than this node's is saved, and gone by when that is durable (L1). One with another number of
    /// partitions, which is for life, is a peer's fault: what is stored has no place in it.
    pub(super) fn adopt(&mut self, view: Arc<View>, effects: &mut MemberEffects) {
        let unfit = |newest: &Arc<View>| {
            newest.id() >= view.id() || newest.partitions() != view.partitions()
        };
        if self.newest().is_some_and(unfit) {
            return;
        }
        if !self.config.rules.saves_views() {
            return self.adopted(view, effects);
        }
        let acceptor = if self.keeps_votes(&view) {
            self.acceptor.clone()
        } else {
            // An own vote, saved from now on, would be one on the decree that made the newer view.
            self.proposer = None;
            Acceptor::default()
        };
        self.adopting = Some(view.clone());
        let was_member = self.was_member || view.lists(self.me);
        let Acceptor { promised, accepted } = acceptor;
        let saved = Saved { view: view.clone(), promised, accepted, was_member };
        let (saved, ticket) = (Arc::new(saved), MemberTicket::Adopt(view));
        effects.push(MemberEffect::Save { saved, ticket });
    }

    /// Whether what was promised and voted for holds on in a newer view: the same decree follows one that was only
    /// raised.
    fn keeps_votes(&self, view: &View) -> bool {
        self.era() == Some(view.id().era()) && self.config.rules.keeps(Mutant::RaiseForgetsVotes)
    }

    /// A view is on disk.
    pub(super) fn adopted(&mut self, view: Arc<View>, effects: &mut MemberEffects) {
        if self.adopting.as_ref().is_some_and(|adopting| adopting.id() == view.id()) {
            self.adopting = None;
        }
        if Some(view.id()) <= self.view_id() {
            return;
        }
        if !self.keeps_votes(&view) {
            self.acceptor = Acceptor::default();
            self.proposer = None;
            self.proposing = false;
        }
        let (raises, raiser) = view.id().reap;
        if raises > 0 && raiser == self.me {
            self.tell_listed(&view, &[&view], effects);
        }
        self.go_by(view, effects);
    }

    /// Gives a view that is on disk to the shards.
    pub(super) fn go_by(&mut self, view: Arc<View>, effects: &mut MemberEffects) {
        self.asked = false;
        self.was_member |= view.lists(self.me);
        self.must = change::who_must_catch_up(&view);
        for layout in view.layouts() {
            for member in layout.members().iter().chain(layout.draining()) {
                let label = (member.name.clone(), member.address.clone());
                self.roster.meet(Row::new(member.id, label.0, label.1));
            }
        }
        let before = self.view.replace(view.clone());
        self.rank(before.as_deref(), &view);
        self.drop_what_is_over();
        effects.push(MemberEffect::View(self.for_shards(view)));
        effects.push(MemberEffect::Addresses);
        self.stage_own_join();
        self.look(effects);
    }

    /// Statuses as the view has them; those that it lists no more, and that were members, are removed.
    ///
    /// Were the row's own word enough, a member of a view that this node has not come to yet would be removed by one on the way.
    fn rank(&mut self, before: Option<&View>, view: &View) {
        let nodes: Vec<NodeId> = self.roster.rows().map(|row| row.node).collect();
        for node in nodes {
            let newest = view.next().unwrap_or(view.layout());
            let was_member = node == self.me && self.was_member;
            let Some(row) = self.roster.row_mut(node) else { continue };
            let status = if newest.member(node).is_some() {
                Status::Up
            } else if view.lists(node) {
                Status::Leaving
            } else if before.is_some_and(|before| before.lists(node)) || was_member {
                Status::Removed
            } else {
                Status::Joining
            };
            row.status = row.status.max(status);
        }
    }

    /// A node that is to be a member and never was stages its own join. Where a member has its name, that is
    /// a node whose disk was lost: it is replaced, once it is suspected and its heart has stopped for everybody. While
    /// it lives nothing is staged: neither a mistyped name nor a refused connection must evict anybody.
    pub(super) fn stage_own_join(&mut self) {
        let Some(view) = self.view.clone().filter(|_| !self.was_member) else { return };
        let Some(command) = self.config.joins.clone() else { return };
        let Command::Join(new) = &command else {
            return self.stage_own(command, &view);
        };
        let newest = view.next().unwrap_or(view.layout());
        let namesake = newest.members().iter().find(|member| member.name == new.name);
        match namesake.map(|member| member.id) {
            None => self.stage_own(command, &view),
            Some(old) if self.detector.suspects(old) && self.is_still(old) => {
                let new = new.clone();
                self.stage_own(Command::Replace { old, new }, &view);
            }
            Some(_) => {}
        }
    }

    /// Whether no heartbeat of a member has reached this node for as long as brings a suspicion.
    fn is_still(&self, node: NodeId) -> bool {
        self.still.get(&node).is_some_and(|periods| *periods >= self.config.suspect_after)
    }

    /// Stages a wish of this node's own. Always under the same id: what a decree settled, or an operator took back, is
    /// not wished for again.
    fn stage_own(&mut self, command: Command, view: &View) {
        let id = wishes::own_id(&command);
        let wish = Wish::Change { command, accept_loss: false };
        self.stage(Staged { id, base: view.layout().number(), wish });
    }

    /// A shard reports.
    pub(super) fn report(&mut self, shard: u16, fact: Fact, effects: &mut MemberEffects) {
        let shard = self.shards.get_mut(usize::from(shard));
        let shard = shard.expect("the driver numbers shards from zero");
        match fact {
            Fact::Answered(node) => return self.heard(Evidence::Answered(node), effects),
            Fact::Silent(node) => return self.heard(Evidence::Silent(node), effects),
            Fact::Newer(node) => {
                // Every message of a newer view reports one: asking once a period is enough.
                if !self.asked && self.adopting.is_none() {
                    self.asked = true;
                    effects.push(MemberEffect::Send { to: node, message: MemberMessage::AskView });
                }
                return;
            }
            Fact::Adopted(view) => shard.view = shard.view.max(Some(view)),
            Fact::Damaged(view) => return self.want_above(view, effects),
            Fact::CaughtUp(view) => shard.caught_up = shard.caught_up.max(Some(view)),
            Fact::Drained(view) => shard.drained = shard.drained.max(Some(view)),
            Fact::Reap { view, page, floor } => return self.reap(view, page, floor, effects),
            Fact::Compared { .. }
            | Fact::Judged { .. }
            | Fact::Reaped(_)
            | Fact::ReapEnded { .. } => return,
        }
        let before = self.roster.row(self.me).cloned();
        let least =
            |of: fn(&super::Shard) -> Option<ViewId>| self.shards.iter().map(of).min().flatten();
        let (view, caught_up) = (least(|shard| shard.view), least(|shard| shard.caught_up));
        if let Some(row) = self.roster.row_mut(self.me) {
            row.view = row.view.max(view);
            row.caught_up = row.caught_up.max(caught_up);
        }
        if self.roster.row(self.me) != before.as_ref() {
            self.tell_progress(effects);
        }
        self.stage_own_forget();
        self.look(effects);
    }

    /// A node that was removed and holds nothing any more wishes to be forgotten.
    pub(super) fn stage_own_forget(&mut self) {
        let drained = self.shards.iter().map(|shard| shard.drained).min().flatten();
        let drained = drained.map(ViewId::era);
        if let Some(view) = self.view.clone().filter(|view| drained == Some(view.id().era())) {
            self.stage_own(Command::Forget(self.me), &view);
        }
    }

    /// In a small cluster everybody is told at once how far this node is; in a large one gossip does.
    fn tell_progress(&self, effects: &mut MemberEffects) {
        let (Some(view), Some(mine)) = (&self.view, self.roster.row(self.me)) else { return };
        let members = view.layouts().flat_map(|layout| layout.members()).map(|member| member.id);
        let mut others: Vec<NodeId> = members.filter(|node| *node != self.me).collect();
        others.sort_unstable();
        others.dedup();
        if others.len() > SMALL_CLUSTER {
            return;
        }
        for to in others {
            let (beats, rows, staged) = (Arc::from([]), Arc::from([mine.clone()]), Arc::from([]));
            let message = MemberMessage::GossipOk { beats, rows, staged, wants: None };
            effects.push(MemberEffect::Send { to, message });
        }
    }

    pub(super) fn tell_view(&self, to: NodeId, effects: &mut MemberEffects) {
        if let Some(view) = &self.view {
            let message = MemberMessage::View(view.clone());
            effects.push(MemberEffect::Send { to, message });
        }
    }
}
