//! A shard's way out: messages to the transport, findings to Membership.

use std::sync::Arc;

use cartwheel_client::{Closed, PeerEvents, PeerTransport};
use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::membership::Evidence;
use cartwheel_protocol::{Fact, Message};
use metrics::{Counter, counter};

use crate::membership::EvidenceSender;
use crate::metrics::dropped;
use crate::shard::Outbound;

/// One shard's way out.
pub(crate) struct ShardOutbound {
    transport: Arc<dyn PeerTransport>,
    evidence: EvidenceSender,
    /// This turn's messages. They go in one go, so that the transport finds many and makes few batches.
    waiting: Vec<(NodeId, Message)>,
    sent: Counter,
    dropped: Counter,
}

impl ShardOutbound {
    pub(crate) fn new(transport: Arc<dyn PeerTransport>, evidence: EvidenceSender) -> Self {
        let sent = counter!("cartwheel_messages_sent_total");
        Self { transport, evidence, waiting: Vec::new(), sent, dropped: dropped("peer") }
    }
}

impl Outbound for ShardOutbound {
    fn send(&mut self, to: NodeId, message: Message) {
        self.waiting.push((to, message));
    }

    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let count = self.waiting.len() as u64;
        let sends = self.waiting.drain(..).map(|(to, message)| self.transport.send(to, &message));
        // What is dropped here, the protocol takes for lost on the way.
        let lost = sends.filter(Result::is_err).count() as u64;
        self.sent.increment(count - lost);
        self.dropped.increment(lost);
    }

    fn report(&mut self, fact: Fact) {
        match fact {
            Fact::Answered(node) => self.evidence.send(Evidence::Answered(node)),
            Fact::Silent(node) => self.evidence.send(Evidence::Silent(node)),
            // The view is the cluster file's and does not change.
            Fact::Newer(_) | Fact::Adopted(_) | Fact::CaughtUp(_) | Fact::Drained(_) => {}
        }
    }
}

/// Connections that come and go are evidence too.
impl PeerEvents for EvidenceSender {
    fn on_opened(&self, node: NodeId) {
        self.send(Evidence::Opened(node));
    }

    fn on_closed(&self, node: NodeId, _: &Closed) {
        self.send(Evidence::Closed(node));
    }
}
