//! Always writable: was every write taken that enough nodes were there for?
//!
//! What the nemesis did says which nodes were *disturbed*: those that a fault names, from when it begins until
//! [`SETTLE`] after it has ended; where a fault changes the members or takes a disk, until [`SETTLE`] after the next quiet point. A
//! write is judged if, from its invocation to its completion, no more nodes were disturbed than a quorum of slots may miss
//! and the node that was asked was not one of them; one that was refused because a node was overloaded is not. A judged write that failed, or whose outcome is unknown, was
//! refused without need. Everything else is not judged: it may have been right to fail.
//!
//! Who a fault disturbs is taken widely (a cut link names both of its ends, a rolling restart all nodes for as long as it takes),
//! so that a write is never condemned for what may have been a fault's doing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::event::{Event, EventType, Process};
use crate::read::{self, Format, JsonLines, ReadError};
use crate::value::Value;
use crate::{Verdict, read_history};

/// How long after a fault its nodes count as disturbed still, in nanoseconds: processes start, connections come back,
/// opinions change.
pub const SETTLE: i64 = 5_000_000_000;
/// How many refused writes are described. All are counted.
const MAX_DESCRIBED: usize = 100;
/// What begins a fault that passes, and what ends it.
const PASSING: [(&str, &str); 9] = [
    ("kill", "start"),
    ("pause", "resume"),
    ("start-partition", "stop-partition"),
    ("slow-links", "restore-links"),
    ("start-rolling-restart", "stop-rolling-restart"),
    ("start-zone-cut", "stop-zone-cut"),
    ("zone-kill", "zone-start"),
    ("fill-disk", "free-disk"),
    ("reap", "after-reap"),
];
/// What lasts until the next quiet point, and what is said of it later.
const LASTING: [(&str, &str); 8] = [
    ("join", "after-join"),
    ("leave", "after-leave"),
    ("remove", "after-remove"),
    ("replace", "after-replace"),
    ("weight", "after-weight"),
    ("wipe", "after-wipe"),
    ("zone-destroy", "after-zone-destroy"),
    ("corrupt", "start-corrupted"),
];

/// What was found.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Writable {
    /// How many writes could be judged.
    pub judged_count: u64,
    /// How many of them were not acknowledged.
    pub refused_count: u64,
    /// The first of these.
    pub refused: Vec<Refused>,
}

/// A write that was refused without need.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refused {
    /// The index of its completion.
    pub index: u64,
    /// The operation's name.
    pub f: String,
    /// The node that was asked; nobody in particular if missing.
    pub node: Option<String>,
    /// What the client was told.
    pub error: Option<Value>,
}

impl Writable {
    /// Invalid if a write was refused without need, unknown if none could be judged.
    pub fn verdict(&self) -> Verdict {
        match (self.refused_count, self.judged_count) {
            (0, 0) => Verdict::Unknown,
            (0, _) => Verdict::Valid,
            _ => Verdict::Invalid,
        }
    }
}

/// Judges the writes of a cart workload. `may_miss` is how many of a key's owners may be missing when a quorum
/// is still there: n − w, and no more than a strict write may miss if there are any.
pub fn check<'a>(events: impl IntoIterator<Item = &'a Event>, may_miss: usize) -> Writable {
    let mut checker = Checker { may_miss, ..Checker::default() };
    events.into_iter().for_each(|event| checker.see(event));
    checker.found
}

/// The same for a history file of either format; one of JSON lines is not kept in memory.
///
/// # Errors
/// The file cannot be read, or a line (named) is no event.
pub fn check_file(path: impl AsRef<Path>, may_miss: usize) -> Result<Writable, ReadError> {
    let path = path.as_ref();
    let (format, reader) = read::open(path)?;
    match format {
        Format::JsonLines => {
            let mut checker = Checker { may_miss, ..Checker::default() };
            JsonLines::new(reader).try_for_each(|event| event.map(|event| checker.see(&event)))?;
            Ok(checker.found)
        }
        Format::Edn => Ok(check(&read_history(path)?, may_miss)),
    }
}

#[derive(Debug, Default)]
struct Checker {
    may_miss: usize,
    faults: Faults,
    /// When writes that are not completed began, by process.
    open: BTreeMap<u64, i64>,
    found: Writable,
}

impl Checker {
    fn see(&mut self, event: &Event) {
        let process = match &event.process {
            Process::Named(_) => return self.faults.see(event),
            Process::Client(process) => *process,
        };
        if !matches!(event.f.as_str(), "add" | "cancel" | "change") {
            return;
        }
        if event.event_type == EventType::Invoke {
            self.open.insert(process, event.time);
            return;
        }
        let Some(invoked) = self.open.remove(&process) else { return };
        let oldest = self.open.values().copied().min().unwrap_or(event.time);
        self.faults.forget(oldest.min(invoked));
        if is_overload(event) || !self.faults.leave_a_quorum(event, invoked, self.may_miss) {
            return;
        }
        self.found.judged_count += 1;
        if event.event_type == EventType::Ok {
            return;
        }
        self.found.refused_count += 1;
        if self.found.refused.len() < MAX_DESCRIBED {
            let (f, node, error) = (event.f.clone(), event.node.clone(), event.error.clone());
            self.found.refused.push(Refused { index: event.index, f, node, error });
        }
    }
}

/// Whether a node had too much to do, which it may say whatever the nemesis does.
fn is_overload(event: &Event) -> bool {
    matches!(&event.error, Some(Value::Text(why)) if why.contains("overloaded"))
}

/// What the nemesis does and did not long ago.
#[derive(Debug, Default)]
struct Faults(Vec<Fault>);

#[derive(Debug)]
struct Fault {
    f: String,
    value: Value,
    /// Whom it disturbs; everybody if nobody knows what it is.
    nodes: Option<BTreeSet<String>>,
    lasts: bool,
    begun: i64,
    /// `None` while it goes on. It is told twice: before and after it was done.
    ended: Option<i64>,
}

impl Faults {
    fn see(&mut self, event: &Event) {
        let f = event.f.as_str();
        if f == "quiet" && event.value == Value::Text("reached".into()) {
            self.end(event.time, |fault| fault.lasts);
        } else if f == "heal" {
            self.end(event.time, |fault| !fault.lasts);
        } else if matches!(f, "quiet" | "waits-for") || LASTING.iter().any(|(_, later)| *later == f)
        {
            // Says nothing of a node.
        } else if let Some((begin, _)) = PASSING.iter().find(|(_, end)| *end == f) {
            self.end(event.time, |fault| fault.f == *begin && fault.value == event.value);
        } else {
            let goes_on =
                |fault: &Fault| fault.f == f && fault.value == event.value && fault.ended.is_none();
            if self.0.iter().any(goes_on) {
                return;
            }
            let is_known = |table: &[(&str, &str)]| table.iter().any(|(begin, _)| *begin == f);
            let lasts = !is_known(&PASSING);
            let nodes = (is_known(&PASSING) || is_known(&LASTING)).then(|| nodes(&event.value));
            let (f, value, begun) = (event.f.clone(), event.value.clone(), event.time);
            self.0.push(Fault { f, value, nodes, lasts, begun, ended: None });
        }
    }

    /// A fault that had ended already is over when that is said again.
    fn end(&mut self, time: i64, which: impl Fn(&Fault) -> bool) {
        for fault in self.0.iter_mut().filter(|fault| which(fault)) {
            fault.ended = Some(time);
        }
    }

    /// Nobody asks for what was before this moment any more.
    fn forget(&mut self, before: i64) {
        self.0
            .retain(|fault| fault.ended.is_none_or(|ended| ended.saturating_add(SETTLE) >= before));
    }

    /// Whether a quorum of slots was there for a write all the time.
    fn leave_a_quorum(&self, write: &Event, invoked: i64, may_miss: usize) -> bool {
        let mut disturbed = BTreeSet::new();
        for fault in &self.0 {
            let settled = fault.ended.map_or(i64::MAX, |ended| ended.saturating_add(SETTLE));
            if fault.begun > write.time || settled < invoked {
                continue;
            }
            let Some(nodes) = &fault.nodes else { return false };
            disturbed.extend(nodes);
        }
        let is_disturbed = |node: &String| disturbed.contains(node);
        disturbed.len() <= may_miss && !write.node.as_ref().is_some_and(is_disturbed)
    }
}

/// The nodes that a value names, however deep: `n1`, `n2` and so on.
fn nodes(value: &Value) -> BTreeSet<String> {
    fn add(value: &Value, to: &mut BTreeSet<String>) {
        match value {
            Value::Text(text) | Value::Keyword(text) => {
                let digits = text.strip_prefix('n').filter(|digits| !digits.is_empty());
                if digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
                    to.insert(text.clone());
                }
            }
            Value::Vector(values) => values.iter().for_each(|value| add(value, to)),
            Value::Set(values) => values.iter().for_each(|value| add(value, to)),
            Value::Map(map) => map.iter().for_each(|(key, value)| {
                add(key, to);
                add(value, to);
            }),
            Value::Nil
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Symbol(_)
            | Value::Tagged(..) => {}
        }
    }
    let mut found = BTreeSet::new();
    add(value, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cart::{CartValue, Item};

    const S: i64 = 1_000_000_000;

    fn add(event_type: EventType, time: i64, node: Option<&str>) -> Event {
        let item = Item { add_id: "a1".into(), sku: "milk".into(), quantity: 1 };
        let value = CartValue::Add { cart: "c1".into(), item };
        let event = Event::cart(event_type, 1, value).at(0, time);
        match node {
            Some(node) => event.with_node(node),
            None => event,
        }
    }

    /// What is found of a write from second 10 to 11 that was not acknowledged, when the nemesis did these things.
    fn refused(faults: &[(i64, &str, Value)], node: Option<&str>, may_miss: usize) -> Writable {
        let mut events: Vec<Event> = faults
            .iter()
            .map(|(at, f, value)| Event::nemesis(*f, value.clone()).at(0, at * S))
            .collect();
        events.push(add(EventType::Invoke, 10 * S, node));
        events.push(add(EventType::Info, 11 * S, node));
        events.sort_by_key(|event| event.time);
        check(&events, may_miss)
    }

    fn is_condemned(faults: &[(i64, &str, Value)], node: Option<&str>) -> bool {
        refused(faults, node, 1).verdict() == Verdict::Invalid
    }

    #[test]
    fn a_write_that_is_refused_without_need_is_condemned() {
        assert!(is_condemned(&[], Some("n1")));
        assert!(is_condemned(&[(9, "kill", "n2".into())], Some("n1")), "one may be missing");
        assert!(is_condemned(&[(9, "kill", "n2".into())], None), "whoever is asked");
        let over = [(1, "kill", "n1".into()), (2, "start", "n1".into())];
        assert!(is_condemned(&over, Some("n1")), "it has been back for long");
        let quiet = [(1, "wipe", "n1".into()), (4, "quiet", "reached".into())];
        assert!(is_condemned(&quiet, Some("n1")), "all was quiet since");
        let healed = [(1, "pause", "n1".into()), (2, "heal", "everything".into())];
        assert!(is_condemned(&healed, Some("n1")));
        assert!(is_condemned(&[(12, "kill", "n1".into())], Some("n1")), "that came later");
    }

    #[test]
    fn a_write_that_may_rightly_fail_is_not_judged() {
        let pair = |f: &'static str, value: Value| [(9, f, value)];
        assert!(!is_condemned(&pair("kill", "n1".into()), Some("n1")), "it was asked itself");
        let two = [(8, "kill", "n2".into()), (9, "pause", "n3".into())];
        assert!(!is_condemned(&two, Some("n1")), "two are missing");
        assert_eq!(refused(&pair("kill", "n2".into()), Some("n1"), 0).verdict(), Verdict::Unknown);
        let cut = Value::Map(BTreeMap::from([("n2".into(), Value::Vector(vec!["n3".into()]))]));
        let cut = Value::Vector(vec!["halves".into(), cut]);
        assert!(!is_condemned(&pair("start-partition", cut), Some("n1")));
        let just_back = [(1, "kill", "n1".into()), (7, "start", "n1".into())];
        assert!(!is_condemned(&just_back, Some("n1")));
        let lasting = [(1, "wipe", "n1".into()), (2, "after-wipe", "n1".into())];
        assert!(!is_condemned(&lasting, Some("n1")), "its end ends nothing");
        assert!(
            !is_condemned(&pair("flood", "n9".into()), Some("n1")),
            "nobody knows what that is"
        );
        assert!(!is_condemned(&[(10, "kill", "n1".into())], Some("n1")), "while it is asked");
    }

    #[test]
    fn who_has_too_much_to_do_may_say_so() {
        let invoked = add(EventType::Invoke, 1, None);
        let failed = |why: &str| add(EventType::Fail, 2, None).with_error(why);
        assert_eq!(
            check(&[invoked.clone(), failed("refused: overloaded: later")], 1).judged_count,
            0
        );
        assert_eq!(check(&[invoked, failed("refused: not ready")], 1).refused_count, 1);
    }

    #[test]
    fn writes_that_are_acknowledged_are_judged_and_reads_are_not() {
        let mut read = add(EventType::Invoke, 1, None);
        read.f = "read".into();
        let mut failed = add(EventType::Fail, 2, None);
        failed.f = "read".into();
        let events = [read, failed, add(EventType::Invoke, 3, None), add(EventType::Ok, 4, None)];
        let found = check(&events, 1);
        assert_eq!((found.judged_count, found.refused_count), (1, 0));
        assert_eq!(found.verdict(), Verdict::Valid);
        assert_eq!(check(&[], 1).verdict(), Verdict::Unknown);
    }
}
