//! The node's opinions about its peers: one task that weighs evidence and tells every shard.
//!
//! Without it suspicions would stay as they are for ever, so a panic of it stops the node as one of a shard does.

use std::panic::AssertUnwindSafe;

use cartwheel_protocol::Input;
use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::membership::{Detector, Evidence};
use futures::FutureExt as _;
use metrics::{Counter, counter, gauge};
use tokio::sync::{mpsc, watch};

use crate::metrics::dropped;
use crate::shards::{FailStop, what_it_said};

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

/// Weighs evidence until nobody can hand in any more. `tell` is given each change of opinion, `suspected`
/// shows the present one.
pub(crate) async fn run(
    evidence: mpsc::Receiver<Evidence>,
    tell: impl Fn(&Input),
    suspected: watch::Sender<Vec<NodeId>>,
    fail_stop: FailStop,
) {
    let weighing = AssertUnwindSafe(weigh(evidence, tell, suspected));
    if let Err(panic) = weighing.catch_unwind().await {
        fail_stop(&format!("membership panicked: {}", what_it_said(panic.as_ref())));
    }
}

async fn weigh(
    mut evidence: mpsc::Receiver<Evidence>,
    tell: impl Fn(&Input),
    suspected: watch::Sender<Vec<NodeId>>,
) {
    let suspicions = counter!("cartwheel_suspicions_total");
    let now_suspected = gauge!("cartwheel_suspected");
    let mut detector = Detector::default();
    while let Some(evidence) = evidence.recv().await {
        let Some((node, suspects)) = detector.weigh(evidence) else { continue };
        let opinion = Input::Suspect { node, suspected: suspects };
        tracing::info!(%evidence, "{opinion}");
        if suspects {
            suspicions.increment(1);
        }
        now_suspected.set(detector.suspected().len() as f64);
        suspected.send_replace(detector.suspected());
        tell(&opinion);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_panic_stops_the_node_and_says_why() {
        let (sender, receiver) = evidence();
        let (opinions, _) = watch::channel(Vec::new());
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let heard = reasons.clone();
        let fail_stop: FailStop =
            Arc::new(move |reason| heard.lock().expect("one at a time").push(reason.to_owned()));
        sender.send(Evidence::Silent(NodeId(2)));
        drop(sender);
        run(receiver, |_| panic!("wanted by this test"), opinions, fail_stop).await;
        let reasons = reasons.lock().expect("one at a time").clone();
        assert_eq!(reasons, ["membership panicked: wanted by this test"]);
    }

    #[tokio::test]
    async fn an_end_without_panic_stops_nothing() {
        let (sender, receiver) = evidence();
        let (opinions, suspected) = watch::channel(Vec::new());
        sender.send(Evidence::Silent(NodeId(2)));
        drop(sender);
        let fail_stop: FailStop = Arc::new(|reason| panic!("the node was stopped: {reason}"));
        run(receiver, |_| {}, opinions, fail_stop).await;
        assert_eq!(*suspected.borrow(), [NodeId(2)]);
    }
}
