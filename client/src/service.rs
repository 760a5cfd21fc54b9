//! The two services that a node offers on its one address, and the values that they carry.
//!
//! Messages, requests and responses travel as the bytes that [`cartwheel_protocol::format`] makes of them:
//! what tarpc sees of them never changes. The methods and values here are encoded by position: those of a
//! format stay as they are and in their order; new methods are added at the end.

use std::fmt;

use cartwheel_protocol::{
    bucket::{Bucket, BucketName, Conflict, Kind, Spread},
    id::{ClusterId, NodeId},
    key::{Key, Partition, Partitions},
    layout::Layout,
};
use serde::{Deserialize, Serialize};

use crate::{
    codec::Bytes,
    members::{Members, NewWish, Outlook, StageError},
    reaping::{ReapError, ReapSeen},
};

/// What peers call. It answers when the batch is queued, not when it is handled: what replicas say to each
/// other goes one way, and their answers are messages too.
#[tarpc::service]
pub trait Peer {
    /// Takes a batch, in order. Who sends it is known from the handshake.
    async fn deliver(batch: Vec<Piece>) -> Result<(), DeliverError>;
    /// Takes the next piece of what one node's membership tells another's, in an order of its own: gossip does
    /// not wait behind data.
    async fn gossip(piece: Piece) -> Result<(), DeliverError>;
}

/// What clients call.
#[tarpc::service]
pub trait ClientApi {
    /// Carries out one encoded [`cartwheel_protocol::request::Request`]; gives an encoded
    /// [`cartwheel_protocol::request::Response`].
    async fn request(request: Bytes) -> Result<Bytes, RequestError>;
    /// Who owns what.
    async fn directory() -> Option<Directory>;
    /// How the node is.
    async fn status() -> Status;
    /// How the cluster is, as the node knows it.
    async fn members() -> Members;
    /// Stages wishes, all or none of them, and tells what they do to the layout together with those that wait
    /// already. With `only_plan` nothing is staged.
    async fn stage(wishes: Vec<NewWish>, only_plan: bool) -> Result<Outlook, StageError>;
    /// Begins a run of reap rounds over all of which the node is the first owner. Cancelled add_ids up to `up_to` may
    /// go; without it none.
    async fn reap(up_to: Option<u128>) -> Result<(), ReapError>;
    /// How the node's runs of reap rounds are.
    async fn reaping() -> ReapSeen;
}

/// A message, or a part of one that is too long for a batch. The parts of one message follow each other on
/// one connection, with no part of another in between.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Piece {
    /// A whole message.
    Whole(Bytes),
    /// A part, and more to come.
    Part {
        /// Counts the parts of the message, from zero.
        number: u32,
        /// What comes next of it.
        bytes: Bytes,
    },
    /// The last part: the message is put together and taken whole.
    Last {
        /// Counts the parts of the message, from zero.
        number: u32,
        /// The end of it.
        bytes: Bytes,
    },
}

impl Piece {
    /// How many bytes of a message it carries.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Whole(bytes) | Self::Part { bytes, .. } | Self::Last { bytes, .. } => {
                bytes.0.len()
            }
        }
    }
}

/// Why a batch was not taken.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum DeliverError {
    /// The node's queue is full: the batch is dropped.
    #[error("overloaded: the batch is dropped")]
    Overloaded,
    /// The bytes are no messages; the connection is closed.
    #[error("undecodable: {0}")]
    Undecodable(String),
}

/// Why a request never reached the replica: nothing was started.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum RequestError {
    /// The node has as many requests under way as it takes.
    #[error("overloaded: nothing was started; try again later")]
    Overloaded,
    /// The node is going down and takes no more.
    #[error("the node is shutting down: nothing was started")]
    ShuttingDown,
    /// The context in the request is damaged.
    #[error("the context is damaged; read the key again and use the context of that read")]
    DamagedContext,
    /// The bytes are no request.
    #[error("undecodable request: {0}")]
    Undecodable(String),
    /// The node was removed from the cluster.
    #[error("the node was removed from the cluster: nothing was started")]
    Removed,
}

/// What a client knows of a layout: enough to find a key's owners.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Directory {
    /// The cluster.
    pub cluster: u64,
    /// The layout's number.
    pub layout: u64,
    /// The layout's hash.
    pub hash: u128,
    /// How many partitions there are.
    pub partitions: u32,
    /// The members, by id.
    pub members: Vec<Seat>,
    /// The buckets, by name.
    pub buckets: Vec<BucketEntry>,
    /// How many owners are listed for each partition.
    pub width: u8,
    /// For each partition in order, `width` indexes into `members`.
    pub owners: Vec<u16>,
}

/// A member of a [`Directory`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Seat {
    /// The node.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// Where it can be reached.
    pub address: String,
    /// Its zone.
    pub zone: String,
    /// Its weight.
    pub weight: u32,
}

/// A bucket of a [`Directory`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BucketEntry {
    /// Its name.
    pub name: String,
    /// How many owners a key has.
    pub n: u8,
    /// Whether its keys hold carts, not registers.
    pub is_cart: bool,
    /// Whether the last of concurrent puts wins.
    pub is_last_write_wins: bool,
    /// Whether copies are spread over zones.
    pub is_spread_over_zones: bool,
    /// The least `r` of a strict request.
    pub strict_r: u8,
    /// The least `w` of a strict request.
    pub strict_w: u8,
    /// How many cancelled add_ids a cart remembers.
    pub cancelled_bound: u32,
    /// The default of `r`.
    pub r: u8,
    /// The default of `w`.
    pub w: u8,
}

/// One moment of a node.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// The node.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: u64,
    /// This run of it.
    pub incarnation: u64,
    /// The version of its program; a build with mutants says so in it.
    pub version: String,
    /// The view that it goes by, as text.
    pub view: String,
    /// What keeps its records.
    pub engine: String,
    /// Whether it takes no more requests because it is shutting down.
    pub is_draining: bool,
    /// The mutant that runs, in a build that has them.
    pub mutant: Option<String>,
    /// The peers that it suspects, sorted.
    pub suspected: Vec<u64>,
    /// The peers that it is connected to, sorted.
    pub connected: Vec<u64>,
    /// What it counts, by name: free to grow.
    pub counts: Vec<(String, u64)>,
}

impl Status {
    /// The name under which it counts the bytes of its store on disk.
    pub const STORE_BYTES: &str = "store-bytes";

    /// One of the things that it counts, if it counts that.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.counts.iter().find(|(known, _)| known == name).map(|(_, count)| *count)
    }
}

/// A [`Directory`] whose parts do not fit together.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the layout that the node sent is inconsistent: {0}")]
pub struct BadDirectory(&'static str);

impl Directory {
    /// What clients of `cluster` are told of `layout`.
    pub fn new(cluster: ClusterId, layout: &Layout) -> Self {
        let members = layout.members().iter().map(|member| Seat {
            node: member.id.0,
            name: member.name.to_string(),
            address: member.address.to_string(),
            zone: member.zone.to_string(),
            weight: member.weight,
        });
        let partitions = layout.partitions();
        let owners = partitions.iter().flat_map(|partition| layout.owner_indexes(partition));
        let owners: Vec<u16> = owners.copied().collect();
        Self {
            cluster: cluster.0,
            layout: layout.number(),
            hash: layout.hash().0,
            partitions: partitions.count(),
            members: members.collect(),
            buckets: layout.buckets().iter().map(BucketEntry::new).collect(),
            width: (owners.len() / partitions.count() as usize) as u8,
            owners,
        }
    }

    /// Whether the parts fit together; a client asks once, when it gets it.
    pub fn check(&self) -> Result<(), BadDirectory> {
        if Partitions::new(self.partitions).is_none() {
            return Err(BadDirectory("the number of partitions is no power of two"));
        }
        if self.owners.len() != self.partitions as usize * usize::from(self.width) {
            return Err(BadDirectory("the owners are too many or too few"));
        }
        if self.owners.iter().any(|owner| usize::from(*owner) >= self.members.len()) {
            return Err(BadDirectory("an owner is no member"));
        }
        Ok(())
    }

    /// The bucket of that name.
    pub fn bucket(&self, name: &str) -> Option<&BucketEntry> {
        self.buckets.iter().find(|bucket| bucket.name == name)
    }

    /// The member with this id.
    pub fn member(&self, node: NodeId) -> Option<&Seat> {
        self.members.iter().find(|seat| seat.node == node.0)
    }

    /// The partition of a key; `None` only if [`Directory::check`] failed.
    pub fn partition(&self, key: &Key) -> Option<Partition> {
        Partitions::new(self.partitions).map(|partitions| partitions.of(key))
    }

    /// The owners of the key of that name in that bucket; `None` if there is no such bucket.
    pub fn owners_of(&self, bucket: &str, key: &[u8]) -> Option<Vec<&Seat>> {
        let bucket = self.bucket(bucket)?.bucket_name()?;
        Some(self.owners(&Key::new(bucket, key)))
    }

    /// The owners of a key: the first `n` of its bucket, in order. Empty for an unknown bucket.
    pub fn owners(&self, key: &Key) -> Vec<&Seat> {
        let (Some(partition), Some(bucket)) =
            (self.partition(key), self.bucket(key.bucket.as_str()))
        else {
            return Vec::new();
        };
        let width = usize::from(self.width);
        let listed = self.owners.iter().skip(partition.0 as usize * width).take(width);
        let owners = listed.take(usize::from(bucket.n));
        owners.filter_map(|index| self.members.get(usize::from(*index))).collect()
    }
}

impl BucketEntry {
    fn new(bucket: &Bucket) -> Self {
        Self {
            name: bucket.name.to_string(),
            n: bucket.n,
            is_cart: bucket.kind == Kind::Cart,
            is_last_write_wins: bucket.conflict == Conflict::LastWriteWins,
            is_spread_over_zones: bucket.spread == Spread::Zone,
            strict_r: bucket.strict_r,
            strict_w: bucket.strict_w,
            cancelled_bound: bucket.cancelled_bound,
            r: bucket.r,
            w: bucket.w,
        }
    }

    /// Its name, if it is one.
    pub fn bucket_name(&self) -> Option<BucketName> {
        BucketName::new(&self.name)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, NodeId(self.node), self.address)
    }
}
