//! A shard: one thread with one replica over its own partitions.
//!
//! A turn is: wait for something, take what waits in the inbox (at most [`TURN_INPUTS`]), fire the timers
//! that are due, then send to peers and hand the steps to the committer. The inbox comes first because a
//! thread that was held up finds its timers due and the answers that they wait for queued. Each input is one step of the
//! replica and one batch of the store; only the hand-over is shared. All waiting is in [`Shard::run`], all
//! change in [`Shard::step`].
//!
//! **Invariant:** nothing here looks into a message or decides anything about a request: that is the core's.
//! Only the way to the committer may block.

mod exchanges;
mod freed;
mod held;
mod inbox;
mod storage;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::request::{Operation, Request, Response};
use cartwheel_protocol::{Effect, Fact, Haste, Input, Message, Replica, Ticket, Timer};
use tokio::sync::oneshot;

pub(crate) use self::exchanges::Exchanges;
pub(crate) use self::freed::FreedCounts;
use self::held::Held;
pub(crate) use self::inbox::{Delivery, Inbox, Outlet, Refused, inbox};
pub(crate) use self::storage::{ShardStorage, shard_of};
use self::timers::Timers;
use crate::committer::{Commit, CommitSender, ShardId, Watermarks};
use crate::metrics::{RequestKind, ShardMetrics};
use crate::pace::{Foreground, Pace};

/// After so many inputs a turn ends, so that what it did leaves: to peers and to the disk.
const TURN_INPUTS: usize = 128;

/// Where a shard's messages and findings go. It must not block.
pub(crate) trait Outbound: Send {
    /// Keeps a message for a peer until [`Outbound::flush`].
    fn send(&mut self, to: NodeId, message: Message);

    /// Lets everything go that was kept in this turn.
    fn flush(&mut self);

    /// Tells Membership.
    fn report(&mut self, fact: Fact);
}

/// What others may see of a shard while it runs.
#[derive(Debug, Default)]
pub(crate) struct ShardStatus {
    /// Requests under way.
    pub(crate) pending: AtomicUsize,
    /// Steps whose barrier is not on disk yet.
    pub(crate) unsynced: AtomicUsize,
    /// The shard's newest step.
    pub(crate) step: AtomicU64,
    /// Partitions that it still has to catch up with.
    pub(crate) catching_up: AtomicUsize,
    /// Damaged records that it knows of and has not mended.
    pub(crate) unmended: AtomicUsize,
    /// Whether it has not looked at all its records since it started.
    pub(crate) looks_for_damage: AtomicBool,
    /// How many passes over what it holds for others it has ended.
    pub(crate) passes: AtomicU64,
    /// How many hints it handed over in the last of them.
    pub(crate) handed_over: AtomicU64,
    /// What it finds when it compares trees.
    pub(crate) exchanges: Exchanges,
    /// How far its run of reap rounds is, in thousandths of the partitions; 0 if there is none.
    pub(crate) reaps_at: AtomicU32,
    /// What reap rounds have freed.
    pub(crate) freed: FreedCounts,
    /// The most entries that a version vector had that it wrote in this run.
    pub(crate) clock_entries: AtomicUsize,
}

/// What a shard is made of.
pub(crate) struct Parts<O> {
    pub(crate) id: ShardId,
    /// How many shards share the node.
    pub(crate) shards: u16,
    pub(crate) replica: Replica,
    pub(crate) storage: ShardStorage,
    pub(crate) outlet: Outlet,
    pub(crate) watermarks: Arc<Watermarks>,
    pub(crate) commits: CommitSender,
    pub(crate) outbound: O,
    pub(crate) pace: Arc<Pace>,
    pub(crate) status: Arc<ShardStatus>,
    pub(crate) metrics: ShardMetrics,
}

/// The thread's state.
pub(crate) struct Shard<O> {
    parts: Parts<O>,
    timers: Timers,
    /// Who waits for which request.
    replies: HashMap<u64, Waiting>,
    /// The next request's number: it and the shard's number are unique within the run of the node.
    next_number: u64,
    /// The barriers that were asked for, in the order of their steps.
    tickets: VecDeque<Barrier>,
    /// Pages that peers asked for and that wait for their turn.
    held: Held,
    /// The steps of this turn.
    commits: Vec<Commit>,
    effects: Vec<Effect>,
    /// How many hints this pass of the hand-off has handed over.
    handed_over: u64,
    /// The time at which the turn began.
    now: Instant,
}

/// A client's request under way.
struct Waiting {
    reply: oneshot::Sender<Response>,
    kind: RequestKind,
    began: Instant,
}

/// A barrier that was asked for.
struct Barrier {
    /// The step that did.
    step: u64,
    ticket: Ticket,
    /// When the message arrived that it acknowledges, if a client's request waits for that.
    since: Option<Instant>,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    GoOn,
    Stop,
}

impl<O: Outbound> Shard<O> {
    pub(crate) fn new(parts: Parts<O>) -> Self {
        Self {
            next_number: u64::from(parts.id.0),
            parts,
            timers: Timers::default(),
            replies: HashMap::new(),
            tickets: VecDeque::new(),
            held: Held::default(),
            commits: Vec::new(),
            effects: Vec::new(),
            handed_over: 0,
            now: Instant::now(),
        }
    }

    /// Runs until it is stopped.
    pub(crate) fn run(mut self) {
        loop {
            self.now = Instant::now();
            let until = self.timers.next().into_iter().chain(self.held.next()).min();
            let Ok(first) = self.parts.outlet.receive(self.now, until) else { return };
            self.now = Instant::now();
            if self.turn(first) == Turn::Stop {
                return;
            }
        }
    }

    /// Everything that is due and waits; what follows from it leaves at the end.
    fn turn(&mut self, first: Option<Delivery>) -> Turn {
        let mut inputs = 0;
        let mut goes_on = Turn::GoOn;
        let mut next = first.or_else(|| self.parts.outlet.receive_more());
        while let Some(delivery) = next {
            match self.take(delivery) {
                None => {
                    goes_on = Turn::Stop;
                    break;
                }
                Some(steps) => inputs += steps,
            }
            next = if inputs < TURN_INPUTS { self.parts.outlet.receive_more() } else { None };
        }
        if goes_on == Turn::GoOn {
            inputs += self.fire_due() + self.give_page();
        }
        if self.hand_over(inputs) == Turn::Stop { Turn::Stop } else { goes_on }
    }

    /// Fires what is due now, unless an earlier step of this loop cancels it or sets it again. What one of
    /// them sets to "now" fires in the next turn.
    fn fire_due(&mut self) -> usize {
        let mut steps = 0;
        for due in self.timers.due(self.now) {
            if let Some(timer) = self.timers.take(due) {
                self.step(Input::Timeout(timer));
                steps += 1;
            }
        }
        steps
    }

    /// One delivery; how many steps it was, `None` if it is the end.
    fn take(&mut self, delivery: Delivery) -> Option<usize> {
        match delivery {
            Delivery::Request { request, reply, .. } => {
                self.request(request, reply);
                Some(1)
            }
            Delivery::Messages { from, messages, at, .. } => {
                let count = messages.len();
                for message in messages {
                    self.message(from, message, at);
                }
                Some(count)
            }
            Delivery::View(view) => {
                self.step(Input::View(view));
                Some(1)
            }
            Delivery::Told(input) => {
                self.step(input);
                Some(1)
            }
            Delivery::Durable => Some(self.synced()),
            Delivery::Stop => None,
        }
    }

    fn request(&mut self, request: Request, reply: oneshot::Sender<Response>) {
        let number = self.next_number;
        self.next_number += u64::from(self.parts.shards);
        let kind = RequestKind::of(&request.operation);
        self.replies.insert(number, Waiting { reply, kind, began: self.now });
        self.step(Input::Request { number, request });
    }

    /// A peer's message, which arrived at this time. One that asks for a page waits for its turn.
    fn message(&mut self, from: NodeId, message: Message, at: Instant) {
        match message.haste() {
            Haste::Page => {
                if !self.held.push(from, message) {
                    self.parts.metrics.dropped_page();
                }
            }
            Haste::Background => self.step(Input::Message { from, message }),
            Haste::Request => self.step_since(Input::Message { from, message }, Some(at)),
        }
    }

    /// Gives a peer the page that it asked for, if it is time for one: one a turn, so that requests come in between.
    fn give_page(&mut self) -> usize {
        let Some((from, message)) = self.held.take(self.now) else { return 0 };
        self.step(Input::Message { from, message });
        self.held.rest(self.now + self.parts.pace.rest());
        1
    }

    /// Hands back the tickets whose step is on disk now.
    fn synced(&mut self) -> usize {
        let durable = self.parts.watermarks.take(self.parts.id);
        self.parts.storage.trim(durable);
        let mut steps = 0;
        while self.tickets.front().is_some_and(|barrier| barrier.step <= durable) {
            let Some(Barrier { ticket, since, .. }) = self.tickets.pop_front() else { break };
            if let Some(since) = since {
                self.parts.pace.observe(Foreground::Copy, self.now.duration_since(since));
            }
            self.step(Input::Synced(ticket));
            steps += 1;
        }
        steps
    }

    fn step(&mut self, input: Input) {
        self.step_since(input, None);
    }

    /// One input, one step, one batch. A peer's client may wait for it since this time.
    fn step_since(&mut self, input: Input, since: Option<Instant>) {
        let hands_off = matches!(input, Input::Timeout(Timer::Handoff));
        let mut effects = std::mem::take(&mut self.effects);
        self.parts.replica.step(&mut self.parts.storage, input, &mut effects);
        if hands_off {
            self.count_hints(&effects);
        }
        let mut barrier = false;
        for effect in effects.drain(..) {
            match effect {
                Effect::Reply { number, response } => self.reply(number, response),
                Effect::Send { to, message } => self.parts.outbound.send(to, message),
                Effect::Sync(ticket) => {
                    barrier = true;
                    self.tickets.push_back(Barrier {
                        step: self.parts.storage.step(),
                        ticket,
                        since,
                    });
                }
                Effect::SetTimer { timer, after_ms, yields } => {
                    let after_ms =
                        if yields { self.parts.pace.stretch_ms(after_ms) } else { after_ms };
                    self.timers.set(self.now, timer, after_ms);
                }
                Effect::CancelTimer(timer) => self.timers.cancel(timer),
                Effect::Report(fact) => self.report(fact),
            }
        }
        self.effects = effects;
        let wrote = self.parts.storage.wrote();
        if !wrote.is_empty() {
            self.parts.status.exchanges.wrote(wrote.iter().copied());
        }
        if barrier || !wrote.is_empty() {
            self.commits.push(self.parts.storage.end_step());
        }
    }

    fn report(&mut self, fact: Fact) {
        match fact {
            Fact::Compared { partition, n, with, outcome } => {
                self.parts.metrics.compared(outcome);
                let pair = ((partition, n), with);
                self.parts.status.exchanges.ended(pair, outcome, self.now);
            }
            Fact::Adopted(_) => {
                let replica = &self.parts.replica;
                self.parts.status.exchanges.adopted(replica.exchanges(), replica.trees_left());
                self.parts.outbound.report(fact);
            }
            Fact::Answered(_)
            | Fact::Silent(_)
            | Fact::Newer(_)
            | Fact::CaughtUp(_)
            | Fact::Drained(_)
            | Fact::Damaged(_)
            | Fact::Reap { .. } => self.parts.outbound.report(fact),
            Fact::Reaped(freed) => {
                self.parts.metrics.reaped(&freed);
                self.parts.status.freed.add(&freed);
            }
            Fact::ReapEnded { .. } => {
                self.parts.status.reaps_at.store(0, Ordering::Relaxed);
                self.parts.outbound.report(fact);
            }
            // The one who began the round counts verdicts.
            Fact::Judged { .. } => {}
        }
    }

    /// Counts what a page of the hand-off sent, and the pass if it ends: nothing but hints is sent in such a step.
    fn count_hints(&mut self, effects: &[Effect]) {
        let is_hint = |effect: &&Effect| matches!(effect, Effect::Send { .. });
        self.handed_over += effects.iter().filter(is_hint).count() as u64;
        // Within a pass the timer yields.
        let ends_pass = |effect: &Effect| {
            matches!(effect, Effect::SetTimer { timer: Timer::Handoff, yields: false, .. })
        };
        if effects.iter().any(ends_pass) {
            let status = &self.parts.status;
            status.handed_over.store(std::mem::take(&mut self.handed_over), Ordering::Relaxed);
            // Whoever sees the pass sees what it handed over.
            status.passes.fetch_add(1, Ordering::Release);
        }
    }

    fn reply(&mut self, number: u64, response: Response) {
        let Some(Waiting { reply, kind, began }) = self.replies.remove(&number) else {
            unreachable!(
                "the core replies once to each request, and request {number} has its reply"
            );
        };
        self.parts.metrics.answered(kind, &response, began.elapsed());
        // A client that has gone away hears nothing.
        let _ = reply.send(response);
    }

    /// The end of a turn: first what goes to peers, who can work while the disk does.
    fn hand_over(&mut self, inputs: usize) -> Turn {
        self.parts.outbound.flush();
        for commit in self.commits.drain(..) {
            if self.parts.commits.send(commit).is_err() {
                // The committer has stopped the node; nothing of this will ever be acknowledged.
                return Turn::Stop;
            }
        }
        self.parts.metrics.turn(inputs);
        let status = &self.parts.status;
        status.pending.store(self.parts.replica.pending(), Ordering::Relaxed);
        status.catching_up.store(self.parts.replica.catching_up(), Ordering::Relaxed);
        status.exchanges.building(self.parts.replica.trees_left());
        if let Some(permille) = self.parts.replica.reaped_permille() {
            status.reaps_at.store(permille, Ordering::Relaxed);
        }
        status.unmended.store(self.parts.replica.unmended(), Ordering::Relaxed);
        let looks = self.parts.replica.is_looking_for_damage();
        status.looks_for_damage.store(looks, Ordering::Relaxed);
        status.unsynced.store(self.tickets.len(), Ordering::Relaxed);
        status.clock_entries.store(self.parts.storage.clock_entries(), Ordering::Relaxed);
        status.step.store(self.parts.storage.step() - 1, Ordering::Relaxed);
        Turn::GoOn
    }
}

/// Puts the driver's wall clock into a put: the one place where a clock gets near the data.
pub(crate) fn stamp(request: &mut Request, now_us: u64) {
    match &mut request.operation {
        Operation::Put { time_us, .. } => *time_us = now_us,
        Operation::Get
        | Operation::GetLocal
        | Operation::AcceptLoss
        | Operation::Delete { .. }
        | Operation::Change { .. } => {}
    }
}

#[cfg(test)]
mod tests;
