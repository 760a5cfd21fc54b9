//! Messages in flight: a set, so that sending the same message again changes nothing.

use std::fmt;

use cartwheel_protocol::{Message, id::NodeId};

use crate::hashed::Hashed;

/// The messages in flight, sorted.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Network(Vec<Hashed<Packet>>);

/// One message on its way.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Packet {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// What is said.
    pub message: Message,
}

impl Network {
    /// The messages in flight in a fixed order.
    pub fn packets(&self) -> &[Hashed<Packet>] {
        &self.0
    }

    /// Puts a message in flight; one that is there already is not doubled.
    pub fn send(&mut self, packet: Packet) {
        if let Err(at) = self.0.binary_search_by(|known| (**known).cmp(&packet)) {
            self.0.insert(at, Hashed::new(packet));
        }
    }

    /// Takes the message at `index` out.
    pub fn take(&mut self, index: usize) -> Hashed<Packet> {
        self.0.remove(index)
    }

    /// Takes out all messages to `node`: nobody will ever hear them.
    pub fn forget(&mut self, node: NodeId) {
        self.0.retain(|packet| packet.to != node);
    }

    /// Takes out all messages from `node`.
    pub fn forget_from(&mut self, node: NodeId) {
        self.0.retain(|packet| packet.from != node);
    }

    /// The text of the message at `index`, unique among those in flight: messages that read the same are
    /// numbered.
    pub fn name(&self, index: usize) -> String {
        let text = self.0[index].to_string();
        let same = |packet: &&Hashed<Packet>| packet.to_string() == text;
        match self.0[..index].iter().filter(same).count() {
            0 => text,
            before => format!("{text} #{}", before + 1),
        }
    }
}

impl fmt::Display for Packet {
    /// `n1→n3 Put default/k r1@i11 for n3 {…}`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{} {}", self.from, self.to, self.message)
    }
}
