//! Keys: as part of a message, and as the key of a record in a store of bytes.

use alloc::{sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{DecodeError, primitive::Bytes};
use crate::{
    bucket::BucketName,
    key::{Key as LiveKey, Partition, RecordKey},
};

#[derive(Deserialize, Serialize)]
pub(super) struct Key<'a> {
    bucket: &'a str,
    #[serde(borrow)]
    name: Bytes<'a>,
}

/// What ends the bucket's name in the key of a record. It sorts below every byte of a name.
const END_OF_BUCKET: u8 = 0;

pub(super) fn key(key: &LiveKey) -> Key<'_> {
    Key { bucket: key.bucket.as_str(), name: Bytes::borrowed(&key.name) }
}

pub(super) fn into_key(key: &Key<'_>) -> Result<LiveKey, DecodeError> {
    Ok(LiveKey { bucket: bucket_name(key.bucket)?, name: key.name.shared() })
}

pub(super) fn into_maybe_key(key: Option<&Key<'_>>) -> Result<Option<LiveKey>, DecodeError> {
    key.map(into_key).transpose()
}

pub(super) fn record_key_bytes(key: &RecordKey) -> Vec<u8> {
    let bucket = key.key.bucket.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(4 + bucket.len() + 1 + key.key.name.len());
    bytes.extend_from_slice(&key.partition.0.to_be_bytes());
    bytes.extend_from_slice(bucket);
    bytes.push(END_OF_BUCKET);
    bytes.extend_from_slice(&key.key.name);
    bytes
}

pub(super) fn parse_record_key(bytes: &[u8]) -> Result<RecordKey, DecodeError> {
    let cut = DecodeError::Invalid("a record's key is cut short");
    let (partition, rest) = bytes.split_first_chunk::<4>().ok_or(cut.clone())?;
    let end = rest.iter().position(|byte| *byte == END_OF_BUCKET).ok_or(cut)?;
    let bucket = core::str::from_utf8(&rest[..end])
        .map_err(|_| DecodeError::Invalid("a bucket's name is not UTF-8"))?;
    let name: Arc<[u8]> = Arc::from(&rest[end + 1..]);
    let partition = Partition(u32::from_be_bytes(*partition));
    Ok(RecordKey { partition, key: LiveKey { bucket: bucket_name(bucket)?, name } })
}

pub(super) fn bucket_name(name: &str) -> Result<BucketName, DecodeError> {
    BucketName::new(name)
        .ok_or(DecodeError::Invalid("a bucket's name has characters that are not allowed"))
}
