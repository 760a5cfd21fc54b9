//! What the cart checker found, with keys named as Jepsen names its own.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Verdict;

/// The result of checking a cart history. Serialises to one JSON object with the keys `valid?`,
/// `attempt-count`, `lost-count`, `lost` and so on. Lists name add_ids, sorted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Results {
    /// Invalid if anything is lost, resurrected, duplicated, phantom, denied or diverged, or a
    /// strict read was stale; unknown if the history cannot tell (see `error`).
    #[serde(rename = "valid?")]
    pub valid: Verdict,
    /// Why the verdict is unknown, or would be were it not invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Additions that clients attempted, each counted once.
    pub attempt_count: u64,
    /// Additions that were acknowledged.
    pub acknowledged_count: u64,
    /// How many are `lost`.
    pub lost_count: u64,
    /// Acknowledged, named by no cancellation that did or may have happened, in no final read.
    pub lost: Vec<String>,
    /// How many are `resurrected`.
    pub resurrected_count: u64,
    /// Cancelled with an acknowledgement, and visible in a later final read; or cancelled strictly
    /// and visible in a later strict read.
    pub resurrected: Vec<String>,
    /// How many are `phantom`.
    pub phantom_count: u64,
    /// Shown, but never attempted, or never with that sku and quantity in that cart.
    pub phantom: Vec<String>,
    /// How many are `duplicated`.
    pub duplicated_count: u64,
    /// Shown twice in one read.
    pub duplicated: Vec<String>,
    /// How many are `denied`.
    pub denied_count: u64,
    /// Shown although every attempt failed, which means that it never happened.
    pub denied: Vec<String>,
    /// How many are `recovered`.
    pub recovered_count: u64,
    /// Outcome unknown to its client, found in a read. No fault.
    pub recovered: Vec<String>,
    /// How many carts are `diverged`.
    pub diverged_count: u64,
    /// Carts of which two owners' own copies differed after quiet.
    pub diverged: Vec<Diverged>,
    /// How many are `stale-strict`.
    pub stale_strict_count: u64,
    /// Missing from a strict read although a strict write of it had been acknowledged before, or
    /// from a strict final read although any write of it had.
    pub stale_strict: Vec<String>,
    /// How many are `stale`.
    pub stale_count: u64,
    /// Not lost, but missing from a read that began after the acknowledgement, or visible in one
    /// that began after an acknowledged cancellation. Reported only.
    pub stale: Vec<String>,
    /// How many are in `read-your-writes`.
    pub read_your_writes_count: u64,
    /// Missing from a read of the very process that had been told that it was added. Reported only:
    /// where both were strict it is `stale-strict` too.
    pub read_your_writes: Vec<String>,
    /// How many are in `monotonic-reads`.
    pub monotonic_reads_count: u64,
    /// Missing from a read of a process whose read of that cart before had shown it. Reported only.
    pub monotonic_reads: Vec<String>,
    /// The longest time in milliseconds from an acknowledgement to the start of a read that did
    /// not show its effect; 0 if nothing was stale.
    pub worst_stale_latency_ms: u64,
    /// The eight stalest.
    pub worst_stale: Vec<Anomaly>,
    /// What makes the history invalid, one by one: at most 100 of each class.
    pub anomalies: Vec<Anomaly>,
    /// How often writes were acknowledged, and for how long none was.
    pub availability: Availability,
    /// Operations by name and outcome.
    pub ops: BTreeMap<&'static str, OpCounts>,
    /// Carts in the history.
    pub cart_count: u64,
    /// Carts with acknowledged additions and no final read after them: why the verdict is unknown.
    pub unread_count: u64,
}

/// A cart of which owners' own copies differ.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diverged {
    /// The cart's key.
    pub cart: String,
    /// The owners that were read.
    pub nodes: Vec<String>,
    /// The add_ids that some of them show and some do not, with those that show them.
    pub differing: BTreeMap<String, Vec<String>>,
    /// The digests of their copies, if these differ: then the copies do, whatever they show.
    pub digests: BTreeMap<String, String>,
}

/// What is wrong with an addition.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// See [`Results::lost`].
    Lost,
    /// See [`Results::resurrected`].
    Resurrected,
    /// See [`Results::phantom`].
    Phantom,
    /// See [`Results::duplicated`].
    Duplicated,
    /// See [`Results::denied`].
    Denied,
    /// See [`Results::stale_strict`].
    StaleStrict,
    /// See [`Results::stale`].
    Stale,
    /// See [`Results::read_your_writes`].
    ReadYourWrites,
    /// See [`Results::monotonic_reads`].
    MonotonicReads,
}

impl Class {
    /// Whether it makes a history invalid.
    pub(crate) fn is_fault(self) -> bool {
        match self {
            Self::Lost
            | Self::Resurrected
            | Self::Phantom
            | Self::Duplicated
            | Self::Denied
            | Self::StaleStrict => true,
            Self::Stale | Self::ReadYourWrites | Self::MonotonicReads => false,
        }
    }
}

/// One addition of a class, with the events that show it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Anomaly {
    /// What is wrong.
    pub class: Class,
    /// The cart's key.
    pub cart: String,
    /// The addition.
    pub add_id: String,
    /// Index of the event that made the promise: the acknowledgement of the addition or of its
    /// cancellation, or the failure. None where nothing was promised.
    pub promised_index: Option<u64>,
    /// Index of the event that shows the promise broken: the completion of a read, or, where
    /// something is missing, its invocation.
    pub read_index: Option<u64>,
    /// Milliseconds between the two, if both have a time.
    pub latency_ms: Option<u64>,
}

/// Whether writes (`add`, `cancel`, `change`) were acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Availability {
    /// Writes that clients attempted.
    pub attempt_count: u64,
    /// Writes that were acknowledged.
    pub ok_count: u64,
    /// Their ratio, 0 to 1; `None` without attempts.
    pub ok_fraction: Option<f64>,
    /// The longest time in milliseconds without an acknowledgement while writes were attempted;
    /// `None` if the history has no times.
    pub longest_gap_ms: Option<f64>,
}

/// How operations of one name ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OpCounts {
    /// Begun.
    pub count: u64,
    /// Happened.
    pub ok_count: u64,
    /// Did not happen.
    pub fail_count: u64,
    /// Outcome unknown, those never completed included.
    pub info_count: u64,
}

impl Results {
    /// The results about a history that could not be read or makes no sense.
    pub(crate) fn unreadable(error: String) -> Self {
        Self {
            valid: Verdict::Unknown,
            error: Some(error),
            attempt_count: 0,
            acknowledged_count: 0,
            lost_count: 0,
            lost: Vec::new(),
            resurrected_count: 0,
            resurrected: Vec::new(),
            phantom_count: 0,
            phantom: Vec::new(),
            duplicated_count: 0,
            duplicated: Vec::new(),
            denied_count: 0,
            denied: Vec::new(),
            recovered_count: 0,
            recovered: Vec::new(),
            diverged_count: 0,
            diverged: Vec::new(),
            stale_strict_count: 0,
            stale_strict: Vec::new(),
            stale_count: 0,
            stale: Vec::new(),
            read_your_writes_count: 0,
            read_your_writes: Vec::new(),
            monotonic_reads_count: 0,
            monotonic_reads: Vec::new(),
            worst_stale_latency_ms: 0,
            worst_stale: Vec::new(),
            anomalies: Vec::new(),
            availability: Availability::default(),
            ops: BTreeMap::new(),
            cart_count: 0,
            unread_count: 0,
        }
    }
}
