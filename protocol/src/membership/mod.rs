//! Membership: who belongs to the cluster, who owns what, and who is thought to be down (paper §4.8).
//!
//! One for each node, beside its shards. What it knows goes round in *gossip*: rows about every node and the
//! wishes for change that operators staged. What is next is decided by *decrees* (`decree.rs`): first a joint view
//! of the present and the next layout, then, when the owners of the next one have caught up, that one
//! alone (`change.rs`). A view is on disk before any shard goes by it. *Failure detection* is a local opinion
//! and has no part in any of this (`detector.rs`).
//!
//! A node without a view is no member yet: it asks its seeds for one and stages its own join if it is to.
//! One that the present layout does not list any more drains, and is forgotten when it has.

mod adopting;
mod change;
mod decree;
mod detector;
mod gossiping;
mod message;
mod proposing;
mod raising;
mod roster;
mod wishes;

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

pub(crate) use self::change::least_quorum;
pub use self::{
    change::{Progress, may_finish, outcome, who_must_catch_up},
    detector::{Detector, Evidence},
    message::{
        Ballot, Brief, Choice, Decree, MemberEffect, MemberEffects, MemberInput, MemberMessage,
        MemberTicket, MemberTimer, Saved, Staged, Wish,
    },
    roster::{Glimpse, Row, Status},
    wishes::{Fate, Outlook},
};
use self::{
    decree::{Acceptor, Proposer},
    roster::Roster,
};
use crate::{
    id::NodeId,
    layout::Command,
    rules::Rules,
    view::{Era, View, ViewId},
};

/// What varies between nodes and does not change while one runs.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberConfig {
    /// How many shards the node has.
    pub shards: u16,
    /// How often it gossips, in milliseconds.
    pub gossip_every_ms: u32,
    /// Periods without a heartbeat after which a node is suspected.
    pub suspect_after: u32,
    /// The step of the random pause before a proposal, in milliseconds.
    pub backoff_ms: u32,
    /// Its name for people.
    pub name: Arc<str>,
    /// Where it can be reached.
    pub address: Arc<str>,
    /// Its wish to become a member, staged by itself when it has a view that does not list it.
    pub joins: Option<Command>,
    /// Which rules hold.
    pub rules: Rules,
}

/// A node's knowledge of the cluster. A crash loses it but for what was [saved](Saved).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Membership {
    me: NodeId,
    config: Arc<MemberConfig>,
    view: Option<Arc<View>>,
    /// A view that is being saved: until it is, no vote is given but on the decree that follows it as well.
    adopting: Option<Arc<View>>,
    roster: Roster,
    /// Periods since a node's heartbeat advanced.
    still: BTreeMap<NodeId, u32>,
    detector: Detector,
    /// The suspected peer that was asked last whether it answers.
    probed: Option<NodeId>,
    /// By id.
    staged: BTreeMap<u128, Staged>,
    acceptor: Acceptor,
    proposer: Option<Proposer>,
    /// Who must catch up before the change under way may finish.
    must: Vec<NodeId>,
    seeds: Vec<NodeId>,
    /// What each shard has reported: its view, and the views in which it was caught up and drained.
    shards: Vec<Shard>,
    /// Whether a proposal is due: its timer is set or its pause is being chosen.
    proposing: bool,
    /// Whether, in this period, a peer that goes by a newer view was asked for it.
    asked: bool,
    /// The newest view that a shard of this node wants one above (W1).
    wants_above: Option<ViewId>,
    /// Whether, in this period, this node raised the view.
    raised: bool,
    /// Whether a layout that the node went by listed it: its id does not join again.
    was_member: bool,
}

/// What a shard has reported.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Shard {
    view: Option<ViewId>,
    caught_up: Option<ViewId>,
    drained: Option<ViewId>,
}

impl MemberConfig {
    /// Numbers to start from.
    pub fn new(name: &str, address: &str) -> Self {
        Self {
            shards: 1,
            gossip_every_ms: 1_000,
            suspect_after: 10,
            backoff_ms: 50,
            name: name.into(),
            address: address.into(),
            joins: None,
            rules: Rules::sound(),
        }
    }
}

/// Every so many periods a node gossips with a seed, so that halves that healed become one cluster again.
const SEED_EVERY: u64 = 10;
/// How many steps of the random pause before a proposal there are.
const BACKOFF_STEPS: u64 = 8;
/// How often the step of that pause is doubled at most: once for each attempt before.
const MAX_DOUBLINGS: u64 = 4;

impl Membership {
    /// Membership as after any start: it knows nothing but who it is.
    pub fn new(me: NodeId, config: impl Into<Arc<MemberConfig>>) -> Self {
        let config = config.into();
        let shards = alloc::vec![Shard::default(); usize::from(config.shards)];
        let mut roster = Roster::default();
        roster.meet(Row::new(me, config.name.clone(), config.address.clone()));
        Self {
            me,
            config,
            view: None,
            adopting: None,
            roster,
            still: BTreeMap::new(),
            detector: Detector::default(),
            probed: None,
            staged: BTreeMap::new(),
            acceptor: Acceptor::default(),
            proposer: None,
            must: Vec::new(),
            seeds: Vec::new(),
            shards,
            proposing: false,
            asked: false,
            wants_above: None,
            raised: false,
            was_member: false,
        }
    }

    /// Takes one input and appends what is to be done. The same state and input give the same effects.
    pub fn step(&mut self, input: MemberInput, effects: &mut MemberEffects) {
        match input {
            MemberInput::Start(saved) => self.start(saved, effects),
            MemberInput::Message { from, message } => self.message(from, message, effects),
            MemberInput::Timeout(MemberTimer::Gossip) => self.period(effects),
            MemberInput::Timeout(MemberTimer::Propose) => self.propose(effects),
            MemberInput::Synced(MemberTicket::Adopt(view)) => self.adopted(view, effects),
            MemberInput::Synced(MemberTicket::Send { to, message }) => {
                self.promised_or_voted(to, message, effects);
            }
            MemberInput::Evidence(evidence) => self.heard(evidence, effects),
            MemberInput::Report { shard, fact } => self.report(shard, fact, effects),
            MemberInput::Stage(staged) => {
                self.stage(staged);
                self.look(effects);
            }
            MemberInput::Seed(node) => {
                if node != self.me && !self.seeds.contains(&node) {
                    self.seeds.push(node);
                }
                if self.view.is_none() {
                    effects.push(MemberEffect::Send { to: node, message: MemberMessage::AskView });
                }
            }
            MemberInput::Chosen(Choice::Partner, number) => self.gossip_with(number, effects),
            MemberInput::Chosen(Choice::Backoff, number) => {
                self.pause(number, effects);
            }
        }
    }

    /// The view that the node goes by; nothing before it has one.
    pub fn view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// What is known of every node.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.roster.rows()
    }

    /// The wishes that no decree has settled yet.
    pub fn staged(&self) -> impl Iterator<Item = &Staged> {
        self.staged.values()
    }

    /// The peers that are suspected now, sorted.
    pub fn suspected(&self) -> Vec<NodeId> {
        self.detector.suspected()
    }

    /// Where the other nodes can be reached: what gossip says, else what the view says.
    pub fn addresses(&self) -> BTreeMap<NodeId, Arc<str>> {
        let layouts = self.view.iter().flat_map(|view| view.layouts());
        let listed = layouts.flat_map(|layout| layout.members().iter().chain(layout.draining()));
        let mut addresses: BTreeMap<NodeId, Arc<str>> =
            listed.map(|member| (member.id, member.address.clone())).collect();
        let alive = self.roster.rows().filter(|row| row.status != Status::Removed);
        addresses.extend(
            alive.filter(|row| !row.label.2.is_empty()).map(|row| (row.node, row.label.2.clone())),
        );
        addresses.remove(&self.me);
        addresses
    }

    fn start(&mut self, saved: Option<Arc<Saved>>, effects: &mut MemberEffects) {
        if let Some(saved) = saved {
            self.acceptor = Acceptor { promised: saved.promised, accepted: saved.accepted.clone() };
            self.was_member = saved.was_member;
            self.go_by(saved.view.clone(), effects);
        }
        let after_ms = self.config.gossip_every_ms;
        effects.push(MemberEffect::SetTimer { timer: MemberTimer::Gossip, after_ms });
    }

    fn message(&mut self, from: NodeId, message: MemberMessage, effects: &mut MemberEffects) {
        match message {
            MemberMessage::Gossip { brief, view } => {
                self.answer_gossip(from, &brief, Some(self.brief()), effects);
                self.compare_views(from, view.map(|(view, _)| view), effects);
                self.compare_layouts(from, view, effects);
            }
            MemberMessage::GossipOk { beats, rows, staged, wants } => {
                self.heard(Evidence::Answered(from), effects);
                self.hear_beats(&beats, effects);
                self.learn(&rows, &staged, effects);
                if let Some(brief) = wants {
                    self.answer_gossip(from, &brief, None, effects);
                }
                self.look(effects);
            }
            MemberMessage::AskView => self.tell_view(from, effects),
            MemberMessage::View(view) => self.adopt(view, effects),
            MemberMessage::Prepare(after, ballot) => {
                if self.votes_after(from, after, effects) {
                    self.prepare(from, ballot, effects);
                } else if self.forgets(after) {
                    let message = MemberMessage::Promise(after, ballot, None);
                    effects.push(MemberEffect::Send { to: from, message });
                }
            }
            MemberMessage::Accept(after, ballot, decree, bound) => {
                if self.votes_after(from, after, effects) {
                    self.accept(from, ballot, (decree, bound), effects);
                } else if self.forgets(after) {
                    let message = MemberMessage::Accepted(after, ballot);
                    effects.push(MemberEffect::Send { to: from, message });
                }
            }
            MemberMessage::Promise(after, ballot, vote) => {
                self.promise(from, after, ballot, vote, effects);
            }
            MemberMessage::Accepted(after, ballot) => self.vote(from, after, ballot, effects),
            MemberMessage::Rejected(after, ballot) => {
                let is_mine = self.proposer.as_ref().is_some_and(|mine| mine.ballot < ballot);
                if Some(after.era()) == self.era() && is_mine {
                    self.proposer = None;
                    self.acceptor.promised.round = self.acceptor.promised.round.max(ballot.round);
                    self.look(effects);
                }
            }
        }
    }

    fn view_id(&self) -> Option<ViewId> {
        self.view.as_ref().map(|view| view.id())
    }

    fn era(&self) -> Option<Era> {
        self.view_id().map(ViewId::era)
    }

    /// The newest view that this node has: the one that is being saved, or the one that it goes by.
    fn newest(&self) -> Option<&Arc<View>> {
        self.adopting.as_ref().or(self.view.as_ref())
    }

    fn is_in_view(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.layout().member(self.me).is_some())
    }
}
