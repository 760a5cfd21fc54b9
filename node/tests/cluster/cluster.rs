//! Nodes in this process, on ports that the system chooses, and a client without cleverness.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cartwheel_client::codec::{Bytes, Frames};
use cartwheel_client::handshake::{self, Hello, Kind};
use cartwheel_client::reaping::{ReapError, ReapSeen};
use cartwheel_client::service::{ClientApiClient, RequestError, Status};
use cartwheel_node::{ClusterFile, EngineKind, Node, NodeConfig, NodeError, Options, format_store};
use cartwheel_protocol::bucket::BucketName;
use cartwheel_protocol::format::{Formats, v1};
use cartwheel_protocol::id::{AddId, ClusterId, PutId, Zone};
use cartwheel_protocol::key::Key;
use cartwheel_protocol::layout::Member;
use cartwheel_protocol::object::Addition;
use cartwheel_protocol::request::{Operation, Request, Response};
use tarpc::client::{Config, RpcError};
use tarpc::context;
use tokio::net::{TcpSocket, TcpStream};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A cluster whose nodes can be started and ended one by one.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    pub(crate) configs: Vec<NodeConfig>,
    nodes: Vec<Option<Node>>,
    /// Each node's port, also while it does not run.
    reserved: Vec<TcpSocket>,
}

impl Cluster {
    /// Formats and starts so many nodes.
    pub(crate) async fn start(nodes: usize, engine: EngineKind) -> Self {
        Self::start_with(nodes, engine, |_, _| {}).await
    }

    /// The same with what `change` makes of each node's configuration, its place counted from zero.
    pub(crate) async fn start_with(
        nodes: usize,
        engine: EngineKind,
        change: impl Fn(usize, &mut NodeConfig),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = folder.path().join("cluster.toml");
        let (mut members, mut configs, mut reserved) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=nodes {
            let (name, data) = (format!("n{number}"), folder.path().join(format!("n{number}")));
            let (listen, socket) = reserve();
            let mut config = config(data, cluster.clone(), listen, engine);
            change(number - 1, &mut config);
            let store = format_store(&config.data, &name).expect("a new store");
            members.push(member(&store, listen));
            configs.push(config);
            reserved.push(socket);
        }
        ClusterFile::new(ClusterId(0xc1), members).write(&cluster).expect("a cluster file");
        let mut this = Self { folder, configs, nodes: Vec::new(), reserved };
        for config in &this.configs {
            let node = started(config, Options::default()).await.expect("the node starts");
            this.nodes.push(Some(node));
        }
        this.wait_for("every node is connected to all", |status| {
            status.connected.len() == nodes - 1 && status.suspected.is_empty()
        })
        .await;
        this
    }

    /// Formats and starts one more node, which knows these nodes' addresses and becomes a member.
    pub(crate) async fn join(&mut self, name: &str, seeds: &[usize]) -> usize {
        let number = self.nodes.len();
        let data = self.folder.path().join(format!("data{}", number + 1));
        format_store(&data, name).expect("a new store");
        let (listen, socket) = reserve();
        let mut config = config(data, PathBuf::new(), listen, self.configs[0].engine);
        config.seed = seeds.iter().map(|seed| self.configs[*seed].listen.to_string()).collect();
        config.join = true;
        let node = started(&config, Options::default()).await.expect("the node starts");
        self.configs.push(config);
        self.nodes.push(Some(node));
        self.reserved.push(socket);
        number
    }

    /// Starts a node that was ended.
    pub(crate) async fn restart(&mut self, number: usize) -> Result<(), NodeError> {
        self.restart_with(number, Options::default()).await
    }

    /// The same with options.
    pub(crate) async fn restart_with(
        &mut self,
        number: usize,
        options: Options,
    ) -> Result<(), NodeError> {
        let node = started(&self.configs[number], options).await?;
        assert!(self.nodes[number].replace(node).is_none(), "it ran already");
        Ok(())
    }

    /// Ends a node without warning.
    pub(crate) async fn kill(&mut self, number: usize) {
        self.take(number).kill().await;
    }

    /// Takes a running node out of the cluster's hands.
    pub(crate) fn take(&mut self, number: usize) -> Node {
        self.nodes[number].take().expect("it runs")
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().expect("it runs")
    }

    /// Connects to a node as a client.
    pub(crate) async fn client(&self, number: usize) -> Client {
        Client::connect(self.node(number).address()).await.expect("the node takes a client")
    }

    /// Waits until all running nodes are as wanted.
    pub(crate) async fn wait_for(&self, what: &str, is_so: impl Fn(&Status) -> bool) {
        let began = Instant::now();
        while !self.nodes.iter().flatten().all(|node| is_so(&node.status())) {
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A loopback port that the system chooses and keeps for us as long as the socket lives: bound, but not listened on, so that
/// nobody else is given it and a node, which may share it, can listen on it again and again.
pub(crate) fn reserve() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a port can be shared");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    (socket.local_addr().expect("a bound socket has an address"), socket)
}

/// Starts a node. One with a new store waits for its seeds, however long they are silent.
async fn started(config: &NodeConfig, options: Options) -> Result<Node, NodeError> {
    let starting = Node::start(config.clone(), loudly(options));
    let started = tokio::time::timeout(PATIENCE, starting).await;
    started.unwrap_or_else(|_| panic!("{:?} does not start within {PATIENCE:?}", config.data))
}

/// A node that fails ends this process, as it would end its own, after saying why past libtest, which shows nothing of
/// a process that ends so.
fn loudly(mut options: Options) -> Options {
    options.on_failure.get_or_insert_with(|| {
        Box::new(|reason| {
            // Nothing can be done where even this fails.
            drop(writeln!(std::io::stderr(), "a node of this test failed: {reason}"));
            #[cfg(target_os = "linux")]
            crate::space::unmount_all();
            std::process::exit(cartwheel_node::EXIT_FAIL_STOP)
        })
    });
    options
}

fn member(store: &cartwheel_node::StoreId, listen: SocketAddr) -> Member {
    Member {
        id: store.id,
        name: store.name.as_str().into(),
        address: listen.to_string().into(),
        zone: Zone("z1".into()),
        weight: 1,
    }
}

fn config(data: PathBuf, cluster: PathBuf, listen: SocketAddr, engine: EngineKind) -> NodeConfig {
    NodeConfig {
        data,
        cluster,
        listen,
        engine,
        shards: 2,
        gossip_every_ms: 50,
        // Wherever temporary folders lie, they may be small.
        free_space_reserve_mib: Some(0),
        ..NodeConfig::default()
    }
}

/// One connection to one node: it asks that node and no other, once.
#[derive(Clone)]
pub(crate) struct Client(ClientApiClient);

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Result<Self, handshake::HandshakeError> {
        let mut stream = TcpStream::connect(to).await?;
        let (kind, formats) = (Kind::Client, Formats::SPOKEN);
        let hello = Hello { kind, cluster: None, formats, layout: None };
        let welcome = handshake::greet(&mut stream, &hello, PATIENCE).await?;
        let transport = Frames::of_dialler(welcome.format).over(stream);
        Ok(Self(ClientApiClient::new(Config::default(), transport).spawn()))
    }

    pub(crate) async fn ask(
        &self,
        request: &Request,
    ) -> Result<Result<Response, RequestError>, RpcError> {
        let bytes = Bytes(v1::encode_request(request));
        let answer = self.0.request(in_time(), bytes).await?;
        Ok(answer.map(|bytes| v1::decode_response(&bytes.0).expect("the node's own encoding")))
    }

    /// Begins a run of reap rounds at the node.
    pub(crate) async fn reap(&self, up_to: Option<AddId>) -> Result<(), ReapError> {
        let began = self.0.reap(in_time(), up_to.map(|up_to| up_to.0)).await;
        began.expect("the connection holds")
    }

    /// How the node's runs are.
    pub(crate) async fn reaping(&self) -> ReapSeen {
        self.0.reaping(in_time()).await.expect("the connection holds")
    }

    /// The answer to a request that the node takes.
    pub(crate) async fn answer(&self, request: &Request) -> Response {
        self.ask(request).await.expect("the connection holds").expect("the node takes it")
    }

    /// A write that must succeed.
    pub(crate) async fn write(&self, request: &Request) {
        let response = self.answer(request).await;
        assert!(matches!(response, Response::Written { .. }), "{request}: {response}");
    }

    /// The values of a register, sorted.
    pub(crate) async fn values(&self, request: &Request) -> Vec<Vec<u8>> {
        match self.answer(request).await {
            Response::Found { object, .. } | Response::Held { object, .. } => {
                let mut values: Vec<Vec<u8>> =
                    object.values().iter().map(|value| value.bytes.to_vec()).collect();
                values.sort();
                values
            }
            other @ (Response::Written { .. } | Response::Refused(_)) => {
                panic!("{request}: {other}")
            }
        }
    }

    /// What is in a cart: articles and how many of each addition.
    pub(crate) async fn cart(&self, name: &str) -> Vec<(String, u32)> {
        match self.answer(&request("carts", name, Operation::Get)).await {
            Response::Found { object, .. } => {
                let additions = object.additions();
                additions.iter().map(|add| (add.sku.to_string(), add.quantity)).collect()
            }
            other @ (Response::Held { .. } | Response::Written { .. } | Response::Refused(_)) => {
                panic!("{name}: {other}")
            }
        }
    }
}

fn in_time() -> context::Context {
    let mut context = context::current();
    context.deadline = Instant::now() + PATIENCE;
    context
}

fn request(bucket: &str, name: &str, operation: Operation) -> Request {
    let bucket = BucketName::new(bucket).expect("a name");
    let key = Key::new(bucket, name.as_bytes());
    Request { key, operation, quorum: None, strict: false, timeout_ms: 10_000 }
}

pub(crate) fn put(name: &str, value: &[u8]) -> Request {
    let put_id = PutId(rand::random());
    let operation = Operation::Put { context: None, put_id, time_us: 0, value: value.into() };
    request("default", name, operation)
}

pub(crate) fn get(name: &str) -> Request {
    request("default", name, Operation::Get)
}

pub(crate) fn get_local(name: &str) -> Request {
    request("default", name, Operation::GetLocal)
}

pub(crate) fn accept_loss(name: &str) -> Request {
    request("default", name, Operation::AcceptLoss)
}

pub(crate) fn add(name: &str, add_id: u128, sku: &str, quantity: u32) -> Request {
    let add = Some(Addition { add_id: AddId(add_id), sku: sku.into(), quantity });
    request("carts", name, Operation::Change { cancel: [].into(), add, context: None })
}

pub(crate) fn cancel(name: &str, add_id: u128) -> Request {
    let cancel = [AddId(add_id)].into();
    request("carts", name, Operation::Change { cancel, add: None, context: None })
}
