//! The cluster: memberships, disks, messages and facts as one value that is cheap to copy.

use std::{fmt, sync::Arc};

use cartwheel_protocol::{
    Fact,
    id::{AddId, NodeId},
    membership::{
        MemberEffect, MemberInput, MemberMessage, MemberTicket, MemberTimer, Membership, Saved,
        who_must_catch_up,
    },
    rules::Rules,
    view::{View, ViewId},
};

use super::{
    DecreePlan, Event,
    ghost::{Ghost, is_less, known},
    plan::DecreeSetup,
};
use crate::{
    hashed::Hashed,
    property::Property,
    setup::{Budget, Budgets},
    witness::{Observer, Witness},
};

/// Everything that there is. What an event does not touch is shared with the cluster before it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Cluster {
    setup: Hashed<DecreeSetup>,
    hosts: Vec<Hashed<Host>>,
    network: Hashed<Vec<Hashed<Packet>>>,
    ghost: Hashed<Ghost>,
    left: Budgets,
}

/// A node: its disk and, while it runs, its membership.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Host {
    membership: Option<Membership>,
    /// What is durable.
    saved: Arc<Saved>,
    /// What is not yet, the oldest first.
    pub(super) tail: Vec<(Arc<Saved>, MemberTicket)>,
    /// Whether the pause before a proposal has begun.
    pauses: bool,
    /// What its shards have not said yet of the view that they were given last.
    pub(super) untold: Vec<Fact>,
}

/// One message on its way.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Packet {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// What is said.
    pub message: MemberMessage,
}

impl Host {
    /// Whether its process runs.
    pub fn is_up(&self) -> bool {
        self.membership.is_some()
    }

    /// Whether a pause is over after which something may be due.
    pub(super) fn may_propose(&self) -> bool {
        let is_due = |membership: &Membership| {
            let changes = membership.view().is_some_and(|view| view.next().is_some());
            changes || membership.staged().next().is_some()
        };
        self.pauses && self.membership.as_ref().is_some_and(is_due)
    }

    pub(super) fn has_promised(&self) -> bool {
        self.newest_save().promised.round > 0
    }

    /// What a crash that keeps the whole tail leaves.
    fn newest_save(&self) -> &Saved {
        self.tail.last().map_or(&self.saved, |(saved, _)| saved)
    }

    /// Whether a message would do nothing now.
    fn is_deaf_to(&self, packet: &Packet) -> bool {
        let (from, message) = (packet.from, packet.message.clone());
        let mut effects = Vec::new();
        if let Some(mut membership) = self.membership.clone() {
            membership.step(MemberInput::Message { from, message }, &mut effects);
        }
        effects.is_empty()
    }

    /// Whether this node, now and whatever else happens, can only ignore a message.
    fn ignores(&self, message: &MemberMessage) -> bool {
        let Saved { view: durable, promised, .. } = &*self.saved;
        let waits = || self.membership.as_ref().is_some_and(|of| of.waits_for(message));
        match message {
            MemberMessage::View(view) => view.id() <= durable.id(),
            MemberMessage::Promise(..) | MemberMessage::Accepted(..) => !waits(),
            // Every later attempt has a higher ballot than what is promised.
            MemberMessage::Rejected(after, ballot) => {
                let (now, of) = (durable.id().era(), after.era());
                !waits() && (now > of || (now == of && promised >= ballot))
            }
            MemberMessage::Gossip { .. }
            | MemberMessage::GossipOk { .. }
            | MemberMessage::AskView
            | MemberMessage::Prepare(..)
            | MemberMessage::Accept(..) => false,
        }
    }
}

impl Cluster {
    /// The cluster at the start: every member runs, has the first view, and knows that the others go by it.
    pub fn new(plan: &DecreePlan, rules: Rules) -> Self {
        let setup = plan.setup(rules);
        let host = |_: &NodeId| {
            Hashed::new(Host {
                membership: None,
                saved: Arc::new(Saved::new(setup.view.clone())),
                tail: Vec::new(),
                pauses: false,
                untold: Vec::new(),
            })
        };
        let mut cluster = Self {
            hosts: setup.nodes.iter().map(host).collect(),
            network: Hashed::new(Vec::new()),
            ghost: Hashed::new(Ghost::default()),
            left: plan.budgets,
            setup: Hashed::new(setup),
        };
        (0..cluster.hosts.len()).for_each(|at| cluster.start(at, &mut ()));
        while let Some(at) = cluster.hosts.iter().position(|host| !host.untold.is_empty()) {
            cluster.tell(at, &mut ());
        }
        while !cluster.network.is_empty() {
            cluster.deliver(0, &mut ());
        }
        for (at, staged) in cluster.setup.wishes.clone() {
            cluster.step(usize::from(at), MemberInput::Stage(staged), &mut ());
        }
        cluster
    }

    /// The property that does not hold here, if there is one.
    pub fn violation(&self) -> Option<Property> {
        self.ghost.violated
    }

    /// The nodes.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &Host> {
        self.hosts.iter().map(|host| &**host)
    }

    /// The messages in flight, sorted.
    pub fn packets(&self) -> &[Hashed<Packet>] {
        &self.network
    }

    /// How often something may still happen.
    pub fn left(&self, kind: Budget) -> u8 {
        self.left.left(kind)
    }

    pub(super) fn setup(&self) -> &DecreeSetup {
        &self.setup
    }

    pub(super) fn host(&self, node: NodeId) -> &Host {
        &self.hosts[self.index(node)]
    }

    fn index(&self, node: NodeId) -> usize {
        let at = self.setup.nodes.iter().position(|known| *known == node);
        at.expect("members know only members")
    }

    pub(super) fn may_crash(&self, at: usize) -> bool {
        self.left(Budget::Crash) > 0 && self.setup.crashing.contains(&(at as u8))
    }

    /// Does one event that may happen here.
    ///
    /// # Panics
    ///
    /// If it may not, or if the core panics.
    pub fn apply(&mut self, event: Event, observer: &mut impl Observer) {
        match event {
            Event::Deliver(index) => self.deliver(usize::from(index), observer),
            Event::Sync(at) => self.sync(usize::from(at), observer),
            Event::Propose(at) => {
                self.spend(Budget::Propose);
                self.hosts[usize::from(at)].make_mut().pauses = false;
                let input = MemberInput::Timeout(MemberTimer::Propose);
                self.step(usize::from(at), input, observer);
            }
            Event::Report(at) => self.tell(usize::from(at), observer),
            Event::Raise(at) => {
                self.spend(Budget::Raise);
                self.shard_wants(usize::from(at), Fact::Damaged, observer);
            }
            Event::Reap(at) => {
                self.spend(Budget::Reap);
                let (page, floor) = (self.setup.page.clone(), Some(AddId(1)));
                let reap = |view| Fact::Reap { view, page, floor };
                self.shard_wants(usize::from(at), reap, observer);
            }
            Event::Crash { node, keep } => {
                self.spend(Budget::Crash);
                self.crash(usize::from(node), usize::from(keep), observer);
            }
            Event::Restart(at) => {
                observer.note(Witness::Restarted);
                self.start(usize::from(at), observer);
            }
        }
        self.settle(observer);
    }

    /// A shard wants something above the view that it goes by.
    fn shard_wants(
        &mut self,
        at: usize,
        wants: impl FnOnce(ViewId) -> Fact,
        observer: &mut impl Observer,
    ) {
        let view = self.hosts[at].membership.as_ref().and_then(|of| of.view());
        let Some(view) = view.map(|view| view.id()) else { return };
        self.step(at, MemberInput::Report { shard: 0, fact: wants(view) }, observer);
    }

    fn spend(&mut self, kind: Budget) {
        assert!(self.left.spend(kind), "the budget of {} is spent", kind.name());
    }

    fn deliver(&mut self, index: usize, observer: &mut impl Observer) {
        let packet = self.network.make_mut().remove(index);
        let (from, message) = (packet.from, packet.message.clone());
        let at = self.index(packet.to);
        let is_gossip = matches!(message, MemberMessage::GossipOk { .. });
        let before = is_gossip.then(|| self.hosts[at].clone());
        self.step(at, MemberInput::Message { from, message }, observer);
        let rows = |host: &Host| host.membership.as_ref().map(|of| known(of.rows()));
        let was = before.and_then(|host| rows(&host));
        if let Some((now, was)) = rows(&self.hosts[at]).zip(was)
            && is_less(&now, &was)
        {
            self.ghost.make_mut().violate(Property::KnowledgeGrows);
        }
    }

    fn start(&mut self, at: usize, observer: &mut impl Observer) {
        let (node, config) = (self.setup.nodes[at], self.setup.configs[at].clone());
        let host = self.hosts[at].make_mut();
        host.membership = Some(Membership::new(node, config));
        let saved = host.saved.clone();
        self.ghost.make_mut().starts(node);
        self.step(at, MemberInput::Start(Some(saved)), observer);
    }

    fn crash(&mut self, at: usize, keep: usize, observer: &mut impl Observer) {
        let me = self.setup.nodes[at].0;
        let Saved { promised, accepted, .. } = self.hosts[at].newest_save();
        let has_voted = accepted.as_ref().is_some_and(|(ballot, _)| ballot == promised);
        if promised.round > 0 && promised.proposer != me && !has_voted {
            observer.note(Witness::VoterCrashed);
        }
        let host = self.hosts[at].make_mut();
        if keep > 0 {
            observer.note(Witness::CrashKept);
            host.saved = host.tail[keep - 1].0.clone();
        }
        if keep < host.tail.len() {
            observer.note(Witness::CrashLost);
        }
        host.membership = None;
        host.tail.clear();
        host.untold.clear();
        host.pauses = false;
    }

    /// What a node saved first is durable.
    fn sync(&mut self, at: usize, observer: &mut impl Observer) {
        let host = self.hosts[at].make_mut();
        let (saved, ticket) = host.tail.remove(0);
        host.saved = saved;
        self.step(at, MemberInput::Synced(ticket), observer);
    }

    /// The shards of a node say the next thing of the view that they were given.
    fn tell(&mut self, at: usize, observer: &mut impl Observer) {
        let fact = self.hosts[at].make_mut().untold.remove(0);
        self.step(at, MemberInput::Report { shard: 0, fact }, observer);
    }

    /// Who cannot crash saves at once, and what would only be ignored is no longer in flight.
    fn settle(&mut self, observer: &mut impl Observer) {
        for at in 0..self.hosts.len() {
            while !self.hosts[at].tail.is_empty() && !self.may_crash(at) {
                self.sync(at, observer);
            }
        }
        let is_over = |packet: &Hashed<Packet>| self.host(packet.to).ignores(&packet.message);
        if self.network.iter().any(is_over) {
            let mut over = self.network.iter().filter(|packet| is_over(packet));
            debug_assert!(over.all(|packet| self.host(packet.to).is_deaf_to(packet)));
            let left = self.network.iter().filter(|packet| !is_over(packet));
            self.network = Hashed::new(left.cloned().collect());
        }
    }

    /// One step of a membership and what it wants done.
    fn step(&mut self, at: usize, input: MemberInput, observer: &mut impl Observer) {
        let id = self.setup.nodes[at];
        let Some(membership) = &mut self.hosts[at].make_mut().membership else { return };
        let mut effects = Vec::new();
        membership.step(input, &mut effects);
        for effect in effects {
            observer.member_effect(id, &effect);
            match effect {
                MemberEffect::Send { to, message } => {
                    self.send(Packet { from: id, to, message }, observer);
                }
                MemberEffect::Save { saved, ticket } => {
                    self.hosts[at].make_mut().tail.push((saved, ticket));
                }
                MemberEffect::View(view) => self.given(at, &view, observer),
                MemberEffect::Suspect { .. }
                | MemberEffect::Addresses
                | MemberEffect::Disagrees { .. } => {}
                MemberEffect::SetTimer { timer: MemberTimer::Gossip, .. } => {}
                MemberEffect::SetTimer { timer: MemberTimer::Propose, .. } => {
                    self.hosts[at].make_mut().pauses = true;
                }
                // The length of a pause: time does not pass here.
                MemberEffect::Choose { choice, among: _ } => {
                    self.step(at, MemberInput::Chosen(choice, 0), observer);
                }
            }
        }
    }

    fn send(&mut self, packet: Packet, observer: &mut impl Observer) {
        if let MemberMessage::Accept(after, _, decree, bound) = &packet.message {
            let differs = |host: &Host| {
                let save = host.newest_save();
                let voted = save.accepted.as_ref().filter(|(_, voted)| voted != decree);
                voted.is_some() && save.view.id().era() == after.era()
            };
            if *bound {
                observer.note(Witness::VoteTakenUp);
            }
            if self.hosts().any(differs) {
                observer.note(Witness::Rivals);
            }
        }
        if let Err(at) = self.network.binary_search_by(|known| (**known).cmp(&packet)) {
            self.network.make_mut().insert(at, Hashed::new(packet));
        }
    }

    /// The shards of a node are given a view.
    fn given(&mut self, at: usize, view: &Arc<View>, observer: &mut impl Observer) {
        let (id, node) = (view.id(), self.setup.nodes[at]);
        let completed = self.ghost.make_mut().given(node, view);
        if completed {
            observer.note(Witness::RoundCompleted);
        }
        if view.reaped().fence == Some(id) && view.page().is_none() {
            observer.note(Witness::Unfit);
        }
        let host = self.hosts[at].make_mut();
        if id.reap.0 > 0 {
            observer.note(Witness::Raised);
            if id.reap.1 == node && host.has_promised() {
                observer.note(Witness::RaisedAmidVote);
            }
        }
        if id.layout > 1 && view.next().is_none() {
            observer.note(Witness::Changed);
        }
        host.untold.clear();
        if self.setup.reports {
            host.untold.push(Fact::Adopted(id));
            if who_must_catch_up(view).contains(&node) {
                host.untold.push(Fact::CaughtUp(id));
            }
        }
    }
}

impl fmt::Display for Cluster {
    /// One line for each node and message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, host) in self.setup.nodes.iter().zip(self.hosts()) {
            let Saved { view, promised, accepted, .. } = &*host.saved;
            let state = if host.is_up() { "" } else { " down" };
            write!(f, "{node}{state} {} promised {promised}", view.id())?;
            accepted
                .iter()
                .try_for_each(|(in_, decree)| write!(f, " voted in {in_} to {decree}"))?;
            writeln!(f)?;
        }
        self.network.iter().try_for_each(|packet| writeln!(f, "in flight: {}", **packet))?;
        match self.ghost.violated {
            Some(property) => write!(f, "violated: {property}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Packet {
    /// `n1→n3 Prepare v1 b1/n1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{} {}", self.from, self.to, self.message)
    }
}
