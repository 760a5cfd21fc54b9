//! Jepsen's `set-full`: every read is judged, each element has its own timeline.
//!
//! Definitions and result keys are Jepsen's, surprises included: an element that is added again
//! begins anew, one that was never added is ignored, duplicates are never found (see
//! [`crate::duplicates`]), and whether replicas that differ for good are noticed depends on which
//! is read last.
//!
//! Jepsen compares each read with every element. Here an element that is missing from a read waits
//! aside until a read shows it, so that the whole is linear in the history.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::latest::LatestSince;
use crate::{Event, EventType, Process, Value, Verdict};

/// The percentiles that latencies are reported at.
const PERCENTILES: [(&str, f64); 5] =
    [("0", 0.0), ("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99), ("1", 1.0)];
/// How many of the stalest elements are described.
const WORST_STALE: usize = 8;

/// What to judge.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// Whether an element must be in every read that begins after it is known.
    pub linearizable: bool,
}

/// The result of checking a set history, with Jepsen's keys. Latencies are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Results {
    /// Invalid if anything is lost or, when linearizable, stale; unknown if nothing is stable.
    #[serde(rename = "valid?")]
    pub valid: Verdict,
    /// Why the history makes no sense; Jepsen has no such key, it throws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Distinct elements whose addition was invoked.
    pub attempt_count: usize,
    /// Elements in the last read that could tell.
    pub stable_count: usize,
    /// How many are `lost`.
    pub lost_count: usize,
    /// Known, and missing from the last read that could tell. Sorted.
    pub lost: Vec<Value>,
    /// How many are `never-read`.
    pub never_read_count: usize,
    /// Neither stable nor lost. Sorted.
    pub never_read: Vec<Value>,
    /// How many are `stale`.
    pub stale_count: usize,
    /// Stable, but missing from a read that began a millisecond or more after it was known.
    pub stale: Vec<Value>,
    /// The eight stalest.
    pub worst_stale: Vec<Stale>,
    /// Always 0: Jepsen's filter lets none through.
    pub duplicated_count: usize,
    /// Always empty.
    pub duplicated: BTreeMap<String, u64>,
    /// How long after they were known elements were last missing, at percentiles.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stable_latencies: BTreeMap<&'static str, i64>,
    /// How long after they were known elements were last seen, at percentiles.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lost_latencies: BTreeMap<&'static str, i64>,
}

/// A stale element.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stale {
    /// The element.
    pub element: Value,
    /// Always `stable`.
    pub outcome: &'static str,
    /// From being known to the last read that missed it, in milliseconds.
    pub stable_latency: i64,
    /// Always null.
    pub lost_latency: Option<i64>,
    /// The event by which it was known.
    pub known: Event,
    /// The invocation of the last read that missed it.
    pub last_absent: Option<Event>,
}

/// Judges a set history. One that makes no sense is unknown, with an `error`.
pub fn check(events: &[Event], options: Options) -> Results {
    let mut elements = Elements::default();
    match elements.observe_all(events) {
        Ok(()) => elements.results(events, options),
        Err(error) => {
            let mut results = Elements::default().results(events, options);
            results.error = Some(error);
            results
        }
    }
}

/// An invocation, ordered as Jepsen orders them: by index. The second is its place in the list.
type Invocation = (u64, usize);

/// What is known of one element since it was last added.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// The place of the event by which it is known.
    known: Option<usize>,
    last_present: Option<Invocation>,
    last_absent: Option<Invocation>,
    /// The first read of those, up to now, that it is missing from.
    absent_since: Option<u32>,
    shown_in: u32,
}

#[derive(Debug, Default)]
struct Elements<'a> {
    numbers: HashMap<&'a Value, u32>,
    records: Vec<Record>,
    /// Those that the last read showed, or that were added since.
    expected: Vec<u32>,
    reads: u32,
    invocations: LatestSince<Invocation>,
    /// Where a client's read in flight began.
    reading: HashMap<u64, usize>,
}

impl<'a> Elements<'a> {
    fn observe_all(&mut self, events: &'a [Event]) -> Result<(), String> {
        for (place, event) in events.iter().enumerate() {
            let Process::Client(process) = event.process else { continue };
            match (event.f.as_str(), event.event_type) {
                ("add", EventType::Invoke) => self.add(&event.value),
                ("add", EventType::Ok) => self.know(&event.value, place),
                ("read", EventType::Invoke) => {
                    self.reading.insert(process, place);
                }
                ("read", EventType::Ok) => {
                    let began = self.reading.remove(&process).ok_or_else(|| {
                        format!("event {}: process {process} had not begun a read", event.index)
                    })?;
                    self.read(event, place, (events[began].index, began))?;
                }
                (_, _) => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, element: &'a Value) {
        let next = self.records.len() as u32;
        let number = *self.numbers.entry(element).or_insert(next);
        if number == next {
            self.records.push(Record::default());
            self.expected.push(number);
            return;
        }
        let old = std::mem::take(&mut self.records[number as usize]);
        if old.absent_since.is_some() {
            self.expected.push(number);
        }
    }

    fn know(&mut self, element: &Value, place: usize) {
        if let Some(number) = self.numbers.get(element) {
            self.records[*number as usize].known.get_or_insert(place);
        }
    }

    fn read(&mut self, event: &Event, place: usize, began: Invocation) -> Result<(), String> {
        let odd = || format!("event {}: {} is no collection", event.index, event.value);
        let shown = match event.value.elements() {
            Some(shown) => shown,
            None if event.value == Value::Nil => Vec::new(),
            None => return Err(odd()),
        };
        self.reads += 1;
        let read = self.reads;
        for element in shown {
            let Some(number) = self.numbers.get(element) else { continue };
            let record = &mut self.records[*number as usize];
            record.shown_in = read;
            record.known.get_or_insert(place);
            record.last_present = record.last_present.max(Some(began));
            if let Some(since) = record.absent_since.take() {
                record.last_absent = record.last_absent.max(self.invocations.since(since));
                self.expected.push(*number);
            }
        }
        self.invocations.push(read, began);
        let records = &mut self.records;
        self.expected.retain(|number| {
            let record = &mut records[*number as usize];
            if record.shown_in != read {
                record.absent_since = Some(read);
            }
            record.shown_in == read
        });
        Ok(())
    }

    fn results(mut self, events: &[Event], options: Options) -> Results {
        let mut outcomes = Outcomes::default();
        let mut elements: Vec<_> = self.numbers.into_iter().collect();
        elements.sort_unstable();
        for (element, number) in elements {
            let record = &mut self.records[number as usize];
            if let Some(since) = record.absent_since {
                record.last_absent = record.last_absent.max(self.invocations.since(since));
            }
            outcomes.take(element, record, events);
        }
        outcomes.results(options)
    }
}

/// How elements ended, in the order of the elements.
#[derive(Debug, Default)]
struct Outcomes {
    lost: Vec<Value>,
    never_read: Vec<Value>,
    stale: Vec<Stale>,
    stable_latencies: Vec<i64>,
    lost_latencies: Vec<i64>,
}

impl Outcomes {
    fn take(&mut self, element: &Value, record: &Record, events: &[Event]) {
        let known_index = record.known.map(|place| events[place].index);
        let present = record.last_present.map(|(index, _)| index);
        let absent = record.last_absent.map(|(index, _)| index);
        let since_known = |end: Option<Invocation>, known: usize| {
            let end = end.map_or(0, |(_, place)| events[place].time.saturating_add(1));
            end.saturating_sub(events[known].time).max(0) / 1_000_000
        };
        match record.known {
            // `None`, no such event, is smaller than every index.
            Some(known) if present.is_some() && absent < present => {
                let latency = since_known(record.last_absent, known);
                self.stable_latencies.push(latency);
                if latency > 0 {
                    self.stale.push(Stale {
                        element: element.clone(),
                        outcome: "stable",
                        stable_latency: latency,
                        lost_latency: None,
                        known: events[known].clone(),
                        last_absent: record.last_absent.map(|(_, place)| events[place].clone()),
                    });
                }
            }
            Some(known) if present < absent && known_index < absent => {
                self.lost.push(element.clone());
                self.lost_latencies.push(since_known(record.last_present, known));
            }
            Some(_) | None => self.never_read.push(element.clone()),
        }
    }

    fn results(self, options: Options) -> Results {
        let stable = self.stable_latencies.len();
        let valid = match (self.lost.len(), stable, self.stale.len()) {
            (1.., _, _) => Verdict::Invalid,
            (0, 0, _) => Verdict::Unknown,
            (0, 1.., 1..) if options.linearizable => Verdict::Invalid,
            (0, 1.., _) => Verdict::Valid,
        };
        let mut worst = self.stale.clone();
        worst.sort_by_key(|stale| stale.stable_latency);
        worst.reverse();
        worst.truncate(WORST_STALE);
        Results {
            valid,
            error: None,
            attempt_count: stable + self.lost.len() + self.never_read.len(),
            stable_count: stable,
            lost_count: self.lost.len(),
            lost: self.lost,
            never_read_count: self.never_read.len(),
            never_read: self.never_read,
            stale_count: self.stale.len(),
            stale: self.stale.into_iter().map(|stale| stale.element).collect(),
            worst_stale: worst,
            duplicated_count: 0,
            duplicated: BTreeMap::new(),
            stable_latencies: percentiles(self.stable_latencies),
            lost_latencies: percentiles(self.lost_latencies),
        }
    }
}

fn percentiles(mut latencies: Vec<i64>) -> BTreeMap<&'static str, i64> {
    latencies.sort_unstable();
    let Some(last) = latencies.len().checked_sub(1) else { return BTreeMap::new() };
    PERCENTILES
        .into_iter()
        .map(|(name, p)| (name, latencies[last.min((latencies.len() as f64 * p) as usize)]))
        .collect()
}
