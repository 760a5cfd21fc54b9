//! The program in a build with mutants: it says so, runs nodes that break a rule, and campaigns notice.
//!
//! Without the feature `mutants` there is nothing here; `.ci/run` has a stage with it.
#![cfg(feature = "mutants")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use assert_cmd::Command;
use cartwheel_harness::ground::process::{ClusterSpec, ProcessGround};
use serde_json::Value;

/// Runs the program; gives its exit code and what it printed.
fn cartwheel(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cartwheel"));
    let output = command.args(arguments).timeout(Duration::from_secs(180)).output();
    let output = output.expect("it runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let code = output.status.code();
    let code = code.unwrap_or_else(|| panic!("{arguments:?}: {}; it said:\n{said}", output.status));
    (code, said)
}

fn one_node(folder: &Path, options: &[(&str, &str)]) -> ClusterSpec {
    ClusterSpec {
        program: PathBuf::from(env!("CARGO_BIN_EXE_cartwheel")),
        nodes: 1,
        data: folder.join("data"),
        logs: folder.join("logs"),
        first_port: None,
        first_http_port: None,
        options: options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        own_disks: false,
    }
}

/// What `cartwheel status` says of one node with these options: as text, and as JSON.
fn status(options: &[(&str, &str)]) -> (String, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let spec = one_node(folder.path(), options);
        let ground = ProcessGround::start(&spec, false).await.expect("the node starts");
        let address = ground.addresses()[0].to_string();
        let (code, text) = cartwheel(&["status", "--node", &address]);
        assert_eq!(code, 0, "{text}");
        let (code, json) = cartwheel(&["status", "--json", "--node", &address]);
        assert_eq!(code, 0, "{json}");
        ground.stop().await;
        (text, serde_json::from_str(&json).expect("--json prints JSON"))
    })
}

#[test]
fn version_and_status_say_that_it_is_a_build_with_mutants() {
    let (code, said) = cartwheel(&["--version"]);
    assert!(code == 0 && said.contains("MUTANT BUILD"), "{code}: {said}");
    let (text, json) = status(&[]);
    assert!(text.contains("MUTANT BUILD"), "{text}");
    assert_eq!(json[0]["mutant"], Value::Null, "no rule is broken unless asked: {json}");
}

#[test]
fn the_mutant_of_a_node_stands_in_its_status() {
    let (text, json) = status(&[("mutant", "expire-hints")]);
    assert!(text.contains("expire-hints"), "{text}");
    assert_eq!(json[0]["mutant"], "expire-hints", "{json}");
}

#[test]
fn a_live_campaign_on_a_broken_rule_loses_additions_and_says_so() {
    let store = tempfile::tempdir().expect("a folder");
    let folder = store.path().to_str().expect("a path in UTF-8");
    let campaign = ["campaign", "--mutant", "replicate-only-new-entry", "--seed", "1"];
    let (code, said) =
        cartwheel(&[&campaign[..], &["--time-limit", "12", "--store", folder]].concat());
    let results = std::fs::read(store.path().join("latest/results.json"));
    let results = results.unwrap_or_else(|error| panic!("no results ({error}); it said:\n{said}"));
    let results: Value = serde_json::from_slice(&results).expect("results are JSON");
    assert_eq!((code, &results["valid?"]), (1, &Value::Bool(false)), "{said}");
    assert!(results["lost-count"].as_u64() > Some(0), "{said}");
    assert!(results["acknowledged-count"].as_u64() > Some(30), "too little was tried: {said}");
}
