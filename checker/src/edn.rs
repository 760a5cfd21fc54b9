//! EDN, the notation of Jepsen's histories: read with `clojure-reader`, written here, because key
//! order matters to people (`:index :time :type :process :f :value`, then the rest).

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the reader's enums are not ours and may grow; what is not named is refused or kept as text"
)]

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;

use clojure_reader::edn::{self, Edn};
use clojure_reader::error::Code;

use crate::event::{Draft, Event, Process};
use crate::read::ReadError;
use crate::value::{Float, Value};

/// Reads a history: maps, or vectors (lists) of maps, one after the other.
///
/// # Errors
/// The line and the reason, when the text is no EDN or a map is no event.
pub(crate) fn read(text: &str) -> Result<Vec<Event>, ReadError> {
    let mut events = Vec::new();
    let mut rest = text;
    let mut line = 1;
    loop {
        let trimmed = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        line += newlines(&rest[..rest.len() - trimmed.len()]);
        if trimmed.is_empty() {
            return Ok(events);
        }
        let (form, after) = match edn::read(trimmed) {
            Ok(read) => read,
            // Only comments or discarded forms were left.
            Err(error) if error.line.is_none() => return Ok(events),
            Err(error) => return Err(syntax_error(line, &error)),
        };
        let fail = |reason| ReadError::Malformed { line, reason };
        match &form {
            Edn::Vector(maps) | Edn::List(maps) => {
                for (number, map) in maps.iter().enumerate() {
                    let event = to_event(map, events.len()).map_err(|reason| {
                        fail(format!("element {number} of the vector that begins here: {reason}"))
                    })?;
                    events.push(event);
                }
            }
            map => events.push(to_event(map, events.len()).map_err(fail)?),
        }
        line += newlines(&trimmed[..trimmed.len() - after.len()]);
        rest = after;
    }
}

/// Writes a history: one map a line, in the key order that Jepsen writes.
///
/// # Errors
/// What the writer answers.
pub fn write_edn<'a>(
    events: impl IntoIterator<Item = &'a Event>,
    writer: &mut impl io::Write,
) -> io::Result<()> {
    let mut line = String::new();
    for event in events {
        line.clear();
        write_event(&mut line, event).map_err(io::Error::other)?;
        writer.write_all(line.as_bytes())?;
    }
    Ok(())
}

fn write_event(out: &mut String, event: &Event) -> fmt::Result {
    write!(out, "{{:index {}, :time {}", event.index, event.time)?;
    write!(out, ", :type :{}, :process ", event.event_type)?;
    match &event.process {
        Process::Client(number) => write!(out, "{number}")?,
        Process::Named(name) => write_value(out, &Value::key(name.clone()))?,
    }
    out.write_str(", :f ")?;
    write_value(out, &Value::key(event.f.clone()))?;
    out.write_str(", :value ")?;
    write_value(out, &event.value)?;
    for (key, value) in event.trailing() {
        out.write_str(", ")?;
        write_value(out, &Value::key(key.to_owned()))?;
        out.write_str(" ")?;
        write_value(out, &value)?;
    }
    out.write_str("}\n")
}

/// Writes one value as EDN on one line.
pub(crate) fn write_value(out: &mut impl fmt::Write, value: &Value) -> fmt::Result {
    match value {
        Value::Nil => out.write_str("nil"),
        Value::Bool(truth) => write!(out, "{truth}"),
        Value::Int(number) => write!(out, "{number}"),
        // `Debug` keeps the point, without which the number would be read as a whole one.
        Value::Float(Float(number)) => write!(out, "{number:?}"),
        Value::Text(text) => write_string(out, text),
        Value::Keyword(name) => write!(out, ":{name}"),
        Value::Symbol(name) => out.write_str(name),
        Value::Vector(elements) => write_all(out, "[", elements, "]"),
        Value::Set(elements) => write_all(out, "#{", elements, "}"),
        Value::Map(entries) => write_map(out, entries),
        Value::Tagged(tag, inner) => {
            write!(out, "#{tag} ")?;
            write_value(out, inner)
        }
    }
}

/// Whether `name` can be written as a keyword that every reader takes for one.
pub(crate) fn is_keyword(name: &str) -> bool {
    let symbol = |c: char| c.is_ascii_alphanumeric() || "*+!-_?<>=.".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(symbol)
}

fn write_all<'a>(
    out: &mut impl fmt::Write,
    open: &str,
    elements: impl IntoIterator<Item = &'a Value>,
    close: &str,
) -> fmt::Result {
    out.write_str(open)?;
    for (number, element) in elements.into_iter().enumerate() {
        if number > 0 {
            out.write_str(" ")?;
        }
        write_value(out, element)?;
    }
    out.write_str(close)
}

fn write_map(out: &mut impl fmt::Write, entries: &BTreeMap<Value, Value>) -> fmt::Result {
    out.write_str("{")?;
    for (number, (key, value)) in entries.iter().enumerate() {
        if number > 0 {
            out.write_str(", ")?;
        }
        write_value(out, key)?;
        out.write_str(" ")?;
        write_value(out, value)?;
    }
    out.write_str("}")
}

/// A string with the escapes that EDN knows; other control characters stand for themselves.
fn write_string(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    out.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            other => out.write_char(other)?,
        }
    }
    out.write_str("\"")
}

fn newlines(text: &str) -> u64 {
    text.bytes().map(|byte| u64::from(byte == b'\n')).sum()
}

fn syntax_error(line: u64, error: &clojure_reader::error::Error) -> ReadError {
    let further = error.line.map_or(0, |line| line.saturating_sub(1) as u64);
    let column = error.column.map_or(String::new(), |column| format!(" at column {column}"));
    let reason = match &error.code {
        Code::UnexpectedEOF => format!("the file ends in the middle of a form{column}"),
        code => format!("not EDN: {code:?}{column}"),
    };
    ReadError::Malformed { line: line + further, reason }
}

fn to_event(form: &Edn<'_>, position: usize) -> Result<Event, String> {
    let map = match form {
        Edn::Map(map) => map,
        // A record, as `#jepsen.history.Op{…}` prints it.
        Edn::Tagged(_, inner) => return to_event(inner, position),
        _ => return Err("not an event: every event is a map".to_owned()),
    };
    let mut draft = Draft::default();
    for (key, value) in map {
        match key {
            Edn::Key(name) | Edn::Str(name) | Edn::Symbol(name) => {
                draft.set(name, to_value(value))?;
            }
            _ => return Err(format!("the key {key} is neither a keyword nor a string")),
        }
    }
    draft.finish(position as u64)
}

fn to_value(form: &Edn<'_>) -> Value {
    match form {
        Edn::Nil => Value::Nil,
        Edn::Bool(truth) => Value::Bool(*truth),
        Edn::Int(number) => Value::Int(*number),
        Edn::Double(number) => Value::Float(Float(number.into_inner())),
        Edn::Str(text) => Value::Text(text.to_string()),
        Edn::Char(c) => Value::Text(c.to_string()),
        Edn::Key(name) => Value::Keyword(name.to_string()),
        Edn::Symbol(name) => Value::Symbol(name.to_string()),
        Edn::Vector(elements) | Edn::List(elements) => {
            Value::Vector(elements.iter().map(to_value).collect())
        }
        Edn::Set(elements) => Value::Set(elements.iter().map(to_value).collect()),
        Edn::Map(entries) => Value::Map(
            entries.iter().map(|(key, value)| (to_value(key), to_value(value))).collect(),
        ),
        Edn::Tagged(tag, inner) => Value::Tagged(tag.to_string(), Box::new(to_value(inner))),
        // Rationals, and whatever the reader learns to read later: kept as text.
        other => Value::Symbol(other.to_string()),
    }
}
