//! What a server does with strangers, with bytes that make no sense, and with more than it takes.

use std::{sync::Arc, time::Duration};

use crate::support::{Act, CLUSTER, Cluster, LAYOUT, WRITTEN, identity, node_id, until};
use crate::transport::{DIALLER, Events, get, greet, peer, quick};
use cartwheel_client::{
    Attempt, Closed, Connecting, Connection, Identity, Limits, TcpPeers,
    codec::{Bytes, Frames, MAX_FRAME},
    handshake::{self, HandshakeError, Hello, Kind, Refused},
    service::{
        ClientApiClient, ClientApiRequest, ClientApiResponse, DeliverError, PeerClient, Piece,
        RequestError,
    },
};
use cartwheel_protocol::{
    context::{Binding, Context},
    format::{DisjointFormats, Formats, v1},
    id::{ClusterId, PutId},
    layout::LayoutHash,
    request::Operation,
    version::VersionVector,
};
use tarpc::{client, context};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

async fn ends(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection stays open");
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
    let within = Duration::from_secs(5);
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
