//! What may happen next, each with a line of text that names it in traces and replay files.

use cartwheel_protocol::Timer;

use crate::world::World;

/// One thing that may happen. Nodes and clients are counted from zero; messages by their place in the set.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// A client begins its next task at a node.
    Ask {
        /// The client.
        client: u8,
        /// The node.
        at: u8,
    },
    /// A client tries its task at one more node while the first attempt is in flight.
    Retry {
        /// The client.
        client: u8,
        /// The node.
        at: u8,
    },
    /// A message arrives.
    Deliver(u16),
    /// A message arrives and will arrive once more.
    Duplicate(u16),
    /// A message is lost.
    Drop(u16),
    /// A node's oldest step batch becomes durable and its tickets are handed back.
    Sync(u8),
    /// A timer of a node runs out.
    Fire(u8, Timer),
    /// A node comes to suspect another.
    Suspect {
        /// Who.
        node: u8,
        /// Whom.
        other: u8,
    },
    /// A node trusts another again.
    Trust {
        /// Who.
        node: u8,
        /// Whom.
        other: u8,
    },
    /// A process dies.
    Crash {
        /// The node.
        node: u8,
        /// How many of its unsynced batches survive, the oldest first.
        keep: u8,
    },
    /// What a dead process has sent and what has not arrived is lost with it.
    Hush(u8),
    /// A process starts again.
    Restart(u8),
    /// A disk is lost, and with it the node.
    Wipe(u8),
    /// The decree with this number is made, counted from one.
    Decree(u8),
    /// A node comes to go by a newer view.
    Adopt {
        /// The node.
        node: u8,
        /// The view, by its number.
        view: u8,
    },
    /// An operator has a node reap.
    Reap(u8),
    /// A node whose shard has found damage, or wants to begin a reap round, raises the view.
    Raise(u8),
    /// The checksum of a durable record fails from now on.
    Damage {
        /// The node.
        node: u8,
        /// The key, by its number.
        key: u8,
    },
}

impl World {
    /// The line that names an enabled action: unique among those enabled here.
    pub fn line(&self, action: Action) -> String {
        let node = |index: u8| self.node(index);
        match action {
            Action::Ask { client, at } => {
                format!("c{} asks {}: {}", client + 1, node(at), self.next_request(client))
            }
            Action::Retry { client, at } => format!("c{} retries at {}", client + 1, node(at)),
            Action::Deliver(index) => {
                format!("deliver {}", self.network().name(usize::from(index)))
            }
            Action::Duplicate(index) => {
                format!("duplicate {}", self.network().name(usize::from(index)))
            }
            Action::Drop(index) => format!("drop {}", self.network().name(usize::from(index))),
            Action::Sync(at) => format!("sync {}", node(at)),
            Action::Fire(at, timer) => format!("fire {} {timer}", node(at)),
            Action::Suspect { node: at, other } => format!("{} suspects {}", node(at), node(other)),
            Action::Trust { node: at, other } => format!("{} trusts {}", node(at), node(other)),
            Action::Crash { node: at, keep } => format!("crash {} keep {keep}", node(at)),
            Action::Hush(at) => format!("lose what {} sent", node(at)),
            Action::Restart(at) => format!("restart {}", node(at)),
            Action::Wipe(at) => format!("wipe {}", node(at)),
            Action::Decree(view) => {
                let turn = &self.setup().turns[usize::from(view) - 1];
                let leads_to = self.setup().decrees[usize::from(view)];
                format!("decree {}: {turn}", self.view(leads_to).id())
            }
            Action::Adopt { node: at, view } => {
                format!("{} adopts {}", node(at), self.view(view).id())
            }
            Action::Reap(at) => format!("{} reaps", node(at)),
            Action::Raise(at) => format!("{} raises the view", node(at)),
            Action::Damage { node: at, key } => {
                format!("damage {} {}", node(at), self.setup().keys[usize::from(key)])
            }
        }
    }

    /// The enabled action that a line names.
    pub fn named(&self, line: &str) -> Option<Action> {
        self.enabled().into_iter().find(|action| self.line(*action) == line)
    }
}
