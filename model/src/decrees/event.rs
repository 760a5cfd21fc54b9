//! What may happen next, each with a line of text that names it.

use super::Cluster;
use crate::setup::Budget;

/// One thing that may happen. Nodes are counted from zero; messages by their place in the set.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// A message arrives.
    Deliver(u16),
    /// What a node saved first and is not yet durable becomes so, and its ticket is handed back.
    Sync(u8),
    /// A node's pause before a proposal is over.
    Propose(u8),
    /// A node's shards say how far they are.
    Report(u8),
    /// A node's shard wants a newer view.
    Raise(u8),
    /// A node's shard begins a reap round.
    Reap(u8),
    /// A process dies.
    Crash {
        /// The node.
        node: u8,
        /// How many of its unsynced saves survive, the oldest first.
        keep: u8,
    },
    /// A process starts again.
    Restart(u8),
}

impl Cluster {
    /// All that may happen next, in a fixed order.
    pub fn list(&self, events: &mut Vec<Event>) {
        for (index, packet) in self.packets().iter().enumerate() {
            if self.host(packet.to).is_up() {
                events.push(Event::Deliver(index as u16));
            }
        }
        for (at, host) in self.hosts().enumerate() {
            let node = at as u8;
            if !host.is_up() {
                events.push(Event::Restart(node));
                continue;
            }
            if !host.tail.is_empty() {
                events.push(Event::Sync(node));
            }
            if host.may_propose() && self.left(Budget::Propose) > 0 {
                events.push(Event::Propose(node));
            }
            if !host.untold.is_empty() {
                events.push(Event::Report(node));
            }
            let may_raise = self.setup().raising.contains(&node) && host.has_promised();
            if may_raise && self.left(Budget::Raise) > 0 {
                events.push(Event::Raise(node));
            }
            if self.setup().reaper == Some(node) && self.left(Budget::Reap) > 0 {
                events.push(Event::Reap(node));
            }
            if self.may_crash(at) {
                let keeps = 0..=host.tail.len() as u8;
                events.extend(keeps.map(|keep| Event::Crash { node, keep }));
            }
        }
    }

    /// The line that tells an event that may happen here.
    pub fn line(&self, event: Event) -> String {
        let node = |at: u8| self.setup().nodes[usize::from(at)];
        match event {
            Event::Deliver(index) => format!("deliver {}", *self.packets()[usize::from(index)]),
            Event::Sync(at) => format!("sync {}", node(at)),
            Event::Propose(at) => format!("{} proposes", node(at)),
            Event::Report(at) => format!("the shards of {} report", node(at)),
            Event::Raise(at) => format!("{} raises the view", node(at)),
            Event::Reap(at) => format!("{} begins a reap round", node(at)),
            Event::Crash { node: at, keep } => format!("crash {} keep {keep}", node(at)),
            Event::Restart(at) => format!("restart {}", node(at)),
        }
    }
}
