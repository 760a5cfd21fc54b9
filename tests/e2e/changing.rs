//! Campaigns in which nodes come and go: what is broken is carried out, counted, and bounded by quiet points.

use std::{fs, io::Write, path::Path};

use serde_json::{Value, json};

use super::campaigns::{UNHURRIED, campaign};

/// Writes a schedule of these faults (kind and fields), each with its beginning and its length in milliseconds.
/// For five nodes and twenty seconds.
fn schedule(folder: &Path, faults: &[(u64, u64, Value)], quiet_at_ms: &[u64]) -> String {
    schedule_of((5, 1), 20, folder, faults, quiet_at_ms)
}

/// The same for so many nodes in so many zones, and for so many seconds.
fn schedule_of(
    (nodes, zones): (usize, usize),
    time_limit_s: u64,
    folder: &Path,
    faults: &[(u64, u64, Value)],
    quiet_at_ms: &[u64],
) -> String {
    let planned = |(at_ms, for_ms, fault): &(u64, u64, Value)| json!({ "at_ms": at_ms, "for_ms": for_ms, "fault": fault });
    let faults: Vec<_> = faults.iter().map(planned).collect();
    let schedule = json!({
        "seed": 1, "nodes": nodes, "zones": zones, "time_limit_ms": time_limit_s * 1_000,
        "faults": faults, "quiet_at_ms": quiet_at_ms,
    });
    let path = folder.join("schedule.json");
    fs::write(&path, schedule.to_string()).expect("a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn members_come_and_go_and_a_wiped_disk_costs_nothing() {
    let store = tempfile::tempdir().expect("a folder");
    let wipe = json!({ "kind": "wipe", "node": "n1", "way": "replace" });
    let faults = [
        (500, 2_000, json!({ "kind": "join", "node": "n6", "zone": "z1" })),
        (1_500, 2_000, wipe),
        (6_000, 2_000, json!({ "kind": "leave", "node": "n2" })),
        (7_000, 1_000, json!({ "kind": "kill", "node": "n3" })),
        (12_000, 2_000, json!({ "kind": "replace", "old": "n4", "new": "n7" })),
        (13_000, 5_000, json!({ "kind": "rolling-restart", "nodes": ["n5", "n3"] })),
    ];
    let schedule = schedule(store.path(), &faults, &[11_000]);
    let arguments = ["--time-limit", "20", "--nodes", "5", "--schedule", &schedule];
    let (code, results, said) = campaign(store.path(), &[&arguments[..], &UNHURRIED].concat());
    assert_eq!((code, &results["valid?"]), (0, &Value::Bool(true)), "{said}");
    assert_eq!(results["quiet-points"], 1, "{said}");
    let faults = &results["faults"];
    for (name, count) in [
        ("joins-completed", 1),
        ("leaves-completed", 1),
        ("replaces-completed", 2),
        ("membership", 3),
        ("wipe", 1),
        ("kill", 1),
        ("rolling-restart", 1),
    ] {
        assert_eq!(faults[name], count, "{name} of {faults}\n{said}");
    }
    assert!(results["acknowledged-count"].as_u64() > Some(150), "{said}");
}

#[test]
fn a_destroyed_zone_loses_nothing_where_copies_are_spread_over_zones() {
    let store = tempfile::tempdir().expect("a folder");
    let destroy = json!({ "kind": "zone-destroy", "zone": "z2", "nodes": ["n2", "n5"] });
    let cut = json!({
        "kind": "zone-kill", "zone": "z1", "nodes": ["n1", "n4"],
    });
    let faults = [(2_000, 3_000, destroy), (15_000, 2_000, cut)];
    let schedule = schedule_of((6, 3), 20, store.path(), &faults, &[14_000]);
    let arguments = ["--time-limit", "20", "--nodes", "6", "--zones", "3", "--schedule", &schedule];
    let (code, results, said) = campaign(store.path(), &[&arguments[..], &UNHURRIED].concat());
    assert_eq!((code, &results["valid?"]), (0, &Value::Bool(true)), "{said}");
    let faults = &results["faults"];
    assert_eq!((&faults["zone-destroy"], &faults["zone"]), (&json!(1), &json!(1)), "{said}");
    assert_eq!(faults["replaces-completed"], 2, "{said}");
}

#[test]
fn a_node_whose_disk_is_full_refuses_until_there_is_space_and_nothing_is_lost() {
    let store = tempfile::tempdir().expect("a folder");
    let faults = [
        (500, 7_000, json!({ "kind": "disk-full", "node": "n5" })),
        (3_000, 1_500, json!({ "kind": "kill", "node": "n5" })),
        (4_000, 2_000, json!({ "kind": "kill", "node": "n2" })),
    ];
    let schedule = schedule(store.path(), &faults, &[]);
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_cartwheel"))
        .args(["campaign", "--time-limit", "20", "--schedule", &schedule, "--keep-data"])
        .args(UNHURRIED)
        .arg("--store")
        .arg(store.path())
        .timeout(std::time::Duration::from_secs(180))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(254) && said.contains("disk-full needs a disk of its own") {
        // libtest shows nothing that a passing test prints.
        let skipped = format!("skipped: {said}");
        std::io::stderr().write_all(skipped.as_bytes()).expect("standard error takes it");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    let latest = store.path().join("latest");
    let results = fs::read(latest.join("results.json")).expect("results");
    let results: Value = serde_json::from_slice(&results).expect("results are JSON");
    assert_eq!(
        (&results["faults"]["disk-full"], &results["faults"]["kill"]),
        (&json!(1), &json!(2))
    );
    let log = fs::read_to_string(latest.join("nodes/n5.log")).expect("a log");
    let count = |words: &str| log.matches(words).count();
    assert_eq!(count("the disk is short of space"), 2, "once in each run of n5:\n{log}");
    assert_eq!(count("there is space again"), 1, "{log}");
    let history = fs::read_to_string(latest.join("history.jsonl")).expect("a history");
    assert!(history.contains("short of space"), "the client that asks n5 alone was refused");
    assert!(latest.join("data/n5/store").is_dir(), "what was on the disks is kept");
}

#[test]
fn files_that_are_damaged_lose_nothing() {
    let store = tempfile::tempdir().expect("a folder");
    let corrupt = |node, damage| json!({ "kind": "corrupt", "node": node, "damage": damage });
    let flips = |at_ppm: &[u32]| json!({ "how": "flip", "at_ppm": at_ppm, "bit": 3 });
    let cut = json!({ "how": "truncate", "at_ppm": 500_000 });
    let faults = [
        (2_000, 1_000, corrupt("n2", flips(&[150_000, 400_000, 700_000, 950_000]))),
        (3_500, 700, json!({ "kind": "kill", "node": "n4" })),
        (6_500, 800, corrupt("n3", cut)),
    ];
    let schedule = schedule_of((5, 1), 9, store.path(), &faults, &[6_000]);
    let arguments = ["--time-limit", "9", "--nodes", "5", "--schedule", &schedule];
    let (code, results, said) = campaign(store.path(), &[&arguments[..], &UNHURRIED].concat());
    assert_eq!((code, &results["valid?"]), (0, &Value::Bool(true)), "{said}");
    assert_eq!(results["quiet-points"], 1, "{said}");
    let faults = &results["faults"];
    assert_eq!((&faults["corrupt"], &faults["kill"]), (&json!(2), &json!(1)), "{said}");
    // A node that comes upon the damage says so, whether it serves with it or not.
    let logs = ["n2", "n3"].map(|node| {
        let path = store.path().join(format!("latest/nodes/{node}.log"));
        fs::read_to_string(path).expect("a log")
    });
    assert!(logs.iter().any(|log| log.contains("damaged")), "{logs:?}\n{said}");
    assert!(results["acknowledged-count"].as_u64() > Some(60), "{said}");
}

#[test]
fn reap_rounds_among_other_faults_lose_nothing() {
    let store = tempfile::tempdir().expect("a folder");
    // A run ends at once where a node is suspected at that moment, so each node has several.
    let nodes = ["n3", "n1", "n4", "n2", "n5"].repeat(3);
    let reap = json!({ "kind": "reap", "nodes": nodes, "older_than_s": 2 });
    let kill = json!({ "kind": "kill", "node": "n2" });
    let faults = [(1_000, 700, kill), (4_500, 14_500, reap)];
    let schedule = schedule_of((5, 1), 20, store.path(), &faults, &[]);
    let arguments = ["--time-limit", "20", "--nodes", "5", "--schedule", &schedule];
    let (code, results, said) = campaign(store.path(), &[&arguments[..], &UNHURRIED].concat());
    assert_eq!((code, &results["valid?"]), (0, &Value::Bool(true)), "{said}");
    let faults = &results["faults"];
    assert_eq!((&faults["reap"], &faults["kill"]), (&json!(1), &json!(1)), "{said}");
    assert!(faults["reap-rounds-completed"].as_u64() > Some(0), "{said}");
}

#[test]
fn a_schedule_that_loses_more_than_is_promised_is_refused() {
    let store = tempfile::tempdir().expect("a folder");
    let wipe = |node| json!({ "kind": "wipe", "node": node, "way": "join" });
    let schedule =
        schedule(store.path(), &[(500, 2_000, wipe("n1")), (4_000, 2_000, wipe("n2"))], &[]);
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_cartwheel"))
        .args(["campaign", "--time-limit", "20", "--schedule", &schedule, "--store"])
        .arg(store.path())
        .timeout(std::time::Duration::from_secs(60))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(254), "{said}");
    assert!(
        said.contains("fault 2 is number 2 to lose a disk since the last quiet point"),
        "{said}"
    );
    assert!(!store.path().join("latest").exists(), "nothing was started");
}
