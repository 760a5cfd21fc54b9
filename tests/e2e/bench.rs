//! `cartwheel bench`: what it prints for programs, not how fast anything is.

use assert_cmd::Command;
use serde_json::Value;

#[test]
fn a_short_benchmark_prints_all_its_figures_as_json_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_cartwheel"))
        .args(["bench", "--time", "1", "--clients", "4", "--keys", "100", "--json"])
        .current_dir(folder.path())
        .timeout(std::time::Duration::from_secs(120))
        .output()
        .expect("it runs");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complained}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("--json prints JSON alone");
    for (key, value) in [("nodes", 3.into()), ("keys", 100.into()), ("spread", "uniform".into())] {
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
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
