//! Owners that compare their trees: what one missed comes to it without a read, a hint or a fallback, and then nothing more is
//! repaired.

use std::time::{Duration, Instant};

use cartwheel_client::members::Members;
use cartwheel_client::{Connecting, Connection};
use cartwheel_node::EngineKind;

use crate::cluster::{Cluster, PATIENCE, get_local, put};
use crate::page;

const NODES: usize = 3;
const KEYS: usize = 40;

/// What each node says of its trees.
async fn look(cluster: &Cluster) -> Vec<Members> {
    let mut all = Vec::new();
    for number in 0..NODES {
        let address = cluster.node(number).address().to_string();
        let connection = Connection::open(&address, &Connecting::default()).await;
        let connection = connection.expect("the node takes a client");
        all.push(connection.members(PATIENCE).await.expect("the node answers"));
    }
    all
}

/// Waits until all nodes are as wanted; gives what they say then.
async fn wait_for(cluster: &Cluster, what: &str, is_so: impl Fn(&Members) -> bool) -> Vec<Members> {
    let began = Instant::now();
    loop {
        let all = look(cluster).await;
        if all.iter().all(&is_so) {
            return all;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; {all:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether every tree is whole and known to be equal to each partner's.
fn is_equal(node: &Members) -> bool {
    node.shards
        .iter()
        .all(|shard| shard.exchanges > 0 && shard.trees_left == 0 && shard.equal == shard.exchanges)
}

fn repaired(nodes: &[Members]) -> u64 {
    nodes.iter().flat_map(|node| &node.trees).map(|range| range.repaired).sum()
}

#[tokio::test]
async fn an_owner_that_missed_writes_becomes_equal_without_a_read_and_then_nothing_is_repaired() {
    let mut cluster = Cluster::start_with(NODES, EngineKind::Sled, |number, config| {
        config.fallbacks = false;
        config.anti_entropy_rest_ms = 20;
        config.http = (number == 0).then_some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let fresh = wait_for(&cluster, "all trees are equal at first", is_equal).await;
    assert_eq!(repaired(&fresh), 0, "there is nothing to repair");
    let client = cluster.client(0).await;
    let value = |number: usize| format!("v{number}").into_bytes();
    cluster.kill(2).await;
    for number in 0..KEYS {
        client.write(&put(&format!("k{number}"), &value(number))).await;
    }
    cluster.restart(2).await.expect("the store is sound");
    let equal = wait_for(&cluster, "all trees are equal again", is_equal).await;
    let back = cluster.client(2).await;
    for number in 0..KEYS {
        let name = format!("k{number}");
        assert_eq!(back.values(&get_local(&name)).await, [value(number)], "{name}");
    }
    let count = repaired(&equal);
    assert!(count >= KEYS as u64, "{count} keys were repaired");
    for range in equal.iter().flat_map(|node| &node.trees) {
        assert_eq!(range.compared, range.trees, "each tree had a full exchange: {range:?}");
    }
    let http = cluster.node(0).http_address().expect("it was asked for");
    let metrics = page(http, "/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("cartwheel_repaired_keys_total "));
    let counted = line.and_then(|count| count.parse::<u64>().ok());
    // All nodes of this process count together.
    assert!(counted >= Some(count), "{counted:?} of {count}");

    let idle = Instant::now();
    let again = wait_for(&cluster, "every tree is compared again", |node| {
        let since_ms = idle.elapsed().as_millis() as u64;
        node.trees.iter().all(|range| range.oldest_ms < since_ms)
    })
    .await;
    assert_eq!(repaired(&again), count, "nothing is repaired while nothing is written");
}
