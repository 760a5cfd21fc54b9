//! From the network to the shards: requests and messages go to the shard of their partition.
//!
//! Nothing here waits for a shard: a full inbox refuses a client ("overloaded", nothing was started) and drops
//! a peer's messages, which the protocol takes for lost on the way.

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::key::{Partition, Partitions};
use cartwheel_protocol::request::{Refusal, Request, Response};
use cartwheel_protocol::view::View;
use cartwheel_protocol::{Input, Message};
use metrics::{Counter, counter};
use tokio::sync::oneshot;

use crate::drain::Drain;
use crate::metrics::dropped;
use crate::pace::{Foreground, Pace};
use crate::shard::{Delivery, Inbox, Refused, shard_of, stamp};

/// The ways to all shards of a node.
pub(crate) struct Router {
    inboxes: Vec<Inbox>,
    /// For the cluster's life; not known before there is a view.
    partitions: OnceLock<Partitions>,
    pace: Arc<Pace>,
    clock_offset_ms: i64,
    /// Requests that have not been answered.
    drain: Drain,
    received: Counter,
    dropped_requests: Counter,
    dropped_messages: Counter,
}

impl Router {
    pub(crate) fn new(inboxes: Vec<Inbox>, pace: Arc<Pace>, clock_offset_ms: i64) -> Self {
        Self {
            inboxes,
            pace,
            partitions: OnceLock::new(),
            clock_offset_ms,
            drain: Drain::new(),
            received: counter!("cartwheel_messages_received_total"),
            dropped_requests: dropped("requests"),
            dropped_messages: dropped("messages"),
        }
    }

    /// Carries out a client's request.
    pub(crate) async fn request(&self, mut request: Request) -> Response {
        let Some(_open) = self.drain.enter() else {
            return Response::Refused(Refusal::NotReady);
        };
        stamp(&mut request, self.now_us());
        // Without a view there is nobody to carry anything out.
        let Some(partitions) = self.partitions.get() else {
            return Response::Refused(Refusal::NotReady);
        };
        let partition = partitions.of(&request.key);
        let (began, is_read) = (Instant::now(), request.operation.is_read());
        let (reply, answer) = oneshot::channel();
        match self.inbox(partition).request(request, reply) {
            Ok(()) => {}
            Err(Refused::Full) => {
                self.dropped_requests.increment(1);
                return Response::Refused(Refusal::Overloaded);
            }
            Err(Refused::Stopped) => return Response::Refused(Refusal::NotReady),
        }
        // A shard that ends in between leaves the outcome unknown.
        let unknown = Response::Refused(Refusal::Unavailable { have: 0, need: 1 });
        let response = answer.await.unwrap_or(unknown);
        // A definite refusal is quick, whatever else goes on.
        if !matches!(&response, Response::Refused(refusal) if refusal.is_definite()) {
            let kind = if is_read { Foreground::Read } else { Foreground::Write };
            self.pace.observe(kind, began.elapsed());
        }
        response
    }

    /// Takes what a peer sent, and says whether all of it. The messages of one batch to one shard stay in
    /// order.
    pub(crate) fn deliver(&self, from: NodeId, messages: Vec<Message>) -> bool {
        self.received.increment(messages.len() as u64);
        if self.inboxes.len() == 1 {
            return self.deliver_to(0, from, messages);
        }
        let mut by_shard: Vec<Vec<Message>> = self.inboxes.iter().map(|_| Vec::new()).collect();
        for message in messages {
            by_shard[self.shard(message.partition())].push(message);
        }
        let mut took_all = true;
        for (shard, messages) in by_shard.into_iter().enumerate() {
            if !messages.is_empty() {
                took_all &= self.deliver_to(shard, from, messages);
            }
        }
        took_all
    }

    /// Tells every shard what Membership thinks now.
    pub(crate) fn opinion(&self, opinion: &Input) {
        self.tell_all(|| Delivery::Told(opinion.clone()));
    }

    /// Tells one shard what to do.
    pub(crate) fn tell(&self, shard: u16, order: Input) {
        if let Some(inbox) = self.inboxes.get(usize::from(shard)) {
            // A shard that has ended needs to know nothing more.
            let _: Result<(), Refused> = inbox.control(Delivery::Told(order));
        }
    }

    /// Gives every shard its view.
    pub(crate) fn view(&self, view: &Arc<View>) {
        self.partitions.get_or_init(|| view.partitions());
        self.tell_all(|| Delivery::View(view.clone()));
    }

    /// Lets every shard end after what it has been given.
    pub(crate) fn stop(&self) {
        self.tell_all(|| Delivery::Stop);
    }

    /// From now on clients are refused; peers are not.
    pub(crate) fn drain(&self) {
        self.drain.begin();
    }

    /// Whether clients are refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.has_begun()
    }

    /// How many requests have not been answered.
    pub(crate) fn open(&self) -> usize {
        self.drain.open()
    }

    /// How many requests and messages wait for the shards.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let sum = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b + d);
        self.inboxes.iter().map(Inbox::waiting).fold((0, 0), sum)
    }

    fn deliver_to(&self, shard: usize, from: NodeId, messages: Vec<Message>) -> bool {
        let count = messages.len() as u64;
        let took = self.inboxes[shard].messages(from, messages).is_ok();
        if !took {
            self.dropped_messages.increment(count);
        }
        took
    }

    fn tell_all(&self, delivery: impl Fn() -> Delivery) {
        for inbox in &self.inboxes {
            // A shard that has ended needs to know nothing more.
            let _: Result<(), Refused> = inbox.control(delivery());
        }
    }

    fn inbox(&self, partition: Partition) -> &Inbox {
        &self.inboxes[self.shard(partition)]
    }

    fn shard(&self, partition: Partition) -> usize {
        usize::from(shard_of(partition, self.inboxes.len() as u16).0)
    }

    /// The wall clock, and what a campaign puts it wrong by, in microseconds since 1970.
    fn now_us(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let offset_us = i128::from(self.clock_offset_ms) * 1_000;
        u64::try_from(since.as_micros() as i128 + offset_us).unwrap_or(0)
    }
}
