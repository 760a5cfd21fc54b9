//! The part of membership that gossips: periods, partners, what is told and learned.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Brief, Choice, Evidence, MemberEffect, MemberEffects, MemberMessage, MemberTimer, Membership,
    Row, SEED_EVERY, Staged, Status, wishes,
};
use crate::{
    id::NodeId,
    layout::LayoutHash,
    view::{View, ViewId},
};

impl Membership {
    /// One period: the heartbeat advances, silent nodes are suspected, and a partner is chosen.
    pub(super) fn period(&mut self, effects: &mut MemberEffects) {
        self.asked = false;
        let after_ms = self.config.gossip_every_ms;
        effects.push(MemberEffect::SetTimer { timer: MemberTimer::Gossip, after_ms });
        if let Some(row) = self.roster.row_mut(self.me) {
            row.heartbeat = row.heartbeat.saturating_add(1);
        }
        self.suspect_the_still(effects);
        self.stage_own_join();
        self.stage_own_forget();
        self.raised = false;
        self.maybe_raise(effects);
        let among = self.partners().len() as u64;
        if among > 0 {
            effects.push(MemberEffect::Choose { choice: Choice::Partner, among });
        }
        self.probe(effects);
        self.look(effects);
    }

    /// Gossips with a suspected peer too, each in its turn: if it answers it is taken back. Where nobody has anything else to
    /// say, two that met a silence of each other would suspect each other for ever.
    fn probe(&mut self, effects: &mut MemberEffects) {
        let is_there =
            |node: &NodeId| self.roster.row(*node).is_some_and(|row| row.status != Status::Removed);
        let suspected: Vec<NodeId> =
            self.detector.suspected().into_iter().filter(is_there).collect();
        let later = suspected.iter().find(|node| Some(**node) > self.probed);
        self.probed = later.or(suspected.first()).copied();
        if let Some(to) = self.probed {
            self.gossip_to(to, effects);
        }
    }

    /// Whom this node may gossip with now: everybody it knows of, and in every tenth period, or while it has no
    /// view, its seeds only.
    fn partners(&self) -> Vec<NodeId> {
        let heartbeat = self.roster.row(self.me).map_or(0, |row| row.heartbeat);
        let seeds = self.seeds.iter().copied();
        if (heartbeat.is_multiple_of(SEED_EVERY) || self.view.is_none()) && !self.seeds.is_empty() {
            return seeds.collect();
        }
        let is_partner = |row: &&Row| row.node != self.me && row.status != Status::Removed;
        self.roster.rows().filter(is_partner).map(|row| row.node).collect()
    }

    pub(super) fn gossip_with(&self, number: u64, effects: &mut MemberEffects) {
        let partners = self.partners();
        let Some(to) = partners.get(number as usize).copied() else { return };
        if self.view.is_none() {
            effects.push(MemberEffect::Send { to, message: MemberMessage::AskView });
        }
        self.gossip_to(to, effects);
    }

    fn gossip_to(&self, to: NodeId, effects: &mut MemberEffects) {
        let view = self.view.as_deref().map(|view| (view.id(), newest_hash(view)));
        let message = MemberMessage::Gossip { brief: self.brief(), view };
        effects.push(MemberEffect::Send { to, message });
    }

    /// What this node knows, in brief.
    pub(super) fn brief(&self) -> Brief {
        Brief { glimpses: self.roster.glimpses(), staged: self.staged.keys().copied().collect() }
    }

    /// Tells what the other lacks, and with `wants` asks for what this node lacks.
    pub(super) fn answer_gossip(
        &self,
        to: NodeId,
        theirs: &Brief,
        wants: Option<Brief>,
        effects: &mut MemberEffects,
    ) {
        let (beats, rows) = self.roster.lacked_by(&theirs.glimpses);
        let lacks = |staged: &&Staged| theirs.staged.binary_search(&staged.id).is_err();
        let staged = self.staged.values().filter(lacks);
        let staged: Arc<[Staged]> = staged.cloned().collect();
        if beats.is_empty() && rows.is_empty() && staged.is_empty() && wants.is_none() {
            return;
        }
        let (beats, rows) = (beats.into(), rows.into());
        let message = MemberMessage::GossipOk { beats, rows, staged, wants };
        effects.push(MemberEffect::Send { to, message });
    }

    /// Takes over heartbeats.
    pub(super) fn hear_beats(&mut self, beats: &[(NodeId, u64)], effects: &mut MemberEffects) {
        for (node, heartbeat) in beats {
            let Some(row) = self.roster.row_mut(*node).filter(|row| row.heartbeat < *heartbeat)
            else {
                continue;
            };
            row.heartbeat = *heartbeat;
            if *node != self.me {
                self.still.insert(*node, 0);
                self.opine(*node, true, effects);
            }
        }
    }

    /// Takes over rows and staged wishes.
    pub(super) fn learn(&mut self, rows: &[Row], staged: &[Staged], effects: &mut MemberEffects) {
        let mut has_moved = false;
        for row in rows {
            if row.node == self.me {
                self.learn_of_myself(row);
                continue;
            }
            let news = self.roster.merge(row, self.config.rules);
            has_moved |= news.label;
            if news.beats {
                self.still.insert(row.node, 0);
                self.opine(row.node, true, effects);
            }
        }
        staged.iter().for_each(|staged| self.stage(staged.clone()));
        self.drop_what_is_over();
        if has_moved {
            effects.push(MemberEffect::Addresses);
        }
    }

    /// Others know of an earlier run: this one goes on beyond it.
    fn learn_of_myself(&mut self, row: &Row) {
        let Some(mine) = self.roster.row_mut(self.me) else { return };
        mine.heartbeat = mine.heartbeat.max(row.heartbeat);
        mine.status = mine.status.max(row.status);
        mine.view = mine.view.max(row.view);
        mine.caught_up = mine.caught_up.max(row.caught_up);
        let ((version, name, address), theirs) = (mine.label.clone(), &row.label);
        let differs = (&name, &address) != (&theirs.1, &theirs.2);
        if theirs.0 > version || (theirs.0 == version && differs) {
            mine.label = (theirs.0.saturating_add(differs.into()), name, address);
        }
    }

    pub(super) fn stage(&mut self, staged: Staged) {
        if self.is_over(&staged) {
            return;
        }
        let has_room = self.staged.len() < Staged::MAX;
        match self.staged.get_mut(&staged.id) {
            Some(known) => known.base = known.base.max(staged.base),
            None if has_room => {
                self.staged.insert(staged.id, staged);
            }
            None => {}
        }
    }

    /// Whether nothing is to be done for a wish any more, as far as this node knows: it is settled, or about a node that was
    /// removed for good.
    fn is_over(&self, staged: &Staged) -> bool {
        let status = |node| self.roster.row(node).map(|row| row.status);
        let mut named = wishes::names(staged).into_iter().flatten();
        named.any(|node| status(node) == Some(Status::Removed))
            || self.view.as_deref().is_some_and(|view| wishes::is_settled(view, staged))
    }

    /// Lets go of wishes for which nothing is to be done any more.
    pub(super) fn drop_what_is_over(&mut self) {
        let mut staged = core::mem::take(&mut self.staged);
        staged.retain(|_, staged| !self.is_over(staged));
        self.staged = staged;
    }

    /// Whoever goes by a newer view is asked for it; whoever goes by an older one is told this one.
    pub(super) fn compare_views(
        &self,
        from: NodeId,
        theirs: Option<ViewId>,
        effects: &mut MemberEffects,
    ) {
        let mine = self.view_id();
        if theirs > mine {
            effects.push(MemberEffect::Send { to: from, message: MemberMessage::AskView });
        } else if theirs < mine {
            self.tell_view(from, effects);
        }
    }

    /// One number is one layout: where it is not, whoever watches is told.
    pub(super) fn compare_layouts(
        &self,
        from: NodeId,
        theirs: Option<(ViewId, LayoutHash)>,
        effects: &mut MemberEffects,
    ) {
        if let (Some((id, hash)), Some(view)) = (theirs, &self.view)
            && id.era() == view.id().era()
            && hash != newest_hash(view)
        {
            effects.push(MemberEffect::Disagrees { node: from, era: id.era() });
        }
    }

    /// Counts the periods in which a member's heartbeat did not advance.
    fn suspect_the_still(&mut self, effects: &mut MemberEffects) {
        let Some(view) = self.view.clone() else { return };
        let members = view.layouts().flat_map(|layout| layout.members());
        let mut members: Vec<NodeId> = members.map(|member| member.id).collect();
        members.sort_unstable();
        members.dedup();
        self.still.retain(|node, _| members.binary_search(node).is_ok());
        members.retain(|node| *node != self.me);
        for node in members {
            let periods = self.still.entry(node).or_default();
            *periods = self.config.suspect_after.min(*periods + 1);
            if *periods == self.config.suspect_after {
                self.opine(node, false, effects);
            }
        }
    }

    fn opine(&mut self, node: NodeId, advances: bool, effects: &mut MemberEffects) {
        if let Some((node, suspected)) = self.detector.heartbeat(node, advances) {
            effects.push(MemberEffect::Suspect { node, suspected });
        }
    }

    /// What this node itself saw of a peer.
    pub(super) fn heard(&mut self, evidence: Evidence, effects: &mut MemberEffects) {
        if let Evidence::Answered(node) | Evidence::Opened(node) = evidence {
            self.still.insert(node, 0);
        }
        if let Some((node, suspected)) = self.detector.weigh(evidence) {
            effects.push(MemberEffect::Suspect { node, suspected });
        }
    }
}

/// The hash of the layout that a view leads to.
fn newest_hash(view: &View) -> LayoutHash {
    view.next().unwrap_or(view.layout()).hash()
}
