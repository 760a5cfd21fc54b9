//! Format 1: postcard over the mirrors in this folder.
//!
//! Random numbers (ids of nodes, runs, requests, writes) are fixed little-endian, small ones are varints.
//! Encoding borrows from the live values; decoding borrows from the input until the live value is built.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::DecodeError;
use crate::{
    key::RecordKey,
    membership::{MemberMessage, Saved},
    message::Message,
    record::Record,
    request::{Request, Response},
    version::VersionVector,
    view::View,
};

mod key;
mod layout;
mod membership;
mod message;
mod object;
mod primitive;
mod reap;
mod request;
mod tree;
mod wish;

/// The number of this format, the first byte of everything encoded in it.
pub const VERSION: u8 = 1;

/// A version vector, without a format byte: it is always a part of something that has one.
pub fn encode_version_vector(seen: &VersionVector) -> Vec<u8> {
    append(Vec::with_capacity(1 + 20 * seen.len()), &object::seen(seen))
}

/// Reads what [`encode_version_vector`] wrote.
pub fn decode_version_vector(bytes: &[u8]) -> Result<VersionVector, DecodeError> {
    object::into_seen(parse("version vector", bytes)?)
}

/// What a store keeps for a key.
pub fn encode_record(record: &Record) -> Vec<u8> {
    frame(object::size_hint(&record.object), &object::record(record))
}

/// Reads what [`encode_record`] wrote.
pub fn decode_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    object::into_record(parse("record", content(bytes)?)?)
}

/// A whole message: the sender's view, the partition and what it says.
pub fn encode_message(message: &Message) -> Vec<u8> {
    frame(message::size_hint(message), &message::message(message))
}

/// Reads what [`encode_message`] wrote.
pub fn decode_message(bytes: &[u8]) -> Result<Message, DecodeError> {
    message::into_message(parse("message", content(bytes)?)?)
}

/// A client's request.
pub fn encode_request(asked: &Request) -> Vec<u8> {
    frame(request::size_hint(asked), &request::request(asked))
}

/// Reads what [`encode_request`] wrote.
pub fn decode_request(bytes: &[u8]) -> Result<Request, DecodeError> {
    request::into_request(parse("request", content(bytes)?)?)
}

/// What a client is told.
pub fn encode_response(response: &Response) -> Vec<u8> {
    frame(request::response_size_hint(response), &request::response(response))
}

/// Reads what [`encode_response`] wrote.
pub fn decode_response(bytes: &[u8]) -> Result<Response, DecodeError> {
    request::into_response(parse("response", content(bytes)?)?)
}

/// A view whole: its layouts and what its change is about. Preference lists are computed again when it is read.
pub fn encode_view(view: &View) -> Vec<u8> {
    frame(layout::view_size_hint(view), &layout::view(view))
}

/// Reads what [`encode_view`] wrote.
pub fn decode_view(bytes: &[u8]) -> Result<View, DecodeError> {
    layout::into_view(parse("view", content(bytes)?)?)
}

/// What one node's membership tells another's.
pub fn encode_member_message(message: &MemberMessage) -> Vec<u8> {
    frame(membership::size_hint(message), &membership::message(message))
}

/// Reads what [`encode_member_message`] wrote.
pub fn decode_member_message(bytes: &[u8]) -> Result<MemberMessage, DecodeError> {
    membership::into_message(parse("member message", content(bytes)?)?)
}

/// What a node's membership must find again after a crash.
pub fn encode_saved(saved: &Saved) -> Vec<u8> {
    frame(layout::view_size_hint(&saved.view), &membership::saved(saved))
}

/// Reads what [`encode_saved`] wrote.
pub fn decode_saved(bytes: &[u8]) -> Result<Saved, DecodeError> {
    membership::into_saved(parse("saved membership", content(bytes)?)?)
}

/// Where a record stands in a store of bytes: the partition (four bytes, big-endian), the bucket, a zero
/// byte, the key's name. No bucket's name holds a zero byte, so these bytes are ordered exactly as
/// [`RecordKey`] is, and [`RecordKey::start_of`] comes before all of its partition. It is the key of a
/// record and has no format byte: it would be the same in all of a store.
pub fn record_key_bytes(key: &RecordKey) -> Vec<u8> {
    key::record_key_bytes(key)
}

/// Reads what [`record_key_bytes`] wrote, of a key that can be stored.
pub fn parse_record_key(bytes: &[u8]) -> Result<RecordKey, DecodeError> {
    key::parse_record_key(bytes)
}

/// About how many bytes a message takes, encoded or in memory.
pub fn message_size_hint(message: &Message) -> usize {
    message::size_hint(message)
}

/// About how many bytes a request takes, encoded or in memory.
pub fn request_size_hint(request: &Request) -> usize {
    request::size_hint(request)
}

fn frame(size_hint: usize, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + size_hint);
    bytes.push(VERSION);
    append(bytes, value)
}

fn append(bytes: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::serialize_with_flavor(value, primitive::Growing(bytes))
        .expect("a mirror of format 1 gives its lengths and never fails to encode")
}

fn content(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    match bytes {
        [] => Err(DecodeError::Empty),
        [VERSION, content @ ..] => Ok(content),
        [other, ..] => Err(DecodeError::Format(*other)),
    }
}

fn parse<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError::Trailing { what, bytes: rest.len() }),
        Err(why) => Err(DecodeError::Malformed { what, why }),
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod member_samples;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
