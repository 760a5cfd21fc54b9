use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt::Debug;

use proptest::prelude::*;

use super::{samples::*, *};
use crate::key::Partition;

/// A decoder and the encoder that it belongs to.
struct Codec<T: 'static> {
    encode: fn(&T) -> Vec<u8>,
    decode: fn(&[u8]) -> Result<T, DecodeError>,
}

const RECORD: Codec<Record> = Codec { encode: encode_record, decode: decode_record };
const MESSAGE: Codec<Message> = Codec { encode: encode_message, decode: decode_message };
const REQUEST: Codec<Request> = Codec { encode: encode_request, decode: decode_request };
const RESPONSE: Codec<Response> = Codec { encode: encode_response, decode: decode_response };

impl<T: Debug + PartialEq> Codec<T> {
    fn round_trips(&self, value: &T) -> Result<(), TestCaseError> {
        let bytes = (self.encode)(value);
        prop_assert_eq!(bytes[0], VERSION);
        let decoded = (self.decode)(&bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(value));
        Ok(())
    }

    fn copy(&self, value: &T) -> T {
        (self.decode)(&(self.encode)(value)).expect("what was encoded can be decoded")
    }

    /// Whatever the bytes, there is a value that encodes and decodes to itself, or an error with a text.
    fn is_total(&self, bytes: &[u8]) -> Result<(), TestCaseError> {
        match (self.decode)(bytes) {
            Ok(value) => prop_assert_eq!(&self.copy(&value), &value),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        Ok(())
    }

    fn survives_damage(&self, value: &T, bit: usize, len: usize) -> Result<(), TestCaseError> {
        let mut bytes = (self.encode)(value);
        let bit = bit % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        self.is_total(&bytes)?;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let cut = &bytes[..len % bytes.len()];
        prop_assert!((self.decode)(cut).is_err(), "cut to {} bytes, it is still read", cut.len());
        bytes.push(0);
        let is_refused =
            matches!((self.decode)(&bytes), Err(DecodeError::Trailing { bytes: 1, .. }));
        prop_assert!(is_refused, "a byte too many is taken");
        Ok(())
    }
}

proptest! {
    #[test]
    fn version_vectors_round_trip(seen in any_seen()) {
        let bytes = encode_version_vector(&seen);
        prop_assert_eq!(decode_version_vector(&bytes), Ok(seen));
    }

    #[test]
    fn records_round_trip(record in any_record()) {
        RECORD.round_trips(&record)?;
    }

    #[test]
    fn messages_round_trip(message in any_message()) {
        MESSAGE.round_trips(&message)?;
    }

    #[test]
    fn requests_round_trip(request in any_request()) {
        REQUEST.round_trips(&request)?;
    }

    #[test]
    fn responses_round_trip(response in any_response()) {
        RESPONSE.round_trips(&response)?;
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(seen) = decode_version_vector(&bytes) {
            prop_assert_eq!(decode_version_vector(&encode_version_vector(&seen)), Ok(seen));
        }
        for first in [None, Some(VERSION)] {
            if let (Some(first), Some(byte)) = (first, bytes.first_mut()) {
                *byte = first;
            }
            RECORD.is_total(&bytes)?;
            MESSAGE.is_total(&bytes)?;
            REQUEST.is_total(&bytes)?;
            RESPONSE.is_total(&bytes)?;
        }
        if let Ok(key) = parse_record_key(&bytes) {
            prop_assert_eq!(record_key_bytes(&key), bytes);
        }
    }

    #[test]
    fn damaged_records_never_panic(record in any_record(), bit: usize, len: usize) {
        RECORD.survives_damage(&record, bit, len)?;
    }

    #[test]
    fn damaged_messages_never_panic(message in any_message(), bit: usize, len: usize) {
        MESSAGE.survives_damage(&message, bit, len)?;
    }

    #[test]
    fn damaged_requests_never_panic(request in any_request(), bit: usize, len: usize) {
        REQUEST.survives_damage(&request, bit, len)?;
    }

    #[test]
    fn record_keys_are_ordered_as_their_bytes(a in any_record_key(), b in any_record_key()) {
        let (a_bytes, b_bytes) = (record_key_bytes(&a), record_key_bytes(&b));
        prop_assert_eq!(a.cmp(&b), a_bytes.cmp(&b_bytes));
        let start = record_key_bytes(&RecordKey::start_of(b.partition));
        prop_assert_eq!(a_bytes < start, a.partition < b.partition);
        prop_assert_eq!(parse_record_key(&a_bytes), Ok(a));
    }
}

#[test]
fn nothing_and_other_formats_are_named() {
    assert_eq!(decode_record(&[]), Err(DecodeError::Empty));
    let mut bytes = encode_record(&Record::default());
    bytes[0] = 9;
    let refused = decode_record(&bytes).expect_err("there is no format 9");
    assert_eq!(refused, DecodeError::Format(9));
    assert_eq!(refused.to_string(), "format 9; this build reads 1");
}

/// Encodes a mirror that breaks one invariant, as only a bug or an attacker would.
fn reason<T: Debug>(decode: fn(&[u8]) -> Result<T, DecodeError>, bytes: Vec<u8>) -> String {
    decode(&bytes).expect_err("an invariant is broken").to_string()
}

#[test]
fn broken_invariants_are_refused_and_named() {
    let dot = |incarnation: u64, counter: u64| {
        let mut bytes = incarnation.to_le_bytes().to_vec();
        bytes.extend([1, counter as u8]);
        bytes
    };
    let seen = |dots: &[Vec<u8>]| [vec![dots.len() as u8], dots.concat()].concat();
    let record = |seen: Vec<u8>, entries: Vec<u8>, cancelled: Vec<u8>, owed: Vec<u8>| {
        [vec![VERSION], seen, entries, cancelled, vec![0], owed, vec![0]].concat()
    };
    let none = || vec![0];
    let addition = |at: Vec<u8>| [at, vec![1], vec![0; 16], vec![1, b'x', 1]].concat();
    let good = record(
        seen(&[dot(1, 1), dot(2, 1)]),
        [vec![2], addition(dot(1, 1)), addition(dot(2, 1))].concat(),
        none(),
        none(),
    );
    assert!(decode_record(&good).is_ok(), "{:?}", decode_record(&good));

    let swapped = record(seen(&[dot(2, 1), dot(1, 1)]), none(), none(), none());
    assert!(reason(decode_record, swapped).contains("actors of a version vector"));
    let twice = record(seen(&[dot(1, 1), dot(1, 2)]), none(), none(), none());
    assert!(reason(decode_record, twice).contains("actors of a version vector"));
    let zero = record(seen(&[dot(1, 0)]), none(), none(), none());
    assert!(reason(decode_record, zero).contains("counter is zero"));
    let entries = [vec![2], addition(dot(1, 1)), addition(dot(1, 1))].concat();
    let same_dot = record(none(), entries, none(), none());
    assert!(reason(decode_record, same_dot).contains("entries of an object"));
    let cancelled = [vec![2], vec![5; 16], vec![4; 16]].concat();
    let unsorted = record(none(), none(), cancelled, none());
    assert!(reason(decode_record, unsorted).contains("cancelled add_ids"));
    let view = [vec![1, 1, 0], vec![0; 8]].concat();
    let owes_nobody = record(none(), none(), none(), [vec![1], view, none()].concat());
    assert!(reason(decode_record, owes_nobody).contains("owes nobody"));
}

#[test]
fn a_bucket_that_cannot_be_is_refused() {
    let mut bytes = encode_request(&requests()[0].1);
    bytes[2] = b'D';
    assert!(reason(decode_request, bytes).contains("characters that are not allowed"));
    let key = RecordKey { partition: Partition(1), key: key("default", "k") };
    let mut bytes = record_key_bytes(&key);
    bytes[4] = b'D';
    assert!(reason(parse_record_key, bytes).contains("characters that are not allowed"));
    let empty_bucket = record_key_bytes(&RecordKey::start_of(Partition(1)));
    assert!(reason(parse_record_key, empty_bucket).contains("characters that are not allowed"));
    assert!(reason(parse_record_key, vec![0, 0, 0]).contains("cut short"));
}

#[test]
fn a_damaged_context_is_refused_and_named() {
    let put = &requests()[2].1;
    let bytes = encode_request(put);
    let context = context().encode();
    let at = bytes.windows(context.len()).position(|part| part == context).expect("it is in there");
    let mut damaged = bytes;
    damaged[at + 3] ^= 1;
    assert_eq!(decode_request(&damaged), Err(DecodeError::DamagedContext));
}
