//! The client's own values: contexts as text, ids, options, what reads and writes give.

use std::{fmt, str::FromStr, time::Duration};

use cartwheel_protocol::{
    context::Context as Seen,
    id::{AddId, NodeId, PutId},
};
use uuid::Uuid;

use crate::error::Error;

/// What a read has seen, to be handed back with the write that follows from it: opaque bytes, or their
/// hexadecimal text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Context(pub(crate) Seen);

/// How an operation is carried out. `Options::default()` is the bucket `default` with its own quorums, sloppy,
/// within five seconds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// The namespace.
    pub bucket: String,
    /// How many nodes must answer a read; `None` is the bucket's default.
    pub r: Option<u8>,
    /// How many slots must hold a write; `None` is the bucket's default.
    pub w: Option<u8>,
    /// Whether only owners count.
    pub strict: bool,
    /// How long to wait in all, retries included.
    pub timeout: Duration,
    /// Which node is asked.
    pub ask: Ask,
}

/// Which node is asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ask {
    /// An owner of the key, another if that one fails.
    #[default]
    Owners,
    /// This node, then the others.
    First(NodeId),
    /// This node once and no other.
    Only(NodeId),
}

/// What a read of a register gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// No value, one, or siblings.
    pub values: Vec<Vec<u8>>,
    /// To be handed back with the write that follows.
    pub context: Context,
    /// How many owners answered.
    pub owners: u8,
    /// How many fallbacks answered.
    pub fallbacks: u8,
}

/// What one node itself stores for a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held<T> {
    /// What that shows: values or articles.
    pub content: T,
    /// The hash of all that nodes exchange of it, also of what it does not show: cancellations, and what was
    /// seen. Two copies are equal if these are.
    pub digest: u128,
    /// Whether anything is stored at all.
    pub is_stored: bool,
    /// How many owners lack it as far as the node knows: it keeps a hint for each of them.
    pub owes: u8,
}

/// A write that is durable on a quorum of slots.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written {
    /// How many of the key's slots hold it.
    pub slots: u8,
    /// How many distinct nodes hold it.
    pub nodes: u8,
    /// How many distinct zones they lie in.
    pub zones: u8,
}

impl Context {
    /// The bytes, to be kept as they are.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// The context that these bytes are, checked for damage.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Seen::decode(bytes).map(Self).map_err(|_| Error::DamagedContext)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Context {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if !text.len().is_multiple_of(2) {
            return Err(Error::DamagedContext);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(Error::DamagedContext);
        let pairs = text.as_bytes().chunks_exact(2);
        let bytes = pairs.map(|pair| Ok((digit(pair[0])? << 4 | digit(pair[1])?) as u8));
        Self::from_bytes(&bytes.collect::<Result<Vec<u8>, Error>>()?)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::bucket("default")
    }
}

impl Options {
    /// A bucket's own quorums, sloppy, within five seconds.
    pub fn bucket(name: impl Into<String>) -> Self {
        Self {
            bucket: name.into(),
            r: None,
            w: None,
            strict: false,
            timeout: Duration::from_secs(5),
            ask: Ask::Owners,
        }
    }

    /// The same with other quorums.
    #[must_use]
    pub fn with_quorums(self, r: Option<u8>, w: Option<u8>) -> Self {
        Self { r, w, ..self }
    }

    /// The same, counting owners only.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// The same within another time.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same, asking another node.
    #[must_use]
    pub fn asking(self, ask: Ask) -> Self {
        Self { ask, ..self }
    }
}

/// A new id for an addition: unique, and newer than all that this process made before (a UUIDv7).
pub fn new_add_id() -> AddId {
    AddId(Uuid::now_v7().as_u128())
}

/// A new id for a wish. Such ids are ordered by time: of two wishes of one layout the older is carried out first.
pub fn new_wish_id() -> u128 {
    Uuid::now_v7().as_u128()
}

/// A new id for a put.
pub fn new_put_id() -> PutId {
    PutId(Uuid::now_v7().as_u128())
}

/// A node's id as people see it: `n` and hexadecimal digits.
pub fn parse_node_id(text: &str) -> Option<NodeId> {
    let digits = text.strip_prefix('n')?;
    let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hexadecimal.then(|| u64::from_str_radix(digits, 16).ok())?.map(NodeId)
}

/// An add_id as people see it: a UUID.
pub fn add_id_text(add_id: AddId) -> String {
    Uuid::from_u128(add_id.0).to_string()
}

/// Reads what [`add_id_text`] wrote.
pub fn parse_add_id(text: &str) -> Option<AddId> {
    Uuid::parse_str(text).ok().map(|uuid| AddId(uuid.as_u128()))
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::{
        context::Binding,
        id::{ClusterId, Incarnation},
        version::{Actor, Dot, VersionVector},
    };

    use super::*;

    fn context() -> Context {
        let key = cartwheel_protocol::key::Key::new(
            cartwheel_protocol::bucket::BucketName::new("default").expect("a valid name"),
            &b"k"[..],
        );
        let actor = Actor { incarnation: Incarnation(77), n: 1 };
        let seen = VersionVector::from_dots([Dot { actor, counter: 3 }]);
        Context(Seen::new(Binding::new(ClusterId(1), &key), seen))
    }

    #[test]
    fn a_context_survives_as_text_and_damage_is_noticed() {
        let text = context().to_string();
        assert_eq!(text.parse(), Ok(context()));
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
            let damaged = String::from_utf8(damaged).expect("ASCII");
            assert_eq!(damaged.parse::<Context>(), Err(Error::DamagedContext), "at {at}");
        }
        for text in ["", "0", "zz", "+1"] {
            assert_eq!(text.parse::<Context>(), Err(Error::DamagedContext), "{text:?}");
        }
    }

    #[test]
    fn add_ids_are_newer_one_after_the_other_and_survive_as_text() {
        let ids: Vec<AddId> = (0..1_000).map(|_| new_add_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert_eq!(parse_add_id(&add_id_text(ids[0])), Some(ids[0]));
        assert_eq!(parse_add_id("milk"), None);
    }

    #[test]
    fn node_ids_survive_as_text() {
        let node = NodeId(0xfade);
        assert_eq!(parse_node_id(&node.to_string()), Some(node));
        for text in ["", "n", "fade", "n+1", "n10000000000000000", "nx"] {
            assert_eq!(parse_node_id(text), None, "{text:?}");
        }
    }
}
