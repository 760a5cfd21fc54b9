//! The node's opinions about its peers: one task that weighs evidence and tells every shard.

use std::sync::Arc;

use cartwheel_protocol::Input;
use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::membership::{Evidence, Membership};
use metrics::{Counter, counter, gauge};
use tokio::sync::{mpsc, watch};

use crate::metrics::dropped;
use crate::router::Router;

/// How much evidence may wait. What finds no room is repeated by the next request or answer.
const QUEUE: usize = 1_024;

/// Where evidence is handed in, from any thread. It never blocks.
#[derive(Clone)]
pub(crate) struct EvidenceSender {
    sender: mpsc::Sender<Evidence>,
    dropped: Counter,
}

impl EvidenceSender {
    pub(crate) fn send(&self, evidence: Evidence) {
        if self.sender.try_send(evidence).is_err() {
            self.dropped.increment(1);
        }
    }
}

/// A queue for evidence.
pub(crate) fn evidence() -> (EvidenceSender, mpsc::Receiver<Evidence>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (EvidenceSender { sender, dropped: dropped("evidence") }, receiver)
}

/// Weighs evidence until nobody can hand in any more. `suspected` shows the present opinion.
pub(crate) async fn run(
    mut evidence: mpsc::Receiver<Evidence>,
    router: Arc<Router>,
    suspected: watch::Sender<Vec<NodeId>>,
) {
    let suspicions = counter!("cartwheel_suspicions_total");
    let now_suspected = gauge!("cartwheel_suspected");
    let mut membership = Membership::new();
    while let Some(evidence) = evidence.recv().await {
        let Some(opinion) = membership.step(evidence) else { continue };
        tracing::info!(%evidence, "{opinion}");
        if matches!(opinion, Input::Suspect { suspected: true, .. }) {
            suspicions.increment(1);
        }
        now_suspected.set(membership.suspected().len() as f64);
        suspected.send_replace(membership.suspected().to_vec());
        router.opinion(&opinion);
    }
}
