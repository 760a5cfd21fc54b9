//! What was acknowledged survives the death of every process at once.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use cartwheel_harness::ground::Ground;
use futures::future::join_all;
use tokio::sync::watch;

use crate::cluster::{Cluster, add_id, run};

const NODES: usize = 3;
const ROUNDS: usize = 10;
const WRITERS: usize = 8;
/// How much is acknowledged in a round before the nodes are killed.
const ACKNOWLEDGED_PER_ROUND: usize = 40;
const ROUND_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn killing_all_nodes_at_once_under_load_loses_nothing_acknowledged() {
    run(async {
        let cluster = Cluster::start(NODES).await;
        let acknowledged = RefCell::new(BTreeMap::<String, Vec<String>>::new());
        for round in 0..ROUNDS {
            let load = load_until_killed(&cluster, &acknowledged, round);
            let done = tokio::time::timeout(ROUND_WITHIN, load).await;
            done.unwrap_or_else(|_| panic!("round {round} had too few acknowledgements"));
            for node in 0..NODES {
                cluster.restart(node).await;
            }
            cluster.ground.ready().await.expect("all nodes answer again");
            let so_far = acknowledged.borrow().clone();
            for (cart, ids) in &so_far {
                let shown = cluster.show(None, cart, Some(2)).await;
                let lost: Vec<_> = ids.iter().filter(|id| !shown.contains(id)).collect();
                assert!(lost.is_empty(), "round {round}: {cart} has lost {lost:?}");
            }
        }
        let total: usize = acknowledged.borrow().values().map(Vec::len).sum();
        assert!(total >= ROUNDS * ACKNOWLEDGED_PER_ROUND, "only {total} were acknowledged");
        cluster.ground.stop().await;
    });
}

/// Writers add to carts of their own until all nodes are dead; these die in the middle of it.
async fn load_until_killed(
    cluster: &Cluster,
    acknowledged: &RefCell<BTreeMap<String, Vec<String>>>,
    round: usize,
) {
    let (count, mut counted) = watch::channel(0);
    let dead = Cell::new(false);
    let writer = async |writer: usize| {
        let cart = format!("cart-{round}-{writer}");
        while !dead.get() {
            let id = add_id();
            if cluster.add(None, &cart, &id, Some(2)).await.is_ok() {
                acknowledged.borrow_mut().entry(cart.clone()).or_default().push(id);
                count.send_modify(|count| *count += 1);
            }
        }
    };
    let killer = async {
        let enough = counted.wait_for(|count| *count >= ACKNOWLEDGED_PER_ROUND).await;
        drop(enough.expect("the writers count"));
        join_all((0..NODES).map(|node| cluster.kill(node))).await;
        dead.set(true);
    };
    tokio::join!(join_all((0..WRITERS).map(writer)), killer);
}
