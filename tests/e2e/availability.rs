//! Writes go on as long as one node is left that may count.

use crate::cluster::{Cluster, add_id, run};

#[test]
fn with_two_of_five_nodes_dead_writes_go_on() {
    run(async {
        let cluster = Cluster::start(5).await;
        cluster.kill(1).await;
        cluster.kill(3).await;
        for cart in 0..40 {
            let (cart, id) = (format!("cart-{cart}"), add_id());
            let added = cluster.add(None, &cart, &id, Some(2)).await;
            added.unwrap_or_else(|error| panic!("{cart} took no addition: {error}"));
            assert_eq!(cluster.show(None, &cart, Some(2)).await, [id]);
        }
        cluster.ground.stop().await;
    });
}

#[test]
fn with_w_1_and_one_of_three_nodes_alive_writes_go_on() {
    run(async {
        let cluster = Cluster::start(3).await;
        cluster.kill(0).await;
        cluster.kill(2).await;
        for cart in 0..40 {
            let (cart, id) = (format!("cart-{cart}"), add_id());
            let added = cluster.add(Some(1), &cart, &id, Some(1)).await;
            added.unwrap_or_else(|error| panic!("{cart} took no addition: {error}"));
            assert_eq!(cluster.show(Some(1), &cart, Some(1)).await, [id]);
        }
        let refused = cluster.add(Some(1), "cart-w2", &add_id(), Some(2)).await;
        let error = refused.expect_err("one of three nodes cannot hold two copies");
        assert!(!error.definite, "the copy at the living node may still count: {error}");
        cluster.ground.stop().await;
    });
}
