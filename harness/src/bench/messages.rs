//! How many messages the nodes send each other for one operation.
//!
//! Each node counts what it sends to each peer. The sum over all nodes before and after a measurement, by the operations
//! in between, is what one operation costs the network; what goes on in the background meanwhile is in it. Gossip is not: it goes
//! a way of its own and has nothing to do with operations.

use std::time::Duration;

use cartwheel_client::service::Status;
use cartwheel_client::{Connecting, Connection as NodeConnection};

use crate::ground::process::Connection;

/// How long one node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How the names of the counts begin that are summed; a peer's id follows.
const SENT_TO: &str = "sent-to-";

/// Connections to all members, open while something is measured.
pub(super) struct Messages {
    nodes: Vec<NodeConnection>,
}

/// What every member had sent at some time, and in which run of its process.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Sent(Vec<(u64, u64)>);

impl Messages {
    /// Of the cluster that is measured; nothing if a member cannot be asked.
    pub(super) async fn of(connection: &Connection) -> Option<Self> {
        let members = connection.client().await.ok()?.members(ANSWER_WITHIN).await.ok()?;
        let mut nodes = Vec::new();
        for row in members.rows.iter().filter(|row| row.is_member()) {
            nodes.push(NodeConnection::open(&row.address, &Connecting::default()).await.ok()?);
        }
        Some(Self { nodes })
    }

    /// What they have sent so far; nothing if one does not answer.
    pub(super) async fn sent(&self) -> Option<Sent> {
        let asked = self.nodes.iter().map(|node| node.status(ANSWER_WITHIN));
        let statuses = futures::future::join_all(asked).await;
        statuses
            .iter()
            .map(|status| status.as_ref().ok().map(sent_by))
            .collect::<Option<_>>()
            .map(Sent)
    }
}

/// The run of a node's process, and what it has sent in it.
fn sent_by(status: &Status) -> (u64, u64) {
    let counts = status.counts.iter().filter(|(name, _)| name.starts_with(SENT_TO));
    (status.incarnation, counts.map(|(_, count)| count).sum())
}

impl Sent {
    /// What was sent after `before`; nothing if a node was started anew in between, which begins to count again.
    pub(super) fn since(&self, before: &Self) -> Option<u64> {
        let both = self.0.iter().zip(&before.0);
        let each =
            both.map(|((run, now), (same, then))| (run == same).then(|| now.checked_sub(*then)));
        each.map(Option::flatten).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_summed_over_peers_and_nodes() {
        let counts = [("sent-to-n2", 30), ("dropped-to-n2", 5), ("steps", 900), ("sent-to-n3", 12)];
        let counts = counts.map(|(name, count)| (name.to_owned(), count)).into();
        let status = Status { incarnation: 7, counts, ..Status::default() };
        assert_eq!(sent_by(&status), (7, 42));
        let (before, after) = (Sent(vec![(7, 42), (8, 10)]), Sent(vec![(7, 50), (8, 11)]));
        assert_eq!(after.since(&before), Some(9));
        assert_eq!(Sent(vec![(7, 50), (9, 11)]).since(&before), None, "a node was restarted");
    }
}
