//! What one key costs beside its content after 10,000 writes and 100 rolling restarts of its three owners, with whole
//! clocks, with the paper's truncation, and after reap rounds that took all add_ids but those of the last 100 writes.
//!
//! `cargo run --release -p cartwheel-protocol --example metadata`

#![expect(clippy::print_stdout, reason = "the table is the output")]

#[path = "../tests/support/mod.rs"]
mod support;

use support::metadata::{Cost, Work, Written};

const WRITES: u64 = 10_000;
const RESTARTS: u64 = 100;
/// The add_ids of so many of the last writes are too young to go.
const KEPT: u64 = 100;

fn main() {
    println!(
        "| key | rolling restarts | truncation | reaped | clock entries | context bytes | record bytes | of it content | of it cancelled add_ids |"
    );
    println!("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |");
    for work in [Work::Register, Work::Cart] {
        for restarts in [0, RESTARTS] {
            for (clock_entries, is_reaped) in [(None, false), (None, true), (Some(10), false)] {
                let Cost {
                    clock_entries: entries,
                    context_bytes,
                    record_bytes,
                    content_bytes,
                    cancelled,
                } = written(work, restarts, clock_entries, is_reaped);
                let reaped = if is_reaped { "yes" } else { "no" };
                let truncation = clock_entries.map_or("off".to_owned(), |limit| limit.to_string());
                println!(
                    "| {work:?} | {restarts} | {truncation} | {reaped} | {entries} | {context_bytes} | {record_bytes} | \
                     {content_bytes} | {cancelled} |"
                );
            }
        }
    }
}

fn written(work: Work, restarts: u64, clock_entries: Option<usize>, is_reaped: bool) -> Cost {
    let mut key = Written::new(work, clock_entries);
    let rounds = restarts.max(1);
    for _ in 0..rounds {
        if restarts > 0 {
            key.rolling_restart();
        }
        key.write_in_turn(WRITES / rounds);
    }
    if is_reaped {
        key.reap(KEPT);
    }
    key.cost()
}
