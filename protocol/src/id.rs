//! Names of nodes, runs, requests and writes: newtypes, so that no two kinds of number are mixed up.

use alloc::sync::Arc;
use core::fmt;

/// A node: a store (a disk) and the process that serves it. 64 random bits, drawn when the store is
/// formatted; a wiped or rebuilt disk is a new node. Printed as `n` and hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub u64);

/// One run of a process: 64 random bits drawn by the driver at every start (the model numbers them).
/// It is what makes an actor new after every restart without anything being persisted.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Incarnation(pub u64);

/// A cluster: 64 random bits, drawn when it is formed. It keeps strangers and their contexts out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterId(pub u64);

/// A failure domain: a data centre, a rack, a room. Compared by name only.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Zone(pub Arc<str>);

/// One client request at the node that coordinates it.
///
/// It is made of the caller's number and of two incarnations, so that an answer to a request from before
/// a restart never counts for one after it (rule Q1), and no counter lives in the core.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId {
    /// The run of the node that coordinates the request.
    pub coordinator: Incarnation,
    /// The run of the node that the client talked to; the same but for a forwarded request.
    pub caller: Incarnation,
    /// The caller's own number, unique within its run.
    pub number: u64,
}

/// The unique, time-ordered id that a client gives one addition to a cart (a UUIDv7), the same in
/// every retry. Larger is newer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AddId(pub u128);

/// The unique id that a client gives one register put, the same in every retry: entries that carry
/// the same one are one value.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PutId(pub u128);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{:x}", self.0)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{:x}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.coordinator == self.caller {
            write!(f, "r{}@{}", self.number, self.caller)
        } else {
            write!(f, "r{}@{}/{}", self.number, self.caller, self.coordinator)
        }
    }
}

impl fmt::Display for AddId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{:x}", self.0)
    }
}

impl fmt::Display for PutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:x}", self.0)
    }
}
