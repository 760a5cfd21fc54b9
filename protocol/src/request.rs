//! What clients ask of a node, and what they are told.

use alloc::sync::Arc;
use core::fmt;

use crate::{
    bucket::Kind,
    context::Context,
    id::{AddId, PutId},
    key::Key,
    object::{Addition, Object},
};

/// One client operation on one key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Request {
    /// The key.
    pub key: Key,
    /// What to do with it.
    pub operation: Operation,
    /// How many must answer (a read) or hold it (a write); `None` is the bucket's default.
    pub quorum: Option<u8>,
    /// Whether only owners count. Otherwise *sloppy*: fallbacks of suspected or silent owners count too.
    pub strict: bool,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: u32,
}

/// What to do with a key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Operation {
    /// Read from a quorum.
    Get,
    /// Read what this node itself stores, merged with nothing: for operators and for checks of convergence.
    GetLocal,
    /// Replace what `context` covers by one value. Without a context nothing is replaced.
    Put {
        /// What the client has seen.
        context: Option<Context>,
        /// The client's id of this put, the same in every retry.
        put_id: PutId,
        /// The driver's wall clock in microseconds; only last-write-wins buckets look at it.
        time_us: u64,
        /// At most 1 MiB.
        value: Arc<[u8]>,
    },
    /// Remove what `context` covers.
    Delete {
        /// What the client has seen.
        context: Option<Context>,
    },
    /// Cancel the named additions of a cart and make one, either of them optional.
    Change {
        /// The add_ids to cancel, whether this copy knows them or not.
        cancel: Arc<[AddId]>,
        /// The addition to make.
        add: Option<Addition>,
        /// Checked like any context and otherwise unused: a cart operation removes only what it names (V4).
        context: Option<Context>,
    },
    /// Give up what only damaged copies of the record held, at the asked node, which owns one: its mark goes when all other
    /// owners have told what they hold (W1). For operators.
    AcceptLoss,
}

/// What a client is told.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Response {
    /// What a read found.
    Found {
        /// The merge of all answers; a key never written gives a new object.
        object: Object,
        /// What the client has now seen.
        context: Context,
        /// How many owners answered.
        owners: u8,
        /// How many fallbacks answered.
        fallbacks: u8,
    },
    /// What the asked node itself stores; after [`Operation::AcceptLoss`] what is left of the record.
    Held {
        /// The stored object; where nothing is stored, a new one.
        object: Object,
        /// How many owners lack it as far as this node knows: it keeps a hint for each of them.
        owes: u8,
    },
    /// The write is durable on a quorum of slots.
    Written {
        /// How many of the key's slots hold it.
        slots: u8,
        /// How many distinct nodes hold it, a coordinator that is no owner included.
        nodes: u8,
        /// How many distinct zones they lie in.
        zones: u8,
    },
    /// The request was not carried out, or its outcome is not known.
    Refused(Refusal),
}

/// Why a request was refused, or what became of it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Refusal {
    /// The key has no bytes.
    KeyEmpty,
    /// The key has this many bytes; 1,024 are allowed.
    KeyTooLong(usize),
    /// The value has this many bytes; 1 MiB is allowed.
    ValueTooLong(usize),
    /// The article's name has this many bytes; 1 to 1,024 are allowed.
    SkuLength(usize),
    /// The layout has no such bucket.
    UnknownBucket,
    /// The bucket holds this kind of key, to which the operation does not apply.
    WrongKind(Kind),
    /// The quantity; 1 to 1,000,000 is allowed.
    Quantity(u32),
    /// The cart has as many live entries as the limit allows: this many.
    CartFull(usize),
    /// The change names more add_ids than the bucket's bound of `cancelled`.
    TooManyCancels {
        /// How many it names.
        named: usize,
        /// How many are allowed.
        bound: usize,
    },
    /// The register has this many siblings and the put resolves none of them: read first.
    TooManySiblings(usize),
    /// The context is of another cluster, bucket or key.
    ForeignContext,
    /// The quorum asked for is zero or above the bucket's `n`.
    Quorum {
        /// What was asked for.
        asked: u8,
        /// The bucket's `n`.
        n: u8,
    },
    /// A write asks for copies in more zones than the key's owners lie in (Q3).
    TooFewZones {
        /// In how many zones it is to be held.
        asked: u8,
        /// In how many zones the owners lie.
        zones: u8,
    },
    /// A strict request with less than the bucket's strict quorum.
    StrictQuorum {
        /// What was asked for.
        asked: u8,
        /// The least that is allowed.
        least: u8,
    },
    /// The node has as many requests under way as it takes; nothing was started.
    Overloaded,
    /// The node has no view yet, is no member any more, may not coordinate this, or is going down; nothing was started.
    NotReady,
    /// This node's own copy is damaged; nothing was started.
    Damaged,
    /// This node's disk is short of space, and what is left is for what was acknowledged already; nothing was
    /// started.
    DiskFull,
    /// This node's copy is not damaged, or it owns none: there is no loss to accept.
    NotDamaged,
    /// Not every other owner has told what it holds, so no loss was accepted: it may hold what this node has lost.
    OwnersSilent {
        /// How many have told.
        answered: u8,
        /// How many other owners there are.
        owners: u8,
    },
    /// The addition's id is this one or older: what cancelled such additions may have been reaped, so that it would not be
    /// known whether this is a late copy of one (T1). Make it under a new id.
    TooOld(AddId),
    /// Too few answered in time. A write may still take effect: its outcome is not known.
    Unavailable {
        /// How many answered or hold it.
        have: u8,
        /// How many are needed.
        need: u8,
    },
}

impl Operation {
    /// Whether it can be carried out twice without harm, wherever it is coordinated: reads change nothing, and
    /// cart operations carry their ids (C1). A register put or delete cannot (F1).
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Get | Self::GetLocal | Self::Change { .. } | Self::AcceptLoss => true,
            Self::Put { .. } | Self::Delete { .. } => false,
        }
    }

    /// Whether it only reads.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Get | Self::GetLocal => true,
            Self::Put { .. } | Self::Delete { .. } | Self::Change { .. } | Self::AcceptLoss => {
                false
            }
        }
    }

    /// Whether it is about what the asked node itself stores, owner or not, and is never passed on.
    pub fn is_local(&self) -> bool {
        match self {
            Self::GetLocal | Self::AcceptLoss => true,
            Self::Get | Self::Put { .. } | Self::Delete { .. } | Self::Change { .. } => false,
        }
    }

    /// The id of the addition that it makes.
    pub(crate) fn added(&self) -> Option<AddId> {
        match self {
            Self::Get
            | Self::GetLocal
            | Self::Put { .. }
            | Self::Delete { .. }
            | Self::AcceptLoss => None,
            Self::Change { add, .. } => add.as_ref().map(|added| added.add_id),
        }
    }

    /// The context that came with it.
    pub fn context(&self) -> Option<&Context> {
        match self {
            Self::Get | Self::GetLocal | Self::AcceptLoss => None,
            Self::Put { context, .. } | Self::Delete { context } | Self::Change { context, .. } => {
                context.as_ref()
            }
        }
    }
}

impl Refusal {
    /// Whether it is certain that the request has changed nothing and never will.
    pub fn is_definite(self) -> bool {
        !matches!(self, Self::Unavailable { .. })
    }

    /// Whether another node may well do what this one refused, before anything was started.
    pub fn is_the_nodes(self) -> bool {
        matches!(self, Self::Overloaded | Self::NotReady | Self::Damaged | Self::DiskFull)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operation {
            Operation::Get => write!(f, "get {}", self.key),
            Operation::GetLocal => write!(f, "get-local {}", self.key),
            Operation::AcceptLoss => write!(f, "accept-loss {}", self.key),
            Operation::Put { put_id, value, context, .. } => {
                write!(f, "put {} {put_id}={}", self.key, value.escape_ascii())?;
                context.iter().try_for_each(|context| write!(f, " {context}"))
            }
            Operation::Delete { context } => {
                write!(f, "delete {}", self.key)?;
                context.iter().try_for_each(|context| write!(f, " {context}"))
            }
            Operation::Change { cancel, add, .. } => {
                write!(f, "change {}", self.key)?;
                cancel.iter().try_for_each(|add_id| write!(f, " -{add_id}"))?;
                add.iter()
                    .try_for_each(|add| write!(f, " +{}={}×{}", add.add_id, add.sku, add.quantity))
            }
        }?;
        if self.strict {
            f.write_str(" strict")?;
        }
        self.quorum.iter().try_for_each(|quorum| write!(f, " q={quorum}"))
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { object, owners, fallbacks, .. } => {
                write!(f, "found {object} from {owners} owners, {fallbacks} fallbacks")
            }
            Self::Held { object, owes } => write!(f, "held {object} owes {owes}"),
            Self::Written { slots, nodes, zones } => {
                write!(f, "written to {slots} slots, {nodes} nodes, {zones} zones")
            }
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::limits::{MAX_KEY, MAX_QUANTITY, MAX_SIBLINGS, MAX_SKU, MAX_VALUE};
        match self {
            Self::KeyEmpty => write!(f, "the key is empty; 1 to {MAX_KEY} bytes are allowed"),
            Self::KeyTooLong(len) => {
                write!(f, "the key has {len} bytes; 1 to {MAX_KEY} are allowed")
            }
            Self::ValueTooLong(len) => {
                write!(f, "the value has {len} bytes; at most {MAX_VALUE} are allowed")
            }
            Self::SkuLength(len) => {
                write!(f, "the sku has {len} bytes; 1 to {MAX_SKU} are allowed")
            }
            Self::UnknownBucket => f.write_str("there is no bucket of that name"),
            Self::WrongKind(kind) => {
                write!(f, "the bucket is of kind {kind}, to which this operation does not apply")
            }
            Self::Quantity(quantity) => {
                write!(f, "the quantity is {quantity}; 1 to {MAX_QUANTITY} is allowed")
            }
            Self::CartFull(limit) => {
                write!(f, "the cart has {limit} live entries, the most that is allowed")
            }
            Self::TooManyCancels { named, bound } => {
                write!(f, "the change names {named} add_ids; at most {bound} are allowed")
            }
            Self::TooManySiblings(siblings) => write!(
                f,
                "the key has {siblings} siblings (at most {MAX_SIBLINGS} are allowed) and this put resolves \
                 none of them: read first and hand back the context"
            ),
            Self::ForeignContext => f.write_str(
                "the context belongs to another cluster, bucket or key; read this key and use that context",
            ),
            Self::Quorum { asked, n } => {
                write!(f, "the quorum asked for is {asked}; 1 to the bucket's n = {n} is allowed")
            }
            Self::TooFewZones { asked, zones } => write!(
                f,
                "the write asks for copies in {asked} zones; the key's owners lie in {zones}"
            ),
            Self::StrictQuorum { asked, least } => write!(
                f,
                "the quorum asked for is {asked}; a strict request needs at least {least} in this bucket"
            ),
            Self::Overloaded => f.write_str("overloaded: nothing was started; try again later"),
            Self::NotReady => f.write_str("the node is not ready: nothing was started"),
            Self::Damaged => f.write_str("this node's copy of the record is damaged"),
            Self::NotDamaged => {
                f.write_str("this node's copy of the record is not damaged: there is no loss to accept")
            }
            Self::OwnersSilent { answered, owners } => write!(
                f,
                "{answered} of {owners} other owners have told what they hold: nothing was given up; ask again when \
                 they are up, or replace those that are lost first"
            ),
            Self::DiskFull => f.write_str(
                "this node's disk is short of space: nothing was started; make room, or ask another node",
            ),
            Self::TooOld(floor) => write!(
                f,
                "the add_id is too old: {floor} and all before it may have been reaped; make the addition anew"
            ),
            Self::Unavailable { have, need } => {
                write!(f, "unavailable: {have} of {need} answered in time; the outcome is unknown")
            }
        }
    }
}
