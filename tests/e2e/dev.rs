//! `cartwheel dev` as somebody meets it: a local cluster, the commands that it suggests, the examples, ctrl-c.

use std::path::{Path, PathBuf};

use crate::{
    command::cartwheel,
    refusals::json,
    running::{PATIENCE, Running},
};

/// Runs an example against a node; gives what it printed. Cargo builds examples with the tests, beside them.
fn example(name: &str, node: &str) -> String {
    let tests = std::env::current_exe().expect("a test knows where it is");
    let folder = tests.ancestors().nth(2).expect("target/debug/deps/…").join("examples");
    let program: PathBuf = folder.join(name);
    let path = program.display();
    assert!(program.exists(), "{path} is not built; run all tests, or cargo build --examples");
    let output = assert_cmd::Command::new(&program).arg(node).timeout(PATIENCE).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}{complained}", output.status);
    said
}

/// A change tells its add_id and where it is held, and is made again under that id.
fn change_again(node: &str, other: &str) {
    let id = json(node, &["cart", "add", "bob", "milk"])["add_id"].clone();
    let cancel = id.as_str().expect("an add_id");
    let change = ["cart", "change", "bob", "--cancel", cancel, "--add", "tea"];
    let changed = json(node, &change);
    assert!(changed["slots"].as_u64() >= Some(2) && changed["zones"].is_u64(), "{changed}");
    let again = changed["add_id"].as_str().expect("it says under which id");
    json(other, &[&change[..], &["--again", again]].concat());
    let items = json(node, &["cart", "show", "bob"])["items"].clone();
    assert_eq!(items.as_array().map(Vec::len), Some(1), "{items}");
    assert_eq!((&items[0]["sku"], &items[0]["quantity"]), (&"tea".into(), &1.into()));
    let removed = json(other, &["cart", "remove", "bob", "tea"]);
    assert_eq!(removed["cancelled"], serde_json::json!([again]));
    assert!(removed["nodes"].as_u64() >= Some(2), "{removed}");
}

/// A value that is no text is stored and shown byte for byte.
fn bytes_come_back(folder: &Path, node: &str) {
    let (path, bytes) = (folder.join("photo"), [0xff, 0, 0x80, b'\n']);
    std::fs::write(&path, bytes).expect("a file");
    json(node, &["put", "photo", "--file", path.to_str().expect("a name")]);
    std::fs::remove_file(path).expect("it is there");
    assert_eq!(json(node, &["get", "photo"])["values"], serde_json::json!([{ "hex": "ff00800a" }]));
    let raw = ["get", "photo", "--raw", "--node", node];
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_cartwheel"));
    command.args(raw).timeout(PATIENCE).assert().success().stdout(bytes.to_vec());
    json(node, &["put", "photo", "of another"]);
    let (code, said) = cartwheel(&raw);
    assert!(code == 1 && said.contains("there are 2 values"), "{code}: {said}");
}

#[test]
fn a_local_cluster_serves_commands_and_examples_and_ends_at_ctrl_c() {
    let folder = tempfile::tempdir().expect("a folder");
    let dev = Running::start(&["dev", "--port", "0"], folder.path());
    let serves = dev.until(" nodes serve on ").pop().expect("a line");
    let nodes: Vec<&str> =
        serves.rsplit(" nodes serve on ").next().expect("addresses").split(", ").collect();
    assert_eq!(nodes.len(), 3, "{serves}");
    let suggested = dev.until("Ctrl-c ends the cluster");
    let named = format!("cartwheel status --node {}", nodes[0]);
    assert!(suggested.iter().any(|line| line.ends_with(&named)), "{}", suggested.join("\n"));

    json(nodes[0], &["put", "colour", "red"]);
    assert_eq!(json(nodes[1], &["get", "colour"])["values"], serde_json::json!(["red"]));
    let added = json(nodes[1], &["cart", "add", "ann", "milk", "2"]);
    let id = added["add_id"].as_str().expect("it says under which id");
    json(nodes[0], &["cart", "add", "ann", "milk", "2", "--again", id]);
    let shown = json(nodes[2], &["cart", "show", "ann"]);
    assert_eq!(
        (&shown["items"][0]["sku"], &shown["items"][0]["quantity"]),
        (&"milk".into(), &2.into()),
        "an addition that is made again counts once"
    );
    change_again(nodes[0], nodes[1]);
    bytes_come_back(folder.path(), nodes[2]);
    let status = json(nodes[0], &["status"]);
    assert_eq!(status.as_array().map(Vec::len), Some(3), "{status}");

    let cart = example("cart", nodes[0]);
    let after = cart.split("after a removal and an addition at once:").nth(1).expect("the end");
    assert!(after.contains("1 × milk") && after.contains("1 × tea"), "{cart}");
    let catalogue = example("catalogue", nodes[1]);
    for kept in ["kitchen", "sale", "4499", "3999", "siblings arose 1 times"] {
        assert!(catalogue.contains(kept), "{kept} is missing:\n{catalogue}");
    }
    let session = example("session", nodes[2]);
    assert!(session.contains("alice has seen 3 pages"), "{session}");
    assert!(session.contains("logged out: 0 values"), "{session}");

    let left = || std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left(), 1, "stores and logs are in a folder of their own");
    let (said, code) = dev.interrupt();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopping"), "{said}");
    assert_eq!(left(), 0, "a temporary cluster leaves nothing behind");
    let (code, said) = cartwheel(&["status", "--timeout", "500", "--node", nodes[0]]);
    assert!(code == 255 && said.contains("is a cluster running?"), "{code}: {said}");
}
