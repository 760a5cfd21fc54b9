//! The commands that change members and buckets: plans change nothing, changes are followed until they are done, and
//! bad input is refused with a word on what is allowed.

use std::time::{Duration, Instant};

use cartwheel_harness::fault::{NodeNumber, ZoneNumber};
use serde_json::json;

use crate::{
    cluster::{Cluster, run},
    command::cartwheel,
    refusals::{Row, check, json},
};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command that must succeed; what it said.
fn done(node: &str, arguments: &[&str]) -> String {
    let (code, said) = cartwheel(&[arguments, &["--node", node]].concat());
    assert_eq!(code, 0, "{arguments:?} said:\n{said}");
    said
}

/// A field of a member, as `ring` shows it.
fn seen(node: &str, name: &str, field: &str) -> serde_json::Value {
    let ring = json(node, &["ring"]);
    let members = ring["members"].as_array().expect("members");
    let member = members.iter().find(|member| member["name"] == name);
    member.unwrap_or_else(|| panic!("no {name} in {ring}"))[field].clone()
}

#[test]
fn members_are_listed_planned_for_weighed_and_let_go() {
    run(async {
        let cluster = Cluster::start(4).await;
        let node = cluster.ground.addresses()[0].to_string();
        let names = ["n1", "n2", "n3", "n4"];
        let list = json(&node, &["member", "list"]);
        let nodes = list["nodes"].as_array().expect("nodes");
        assert!(nodes.iter().all(|row| row["status"] == "up"), "{list}");
        let mut listed: Vec<_> = nodes.iter().filter_map(|row| row["name"].as_str()).collect();
        listed.sort_unstable();
        assert_eq!(listed, names);

        done(&node, &["cart", "add", "ann", "milk"]);
        let plan = json(&node, &["member", "weight", "n2", "2", "--plan"]);
        let size = &plan["sizes"][0];
        assert!(size["moves"].as_u64() > Some(0), "{plan}");
        assert!(size["bytes_at_most"].as_u64() > Some(0), "{plan}");
        assert_eq!(json(&node, &["ring"])["layout"], 1, "a plan changes nothing");

        done(&node, &["member", "weight", "n2", "2"]);
        assert_eq!(seen(&node, "n2", "weight"), 2);
        assert!(seen(&node, "n2", "slots").as_u64() > seen(&node, "n3", "slots").as_u64());
        done(&node, &["member", "leave", "n4"]);
        let ring = json(&node, &["ring"]);
        assert_eq!(ring["members"].as_array().map(Vec::len), Some(3), "{ring}");
        assert_eq!(json(&node, &["cart", "show", "ann"])["items"][0]["sku"], "milk");
        assert_eq!(json(&node, &["quiet", "--timeout", "60000"])["quiet"], true);

        let rows: &[Row<'_>] = &[
            (&["member", "leave", "n9"], 254, "there is no node n9; there are n1, n2, n3"),
            (&["member", "weight", "n2", "0"], 1, "allowed is 1 to 1000000"),
            (&["member", "weight", "n2", "heavy"], 254, "invalid digit"),
            (&["member", "withdraw", "abc"], 254, "no wish with the id abc"),
            (&["member", "zone", "n1", ""], 254, "zone"),
        ];
        check(&node, rows);
        assert_eq!(json(&node, &["ring"])["layout"], ring["layout"], "nothing was changed");
        cluster.ground.stop().await;
    });
}

/// Starts a node that knows the cluster and is no member, and waits until the cluster knows it.
async fn newcomer(cluster: &Cluster, number: usize) {
    let (place, zone) = (NodeNumber(number - 1), ZoneNumber(0));
    cluster.ground.start_fresh(place, zone, false).await.expect("it starts");
    let (node, name) = (cluster.ground.addresses()[0].to_string(), format!("n{number}"));
    let began = Instant::now();
    loop {
        let list = json(&node, &["member", "list"]);
        let nodes = list["nodes"].as_array().expect("nodes");
        if nodes.iter().any(|row| row["name"] == name.as_str()) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{name} is not known: {list}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many former members the layout lists as draining.
fn draining(node: &str) -> usize {
    let list = json(node, &["member", "list"]);
    list["view"]["draining"].as_array().map_or(0, Vec::len)
}

#[test]
fn newcomers_join_and_replace_and_the_dead_are_removed_and_forgotten() {
    run(async {
        let cluster = Cluster::start(4).await;
        let node = cluster.ground.addresses()[0].to_string();
        done(&node, &["cart", "add", "ann", "milk"]);
        newcomer(&cluster, 5).await;
        let plan = json(&node, &["member", "join", "n5", "--plan"]);
        let nodes = plan["sizes"][0]["nodes"].as_array().expect("nodes").iter();
        let gets = nodes.map(|row| row["gets"].as_array().map_or(0, Vec::len)).sum::<usize>();
        assert_eq!(plan["sizes"][0]["moves"], gets, "the plan names what moves: {plan}");
        done(&node, &["member", "join", "n5"]);
        assert!(seen(&node, "n5", "slots").as_u64() > Some(0));

        newcomer(&cluster, 6).await;
        cluster.kill(1).await;
        let seats = seen(&node, "n2", "slots");
        done(&node, &["member", "replace", "n2", "n6"]);
        assert_eq!(seen(&node, "n6", "slots"), seats, "it has n2's seat");
        assert_eq!(draining(&node), 1, "n2 may hold the only copy of something");
        done(&node, &["member", "forget", "n2"]);
        assert_eq!(draining(&node), 0);

        cluster.kill(2).await;
        done(&node, &["member", "remove", "n3"]);
        done(&node, &["member", "forget", "n3"]);
        done(&node, &["member", "zone", "n4", "z2"]);
        assert_eq!(seen(&node, "n4", "zone"), "z2");
        let said = done(&node, &["status"]);
        assert!(said.contains("2 zones"), "status says how many zones hold a partition:\n{said}");
        assert_eq!(json(&node, &["quiet", "--timeout", "60000"])["quiet"], true);
        assert_eq!(json(&node, &["cart", "show", "ann"])["items"][0]["sku"], "milk");

        let rows: &[Row<'_>] = &[
            (&["member", "join", "n9"], 254, "there is no node n9"),
            (&["member", "replace", "n1", "n9"], 254, "there is no node n9"),
            (&["member", "replace", "n1", "n4"], 254, "n4 is a member already"),
            (&["member", "forget", "n1"], 1, "n1"),
        ];
        check(&node, rows);
        cluster.ground.stop().await;
    });
}

#[test]
fn buckets_are_created_listed_and_set() {
    run(async {
        let cluster = Cluster::start(3).await;
        let node = cluster.ground.addresses()[0].to_string();
        done(&node, &["bucket", "create", "orders", "--kind", "cart"]);
        done(&node, &["cart", "add", "ann", "milk", "--bucket", "orders"]);
        done(&node, &["bucket", "set", "orders", "-r", "1", "-w", "3"]);
        let buckets = json(&node, &["bucket", "list"]);
        let orders = buckets.as_array().and_then(|all| all.iter().find(|b| b["name"] == "orders"));
        let orders = orders.unwrap_or_else(|| panic!("no orders in {buckets}"));
        assert_eq!((&orders["r"], &orders["w"]), (&json!(1), &json!(3)));
        let rows: &[Row<'_>] = &[
            (&["bucket", "create", "Bad Name"], 254, "1 to 64"),
            (&["bucket", "create", "x", "--kind", "list"], 254, "register, cart"),
            (&["bucket", "create", "x", "-n", "0"], 254, "n"),
            (&["bucket", "create", "x", "--strict-r", "1", "--strict-w", "1"], 254, "strict"),
            (&["bucket", "set", "nowhere", "-r", "1"], 254, "there is no bucket nowhere"),
            (&["bucket", "set", "orders", "-w", "4"], 1, "allowed is 1 to n"),
        ];
        check(&node, rows);
        let after = json(&node, &["bucket", "list"]);
        assert_eq!(after, buckets, "nothing was changed");
        cluster.ground.stop().await;
    });
}

#[test]
fn a_change_that_is_taken_back_under_way_is_not_reported_as_done() {
    run(async {
        let cluster = Cluster::start(4).await;
        let node = cluster.ground.addresses()[0].to_string();
        cluster.kill(3).await;
        // It would have to catch up, and is dead.
        let weigh = {
            let node = node.clone();
            let weight = ["member", "weight", "n4", "5", "--node"];
            std::thread::spawn(move || cartwheel(&[&weight[..], &[node.as_str()]].concat()))
        };
        let began = Instant::now();
        let id = loop {
            let list = json(&node, &["member", "list"]);
            if let Some(id) = list["view"]["under_way"][0].as_str() {
                break id.to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "the change is not under way: {list}");
            assert!(!weigh.is_finished(), "it ended by itself: {:?}", weigh.join());
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let said = done(&node, &["member", "withdraw", &id]);
        assert!(said.contains("done: layout"), "{said}");
        let (code, said) = weigh.join().expect("the command ends");
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("not carried out"), "{said}");
        assert_eq!(seen(&node, "n4", "weight"), 1);
        cluster.ground.stop().await;
    });
}

#[test]
fn quiet_says_what_it_waits_for() {
    run(async {
        let cluster = Cluster::start(3).await;
        let node = cluster.ground.addresses()[0].to_string();
        cluster.kill(2).await;
        let (code, said) = cartwheel(&["quiet", "--timeout", "1000", "--node", &node]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("n3"), "it does not name n3:\n{said}");
        cluster.ground.stop().await;
    });
}
