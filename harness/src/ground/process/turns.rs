//! What nodes do one after the other: a rolling restart on its way, or a run of reap rounds at each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::fault::NodeNumber;

/// How long a node is waited for before the next has its turn.
const DONE_WITHIN: Duration = Duration::from_secs(15);

/// What each node does in its turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Job {
    /// It is restarted; it is done when it serves.
    Restart,
    /// It carries through its reap rounds.
    Reap {
        /// How old cancelled additions must be to go.
        older_than: Duration,
    },
}

/// Nodes that have their turns.
#[derive(Debug)]
pub struct Turns {
    job: Job,
    left: VecDeque<NodeNumber>,
    /// The one that began last, and when.
    waits_for: Option<(NodeNumber, Instant)>,
}

/// What is next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// To see whether this one is done.
    Ask(NodeNumber),
    /// To have this one begin.
    Begin(NodeNumber),
    /// Nothing: all have had their turns.
    Nothing,
}

impl Turns {
    /// Of these nodes, in this order.
    pub fn new(job: Job, nodes: &[NodeNumber]) -> Self {
        Self { job, left: nodes.iter().copied().collect(), waits_for: None }
    }

    /// What each does.
    pub fn job(&self) -> Job {
        self.job
    }

    /// What is next.
    pub fn next(&mut self, now: Instant) -> Next {
        match self.waits_for {
            Some((node, since)) if now.duration_since(since) < DONE_WITHIN => Next::Ask(node),
            Some(_) | None => {
                self.waits_for = None;
                self.left.pop_front().map_or(Next::Nothing, Next::Begin)
            }
        }
    }

    /// The node has begun.
    pub fn begun(&mut self, node: NodeNumber, now: Instant) {
        self.waits_for = Some((node, now));
    }

    /// The node is done.
    pub fn done(&mut self, node: NodeNumber) {
        self.waits_for = self.waits_for.filter(|(waited, _)| *waited != node);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{DONE_WITHIN, Job, Next, Turns};
    use crate::fault::NodeNumber;

    #[test]
    fn the_next_has_its_turn_when_the_one_before_is_done_or_took_too_long() {
        let (n1, n2, n3) = (NodeNumber(0), NodeNumber(1), NodeNumber(2));
        let (mut turns, now) = (Turns::new(Job::Restart, &[n2, n1, n3]), Instant::now());
        assert_eq!(turns.next(now), Next::Begin(n2));
        turns.begun(n2, now);
        assert_eq!(turns.next(now), Next::Ask(n2));
        turns.done(n2);
        assert_eq!(turns.next(now), Next::Begin(n1));
        turns.begun(n1, now);
        turns.done(n2);
        assert_eq!(turns.next(now), Next::Ask(n1));
        assert_eq!(turns.next(now + DONE_WITHIN), Next::Begin(n3));
        assert_eq!(turns.next(now), Next::Nothing, "it did not begin: it was down");
    }
}
