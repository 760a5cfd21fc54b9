//! Records whose checksums fail: nobody is told that they are not there, and the other owners mend them.

use bytes::Bytes;
use cartwheel_node::EngineKind;
use cartwheel_node::engine::{Batch, Engine, SledEngine};
use cartwheel_protocol::request::{Refusal, Request, Response};

use crate::cluster::{Cluster, PATIENCE, accept_loss, get, get_local, put};

const KEYS: usize = 100;

/// Spoils every record of a node that does not run; says how many.
fn spoil_all(cluster: &Cluster, number: usize) -> usize {
    let path = cluster.configs[number].data.join("sled");
    let engine = SledEngine::open(&path).expect("the store of a node that has ended");
    let records = engine.scan(&[0x10], Some(&[0x11]), 10 * KEYS).expect("it can be listed");
    let mut batch = Batch::new();
    for (key, value) in &records {
        let mut bytes = value.clone().expect("it can be read").to_vec();
        bytes[0] ^= 0x40;
        batch.write(key.clone(), Some(Bytes::from(bytes)));
    }
    engine.commit(batch).expect("it commits");
    records.len()
}

fn strictly(request: Request) -> Request {
    Request { strict: true, ..request }
}

#[tokio::test]
async fn a_node_all_of_whose_records_are_damaged_is_mended_by_the_others() {
    let mut cluster = Cluster::start(3, EngineKind::Sled).await;
    let client = cluster.client(0).await;
    let value = |number: usize| format!("v{number}").into_bytes();
    for number in 0..KEYS {
        let all = Request { quorum: Some(3), ..put(&format!("k{number}"), &value(number)) };
        client.write(&all).await;
    }
    let view = cluster.node(0).status().view;
    cluster.kill(2).await;
    assert_eq!(spoil_all(&cluster, 2), KEYS);
    cluster.restart(2).await.expect("it starts");

    let damaged = cluster.client(2).await;
    for number in 0..KEYS {
        let name = format!("k{number}");
        assert_eq!(damaged.values(&strictly(get(&name))).await, [value(number)], "{name}");
        match damaged.answer(&get_local(&name)).await {
            Response::Refused(Refusal::Damaged) => {}
            Response::Held { object, .. } => assert_eq!(object.values().len(), 1, "{name}"),
            other @ (Response::Found { .. } | Response::Written { .. } | Response::Refused(_)) => {
                panic!("{name}: {other}")
            }
        }
    }
    let is_whole = |counts: &[(String, u64)]| {
        counts.iter().all(|(name, count)| name != "unmended" || *count == 0)
    };
    let began = std::time::Instant::now();
    for number in 0..KEYS {
        let name = format!("k{number}");
        while damaged.answer(&get_local(&name)).await == Response::Refused(Refusal::Damaged) {
            assert!(began.elapsed() < PATIENCE, "{name} is not mended within {PATIENCE:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(damaged.values(&get_local(&name)).await, [value(number)], "{name}");
    }
    cluster.wait_for("nothing is left to mend", |status| is_whole(&status.counts)).await;
    assert_ne!(cluster.node(0).status().view, view, "the view was raised");
}

#[tokio::test]
async fn a_record_that_most_owners_have_lost_is_whole_again_when_its_loss_is_accepted() {
    let mut cluster = Cluster::start(3, EngineKind::Sled).await;
    let client = cluster.client(0).await;
    client.write(&Request { quorum: Some(3), ..put("k", b"v") }).await;
    let sound = Response::Refused(Refusal::NotDamaged);
    assert_eq!(client.answer(&accept_loss("k")).await, sound);
    for number in [1, 2] {
        cluster.kill(number).await;
    }
    for number in [1, 2] {
        assert_eq!(spoil_all(&cluster, number), 1);
        cluster.restart(number).await.expect("it starts");
    }
    let damaged = cluster.client(2).await;
    let marked = Response::Refused(Refusal::Damaged);
    assert_eq!(damaged.answer(&get_local("k")).await, marked);

    cluster.kill(0).await;
    let impatient = Request { timeout_ms: 1_500, ..accept_loss("k") };
    let refused = damaged.answer(&impatient).await;
    let Response::Refused(Refusal::OwnersSilent { answered, owners: 2 }) = refused else {
        panic!("{refused}");
    };
    assert!(answered < 2, "one owner is down");
    cluster.restart(0).await.expect("it starts");
    let accepted = damaged.answer(&accept_loss("k")).await;
    let Response::Held { object, .. } = accepted else { panic!("{accepted}") };
    assert_eq!(object.values().len(), 1, "what the third owner holds is kept");
    assert_eq!(damaged.values(&get_local("k")).await, [b"v"]);
    let is_whole = |counts: &[(String, u64)]| {
        counts.iter().all(|(name, count)| name != "unmended" || *count == 0)
    };
    cluster.wait_for("the other owner mends its copy", |status| is_whole(&status.counts)).await;
    assert_eq!(damaged.values(&strictly(get("k"))).await, [b"v"]);
}
