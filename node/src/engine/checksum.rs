//! The checksum that every stored value carries, whatever the engine.
//!
//! A sealed value is the value followed by eight bytes: the 64-bit xxh3 of the value, little-endian,
//! seeded with the xxh3 of its key. The key is part of it so that a value which turns up under another key
//! (a page written to the wrong place) is damaged too.

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How much longer a sealed value is, in bytes.
pub const SEAL_BYTES: usize = size_of::<u64>();

/// The stored bytes are not what was sealed under this key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the stored value is damaged: its checksum does not fit")]
pub struct Damaged;

/// `value` with its checksum, to be stored under `key`.
#[must_use]
pub fn seal(key: &[u8], value: &[u8]) -> Bytes {
    let mut sealed = BytesMut::with_capacity(value.len() + SEAL_BYTES);
    sealed.put_slice(value);
    sealed.put_u64_le(checksum(key, value));
    sealed.freeze()
}

/// The value that was [sealed](seal) under `key`; no bytes are copied.
///
/// # Errors
/// [`Damaged`] when `sealed` was changed, cut, or sealed under another key.
pub fn open(key: &[u8], sealed: &Bytes) -> Result<Bytes, Damaged> {
    let at = sealed.len().checked_sub(SEAL_BYTES).ok_or(Damaged)?;
    let (value, sum) = sealed.split_at(at);
    if checksum(key, value).to_le_bytes() != sum {
        return Err(Damaged);
    }
    Ok(sealed.slice(..at))
}

fn checksum(key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens() {
        for value in [&b""[..], b"milk", &[7; 100_000]] {
            assert_eq!(open(b"k", &seal(b"k", value)).as_deref(), Ok(value));
        }
    }

    #[test]
    fn any_flipped_bit_is_damage() {
        let sealed = seal(b"k", b"milk");
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(b"k", &Bytes::from(bytes)), Err(Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_value_is_damage() {
        let sealed = seal(b"k", b"milk");
        for len in 0..sealed.len() {
            assert_eq!(open(b"k", &sealed.slice(..len)), Err(Damaged), "{len} bytes");
        }
    }

    #[test]
    fn another_keys_value_is_damage() {
        assert_eq!(open(b"l", &seal(b"k", b"milk")), Err(Damaged));
    }
}
