//! Whole nodes over loopback: what clients see while nodes come and go.

mod changes;
mod cluster;
mod damage;
mod exchanges;
mod flipped;
#[path = "../support/flips.rs"]
mod flips;
mod losses;
mod reaping;
#[cfg(target_os = "linux")]
mod space;
mod yielding;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cartwheel_client::handshake::{self, HandshakeError, Hello, Kind};
use cartwheel_client::service::{RequestError, Status};
use cartwheel_node::{ClusterFile, EngineKind, Node, NodeError, Options, StoreError};
use cartwheel_protocol::format::Formats;
use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::key::Partitions;
use cartwheel_protocol::request::{Refusal, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::cluster::{Client, Cluster, PATIENCE, add, cancel, get, get_local, put};

/// Puts, gets and carts, each through every node.
async fn serves(engine: EngineKind) {
    let cluster = Cluster::start(3, engine).await;
    let clients = [cluster.client(0).await, cluster.client(1).await, cluster.client(2).await];
    for number in 0..12 {
        let (name, value) = (format!("k{number}"), format!("v{number}").into_bytes());
        clients[number % 3].write(&put(&name, &value)).await;
        for client in &clients {
            assert_eq!(client.values(&get(&name)).await, std::slice::from_ref(&value));
        }
    }
    for (number, client) in clients.iter().enumerate() {
        client.write(&add("cart", number as u128, "milk", 1 + number as u32)).await;
    }
    clients[2].write(&cancel("cart", 0)).await;
    for client in &clients {
        assert_eq!(client.cart("cart").await, [("milk".into(), 2), ("milk".into(), 3)]);
    }
    let large = vec![7; 1 << 20];
    clients[0].write(&put("large", &large)).await;
    assert_eq!(clients[1].values(&get("large")).await, [large]);
}

#[tokio::test]
async fn three_nodes_in_memory_serve_puts_gets_and_carts() {
    serves(EngineKind::Memory).await;
}

#[tokio::test]
async fn three_nodes_on_disk_serve_puts_gets_and_carts() {
    serves(EngineKind::Sled).await;
}

#[tokio::test]
async fn writes_go_on_without_one_node_and_it_finds_its_data_when_it_is_back() {
    let mut cluster = Cluster::start(3, EngineKind::Sled).await;
    let client = cluster.client(0).await;
    let all = put("before", b"1");
    // All three hold it, so that the one that goes surely does.
    client.write(&Request { quorum: Some(3), ..all }).await;
    let lost = cluster.node(2).status().node;
    cluster.kill(2).await;
    for number in 0..30 {
        client.write(&put(&format!("k{number}"), b"v")).await;
    }
    cluster.wait_for("both suspect it", |status| status.suspected == [lost]).await;
    cluster.restart(2).await.expect("the store is sound");
    cluster.wait_for("all are connected", |status| status.connected.len() == 2).await;
    let back = cluster.client(2).await;
    assert_eq!(back.values(&get_local("before")).await, [b"1"]);
    for number in 0..30 {
        assert_eq!(back.values(&get(&format!("k{number}"))).await, [b"v"]);
    }
    // What was under way when it came back may have made it suspect again; answers undo that.
    let trusts = |status: &Status| !status.suspected.contains(&lost);
    let began = std::time::Instant::now();
    while !(trusts(&cluster.node(0).status()) && trusts(&cluster.node(1).status())) {
        assert!(began.elapsed() < PATIENCE, "it is suspected still");
        for number in 0..2 {
            // A key of its own: a put without a context adds a sibling.
            let name = format!("after {number} {:?}", began.elapsed());
            cluster.client(number).await.write(&put(&name, b"v")).await;
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_under_load() {
    let mut cluster = Cluster::start(3, EngineKind::Sled).await;
    let mut writers = Vec::new();
    let written = Arc::new(AtomicUsize::new(0));
    for number in 0..3 {
        let (client, written) = (cluster.client(number).await, written.clone());
        writers.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for count in 0_u64.. {
                let name = format!("k{number}.{count}");
                match client.ask(&put(&name, b"v")).await {
                    Ok(Ok(Response::Written { .. })) => {
                        acknowledged.push(name);
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(
                        Ok(Response::Found { .. } | Response::Held { .. } | Response::Refused(_))
                        | Err(_),
                    ) => {}
                    Err(_) => break,
                }
            }
            acknowledged
        }));
    }
    let loaded =
        |status: &Status| status.count("steps") > Some(100) && written.load(Ordering::Relaxed) > 20;
    cluster.wait_for("every node has taken some load", loaded).await;
    for number in 0..3 {
        cluster.kill(number).await;
    }
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("the writer ends with its connection"));
    }
    assert!(acknowledged.len() > 20, "only {} writes", acknowledged.len());
    for number in 0..3 {
        cluster.restart(number).await.expect("the store is sound");
    }
    cluster.wait_for("all are connected", |status| status.connected.len() == 2).await;
    let client = cluster.client(0).await;
    for name in &acknowledged {
        assert_eq!(client.values(&get(name)).await, [b"v"], "{name}");
    }
}

#[tokio::test]
async fn a_clean_shutdown_answers_what_is_under_way_and_refuses_the_rest() {
    let mut cluster = Cluster::start(3, EngineKind::Memory).await;
    let client = Arc::new(cluster.client(0).await);
    // With both other owners dead a put waits for its deadline.
    for node in [1, 2] {
        cluster.kill(node).await;
    }
    let asking: Vec<_> = (0..20)
        .map(|number| {
            let client = client.clone();
            let asked = Request { timeout_ms: 1_800, ..put(&format!("k{number}"), b"v") };
            tokio::spawn(async move { client.ask(&asked).await })
        })
        .collect();
    let under_way = |status: &Status| status.count("pending") == Some(20);
    cluster.wait_for("all puts are under way", under_way).await;
    let node = cluster.take(0);
    let data = &cluster.configs[0].data;
    assert!(!data.join("clean-shutdown").exists());
    let late = put("late", b"v");
    let (ended, refused) = tokio::join!(node.shutdown(), client.ask(&late));
    assert!(ended.expect("the store can be marked"), "all had ended");
    assert!(data.join("clean-shutdown").exists());
    for answer in asking {
        let answer = answer.await.expect("asking does not fail").expect("the connection holds");
        let unknown = Response::Refused(Refusal::Unavailable { have: 1, need: 2 });
        assert_eq!(answer, Ok(unknown), "it is told what became of it");
    }
    let refused = refused.expect("the connection holds");
    assert!(
        matches!(
            refused,
            Ok(Response::Refused(Refusal::NotReady)) | Err(RequestError::ShuttingDown)
        ),
        "{refused:?}"
    );
    assert!(Client::connect(cluster.configs[0].listen).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_taken_port_names_the_port_and_the_flag() {
    let mut cluster = Cluster::start(1, EngineKind::Sled).await;
    cluster.kill(0).await;
    let _taken = TcpListener::bind(cluster.configs[0].listen).expect("the port is free");
    let error = cluster.restart(0).await.expect_err("the port is taken").to_string();
    let port = cluster.configs[0].listen.port().to_string();
    assert!(error.contains(&port) && error.contains("--listen HOST:PORT"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_in_use_or_of_no_member_is_refused() {
    let cluster = Cluster::start(2, EngineKind::Memory).await;
    let again = Node::start(cluster.configs[0].clone(), Options::default()).await;
    let error = again.err().expect("it is in use").to_string();
    assert!(error.contains("in use by another process"), "{error}");

    let folder = tempfile::tempdir().expect("a folder");
    let stranger = cartwheel_node::format_store(folder.path(), "n9").expect("a new store");
    let mut config = cluster.configs[0].clone();
    config.data = folder.path().to_owned();
    let error = Node::start(config, Options::default()).await.err().expect("it is no member");
    assert!(matches!(error, NodeError::NotMember { .. }) && error.is_configuration());
    let line = format!("{{ id = \"{}\", name = \"n9\"", stranger.id);
    assert!(error.to_string().contains(&line), "{error}");
}

#[tokio::test]
async fn an_edited_cluster_file_is_refused_until_it_is_as_it_was() {
    let mut cluster = Cluster::start(1, EngineKind::Sled).await;
    cluster.kill(0).await;
    let file = cluster.configs[0].cluster.clone();
    let text = std::fs::read_to_string(&file).expect("the cluster file");
    let stranger = "  { id = \"n9\", name = \"n9\", address = \"127.0.0.1:9\" },\n]";
    for edited in [
        text.replace("partitions = 1024", "partitions = 2048"),
        text.replace("weight = 1", "weight = 2"),
        text.replace("\n]", &format!("\n{stranger}")),
    ] {
        assert_ne!(edited, text);
        std::fs::write(&file, &edited).expect("the file is ours");
        let error = cluster.restart(0).await.expect_err("the file was edited");
        assert!(matches!(&error, NodeError::Store(StoreError::OtherLayout { .. })), "{error}");
        assert!(error.is_configuration() && error.to_string().contains("was edited"), "{error}");
    }
    std::fs::write(&file, &text).expect("the file is ours");
    cluster.restart(0).await.expect("it is as it was");
}

#[tokio::test]
async fn a_start_that_fails_before_the_node_serves_pins_nothing() {
    let cluster = Cluster::start(1, EngineKind::Sled).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("cluster.toml"));
    cartwheel_node::format_store(&data, "n9").expect("a new store");
    let mut config = cluster.configs[0].clone();
    (config.data, config.cluster) = (data.clone(), file.clone());
    let text = std::fs::read_to_string(&cluster.configs[0].cluster).expect("the cluster file");
    std::fs::write(&file, &text).expect("a file");
    let error = Node::start(config.clone(), Options::default()).await.err().expect("no member");
    let NodeError::NotMember { line, .. } = &error else { panic!("{error}") };
    // As the message says, and then at a port that is taken.
    let added = text.replace("\n]", &format!("\n  {line},\n]"));
    std::fs::write(&file, &added).expect("a file");
    let error = Node::start(config.clone(), Options::default()).await.err().expect("a taken port");
    assert!(matches!(error, NodeError::Listen { .. }), "{error}");
    std::fs::write(&file, added.replace("weight = 1", "weight = 3")).expect("a file");
    config.listen.set_port(0);
    Node::start(config, Options::default()).await.expect("nothing was pinned").kill().await;
}

#[tokio::test]
async fn a_peer_with_another_cluster_file_is_refused_by_the_layout_of_this_nodes() {
    let cluster = Cluster::start(1, EngineKind::Memory).await;
    let file = ClusterFile::read(&cluster.configs[0].cluster).expect("the cluster file");
    let ours = file.layout().expect("a layout").hash();
    let edited = ClusterFile { partitions: Partitions::new(2).expect("a power of two"), ..file };
    let theirs = Some(edited.layout().expect("a layout").hash());
    let mut stream = TcpStream::connect(cluster.node(0).address()).await.expect("it listens");
    let kind = Kind::Peer { node: NodeId(9), address: "127.0.0.1:9".to_owned() };
    let (cluster, formats) = (Some(edited.cluster), Formats::SPOKEN);
    let hello = Hello { kind, cluster, formats, layout: theirs };
    match handshake::greet(&mut stream, &hello, PATIENCE).await {
        Err(HandshakeError::Refused(refused)) => {
            assert_eq!(refused, handshake::Refused::OtherLayout { ours, theirs });
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn status_says_who_the_node_is_and_how_it_is() {
    let cluster = Cluster::start(2, EngineKind::Memory).await;
    let status = cluster.node(0).status();
    let other = cluster.node(1).status();
    assert_eq!((status.name.as_str(), status.engine.as_str()), ("n1", "memory"));
    assert_eq!((status.view.as_str(), status.cluster), ("v1", 0xc1));
    assert_ne!(status.incarnation, other.incarnation);
    assert_eq!(status.connected, [other.node]);
    assert_eq!(status.mutant, None);
    let counts: Vec<&str> = status.counts.iter().map(|(name, _)| name.as_str()).collect();
    assert!(["shards", "pending", "steps"].iter().all(|name| counts.contains(name)), "{counts:?}");
}

/// The page at `path`, headers included.
async fn page(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("HTTP is served");
    let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("a request");
    let mut text = String::new();
    let reading = stream.read_to_string(&mut text);
    tokio::time::timeout(PATIENCE, reading).await.expect("in time").expect("a page");
    text
}

#[tokio::test]
async fn metrics_and_health_are_answered_over_http() {
    let mut cluster = Cluster::start(1, EngineKind::Sled).await;
    cluster.kill(0).await;
    cluster.configs[0].http = Some(([127, 0, 0, 1], 0).into());
    cluster.restart(0).await.expect("the node starts");
    let http = cluster.node(0).http_address().expect("it was asked for");
    let client = cluster.client(0).await;
    let one = |request| Request { quorum: Some(1), ..request };
    client.write(&one(put("k", b"v"))).await;
    let health = page(http, "/health").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.contains("n1 n"), "{health}");
    let metrics = page(http, "/metrics").await;
    let counted = |line: &str| {
        line.starts_with("cartwheel_requests_total{kind=\"put\",outcome=\"ok\"}")
            && !line.ends_with(" 0")
    };
    assert!(metrics.lines().any(counted), "{metrics}");
    for name in [
        // Of all nodes of this process together: how many there are depends on the other tests.
        "cartwheel_connections",
        "cartwheel_steps_total",
        "cartwheel_commit_steps_total",
        "cartwheel_pending",
        "cartwheel_undecodable_total",
    ] {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }
}

#[tokio::test]
async fn requests_that_break_a_limit_are_refused_and_store_nothing() {
    let cluster = Cluster::start(3, EngineKind::Memory).await;
    let client = cluster.client(0).await;
    let too_long = vec![0; (1 << 20) + 1];
    let refused = client.answer(&put("k", &too_long)).await;
    assert_eq!(refused, Response::Refused(Refusal::ValueTooLong(too_long.len())));
    let refused = client.answer(&put("", b"v")).await;
    assert_eq!(refused, Response::Refused(Refusal::KeyEmpty));
    let refused = client.answer(&add("cart", 1, "milk", 0)).await;
    assert_eq!(refused, Response::Refused(Refusal::Quantity(0)));
    assert!(client.values(&get("k")).await.is_empty());
    assert!(client.cart("cart").await.is_empty());
}

#[tokio::test]
async fn a_request_without_a_quorum_is_answered_at_its_deadline() {
    let mut cluster = Cluster::start(3, EngineKind::Memory).await;
    let client = cluster.client(0).await;
    cluster.kill(1).await;
    cluster.kill(2).await;
    let asked = Request { timeout_ms: 1_000, ..put("k", b"v") };
    let answer = tokio::time::timeout(Duration::from_secs(10), client.answer(&asked)).await;
    let answer = answer.expect("at its deadline");
    assert_eq!(answer, Response::Refused(Refusal::Unavailable { have: 1, need: 2 }));
}
