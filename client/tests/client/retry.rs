//! The rules of retrying: what is sent again, where, with which ids, and what the client is told (F1).

use std::{sync::Arc, time::Duration};

use crate::support::{Act, CLUSTER, Cluster, WRITTEN, node_id, until};
use cartwheel_client::{
    Ask, Client, ClientConfig, Connecting, Doubt, Error, Limits, Options, Written, new_add_id,
};
use cartwheel_protocol::{
    context::{Binding, Context},
    object::{Addition, Object},
    request::{Operation, Refusal, Request, Response},
    version::VersionVector,
};

const ACKNOWLEDGED: Written = Written { slots: 2, nodes: 2, zones: 1 };

fn refused(refusal: Refusal) -> Act {
    Act::Answer(Response::Refused(refusal))
}

fn unavailable() -> Act {
    refused(Refusal::Unavailable { have: 1, need: 2 })
}

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start(&Limits::default()).await;
    let client = client_of(&cluster).await;
    (cluster, client)
}

async fn client_of(cluster: &Cluster) -> Client {
    let config = ClientConfig {
        connecting: Connecting { cluster: Some(CLUSTER), ..Connecting::default() },
        patience: Duration::from_millis(500),
        grace: Duration::from_millis(500),
    };
    Client::connect_with(cluster.addresses.clone(), config).await.unwrap()
}

fn registers(timeout_ms: u64) -> Options {
    Options::default().within(Duration::from_millis(timeout_ms))
}

fn carts(timeout_ms: u64) -> Options {
    Options::bucket("carts").within(Duration::from_millis(timeout_ms))
}

fn milk() -> Addition {
    Addition { add_id: new_add_id(), sku: "milk".into(), quantity: 2 }
}

fn nothing_found(request: &str) -> Response {
    let key = cartwheel_protocol::key::Key::new(
        cartwheel_protocol::bucket::BucketName::new("default").unwrap(),
        request.as_bytes(),
    );
    let context = Context::new(Binding::new(CLUSTER, &key), VersionVector::default());
    Response::Found { object: Object::new(), context, owners: 2, fallbacks: 0 }
}

fn operations(requests: Vec<Request>) -> Vec<Operation> {
    requests.into_iter().map(|request| request.operation).collect()
}

#[tokio::test]
async fn a_cart_operation_is_repeated_with_the_same_ids_at_the_next_owner() {
    let (cluster, client) = cluster().await;
    cluster.nodes[0].will([Act::Silence]);
    cluster.nodes[1].will([unavailable()]);
    cluster.nodes[2].will([Act::Answer(WRITTEN)]);
    let added = milk();
    let cart = client.cart_with("alice", carts(5_000));
    assert_eq!(cart.change(&[], Some(added.clone())).await, Ok(ACKNOWLEDGED));
    let sent = Operation::Change { cancel: Arc::from([]), add: Some(added), context: None };
    for node in &cluster.nodes {
        assert_eq!(operations(node.asked()), std::slice::from_ref(&sent));
    }
}

#[tokio::test]
async fn a_register_put_that_met_silence_is_not_sent_again() {
    let (cluster, client) = cluster().await;
    cluster.nodes[0].will([Act::Silence]);
    let put = client.put(b"k", None, b"v", &registers(1_000)).await;
    assert!(matches!(put, Err(Error::Unknown(Doubt::Silence(_)))), "{put:?}");
    let sent: Vec<usize> = cluster.nodes.iter().map(|node| node.asked().len()).collect();
    assert_eq!(sent, [1, 0, 0]);
}

#[tokio::test]
async fn a_register_delete_and_a_partial_put_are_not_sent_again_either() {
    let (cluster, client) = cluster().await;
    cluster.nodes[0].will([Act::Silence, unavailable()]);
    let deleted = client.delete(b"k", None, &registers(1_000)).await;
    assert!(matches!(deleted, Err(Error::Unknown(Doubt::Silence(_)))), "{deleted:?}");
    let first = registers(5_000).asking(Ask::First(node_id(0)));
    let put = client.put(b"k", None, b"v", &first).await;
    assert_eq!(put, Err(Error::Unknown(Doubt::Unavailable { have: 1, need: 2 })));
    let sent: Vec<usize> = cluster.nodes.iter().map(|node| node.asked().len()).collect();
    assert_eq!(sent, [2, 0, 0]);
}

#[tokio::test]
async fn a_register_put_goes_on_after_a_definite_refusal_with_the_same_id() {
    let (cluster, client) = cluster().await;
    cluster.nodes[0].will([refused(Refusal::Overloaded)]);
    cluster.nodes[1].will([refused(Refusal::DiskFull)]);
    cluster.nodes[2].will([Act::Answer(WRITTEN)]);
    assert_eq!(client.put(b"k", None, b"v", &registers(5_000)).await, Ok(ACKNOWLEDGED));
    let sent: Vec<Operation> =
        cluster.nodes.iter().flat_map(|node| operations(node.asked())).collect();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|operation| *operation == sent[0]));
}

#[tokio::test]
async fn a_node_that_is_not_ready_or_short_of_space_is_not_the_only_one() {
    for refusal in [Refusal::NotReady, Refusal::Damaged, Refusal::DiskFull] {
        let (cluster, client) = cluster().await;
        cluster.nodes[0].will([refused(refusal)]);
        cluster.nodes[1].will([Act::Answer(WRITTEN)]);
        let put = client.put(b"k", None, b"v", &registers(5_000)).await;
        assert_eq!(put, Ok(ACKNOWLEDGED), "{refusal}");
    }
}

#[tokio::test]
async fn where_every_disk_is_short_of_space_the_put_is_refused_for_certain() {
    let (cluster, client) = cluster().await;
    for node in &cluster.nodes {
        node.will((0..200).map(|_| refused(Refusal::DiskFull)));
    }
    let put = client.put(b"k", None, b"v", &registers(1_000)).await;
    assert_eq!(put, Err(Error::Refused(Refusal::DiskFull)));
    let asked = cluster.nodes.iter().filter(|node| !node.asked().is_empty()).count();
    assert_eq!(asked, 3, "each may have had space");
}

/// The patience with one node doubled without a bound: an outage of a quarter of a minute ended in a panic.
#[tokio::test]
async fn however_long_an_outage_lasts_patience_with_one_node_ends_with_the_request() {
    let mut cluster = Cluster::start(&Limits::default()).await;
    let config = ClientConfig {
        connecting: Connecting { cluster: Some(CLUSTER), ..Connecting::default() },
        patience: Duration::MAX,
        grace: Duration::from_millis(500),
    };
    let client = Client::connect_with(cluster.addresses.clone(), config).await.unwrap();
    for at in 0..3 {
        cluster.kill(at).await;
    }
    let put = client.put(b"k", None, b"v", &registers(100)).await;
    assert!(matches!(put, Err(Error::Unreachable(_))), "{put:?}");
}

#[tokio::test]
async fn a_connection_that_is_refused_counts_as_nothing_sent() {
    let mut cluster = Cluster::start(&Limits::default()).await;
    cluster.kill(0).await;
    let client = client_of(&cluster).await;
    cluster.nodes[1].will([Act::Answer(WRITTEN)]);
    assert_eq!(client.put(b"k", None, b"v", &registers(5_000)).await, Ok(ACKNOWLEDGED));
    assert_eq!(cluster.nodes[1].asked().len(), 1);
    assert_eq!(cluster.nodes[2].asked().len(), 0);
}

#[tokio::test]
async fn a_connection_lost_under_way_leaves_a_put_unknown_and_a_cart_operation_goes_on() {
    let (mut cluster, client) = cluster().await;
    let node = cluster.nodes[0].clone();
    cluster.nodes[0].will([Act::Silence, Act::Silence]);
    cluster.nodes[1].will([Act::Answer(WRITTEN)]);
    let putting = tokio::spawn({
        let client = client.clone();
        async move { client.put(b"k", None, b"v", &registers(60_000)).await }
    });
    until("the put has arrived", || node.asked().len() == 1).await;
    let adding = tokio::spawn(async move {
        let first = carts(60_000).asking(Ask::First(node_id(0)));
        client.cart_with("alice", first).add("milk", 1).await
    });
    until("the addition has arrived", || node.asked().len() == 2).await;
    cluster.kill(0).await;
    let put = tokio::time::timeout(Duration::from_secs(5), putting).await.unwrap().unwrap();
    assert!(matches!(put, Err(Error::Unknown(Doubt::Silence(_)))), "{put:?}");
    let added = tokio::time::timeout(Duration::from_secs(5), adding).await.unwrap().unwrap();
    assert_eq!(added.map(|added| added.written), Ok(ACKNOWLEDGED));
}

#[tokio::test]
async fn success_is_never_reported_without_an_acknowledgement() {
    let (mut cluster, client) = cluster().await;
    let cart = client.cart_with("alice", carts(300));
    for node in &cluster.nodes {
        node.will((0..20).map(|_| unavailable()));
    }
    let unacknowledged = cart.add("milk", 1).await;
    let doubt = Doubt::Unavailable { have: 1, need: 2 };
    assert_eq!(unacknowledged, Err(Error::Unknown(doubt)));
    for node in &cluster.nodes {
        node.acts.lock().unwrap().clear();
        // A read's answer acknowledges no write.
        node.will((0..200).map(|_| Act::Answer(nothing_found("alice"))));
    }
    let answered_otherwise = cart.add("milk", 1).await;
    assert!(matches!(answered_otherwise, Err(Error::Unknown(_))), "{answered_otherwise:?}");
    for at in 0..3 {
        cluster.kill(at).await;
    }
    let nobody = cart.add("milk", 1).await;
    assert!(matches!(nobody, Err(Error::Unreachable(_))), "{nobody:?}");
}

#[tokio::test]
async fn a_refusal_after_a_silence_does_not_make_the_outcome_known() {
    let (cluster, client) = cluster().await;
    cluster.nodes[0].will([Act::Silence]);
    cluster.nodes[1].will([refused(Refusal::CartFull(1_000))]);
    let added = client.cart_with("alice", carts(5_000)).add("milk", 1).await;
    assert!(matches!(added, Err(Error::Unknown(Doubt::Silence(_)))), "{added:?}");
    cluster.nodes[1].will([refused(Refusal::CartFull(1_000))]);
    let first = carts(5_000).asking(Ask::First(node_id(1)));
    let added = client.cart_with("alice", first).add("milk", 1).await;
    assert_eq!(added.map(|added| added.written), Err(Error::Refused(Refusal::CartFull(1_000))));
}

#[tokio::test]
async fn a_read_is_repeated_and_leaves_nothing_unknown() {
    let (cluster, client) = cluster().await;
    cluster.nodes[0].will([Act::Silence]);
    cluster.nodes[1].will([Act::Answer(nothing_found("k"))]);
    let found = client.get(b"k", &registers(5_000)).await.unwrap();
    assert_eq!((found.values.len(), found.owners, found.fallbacks), (0, 2, 0));
    for node in &cluster.nodes {
        node.will((0..200).map(|_| unavailable()));
    }
    let short = client.get(b"k", &registers(1_000)).await;
    assert_eq!(short, Err(Error::Unavailable { have: 1, need: 2 }));
}

#[tokio::test]
async fn a_node_that_failed_is_asked_last_for_a_while() {
    let (cluster, client) = cluster().await;
    cluster.nodes[0].will([Act::Silence]);
    cluster.nodes[1].will((0..10).map(|_| Act::Answer(nothing_found("k"))));
    for _ in 0..10 {
        client.get(b"k", &registers(5_000)).await.unwrap();
    }
    assert_eq!(cluster.nodes[0].asked().len(), 1);
}

#[tokio::test]
async fn one_node_is_asked_once_if_only_it_is_to_be_asked() {
    let (cluster, client) = cluster().await;
    cluster.nodes[2].will([unavailable(), Act::Answer(WRITTEN)]);
    let only = carts(5_000).asking(Ask::Only(node_id(2)));
    let cart = client.cart_with("alice", only);
    let doubt = Doubt::Unavailable { have: 1, need: 2 };
    assert_eq!(cart.change(&[], Some(milk())).await, Err(Error::Unknown(doubt)));
    assert_eq!(cart.change(&[], Some(milk())).await, Ok(ACKNOWLEDGED));
    let sent: Vec<usize> = cluster.nodes.iter().map(|node| node.asked().len()).collect();
    assert_eq!(sent, [0, 0, 2]);
}

#[tokio::test]
async fn too_long_for_a_frame_is_refused_as_a_node_would() {
    let (cluster, client) = cluster().await;
    let value = vec![0; 17 << 20];
    let put = client.put(b"k", None, &value, &registers(5_000)).await;
    assert_eq!(put, Err(Error::Refused(Refusal::ValueTooLong(value.len()))));
    let bucket = client.get(b"k", &Options::bucket("No Such")).await;
    assert_eq!(bucket, Err(Error::BucketName("No Such".into())));
    assert!(cluster.nodes.iter().all(|node| node.asked().is_empty()));
}
