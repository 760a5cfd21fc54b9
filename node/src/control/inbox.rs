//! The ways into the control thread: what may be lost is bounded, what may not is bounded by its kind.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cartwheel_client::members::{Members, NewWish, Outlook, StageError};
use cartwheel_client::reaping::{ReapError, ReapSeen};
use cartwheel_client::{Closed, PeerEvents};
use cartwheel_protocol::Fact;
use cartwheel_protocol::id::{AddId, NodeId};
use cartwheel_protocol::membership::{Evidence, MemberMessage};
use metrics::Counter;
use tokio::sync::oneshot;

use crate::gate::Gate;
use crate::metrics::dropped;

/// How many findings about peers may wait. What finds no room is repeated by the next request or answer.
const EVIDENCE: usize = 1_024;
/// How many messages of other memberships may wait; gossip repeats itself.
const MESSAGES: usize = 1_024;
/// How many questions may wait.
const QUESTIONS: usize = 64;

/// What the control thread is given.
pub(crate) enum Delivery {
    /// A peer was found well or silent.
    Evidence(Evidence),
    /// A connection came or went.
    Connection(Evidence),
    /// Another node's membership says something.
    Message { from: NodeId, message: MemberMessage },
    /// A shard reports on itself.
    Fact { shard: u16, fact: Fact },
    /// These nodes go by newer views: see [`Newer`].
    Newer,
    /// A peer has dialled and says where it can be reached.
    Greeted { node: NodeId, address: Arc<str> },
    /// A node answers at a seed's address.
    Seed { node: NodeId, address: Arc<str> },
    /// How is the cluster?
    Members { reply: oneshot::Sender<Members> },
    /// Somebody wishes for changes.
    Stage { wishes: Vec<NewWish>, only_plan: bool, reply: oneshot::Sender<Staging> },
    /// Somebody wants all reaped that may go, with cancelled add_ids up to this one.
    Reap { up_to: Option<AddId>, reply: oneshot::Sender<Result<(), ReapError>> },
    /// How is that?
    Reaping { reply: oneshot::Sender<ReapSeen> },
    /// The watermark has moved.
    Durable,
    /// End after what came before.
    Stop,
}

/// What is said to wishes.
pub(crate) type Staging = Result<Outlook, StageError>;

/// The nodes of which shards say that their views are newer, each once however many messages say so: none is
/// lost, and there are not more than nodes.
type Newer = Mutex<BTreeSet<NodeId>>;

/// Where things are handed in, from any thread. It never blocks.
#[derive(Clone)]
pub(crate) struct ControlInbox {
    sender: Sender<Delivery>,
    gates: Arc<Gates>,
    dropped: [Counter; 2],
}

struct Gates {
    evidence: Gate,
    messages: Gate,
    questions: Gate,
    newer: Newer,
}

/// The control thread's side.
pub(crate) struct ControlOutlet {
    receiver: Receiver<Delivery>,
    gates: Arc<Gates>,
}

/// The two ends.
pub(crate) fn inbox() -> (ControlInbox, ControlOutlet) {
    let (sender, receiver) = mpsc::channel();
    let gates = Arc::new(Gates {
        evidence: Gate::new(EVIDENCE),
        messages: Gate::new(MESSAGES),
        questions: Gate::new(QUESTIONS),
        newer: Newer::default(),
    });
    let dropped = [dropped("evidence"), dropped("gossip")];
    (ControlInbox { sender, gates: gates.clone(), dropped }, ControlOutlet { receiver, gates })
}

impl ControlInbox {
    /// What a shard reports.
    pub(crate) fn report(&self, shard: u16, fact: Fact) {
        match fact {
            Fact::Answered(node) => self.evidence(Evidence::Answered(node)),
            Fact::Silent(node) => self.evidence(Evidence::Silent(node)),
            Fact::Newer(node) => {
                let mut newer = self.gates.newer.lock().unwrap_or_else(PoisonError::into_inner);
                if newer.insert(node) {
                    self.send(Delivery::Newer);
                }
            }
            Fact::Adopted(_)
            | Fact::CaughtUp(_)
            | Fact::Drained(_)
            | Fact::Damaged(_)
            | Fact::Reap { .. }
            | Fact::ReapEnded { .. } => {
                self.send(Delivery::Fact { shard, fact });
            }
            // The shard keeps it.
            Fact::Compared { .. } | Fact::Judged { .. } | Fact::Reaped(_) => {}
        }
    }

    /// What another node's membership says; `false` if too much waits.
    pub(crate) fn message(&self, from: NodeId, message: MemberMessage) -> bool {
        let enters = self.gates.messages.enter(1);
        if enters {
            self.send(Delivery::Message { from, message });
        } else {
            self.dropped[1].increment(1);
        }
        enters
    }

    /// A question or an order; `false` if too many wait.
    pub(crate) fn ask(&self, question: Delivery) -> bool {
        let enters = self.gates.questions.enter(1);
        if enters {
            self.send(question);
        }
        enters
    }

    /// What is never refused, because there can only be few of its kind.
    pub(crate) fn control(&self, delivery: Delivery) {
        self.send(delivery);
    }

    fn evidence(&self, evidence: Evidence) {
        if self.gates.evidence.enter(1) {
            self.send(Delivery::Evidence(evidence));
        } else {
            self.dropped[0].increment(1);
        }
    }

    fn send(&self, delivery: Delivery) {
        // A node that ends needs to know nothing more.
        let _: Result<(), mpsc::SendError<Delivery>> = self.sender.send(delivery);
    }
}

/// Connections that come and go are evidence too.
impl PeerEvents for ControlInbox {
    fn on_opened(&self, node: NodeId) {
        self.send(Delivery::Connection(Evidence::Opened(node)));
    }

    fn on_closed(&self, node: NodeId, _: &Closed) {
        self.send(Delivery::Connection(Evidence::Closed(node)));
    }
}

impl ControlOutlet {
    /// What waits, or comes before `until`; `None` if nothing does, or when nobody can send any more.
    pub(crate) fn receive(&self, until: Option<Instant>) -> Option<Delivery> {
        let got = match until {
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => {
                self.receiver.recv_timeout(until.saturating_duration_since(Instant::now()))
            }
        };
        match got {
            Ok(delivery) => Some(self.taken(delivery)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Delivery::Stop),
        }
    }

    /// The nodes that were found to go by newer views, and are forgotten now.
    pub(crate) fn newer(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.gates.newer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn taken(&self, delivery: Delivery) -> Delivery {
        match &delivery {
            Delivery::Evidence(_) => self.gates.evidence.leave(1),
            Delivery::Message { .. } => self.gates.messages.leave(1),
            Delivery::Members { .. }
            | Delivery::Stage { .. }
            | Delivery::Reap { .. }
            | Delivery::Reaping { .. } => self.gates.questions.leave(1),
            Delivery::Connection(_)
            | Delivery::Fact { .. }
            | Delivery::Newer
            | Delivery::Greeted { .. }
            | Delivery::Seed { .. }
            | Delivery::Durable
            | Delivery::Stop => {}
        }
        delivery
    }
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::view::ViewId;

    use super::*;

    fn waiting(outlet: &ControlOutlet) -> usize {
        std::iter::from_fn(|| outlet.receive(Some(Instant::now()))).count()
    }

    #[test]
    fn evidence_and_gossip_are_bounded_and_what_a_shard_says_of_itself_is_never_lost() {
        let (inbox, outlet) = inbox();
        for _ in 0..2 * EVIDENCE {
            inbox.report(0, Fact::Silent(NodeId(2)));
        }
        assert_eq!(waiting(&outlet), EVIDENCE);
        let took = (0..2 * MESSAGES).filter(|_| inbox.message(NodeId(2), MemberMessage::AskView));
        assert_eq!(took.count(), MESSAGES);
        assert_eq!(waiting(&outlet), MESSAGES);
        for layout in 0..3_000 {
            inbox.report(1, Fact::Adopted(ViewId::of_layout(layout)));
        }
        assert_eq!(waiting(&outlet), 3_000);
    }

    #[test]
    fn a_node_with_a_newer_view_is_named_once_until_it_is_taken() {
        let (inbox, outlet) = inbox();
        for number in [3, 2, 3, 3, 2] {
            inbox.report(0, Fact::Newer(NodeId(number)));
        }
        assert_eq!(outlet.newer(), BTreeSet::from([NodeId(2), NodeId(3)]));
        inbox.report(0, Fact::Newer(NodeId(3)));
        assert_eq!(outlet.newer(), BTreeSet::from([NodeId(3)]));
        assert_eq!(waiting(&outlet), 3, "a poke for each");
    }
}
