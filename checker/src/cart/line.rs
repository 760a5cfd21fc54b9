//! One line of a JSON history into a cart [`Operation`], in one pass and without a string of its
//! own: this is where a big history spends its time.
//!
//! What stands in `value` is `shape.rs`'s business.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::batch::{Argument, Name, Operation, Sink, Text, no_operation};
use super::shape::{TextSeed, ValueSeed};
use crate::event::EventType;
use crate::read::json_reason;

/// Parses one line; `None` for events of the nemesis. Its number and that of its event are kept
/// with it.
///
/// # Errors
/// What is wrong with the line, in words.
pub(crate) fn parse(
    line: &str,
    line_number: u64,
    position: u64,
    sink: &mut Sink<'_>,
) -> Result<Option<Operation>, String> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let draft = LineSeed { sink }
        .deserialize(&mut deserializer)
        .and_then(|draft| deserializer.end().map(|()| draft))
        .map_err(|error| json_reason(&error))?;
    draft.finish(line_number, position)
}

/// What a line says, as far as it is of use here.
#[derive(Default)]
struct Draft {
    index: Option<u64>,
    time: Option<i64>,
    process: Option<Option<u64>>,
    event_type: Option<EventType>,
    f: Option<Result<Name, String>>,
    strict: bool,
    final_read: bool,
    local: bool,
    node: Option<Text>,
    digest: Option<Text>,
    argument: Option<Argument>,
}

impl Draft {
    fn finish(self, line: u64, position: u64) -> Result<Option<Operation>, String> {
        let missing = |key: &str| format!("the event has no {key}");
        let event_type = self.event_type.ok_or_else(|| missing("type"))?;
        let f = self.f.ok_or_else(|| missing("f"))?;
        let Some(process) = self.process.ok_or_else(|| missing("process"))? else {
            return Ok(None);
        };
        Ok(Some(Operation {
            line,
            position,
            index: self.index,
            time: self.time.unwrap_or(-1),
            process,
            event_type,
            name: f?,
            strict: self.strict,
            final_read: self.final_read,
            local: self.local,
            node: self.node,
            digest: self.digest,
            argument: self.argument.unwrap_or(Argument::Odd),
        }))
    }
}

struct LineSeed<'s, 'b> {
    sink: &'s mut Sink<'b>,
}

impl<'de> DeserializeSeed<'de> for LineSeed<'_, '_> {
    type Value = Draft;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Draft, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for LineSeed<'_, '_> {
    type Value = Draft;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: an object with type, process and f")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft, A::Error> {
        let mut draft = Draft::default();
        while let Some(key) = map.next_key_seed(NameSeed(field))? {
            match key {
                Field::Index => draft.index = map.next_value()?,
                Field::Time => draft.time = map.next_value()?,
                Field::Process => draft.process = Some(map.next_value_seed(ProcessSeed)?),
                Field::Type => {
                    draft.event_type =
                        Some(map.next_value_seed(NameSeed(type_of))?.map_err(A::Error::custom)?);
                }
                Field::F => draft.f = Some(map.next_value_seed(NameSeed(name_of))?),
                Field::Strict => draft.strict = map.next_value::<Option<bool>>()? == Some(true),
                Field::Final => draft.final_read = map.next_value::<Option<bool>>()? == Some(true),
                Field::Local => draft.local = map.next_value::<Option<bool>>()? == Some(true),
                Field::Node => {
                    let node = map.next_value_seed(TextSeed { sink: self.sink })?;
                    draft.node = node.map(|(text, _)| text);
                }
                Field::Digest => {
                    let digest = map.next_value_seed(TextSeed { sink: self.sink })?;
                    draft.digest = digest.map(|(text, _)| text);
                }
                Field::Value => {
                    draft.argument = Some(map.next_value_seed(ValueSeed { sink: self.sink })?);
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(draft)
    }
}

enum Field {
    Index,
    Time,
    Process,
    Type,
    F,
    Value,
    Node,
    Digest,
    Strict,
    Final,
    Local,
    Other,
}

fn field(key: &str) -> Field {
    match key {
        "index" => Field::Index,
        "time" => Field::Time,
        "process" => Field::Process,
        "type" => Field::Type,
        "f" => Field::F,
        "value" => Field::Value,
        "node" => Field::Node,
        "digest" => Field::Digest,
        "strict" => Field::Strict,
        "final?" => Field::Final,
        "local?" => Field::Local,
        _ => Field::Other,
    }
}

fn type_of(name: &str) -> Result<EventType, String> {
    EventType::from_name(name)
        .ok_or_else(|| format!("type is {name}, not one of invoke, ok, fail, info"))
}

fn name_of(f: &str) -> Result<Name, String> {
    Name::of(f).ok_or_else(|| no_operation(f))
}

/// A string, put through a function.
pub(super) struct NameSeed<F>(pub(super) F);

impl<'de, T, F: Fn(&str) -> T> DeserializeSeed<'de> for NameSeed<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: Fn(&str) -> T> Visitor<'_> for NameSeed<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
        Ok((self.0)(name))
    }
}

/// A client's number; `None` for a process with a name.
struct ProcessSeed;

impl<'de> DeserializeSeed<'de> for ProcessSeed {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for ProcessSeed {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a process's number or name")
    }

    fn visit_u64<E: Error>(self, process: u64) -> Result<Option<u64>, E> {
        Ok(Some(process))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Option<u64>, E> {
        Ok(None)
    }
}
