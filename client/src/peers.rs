//! The sending side: to each peer one connection that is dialled again whenever it is lost.
//!
//! Nothing here waits for a peer and nothing is sent twice: what does not fit a queue, or waits when a
//! connection is lost, is dropped and counted, and the protocol takes it for lost on the way. A lost
//! connection is told at once; that is how a killed neighbour is noticed in no time.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cartwheel_protocol::{Message, format::v1, id::NodeId, membership::MemberMessage};
use futures::{
    future::Either,
    stream::{FuturesOrdered, StreamExt},
};
use tarpc::{client, context};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    task::{JoinError, JoinSet},
    time::{self, sleep_until},
};

use crate::{
    Identity, Limits,
    codec::Frames,
    handshake::{self, HandshakeError, Hello, Kind, Welcome},
    patience::Patience,
    pieces::split,
    service::{DeliverError, PeerClient, Piece},
    stream::open_stream,
};

/// The way to the peers, as a shard sees it.
///
/// Messages are taken in order and delivered at most once. A mode that holds, releases or drops single
/// messages of a live cluster is another implementation of this trait.
pub trait PeerTransport: Send + Sync + 'static {
    /// Queues a message and returns at once.
    fn send(&self, to: NodeId, message: &Message) -> Result<(), Dropped>;
}

/// Why a message was dropped at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Dropped {
    /// As much waits for that peer as may.
    #[error("the queue is full")]
    Full,
    /// There is no connection to that peer now.
    #[error("not connected")]
    NotConnected,
    /// There is no such peer.
    #[error("unknown peer")]
    UnknownPeer,
}

/// Who is told when connections come and go. Called on a task of the transport; to return at once.
pub trait PeerEvents: Send + Sync + 'static {
    /// The peer has answered the handshake: messages to it go out from now on.
    fn on_opened(&self, node: NodeId);

    /// The connection is lost, or could not be made for the first time since it was last open.
    fn on_closed(&self, node: NodeId, why: &Closed);
}

/// Why there is no connection to a peer.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// Connecting failed.
    #[error("cannot connect to {address}: {why}")]
    Unreachable {
        /// Where.
        address: Arc<str>,
        /// What the system says.
        why: std::io::Error,
    },
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The connection ended.
    #[error("the connection ended")]
    Ended,
    /// The peer did not take a batch in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The peer could not decode what this node sent.
    #[error("the peer cannot decode what it was sent: {0}")]
    Undecodable(String),
}

/// What was sent to a peer, and what was not, since the transport's start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PeerCounts {
    /// Messages handed to a connection.
    pub sent: u64,
    /// Messages dropped because the queue was full.
    pub full: u64,
    /// Messages dropped because there was no connection, those that waited when it was lost included.
    pub unconnected: u64,
    /// Batches and gossip that the peer dropped because its own queue was full.
    pub overloaded: u64,
    /// How often a connection was opened.
    pub opened: u64,
}

/// Connections to all peers over TCP.
pub struct TcpPeers {
    identity: Identity,
    limits: Limits,
    events: Arc<dyn PeerEvents>,
    /// Whom to dial; replaced whole when the members change.
    routes: watch::Sender<BTreeMap<NodeId, Arc<Link>>>,
    tasks: Mutex<JoinSet<()>>,
}

/// One peer: what waits for it.
struct Link {
    address: Arc<str>,
    queue: Mutex<Queue>,
    filled: Notify,
    gossip_filled: Notify,
    stop: watch::Sender<bool>,
    sent: AtomicU64,
    full: AtomicU64,
    unconnected: AtomicU64,
    overloaded: AtomicU64,
    opened: AtomicU64,
}

#[derive(Default)]
struct Queue {
    is_open: bool,
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    /// What memberships say to each other, in pieces: it passes the rest by.
    gossip: VecDeque<Piece>,
}

/// How many pieces of gossip may wait for one peer.
const QUEUED_GOSSIP: usize = 256;

impl TcpPeers {
    /// A transport without peers; see [`TcpPeers::set_peers`].
    pub fn new(identity: Identity, limits: Limits, events: Arc<dyn PeerEvents>) -> Self {
        Self { identity, limits, events, routes: watch::Sender::default(), tasks: Mutex::default() }
    }

    /// Dials these nodes, this one excepted, and keeps dialling; lets go of all others. To be called within
    /// a tokio runtime.
    pub fn set_peers(&self, peers: impl IntoIterator<Item = (NodeId, Arc<str>)>) {
        let peers = peers.into_iter().filter(|(node, _)| *node != self.identity.node);
        self.routes.send_modify(|routes| {
            let dial = |(node, address): (NodeId, Arc<str>)| match routes.remove(&node) {
                Some(link) if link.address == address => (node, link),
                moved => {
                    if let Some(link) = moved {
                        link.stop.send_replace(true);
                    }
                    (node, self.dial(node, address))
                }
            };
            let wanted: BTreeMap<NodeId, Arc<Link>> = peers.map(dial).collect();
            for (_, gone) in std::mem::replace(routes, wanted) {
                gone.stop.send_replace(true);
            }
        });
    }

    /// Queues what this node's membership says to another's and returns at once.
    ///
    /// # Errors
    /// It was dropped.
    pub fn gossip(&self, to: NodeId, message: &MemberMessage) -> Result<(), Dropped> {
        let link = self.routes.borrow().get(&to).cloned().ok_or(Dropped::UnknownPeer)?;
        link.push_gossip(v1::encode_member_message(message), &self.limits)
    }

    /// The peers that are connected now, sorted.
    pub fn connected(&self) -> Vec<NodeId> {
        let routes = self.routes.borrow();
        let open = routes.iter().filter(|(_, link)| lock(&link.queue).is_open);
        open.map(|(node, _)| *node).collect()
    }

    /// What was sent to each peer.
    pub fn counts(&self) -> Vec<(NodeId, PeerCounts)> {
        self.routes.borrow().iter().map(|(node, link)| (*node, link.counts())).collect()
    }

    /// Closes all connections; what waits is dropped.
    pub async fn shutdown(&self) {
        self.set_peers([]);
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while let Some(ended) = tasks.join_next().await {
            note_panic(ended);
        }
    }

    fn dial(&self, node: NodeId, address: Arc<str>) -> Arc<Link> {
        let link = Arc::new(Link::new(address));
        let dialler = Dialler {
            node,
            hello: Hello {
                kind: Kind::Peer {
                    node: self.identity.node,
                    address: self.identity.address.to_string(),
                },
                cluster: Some(self.identity.cluster),
                formats: self.identity.formats,
                layout: self.identity.layout,
            },
            limits: self.limits.clone(),
            events: self.events.clone(),
            link: link.clone(),
        };
        let mut tasks = lock(&self.tasks);
        while let Some(ended) = tasks.try_join_next() {
            note_panic(ended);
        }
        tasks.spawn(dialler.run());
        drop(tasks);
        link
    }
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a peer's task panicked");
    }
}

impl PeerTransport for TcpPeers {
    fn send(&self, to: NodeId, message: &Message) -> Result<(), Dropped> {
        let link = self.routes.borrow().get(&to).cloned().ok_or(Dropped::UnknownPeer)?;
        link.push(v1::encode_message(message), &self.limits)
    }
}

impl fmt::Debug for TcpPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpPeers").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Link {
    fn new(address: Arc<str>) -> Self {
        Self {
            address,
            queue: Mutex::default(),
            filled: Notify::new(),
            gossip_filled: Notify::new(),
            stop: watch::Sender::new(false),
            sent: AtomicU64::new(0),
            full: AtomicU64::new(0),
            unconnected: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        }
    }

    fn push(&self, message: Vec<u8>, limits: &Limits) -> Result<(), Dropped> {
        let mut queue = lock(&self.queue);
        if !queue.is_open {
            self.unconnected.fetch_add(1, Ordering::Relaxed);
            return Err(Dropped::NotConnected);
        }
        let fits = queue.messages.len() < limits.queued_messages
            && queue.bytes + message.len() <= limits.queued_bytes;
        if !fits && !queue.messages.is_empty() {
            self.full.fetch_add(1, Ordering::Relaxed);
            return Err(Dropped::Full);
        }
        queue.bytes += message.len();
        queue.messages.push_back(message);
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    fn push_gossip(&self, message: Vec<u8>, limits: &Limits) -> Result<(), Dropped> {
        let mut queue = lock(&self.queue);
        if !queue.is_open {
            self.unconnected.fetch_add(1, Ordering::Relaxed);
            return Err(Dropped::NotConnected);
        }
        let pieces = split(message, limits.piece_bytes);
        if queue.gossip.len() + pieces.len() > QUEUED_GOSSIP && !queue.gossip.is_empty() {
            self.full.fetch_add(1, Ordering::Relaxed);
            return Err(Dropped::Full);
        }
        queue.gossip.extend(pieces);
        drop(queue);
        self.gossip_filled.notify_one();
        Ok(())
    }

    /// Waits for the next piece of gossip.
    async fn next_gossip(&self) -> Piece {
        loop {
            let next = lock(&self.queue).gossip.pop_front();
            if let Some(piece) = next {
                return piece;
            }
            self.gossip_filled.notified().await;
        }
    }

    fn open(&self) {
        lock(&self.queue).is_open = true;
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self) {
        let lost = std::mem::take(&mut *lock(&self.queue));
        let lost = lost.messages.len() + lost.gossip.len();
        self.unconnected.fetch_add(lost as u64, Ordering::Relaxed);
    }

    /// Waits for messages and takes as many as go into a batch. `cut` holds the parts of a long message that
    /// is being sent: one goes first, and no other long message is begun before it is through.
    async fn batch(&self, cut: &mut VecDeque<Piece>, limits: &Limits) -> Vec<Piece> {
        loop {
            let batch = self.take_batch(cut, limits);
            if !batch.is_empty() {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    fn take_batch(&self, cut: &mut VecDeque<Piece>, limits: &Limits) -> Vec<Piece> {
        let mut batch = Vec::from_iter(cut.pop_front());
        let mut bytes = 0;
        let mut queue = lock(&self.queue);
        while let Some(next) = queue.messages.front() {
            let len = next.len();
            let is_long = len > limits.piece_bytes;
            if bytes > 0 && bytes + len > limits.batch_bytes || is_long && !cut.is_empty() {
                break;
            }
            let Some(message) = queue.messages.pop_front() else { break };
            queue.bytes -= len;
            bytes += len.min(limits.piece_bytes);
            self.sent.fetch_add(1, Ordering::Relaxed);
            if is_long {
                *cut = split(message, limits.piece_bytes);
                batch.extend(cut.pop_front());
                break;
            }
            batch.push(Piece::Whole(message.into()));
        }
        batch
    }

    fn counts(&self) -> PeerCounts {
        PeerCounts {
            sent: self.sent.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
            unconnected: self.unconnected.load(Ordering::Relaxed),
            overloaded: self.overloaded.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
        }
    }
}

/// The task that keeps one peer connected.
struct Dialler {
    node: NodeId,
    hello: Hello,
    limits: Limits,
    events: Arc<dyn PeerEvents>,
    link: Arc<Link>,
}

impl Dialler {
    async fn run(self) {
        let mut stop = self.link.stop.subscribe();
        let dialling = self.dial_for_ever();
        tokio::select! {
            () = dialling => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.link.close();
    }

    async fn dial_for_ever(&self) {
        let mut backoff = self.limits.backoff_least;
        let mut was_told = false;
        loop {
            let closed = match self.connect().await {
                Ok((stream, welcome)) => {
                    backoff = self.limits.backoff_least;
                    was_told = false;
                    self.link.open();
                    tracing::debug!(peer = %self.node, "connected");
                    self.events.on_opened(self.node);
                    let closed = self.feed(stream, welcome).await;
                    self.link.close();
                    closed
                }
                Err(closed) => closed,
            };
            if !was_told {
                tracing::info!(peer = %self.node, why = %closed, "no connection");
                self.events.on_closed(self.node, &closed);
                was_told = true;
            }
            let jitter = rand::random_range(0.5..1.0);
            time::sleep(backoff.mul_f64(jitter)).await;
            backoff = (backoff * 2).min(self.limits.backoff_most);
        }
    }

    async fn connect(&self) -> Result<(TcpStream, Welcome), Closed> {
        let mut stream = open_stream(&self.link.address, self.limits.connect)
            .await
            .map_err(|why| Closed::Unreachable { address: self.link.address.clone(), why })?;
        let welcome = handshake::greet(&mut stream, &self.hello, self.limits.handshake).await?;
        if welcome.node == self.node {
            return Ok((stream, welcome));
        }
        let (expected, found) = (self.node, welcome.node);
        Err(HandshakeError::WrongNode { expected, found }.into())
    }

    /// Sends until the connection ends; says why it did.
    async fn feed(&self, stream: TcpStream, welcome: Welcome) -> Closed {
        let transport = Frames::of_dialler(welcome.format).over(stream);
        let client::NewClient { client, dispatch } =
            PeerClient::new(client::Config::default(), transport);
        tokio::pin!(dispatch);
        let mut under_way = FuturesOrdered::new();
        let mut patience = Patience::new(&self.limits, time::Instant::now());
        let mut cut = VecDeque::new();
        loop {
            let may_send = patience.may_send();
            tokio::select! {
                ended = &mut dispatch => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %self.node, %error, "the connection broke");
                    }
                    return Closed::Ended;
                }
                () = sleep_until(patience.due()), if patience.waits() => {
                    return Closed::Silent(patience.allowed());
                }
                Some(answer) = under_way.next() => match answer {
                    Ok(Ok(())) => patience.answered(time::Instant::now()),
                    Ok(Err(DeliverError::Overloaded)) => {
                        patience.answered(time::Instant::now());
                        self.link.overloaded.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Err(DeliverError::Undecodable(why))) => return Closed::Undecodable(why),
                    Err(_) => return Closed::Ended,
                },
                piece = self.link.next_gossip(), if may_send => {
                    patience.sent(piece.bytes(), time::Instant::now());
                    let (client, context) = (client.clone(), long_enough());
                    let call = async move { client.gossip(context, piece).await };
                    under_way.push_back(Either::Left(call));
                }
                batch = self.link.batch(&mut cut, &self.limits), if may_send => {
                    patience.sent(batch.iter().map(Piece::bytes).sum(), time::Instant::now());
                    let (client, context) = (client.clone(), long_enough());
                    let call = async move { client.deliver(context, batch).await };
                    under_way.push_back(Either::Right(call));
                }
            }
        }
    }
}

/// The context of a call that is given up by other means than its own deadline.
fn long_enough() -> context::Context {
    let mut context = context::current();
    context.deadline = Instant::now() + Duration::from_secs(3_600);
    context
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
