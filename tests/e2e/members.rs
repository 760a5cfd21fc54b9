//! The commands that change members and buckets: plans change nothing, changes are followed until they are done, and
//! bad input is refused with a word on what is allowed.

use std::time::{Duration, Instant};

use cartwheel_client::{Client, Look};
use cartwheel_harness::fault::{NodeNumber, ZoneNumber};
use serde_json::{Value, json};

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

/// A field of a member, as `ring` shows it; null where it is not listed.
fn seen(node: &str, name: &str, field: &str) -> Value {
    let ring = json(node, &["ring"]);
    let members = ring["members"].as_array().expect("members");
    let member = members.iter().find(|member| member["name"] == name);
    member.map_or(Value::Null, |member| member[field].clone())
}

/// Looks until it is so; what was seen then. A change is done where one node goes by the new layout, and the one that is asked may
/// be the last to follow.
async fn until(what: &str, look: impl Fn() -> Value, is_so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let seen = look();
        if is_so(&seen) {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; {seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn members_are_listed_planned_for_weighed_and_let_go() {
    run(async {
        let cluster = Cluster::start(4).await;
        let node = cluster.ground.addresses()[0].to_string();
        let names = ["n1", "n2", "n3", "n4"];
        let all_up = |list: &Value| {
            let nodes = list["nodes"].as_array().expect("nodes");
            nodes.iter().all(|row| row["status"] == "up")
        };
        let list = until("all are up", || json(&node, &["member", "list"]), all_up).await;
        let nodes = list["nodes"].as_array().expect("nodes");
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
        until("n2 weighs 2", || seen(&node, "n2", "weight"), |weight| *weight == 2).await;
        assert!(seen(&node, "n2", "slots").as_u64() > seen(&node, "n3", "slots").as_u64());
        done(&node, &["member", "leave", "n4"]);
        let are_three = |ring: &Value| ring["members"].as_array().map(Vec::len) == Some(3);
        let ring = until("three members are left", || json(&node, &["ring"]), are_three).await;
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

/// Starts a node that knows the cluster and is no member, and waits until every member knows it: any of them may be asked.
async fn newcomer(cluster: &Cluster, number: usize) {
    let (place, zone) = (NodeNumber(number - 1), ZoneNumber(0));
    cluster.ground.start_fresh(place, zone, false).await.expect("it starts");
    let (node, name) = (cluster.ground.addresses()[0].to_string(), format!("n{number}"));
    let client = Client::connect([node]).await.expect("the first node answers");
    let began = Instant::now();
    loop {
        let looks = client.look(PATIENCE).await.expect("a node tells who there is");
        let knows = |look: &Look| {
            look.says.as_ref().is_ok_and(|says| says.rows.iter().any(|row| row.name == name))
        };
        if looks.iter().all(knows) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{name} is not known to all: {looks:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many former members the layout lists as draining.
fn draining(node: &str) -> Value {
    let list = json(node, &["member", "list"]);
    json!(list["view"]["draining"].as_array().map_or(0, Vec::len))
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
        let has_some = |slots: &Value| slots.as_u64() > Some(0);
        until("n5 has slots", || seen(&node, "n5", "slots"), has_some).await;

        newcomer(&cluster, 6).await;
        cluster.kill(1).await;
        let seats = seen(&node, "n2", "slots");
        assert!(seats.as_u64() > Some(0), "{seats}");
        done(&node, &["member", "replace", "n2", "n6"]);
        until("n6 has n2's seat", || seen(&node, "n6", "slots"), |slots| *slots == seats).await;
        let only_copy = "n2 drains: it may hold the only copy of something";
        until(only_copy, || draining(&node), |count| *count == 1).await;
        done(&node, &["member", "forget", "n2"]);
        until("n2 is given up", || draining(&node), |count| *count == 0).await;

        cluster.kill(2).await;
        done(&node, &["member", "remove", "n3"]);
        done(&node, &["member", "forget", "n3"]);
        done(&node, &["member", "zone", "n4", "z2"]);
        until("n4 is in z2", || seen(&node, "n4", "zone"), |zone| *zone == "z2").await;
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

/// Adds to a cart in a new bucket, which a node refuses as long as it does not go by the layout that has it.
async fn first_addition(node: &str, bucket: &str) {
    let add = ["cart", "add", "ann", "milk", "--bucket", bucket, "--node", node];
    let began = Instant::now();
    loop {
        let (code, said) = cartwheel(&add);
        if code == 0 {
            return;
        }
        assert!(code == 1 && said.contains("no bucket"), "{code}: {said}");
        assert!(began.elapsed() < PATIENCE, "{bucket} stays unknown: {said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn buckets_are_created_listed_and_set() {
    run(async {
        let cluster = Cluster::start(3).await;
        let node = cluster.ground.addresses()[0].to_string();
        let list = || json(&node, &["bucket", "list"]);
        let orders = |buckets: &Value| {
            let orders = buckets.as_array()?.iter().find(|bucket| bucket["name"] == "orders")?;
            Some((orders["r"].clone(), orders["w"].clone()))
        };
        done(&node, &["bucket", "create", "orders", "--kind", "cart"]);
        until("the bucket is listed", list, |buckets| orders(buckets).is_some()).await;
        first_addition(&node, "orders").await;
        done(&node, &["bucket", "set", "orders", "-r", "1", "-w", "3"]);
        let are_set = |buckets: &Value| orders(buckets) == Some((json!(1), json!(3)));
        let buckets = until("r and w are set", list, are_set).await;
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
