//! Reap rounds on whole nodes: what is deleted everywhere goes, what is live stays, and a node that is away stops them.

use std::time::{Instant, SystemTime};

use cartwheel_client::reaping::{Freed, ReapEnd, ReapSeen, made_before};
use cartwheel_node::EngineKind;
use cartwheel_protocol::id::AddId;
use cartwheel_protocol::request::{Operation, Refusal, Request, Response};

use crate::cluster::{Client, Cluster, PATIENCE, add, cancel, get, get_local, put};

const KEYS: usize = 40;

fn by_all(request: Request) -> Request {
    Request { quorum: Some(3), ..request }
}

/// Deletes what a read of the key shows.
async fn delete(client: &Client, name: &str) {
    let Response::Found { context, .. } = client.answer(&by_all(get(name))).await else {
        panic!("{name} is not found");
    };
    let operation = Operation::Delete { context: Some(context) };
    client.write(&by_all(Request { operation, ..get(name) })).await;
}

/// Waits until a node's run is over.
async fn ended(client: &Client) -> ReapSeen {
    let began = Instant::now();
    loop {
        let seen = client.reaping().await;
        if seen.permille.is_none() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "reaping is not over within {PATIENCE:?}: {seen:?}");
        tokio::task::yield_now().await;
    }
}

async fn reaps(client: &Client, up_to: Option<AddId>) -> ReapSeen {
    assert_eq!(client.reap(up_to).await, Ok(()));
    ended(client).await
}

/// Whether a run came through. One that ended because a node was away is to be repeated: where the machine stood still for a
/// moment, all nodes are there and one is suspected all the same.
fn came_through(seen: &ReapSeen) -> bool {
    assert!(matches!(seen.end, Some(ReapEnd::Done | ReapEnd::Away(_))), "{seen:?}");
    seen.end == Some(ReapEnd::Done)
}

/// Has a node, while all are there, reap until a run comes through.
async fn comes_through(client: &Client, up_to: Option<AddId>) {
    let began = Instant::now();
    loop {
        let seen = reaps(client, up_to).await;
        if came_through(&seen) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "no run comes through: {seen:?}");
    }
}

async fn clients(cluster: &Cluster) -> [Client; 3] {
    [cluster.client(0).await, cluster.client(1).await, cluster.client(2).await]
}

async fn freed(clients: &[Client]) -> Freed {
    let mut sum = Freed::default();
    for client in clients {
        sum = sum.and(client.reaping().await.freed);
    }
    sum
}

#[tokio::test]
async fn what_was_deleted_goes_from_every_owner_and_what_is_live_stays() {
    let cluster = Cluster::start(3, EngineKind::Sled).await;
    let clients = clients(&cluster).await;
    for number in 0..2 * KEYS {
        clients[number % 3].write(&by_all(put(&format!("k{number}"), b"v"))).await;
    }
    for number in 0..KEYS {
        delete(&clients[number % 3], &format!("k{number}")).await;
    }
    // Two at once end each other's rounds; neither frees what it must not, and both come to an end.
    let began = Instant::now();
    loop {
        assert_eq!(clients[0].reap(None).await, Ok(()));
        assert_eq!(clients[1].reap(None).await, Ok(()));
        let together = [ended(&clients[0]).await, ended(&clients[1]).await];
        if together.each_ref().map(came_through) == [true, true] {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "they do not come through: {together:?}");
    }

    let began = Instant::now();
    while freed(&clients).await.records < 3 * KEYS as u64 {
        assert!(began.elapsed() < PATIENCE, "{:?}", freed(&clients).await);
        for client in &clients {
            comes_through(client, None).await;
        }
    }
    assert_eq!(freed(&clients).await.records, 3 * KEYS as u64, "no more than was deleted");
    for number in 0..2 * KEYS {
        let name = format!("k{number}");
        for client in &clients {
            let Response::Held { object, .. } = client.answer(&get_local(&name)).await else {
                panic!("{name} is not held");
            };
            assert_eq!(object.seen().is_empty(), number < KEYS, "{name}");
            assert_eq!(object.values().len(), usize::from(number >= KEYS), "{name}");
        }
    }
    let counts = cluster.node(0).status().counts;
    let count = counts.iter().find(|(name, _)| name == "reaped-records");
    assert_eq!(count.map(|(_, count)| *count), Some(KEYS as u64), "status tells of it");
}

#[tokio::test]
async fn a_run_ends_where_a_node_is_away_and_frees_nothing() {
    let mut cluster = Cluster::start(3, EngineKind::Sled).await;
    let client = cluster.client(0).await;
    for number in 0..KEYS {
        client.write(&by_all(put(&format!("k{number}"), b"v"))).await;
        delete(&client, &format!("k{number}")).await;
    }
    let away = cluster.node(2).status().node;
    cluster.kill(2).await;
    cluster.wait_for("its silence is noticed", |status| status.suspected == [away]).await;
    let seen = reaps(&client, None).await;
    assert_eq!((seen.end, seen.rounds), (Some(ReapEnd::Away(away)), 0));
    assert_eq!(seen.freed, Freed::default());
    cluster.restart(2).await.expect("it starts");
    cluster.wait_for("all trust each other", |status| status.suspected.is_empty()).await;
    let began = Instant::now();
    while reaps(&client, None).await.freed.records == 0 {
        assert!(began.elapsed() < PATIENCE, "nothing is reaped though all are here");
    }
}

#[tokio::test]
async fn a_cancelled_addition_goes_and_one_as_old_is_refused_from_then_on() {
    let cluster = Cluster::start(3, EngineKind::Sled).await;
    let clients = clients(&cluster).await;
    let hours_ago =
        |hours: u64| made_before(SystemTime::now(), std::time::Duration::from_secs(3_600 * hours));
    let (old, older, young) = (hours_ago(30), hours_ago(40), hours_ago(1));
    for (add_id, sku) in [(old, "milk"), (young, "bread")] {
        clients[0].write(&by_all(add("ann", add_id.0, sku, 1))).await;
        clients[0].write(&by_all(cancel("ann", add_id.0))).await;
    }
    clients[0].write(&by_all(add("ann", hours_ago(2).0, "eggs", 6))).await;
    let began = Instant::now();
    while freed(&clients).await.cancelled < 3 {
        assert!(began.elapsed() < PATIENCE, "the old cancellation stays");
        for client in &clients {
            comes_through(client, Some(hours_ago(24))).await;
        }
    }
    assert_eq!(freed(&clients).await.cancelled, 3, "the young one stays");
    let refused = clients[1].answer(&add("ann", older.0, "milk", 1)).await;
    assert_eq!(refused, Response::Refused(Refusal::TooOld(old)));
    clients[1].write(&by_all(add("ann", young.0, "bread", 1))).await;
    assert_eq!(clients[2].cart("ann").await, [("eggs".to_owned(), 6)], "it stays cancelled");
}

#[tokio::test]
async fn a_node_with_a_schedule_reaps_by_itself() {
    let cluster = Cluster::start_with(3, EngineKind::Sled, |number, config| {
        (config.reap_every_s, config.reap_older_than_s) = (u32::from(number == 2), 60);
    })
    .await;
    let clients = clients(&cluster).await;
    for number in 0..KEYS {
        clients[0].write(&by_all(put(&format!("k{number}"), b"v"))).await;
        delete(&clients[0], &format!("k{number}")).await;
    }
    let began = Instant::now();
    while clients[2].reaping().await.freed.records == 0 || clients[2].reaping().await.runs == 0 {
        assert!(began.elapsed() < PATIENCE, "the third node reaps nothing by itself");
        tokio::task::yield_now().await;
    }
}
