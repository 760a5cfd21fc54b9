//! The main job: short campaigns end to end, with the exit codes and files that they promise.

use std::{fs, path::Path};

use assert_cmd::Command;
use serde_json::Value;

use crate::{command::cartwheel, running::Running};

/// For a campaign that must be valid: a client waits longer than the machine may stand still, for a write that no fault kept from being
/// acknowledged makes it invalid.
pub(crate) const UNHURRIED: [&str; 2] = ["--timeout-ms", "5000"];

/// Runs a campaign in a folder of its own; gives its exit code, its results and what it printed.
pub(crate) fn campaign(store: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cartwheel"));
    let command = command.arg("campaign").args(arguments).arg("--store").arg(store);
    let output = command.timeout(std::time::Duration::from_secs(180)).output().expect("it runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let results = fs::read(store.join("latest/results.json")).unwrap_or_else(|error| {
        panic!("no results ({error}); it said:\n{said}");
    });
    let results = serde_json::from_slice(&results).expect("results are JSON");
    let code = output.status.code();
    (code.unwrap_or_else(|| panic!("{}; it said:\n{said}", output.status)), results, said)
}

#[test]
fn a_short_campaign_with_faults_is_valid_and_leaves_everything() {
    let store = tempfile::tempdir().expect("a folder");
    let arguments =
        ["--time-limit", "8", "--nodes", "5", "--seed", "11", "--fault-every-ms", "1000"];
    let (code, results, said) = campaign(store.path(), &[&arguments[..], &UNHURRIED].concat());
    assert_eq!((code, &results["valid?"]), (0, &Value::Bool(true)), "{said}");
    assert_eq!(results["seed"], 11);
    let acknowledged = results["acknowledged-count"].as_u64().expect("a count");
    assert!(acknowledged > 30, "only {acknowledged} additions were acknowledged\n{said}");
    for kind in ["kill", "pause", "partition"] {
        assert!(results["faults"][kind].as_u64() > Some(0), "no {kind} was applied\n{said}");
    }
    let keys = ["lost", "resurrected", "phantom", "duplicated", "recovered", "diverged"];
    for key in keys {
        let count = format!("{key}-count");
        assert!(results[key].is_array() && results[&count].is_u64(), "{key} is missing: {results}");
    }
    for key in ["stale", "availability", "command", "workload", "attempt-count"] {
        assert!(!results[key].is_null(), "{key} is missing: {results}");
    }
    for file in ["history.jsonl", "history.edn", "results.json", "schedule.json"] {
        assert!(store.path().join("latest").join(file).exists(), "{file} is missing");
    }
    let judged = Command::new(env!("CARGO_BIN_EXE_cartwheel"))
        .arg("check")
        .arg(store.path().join("latest/history.edn"))
        .output()
        .expect("it runs");
    assert_eq!(judged.status.code(), Some(0), "the EDN history is judged the same");
}

#[test]
fn the_control_that_must_fail_fails_without_any_fault() {
    let store = tempfile::tempdir().expect("a folder");
    let arguments =
        ["--workload", "lww-cart", "--nemesis", "none", "--time-limit", "5", "--seed", "3"];
    let (code, results, said) = campaign(store.path(), &arguments);
    assert_eq!((code, &results["valid?"]), (1, &Value::Bool(false)), "{said}");
    assert!(results["lost-count"].as_u64() > Some(0), "{said}");
}

/// The paper's cart keeps every addition; what was removed may come back, which the checker does not excuse.
#[test]
fn the_papers_cart_loses_no_addition_and_at_most_brings_removed_ones_back() {
    let store = tempfile::tempdir().expect("a folder");
    let arguments = ["--workload", "paper-cart", "--nemesis", "kill,pause", "--time-limit", "5"];
    let more = ["--seed", "5", "--fault-every-ms", "1500"];
    let (code, results, said) = campaign(store.path(), &[&arguments[..], &more].concat());
    assert_eq!(results["workload"], "paper-cart");
    assert!(results["acknowledged-count"].as_u64() > Some(30), "too little was tried: {said}");
    for kind in ["lost", "phantom", "duplicated", "diverged"] {
        assert_eq!(results[format!("{kind}-count")], 0, "{kind}: {said}");
    }
    let resurrected = results["resurrected-count"].as_u64().expect("a count") > 0;
    let verdict = (code, &results["valid?"]);
    let expected = if resurrected { (1, Value::Bool(false)) } else { (0, Value::Bool(true)) };
    assert_eq!(verdict, (expected.0, &expected.1), "{said}");
}

#[test]
fn ctrl_c_ends_a_campaign_which_then_knows_nothing_and_leaves_what_it_has() {
    let store = tempfile::tempdir().expect("a folder");
    let at = store.path().to_str().expect("a name of letters");
    let arguments = ["campaign", "--time-limit", "600", "--seed", "9", "--store", at];
    let campaign = Running::start(&arguments, store.path());
    assert_eq!(campaign.until("seed"), ["seed 9"], "the seed comes first");
    campaign.until("additions acknowledged");
    let (said, code) = campaign.interrupt();
    assert_eq!(code, Some(2), "{said}");
    let file = |name: &str| {
        let path = store.path().join("latest").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let results: Value = serde_json::from_str(&file("results.json")).expect("results are JSON");
    assert_eq!(results["valid?"], "unknown", "{results}");
    assert!(results["acknowledged-count"].as_u64() > Some(0), "{results}");
    assert!(file("history.jsonl").lines().count() > 100, "{said}");
    assert!(said.contains("interrupted") && said.contains("--seed 9"), "{said}");
    let data = fs::read_dir(store.path().join("latest/data")).expect("data folders are kept");
    for node in data {
        // Who runs on holds the lock of its store.
        let folder = node.expect("an entry").path();
        let lock = fs::File::open(folder.join("sled/db")).expect("a store");
        assert!(lock.try_lock().is_ok(), "{} is still open", folder.display());
    }
}

#[test]
fn a_campaign_that_cannot_write_what_it_finds_has_crashed() {
    let store = tempfile::NamedTempFile::new().expect("a file");
    let at = store.path().to_str().expect("a name of letters");
    let (code, said) = cartwheel(&["campaign", "--time-limit", "1", "--store", at]);
    assert_eq!(code, 255, "{said}");
    assert!(said.contains(at), "{said} does not name {at}");
}
