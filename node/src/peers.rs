//! A shard's way out: messages to the transport, findings to Membership.

use std::sync::Arc;

use cartwheel_client::PeerTransport;
use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::{Fact, Message};
use metrics::{Counter, counter};

use crate::committer::ShardId;
use crate::control::ControlInbox;
use crate::metrics::dropped;
use crate::shard::Outbound;

/// One shard's way out.
pub(crate) struct ShardOutbound {
    shard: ShardId,
    transport: Arc<dyn PeerTransport>,
    control: ControlInbox,
    /// This turn's messages. They go in one go, so that the transport finds many and makes few batches.
    waiting: Vec<(NodeId, Message)>,
    sent: Counter,
    dropped: Counter,
}

impl ShardOutbound {
    pub(crate) fn new(
        shard: ShardId,
        transport: Arc<dyn PeerTransport>,
        control: ControlInbox,
    ) -> Self {
        let sent = counter!("cartwheel_messages_sent_total");
        let dropped = dropped("peer");
        Self { shard, transport, control, waiting: Vec::new(), sent, dropped }
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
        self.control.report(self.shard.0, fact);
    }
}
