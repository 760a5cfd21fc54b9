//! Writes a campaign's history while it happens: every event is on its way to the disk before the
//! next one, so that whatever becomes of the campaign there is something to check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cartwheel_checker::cart::CartValue;
use cartwheel_checker::{Event, EventType, HistoryWriter, Process, Value};

/// The history being written, and what the campaign needs to know of it. Shared by all clients.
#[derive(Debug)]
pub struct Recorder {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: HistoryWriter<BufWriter<File>>,
    /// The first error of the writer. Nothing is written after it.
    failed: Option<io::Error>,
    next_index: u64,
    carts: BTreeMap<String, Fates>,
    acknowledged: u64,
    unknown: u64,
    faults: u64,
}

/// What becomes of a cart's additions.
#[derive(Debug, Default)]
struct Fates {
    /// Those that were acknowledged, and whether strictly.
    acknowledged: BTreeMap<String, bool>,
    /// Those that a cancellation names, whatever became of it.
    cancelled: BTreeSet<String>,
}

/// How an operation of a client was asked for: what all its events have in common.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The client's process.
    pub process: u64,
    /// The node that is asked; `None` if the client library chooses.
    pub node: Option<String>,
    /// Whether only owners count.
    pub strict: bool,
    /// Whether it is a read after quiet.
    pub final_read: bool,
    /// Whether it shows the node's own copy.
    pub local: bool,
    /// The hash of that copy, once it is known.
    pub digest: Option<String>,
}

/// An acknowledged addition that no cancellation was begun for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Its id.
    pub add_id: String,
    /// Whether only owners counted when it was acknowledged.
    pub strict: bool,
}

/// How far the history has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Additions that were acknowledged.
    pub acknowledged: u64,
    /// Operations of unknown outcome.
    pub unknown: u64,
    /// Faults that changed something.
    pub faults: u64,
}

impl Recorder {
    /// Starts the history file.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        let writer = HistoryWriter::create(path)?;
        Ok(Self {
            inner: Mutex::new(Inner {
                writer,
                failed: None,
                next_index: 0,
                carts: BTreeMap::new(),
                acknowledged: 0,
                unknown: 0,
                faults: 0,
            }),
        })
    }

    /// A client begins an operation.
    pub fn invoke(&self, now: Duration, asked: &Asked, value: CartValue) {
        let mut inner = self.inner();
        if !inner.carts.contains_key(value.cart()) {
            inner.carts.insert(value.cart().to_owned(), Fates::default());
        }
        if let CartValue::Cancel { cart, add_ids: cancel } | CartValue::Change { cart, cancel, .. } =
            &value
            && let Some(fates) = inner.carts.get_mut(cart)
        {
            fates.cancelled.extend(cancel.iter().cloned());
        }
        let event = asked.event(EventType::Invoke, value);
        inner.append(now, event);
    }

    /// A client learns that its operation happened.
    pub fn ok(&self, now: Duration, asked: &Asked, value: CartValue) {
        let mut inner = self.inner();
        match &value {
            CartValue::Add { cart, item } | CartValue::Change { cart, add: Some(item), .. } => {
                inner.acknowledged += 1;
                if let Some(fates) = inner.carts.get_mut(cart) {
                    *fates.acknowledged.entry(item.add_id.clone()).or_default() |= asked.strict;
                }
            }
            CartValue::Change { add: None, .. }
            | CartValue::Cancel { .. }
            | CartValue::Read { .. } => {}
        }
        let event = asked.event(EventType::Ok, value);
        inner.append(now, event);
    }

    /// A client learns that its operation did not happen (`definite`), or does not learn what
    /// became of it.
    pub fn failed(
        &self,
        now: Duration,
        asked: &Asked,
        value: CartValue,
        why: &str,
        definite: bool,
    ) {
        let mut inner = self.inner();
        inner.unknown += u64::from(!definite);
        let event_type = if definite { EventType::Fail } else { EventType::Info };
        let event = asked.event(event_type, value).with_error(why);
        inner.append(now, event);
    }

    /// The nemesis acts.
    pub fn nemesis(&self, now: Duration, f: &str, value: impl Into<Value>) {
        self.inner().append(now, Event::nemesis(f, value));
    }

    /// A fault changed something.
    pub fn applied(&self) {
        self.inner().faults += 1;
    }

    /// The carts that occur so far, in order.
    pub fn carts(&self) -> Vec<String> {
        self.inner().carts.keys().cloned().collect()
    }

    /// The acknowledged additions of a cart that no cancellation names so far.
    pub fn kept(&self, cart: &str) -> Vec<Kept> {
        let inner = self.inner();
        let Some(fates) = inner.carts.get(cart) else { return Vec::new() };
        let kept = fates.acknowledged.iter().filter(|(id, _)| !fates.cancelled.contains(*id));
        kept.map(|(id, strict)| Kept { add_id: id.clone(), strict: *strict }).collect()
    }

    /// How far the history has come.
    pub fn tally(&self) -> Tally {
        let inner = self.inner();
        Tally { acknowledged: inner.acknowledged, unknown: inner.unknown, faults: inner.faults }
    }

    /// Ends the file and brings it to the disk.
    ///
    /// # Errors
    /// The first error since the history began.
    pub fn finish(self) -> io::Result<()> {
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        match inner.failed {
            Some(error) => Err(error),
            None => {
                let file = inner.writer.into_inner()?.into_inner().map_err(|e| e.into_error())?;
                file.sync_all()
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere does not make what was written untrue.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn append(&mut self, now: Duration, event: Event) {
        if self.failed.is_some() {
            return;
        }
        let time = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let event = event.at(self.next_index, time);
        match self.writer.append(&event).and_then(|()| self.writer.flush()) {
            Ok(()) => self.next_index += 1,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Asked {
    /// An ordinary operation of a process.
    pub fn by(process: u64) -> Self {
        let (strict, final_read, local) = (false, false, false);
        Self { process, node: None, strict, final_read, local, digest: None }
    }

    fn event(&self, event_type: EventType, value: CartValue) -> Event {
        let mut event = Event::new(event_type, Process::Client(self.process), value.f(), value);
        event.node.clone_from(&self.node);
        event.strict = self.strict;
        event.final_read = self.final_read;
        event.local = self.local;
        event.digest.clone_from(&self.digest);
        event
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cartwheel_checker::cart::{self, CartValue, Item};
    use cartwheel_checker::{Verdict, read_history};

    use super::{Asked, Kept, Recorder};

    fn add(add_id: &str) -> CartValue {
        let item = Item { add_id: add_id.to_owned(), sku: "milk".to_owned(), quantity: 1 };
        CartValue::Add { cart: "c".to_owned(), item }
    }

    fn read(items: Option<Vec<Item>>) -> CartValue {
        CartValue::Read { cart: "c".to_owned(), items }
    }

    /// One addition with this outcome, then a final read of an empty cart.
    fn history(outcome: impl Fn(&Recorder, &Asked)) -> cart::Results {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::create(&path).expect("a file");
        let asked = Asked { strict: true, ..Asked::by(0) };
        recorder.nemesis(Duration::ZERO, "kill", "n1");
        recorder.invoke(Duration::from_millis(1), &asked, add("a"));
        outcome(&recorder, &asked);
        let asked = Asked { final_read: true, ..Asked::by(1) };
        recorder.invoke(Duration::from_millis(3), &asked, read(None));
        recorder.ok(Duration::from_millis(4), &asked, read(Some(Vec::new())));
        assert_eq!(recorder.carts(), ["c"]);
        recorder.finish().expect("written");
        let events = read_history(&path).expect("a history");
        let indices: Vec<_> = events.iter().map(|event| event.index).collect();
        assert_eq!(indices, [0, 1, 2, 3, 4]);
        assert_eq!(events[4].time, 4_000_000);
        cart::check(&events)
    }

    #[test]
    fn an_acknowledged_addition_that_is_gone_is_lost() {
        let results = history(|recorder, asked| {
            recorder.ok(Duration::from_millis(2), asked, add("a"));
            assert_eq!(recorder.tally().acknowledged, 1);
        });
        assert_eq!((results.valid, results.lost), (Verdict::Invalid, vec!["a".to_owned()]));
    }

    #[test]
    fn one_that_failed_or_is_unknown_is_not() {
        for definite in [true, false] {
            let results = history(|recorder, asked| {
                recorder.failed(Duration::from_millis(2), asked, add("a"), "timeout", definite);
                assert_eq!(recorder.tally().unknown, u64::from(!definite));
            });
            assert_eq!((results.lost_count, results.acknowledged_count), (0, 0));
        }
    }

    #[test]
    fn kept_is_what_was_acknowledged_and_is_named_by_no_cancellation() {
        let folder = tempfile::tempdir().expect("a folder");
        let recorder = Recorder::create(&folder.path().join("history.jsonl")).expect("a file");
        let now = Duration::ZERO;
        for (process, add_id, strict) in [(0, "a", false), (1, "b", true), (2, "c", false)] {
            let asked = Asked { strict, ..Asked::by(process) };
            recorder.invoke(now, &asked, add(add_id));
            if add_id != "c" {
                recorder.ok(now, &asked, add(add_id));
            }
        }
        let kept = |add_id: &str, strict| Kept { add_id: add_id.to_owned(), strict };
        assert_eq!(recorder.kept("c"), [kept("a", false), kept("b", true)]);
        let cancel = CartValue::Cancel { cart: "c".to_owned(), add_ids: vec!["a".to_owned()] };
        recorder.invoke(now, &Asked::by(0), cancel);
        assert_eq!(recorder.kept("c"), [kept("b", true)]);
        assert_eq!(recorder.kept("another"), []);
    }
}
