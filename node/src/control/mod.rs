//! The control thread: the node's membership, driven as a shard drives its replica.
//!
//! It takes what shards, connections, other memberships and operators say, one after the other, and carries out what
//! follows: gossip, timers, opinions, views. What membership must not forget it writes through the
//! committer under a key of its own, and goes on when that is on disk (L1).
//!
//! **Invariant:** no rule of membership is here. A view reaches the shards only as an effect of the core, which
//! asks for it to be saved first.

mod inbox;
mod peers;
mod reaping;
mod saved;
mod seeds;
mod seen;
mod suspicions;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cartwheel_client::members::{NewWish, Outlook, StageError, Standing};
use cartwheel_client::new_wish_id;
use cartwheel_client::reaping::ReapError;
use cartwheel_protocol::id::{AddId, NodeId};
use cartwheel_protocol::layout::{Command, LayoutError};
use cartwheel_protocol::membership::{
    Evidence, Fate, MemberEffect, MemberEffects, MemberInput, MemberTicket, MemberTimer,
    Membership, Saved, Staged, Wish,
};
use cartwheel_protocol::view::{Era, View};
use cartwheel_protocol::{Fact, Input};
use metrics::counter;
use tokio::sync::watch;

pub(crate) use self::inbox::{ControlInbox, ControlOutlet, Delivery, inbox};
pub(crate) use self::peers::Peers;
pub(crate) use self::reaping::{Reaping, Schedule};
pub(crate) use self::saved::{read_saved, write_saved};
pub(crate) use self::seeds::{find_cluster, resolve};
pub(crate) use self::seen::Seen;
use self::suspicions::Suspicions;
use crate::committer::Commit;
use crate::error::NodeError;
use crate::router::Router;
use crate::shard::ShardStatus;
use crate::shards::{FailStop, Writer, what_it_said};

/// What the control thread is made of.
pub(crate) struct Parts {
    pub(crate) me: NodeId,
    pub(crate) name: String,
    pub(crate) membership: Membership,
    pub(crate) outlet: ControlOutlet,
    /// Its way to the disk.
    pub(crate) writer: Writer,
    pub(crate) router: Arc<Router>,
    pub(crate) peers: Peers,
    pub(crate) seen: watch::Sender<Seen>,
    pub(crate) shards: Vec<Arc<ShardStatus>>,
    pub(crate) reaping: Reaping,
}

/// The thread's state.
pub(crate) struct Control {
    parts: Parts,
    /// Where others reach this node in this run.
    address: Arc<str>,
    timers: BTreeMap<MemberTimer, Instant>,
    /// What was sent to the committer, with the step.
    tickets: VecDeque<(u64, MemberTicket)>,
    effects: MemberEffects,
    suspicions: Suspicions,
    /// Who goes by another layout under the same number, and since which: each is logged once.
    disagreeing: BTreeMap<NodeId, Era>,
    /// When the view last changed.
    changed: Instant,
    /// The committer has stopped the node.
    is_over: bool,
}

impl Control {
    /// Takes what is on disk. On return the shards have been given the view, if there is one.
    ///
    /// `address` is where others reach this node in this run.
    pub(crate) fn new(parts: Parts, address: Arc<str>, saved: Option<Arc<Saved>>) -> Self {
        let mut control = Self {
            parts,
            address,
            timers: BTreeMap::new(),
            tickets: VecDeque::new(),
            effects: MemberEffects::new(),
            suspicions: Suspicions::new(),
            disagreeing: BTreeMap::new(),
            changed: Instant::now(),
            is_over: false,
        };
        control.step(MemberInput::Start(saved));
        control
    }

    /// A member that is reached elsewhere than the layout says wishes the layout to say so: clients go by it.
    fn wish_to_move(&self) -> Option<MemberInput> {
        let Parts { me, membership, .. } = &self.parts;
        let view = membership.view()?;
        let newest = view.next().unwrap_or(view.layout());
        let member = newest.member(*me)?;
        let wish = Wish::Change {
            command: Command::Address(*me, self.address.clone()),
            accept_loss: false,
        };
        if member.address == self.address || membership.staged().any(|staged| staged.wish == wish) {
            return None;
        }
        let (id, base) = (new_wish_id(), view.layout().number());
        Some(MemberInput::Stage(Staged { id, base, wish }))
    }

    /// Runs in a thread of its own until it is told to stop.
    ///
    /// Without it no view would ever change and suspicions would stay for ever, so a panic of it stops the node as one
    /// of a shard does.
    pub(crate) fn spawn(self, fail_stop: FailStop) -> Result<JoinHandle<()>, NodeError> {
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| self.run())) {
                    fail_stop(&format!("membership panicked: {}", what_it_said(panic.as_ref())));
                }
            })
            .map_err(|source| NodeError::System { what: "no thread for membership", source })
    }

    fn run(mut self) {
        while !self.is_over {
            let until = self.timers.values().copied().chain(self.parts.reaping.next()).min();
            match self.parts.outlet.receive(until) {
                Some(Delivery::Stop) => return,
                Some(delivery) => self.take(delivery),
                None => {}
            }
            self.fire_due();
        }
    }

    fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Evidence(evidence) => self.step(MemberInput::Evidence(evidence)),
            Delivery::Connection(evidence) => {
                self.suspicions.connection(evidence);
                self.step(MemberInput::Evidence(evidence));
                if let Evidence::Closed(node) = evidence
                    && self.parts.peers.closed(node)
                {
                    self.dial();
                }
            }
            Delivery::Message { from, message } => {
                if self.parts.peers.heard_from(from) {
                    self.dial();
                }
                self.step(MemberInput::Message { from, message });
            }
            Delivery::Fact { shard, fact: Fact::ReapEnded { end, rounds, given_up } } => {
                let next = self.parts.reaping.ended(shard, end.into(), (rounds, given_up));
                self.order(next);
            }
            Delivery::Fact { shard, fact } => {
                self.step(MemberInput::Report { shard, fact });
                self.publish();
            }
            Delivery::Newer => {
                for node in self.parts.outlet.newer() {
                    let fact = Fact::Newer(node);
                    self.step(MemberInput::Report { shard: 0, fact });
                }
            }
            Delivery::Greeted { node, address } => {
                if self.parts.peers.greeted(node, address) {
                    self.dial();
                }
            }
            Delivery::Seed { node, address } => {
                if self.parts.peers.seed(node, address) {
                    self.dial();
                }
                self.step(MemberInput::Seed(node));
            }
            Delivery::Members { reply } => {
                let Parts { me, name, membership, shards, reaping, .. } = &self.parts;
                let members = seen::members(*me, name, membership, shards, reaping.is_running());
                // Whoever asked may have gone.
                let _ = reply.send(members);
            }
            Delivery::Stage { wishes, only_plan, reply } => {
                // Whoever asked may have gone; what it staged stays.
                let _ = reply.send(self.stage(&wishes, only_plan));
            }
            Delivery::Reap { up_to, reply } => {
                // Whoever asked may have gone; the run goes on.
                let _ = reply.send(self.reap(up_to));
            }
            Delivery::Reaping { reply } => {
                // Whoever asked may have gone.
                let _ = reply.send(self.parts.reaping.seen());
            }
            Delivery::Durable => self.synced(),
            Delivery::Stop => {}
        }
    }

    fn fire_due(&mut self) {
        let now = Instant::now();
        for timer in [MemberTimer::Gossip, MemberTimer::Propose] {
            if self.timers.get(&timer).is_some_and(|at| *at <= now) {
                self.timers.remove(&timer);
                self.step(MemberInput::Timeout(timer));
            }
        }
        if self.parts.reaping.next().is_some_and(|at| at <= now) {
            let order = self.parts.reaping.fire(now, self.changed, self.is_member());
            self.order(order);
        }
    }

    fn is_member(&self) -> bool {
        let Parts { me, membership, .. } = &self.parts;
        membership.view().is_some_and(|view| view.is_member(*me))
    }

    /// Begins a run of reap rounds.
    fn reap(&mut self, up_to: Option<AddId>) -> Result<(), ReapError> {
        if !self.is_member() {
            return Err(ReapError::NoMember);
        }
        let order = self.parts.reaping.begin(up_to)?;
        self.order(Some(order));
        Ok(())
    }

    /// Tells a shard to reap.
    fn order(&self, order: Option<reaping::Order>) {
        if let Some((shard, bound)) = order {
            self.parts.router.tell(shard, Input::Reap { bound });
        }
    }

    /// Hands back the tickets of what is on disk now.
    fn synced(&mut self) {
        let durable = self.parts.writer.watermarks.take(self.parts.writer.shard);
        while self.tickets.front().is_some_and(|(step, _)| *step <= durable) {
            let Some((_, ticket)) = self.tickets.pop_front() else { break };
            self.step(MemberInput::Synced(ticket));
        }
    }

    /// One input, and at once the outcomes of the choices that it asks for.
    fn step(&mut self, input: MemberInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = std::mem::take(&mut self.effects);
            self.parts.membership.step(input, &mut effects);
            for effect in effects.drain(..) {
                if let Some(input) = self.carry_out(effect) {
                    inputs.push_back(input);
                }
            }
            self.effects = effects;
        }
    }

    /// What one effect asks for; an input that follows from it.
    fn carry_out(&mut self, effect: MemberEffect) -> Option<MemberInput> {
        match effect {
            MemberEffect::Send { to, message } => self.parts.peers.send(to, &message),
            MemberEffect::Save { saved, ticket } => self.save(&saved, ticket),
            MemberEffect::View(view) => {
                self.go_by(&view);
                return self.wish_to_move();
            }
            MemberEffect::Suspect { node, suspected } => self.opine(node, suspected),
            MemberEffect::Addresses => self.dial(),
            MemberEffect::Disagrees { node, era } => self.disagrees(node, era),
            MemberEffect::SetTimer { timer, after_ms } => {
                let at = Instant::now() + Duration::from_millis(after_ms.into());
                self.timers.insert(timer, at);
            }
            MemberEffect::Choose { choice, among } => {
                let number = rand::random_range(0..among.max(1));
                return Some(MemberInput::Chosen(choice, number));
            }
        }
        None
    }

    fn save(&mut self, saved: &Saved, ticket: MemberTicket) {
        let writer = &mut self.parts.writer;
        writer.step += 1;
        let (shard, step) = (writer.shard, writer.step);
        let commit = Commit { shard, step, writes: vec![saved::write(saved)] };
        self.tickets.push_back((step, ticket));
        // If it has stopped, so has the node; nothing of this will ever be on disk.
        self.is_over |= writer.commits.send(commit).is_err();
    }

    fn go_by(&mut self, view: &Arc<View>) {
        self.changed = Instant::now();
        tracing::info!(view = %view.id(), layout = %view.layout(), "the node goes by a view");
        self.parts.router.view(view);
        self.publish();
    }

    fn opine(&mut self, node: NodeId, suspected: bool) {
        let opinion = Input::Suspect { node, suspected };
        tracing::info!("{opinion}");
        if self.suspicions.opinion(node, suspected) {
            tracing::info!(peer = %node, "the suspicion was false: its connection was there all the time");
        }
        self.parts.router.opinion(&opinion);
        self.publish();
    }

    /// A peer has made another layout of the decree that this node carried out too. Each period would tell it anew.
    fn disagrees(&mut self, node: NodeId, era: Era) {
        counter!("cartwheel_layout_disagreements_total").increment(1);
        if self.disagreeing.insert(node, era) != Some(era) {
            tracing::error!(
                peer = %node, layout = era.layout, decree = era.decree,
                "the peer goes by another layout under this number: the two run programs that lay out a cluster \
                 differently; run one version, and replace one of the nodes by a new one"
            );
        }
    }

    /// Shows the others what is known now.
    fn publish(&self) {
        let Parts { me, membership, seen, .. } = &self.parts;
        let now = Seen::new(*me, membership);
        self.suspicions.count(now.suspected.len());
        let before = seen.send_replace(now.clone()).standing;
        if before == now.standing {
            return;
        }
        match now.standing {
            Standing::Removed | Standing::Draining => tracing::warn!(
                "this node was removed from the cluster: it hands off what it holds and takes no requests; \
                 to come back it needs a new store"
            ),
            Standing::NoView | Standing::Joining | Standing::Member => {
                tracing::info!("this node: {}", now.standing);
            }
        }
    }

    fn dial(&mut self) {
        let addresses = self.parts.membership.addresses();
        self.parts.peers.dial(addresses);
    }

    /// Stages wishes if the layout takes them all; tells what they do together with those that wait.
    fn stage(&mut self, wishes: &[NewWish], only_plan: bool) -> Result<Outlook, StageError> {
        let membership = &self.parts.membership;
        let view = membership.view().ok_or(StageError::NoView)?;
        if matches!(Seen::new(self.parts.me, membership).standing, Standing::Removed) {
            return Err(StageError::Removed);
        }
        let base = view.layout().number();
        let mut new = Vec::with_capacity(wishes.len());
        for NewWish { id, wish, accept_loss } in wishes {
            let wish = wish.to_core(*accept_loss).map_err(StageError::Invalid)?;
            new.push(Staged { id: *id, base, wish });
        }
        if let Some(why) = new.iter().find_map(|staged| seats_a_member(view, staged)) {
            return Err(StageError::Invalid(why));
        }
        let known: Vec<Staged> = membership.staged().cloned().collect();
        let fresh = new.iter().filter(|new| known.iter().all(|known| known.id != new.id));
        let all: Vec<Staged> = known.iter().chain(fresh).cloned().collect();
        if all.len() > Staged::MAX {
            return Err(StageError::Full(Staged::MAX as u32));
        }
        let outlook = membership.outlook(&all).ok_or(StageError::NoView)?;
        let is_new = |staged: &Staged| new.iter().any(|new| new.id == staged.id);
        let refused = outlook.fates.iter().find(|(staged, fate)| {
            is_new(staged) && matches!(fate, Fate::Refused(_) | Fate::Blocked(_))
        });
        let mut shown = Outlook::new(&outlook);
        if let Some((staged, fate)) = refused {
            let accepting: Vec<Staged> =
                all.iter().map(|staged| accepting(staged, &outlook.fates)).collect();
            if let Some(would) = membership.outlook(&accepting) {
                shown = Outlook { wishes: shown.wishes, ..Outlook::new(&would) };
            }
            let why = format!("{}: {fate}", staged.wish);
            return Err(StageError::Refused { why, outlook: Box::new(shown) });
        }
        let living = new.iter().find_map(|new| membership.names_a_living_owner(&new.wish));
        if let Some(node) = living {
            let why = format!(
                "{node} is not suspected, so its loss cannot be accepted: strict reads that it answers could be stale; \
                 stop it first and wait until `cartwheel member list` shows it as suspected, or leave --accept-loss out"
            );
            return Err(StageError::Refused { why, outlook: Box::new(shown) });
        }
        if !only_plan {
            for staged in new {
                tracing::info!(wish = %staged, "staged");
                self.step(MemberInput::Stage(staged));
            }
        }
        Ok(shown)
    }
}

/// Whether a wish would be carried out if its loss were accepted.
fn needs_acceptance(fate: &Fate) -> bool {
    use LayoutError::{ZoneQuorum, ZonesLost};
    matches!(fate, Fate::Blocked(_) | Fate::Refused(ZonesLost { .. } | ZoneQuorum { .. }))
}

/// Why a wish to replace a member is none: both nodes are members. To the layout it is nothing to do, since it never can be
/// done; whoever wishes for it is to know.
fn seats_a_member(view: &View, staged: &Staged) -> Option<String> {
    let Wish::Change { command: Command::Replace { old, new }, .. } = &staged.wish else {
        return None;
    };
    let layout = view.layout();
    let both = layout.member(*old).is_some() && layout.member(new.id).is_some();
    both.then(|| {
        format!("{} is a member already: a member is replaced by a node that is none", new.name)
    })
}

/// A wish; where a dead owner blocks it or it costs zones, the same with the loss accepted. So its plan shows what it would do.
fn accepting(staged: &Staged, fates: &[(Staged, Fate)]) -> Staged {
    let mut staged = staged.clone();
    let blocks = |(of, fate): &(Staged, Fate)| of.id == staged.id && needs_acceptance(fate);
    if let (true, Wish::Change { accept_loss, .. }) = (fates.iter().any(blocks), &mut staged.wish) {
        *accept_loss = true;
    }
    staged
}
