//! A cluster of nodes that do as they are told, in this process.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cartwheel_client::{
    Identity, Limits, NodeService, Overloaded, Server,
    members::{Members, NewWish, Outlook, StageError},
    reaping::{ReapError, ReapSeen},
    service::{BucketEntry, Directory, RequestError, Seat, Status},
};
use cartwheel_protocol::{
    Message,
    format::Formats,
    id::{AddId, ClusterId, NodeId},
    layout::LayoutHash,
    membership::MemberMessage,
    request::{Request, Response},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Notify,
};

pub(crate) const CLUSTER: ClusterId = ClusterId(0xc0ffee);
pub(crate) const LAYOUT: LayoutHash = LayoutHash(0x1a);
pub(crate) const WRITTEN: Response = Response::Written { slots: 2, nodes: 2, zones: 1 };

/// What a node does with one request.
pub(crate) enum Act {
    /// Answers.
    Answer(Response),
    /// Never answers.
    Silence,
    /// Answers this when the test says so.
    When(Arc<Notify>, Response),
}

/// A node that answers by a list and writes down what it was asked.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) acts: Mutex<VecDeque<Act>>,
    pub(crate) asked: Mutex<Vec<Request>>,
    pub(crate) delivered: Mutex<Vec<(NodeId, Message)>>,
    pub(crate) gossip: Mutex<Vec<(NodeId, MemberMessage)>>,
    pub(crate) refuses_batches: Mutex<bool>,
    pub(crate) directory: Mutex<Option<Directory>>,
    /// How many requests were held until the test said so.
    pub(crate) held: Mutex<usize>,
}

impl Node {
    pub(crate) fn will(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl NodeService for Node {
    async fn handle(&self, request: Request) -> Response {
        self.asked.lock().unwrap().push(request);
        let act = self.acts.lock().unwrap().pop_front();
        match act.expect("the test says what to do with each request") {
            Act::Answer(response) => response,
            Act::Silence => std::future::pending().await,
            Act::When(told, response) => {
                told.notified().await;
                *self.held.lock().unwrap() += 1;
                response
            }
        }
    }

    fn deliver(&self, from: NodeId, messages: Vec<Message>) -> Result<(), Overloaded> {
        if *self.refuses_batches.lock().unwrap() {
            return Err(Overloaded);
        }
        self.delivered.lock().unwrap().extend(messages.into_iter().map(|m| (from, m)));
        Ok(())
    }

    fn greeted(&self, _: NodeId, _: &str) {}

    fn gossip(&self, from: NodeId, message: MemberMessage) -> Result<(), Overloaded> {
        if *self.refuses_batches.lock().unwrap() {
            return Err(Overloaded);
        }
        self.gossip.lock().unwrap().push((from, message));
        Ok(())
    }

    fn refuses(&self) -> Option<RequestError> {
        None
    }

    async fn members(&self) -> Members {
        Members::default()
    }

    async fn stage(&self, _: Vec<NewWish>, _: bool) -> Result<Outlook, StageError> {
        Err(StageError::NoView)
    }

    async fn reap(&self, _: Option<AddId>) -> Result<(), ReapError> {
        Err(ReapError::NoMember)
    }

    async fn reaping(&self) -> ReapSeen {
        ReapSeen::default()
    }

    fn directory(&self) -> Option<Directory> {
        self.directory.lock().unwrap().clone()
    }

    fn status(&self) -> Status {
        Status { name: "fake".into(), ..Status::default() }
    }
}

/// Three nodes, all owners of everything, the first one first.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) servers: Vec<Option<Server>>,
    pub(crate) addresses: Vec<String>,
    /// Each node's port, also when it is killed.
    reserved: Vec<TcpSocket>,
}

pub(crate) fn node_id(at: usize) -> NodeId {
    NodeId(at as u64 + 1)
}

pub(crate) fn identity(node: NodeId, address: &str) -> Identity {
    Identity {
        cluster: CLUSTER,
        node,
        address: Arc::from(address),
        formats: Formats::SPOKEN,
        layout: Some(LAYOUT),
    }
}

impl Cluster {
    pub(crate) async fn start(limits: &Limits) -> Self {
        let mut cluster =
            Self { nodes: vec![], servers: vec![], addresses: vec![], reserved: vec![] };
        for at in 0..3 {
            let (address, reserved) = reserve();
            let listener = TcpListener::bind(address).await.unwrap();
            let address = address.to_string();
            let node = Arc::new(Node::default());
            let identity = identity(node_id(at), &address);
            let server = Server::start(listener, identity, limits.clone(), node.clone()).unwrap();
            cluster.nodes.push(node);
            cluster.servers.push(Some(server));
            cluster.addresses.push(address);
            cluster.reserved.push(reserved);
        }
        for node in &cluster.nodes {
            *node.directory.lock().unwrap() = Some(cluster.directory());
        }
        cluster
    }

    fn directory(&self) -> Directory {
        let seat = |(at, address): (usize, &String)| Seat {
            node: node_id(at).0,
            name: format!("n{}", at + 1),
            address: address.clone(),
            zone: "z".into(),
            weight: 1,
        };
        let bucket = |name: &str, is_cart| BucketEntry {
            name: name.into(),
            n: 3,
            is_cart,
            is_last_write_wins: false,
            is_spread_over_zones: false,
            strict_r: 2,
            strict_w: 2,
            cancelled_bound: 2_048,
            r: 2,
            w: 2,
        };
        Directory {
            cluster: CLUSTER.0,
            layout: 1,
            hash: 1,
            partitions: 1,
            members: self.addresses.iter().enumerate().map(seat).collect(),
            buckets: vec![bucket("carts", true), bucket("default", false)],
            width: 3,
            owners: vec![0, 1, 2],
        }
    }

    /// Closes a node at once; its address refuses connections from then on.
    pub(crate) async fn kill(&mut self, at: usize) {
        let server = self.servers[at].take().unwrap();
        server.shutdown(Duration::ZERO).await;
    }
}

/// A loopback port that the system chooses and keeps for us as long as the socket lives: bound, but not listened on, so that
/// nobody else is given it and it can be listened on again and again.
fn reserve() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

/// Waits until something holds, at most half a minute.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not within half a minute: {what}");
        // Between two looks at the condition, which alone decides.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
