//! The part of membership that goes from view to view, and hears from the shards how far they are.

use alloc::{sync::Arc, vec::Vec};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    Acceptor, Ballot, Evidence, MemberEffect, MemberEffects, MemberMessage, MemberTicket,
    Membership, Row, Saved, Staged, Status, Wish, change,
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
    /// A view that is newer than this node's is saved, and gone by when that is durable (L1).
    pub(super) fn adopt(&mut self, view: Arc<View>, effects: &mut MemberEffects) {
        let newest = self.view_id().max(self.adopting);
        if Some(view.id()) <= newest {
            return;
        }
        if !self.config.rules.keeps(Mutant::ViewNotPersisted) {
            return self.adopted(view, effects);
        }
        self.adopting = Some(view.id());
        let saved = Saved { view: view.clone(), promised: Ballot::default(), accepted: None };
        let (saved, ticket) = (Arc::new(saved), MemberTicket::Adopt(view));
        effects.push(MemberEffect::Save { saved, ticket });
    }

    /// A view is on disk.
    pub(super) fn adopted(&mut self, view: Arc<View>, effects: &mut MemberEffects) {
        if self.adopting == Some(view.id()) {
            self.adopting = None;
        }
        if Some(view.id()) <= self.view_id() {
            return;
        }
        self.acceptor = Acceptor::default();
        self.go_by(view, effects);
    }

    /// Gives a view that is on disk to the shards.
    pub(super) fn go_by(&mut self, view: Arc<View>, effects: &mut MemberEffects) {
        self.proposer = None;
        self.must = change::who_must_catch_up(&view);
        self.staged.retain(|_, staged| !change::is_settled(&view, staged));
        for layout in view.layouts() {
            for member in layout.members().iter().chain(layout.draining()) {
                let label = (member.name.clone(), member.address.clone());
                self.roster.meet(Row::new(member.id, label.0, label.1));
            }
        }
        self.view = Some(view.clone());
        self.rank(&view);
        effects.push(MemberEffect::View(view));
        effects.push(MemberEffect::Addresses);
        self.join_or_forget();
        self.look(effects);
    }

    /// Statuses as the view has them; those that it lists no more, and that were members, are removed.
    fn rank(&mut self, view: &View) {
        let nodes: Vec<NodeId> = self.roster.rows().map(|row| row.node).collect();
        for node in nodes {
            let newest = view.next().unwrap_or(view.layout());
            let Some(row) = self.roster.row_mut(node) else { continue };
            let status = if newest.member(node).is_some() {
                Status::Up
            } else if view.lists(node) {
                Status::Leaving
            } else if row.status >= Status::Up {
                Status::Removed
            } else {
                Status::Joining
            };
            row.status = row.status.max(status);
        }
    }

    /// A node that is to be a member and is not stages its own join.
    fn join_or_forget(&mut self) {
        let Some(view) = &self.view else { return };
        let was_member = self.roster.row(self.me).is_some_and(|row| row.status > Status::Joining);
        let Some(command) = self.config.joins.clone().filter(|_| !was_member) else { return };
        self.stage_own(&command, view.layout().number());
    }

    /// Stages a wish of this node's own, always under the same id.
    fn stage_own(&mut self, command: &Command, base: u64) {
        let kind = match command {
            Command::Forget(_) => 1_u64,
            _ => 0,
        };
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.me.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&base.to_le_bytes());
        bytes[16..].copy_from_slice(&kind.to_le_bytes());
        let wish = Wish::Change { command: command.clone(), accept_loss: false };
        self.stage(Staged { id: xxh3_128(&bytes), base, wish });
    }

    /// A shard reports.
    pub(super) fn report(&mut self, shard: u16, fact: Fact, effects: &mut MemberEffects) {
        let shard = self.shards.get_mut(usize::from(shard));
        let shard = shard.expect("the driver numbers shards from zero");
        match fact {
            Fact::Answered(node) => return self.heard(Evidence::Answered(node), effects),
            Fact::Silent(node) => return self.heard(Evidence::Silent(node), effects),
            Fact::Newer(node) => {
                effects.push(MemberEffect::Send { to: node, message: MemberMessage::AskView });
                return;
            }
            Fact::Adopted(view) => shard.view = shard.view.max(Some(view)),
            Fact::CaughtUp(view) => shard.caught_up = shard.caught_up.max(Some(view)),
            Fact::Drained(view) => shard.drained = shard.drained.max(Some(view)),
        }
        let before = self.roster.row(self.me).cloned();
        let least =
            |of: fn(&super::Shard) -> Option<ViewId>| self.shards.iter().map(of).min().flatten();
        let (view, caught_up) = (least(|shard| shard.view), least(|shard| shard.caught_up));
        let drained = least(|shard| shard.drained);
        if let Some(row) = self.roster.row_mut(self.me) {
            row.view = row.view.max(view);
            row.caught_up = row.caught_up.max(caught_up);
        }
        if self.roster.row(self.me) != before.as_ref() {
            self.tell_progress(effects);
        }
        if let Some(layout) = drained.filter(|drained| Some(*drained) == self.view_id()) {
            self.stage_own(&Command::Forget(self.me), layout.layout);
        }
        self.look(effects);
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
            let (rows, staged) = (Arc::from([mine.clone()]), Arc::from([]));
            let message = MemberMessage::GossipOk { rows, staged, wants: None };
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
