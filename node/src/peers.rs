//! A shard's way out: messages in batches to the transport, findings to Membership.

use std::sync::Arc;

use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::{Fact, Message};
use metrics::{Counter, counter};

use crate::membership::EvidenceSender;
use crate::shard::Outbound;

/// The way to the peers. It never blocks; what it cannot take it drops and counts.
pub(crate) trait Links: Send + Sync + 'static {
    /// Sends a turn's messages to one peer, in order.
    fn send(&self, to: NodeId, messages: Vec<Message>);
}

/// One shard's way out.
pub(crate) struct ShardOutbound {
    links: Arc<dyn Links>,
    evidence: EvidenceSender,
    /// This turn's messages, by peer. Peers are few: a search beats a map.
    waiting: Vec<(NodeId, Vec<Message>)>,
    sent: Counter,
}

impl ShardOutbound {
    pub(crate) fn new(links: Arc<dyn Links>, evidence: EvidenceSender) -> Self {
        let sent = counter!("cartwheel_messages_sent_total");
        Self { links, evidence, waiting: Vec::new(), sent }
    }
}

impl Outbound for ShardOutbound {
    fn send(&mut self, to: NodeId, message: Message) {
        match self.waiting.iter_mut().find(|(peer, _)| *peer == to) {
            Some((_, messages)) => messages.push(message),
            None => self.waiting.push((to, vec![message])),
        }
    }

    fn flush(&mut self) {
        for (to, messages) in self.waiting.drain(..) {
            self.sent.increment(messages.len() as u64);
            self.links.send(to, messages);
        }
    }

    fn report(&mut self, fact: Fact) {
        self.evidence.report(fact);
    }
}
