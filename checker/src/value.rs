//! Untyped values, as histories carry them in `value`, `error` and further keys.
//!
//! One type for JSON and EDN. A JSON object's key that could be an EDN keyword is read as one, and
//! a keyword is written to JSON as its name, so JSON → EDN → JSON changes nothing. The other way
//! JSON has no sets, tags or keyword values: they become arrays, the tagged value and strings.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::edn;

/// A value of JSON or EDN. Ordered and hashable, so that it can be an element of a checked set.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Value {
    /// EDN `nil`, JSON `null`.
    #[default]
    Nil,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(Float),
    /// A string.
    Text(String),
    /// An EDN keyword, without its colon.
    Keyword(String),
    /// An EDN symbol; rationals, which no checker computes with, are kept as their text here.
    Symbol(String),
    /// An EDN vector or list, a JSON array.
    Vector(Vec<Self>),
    /// An EDN set.
    Set(BTreeSet<Self>),
    /// An EDN map, a JSON object.
    Map(BTreeMap<Self, Self>),
    /// An EDN tagged value: the tag without `#`, and what it stands before.
    Tagged(String, Box<Self>),
}

/// A floating-point number with a total order (`f64::total_cmp`), so that values can be set
/// elements and map keys.
#[derive(Clone, Copy, Debug)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Float {}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl std::hash::Hash for Float {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Value {
    /// The value of a map's key that is the keyword or the string `name`.
    pub fn entry(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(key, _)| key.name() == Some(name)).map(|(_, value)| value)
    }

    /// The text of a string, keyword or symbol.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Text(name) | Self::Keyword(name) | Self::Symbol(name) => Some(name),
            Self::Nil
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Vector(_)
            | Self::Set(_)
            | Self::Map(_)
            | Self::Tagged(..) => None,
        }
    }

    /// The elements of a vector or set, in order, and of a tagged one of these.
    pub fn elements(&self) -> Option<Vec<&Self>> {
        match self {
            Self::Vector(elements) => Some(elements.iter().collect()),
            Self::Set(elements) => Some(elements.iter().collect()),
            Self::Tagged(_, inner) => inner.elements(),
            Self::Nil
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Keyword(_)
            | Self::Symbol(_)
            | Self::Map(_) => None,
        }
    }

    /// The key that a JSON object's `name` stands for: a keyword where EDN could write one.
    pub(crate) fn key(name: String) -> Self {
        if edn::is_keyword(&name) { Self::Keyword(name) } else { Self::Text(name) }
    }
}

/// Written as EDN.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        edn::write_value(f, self)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Self>> for Value {
    fn from(elements: Vec<Self>) -> Self {
        Self::Vector(elements)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(number.0),
            Self::Text(text) | Self::Keyword(text) | Self::Symbol(text) => {
                serializer.serialize_str(text)
            }
            Self::Vector(elements) => serializer.collect_seq(elements),
            Self::Set(elements) => serializer.collect_seq(elements),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    match key.name() {
                        Some(name) => map.serialize_entry(name, value)?,
                        None => map.serialize_entry(&key.to_string(), value)?,
                    }
                }
                map.end()
            }
            Self::Tagged(_, inner) => inner.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Int).map_err(|_| E::custom("number above 2^63 - 1"))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(Float(number)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Value::Vector(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            entries.insert(Value::key(key), value);
        }
        Ok(Value::Map(entries))
    }
}
