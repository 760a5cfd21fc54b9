//! Why a layout was refused.

use core::fmt;

use super::{Layout, Member};
use crate::{
    bucket::{BucketError, BucketName},
    id::{NodeId, Zone},
};

/// Why a layout was refused. Nothing was changed: a layout is a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LayoutError {
    /// It would have no member.
    NoMembers,
    /// It would have this many members, more than [`Layout::MAX_MEMBERS`].
    TooManyMembers(usize),
    /// It would have no bucket, so that nobody owns anything.
    NoBuckets,
    /// A node joins that is a member already.
    AlreadyMember(NodeId),
    /// A command names a node that is no member.
    NotMember(NodeId),
    /// A node joins that was a member before: an id never returns.
    WasMember(NodeId),
    /// `forget` names a node that is not draining.
    NotDraining(NodeId),
    /// A member's weight is zero or above [`Member::MAX_WEIGHT`].
    Weight(NodeId, u32),
    /// `replace` with a node of another zone: inherited seats would not span the zones any more.
    ReplaceAcrossZones {
        /// The member that goes.
        old: NodeId,
        /// Its zone, the only one allowed.
        old_zone: Zone,
        /// The node that should take its seats.
        new: NodeId,
        /// Its zone.
        new_zone: Zone,
    },
    /// A bucket's numbers do not fit together.
    Bucket(BucketName, BucketError),
    /// A bucket of this name exists already.
    BucketExists(BucketName),
    /// A command names a bucket that does not exist.
    NoSuchBucket(BucketName),
    /// Partitions would span fewer zones than before. Allowed with `accept_loss`.
    ZonesLost {
        /// The size for which they fall short.
        n: u8,
        /// How many partitions do.
        partitions: usize,
        /// The fewest zones that their first `n` owners span.
        zones: usize,
        /// How many they have to span.
        needed: usize,
    },
    /// Partitions would span fewer zones than a bucket with spread `zone` has to write to. Allowed with
    /// `accept_loss`.
    ZoneQuorum {
        /// The bucket.
        bucket: BucketName,
        /// Its larger one of `w` and `strict_w`.
        w: u8,
        /// The fewest zones that the owners of one of its keys span.
        zones: usize,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMembers => f.write_str("no member would be left; a layout needs one"),
            Self::TooManyMembers(count) => {
                write!(f, "{count} members; allowed are 1 to {}", Layout::MAX_MEMBERS)
            }
            Self::NoBuckets => f.write_str("no bucket; a layout needs one"),
            Self::AlreadyMember(id) => write!(f, "{id} is a member already"),
            Self::NotMember(id) => write!(f, "{id} is not a member"),
            Self::WasMember(id) => {
                write!(
                    f,
                    "{id} was a member before; format its store again, so that it is a new node"
                )
            }
            Self::NotDraining(id) => write!(f, "{id} is not a former member that drains"),
            Self::Weight(id, weight) => {
                write!(f, "weight of {id} is {weight}; allowed is 1 to {}", Member::MAX_WEIGHT)
            }
            Self::ReplaceAcrossZones { old, old_zone, new, new_zone } => write!(
                f,
                "{new} of zone {new_zone} cannot replace {old}; allowed is a node of zone {old_zone}"
            ),
            Self::Bucket(name, error) => write!(f, "bucket {name}: {error}"),
            Self::BucketExists(name) => write!(f, "bucket {name} exists already"),
            Self::NoSuchBucket(name) => write!(f, "there is no bucket {name}"),
            Self::ZonesLost { n, partitions, zones, needed } => write!(
                f,
                "with n={n} the owners of {partitions} partitions would span {zones} zones; \
                 {needed} are needed unless the loss is accepted"
            ),
            Self::ZoneQuorum { bucket, w, zones } => write!(
                f,
                "bucket {bucket} writes to {w} zones, but owners would span {zones}; \
                 allowed only if the loss is accepted"
            ),
        }
    }
}

impl core::error::Error for LayoutError {}
