//! A rolling restart on its way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::fault::NodeNumber;

/// How long a restarted node is waited for before the next has its turn.
const SERVES_WITHIN: Duration = Duration::from_secs(15);

/// Nodes that are restarted one after the other.
#[derive(Debug)]
pub struct Rolling {
    left: VecDeque<NodeNumber>,
    /// The one that was restarted last, and when.
    waits_for: Option<(NodeNumber, Instant)>,
}

/// What is next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// To see whether this one serves.
    Ask(NodeNumber),
    /// To restart this one.
    Restart(NodeNumber),
    /// Nothing: all are done.
    Nothing,
}

impl Rolling {
    /// Of these nodes, in this order.
    pub fn new(nodes: &[NodeNumber]) -> Self {
        Self { left: nodes.iter().copied().collect(), waits_for: None }
    }

    /// What is next.
    pub fn next(&mut self, now: Instant) -> Next {
        match self.waits_for {
            Some((node, since)) if now.duration_since(since) < SERVES_WITHIN => Next::Ask(node),
            Some(_) | None => {
                self.waits_for = None;
                self.left.pop_front().map_or(Next::Nothing, Next::Restart)
            }
        }
    }

    /// The node was restarted.
    pub fn restarted(&mut self, node: NodeNumber, now: Instant) {
        self.waits_for = Some((node, now));
    }

    /// The node serves.
    pub fn serves(&mut self, node: NodeNumber) {
        self.waits_for = self.waits_for.filter(|(waited, _)| *waited != node);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Next, Rolling, SERVES_WITHIN};
    use crate::fault::NodeNumber;

    #[test]
    fn the_next_has_its_turn_when_the_one_before_serves_or_took_too_long() {
        let (n1, n2, n3) = (NodeNumber(0), NodeNumber(1), NodeNumber(2));
        let (mut rolling, now) = (Rolling::new(&[n2, n1, n3]), Instant::now());
        assert_eq!(rolling.next(now), Next::Restart(n2));
        rolling.restarted(n2, now);
        assert_eq!(rolling.next(now), Next::Ask(n2));
        rolling.serves(n2);
        assert_eq!(rolling.next(now), Next::Restart(n1));
        rolling.restarted(n1, now);
        rolling.serves(n2);
        assert_eq!(rolling.next(now), Next::Ask(n1));
        assert_eq!(rolling.next(now + SERVES_WITHIN), Next::Restart(n3));
        assert_eq!(rolling.next(now), Next::Nothing, "it was not restarted: it was down");
    }
}
