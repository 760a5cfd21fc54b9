//! What places and zones are called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A node of the cluster by its place, counted from zero; written as its name, `n1` for the first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeNumber(pub usize);

/// A zone by its number, counted from zero; written as its name, `z1` for the first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneNumber(pub usize);

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0 + 1)
    }
}

impl From<NodeNumber> for String {
    fn from(node: NodeNumber) -> Self {
        node.to_string()
    }
}

impl TryFrom<String> for NodeNumber {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl FromStr for NodeNumber {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        numbered('n', name)
            .map(Self)
            .ok_or_else(|| format!("{name} is no node: they are called n1, n2, …"))
    }
}

impl fmt::Display for ZoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "z{}", self.0 + 1)
    }
}

impl From<ZoneNumber> for String {
    fn from(zone: ZoneNumber) -> Self {
        zone.to_string()
    }
}

impl TryFrom<String> for ZoneNumber {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        numbered('z', &name)
            .map(Self)
            .ok_or_else(|| format!("{name} is no zone: they are called z1, z2, …"))
    }
}

/// The place of what is called by a letter and a number from 1.
fn numbered(letter: char, name: &str) -> Option<usize> {
    name.strip_prefix(letter)?.parse::<usize>().ok()?.checked_sub(1)
}
