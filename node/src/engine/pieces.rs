//! How one value becomes entries of sled's tree.
//!
//! sled keeps a value that is too large for its log in a file of its own that it never fsyncs, so no entry
//! may become large: a value above [`PIECE_BYTES`] is cut.
//!
//! ```text
//! 0x00 key                        → 0x00 value                 a value that fits
//!                                 → 0x01 length of the value   a value in pieces (u64, big-endian)
//! 0x01 length of key, key, number → bytes of the value         a piece (u16 and u32, big-endian)
//! 0x02                            → number of the last commit  (u64, big-endian), see `ledger`
//! ```
//!
//! The entries of one value are written in one sled batch. The first space is in the order of the keys.

use bytes::{BufMut, Bytes, BytesMut};

use super::EngineError;

/// The longest entry of a value in sled, in bytes. A leaf of sled's tree has at most 17 entries, and
/// must stay under a quarter of a segment.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// The longest key, in bytes.
pub(super) const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// First byte of the entries in the order of their keys.
const HEADS: u8 = 0;
/// First byte of the entries that are pieces.
const PIECES: u8 = 1;
/// The entry key of the number of the last commit.
pub(super) const COMMITS: [u8; 1] = [2];

/// First byte of a head that holds the value.
const WHOLE: u8 = 0;
/// First byte of a head that holds the value's length.
const CUT: u8 = 1;

/// What a head says.
pub(super) enum Head {
    /// The value itself.
    Whole(Bytes),
    /// A value of so many bytes, in pieces.
    Cut(usize),
}

impl Head {
    /// Reads a head as [`head_of`] wrote it.
    pub(super) fn parse(entry: &[u8]) -> Result<Self, EngineError> {
        match entry.split_first() {
            Some((&WHOLE, value)) => Ok(Self::Whole(Bytes::copy_from_slice(value))),
            Some((&CUT, length)) => Self::cut(length),
            Some(_) | None => Err(EngineError::Damaged("an entry of no known kind".into())),
        }
    }

    /// How many pieces belong to the head whose entry is `entry`.
    pub(super) fn pieces_of(entry: &[u8]) -> Result<u32, EngineError> {
        match entry.split_first() {
            Some((&CUT, length)) => Self::cut(length).map(|head| head.pieces()),
            Some(_) | None => Ok(0),
        }
    }

    fn cut(length: &[u8]) -> Result<Self, EngineError> {
        let damaged = || EngineError::Damaged("the length of a value in pieces".into());
        let length = u64::from_be_bytes(length.try_into().map_err(|_| damaged())?);
        let length = usize::try_from(length).map_err(|_| damaged())?;
        u32::try_from(length.div_ceil(PIECE_BYTES)).map_err(|_| damaged())?;
        Ok(Self::Cut(length))
    }

    fn pieces(&self) -> u32 {
        match self {
            Self::Whole(_) => 0,
            Self::Cut(length) => u32::try_from(length.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX),
        }
    }
}

/// The entry key of the head of `key`.
pub(super) fn head_key(key: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(1 + key.len());
    entry.push(HEADS);
    entry.extend_from_slice(key);
    entry
}

/// The entry key before which all heads stand.
pub(super) fn end_of_heads() -> Vec<u8> {
    vec![PIECES]
}

/// The first byte of the entry keys of all pieces.
pub(super) fn all_pieces() -> [u8; 1] {
    [PIECES]
}

/// The key of a head's entry key.
pub(super) fn key_of(head_key: &[u8]) -> &[u8] {
    head_key.get(1..).unwrap_or_default()
}

/// The entry key of piece `number` of `key`, which is at most [`MAX_KEY_BYTES`] long.
pub(super) fn piece_key(key: &[u8], number: u32) -> Vec<u8> {
    let mut entry = Vec::with_capacity(1 + 2 + key.len() + 4);
    entry.put_u8(PIECES);
    entry.put_u16(u16::try_from(key.len()).expect("the engine refuses longer keys"));
    entry.put_slice(key);
    entry.put_u32(number);
    entry
}

/// The head's entry for `value`, and its pieces in order.
pub(super) fn head_of(value: &[u8]) -> (Vec<u8>, std::slice::Chunks<'_, u8>) {
    if value.len() < PIECE_BYTES {
        let mut entry = Vec::with_capacity(1 + value.len());
        entry.push(WHOLE);
        entry.extend_from_slice(value);
        return (entry, [].chunks(PIECE_BYTES));
    }
    let mut entry = Vec::with_capacity(1 + 8);
    entry.push(CUT);
    entry.put_u64(value.len() as u64);
    (entry, value.chunks(PIECE_BYTES))
}

/// Puts a value of `length` bytes together from what `piece` finds.
pub(super) fn assemble<P: AsRef<[u8]>>(
    key: &[u8],
    length: usize,
    mut piece: impl FnMut(&[u8]) -> Result<Option<P>, EngineError>,
) -> Result<Bytes, EngineError> {
    let mut value = BytesMut::new();
    for number in 0..Head::Cut(length).pieces() {
        let damaged = || EngineError::Damaged(format!("piece {number} of a value is missing"));
        let bytes = piece(&piece_key(key, number))?.ok_or_else(damaged)?;
        value.put_slice(bytes.as_ref());
    }
    if value.len() != length {
        return Err(EngineError::Damaged(format!(
            "a value of {length} bytes has {} in its pieces",
            value.len()
        )));
    }
    Ok(value.freeze())
}
