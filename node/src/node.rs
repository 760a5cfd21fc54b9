//! A running node: its parts put together, and taken apart in order.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cartwheel_client::service::Status;
use cartwheel_client::{Identity, Limits, NodeService, Server, TcpPeers};
use cartwheel_protocol::id::{ClusterId, Incarnation};
use cartwheel_protocol::membership::{Membership, Saved};
use cartwheel_protocol::{Config as CoreConfig, Input};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::config::NodeConfig;
use crate::control::{
    self, Control, ControlInbox, ControlOutlet, Delivery, Parts, Peers, Reaping, Seen, resolve,
    write_saved,
};
use crate::error::NodeError;
use crate::inner::Inner;
use crate::pace::Pace;
use crate::peers::ShardOutbound;
use crate::prepare::{Prepared, listen, prepare};
use crate::router::Router;
use crate::shards::{Common, FailStop, Inboxes, Shards};
use crate::space::{Space, Watched};
use crate::store::Store;
use crate::{http, metrics};

/// The exit code of a process whose store failed, or whose shard or membership panicked.
pub const EXIT_FAIL_STOP: i32 = 74;
/// How often a drain looks whether requests are still under way.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// What a caller may bring along.
#[derive(Default)]
pub struct Options {
    /// Listened on instead of the configured address: tests bind port 0 first, so that the cluster file can
    /// name the port.
    pub listener: Option<StdListener>,
    /// What is done when the store fails, or a shard or membership panics. Without it the process exits with
    /// [`EXIT_FAIL_STOP`]. Whoever gives one must see to it that the node is used no more.
    pub on_failure: Option<OnFailure>,
}

/// Told why the store failed, or a shard or membership panicked.
pub type OnFailure = Box<dyn Fn(&str) + Send + Sync>;

/// A running node. Dropped, it ends as if killed, in its own time; see [`Node::shutdown`] and
/// [`Node::kill`].
pub struct Node {
    inner: Arc<Inner>,
    server: Option<Server>,
    control: Option<std::thread::JoinHandle<()>>,
    shards: Option<Shards>,
    store: Option<Store>,
    tasks: Vec<JoinHandle<()>>,
    address: SocketAddr,
    http_address: Option<SocketAddr>,
    drain: Duration,
}

impl Node {
    /// Starts a node in the present tokio runtime. It serves when this returns.
    ///
    /// # Errors
    /// What [`NodeError`] lists. Nothing runs then.
    pub async fn start(config: NodeConfig, options: Options) -> Result<Self, NodeError> {
        let _: Option<_> = metrics::recorder();
        let prepared = prepare(config).await?;
        let listener = listen(options.listener, prepared.config.listen, "listen").await?;
        let http = match prepared.config.http {
            Some(address) => Some(listen(None, address, "http").await?),
            None => None,
        };
        let (address, http_address) = (local(&listener)?, http.as_ref().map(local).transpose()?);
        let advertised = prepared.address(address)?;
        let (saved, is_on_disk) = prepared.saved(&advertised)?;
        let member_config = prepared.member_config(&advertised)?;
        let Prepared { config, cluster, first, store, .. } = prepared;
        let incarnation = Incarnation(rand::random());
        let core = Arc::new(config.core(cluster)?);
        let identity = Identity {
            cluster,
            node: store.id.id,
            address: advertised,
            formats: config.formats()?,
            layout: first,
        };
        if let Some(saved) = saved.as_deref().filter(|_| !is_on_disk) {
            write_saved(store.engine.as_ref(), saved)?;
        }
        store.begin()?;

        let inboxes = Inboxes::new(&config);
        let (router, pace) = (Arc::new(inboxes.router(config.clock_offset_ms)), inboxes.pace());
        let (control, outlet) = control::inbox();
        let events = Arc::new(control.clone());
        let peers = Arc::new(TcpPeers::new(identity.clone(), limits(&config), events));
        // What it finds is in the shards' inboxes before any client's request.
        let told = router.clone();
        let tell = move |short| told.opinion(&Input::Space { short });
        let space = Arc::new(Space::new(store.engine.clone(), config.reserve_bytes(), tell)?);
        let common = Common {
            id: store.id.id,
            incarnation,
            core: core.clone(),
            engine: Arc::new(Watched { engine: store.engine.clone(), space: space.clone() }),
            fail_stop: fail_stop(options.on_failure),
        };
        let outbound = |id| ShardOutbound::new(id, peers.clone(), control.clone());
        let woken = control.clone();
        let wake = move || woken.control(Delivery::Durable);
        let shards = inboxes.start(&common, &config, outbound, wake)?;

        let begun = Begun {
            config,
            cluster,
            identity,
            core,
            incarnation,
            store,
            peers,
            router,
            pace,
            space,
            shards,
            fail_stop: common.fail_stop,
            membership: (Membership::new(common.id, member_config), saved),
            control: (control, outlet),
            listeners: (listener, http),
        };
        begun.serve((address, http_address)).await
    }

    /// Where peers and clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` and `/health` are answered.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// What the node says of itself now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.status()
    }

    /// Ends cleanly: takes no more requests, waits for those under way (a bounded time), makes everything
    /// durable and marks the store. Says whether all requests had ended.
    ///
    /// # Errors
    /// When the store cannot be marked; nothing acknowledged is lost.
    pub async fn shutdown(mut self) -> Result<bool, NodeError> {
        self.inner.router.drain();
        let began = Instant::now();
        while !self.inner.is_idle() && began.elapsed() < self.drain {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        // The last answers are on their way to their clients.
        tokio::time::sleep(DRAIN_LOOK).await;
        let mut drained = self.inner.is_idle();
        if let Some(server) = self.server.take() {
            drained &= server.shutdown(DRAIN_LOOK).await;
        }
        let store = self.end().await;
        if let Some(store) = store.filter(|_| drained) {
            store.mark_clean(self.inner.incarnation)?;
        }
        Ok(drained)
    }

    /// Ends at once, as far as others can tell: what was acknowledged is on disk, the rest may be. On return
    /// the store is free.
    pub async fn kill(mut self) {
        drop(self.end().await);
    }

    /// Cuts the node off and lets its threads end.
    async fn end(&mut self) -> Option<Store> {
        self.cut_off();
        if let Some(control) = self.control.take() {
            // A panic in there has stopped the node already. It dials nobody after this.
            let _: Result<_, JoinError> = tokio::task::spawn_blocking(move || control.join()).await;
        }
        self.inner.peers.shutdown().await;
        for task in self.tasks.drain(..) {
            // It ended because it was aborted.
            let _: Result<(), JoinError> = task.await;
        }
        if let Some(shards) = self.shards.take() {
            ended(shards).await;
        }
        self.store.take()
    }

    fn cut_off(&mut self) {
        self.server = None;
        self.inner.control.control(Delivery::Stop);
        self.inner.peers.set_peers([]);
        self.tasks.iter().for_each(JoinHandle::abort);
        self.inner.router.stop();
    }
}

/// A node whose shards run, and that nobody can reach yet.
struct Begun {
    config: NodeConfig,
    cluster: ClusterId,
    identity: Identity,
    core: Arc<CoreConfig>,
    incarnation: Incarnation,
    store: Store,
    peers: Arc<TcpPeers>,
    router: Arc<Router>,
    pace: Arc<Pace>,
    space: Arc<Space>,
    shards: Shards,
    fail_stop: FailStop,
    membership: (Membership, Option<Arc<Saved>>),
    control: (ControlInbox, ControlOutlet),
    listeners: (TcpListener, Option<TcpListener>),
}

impl Begun {
    /// Starts membership, then serves.
    async fn serve(self, addresses: (SocketAddr, Option<SocketAddr>)) -> Result<Node, NodeError> {
        let Self { config, cluster, identity, core, incarnation, store, peers, router, .. } = self;
        let (mut shards, fail_stop) = (self.shards, self.fail_stop);
        let (space, pace) = (self.space, self.pace);
        let ((membership, saved), (control, outlet)) = (self.membership, self.control);
        let (listener, http) = self.listeners;
        let (address, http_address) = addresses;
        let (seen, seen_now) = watch::channel(Seen::default());
        let writer = shards.take_writer().expect("it is taken once");
        let parts = Parts {
            me: store.id.id,
            name: store.id.name.clone(),
            membership,
            outlet,
            writer,
            router: router.clone(),
            peers: Peers::new(store.id.id, peers.clone()),
            seen,
            shards: shards.statuses(),
            reaping: Reaping::new(shards.statuses(), config.reap_schedule()),
        };
        let thread = Control::new(parts, identity.address.clone(), saved);
        let inner = Arc::new(Inner {
            store: store.id.clone(),
            cluster,
            incarnation,
            engine_kind: config.engine,
            engine: store.engine.clone(),
            space: space.clone(),
            pace: pace.clone(),
            mutant: core.rules.mutant(),
            router: router.clone(),
            seen: seen_now,
            control: control.clone(),
            peers: peers.clone(),
            shards: shards.statuses(),
        });
        let server = match Server::start(listener, identity.clone(), limits(&config), inner.clone())
        {
            Ok(server) => server,
            Err(source) => {
                // It holds a way to the committer, which waits for the last of them.
                drop(thread);
                ended(shards).await;
                return Err(NodeError::System { what: "the listener has no address", source });
            }
        };
        let thread = thread.spawn(fail_stop)?;
        let mut tasks = Vec::new();
        if !config.seed.is_empty() {
            let seeds = resolve(config.seed.clone(), cluster, identity.formats, control);
            tasks.push(tokio::spawn(seeds));
        }
        if let Some(listener) = http {
            tasks.push(tokio::spawn(http::serve(listener, inner.clone(), server.counter())));
        }
        tasks.push(tokio::spawn(http::upkeep()));
        tasks.push(tokio::spawn(space.watch()));
        tasks.push(tokio::spawn(pace.watch(inner.router.clone())));
        let view = inner.view_text();
        tracing::info!(
            node = %inner.id(), name = inner.name(), %incarnation, %address, %cluster, view,
            engine = %config.engine, shards = config.shards, was_clean = store.was_clean,
            "the node serves"
        );
        let drain = Duration::from_millis(config.drain_ms.into());
        let (server, shards, store) = (Some(server), Some(shards), Some(store));
        let control = Some(thread);
        Ok(Node { inner, server, control, shards, store, tasks, address, http_address, drain })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cut_off();
    }
}

/// Stops the shards and waits until they have ended.
async fn ended(shards: Shards) {
    // A panic in there has stopped the node already.
    let _: Result<(), JoinError> = tokio::task::spawn_blocking(move || shards.join()).await;
}

/// The transport's limits; what is not configured is left as it is.
fn limits(config: &NodeConfig) -> Limits {
    Limits {
        queued_messages: config.peer_queue,
        connections: config.connections,
        requests_in_flight: config.max_requests,
        request: Duration::from_millis(config.max_timeout_ms.into()),
        ..Limits::default()
    }
}

fn local(listener: &TcpListener) -> Result<SocketAddr, NodeError> {
    let what = "the listener has no address";
    listener.local_addr().map_err(|source| NodeError::System { what, source })
}

fn fail_stop(given: Option<OnFailure>) -> FailStop {
    match given {
        Some(given) => Arc::from(given),
        None => Arc::new(|reason| {
            tracing::error!(reason, "the node stops: nothing more is acknowledged");
            std::process::exit(EXIT_FAIL_STOP)
        }),
    }
}
