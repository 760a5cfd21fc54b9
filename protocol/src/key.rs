//! Keys and the fixed partitions that they hash into (paper §4.2 and §6.2, strategy 3).

use alloc::sync::Arc;
use core::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::bucket::BucketName;

/// One of the `Q` equal parts of the hash space, counted from zero. `Q` is fixed for a cluster's life.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Partition(pub u32);

/// How many partitions a cluster has: a power of two from 1 to 65,536.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Partitions(u32);

/// A key's full name: the bucket is part of it, of its hash and of its contexts.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// The namespace.
    pub bucket: BucketName,
    /// 1 to 1,024 opaque bytes.
    pub name: Arc<[u8]>,
}

/// Where a key's record stands in the ordered store: partition first, so that a partition is one
/// contiguous range for scans, hand-off and trees.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RecordKey {
    /// The partition that the key hashes into.
    pub partition: Partition,
    /// The key.
    pub key: Key,
}

impl Partitions {
    /// The most partitions a cluster can have.
    pub const MAX: u32 = 1 << 16;
    /// The default, 1,024.
    pub const DEFAULT: Self = Self(1024);

    /// `count` partitions, or `None` unless it is a power of two from 1 to [`Partitions::MAX`].
    pub const fn new(count: u32) -> Option<Self> {
        if count.is_power_of_two() && count <= Self::MAX { Some(Self(count)) } else { None }
    }

    /// The number of partitions.
    pub const fn count(self) -> u32 {
        self.0
    }

    /// All partitions in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Partition> {
        (0..self.0).map(Partition)
    }

    /// The partition of a key: the top bits of its hash.
    pub fn of(self, key: &Key) -> Partition {
        let top = (key.hash128() >> 64) as u64;
        Partition(((u128::from(top) * u128::from(self.0)) >> 64) as u32)
    }
}

impl Key {
    /// A key from its parts.
    pub fn new(bucket: impl Into<BucketName>, name: impl Into<Arc<[u8]>>) -> Self {
        Self { bucket: bucket.into(), name: name.into() }
    }

    /// The key's place in the 128-bit hash space: xxh3-128 over the bucket's length (one byte), the
    /// bucket and the name.
    pub fn hash128(&self) -> u128 {
        let mut hasher = Xxh3::new();
        let bucket = self.bucket.as_str().as_bytes();
        hasher.update(&[bucket.len() as u8]);
        hasher.update(bucket);
        hasher.update(&self.name);
        hasher.digest128()
    }
}

impl RecordKey {
    /// The least record key of a partition: where its scan begins.
    pub fn start_of(partition: Partition) -> Self {
        Self { partition, key: Key { bucket: BucketName::least(), name: Arc::from([]) } }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q{}", self.0)
    }
}

impl fmt::Display for Key {
    /// `bucket/name`; bytes that are not printable ASCII are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.name.escape_ascii())
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}
