//! Contexts: what a client has seen of a key, handed out by a read and handed back by a write (paper §4.4).
//!
//! A forged or foreign context would silently discard later writes: it covers dots that nobody showed the
//! client. So a context is bound to its cluster, bucket and key and is checksummed (rule V7).

use alloc::vec::Vec;
use core::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::{id::ClusterId, key::Key, version::VersionVector};

/// What a client has seen of one key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Context {
    binding: Binding,
    seen: VersionVector,
}

/// The 64-bit hash of a cluster and a key that a context belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Binding(u64);

/// The bytes are no context: cut short, changed, or of a format that this build does not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DamagedContext;

/// The first byte of an encoded context.
const FORMAT: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

impl Binding {
    /// The binding of a key in a cluster.
    pub fn new(cluster: ClusterId, key: &Key) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&cluster.0.to_le_bytes());
        hasher.update(&key.hash128().to_le_bytes());
        Self(hasher.digest())
    }
}

impl Context {
    /// What `seen` covers of the key that `binding` names.
    pub fn new(binding: Binding, seen: VersionVector) -> Self {
        Self { binding, seen }
    }

    /// The writes that it covers.
    pub fn seen(&self) -> &VersionVector {
        &self.seen
    }

    /// Whether it belongs to that key of that cluster.
    pub fn is_bound_to(&self, binding: Binding) -> bool {
        self.binding == binding
    }

    /// Bytes for a client to keep, opaque to it: format, binding, clock, checksum.
    pub fn encode(&self) -> Vec<u8> {
        let clock = crate::format::v1::encode_version_vector(&self.seen);
        let mut bytes = Vec::with_capacity(1 + 8 + clock.len() + CHECKSUM_BYTES);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.binding.0.to_le_bytes());
        bytes.extend_from_slice(&clock);
        let checksum = xxh3_64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads what [`Context::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DamagedContext> {
        let (body, checksum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .filter(|(body, checksum)| xxh3_64(body) == u64::from_le_bytes(**checksum))
            .ok_or(DamagedContext)?;
        let _ = checksum;
        let ([format], rest) = body.split_first_chunk::<1>().ok_or(DamagedContext)?;
        let (binding, clock) = rest.split_first_chunk::<8>().ok_or(DamagedContext)?;
        if *format != FORMAT {
            return Err(DamagedContext);
        }
        let seen = crate::format::v1::decode_version_vector(clock).map_err(|_| DamagedContext)?;
        Ok(Self { binding: Binding(u64::from_le_bytes(*binding)), seen })
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "context {}", self.seen)
    }
}

impl fmt::Display for DamagedContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the context is damaged; read the key again and use the context of that read")
    }
}

impl core::error::Error for DamagedContext {}
