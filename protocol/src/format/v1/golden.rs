//! The golden bytes of format 1: what earlier builds wrote must be read for ever, and be written the same.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p cartwheel-protocol golden` writes the file anew. Format 1 is settled,
//! so a difference is a bug unless a kind of message was added.

extern crate std;

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use std::{env, fs};

use super::{samples, *};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_bytes/v1.txt");

/// One sample: its name, its text, its bytes, and whether given bytes decode to it.
struct Sample {
    name: &'static str,
    text: String,
    bytes: Vec<u8>,
    is_read_from: fn(&[u8], usize) -> bool,
    at: usize,
}

fn all() -> Vec<Sample> {
    let mut all = Vec::new();
    for (at, (name, record)) in samples::records().iter().enumerate() {
        let is_read_from: fn(&[u8], usize) -> bool =
            |bytes, at| decode_record(bytes).as_ref() == Ok(&samples::records()[at].1);
        let (text, bytes) = (record.to_string(), encode_record(record));
        all.push(Sample { name, text, bytes, is_read_from, at });
    }
    for (at, (name, message)) in samples::messages().iter().enumerate() {
        let is_read_from: fn(&[u8], usize) -> bool =
            |bytes, at| decode_message(bytes).as_ref() == Ok(&samples::messages()[at].1);
        let (text, bytes) = (message.to_string(), encode_message(message));
        all.push(Sample { name, text, bytes, is_read_from, at });
    }
    for (at, (name, request)) in samples::requests().iter().enumerate() {
        let is_read_from: fn(&[u8], usize) -> bool =
            |bytes, at| decode_request(bytes).as_ref() == Ok(&samples::requests()[at].1);
        let (text, bytes) = (request.to_string(), encode_request(request));
        all.push(Sample { name, text, bytes, is_read_from, at });
    }
    for (at, (name, response)) in samples::responses().iter().enumerate() {
        let is_read_from: fn(&[u8], usize) -> bool =
            |bytes, at| decode_response(bytes).as_ref() == Ok(&samples::responses()[at].1);
        let (text, bytes) = (response.to_string(), encode_response(response));
        all.push(Sample { name, text, bytes, is_read_from, at });
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    let digits = digits.map(|two| core::str::from_utf8(two).expect("hexadecimal digits are ASCII"));
    digits.map(|two| u8::from_str_radix(two, 16).expect("hexadecimal digits")).collect()
}

/// `# text`, then `name: bytes`, for each sample.
fn file() -> String {
    all().iter().map(|s| format!("# {}\n{}: {}\n", s.text, s.name, hex(&s.bytes))).collect()
}

#[test]
fn golden_bytes_are_written_and_read_the_same() {
    if env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(FILE, file()).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(FILE).expect("the golden file is committed");
    let lines: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    let samples = all();
    assert_eq!(lines.len(), samples.len(), "a sample was added or removed");
    for (line, sample) in lines.iter().zip(&samples) {
        let (name, bytes) = line.split_once(": ").expect("a name and its bytes");
        assert_eq!(name, sample.name);
        assert_eq!(bytes, hex(&sample.bytes), "{name} is written otherwise now");
        assert!((sample.is_read_from)(&unhex(bytes), sample.at), "{name} is read otherwise now");
        let mut damaged = unhex(bytes);
        damaged.pop();
        assert!(!(sample.is_read_from)(&damaged, sample.at), "{name} is read though cut short");
    }
}

#[test]
fn each_kind_has_its_golden_bytes() {
    for kind in
        ["record", "put", "handoff", "sync on", "sync page", "forward ok", "request", "response"]
    {
        let named = all().iter().filter(|sample| sample.name.starts_with(kind)).count();
        assert!(named > 0, "no sample of {kind}");
    }
}
