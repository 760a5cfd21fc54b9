//! What a node says of itself when it is asked: for `cartwheel status` and for tests.

use std::fmt;

use cartwheel_protocol::id::{ClusterId, Incarnation, NodeId};
use cartwheel_protocol::rules::{HAS_MUTANTS, Mutant};
use cartwheel_protocol::view::ViewId;

use crate::config::EngineKind;

/// One moment of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeStatus {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: ClusterId,
    /// This run of it.
    pub incarnation: Incarnation,
    /// The view that it goes by.
    pub view: ViewId,
    /// What keeps its records.
    pub engine: EngineKind,
    /// Whether it takes no more requests because it is shutting down.
    pub draining: bool,
    /// The peers that it suspects, sorted.
    pub suspected: Vec<NodeId>,
    /// Requests that wait for a shard.
    pub waiting_requests: usize,
    /// Messages of peers that wait for a shard.
    pub waiting_messages: usize,
    /// Its shards.
    pub shards: Vec<ShardLine>,
    /// The mutant that runs, in a build that has them.
    pub mutant: Option<Mutant>,
}

/// One moment of a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShardLine {
    /// Requests under way.
    pub pending: usize,
    /// Acknowledgements that wait for the disk.
    pub unsynced: usize,
    /// Its newest step.
    pub step: u64,
}

impl fmt::Display for NodeStatus {
    /// One line a matter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "node         {} {}", self.name, self.id)?;
        writeln!(f, "cluster      {}", self.cluster)?;
        writeln!(f, "incarnation  {}", self.incarnation)?;
        writeln!(f, "view         {}", self.view)?;
        writeln!(f, "engine       {}", self.engine)?;
        let suspected: Vec<String> = self.suspected.iter().map(NodeId::to_string).collect();
        let suspected = if suspected.is_empty() { "nobody".into() } else { suspected.join(" ") };
        writeln!(f, "suspects     {suspected}")?;
        let (requests, messages) = (self.waiting_requests, self.waiting_messages);
        writeln!(f, "waiting      {requests} requests, {messages} messages")?;
        for (number, ShardLine { pending, unsynced, step }) in self.shards.iter().enumerate() {
            writeln!(f, "shard {number:<6} {pending} pending, {unsynced} unsynced, step {step}")?;
        }
        if self.draining {
            writeln!(f, "shutting down")?;
        }
        match self.mutant {
            Some(mutant) => writeln!(f, "MUTANT BUILD running {mutant}"),
            None if HAS_MUTANTS => writeln!(f, "MUTANT BUILD, no mutant runs"),
            None => Ok(()),
        }
    }
}
