//! Tests of what membership sends and saves, with golden bytes of their own.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p cartwheel-protocol member` writes the file anew.

extern crate std;

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt::Debug;
use std::{env, fs};

use proptest::prelude::*;

use super::{member_samples as samples, *};
use crate::membership::Brief;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_bytes/v1_membership.txt");

/// One encoded sample, and how it is read and written again.
struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
    /// The bytes of what was read; nothing if it is refused.
    again: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
}

fn all() -> Vec<Sample> {
    let views = samples::views().into_iter().map(|(name, view)| {
        let bytes = encode_view(&view);
        assert_eq!(decode_view(&bytes), Ok(view), "{name}");
        Sample { name, bytes, again: |bytes| decode_view(bytes).map(|view| encode_view(&view)) }
    });
    let messages = samples::messages().into_iter().map(|(name, message)| {
        let bytes = encode_member_message(&message);
        assert_eq!(decode_member_message(&bytes), Ok(message), "{name}");
        let again = |bytes: &[u8]| decode_member_message(bytes).map(|m| encode_member_message(&m));
        Sample { name, bytes, again }
    });
    let saved = samples::saved().into_iter().map(|(name, saved)| {
        let bytes = encode_saved(&saved);
        assert_eq!(decode_saved(&bytes), Ok(saved), "{name}");
        Sample { name, bytes, again: |bytes| decode_saved(bytes).map(|saved| encode_saved(&saved)) }
    });
    views.chain(messages).chain(saved).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_member_bytes_are_written_and_read_the_same() {
    let file: String =
        all().iter().map(|sample| format!("{}: {}\n", sample.name, hex(&sample.bytes))).collect();
    if env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(FILE, &file).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(FILE).expect("the golden file is committed");
    for (is, was) in file.lines().zip(golden.lines()) {
        assert_eq!(is, was, "a sample is written otherwise now");
    }
    assert_eq!(file.lines().count(), golden.lines().count(), "a sample was added or removed");
}

proptest! {
    #[test]
    fn damaged_member_bytes_never_panic(at: prop::sample::Index, bit: usize, len: usize) {
        let all = all();
        let Sample { name, bytes, again } = at.get(&all);
        let mut damaged = bytes.clone();
        let bit = bit % (8 * bytes.len());
        damaged[bit / 8] ^= 1 << (bit % 8);
        match again(&damaged) {
            // Whatever is read can be written and read again, to the same.
            Ok(written) => prop_assert_eq!(again(&written), Ok(written)),
            Err(why) => prop_assert!(!why.to_string().is_empty()),
        }
        prop_assert!(again(&bytes[..len % bytes.len()]).is_err(), "{name} is read though cut short");
        let longer = [bytes.as_slice(), &[0]].concat();
        let is_refused = matches!(again(&longer), Err(DecodeError::Trailing { bytes: 1, .. }));
        prop_assert!(is_refused, "{name} is read with a byte too many");
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
        bytes[0] = VERSION;
        for again in [
            |bytes: &[u8]| decode_view(bytes).map(|view| encode_view(&view)),
            |bytes: &[u8]| decode_member_message(bytes).map(|m| encode_member_message(&m)),
            |bytes: &[u8]| decode_saved(bytes).map(|saved| encode_saved(&saved)),
        ] {
            if let Ok(written) = again(&bytes) {
                prop_assert_eq!(again(&written), Ok(written));
            }
        }
    }
}

#[test]
fn a_bit_of_a_layout_that_changed_is_noticed_wherever_it_is() {
    let bytes = encode_view(&samples::single());
    // Behind the format and the view's number stands the layout; behind it nothing but four zero bytes.
    let (start, end) = (1 + 1 + 1 + 1 + 8, bytes.len() - 4);
    for at in start..end {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(decode_view(&damaged).is_err(), "byte {at} was changed and nobody noticed");
    }
}

fn reason<T: Debug>(decoded: Result<T, DecodeError>) -> String {
    decoded.expect_err("an invariant is broken").to_string()
}

#[test]
fn a_view_that_cannot_be_is_refused_and_named() {
    let mut bytes = encode_view(&samples::single());
    bytes[1] = 2;
    assert!(reason(decode_view(&bytes)).contains("does not fit its layouts"));
    let mut bytes = encode_view(&samples::single());
    bytes[2] = 1;
    assert!(reason(decode_view(&bytes)).contains("does not fit its layouts"));
    // Before the settled wishes, which are none, and the three bytes of what no reap round has left behind.
    let at = bytes.len() - 6;
    bytes.splice(at..=at, [1].into_iter().chain([0; 8]));
    assert!(reason(decode_view(&bytes)).contains("has no next layout"));
    let joint = encode_view(&samples::joint());
    let loss = 2_u64.to_le_bytes();
    let at = joint.windows(9).rposition(|part| part == [&[1], &loss[..]].concat());
    let mut twice = joint.clone();
    twice.splice(
        at.expect("it is in there")..=at.expect("it is in there"),
        [2].into_iter().chain(loss),
    );
    assert!(reason(decode_view(&twice)).contains("accepted losses"));
}

#[test]
fn gossip_out_of_order_is_refused_and_named() {
    let (_, message) = &samples::messages()[0];
    let MemberMessage::Gossip { brief: Brief { glimpses, staged }, view } = message.clone() else {
        unreachable!("the first sample is gossip");
    };
    let gossip =
        |glimpses, staged| MemberMessage::Gossip { brief: Brief { glimpses, staged }, view };
    let mut turned = glimpses.to_vec();
    turned.reverse();
    let message = gossip(turned.into(), staged.clone());
    let bytes = encode_member_message(&message);
    assert!(reason(decode_member_message(&bytes)).contains("the nodes that gossip tells of"));
    let mut turned = staged.to_vec();
    turned.reverse();
    let message = gossip(glimpses, turned.into());
    let bytes = encode_member_message(&message);
    assert!(reason(decode_member_message(&bytes)).contains("ids of staged wishes"));
}
