//! One line of a history: something was asked, or its outcome became known.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::cart::CartValue;
use crate::value::Value;

/// One event, in Jepsen's terms an op. A completion repeats its invocation's process and `f`; a
/// process has at most one operation outstanding, and one that got `info` is never used again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Position in the whole history, from 0. Readers count lines where it is missing.
    pub index: u64,
    /// Nanoseconds since the start of the test on a monotonic clock; -1 if nobody took it.
    pub time: i64,
    /// Who acts.
    pub process: Process,
    /// Where in an operation's life this event stands.
    pub event_type: EventType,
    /// The operation's name, without EDN's colon: `add`, `read`, `start-partition`.
    pub f: String,
    /// What the operation is about; for carts see [`CartValue`].
    pub value: Value,
    /// Why it did not end well.
    pub error: Option<Value>,
    /// The node that was asked.
    pub node: Option<String>,
    /// Whether the operation was strict: only owners counted. Written only when true.
    pub strict: bool,
    /// Whether this is a read after quiet, that must show what was promised (`final?`). Written
    /// only when true.
    pub final_read: bool,
    /// Whether the read shows the asked node's own stored copy, not merged with others' (`local?`).
    /// Written only when true.
    pub local: bool,
    /// The hash of that own copy, also of what it does not show (cancellations): two copies are equal if
    /// their digests are. Without it what they show is compared.
    pub digest: Option<String>,
    /// Further keys, kept as they were, in order.
    pub extras: Vec<(String, Value)>,
}

/// Who acts in an event: a client's process, or something with a name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Process {
    /// A client: one logical thread, with at most one operation outstanding.
    Client(u64),
    /// Anything else; Jepsen knows `nemesis`.
    Named(String),
}

/// Where in an operation's life an event stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EventType {
    /// The operation began.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen and never will.
    Fail,
    /// Unknown: it may have happened or may happen later. The nemesis has only these.
    Info,
}

impl Process {
    /// The one that injects faults.
    pub fn nemesis() -> Self {
        Self::Named("nemesis".to_owned())
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => write!(f, "{number}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl EventType {
    /// The name in histories.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }

    /// The type of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Invoke, Self::Ok, Self::Fail, Self::Info].into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Event {
    /// An event with nothing but what every event has, at index 0 and time -1.
    pub fn new(
        event_type: EventType,
        process: Process,
        f: impl Into<String>,
        value: impl Into<Value>,
    ) -> Self {
        Self {
            index: 0,
            time: -1,
            process,
            event_type,
            f: f.into(),
            value: value.into(),
            error: None,
            node: None,
            strict: false,
            final_read: false,
            local: false,
            digest: None,
            extras: Vec::new(),
        }
    }

    /// An event of a cart operation by client `process`: `f` and `value` come from `operation`.
    pub fn cart(event_type: EventType, process: u64, operation: CartValue) -> Self {
        Self::new(event_type, Process::Client(process), operation.f(), operation)
    }

    /// An event of the nemesis, whose type is always `info`.
    pub fn nemesis(f: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(EventType::Info, Process::nemesis(), f, value)
    }

    /// The same at this index and time (nanoseconds since the start of the test).
    #[must_use]
    pub fn at(mut self, index: u64, time: i64) -> Self {
        self.index = index;
        self.time = time;
        self
    }

    /// The same with the node that was asked.
    #[must_use]
    pub fn with_node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// The same, strict or sloppy.
    #[must_use]
    pub fn with_strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// The same with a reason for not ending well.
    #[must_use]
    pub fn with_error(mut self, error: impl Into<Value>) -> Self {
        self.error = Some(error.into());
        self
    }

    /// The same as a read after quiet.
    #[must_use]
    pub fn with_final(mut self) -> Self {
        self.final_read = true;
        self
    }

    /// The same as a read after quiet of the asked owner's own copy.
    #[must_use]
    pub fn with_local_final(mut self) -> Self {
        self.final_read = true;
        self.local = true;
        self
    }

    /// The keys after `value`, as both formats write them: typed ones first, then the extras.
    pub(crate) fn trailing(&self) -> impl Iterator<Item = (&str, Value)> {
        let flag = |name, set: bool| set.then_some((name, Value::Bool(true)));
        let typed = [
            self.error.clone().map(|error| ("error", error)),
            self.node.clone().map(|node| ("node", Value::Text(node))),
            flag("strict", self.strict),
            flag("final?", self.final_read),
            flag("local?", self.local),
            self.digest.clone().map(|digest| ("digest", Value::Text(digest))),
        ];
        let extras = self.extras.iter().map(|(name, value)| (name.as_str(), value.clone()));
        typed.into_iter().flatten().chain(extras)
    }
}

/// An event being read, key by key; the same for JSON and EDN.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    index: Option<u64>,
    time: Option<i64>,
    process: Option<Process>,
    event_type: Option<EventType>,
    f: Option<String>,
    value: Value,
    error: Option<Value>,
    node: Option<String>,
    strict: bool,
    final_read: bool,
    local: bool,
    digest: Option<String>,
    extras: Vec<(String, Value)>,
}

impl Draft {
    /// Takes one key. A value that a key of ours cannot have is an error that names it.
    pub(crate) fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        let wrong = |what: &str, value: &Value| Err(format!("{key} is {value}, not {what}"));
        match (key, value) {
            ("index", Value::Nil) | ("time", Value::Nil) => {}
            ("index", Value::Int(index)) if index >= 0 => self.index = Some(index.unsigned_abs()),
            ("index", value) => return wrong("a whole number from 0", &value),
            ("time", Value::Int(time)) => self.time = Some(time),
            ("time", value) => return wrong("a whole number of nanoseconds", &value),
            ("process", Value::Int(process)) if process >= 0 => {
                self.process = Some(Process::Client(process.unsigned_abs()));
            }
            ("process", value) => match value.name() {
                Some(name) => self.process = Some(Process::Named(name.to_owned())),
                None => return wrong("a process's number or name", &value),
            },
            ("type", value) => match value.name().and_then(EventType::from_name) {
                Some(event_type) => self.event_type = Some(event_type),
                None => return wrong("one of invoke, ok, fail, info", &value),
            },
            ("f", value) => match value.name() {
                Some(f) => self.f = Some(f.to_owned()),
                None => return wrong("an operation's name", &value),
            },
            ("value", value) => self.value = value,
            ("error", Value::Nil) => {}
            ("error", value) => self.error = Some(value),
            ("node", Value::Text(node) | Value::Keyword(node)) => self.node = Some(node),
            ("strict", Value::Bool(strict)) => self.strict = strict,
            ("final?", Value::Bool(final_read)) => self.final_read = final_read,
            ("local?", Value::Bool(local)) => self.local = local,
            ("digest", Value::Text(digest)) => self.digest = Some(digest),
            ("node" | "strict" | "final?" | "local?" | "digest", Value::Nil) => {}
            ("strict" | "final?" | "local?", value) => return wrong("true or false", &value),
            (_, value) => self.extras.push((key.to_owned(), value)),
        }
        Ok(())
    }

    /// The event, or the key that it lacks. `position` stands in for a missing index.
    pub(crate) fn finish(self, position: u64) -> Result<Event, String> {
        let missing = |key: &str| format!("the event has no {key}");
        Ok(Event {
            index: self.index.unwrap_or(position),
            time: self.time.unwrap_or(-1),
            process: self.process.ok_or_else(|| missing("process"))?,
            event_type: self.event_type.ok_or_else(|| missing("type"))?,
            f: self.f.ok_or_else(|| missing("f"))?,
            value: self.value,
            error: self.error,
            node: self.node,
            strict: self.strict,
            final_read: self.final_read,
            local: self.local,
            digest: self.digest,
            extras: self.extras,
        })
    }
}

impl<'de> Deserialize<'de> for Draft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DraftVisitor;
        impl<'de> Visitor<'de> for DraftVisitor {
            type Value = Draft;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event: an object with type, process and f")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft, A::Error> {
                let mut draft = Draft::default();
                while let Some((key, value)) =
                    map.next_entry::<std::borrow::Cow<'de, str>, Value>()?
                {
                    draft.set(&key, value).map_err(A::Error::custom)?;
                }
                Ok(draft)
            }
        }
        deserializer.deserialize_map(DraftVisitor)
    }
}

/// One object with Jepsen's keys in its order.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("index", &self.index)?;
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("type", self.event_type.name())?;
        match &self.process {
            Process::Client(number) => map.serialize_entry("process", number)?,
            Process::Named(name) => map.serialize_entry("process", name)?,
        }
        map.serialize_entry("f", &self.f)?;
        map.serialize_entry("value", &self.value)?;
        for (key, value) in self.trailing() {
            map.serialize_entry(key, &value)?;
        }
        map.end()
    }
}
