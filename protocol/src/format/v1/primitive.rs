//! What the mirrors are made of.

use alloc::{borrow::Cow, sync::Arc, vec::Vec};

use postcard::{fixint, ser_flavors::Flavor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DecodeError;

/// Bytes, written and read as one piece. Borrowed from the input when decoded.
pub(super) struct Bytes<'a>(pub(super) Cow<'a, [u8]>);

/// 64 random bits: eight bytes, for a varint of them would take ten.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Random64(#[serde(with = "fixint::le")] pub(super) u64);

/// A 128-bit id or digest: sixteen bytes.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Id128(#[serde(with = "fixint::le")] pub(super) u128);

/// A sequence that is written from an iterator of known length. It reads back as a `Vec`.
pub(super) struct Each<I>(pub(super) I);

/// A buffer that grows.
pub(super) struct Growing(pub(super) Vec<u8>);

impl<'a> Bytes<'a> {
    pub(super) fn borrowed(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }

    pub(super) fn shared(&self) -> Arc<[u8]> {
        Arc::from(&*self.0)
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Self::borrowed)
    }
}

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Each<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

impl Flavor for Growing {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// `items` if each one is below the next, else an error that says `why`.
pub(super) fn ascending<T, K: Ord>(
    items: Vec<T>,
    key: impl Fn(&T) -> K,
    why: &'static str,
) -> Result<Vec<T>, DecodeError> {
    if items.is_sorted_by(|a, b| key(a) < key(b)) {
        Ok(items)
    } else {
        Err(DecodeError::Invalid(why))
    }
}
