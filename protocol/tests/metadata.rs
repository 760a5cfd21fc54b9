//! Metadata is bounded by how often processes started, not by how often a key was written; reap rounds take what ended
//! runs left; the paper's truncation bounds it by a number, and brings back what was replaced.

mod support;

use cartwheel_protocol::id::NodeId;
use proptest::prelude::*;

use support::metadata::{Work, Written};

/// Bytes of a record or a context that do not grow with anything, in format 1: generously.
const FIXED_BYTES: usize = 128;
/// Bytes of an entry of a version vector, in format 1: a random incarnation, and two small numbers.
const ENTRY_BYTES: usize = 8 + 2 + 3;
/// Bytes of a cancelled add_id.
const CANCELLED_BYTES: usize = 16;
/// Bytes of a live entry beside its content: its dot and ids.
const LIVE_BYTES: usize = 40;

/// One node restarts, or some writes go through it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Restart(u64),
    Write(u64, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..=3_u64).prop_map(Step::Restart),
        (1..=3_u64, 1..5_u8).prop_map(|(node, writes)| Step::Write(node, writes)),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn a_key_costs_an_entry_for_each_run_that_wrote_to_it_and_no_more(
        steps in steps(),
        work in prop_oneof![Just(Work::Register), Just(Work::Cart)],
    ) {
        let mut key = Written::new(work, None);
        // How many runs of each node have added something.
        let (mut runs, mut wrote) = (0, [false; 3]);
        key.write_in_turn(1);
        wrote[0] = true;
        runs += 1;
        for step in steps {
            match step {
                Step::Restart(node) => {
                    key.restart(NodeId(node));
                    wrote[node as usize - 1] = false;
                }
                Step::Write(node, writes) => {
                    for _ in 0..writes {
                        key.write(NodeId(node));
                    }
                    runs += usize::from(!std::mem::replace(&mut wrote[node as usize - 1], true));
                }
            }
        }
        let cost = key.cost();
        // A run whose only write was a cancellation made no dot.
        prop_assert!(cost.clock_entries <= runs, "{cost:?} after {runs} runs");
        if work == Work::Register {
            prop_assert_eq!(cost.clock_entries, runs);
        }
        let most = FIXED_BYTES + ENTRY_BYTES * cost.clock_entries;
        prop_assert!(cost.context_bytes <= most, "{cost:?}");
        let more = cost.content_bytes + CANCELLED_BYTES * cost.cancelled + LIVE_BYTES;
        prop_assert!(cost.record_bytes <= most + more, "{cost:?}");
    }
}

#[test]
fn ten_thousand_writes_and_a_hundred_rolling_restarts_cost_what_the_restarts_do() {
    for (work, clock_entries, expected) in [
        (Work::Register, None, 300),
        (Work::Cart, None, 300),
        (Work::Register, Some(10), 10),
        (Work::Cart, Some(10), 10),
    ] {
        let mut key = Written::new(work, clock_entries);
        for _ in 0..100 {
            key.write_in_turn(100);
            key.rolling_restart();
        }
        let cost = key.cost();
        // A copy that was merged into has what others dropped as well.
        let allowed = expected..=expected + 2;
        assert!(allowed.contains(&cost.clock_entries), "{work:?} {clock_entries:?}: {cost:?}");
    }
}

#[test]
fn a_reap_round_leaves_the_clock_entries_of_present_runs_and_what_is_live() {
    for work in [Work::Register, Work::Cart] {
        let mut key = Written::new(work, None);
        for _ in 0..20 {
            key.write_in_turn(100);
            key.rolling_restart();
        }
        key.write_in_turn(3);
        let (before, shown) = (key.cost(), key.read(NodeId(2)).0);
        key.reap(100);
        let after = key.cost();
        assert!(before.clock_entries > 50 && after.clock_entries <= 3, "{work:?}: {after:?}");
        assert_eq!(key.read(NodeId(2)).0, shown, "nothing that is live goes");
        assert_eq!(after.content_bytes, before.content_bytes);
        if work == Work::Cart {
            assert!(before.cancelled > 900 && (1..=50).contains(&after.cancelled), "{after:?}");
        }
    }
}
