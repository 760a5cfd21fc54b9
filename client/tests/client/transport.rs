//! The wire between nodes, and what a server does with strangers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{Act, CLUSTER, Cluster, LAYOUT, WRITTEN, identity, node_id, until};
use cartwheel_client::{
    Attempt, Closed, Connecting, Connection, Dropped, Identity, Limits, PeerEvents, PeerTransport,
    Server, TcpPeers,
    codec::{Bytes, Frames, MAX_FRAME},
    handshake::{self, HandshakeError, Hello, Kind, Refused},
    service::{
        ClientApiClient, ClientApiRequest, ClientApiResponse, DeliverError, PeerClient, Piece,
        RequestError,
    },
};
use cartwheel_protocol::{
    Message,
    bucket::BucketName,
    context::{Binding, Context},
    format::{DisjointFormats, Formats, v1},
    id::{ClusterId, NodeId, PutId},
    key::Key,
    layout::LayoutHash,
    membership::{Brief, MemberMessage},
    request::{Operation, Request},
    version::VersionVector,
};
use tarpc::{client, context};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

const DIALLER: NodeId = NodeId(0xd1);

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
struct Events(Mutex<Vec<String>>);

impl Events {
    fn heard(&self) -> Vec<String> {
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

fn transport(limits: Limits, events: &Arc<Events>) -> TcpPeers {
    TcpPeers::new(identity(DIALLER, "127.0.0.1:1"), limits, events.clone())
}

fn quick() -> Limits {
    Limits { backoff_most: Duration::from_millis(40), ..Limits::default() }
}

fn get(timeout_ms: u32) -> Request {
    let key = Key::new(BucketName::new("default").unwrap(), &b"k"[..]);
    Request { key, operation: Operation::Get, quorum: None, strict: false, timeout_ms }
}

async fn greet(address: &str, kind: Kind) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (cluster, formats) = (Some(CLUSTER), Formats::SPOKEN);
    let hello = Hello { kind, cluster, formats, layout: Some(LAYOUT) };
    handshake::greet(&mut stream, &hello, Duration::from_secs(5)).await.unwrap();
    stream
}

fn peer() -> Kind {
    Kind::Peer { node: DIALLER, address: "127.0.0.1:1".into() }
}

async fn ends(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection stays open");
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

#[tokio::test]
async fn strangers_are_refused_and_both_sides_are_named() {
    let cluster = Cluster::start(&Limits::default()).await;
    let address = &cluster.addresses[0];
    let theirs = ClusterId(0xbad);
    let how = Connecting { cluster: Some(theirs), ..Connecting::default() };
    match Connection::open(address, &how).await {
        Err(Closed::Handshake(HandshakeError::Refused(refused))) => {
            assert_eq!(refused, Refused::WrongCluster { ours: CLUSTER, theirs });
        }
        other => panic!("{other:?}"),
    }
    let newer = Formats { oldest: 7, newest: 9 };
    let how = Connecting { formats: newer, ..Connecting::default() };
    match Connection::open(address, &how).await {
        Err(Closed::Handshake(HandshakeError::Refused(refused))) => {
            let (ours, theirs) = (Formats::SPOKEN, newer);
            assert_eq!(refused, Refused::Formats(DisjointFormats { ours, theirs }));
        }
        other => panic!("{other:?}"),
    }
    let counts = || cluster.servers[0].as_ref().unwrap().counts();
    until("both are counted", || counts().refused_connections == 2).await;
    let mut browser = TcpStream::connect(address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    ends(&mut browser).await;
    until("it is counted", || counts().refused_connections == 3).await;
    until("none is left", || counts().connections == 0).await;
}

#[tokio::test]
async fn peers_with_another_cluster_file_are_refused_and_those_without_one_are_not() {
    let cluster = Cluster::start(&Limits::default()).await;
    let address = &cluster.addresses[0];
    let counts = || cluster.servers[0].as_ref().unwrap().counts();
    let other = Some(LayoutHash(0xbad));
    {
        let (number, theirs) = (1, other);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (cluster, formats) = (Some(CLUSTER), Formats::SPOKEN);
        let hello = Hello { kind: peer(), cluster, formats, layout: theirs };
        match handshake::greet(&mut stream, &hello, Duration::from_secs(5)).await {
            Err(HandshakeError::Refused(refused)) => {
                assert_eq!(refused, Refused::OtherLayout { ours: LAYOUT, theirs });
                assert!(refused.to_string().contains("cluster files differ"), "{refused}");
            }
            other => panic!("{other:?}"),
        }
        ends(&mut stream).await;
        until("it is counted", || counts().refused_connections == number).await;
    }
    drop(greet(address, Kind::Client).await);
    drop(greet(address, peer()).await);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (kind, cluster_id, formats) = (peer(), Some(CLUSTER), Formats::SPOKEN);
    let joiner = Hello { kind, cluster: cluster_id, formats, layout: None };
    handshake::greet(&mut stream, &joiner, Duration::from_secs(5)).await.unwrap();

    let events = Arc::new(Events::default());
    let edited = Identity { layout: other, ..identity(DIALLER, "127.0.0.1:1") };
    let peers = TcpPeers::new(edited, quick(), events.clone());
    peers.set_peers([(node_id(0), address.as_str().into())]);
    until("it was refused more than once", || counts().refused_connections > 4).await;
    assert_eq!(events.heard(), ["n1 closed"], "told once");
    assert_eq!(peers.connected(), []);
    peers.shutdown().await;
}

#[tokio::test]
async fn bytes_that_are_no_frames_end_their_connection_and_nothing_else() {
    let cluster = Cluster::start(&Limits::default()).await;
    let address = &cluster.addresses[0];
    let counts = || cluster.servers[0].as_ref().unwrap().counts();
    let too_long = (MAX_FRAME as u32 + 1).to_be_bytes().to_vec();
    let other_format = vec![0, 0, 0, 3, 9, 0, 0];
    let garbage = vec![0, 0, 0, 5, 1, 255, 255, 255, 255];
    let mut closed = 0;
    for kind in [peer(), Kind::Client] {
        for bytes in [&too_long, &other_format, &garbage] {
            let mut stream = greet(address, kind.clone()).await;
            stream.write_all(bytes).await.unwrap();
            ends(&mut stream).await;
            closed += 1;
            until("it is counted", || counts().undecodable == closed).await;
        }
    }
    cluster.nodes[0].will([Act::Answer(WRITTEN)]);
    let connection = Connection::open(address, &Connecting::default()).await.unwrap();
    let attempt = connection.request(&get(5_000), Duration::from_secs(5)).await;
    assert_eq!(attempt, Attempt::Answered(WRITTEN));
    assert_eq!(connection.status(Duration::from_secs(5)).await.unwrap().name, "fake");
}

/// tarpc looks at the deadline of a call from when it is written: a node that takes nothing held calls for ever.
#[tokio::test]
async fn a_call_that_the_node_takes_nothing_of_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let deaf = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let welcome = handshake::Welcome { cluster: CLUSTER, node: node_id(0), format: 1 };
        handshake::receive(&mut stream, Duration::from_secs(5), |_| Ok(welcome)).await.unwrap();
        std::future::pending::<()>().await;
        drop(stream);
    });
    let connection = Arc::new(Connection::open(&address, &Connecting::default()).await.unwrap());
    // More than go into the sockets' buffers, and than tarpc takes before they are written.
    let calls = (0..400).map(|_| {
        let connection = connection.clone();
        let within = Duration::from_millis(200);
        let mut put = get(200);
        let value = vec![7; 64 << 10].into();
        put.operation = Operation::Put { context: None, put_id: PutId(1), time_us: 0, value };
        tokio::spawn(async move { connection.request(&put, within).await })
    });
    let calls: Vec<_> = calls.collect();
    let all = futures::future::join_all(calls);
    let ended = tokio::time::timeout(Duration::from_secs(10), all).await;
    for attempt in ended.expect("all calls end") {
        assert!(matches!(attempt.unwrap(), Attempt::Silent(_)));
    }
    deaf.abort();
}

#[tokio::test]
async fn peers_are_taken_where_clients_hold_all_connections() {
    let cluster = Cluster::start(&Limits { connections: 1, ..Limits::default() }).await;
    let _client = greet(&cluster.addresses[0], Kind::Client).await;
    let mut stream = TcpStream::connect(&cluster.addresses[0]).await.unwrap();
    let (cluster_id, formats) = (Some(CLUSTER), Formats::SPOKEN);
    let hello = Hello { kind: Kind::Client, cluster: cluster_id, formats, layout: None };
    let second = handshake::greet(&mut stream, &hello, Duration::from_secs(5)).await;
    let refused = HandshakeError::Refused(Refused::TooManyConnections(1));
    assert_eq!(second.unwrap_err().to_string(), refused.to_string());
    greet(&cluster.addresses[0], peer()).await;
}

#[tokio::test]
async fn a_batch_that_cannot_be_decoded_is_refused_and_the_connection_ends() {
    let cluster = Cluster::start(&Limits::default()).await;
    let parts = [
        vec![Piece::Whole(Bytes(vec![1, 2, 3]))],
        vec![Piece::Part { number: 1, bytes: Bytes(vec![]) }],
    ];
    for batch in parts {
        let stream = greet(&cluster.addresses[0], peer()).await;
        let peer = PeerClient::new(client::Config::default(), Frames::of_dialler(1).over(stream));
        let peer = peer.spawn();
        let refused = peer.deliver(context::current(), batch).await;
        // Either the refusal arrives or the connection has ended before it.
        assert!(!matches!(refused, Ok(Ok(()))), "{refused:?}");
        if let Ok(told) = refused {
            assert!(matches!(told, Err(DeliverError::Undecodable(_))), "{told:?}");
        }
    }
    assert!(cluster.nodes[0].delivered.lock().unwrap().is_empty());
    assert_eq!(cluster.servers[0].as_ref().unwrap().counts().undecodable, 2);
}

#[tokio::test]
async fn damaged_requests_are_refused_by_the_node_and_never_reach_it() {
    let cluster = Cluster::start(&Limits::default()).await;
    let stream = greet(&cluster.addresses[0], Kind::Client).await;
    let api = ClientApiClient::new(client::Config::default(), Frames::of_dialler(1).over(stream));
    let api = api.spawn();
    let mut request = get(5_000);
    let binding = Binding::new(CLUSTER, &request.key);
    let context = Context::new(binding, VersionVector::default());
    let encoded = context.encode();
    request.operation = Operation::Delete { context: Some(context) };
    let mut bytes = v1::encode_request(&request);
    let at = bytes.windows(encoded.len()).position(|part| part == encoded).unwrap();
    bytes[at + 2] ^= 1;
    let damaged = api.request(context::current(), Bytes(bytes)).await.unwrap();
    assert_eq!(damaged, Err(RequestError::DamagedContext));
    let garbage = api.request(context::current(), Bytes(vec![1, 2, 3])).await.unwrap();
    assert!(matches!(garbage, Err(RequestError::Undecodable(_))), "{garbage:?}");
    assert!(cluster.nodes[0].asked().is_empty());
}

#[tokio::test]
async fn more_requests_than_are_admitted_are_told_overloaded() {
    let limits = Limits { requests_in_flight: 1, connections: 1, ..Limits::default() };
    let cluster = Cluster::start(&limits).await;
    let node = cluster.nodes[0].clone();
    node.will([Act::Silence]);
    let connection = Connection::open(&cluster.addresses[0], &Connecting::default()).await.unwrap();
    let (first, within) = (get(5_000), Duration::from_secs(5));
    let second = async {
        until("the first is under way", || node.asked().len() == 1).await;
        connection.request(&get(5_000), within).await
    };
    tokio::select! {
        second = second => assert_eq!(second, Attempt::Rejected(RequestError::Overloaded)),
        first = connection.request(&first, within) => panic!("{first:?}"),
    }
    let counts = cluster.servers[0].as_ref().unwrap().counts();
    assert_eq!((counts.overloaded_requests, counts.requests, counts.connections), (1, 1, 1));
    match Connection::open(&cluster.addresses[0], &Connecting::default()).await {
        Err(Closed::Handshake(HandshakeError::Refused(refused))) => {
            assert_eq!(refused, Refused::TooManyConnections(1));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_runs_to_its_end_though_its_client_has_gone() {
    let mut cluster = Cluster::start(&Limits::default()).await;
    let node = cluster.nodes[0].clone();
    let answers = Arc::new(Notify::new());
    node.will([Act::When(answers.clone(), WRITTEN)]);
    let connection = Connection::open(&cluster.addresses[0], &Connecting::default()).await.unwrap();
    let request = get(5_000);
    // The server holds the connection for as long as the call may take: less than is waited for below.
    let within = Duration::from_secs(1);
    tokio::select! {
        answered = connection.request(&request, within) => panic!("{answered:?}"),
        () = until("it is under way", || node.asked().len() == 1) => {}
    }
    drop(connection);
    let server = cluster.servers[0].take().unwrap();
    until("the connection is closed", || server.counts().connections == 0).await;
    assert_eq!(server.counts().requests, 1, "it is still under way");
    answers.notify_one();
    assert!(server.shutdown(Duration::from_secs(5)).await, "and ends in time");
    assert_eq!(*node.held.lock().unwrap(), 1, "it ran to its end");
}

#[tokio::test]
async fn a_server_that_drains_ends_what_it_began_and_refuses_the_rest() {
    let mut cluster = Cluster::start(&Limits::default()).await;
    let node = cluster.nodes[0].clone();
    let answers = Arc::new(Notify::new());
    node.will([Act::When(answers.clone(), WRITTEN)]);
    let connection =
        Arc::new(Connection::open(&cluster.addresses[0], &Connecting::default()).await.unwrap());
    let first = tokio::spawn({
        let connection = connection.clone();
        async move { connection.request(&get(5_000), Duration::from_secs(5)).await }
    });
    until("the first is under way", || node.asked().len() == 1).await;
    let server = cluster.servers[0].take().unwrap();
    let draining = tokio::spawn(server.shutdown(Duration::from_secs(5)));
    let mut second = connection.request(&get(5_000), Duration::from_secs(5)).await;
    while second == Attempt::Rejected(RequestError::Overloaded) {
        second = connection.request(&get(5_000), Duration::from_secs(5)).await;
    }
    assert_eq!(second, Attempt::Rejected(RequestError::ShuttingDown));
    answers.notify_one();
    assert_eq!(first.await.unwrap(), Attempt::Answered(WRITTEN));
    assert!(draining.await.unwrap(), "all ended in time");
    until("the connection is closed", || !connection.is_open()).await;
}

#[tokio::test]
async fn absurd_deadlines_are_cut_or_refused() {
    use futures::{SinkExt, StreamExt};

    let cluster = Cluster::start(&Limits::default()).await;
    let counts = || cluster.servers[0].as_ref().unwrap().counts();
    let stream = greet(&cluster.addresses[0], Kind::Client).await;
    let frames = Frames::<tarpc::Response<ClientApiResponse>, _>::of_dialler(1);
    let mut wire = frames.over(stream);
    let mut context = context::current();
    context.deadline += Duration::from_secs(100 * 365 * 24 * 3_600);
    let message = ClientApiRequest::Status {};
    let request = tarpc::Request { context, id: 1, message };
    wire.send(tarpc::ClientMessage::Request(request)).await.unwrap();
    let answer = wire.next().await.unwrap().unwrap();
    assert!(
        matches!(answer.message, Ok(ClientApiResponse::Status(status)) if status.name == "fake")
    );

    // A request whose deadline no clock can hold.
    let mut stream = greet(&cluster.addresses[0], Kind::Client).await;
    let mut frame = vec![0, 0, 0, 13, 1, 0];
    frame.extend([255; 9]);
    frame.extend([1, 0]);
    stream.write_all(&frame).await.unwrap();
    ends(&mut stream).await;
    until("it is counted", || counts().undecodable == 1).await;
}
