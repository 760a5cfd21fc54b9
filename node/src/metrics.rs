//! What a node counts. The numbers are read at `/metrics`.
//!
//! Every name is looked up once: on the hot path there are only the handles.

use std::sync::OnceLock;
use std::time::Duration;

use cartwheel_protocol::request::{Operation, Refusal, Response};
use cartwheel_protocol::{Compared, Freed};
use metrics::{
    Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Bounds of the buckets of times, in seconds.
const SECONDS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 2.0, 10.0];
/// Bounds of the buckets of counts.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The process's recorder, made at the first call. `None` where the process has installed another one:
/// then its owner renders it.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(suffix("_seconds"), SECONDS)
                .and_then(|builder| builder.set_buckets_for_metric(suffix("_size"), COUNTS))
                .ok()?
                .build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            describe();
            Some(handle)
        })
        .as_ref()
}

fn suffix(text: &str) -> metrics_exporter_prometheus::Matcher {
    metrics_exporter_prometheus::Matcher::Suffix(text.to_owned())
}

fn describe() {
    describe_counter!("cartwheel_requests_total", "Client requests answered, by kind and outcome");
    describe_histogram!("cartwheel_request_seconds", "From inbox to reply, by kind");
    describe_counter!("cartwheel_steps_total", "Inputs that replicas took");
    describe_histogram!("cartwheel_turn_size", "Inputs in one turn of a shard");
    describe_counter!("cartwheel_commit_steps_total", "Steps that the committer made durable");
    describe_counter!("cartwheel_commit_bytes_total", "Bytes that the committer made durable");
    describe_histogram!("cartwheel_commit_seconds", "Time of one commit of the engine");
    describe_counter!("cartwheel_messages_sent_total", "Messages handed to the transport");
    describe_counter!("cartwheel_messages_received_total", "Messages of peers that shards took");
    describe_counter!(
        "cartwheel_gossip_sent_total",
        "Messages of membership handed to the transport"
    );
    describe_counter!("cartwheel_dropped_total", "What found a queue full, by queue");
    describe_counter!(
        "cartwheel_unconnected_total",
        "What was for a peer that is not connected, by queue"
    );
    describe_counter!("cartwheel_suspicions_total", "Times that a peer became suspected");
    describe_counter!(
        "cartwheel_false_suspicions_total",
        "Those of a peer whose connection was there all the time"
    );
    describe_counter!(
        "cartwheel_layout_disagreements_total",
        "Gossip of a peer that goes by another layout under the same number"
    );
    describe_counter!("cartwheel_damaged_records_total", "Records whose checksum failed");
    describe_counter!("cartwheel_exchanges_total", "Exchanges of trees, by outcome");
    describe_counter!(
        "cartwheel_repaired_keys_total",
        "Keys that exchanges of trees found to differ"
    );
    describe_gauge!("cartwheel_tree_partitions_left", "Partitions whose trees are being built");
    describe_gauge!(
        "cartwheel_most_clock_entries",
        "The most entries of a version vector that was written since the start: 24 bytes each in memory, which reap rounds prune"
    );
    describe_counter!("cartwheel_reap_rounds_total", "Reap rounds that this node carried through");
    describe_counter!("cartwheel_reap_given_up_total", "Pages of reap rounds that came to nothing");
    describe_counter!("cartwheel_reaped_total", "What reap rounds have freed here, by kind");
    describe_counter!("cartwheel_undecodable_total", "Connections closed for undecodable bytes");
    describe_counter!("cartwheel_connections_refused_total", "Connections that were not let in");
    describe_counter!("cartwheel_overloaded_requests_total", "Requests that were told overloaded");
    describe_counter!("cartwheel_overloaded_batches_total", "Batches of peers that were dropped");
    describe_gauge!("cartwheel_connections", "Connections of peers and clients that are open");
    describe_gauge!("cartwheel_suspected", "Peers that are suspected now");
    describe_gauge!("cartwheel_pending", "Requests under way");
    describe_gauge!("cartwheel_background_allowance", "What background work may do of full speed");
    describe_gauge!("cartwheel_foreground_seconds", "95 of 100 took no longer lately, by kind");
    describe_gauge!("cartwheel_foreground_usual_seconds", "95 of 100 usually take no longer");
    describe_counter!("cartwheel_background_pages_total", "Pages of background work");
    describe_counter!("cartwheel_background_pages_held_total", "Those that had to wait longer");
    describe_gauge!("cartwheel_store_bytes", "What the store takes on the disk");
    describe_gauge!("cartwheel_free_bytes", "What the disk still takes");
    describe_gauge!("cartwheel_free_space_reserve_bytes", "Below this clients' writes are refused");
    describe_gauge!(
        "cartwheel_commit_running_seconds",
        "How long the commit that runs has been running"
    );
    describe_gauge!("cartwheel_short_of_space", "1 while clients' writes are refused for that");
}

/// The kinds of requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RequestKind {
    Get,
    GetLocal,
    AcceptLoss,
    Put,
    Delete,
    Change,
}

impl RequestKind {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Get, "get"),
        (Self::GetLocal, "get-local"),
        (Self::AcceptLoss, "accept-loss"),
        (Self::Put, "put"),
        (Self::Delete, "delete"),
        (Self::Change, "change"),
    ];

    pub(crate) fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Get => Self::Get,
            Operation::GetLocal => Self::GetLocal,
            Operation::AcceptLoss => Self::AcceptLoss,
            Operation::Put { .. } => Self::Put,
            Operation::Delete { .. } => Self::Delete,
            Operation::Change { .. } => Self::Change,
        }
    }
}

/// What became of a request, in a few words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Ok,
    Invalid,
    Unavailable,
    Overloaded,
    Node,
    DiskFull,
}

impl Outcome {
    const ALL: [&'static str; 6] =
        ["ok", "invalid", "unavailable", "overloaded", "node", "disk-full"];

    fn of(response: &Response) -> Self {
        match response {
            Response::Found { .. } | Response::Held { .. } | Response::Written { .. } => Self::Ok,
            Response::Refused(refusal) => match refusal {
                Refusal::Unavailable { .. } | Refusal::OwnersSilent { .. } => Self::Unavailable,
                Refusal::Overloaded => Self::Overloaded,
                Refusal::NotReady | Refusal::Damaged => Self::Node,
                Refusal::DiskFull => Self::DiskFull,
                Refusal::KeyEmpty
                | Refusal::NotDamaged
                | Refusal::KeyTooLong(_)
                | Refusal::ValueTooLong(_)
                | Refusal::SkuLength(_)
                | Refusal::UnknownBucket
                | Refusal::WrongKind(_)
                | Refusal::Quantity(_)
                | Refusal::CartFull(_)
                | Refusal::TooManyCancels { .. }
                | Refusal::TooManySiblings(_)
                | Refusal::ForeignContext
                | Refusal::TooOld(_)
                | Refusal::Quorum { .. }
                | Refusal::StrictQuorum { .. }
                | Refusal::TooFewZones { .. } => Self::Invalid,
            },
        }
    }
}

/// Requests by kind and outcome.
#[derive(Clone)]
pub(crate) struct RequestMetrics {
    kinds: Vec<(Vec<Counter>, Histogram)>,
}

impl RequestMetrics {
    pub(crate) fn new() -> Self {
        let outcomes = |kind: &'static str| {
            let count = |outcome| counter!("cartwheel_requests_total", "kind" => kind, "outcome" => outcome);
            Outcome::ALL.into_iter().map(count).collect()
        };
        let seconds = |kind: &'static str| histogram!("cartwheel_request_seconds", "kind" => kind);
        let kinds = RequestKind::ALL.map(|(_, kind)| (outcomes(kind), seconds(kind)));
        Self { kinds: kinds.into() }
    }

    pub(crate) fn answered(&self, kind: RequestKind, response: &Response, took: Duration) {
        let (outcomes, seconds) = &self.kinds[kind as usize];
        outcomes[Outcome::of(response) as usize].increment(1);
        seconds.record(took);
    }
}

/// What one shard counts.
pub(crate) struct ShardMetrics {
    requests: RequestMetrics,
    steps: Counter,
    turns: Histogram,
    /// Exchanges that found equal trees, different ones, or nothing.
    exchanges: [Counter; 3],
    repaired: Counter,
    dropped_pages: Counter,
    /// Records, cancelled add_ids, clock entries, bytes.
    reaped: [Counter; 4],
}

impl ShardMetrics {
    pub(crate) fn new() -> Self {
        let (steps, turns) = (counter!("cartwheel_steps_total"), histogram!("cartwheel_turn_size"));
        let exchanges = ["equal", "differed", "missed"]
            .map(|outcome| counter!("cartwheel_exchanges_total", "outcome" => outcome));
        let repaired = counter!("cartwheel_repaired_keys_total");
        let (requests, dropped_pages) = (RequestMetrics::new(), dropped("pages"));
        let reaped = ["records", "cancelled", "clock-entries", "bytes"]
            .map(|kind| counter!("cartwheel_reaped_total", "kind" => kind));
        Self { requests, steps, turns, exchanges, repaired, dropped_pages, reaped }
    }

    /// A reap round has freed this.
    pub(crate) fn reaped(&self, freed: &Freed) {
        let kinds = [freed.records, freed.cancelled, freed.clock_entries, freed.bytes];
        self.reaped.iter().zip(kinds).for_each(|(counter, count)| counter.increment(count));
    }

    pub(crate) fn compared(&self, outcome: Compared) {
        let [equal, differed, missed] = &self.exchanges;
        match outcome {
            Compared::Equal => equal.increment(1),
            Compared::Missed => missed.increment(1),
            Compared::Differed(keys) => {
                differed.increment(1);
                self.repaired.increment(keys.into());
            }
        }
    }

    pub(crate) fn answered(&self, kind: RequestKind, response: &Response, took: Duration) {
        self.requests.answered(kind, response, took);
    }

    /// A peer asked for a page, and too many wait for theirs.
    pub(crate) fn dropped_page(&self) {
        self.dropped_pages.increment(1);
    }

    pub(crate) fn turn(&self, inputs: usize) {
        self.steps.increment(inputs as u64);
        self.turns.record(inputs as f64);
    }
}

/// What found a queue full, by queue.
pub(crate) fn dropped(queue: &'static str) -> Counter {
    counter!("cartwheel_dropped_total", "queue" => queue)
}

/// What was for a peer that is not connected, by queue.
pub(crate) fn unconnected(queue: &'static str) -> Counter {
    counter!("cartwheel_unconnected_total", "queue" => queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_outcomes_are_in_the_order_of_their_numbers() {
        for (number, (kind, _)) in RequestKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
        assert_eq!(Outcome::ALL[Outcome::Node as usize], "node");
        assert_eq!(Outcome::ALL[Outcome::DiskFull as usize], "disk-full");
        assert_eq!(Outcome::ALL[Outcome::Unavailable as usize], "unavailable");
    }
}
