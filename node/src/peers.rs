//! A shard's way out: messages to the transport, findings to Membership.

use std::sync::Arc;

use cartwheel_client::{Dropped, PeerTransport};
use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::{Fact, Message};
use metrics::{Counter, counter};

use crate::committer::ShardId;
use crate::control::ControlInbox;
use crate::metrics::{dropped, unconnected};
use crate::shard::Outbound;

/// One shard's way out.
pub(crate) struct ShardOutbound {
    shard: ShardId,
    transport: Arc<dyn PeerTransport>,
    control: ControlInbox,
    /// This turn's messages. They go in one go, so that the transport finds many and makes few batches.
    waiting: Vec<(NodeId, Message)>,
    sent: Counter,
    full: Counter,
    unconnected: Counter,
}

impl ShardOutbound {
    pub(crate) fn new(
        shard: ShardId,
        transport: Arc<dyn PeerTransport>,
        control: ControlInbox,
    ) -> Self {
        let sent = counter!("cartwheel_messages_sent_total");
        let (full, unconnected) = (dropped("peer"), unconnected("peer"));
        Self { shard, transport, control, waiting: Vec::new(), sent, full, unconnected }
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
        // What is dropped here, the protocol takes for lost on the way.
        for (to, message) in self.waiting.drain(..) {
            match self.transport.send(to, &message) {
                Ok(()) => self.sent.increment(1),
                Err(Dropped::Full) => self.full.increment(1),
                Err(Dropped::NotConnected | Dropped::UnknownPeer) => self.unconnected.increment(1),
            }
        }
    }

    fn report(&mut self, fact: Fact) {
        self.control.report(self.shard.0, fact);
    }
}
