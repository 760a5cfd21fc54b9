//! The part of membership that has decrees decided: as an acceptor and as a proposer.

use alloc::{sync::Arc, vec::Vec};

use super::{
    BACKOFF_STEPS, Ballot, Choice, Decree, MAX_DOUBLINGS, MemberEffect, MemberEffects,
    MemberMessage, MemberTicket, MemberTimer, Membership, Progress, Proposer, Row, Saved, Staged,
    change, wishes,
};
use crate::{
    id::NodeId,
    rules::Mutant,
    view::{View, ViewId},
};

impl Membership {
    /// Whether something is to be decided: then it is proposed after a random pause.
    pub(super) fn look(&mut self, effects: &mut MemberEffects) {
        if !self.proposing && self.proposer.is_none() && self.due().is_some() {
            self.choose_pause(effects);
        }
    }

    /// The decree that this node, as a member of the present layout, sees a need for.
    fn due(&self) -> Option<Decree> {
        let view = self.view.as_ref().filter(|_| self.is_in_view() && self.adopting.is_none())?;
        let staged: Vec<Staged> = self.staged.values().cloned().collect();
        let suspected = self.detector.suspected();
        if view.next().is_none() {
            return wishes::next_change(view, &staged, &suspected);
        }
        if change::may_finish(view, &self.must, |node| self.progress(node), self.config.rules) {
            return Some(Decree::Finish);
        }
        wishes::amendment(view, &staged, &suspected)
    }

    fn progress(&self, node: NodeId) -> Progress {
        let of_row = |row: &Row| Progress { view: row.view, caught_up: row.caught_up };
        self.roster.row(node).map(of_row).unwrap_or_default()
    }

    /// The pause is over: an attempt begins with this node's own promise, so that its ballot is on disk, and never
    /// used again, before anybody hears of it.
    pub(super) fn propose(&mut self, effects: &mut MemberEffects) {
        self.proposing = false;
        self.proposer = None;
        let Some(wish) = self.due() else { return };
        let round = self.acceptor.promised.round + 1;
        let ballot = Ballot { round, proposer: self.me.0 };
        self.proposer = Some(Proposer::new(ballot, wish));
        self.prepare(self.me, ballot, effects);
        // Should this attempt come to nothing, another follows.
        self.choose_pause(effects);
    }

    /// Has the length of a pause chosen: among more lengths where more nodes may propose.
    fn choose_pause(&mut self, effects: &mut MemberEffects) {
        self.proposing = true;
        let members = self.view.as_ref().map_or(0, |view| view.layout().members().len() as u64);
        let is_first = self.acceptor.promised.round == 0;
        let among = if is_first { BACKOFF_STEPS.max(members) } else { BACKOFF_STEPS };
        effects.push(MemberEffect::Choose { choice: Choice::Backoff, among });
    }

    /// Whether this node votes on the decree that follows `after`, or a view of the same era: of that all views
    /// but the newest may be forgotten, and the decree is one. A node beyond that decree answers with its view; one that
    /// is not there yet asks for the view.
    pub(super) fn votes_after(
        &self,
        from: NodeId,
        after: ViewId,
        effects: &mut MemberEffects,
    ) -> bool {
        let is_beyond = self.newest().map(|newest| newest.id().era()) > self.era();
        if is_beyond || self.forgets(after) {
            return false;
        }
        self.compare_views(from, Some(after), effects);
        self.era() == Some(after.era()) && self.is_in_view()
    }

    /// What the mutant does that forgets a decree with its votes.
    pub(super) fn forgets(&self, after: ViewId) -> bool {
        !self.config.rules.keeps(Mutant::ForgetDecree) && self.era() > Some(after.era())
    }

    pub(super) fn prepare(&mut self, from: NodeId, ballot: Ballot, effects: &mut MemberEffects) {
        let Some(after) = self.view_id() else { return };
        let message = if self.acceptor.prepare(ballot, self.config.rules) {
            MemberMessage::Promise(after, ballot, self.acceptor.accepted.clone())
        } else {
            MemberMessage::Rejected(after, self.acceptor.promised)
        };
        self.save_then_send(from, message, effects);
    }

    pub(super) fn accept(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        (decree, bound): (Decree, bool),
        effects: &mut MemberEffects,
    ) {
        let Some(view) = &self.view else { return };
        if change::outcome(view, &decree).is_none() || (!bound && self.forgets_a_round(&decree)) {
            return;
        }
        let after = view.id();
        let message = if self.acceptor.accept(ballot, decree) {
            MemberMessage::Accepted(after, ballot)
        } else {
            MemberMessage::Rejected(after, self.acceptor.promised)
        };
        self.save_then_send(from, message, effects);
    }

    /// A promise or vote is told when it is on disk, together with the newest view: never over it.
    fn save_then_send(&self, to: NodeId, message: MemberMessage, effects: &mut MemberEffects) {
        let Some(view) = self.newest().cloned() else { return };
        let (promised, accepted) = (self.acceptor.promised, self.acceptor.accepted.clone());
        let saved = Arc::new(Saved { view, promised, accepted, was_member: self.was_member });
        effects.push(MemberEffect::Save { saved, ticket: MemberTicket::Send { to, message } });
    }

    /// An own promise or vote is on disk, or one that another node waits for.
    pub(super) fn promised_or_voted(
        &mut self,
        to: NodeId,
        message: MemberMessage,
        effects: &mut MemberEffects,
    ) {
        if to != self.me {
            return effects.push(MemberEffect::Send { to, message });
        }
        if let MemberMessage::Promise(after, ballot, _) = &message {
            let (after, ballot) = (*after, *ballot);
            let is_mine = self.proposer.as_ref().is_some_and(|mine| mine.ballot == ballot);
            if is_mine && self.era() == Some(after.era()) {
                self.tell_members(&MemberMessage::Prepare(after, ballot), effects);
            }
        }
        self.message(self.me, message, effects);
    }

    pub(super) fn promise(
        &mut self,
        from: NodeId,
        after: ViewId,
        ballot: Ballot,
        vote: Option<(Ballot, Decree)>,
        effects: &mut MemberEffects,
    ) {
        let Some(majority) = self.majority(from, after) else { return };
        let Some(proposer) = self.proposer.as_mut().filter(|mine| mine.ballot == ballot) else {
            return;
        };
        if let Some((decree, bound)) = proposer.promised(from, vote, majority) {
            let message = MemberMessage::Accept(after, ballot, decree.clone(), bound);
            self.tell_members(&message, effects);
            self.accept(self.me, ballot, (decree, bound), effects);
        }
    }

    pub(super) fn vote(
        &mut self,
        from: NodeId,
        after: ViewId,
        ballot: Ballot,
        effects: &mut MemberEffects,
    ) {
        let Some(majority) = self.majority(from, after) else { return };
        let Some(proposer) = self.proposer.as_mut().filter(|mine| mine.ballot == ballot) else {
            return;
        };
        let Some(decree) = proposer.voted(from, majority) else { return };
        let Some(view) = &self.view else { return };
        let outcome =
            change::outcome(view, &decree).expect("no acceptor votes for a decree without outcome");
        let outcome = Arc::new(outcome);
        self.tell_listed(&outcome, &[&outcome, view], effects);
        self.adopt(outcome, effects);
    }

    /// Whether an answer makes a difference to the attempt that this node makes now. A promise or a vote that makes none
    /// never will. Of what is no answer to an attempt it says yes.
    pub fn waits_for(&self, answer: &MemberMessage) -> bool {
        let attempt =
            |after: &ViewId| self.proposer.as_ref().filter(|_| self.era() == Some(after.era()));
        match answer {
            MemberMessage::Promise(after, ballot, _) => {
                attempt(after).is_some_and(|mine| mine.ballot == *ballot && mine.proposed.is_none())
            }
            MemberMessage::Accepted(after, ballot) => {
                let members = self.view.as_ref().map_or(0, |view| view.layout().members().len());
                attempt(after)
                    .is_some_and(|mine| mine.ballot == *ballot && mine.votes() <= members / 2)
            }
            MemberMessage::Rejected(after, ballot) => {
                attempt(after).is_some_and(|mine| mine.ballot < *ballot)
            }
            MemberMessage::Gossip { .. }
            | MemberMessage::GossipOk { .. }
            | MemberMessage::AskView
            | MemberMessage::View(_)
            | MemberMessage::Prepare(..)
            | MemberMessage::Accept(..) => true,
        }
    }

    /// Tells a view to everybody whom these views list.
    pub(super) fn tell_listed(
        &self,
        view: &Arc<View>,
        listing: &[&View],
        effects: &mut MemberEffects,
    ) {
        let mut others: Vec<NodeId> = listing.iter().flat_map(|view| view.listed()).collect();
        others.sort_unstable();
        others.dedup();
        for to in others.into_iter().filter(|node| *node != self.me) {
            let message = MemberMessage::View(view.clone());
            effects.push(MemberEffect::Send { to, message });
        }
    }

    /// How many of the present layout's members are a majority, if `from` is one and the decree that follows `after`
    /// is the one to decide.
    fn majority(&self, from: NodeId, after: ViewId) -> Option<usize> {
        let view = self.view.as_ref().filter(|view| view.id().era() == after.era())?;
        view.layout().member(from)?;
        Some(view.layout().members().len() / 2 + 1)
    }

    fn tell_members(&self, message: &MemberMessage, effects: &mut MemberEffects) {
        let Some(view) = &self.view else { return };
        let members = view.layout().members().iter().map(|member| member.id);
        for to in members.filter(|node| *node != self.me) {
            effects.push(MemberEffect::Send { to, message: message.clone() });
        }
    }

    /// Sets the timer of the pause; see [`Membership::look`]. It grows with the attempts that this decree has seen, so
    /// that one has the time that it needs on slow links, and proposers stop outbidding each other.
    pub(super) fn pause(&self, number: u64, effects: &mut MemberEffects) {
        let doublings = self.acceptor.promised.round.min(MAX_DOUBLINGS);
        let step_ms = self.config.backoff_ms << doublings;
        let after_ms = step_ms.saturating_mul(1 + number as u32);
        effects.push(MemberEffect::SetTimer { timer: MemberTimer::Propose, after_ms });
    }
}
