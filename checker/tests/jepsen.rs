//! The set checkers against what Jepsen's own said about the same histories, key by key.

use std::path::{Path, PathBuf};

use cartwheel_checker::{Judge, Verdict, duplicates, read_history, set, set_full, write_edn};
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/jepsen").join(name)
}

fn expected(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(data(name)).expect("the expected results");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The results of the three variants, named as the expected ones are.
fn results(file: &Path) -> [Value; 3] {
    ["set", "set-full", "set-full-linearizable"].map(|name| {
        let judge: Judge = name.parse().expect("a checker's name");
        let judgement = judge.check_file(file).expect("results");
        let verdict = serde_json::to_value(judgement.verdict).expect("a verdict");
        assert_eq!(judgement.results["valid?"], verdict, "{}", file.display());
        judgement.results
    })
}

#[test]
fn samples_match_in_every_key() {
    let samples = expected("expected.jsonl");
    assert_eq!(samples.len(), 12);
    for sample in samples {
        let file = sample["file"].as_str().expect("a file name");
        let keys = ["set", "set-full", "set-full linearizable"];
        for (key, ours) in keys.iter().zip(results(&data(file))) {
            assert_eq!(ours, sample[key], "{file} {key}");
        }
    }
}

#[test]
fn edge_cases_match_in_every_key() {
    let samples = expected("edge/expected.jsonl");
    assert_eq!(samples.len(), 5);
    for sample in samples {
        let file = sample["file"].as_str().expect("a file name");
        let keys = ["set", "set-full", "set-full-lin"];
        for (key, ours) in keys.iter().zip(results(&data("edge").join(file))) {
            assert_eq!(ours, sample["results"][key], "{file} {key}");
        }
    }
}

#[test]
fn what_jepsen_does_not_see_is_seen_beside_it() {
    let history = read_history(data("edge/ghost.edn")).expect("the history");
    let full = set_full::check(&history, set_full::Options::default());
    assert_eq!((full.valid, full.duplicated_count), (Verdict::Valid, 0), "theirs");
    let ours = duplicates::check(&history);
    assert_eq!((ours.valid, ours.duplicated_count), (Verdict::Invalid, 1));
    assert_eq!(ours.duplicated["7"], 2);
}

#[test]
fn one_vector_of_maps_is_read_as_lines_are() {
    let text = std::fs::read_to_string(data("set-0160.edn")).expect("the history");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("vector.edn");
    std::fs::write(&file, format!("; Knossos writes this\n[{text}]\n")).expect("written");
    assert_eq!(results(&file), results(&data("set-0160.edn")));
}

#[test]
fn without_index_and_time_lines_are_counted() {
    let text = "{:process 0, :type :invoke, :f :add, :value 1}
        {:process 0 :type :ok :f :add :value 1}
        ; a set, commas, and a tag
        {:process 1, :type :invoke, :f :read, :value nil},,
        {:process 1, :type :ok, :f :read, :value #{1}}
        {:process 2, :type :invoke, :f :read, :value nil}
        {:process 2, :type :ok, :f :read, :value #jepsen/seen (1 1)}";
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("history");
    std::fs::write(&file, text).expect("written");
    let history = read_history(&file).expect("the history");
    assert_eq!(history.iter().map(|event| event.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(history.iter().all(|event| event.time == -1));
    assert_eq!(set::check(&history).valid, Verdict::Valid);
    assert_eq!(duplicates::check(&history).duplicated_count, 1);
}

#[test]
fn what_is_written_is_what_was_read() {
    for sample in expected("expected.jsonl") {
        let file = sample["file"].as_str().expect("a file name");
        let text = std::fs::read_to_string(data(file)).expect("the history");
        let mut written = Vec::new();
        write_edn(&read_history(data(file)).expect("events"), &mut written).expect("written");
        assert_eq!(String::from_utf8(written).expect("text"), text, "{file}");
    }
}
