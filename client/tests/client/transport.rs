//! The wire between nodes, and what a server does with strangers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{CLUSTER, Cluster, LAYOUT, identity, node_id, until};
use cartwheel_client::{
    Closed, Dropped, Limits, PeerEvents, PeerTransport, Server, TcpPeers,
    handshake::{self, Hello, Kind},
};
use cartwheel_protocol::{
    Message,
    bucket::BucketName,
    format::{Formats, v1},
    id::NodeId,
    key::Key,
    membership::{Brief, MemberMessage},
    request::{Operation, Request},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(crate) const DIALLER: NodeId = NodeId(0xd1);

/// The messages among the golden bytes of format 1.
fn messages() -> Vec<Message> {
    let golden = include_str!("../../../protocol/tests/golden_bytes/v1.txt");
    let lines = golden.lines().filter(|line| !line.starts_with(['#', 'r']));
    let bytes = lines.map(|line| line.split_once(": ").unwrap().1.as_bytes());
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let bytes = bytes.map(|hex| hex.chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])));
    bytes.map(|bytes| v1::decode_message(&bytes.collect::<Vec<u8>>()).unwrap()).collect()
}

#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<String>>);

impl Events {
    pub(crate) fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl PeerEvents for Events {
    fn on_opened(&self, node: NodeId) {
        self.0.lock().unwrap().push(format!("{node} opened"));
    }

    fn on_closed(&self, node: NodeId, _: &Closed) {
        self.0.lock().unwrap().push(format!("{node} closed"));
    }
}

pub(crate) fn transport(limits: Limits, events: &Arc<Events>) -> TcpPeers {
    TcpPeers::new(identity(DIALLER, "127.0.0.1:1"), limits, events.clone())
}

pub(crate) fn quick() -> Limits {
    Limits { backoff_most: Duration::from_millis(40), ..Limits::default() }
}

pub(crate) fn get(timeout_ms: u32) -> Request {
    let key = Key::new(BucketName::new("default").unwrap(), &b"k"[..]);
    Request { key, operation: Operation::Get, quorum: None, strict: false, timeout_ms }
}

pub(crate) async fn greet(address: &str, kind: Kind) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (cluster, formats) = (Some(CLUSTER), Formats::SPOKEN);
    let hello = Hello { kind, cluster, formats, layout: Some(LAYOUT) };
    handshake::greet(&mut stream, &hello, Duration::from_secs(5)).await.unwrap();
    stream
}

pub(crate) fn peer() -> Kind {
    Kind::Peer { node: DIALLER, address: "127.0.0.1:1".into() }
}

#[tokio::test]
async fn messages_arrive_in_order_whole_or_in_parts() {
    assert!(messages().len() > 8);
    for piece_bytes in [1 << 20, 50] {
        let cluster = Cluster::start(&Limits::default()).await;
        let events = Arc::new(Events::default());
        let peers = transport(Limits { piece_bytes, ..quick() }, &events);
        peers.set_peers([(node_id(0), cluster.addresses[0].as_str().into())]);
        until("the peer is connected", || peers.connected() == [node_id(0)]).await;
        let sent: Vec<Message> = (0..20).flat_map(|_| messages()).collect();
        for message in &sent {
            peers.send(node_id(0), message).unwrap();
        }
        let node = &cluster.nodes[0];
        until("all is delivered", || node.delivered.lock().unwrap().len() == sent.len()).await;
        let delivered = std::mem::take(&mut *node.delivered.lock().unwrap());
        assert!(delivered.iter().all(|(from, _)| *from == DIALLER));
        let mut arrived: Vec<Message> = delivered.into_iter().map(|(_, message)| message).collect();
        let mut expected = sent;
        if piece_bytes == 50 {
            // Short ones overtake the parts of long ones, and nothing else changes.
            arrived.sort();
            expected.sort();
        }
        assert_eq!(arrived, expected);
        let (_, counts) = peers.counts()[0];
        assert_eq!((counts.sent, counts.full, counts.unconnected), (arrived.len() as u64, 0, 0));
        peers.shutdown().await;
    }
}

#[tokio::test]
async fn gossip_arrives_in_order_whole_or_in_parts_beside_data_and_full_nodes_drop_it() {
    let gossip = |count: u128| MemberMessage::Gossip {
        brief: Brief { glimpses: [].into(), staged: (0..count).collect() },
        view: None,
    };
    for piece_bytes in [1 << 20, 50] {
        let cluster = Cluster::start(&Limits::default()).await;
        let peers = transport(Limits { piece_bytes, ..quick() }, &Arc::default());
        assert_eq!(peers.gossip(node_id(0), &gossip(1)), Err(Dropped::UnknownPeer));
        peers.set_peers([(node_id(0), cluster.addresses[0].as_str().into())]);
        until("the peer is connected", || peers.connected() == [node_id(0)]).await;
        let sent: Vec<MemberMessage> = (0..30).map(gossip).collect();
        for message in &sent {
            peers.gossip(node_id(0), message).unwrap();
            peers.send(node_id(0), &messages()[0]).unwrap();
        }
        let node = &cluster.nodes[0];
        until("all is there", || node.gossip.lock().unwrap().len() == sent.len()).await;
        until("so is the data", || node.delivered.lock().unwrap().len() == sent.len()).await;
        let expected: Vec<_> = sent.into_iter().map(|message| (DIALLER, message)).collect();
        assert_eq!(*node.gossip.lock().unwrap(), expected);
        *node.refuses_batches.lock().unwrap() = true;
        peers.gossip(node_id(0), &gossip(1)).unwrap();
        until("the drop is counted", || peers.counts()[0].1.overloaded == 1).await;
        let full = std::iter::repeat_with(|| peers.gossip(node_id(0), &gossip(500)));
        assert!(full.take(2_000).any(|sent| sent == Err(Dropped::Full)), "the queue is bounded");
        peers.shutdown().await;
    }
}

#[tokio::test]
async fn a_killed_peer_is_told_at_once_and_dialled_again() {
    let mut cluster = Cluster::start(&Limits::default()).await;
    let events = Arc::new(Events::default());
    let peers = transport(quick(), &events);
    let address = cluster.addresses[0].clone();
    peers.set_peers([(node_id(0), address.as_str().into()), (DIALLER, "127.0.0.1:1".into())]);
    until("it is opened", || events.heard() == ["n1 opened"]).await;
    cluster.kill(0).await;
    until("it is closed", || events.heard() == ["n1 opened", "n1 closed"]).await;
    assert_eq!(peers.send(node_id(0), &messages()[0]), Err(Dropped::NotConnected));
    assert_eq!(peers.send(node_id(7), &messages()[0]), Err(Dropped::UnknownPeer));
    assert_eq!(peers.send(DIALLER, &messages()[0]), Err(Dropped::UnknownPeer));
    let listener = TcpListener::bind(&address).await.unwrap();
    let node = cluster.nodes[0].clone();
    let identity = identity(node_id(0), &address);
    let _server = Server::start(listener, identity, Limits::default(), node.clone()).unwrap();
    until("it is opened again", || events.heard().len() == 3).await;
    assert_eq!(events.heard()[2], "n1 opened");
    peers.send(node_id(0), &messages()[0]).unwrap();
    until("it is delivered", || node.delivered.lock().unwrap().len() == 1).await;
    assert_eq!(peers.counts()[0].1.unconnected, 1);
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_a_silent_peer_is_given_up() {
    // A peer that says welcome and then reads nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let welcome = handshake::Welcome { cluster: CLUSTER, node: node_id(0), format: 1 };
            handshake::receive(&mut stream, Duration::from_secs(5), |_| Ok(welcome)).await.unwrap();
            held.push(stream);
        }
    });
    let events = Arc::new(Events::default());
    let limits = Limits {
        queued_messages: 10,
        batches_in_flight: 1,
        batch_bytes: 1,
        deliver: Duration::from_millis(200),
        ..quick()
    };
    let peers = transport(limits, &events);
    peers.set_peers([(node_id(0), address.as_str().into())]);
    until("it is opened", || !events.heard().is_empty()).await;
    let refused = (0..100).filter(|_| peers.send(node_id(0), &messages()[0]).is_err()).count();
    assert!(refused >= 80, "{refused} were refused");
    assert_eq!(peers.counts()[0].1.full, refused as u64);
    until("it is given up", || events.heard().len() >= 2).await;
    assert_eq!(events.heard()[1], "n1 closed");
    assert!(peers.counts()[0].1.unconnected > 0, "what waited is counted");
    silent.abort();
}

#[tokio::test]
async fn a_link_that_carries_a_batch_slowly_is_not_given_up() {
    let cluster = Cluster::start(&Limits::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let to = cluster.addresses[0].clone();
    let deliver = Duration::from_millis(50);
    // A quarter of a batch takes as long as a silent peer may be.
    let slow = tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        let ((mut asks, mut hears), (mut answers, mut takes)) =
            (near.into_split(), far.into_split());
        let back = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut hears).await });
        let mut piece = vec![0; 16 << 10];
        loop {
            // At the end either side may be gone first.
            let read = asks.read(&mut piece).await.unwrap_or(0);
            if read == 0 || takes.write_all(&piece[..read]).await.is_err() {
                return back.abort();
            }
            if read > 1_024 {
                tokio::time::sleep(deliver).await;
            }
        }
    });
    let events = Arc::new(Events::default());
    let limits = Limits { deliver, slowest_link: 1 << 10, batch_bytes: 64 << 10, ..quick() };
    let peers = transport(limits, &events);
    peers.set_peers([(node_id(0), address.as_str().into())]);
    until("it is opened", || !events.heard().is_empty()).await;
    let known = messages();
    let bytes: usize = known.iter().map(|message| v1::encode_message(message).len()).sum();
    let sent = (256 << 10) / bytes * known.len();
    for message in known.iter().cycle().take(sent) {
        peers.send(node_id(0), message).unwrap();
    }
    let node = &cluster.nodes[0];
    until("all is delivered", || node.delivered.lock().unwrap().len() == sent).await;
    assert_eq!(events.heard(), ["n1 opened"]);
    peers.shutdown().await;
    slow.await.unwrap();
}

#[tokio::test]
async fn a_node_whose_queue_is_full_says_so() {
    let cluster = Cluster::start(&Limits::default()).await;
    *cluster.nodes[0].refuses_batches.lock().unwrap() = true;
    let events = Arc::new(Events::default());
    let peers = transport(quick(), &events);
    peers.set_peers([(node_id(0), cluster.addresses[0].as_str().into())]);
    until("it is opened", || !events.heard().is_empty()).await;
    peers.send(node_id(0), &messages()[0]).unwrap();
    until("it is counted", || peers.counts()[0].1.overloaded == 1).await;
    let counts = cluster.servers[0].as_ref().unwrap().counts();
    assert_eq!(counts.overloaded_batches, 1);
    assert_eq!(events.heard().len(), 1, "the connection stays");
}

#[tokio::test]
async fn another_node_under_a_known_address_is_not_taken_for_it() {
    let cluster = Cluster::start(&Limits::default()).await;
    let events = Arc::new(Events::default());
    let peers = transport(quick(), &events);
    peers.set_peers([(node_id(1), cluster.addresses[0].as_str().into())]);
    until("it is refused", || events.heard() == ["n2 closed"]).await;
    assert_eq!(peers.connected(), []);
}
