//! How far the trees of a cluster are, as its nodes tell.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cartwheel_client::members::{Members, ShardSeen};

use crate::ground::process::{Connection, ProcessGround};

/// How long trees may take to be whole, or keys to be repaired.
pub(super) const WITHIN: Duration = Duration::from_secs(600);
/// The time between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long one look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// What the nodes with which the cluster began say, in order.
pub(super) async fn look(
    ground: &ProcessGround,
    connection: &Connection,
) -> anyhow::Result<Vec<Members>> {
    let places = 0..ground.addresses().len();
    futures::future::try_join_all(places.map(|place| look_at(ground, connection, place))).await
}

/// What one of them says.
pub(super) async fn look_at(
    ground: &ProcessGround,
    connection: &Connection,
    place: usize,
) -> anyhow::Result<Members> {
    let client = connection.client().await.context("no node answers")?;
    let address = ground.addresses()[place].to_string();
    Ok(client.members_at(&address, LOOK_WITHIN).await?)
}

/// Whether all trees of a node are whole. A shard that has no view yet has none to build either: only one that has
/// exchanges before it can have been through with them.
pub(super) fn are_whole(node: &Members) -> bool {
    let is_whole = |shard: &ShardSeen| shard.exchanges > 0 && shard.trees_left == 0;
    !node.shards.is_empty() && node.shards.iter().all(is_whole)
}

/// How many keys these nodes' exchanges have found to differ since each of them started.
pub(super) fn repaired(nodes: &[Members]) -> u64 {
    nodes.iter().flat_map(|node| &node.trees).map(|range| range.repaired).sum()
}

/// Refuses a cluster that has no trees, where nothing of them can be waited for.
pub(super) fn check(nodes: &[Members]) -> anyhow::Result<()> {
    if !nodes.iter().all(are_whole) {
        bail!("a node has no trees to compare: this needs two nodes or more, with anti-entropy");
    }
    Ok(())
}

/// Waits until the trees of one node, which was started at that time, are whole.
pub(super) async fn wait_until_whole(
    ground: &ProcessGround,
    connection: &Connection,
    (place, started): (usize, Instant),
) -> anyhow::Result<()> {
    while !are_whole(&look_at(ground, connection, place).await?) {
        if started.elapsed() > WITHIN {
            bail!("the trees are not whole within {} s", WITHIN.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(shards: &[(u64, u64)]) -> Members {
        let shard =
            |&(exchanges, trees_left)| ShardSeen { exchanges, trees_left, ..ShardSeen::default() };
        Members { shards: shards.iter().map(shard).collect(), ..Members::default() }
    }

    #[test]
    fn trees_are_whole_where_there_are_some_and_none_is_left_to_build() {
        assert!(are_whole(&node(&[(6, 0), (6, 0)])));
        assert!(!are_whole(&node(&[(6, 0), (6, 2)])), "some are being built");
        assert!(!are_whole(&node(&[(6, 0), (0, 0)])), "a shard has no view yet");
        assert!(!are_whole(&node(&[])), "there are no shards yet");
        assert!(check(&[node(&[(6, 0)]), node(&[(0, 0)])]).is_err());
    }
}
