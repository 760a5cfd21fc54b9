//! Members, and the commands that make one layout from another.

use alloc::sync::Arc;
use core::fmt;

use crate::{
    bucket::{Bucket, BucketName},
    id::{NodeId, Zone},
};

/// A node as a layout lists it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Member {
    /// The node.
    pub id: NodeId,
    /// Its name for people (`n1`): a label, nothing depends on it.
    pub name: Arc<str>,
    /// Where it can be reached, as `host:port`: a label too.
    pub address: Arc<str>,
    /// Its failure domain.
    pub zone: Zone,
    /// Its capacity in units of the operator's choice, 1 to [`Member::MAX_WEIGHT`]: its share of the
    /// slots is in proportion. There is no zero: a node that is to own nothing leaves.
    pub weight: u32,
}

/// One change of a layout.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Command {
    /// A new member; it takes slots from the relatively most loaded.
    Join(Member),
    /// A living member goes; its slots go to the relatively least loaded. It drains.
    Leave(NodeId),
    /// A dead member is taken out: the same layout as by `Leave`. Should it come back, it drains.
    Remove(NodeId),
    /// A new node of the same zone takes a member's seats.
    Replace {
        /// The member that goes.
        old: NodeId,
        /// The node that takes its seats.
        new: Member,
    },
    /// A former member is drained, or its disk is lost for good: nobody waits for it any more, and what it
    /// holds is refused from now on.
    Forget(NodeId),
    /// A member's weight.
    Weight(NodeId, u32),
    /// A member's zone.
    Zone(NodeId, Zone),
    /// A member's address.
    Address(NodeId, Arc<str>),
    /// A new bucket.
    BucketCreate(Bucket),
    /// The changeable defaults of a bucket.
    BucketSet {
        /// The bucket.
        name: BucketName,
        /// How many nodes must answer a read that does not say.
        r: u8,
        /// How many slots must hold a write that does not say.
        w: u8,
    },
}

impl Member {
    /// The greatest weight.
    pub const MAX_WEIGHT: u32 = 1_000_000;
}

impl fmt::Display for Member {
    /// `n5 n3fa (host:7400, zone a, weight 1)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, address, zone) = (self.id, &self.address, &self.zone);
        write!(f, "{} {id} ({address}, zone {zone}, weight {})", self.name, self.weight)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(member) => write!(f, "join {member}"),
            Self::Leave(id) => write!(f, "leave {id}"),
            Self::Remove(id) => write!(f, "remove {id}"),
            Self::Replace { old, new } => write!(f, "replace {old} by {new}"),
            Self::Forget(id) => write!(f, "forget {id}"),
            Self::Weight(id, weight) => write!(f, "weight {id} {weight}"),
            Self::Zone(id, zone) => write!(f, "zone {id} {zone}"),
            Self::Address(id, address) => write!(f, "address {id} {address}"),
            Self::BucketCreate(bucket) => {
                let (name, kind) = (&bucket.name, bucket.kind);
                write!(f, "bucket {name} {kind} n={} r={} w={}", bucket.n, bucket.r, bucket.w)
            }
            Self::BucketSet { name, r, w } => write!(f, "bucket {name} r={r} w={w}"),
        }
    }
}
