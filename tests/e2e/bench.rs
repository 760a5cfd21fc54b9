//! `cartwheel bench`, as small as it gets: what it reports, not how fast anything is.

use assert_cmd::Command;
use serde_json::Value;

use crate::command::cartwheel;

/// Runs a benchmark in a folder of its own; gives its report.
fn bench(arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_cartwheel"))
        .arg("bench")
        .args(arguments)
        .args(["--json", "--clients", "4", "--keys", "200"])
        .current_dir(folder.path())
        .timeout(std::time::Duration::from_secs(120))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "it leaves nothing");
    serde_json::from_slice(&output.stdout).expect("a report in JSON")
}

#[test]
fn a_short_benchmark_prints_all_its_figures_as_json() {
    let report = bench(&["--time", "1"]);
    for (key, value) in [("nodes", 3.into()), ("keys", 200.into()), ("spread", "uniform".into())] {
        let value: Value = value;
        assert_eq!(report[key], value, "{key}: {report}");
    }
    assert!(report["value-bytes"] == 100 && report["processors"].as_u64() > Some(0), "{report}");
    let rows = report["rows"].as_array().expect("rows");
    let measured = rows.iter().map(|row| (row["operation"].as_str(), row["clients"].as_u64()));
    let planned = [(Some("put"), Some(4)), (Some("put"), Some(1)), (Some("get"), Some(4))];
    assert!(measured.eq(planned), "{report}");
    for row in rows {
        let figure = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("no {key}: {row}"));
        assert!(figure("ok-count") > 0.0 && figure("per-s") > 0.0, "{row}");
        assert_eq!(row["failed-count"], 0, "{row}");
        let sorted = ["p50-ms", "p99-ms", "p999-ms", "max-ms"].map(figure);
        assert!(sorted.is_sorted() && sorted[0] > 0.0, "{row}");
        assert!(row.get("rate").is_some_and(Value::is_null), "{row}");
        assert!(row.get("server-cpu-us").is_some(), "{row}");
        assert_eq!(row["raw-log-per-s"].is_number(), row["operation"] == "put", "{row}");
    }
}

/// Messages for one put, in a cluster of so many nodes.
fn messages(nodes: &str) -> f64 {
    // Nothing is sent in the background that grows with the time, and nothing to a fallback where the machine stands still.
    let quiet = ["anti-entropy-every-ms=0", "fallback-after-ms=10000"];
    let quiet = quiet.map(|option| ["--node-option", option]).concat();
    let report =
        bench(&[&["--operation", "put", "--time", "2", "--nodes", nodes], &quiet[..]].concat());
    let row = &report["rows"][0];
    row["messages"].as_f64().unwrap_or_else(|| panic!("they are not counted: {report}"))
}

#[test]
fn a_put_takes_as_many_messages_in_a_larger_cluster() {
    // Two copies and their acknowledgements.
    let (three, five) = (messages("3"), messages("5"));
    assert!((3.5..5.0).contains(&three), "{three} messages for one put");
    assert!((five / three - 1.0).abs() < 0.25, "{five} with five nodes and {three} with three");
}

#[test]
fn keys_that_a_node_missed_are_repaired_while_clients_ask_for_others() {
    let report = bench(&["--repair", "20", "--repetitions", "1", "--time", "4", "--rate", "200"]);
    let repairs = &report["repairs"];
    assert_eq!(repairs["differing"], 20, "{report}");
    let repair = &repairs["repairs"][0];
    assert!(repair["repaired"].as_u64() >= Some(20), "{report}");
    assert_eq!(repair["failed-count"], 0, "{report}");
    let seconds = |name: &str| repair[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert!(seconds("trees-after-s") <= seconds("took-s"), "{report}");
}

#[test]
fn hints_bring_a_node_what_it_missed_where_one_more_node_holds_them() {
    let hints = ["--hints", "20", "--repetitions", "1", "--time", "4", "--rate", "200"];
    let report = bench(&[&hints[..], &["--nodes", "4"]].concat());
    let repairs = &report["repairs"];
    assert_eq!((&repairs["by"], &repairs["differing"]), (&"hints".into(), &20.into()), "{report}");
    let repair = &repairs["repairs"][0];
    assert_eq!((&repair["repaired"], &repair["failed-count"]), (&0.into(), &0.into()), "{report}");
    let (code, said) = cartwheel(&[&["bench"], &hints[..]].concat());
    assert!(code != 0 && said.contains("--nodes 4 or more"), "{code}: {said}");
}
