//! Cart histories in pairs: `X-ok.jsonl` is sound, `X-bad.jsonl` differs in one point and is
//! rejected for that point and for nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cartwheel_checker::cart::{self, Results};
use cartwheel_checker::{Verdict, read_history};

/// What is wrong with the bad history of each pair: the class, and the addition or cart.
const INVALID: [(&str, &str, &str); 19] = [
    ("lost", "lost", "a2"),
    ("lost-cancel", "lost", "a1"),
    ("lost-change", "lost", "a2"),
    ("resurrected", "resurrected", "a1"),
    ("resurrected-strict", "resurrected", "a1"),
    ("phantom", "phantom", "a9"),
    ("phantom-quantity", "phantom", "a1"),
    ("phantom-cart", "phantom", "a2"),
    ("duplicated", "duplicated", "a1"),
    ("denied", "denied", "a2"),
    ("diverged", "diverged", "c1"),
    ("diverged-beneath", "diverged", "c1"),
    ("stale-strict", "stale-strict", "a1"),
    ("stale-strict-later", "stale-strict", "a1"),
    ("stale-strict-overlap", "stale-strict", "a1"),
    ("stale-strict-cancel", "stale-strict", "a1"),
    ("stale-strict-failed-cancel", "stale-strict", "a1"),
    ("stale-strict-seen-again", "stale-strict", "a1"),
    ("stale-strict-final", "stale-strict", "a1"),
];

/// Histories that break a promise which nobody made: reported, and valid.
const REPORTED: [(&str, &str, &str); 3] = [
    ("read-your-writes", "read-your-writes", "a2"),
    ("read-your-writes-cancel", "read-your-writes", "a2"),
    ("monotonic-reads", "monotonic-reads", "a2"),
];

/// Bad histories that say nothing, and why.
const UNKNOWN: [(&str, &str); 8] = [
    ("unread", "1 carts have no final read after their last acknowledgement: c1"),
    ("unread-later", "1 carts have no final read after their last acknowledgement: c1"),
    ("unread-failed", "1 carts have final reads that failed and were not made again: c1"),
    ("senseless-busy", "line 4: process 1 is still busy and begins another"),
    ("senseless-reused", "line 5: process 1 had an unknown outcome and goes on"),
    ("senseless-uninvited", "line 3: process 1 completes what it did not begin"),
    ("senseless-shape", "line 3: the value is not what cancel takes"),
    ("senseless-operation", "line 3: drop is no cart operation (add, cancel, change, read)"),
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The verdict from the file, which must be the one from its events in memory.
fn check(name: &str) -> Results {
    let path = data().join(format!("{name}.jsonl"));
    let results = cart::check_file(&path);
    let events = read_history(&path).expect("every line is an event");
    let again = cart::check(&events);
    // Files have lines, lists of events have indices, and each says in its own words what is odd.
    assert_eq!(again.error.is_some(), results.error.is_some(), "{name}");
    let again = Results { error: results.error.clone(), ..again };
    assert_eq!(again, results, "{name}");
    results
}

/// Everything that makes these results invalid.
fn faults(results: &Results) -> Vec<(&'static str, String)> {
    let lists = [
        ("lost", &results.lost),
        ("resurrected", &results.resurrected),
        ("phantom", &results.phantom),
        ("duplicated", &results.duplicated),
        ("denied", &results.denied),
        ("stale-strict", &results.stale_strict),
    ];
    let listed = lists.iter().flat_map(|(class, names)| names.iter().map(|n| (*class, n.clone())));
    let diverged = results.diverged.iter().map(|diverged| ("diverged", diverged.cart.clone()));
    listed.chain(diverged).collect()
}

#[test]
fn good_histories_are_valid_and_bad_ones_invalid_for_the_named_reason() {
    for (name, class, what) in INVALID {
        let good = check(&format!("{name}-ok"));
        assert_eq!((good.valid, faults(&good)), (Verdict::Valid, Vec::new()), "{name}");
        let bad = check(&format!("{name}-bad"));
        let found = (bad.valid, faults(&bad));
        assert_eq!(found, (Verdict::Invalid, vec![(class, what.to_owned())]), "{name}");
    }
}

#[test]
fn what_a_process_misses_of_what_it_wrote_or_saw_is_reported() {
    for (pair, class, add_id) in REPORTED {
        for (name, expected) in
            [(format!("{pair}-ok"), vec![]), (format!("{pair}-bad"), vec![add_id.to_owned()])]
        {
            let results = check(&name);
            assert_eq!((results.valid, faults(&results)), (Verdict::Valid, Vec::new()), "{name}");
            let lists = [
                ("read-your-writes", results.read_your_writes, results.read_your_writes_count),
                ("monotonic-reads", results.monotonic_reads, results.monotonic_reads_count),
            ];
            for (other, list, count) in lists {
                let expected = if other == class { expected.clone() } else { vec![] };
                assert_eq!((list.len() as u64, list), (count, expected), "{name}: {other}");
            }
        }
    }
}

#[test]
fn histories_that_do_not_tell_are_unknown_and_say_why() {
    for (name, reason) in UNKNOWN {
        assert_eq!(check(&format!("{name}-ok")).valid, Verdict::Valid, "{name}");
        let bad = check(&format!("{name}-bad"));
        assert_eq!((bad.valid, bad.error.as_deref()), (Verdict::Unknown, Some(reason)), "{name}");
    }
}

#[test]
fn every_pair_in_the_folder_is_tested() {
    let tested: BTreeSet<String> = INVALID
        .iter()
        .map(|(name, ..)| *name)
        .chain(UNKNOWN.iter().map(|(name, _)| *name))
        .chain(REPORTED.iter().map(|(name, ..)| *name))
        .flat_map(|name| [format!("{name}-ok.jsonl"), format!("{name}-bad.jsonl")])
        .collect();
    let files = std::fs::read_dir(data()).expect("the folder").map(|file| file.expect("a file"));
    let present: BTreeSet<String> = files
        .map(|file| file.file_name().into_string().expect("a name"))
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    assert_eq!(present, tested);
}

#[test]
fn what_is_no_fault_is_reported() {
    let recovered = check("denied-ok");
    assert_eq!(recovered.recovered, ["a2"], "unknown outcome, found later");
    assert_eq!((recovered.attempt_count, recovered.acknowledged_count), (2, 1));
    assert_eq!(recovered.ops["add"].info_count, 1);
    assert_eq!(recovered.availability.ok_fraction, Some(0.5));

    let missed = check("stale-strict-ok");
    assert_eq!(
        (missed.stale.as_slice(), missed.worst_stale_latency_ms),
        (["a1".into()].as_slice(), 1)
    );
    assert_eq!(missed.worst_stale[0].promised_index, Some(1), "the acknowledgement");
    assert_eq!(missed.worst_stale[0].read_index, Some(2), "the read's invocation");

    let lingering = check("resurrected-strict-ok");
    assert_eq!(lingering.stale, ["a1"], "visible after a sloppy cancellation, before quiet");
}

#[test]
fn results_have_the_promised_keys() {
    let results = serde_json::to_value(check("lost-bad")).expect("JSON");
    assert_eq!(results["valid?"], false);
    assert_eq!((&results["lost-count"], &results["lost"][0]), (&1.into(), &"a2".into()));
    assert_eq!(results["anomalies"][0]["class"], "lost");
    assert_eq!(results["anomalies"][0]["cart"], "c1");
    for class in ["resurrected", "phantom", "duplicated", "recovered", "diverged", "stale"] {
        assert_eq!(results[format!("{class}-count")], 0, "{class}");
        assert_eq!(results[class], serde_json::json!([]), "{class}");
    }
    for key in ["attempt-count", "acknowledged-count", "worst-stale-latency-ms", "ops"] {
        assert!(!results[key].is_null(), "{key}");
    }
    assert!(results["availability"]["longest-gap-ms"].is_number());
    let unknown = serde_json::to_value(check("unread-bad")).expect("JSON");
    assert_eq!(unknown["valid?"], "unknown");
}
