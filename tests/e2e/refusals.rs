//! Bad input to a live cluster: each row gets its error and exit code, and a later read shows nothing stored.

use cartwheel_harness::ground::Ground;
use serde_json::Value;

use crate::{
    cluster::{Cluster, add_id, run},
    command::cartwheel,
};

/// What is asked, its exit code, and a word that the error must have.
pub(crate) type Row<'a> = (&'a [&'a str], i32, &'a str);

/// How often a row is tried. An answer that the client does not wait for leaves the outcome unknown, and the next node's refusal
/// does not take that back; nor does an earlier one count where the last node is not reached in time.
const TRIES: usize = 5;

pub(crate) fn check(node: &str, rows: &[Row<'_>]) {
    for (arguments, code, word) in rows {
        let at = [*arguments, &["--node", node]].concat();
        let (mut exited, mut said) = cartwheel(&at);
        for _ in 1..TRIES {
            let is_late = exited == 2 || exited == 255 && said.contains("not within");
            if exited == *code || !is_late {
                break;
            }
            (exited, said) = cartwheel(&at);
        }
        assert_eq!(exited, *code, "{arguments:?} said:\n{said}");
        assert!(said.contains(word), "{arguments:?} does not say {word}:\n{said}");
    }
}

pub(crate) fn json(node: &str, arguments: &[&str]) -> Value {
    let (code, said) = cartwheel(&[arguments, &["--json", "--node", node]].concat());
    assert_eq!(code, 0, "{arguments:?} said:\n{said}");
    serde_json::from_str(&said).expect("--json prints JSON")
}

#[test]
fn what_is_out_of_bounds_is_refused_and_stores_nothing() {
    run(async {
        let cluster = Cluster::start(3).await;
        let node = cluster.ground.addresses()[0].to_string();
        let long = "k".repeat(1_025);
        let rows: &[Row<'_>] = &[
            (&["put", "", "v"], 1, "1 to 1024 bytes"),
            (&["put", &long, "v"], 1, "1025 bytes"),
            (&["put", "k", "v", "--bucket", "nowhere"], 1, "no bucket"),
            (&["put", "k", "v", "--bucket", "Bad Name"], 254, "1 to 64"),
            (&["put", "k", "v", "--bucket", "carts"], 1, "kind cart"),
            (&["cart", "add", "k", "milk", "--bucket", "default"], 1, "kind register"),
            (&["cart", "add", "k", "milk", "0"], 1, "1 to 1000000"),
            (&["cart", "add", "k", "milk", "1000001"], 1, "1 to 1000000"),
            (&["cart", "add", "k", ""], 1, "sku"),
            (&["put", "k", "v", "-w", "4"], 1, "n = 3"),
            (&["put", "k", "v", "-w", "0"], 1, "n = 3"),
            (&["put", "k", "v", "-w", "1", "--strict"], 1, "at least 2"),
            (&["get", "k", "-r", "1", "--strict"], 1, "at least 2"),
            (&["put", "k", "v", "--context", "zz"], 254, "damaged"),
            (&["put", "k", "v", "--context", "0102030405"], 254, "damaged"),
            (&["cart", "change", "k", "--cancel", "tea"], 254, "add_id"),
            (&["cart", "add", "k", "milk", "--again", "tea"], 254, "add_id"),
            (&["reap", "--wait", "18446744073709551615"], 254, "2678400"),
            (&["record", "accept-loss", "default", "k", "--at", "n1"], 1, "not damaged"),
            (&["record", "accept-loss", "default", "k", "--at", "n9"], 254, "no node n9"),
            (&["record", "accept-loss", "nowhere", "k", "--at", "n1"], 1, "no bucket"),
        ];
        check(&node, rows);
        assert_eq!(json(&node, &["get", "k", "-r", "3"])["values"], Value::Array(Vec::new()));
        assert_eq!(json(&node, &["cart", "show", "k"])["items"], Value::Array(Vec::new()));
        cluster.ground.stop().await;
    });
}

#[test]
fn a_context_of_another_key_is_refused_and_the_value_stays() {
    run(async {
        let cluster = Cluster::start(3).await;
        let node = cluster.ground.addresses()[0].to_string();
        json(&node, &["put", "one", "1"]);
        json(&node, &["put", "two", "2"]);
        let read = json(&node, &["get", "one"]);
        let foreign = read["context"].as_str().expect("a context");
        let mut damaged = foreign.to_owned();
        let last = if damaged.ends_with('0') { "1" } else { "0" };
        damaged.replace_range(damaged.len() - 1.., last);
        let rows: &[Row<'_>] = &[
            (&["put", "two", "3", "--context", foreign], 1, "another cluster, bucket or key"),
            (&["delete", "two", "--context", foreign], 1, "another cluster, bucket or key"),
            (&["put", "one", "3", "--context", &damaged], 254, "damaged"),
        ];
        check(&node, rows);
        assert_eq!(json(&node, &["get", "two"])["values"], serde_json::json!(["2"]));
        assert_eq!(json(&node, &["get", "one"])["values"], serde_json::json!(["1"]));
        json(&node, &["put", "one", "3", "--context", foreign]);
        assert_eq!(json(&node, &["get", "one"])["values"], serde_json::json!(["3"]));
        cluster.ground.stop().await;
    });
}

#[test]
fn too_few_slots_in_time_is_an_unknown_outcome_that_says_how_many() {
    run(async {
        let cluster = Cluster::start(3).await;
        let node = cluster.ground.addresses()[0].to_string();
        cluster.kill(1).await;
        cluster.kill(2).await;
        let at = ["put", "k", "v", "-w", "2", "--timeout", "700", "--node", &node];
        let (code, said) = cartwheel(&at);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("unknown") && said.contains("of 2"), "{said}");
        cluster.restart(1).await;
        cluster.restart(2).await;
        cluster.ground.ready().await.expect("all nodes answer again");
        cluster.ground.stop().await;
    });
}

#[test]
fn below_the_reserve_of_free_space_writes_are_refused_and_reads_go_on() {
    run(async {
        // No disk is as large as this reserve: all nodes are short from the start.
        let reserve = [("free-space-reserve-mib", "1073741824")];
        let cluster = Cluster::start_with(3, &reserve).await;
        let node = cluster.ground.addresses()[0].to_string();
        // All of it passes, for another node might have space.
        let in_time = ["--timeout", "1500"];
        let id = add_id();
        let rows: &[&[&str]] = &[
            &["put", "k", "v"],
            &["put", "k", "v", "--strict"],
            &["delete", "k"],
            &["cart", "add", "k", "milk"],
            &["cart", "change", "k", "--cancel", &id],
        ];
        let rows: Vec<Vec<&str>> = rows.iter().map(|row| [row, &in_time[..]].concat()).collect();
        let rows: Vec<Row<'_>> = rows.iter().map(|row| (&row[..], 1, "short of space")).collect();
        check(&node, &rows);
        assert_eq!(json(&node, &["get", "k", "-r", "3"])["values"], Value::Array(Vec::new()));
        assert_eq!(json(&node, &["cart", "show", "k"])["items"], Value::Array(Vec::new()));
        let (code, said) = cartwheel(&["status", "--node", &node]);
        assert!(code == 0 && said.contains("1  short-of-space"), "{said}");
        cluster.ground.stop().await;
    });
}
