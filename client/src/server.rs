//! The accepting side: one listener for peers and clients.
//!
//! A connection is a task of its own, so that whatever a stranger sends ends that connection alone. A
//! client's request runs as a task of its own too: tarpc drops a handler at the deadline and when the client
//! goes, and what was begun must finish.

mod client;
mod peer;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cartwheel_protocol::{
    Message,
    id::{AddId, NodeId},
    membership::MemberMessage,
    request::{Request, Response},
};
use tarpc::{ChannelError, ClientMessage};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    Identity, Limits,
    codec::FrameError,
    handshake::{self, Hello, Kind, Refused, Welcome},
    members::{Members, NewWish, Outlook, StageError},
    reaping::{ReapError, ReapSeen},
    refusals::{Refusals, Sender},
    service::{Directory, RequestError, Status},
    stream::attend,
};

/// What a node does with what comes in.
pub trait NodeService: Send + Sync + 'static {
    /// Carries out a client's request. It is run to its end even if the client goes.
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send;

    /// Queues what a peer sent, in order, and returns at once.
    fn deliver(&self, from: NodeId, messages: Vec<Message>) -> Result<(), Overloaded>;

    /// A peer has dialled, and says where it can be reached itself.
    fn greeted(&self, node: NodeId, address: &str);

    /// Queues what a peer's membership says, and returns at once.
    fn gossip(&self, from: NodeId, message: MemberMessage) -> Result<(), Overloaded>;

    /// Why no client's request is taken at all now; `None` if they are.
    fn refuses(&self) -> Option<RequestError>;

    /// How the cluster is, as this node knows it.
    fn members(&self) -> impl Future<Output = Members> + Send;

    /// Stages wishes, all or none of them; with `only_plan` none.
    fn stage(
        &self,
        wishes: Vec<NewWish>,
        only_plan: bool,
    ) -> impl Future<Output = Result<Outlook, StageError>> + Send;

    /// Begins a run of reap rounds, in which cancelled add_ids up to this one may go.
    fn reap(&self, up_to: Option<AddId>) -> impl Future<Output = Result<(), ReapError>> + Send;

    /// How the node's runs of reap rounds are.
    fn reaping(&self) -> impl Future<Output = ReapSeen> + Send;

    /// Who owns what; `None` before the node has a view.
    fn directory(&self) -> Option<Directory>;

    /// How the node is.
    fn status(&self) -> Status;
}

/// The queue is full: the messages were dropped, which the protocol takes for lost on the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overloaded;

/// What a server has seen since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ServerCounts {
    /// Connections that are open now.
    pub connections: u64,
    /// Connections that were refused or never said hello.
    pub refused_connections: u64,
    /// Connections closed for bytes that cannot be decoded.
    pub undecodable: u64,
    /// Requests that were told *overloaded*.
    pub overloaded_requests: u64,
    /// Batches of messages that were dropped because the node's queue was full.
    pub overloaded_batches: u64,
    /// Requests under way now.
    pub requests: u64,
}

/// A listener and its connections. Dropped, it closes them all at once; see [`Server::shutdown`].
pub struct Server {
    address: SocketAddr,
    common: Arc<Common>,
    stage: watch::Sender<Stage>,
    accepting: JoinHandle<()>,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    Open,
    /// No new connections, no new requests of clients.
    Draining,
    Closed,
}

/// What all connections share.
struct Common {
    identity: Identity,
    limits: Limits,
    requests: Arc<Semaphore>,
    connections: AtomicUsize,
    refusals: Refusals,
    overloaded_requests: AtomicU64,
    overloaded_batches: AtomicU64,
}

/// Tells what a [`Server`] has seen.
#[derive(Clone)]
pub struct Counter(Arc<Common>);

impl Counter {
    /// What the server has seen until now.
    pub fn counts(&self) -> ServerCounts {
        self.0.counts()
    }
}

impl Common {
    fn counts(&self) -> ServerCounts {
        let under_way = self.limits.requests_in_flight - self.requests.available_permits();
        ServerCounts {
            connections: self.connections.load(Ordering::Relaxed) as u64,
            refused_connections: self.refusals.connections(),
            undecodable: self.refusals.undecodable(),
            overloaded_requests: self.overloaded_requests.load(Ordering::Relaxed),
            overloaded_batches: self.overloaded_batches.load(Ordering::Relaxed),
            requests: under_way as u64,
        }
    }
}

impl Server {
    /// Accepts connections on `listener` from now on. To be called within a tokio runtime.
    ///
    /// # Errors
    /// The listener has no address, which no open listener's should be.
    pub fn start<S: NodeService>(
        listener: TcpListener,
        identity: Identity,
        limits: Limits,
        service: Arc<S>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stage, stages) = watch::channel(Stage::Open);
        let common = Arc::new(Common {
            identity,
            requests: Arc::new(Semaphore::new(limits.requests_in_flight)),
            limits,
            connections: AtomicUsize::new(0),
            refusals: Refusals::default(),
            overloaded_requests: AtomicU64::new(0),
            overloaded_batches: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, common.clone(), stages, service));
        Ok(Self { address, common, stage, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen.
    pub fn counts(&self) -> ServerCounts {
        self.common.counts()
    }

    /// Gives what it has seen at any time, also when the server itself is out of reach.
    pub fn counter(&self) -> Counter {
        Counter(self.common.clone())
    }

    /// Takes no new connections and requests, waits at most `grace` for those under way, then closes all
    /// connections. Peers are heard until the end, for requests under way need their answers. Says whether
    /// every request ended in time.
    pub async fn shutdown(self, grace: Duration) -> bool {
        self.stage.send_replace(Stage::Draining);
        let all = u32::try_from(self.common.limits.requests_in_flight).unwrap_or(u32::MAX);
        let drained = timeout(grace, self.common.requests.acquire_many(all)).await.is_ok();
        self.stage.send_replace(Stage::Closed);
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "the listener's task panicked");
        }
        drained
    }
}

async fn accept<S: NodeService>(
    listener: TcpListener,
    common: Arc<Common>,
    stages: watch::Receiver<Stage>,
    service: Arc<S>,
) {
    let mut draining = stages.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|stage| *stage >= Stage::Draining) => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let (common, service) = (common.clone(), service.clone());
                tokio::spawn(serve(stream, from, common, stages.clone(), service));
            }
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// One connection, from the handshake to its end.
async fn serve<S: NodeService>(
    mut stream: TcpStream,
    from: SocketAddr,
    common: Arc<Common>,
    mut stages: watch::Receiver<Stage>,
    service: Arc<S>,
) {
    let open = Open::new(common.clone());
    let receive = handshake::receive(&mut stream, common.limits.handshake, |hello| {
        common.judge(hello, open.number)
    });
    let (hello, welcome) = match receive.await {
        Ok(accepted) => accepted,
        Err(error) => {
            common.refusals.note_connection(from, &error);
            return;
        }
    };
    if let Err(error) = attend(&stream) {
        tracing::debug!(%from, %error, "the connection broke at once");
        return;
    }
    let closed = stages.clone();
    let serving = async {
        match hello.kind {
            Kind::Peer { node, address } => {
                service.greeted(node, &address);
                peer::serve(stream, node, welcome, common, service).await;
            }
            Kind::Client => {
                let from = Sender::At(from.ip());
                client::serve(stream, from, welcome, common, closed, service).await;
            }
        }
    };
    // In this order: answers that are ready go out before the connection is closed.
    tokio::select! {
        biased;
        () = serving => {}
        _ = stages.wait_for(|stage| *stage == Stage::Closed) => {}
    }
}

/// So many connections beyond the bound are taken from peers: clients cannot crowd them out.
const KEPT_FOR_PEERS: usize = 1_024;

impl Common {
    fn judge(&self, hello: &Hello, open: usize) -> Result<Welcome, Refused> {
        let Identity { cluster, node, formats, layout, .. } = self.identity;
        let is_peer = matches!(hello.kind, Kind::Peer { .. });
        match hello.cluster {
            Some(theirs) if theirs != cluster => {
                return Err(Refused::WrongCluster { ours: cluster, theirs });
            }
            None if is_peer => {
                let theirs = cartwheel_protocol::id::ClusterId(0);
                return Err(Refused::WrongCluster { ours: cluster, theirs });
            }
            Some(_) | None => {}
        }
        if let (true, Some(ours), Some(theirs)) = (is_peer, layout, hello.layout)
            && ours != theirs
        {
            return Err(Refused::OtherLayout { ours, theirs: Some(theirs) });
        }
        let kept = if is_peer { KEPT_FOR_PEERS } else { 0 };
        if open > self.limits.connections + kept {
            let most = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
            return Err(Refused::TooManyConnections(most));
        }
        let format = formats.highest_common(hello.formats)?;
        Ok(Welcome { cluster, node, format })
    }

    /// The next request of a connection; `None` ends it, and bytes that are no frame are counted.
    fn sound<T>(&self, from: Sender, next: Result<T, ChannelError<FrameError>>) -> Option<T> {
        match next {
            Ok(request) => Some(request),
            Err(ChannelError::Read(error)) if !matches!(*error, FrameError::Io(_)) => {
                self.refusals.note_undecodable(from, &error);
                None
            }
            Err(error) => {
                tracing::debug!(%error, "a connection broke");
                None
            }
        }
    }
}

/// Cuts a caller's deadline to the longest that a call may take: tarpc's timers take no arbitrary ones.
fn clamped<T>(most: Duration) -> impl Fn(ClientMessage<T>) -> ClientMessage<T> {
    move |mut message| {
        if let ClientMessage::Request(request) = &mut message {
            let context = &mut request.context;
            context.deadline = context.deadline.min(Instant::now() + most);
        }
        message
    }
}

/// Counts a connection while it is there.
struct Open {
    common: Arc<Common>,
    number: usize,
}

impl Open {
    fn new(common: Arc<Common>) -> Self {
        let number = common.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Self { common, number }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.common.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
