//! What services and pages see of a running node.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cartwheel_client::members::{Members, NewWish, Outlook, StageError, Standing};
use cartwheel_client::reaping::{Freed, ReapError, ReapSeen};
use cartwheel_client::service::{Directory, RequestError, Status};
use cartwheel_client::{NodeService, Overloaded, TcpPeers};
use cartwheel_protocol::Message;
use cartwheel_protocol::id::{AddId, ClusterId, Incarnation, NodeId};
use cartwheel_protocol::membership::MemberMessage;
use cartwheel_protocol::request::{Request, Response};
use cartwheel_protocol::rules::{HAS_MUTANTS, Mutant};
use tokio::sync::{oneshot, watch};

use crate::config::EngineKind;
use crate::control::{ControlInbox, Delivery, Seen};
use crate::engine::Engine;
use crate::pace::{Foreground, Pace};
use crate::router::Router;
use crate::shard::ShardStatus;
use crate::shards::pending;
use crate::space::{Measured, Space};
use crate::store::StoreId;

/// What services and pages see of a node.
pub(crate) struct Inner {
    pub(crate) store: StoreId,
    pub(crate) cluster: ClusterId,
    pub(crate) incarnation: Incarnation,
    pub(crate) engine_kind: EngineKind,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) space: Arc<Space>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) router: Arc<Router>,
    pub(crate) seen: watch::Receiver<Seen>,
    pub(crate) control: ControlInbox,
    pub(crate) peers: Arc<TcpPeers>,
    pub(crate) shards: Vec<Arc<ShardStatus>>,
}

impl Inner {
    pub(crate) fn id(&self) -> NodeId {
        self.store.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.store.name
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.router.is_draining()
    }

    /// Where the node stands.
    pub(crate) fn standing(&self) -> Standing {
        self.seen.borrow().standing
    }

    /// The view that it goes by, and where it stands if that is not among the members.
    pub(crate) fn view_text(&self) -> String {
        let Seen { view, standing, .. } = self.seen.borrow().clone();
        match (view, standing) {
            (None, _) => "none".to_owned(),
            (Some(view), Standing::Member) => view.id().to_string(),
            (Some(view), standing) => format!("{} ({standing})", view.id()),
        }
    }

    /// Partitions whose trees are being built.
    pub(crate) fn trees_left(&self) -> u64 {
        self.shards.iter().map(|shard| shard.exchanges.left()).sum()
    }

    /// The most entries of a version vector that was written in this run.
    pub(crate) fn clock_entries(&self) -> usize {
        let entries = |shard: &Arc<ShardStatus>| shard.clock_entries.load(Ordering::Relaxed);
        self.shards.iter().map(entries).max().unwrap_or(0)
    }

    /// Requests under way.
    pub(crate) fn pending(&self) -> usize {
        pending(&self.shards)
    }

    /// Whether every client has its answer and nothing is coordinated for others either.
    pub(crate) fn is_idle(&self) -> bool {
        self.router.open() == 0 && self.pending() == 0
    }

    fn counts(&self) -> Vec<(String, u64)> {
        let (waiting_requests, waiting_messages) = self.router.waiting();
        let sum = |of: fn(&ShardStatus) -> u64| self.shards.iter().map(|shard| of(shard)).sum();
        let mut counts: Vec<(String, u64)> = vec![
            ("shards".into(), self.shards.len() as u64),
            ("pending".into(), self.pending() as u64),
            ("unsynced".into(), sum(|shard| shard.unsynced.load(Ordering::Relaxed) as u64)),
            ("steps".into(), sum(|shard| shard.step.load(Ordering::Relaxed))),
            ("catching-up".into(), sum(|shard| shard.catching_up.load(Ordering::Relaxed) as u64)),
            ("unmended".into(), sum(|shard| shard.unmended.load(Ordering::Relaxed) as u64)),
            ("most-clock-entries".into(), self.clock_entries() as u64),
            ("hints".into(), sum(|shard| shard.handed_over.load(Ordering::Relaxed))),
            ("waiting-requests".into(), waiting_requests as u64),
            ("waiting-messages".into(), waiting_messages as u64),
        ];
        if let Ok(bytes) = self.engine().size_bytes() {
            counts.push((Status::STORE_BYTES.into(), bytes));
        }
        let Measured { free_bytes, reserve_bytes, short } = self.space.measured();
        counts.extend([
            ("free-bytes".into(), free_bytes),
            ("free-space-reserve-bytes".into(), reserve_bytes),
            ("short-of-space".into(), u64::from(short)),
        ]);
        let figures = self.pace.figures();
        counts.extend([
            ("background-allowance-percent".into(), (figures.allowance * 100.0).round() as u64),
            ("background-pages".into(), figures.pages),
            ("background-pages-held".into(), figures.held),
        ]);
        for ((_, kind), latency) in Foreground::ALL.iter().zip(figures.latencies) {
            counts.push((format!("foreground-{kind}-us"), latency.recent_us as u64));
            counts.push((format!("foreground-{kind}-usual-us"), latency.usual_us as u64));
        }
        let freed = self.shards.iter().map(|shard| shard.freed.seen());
        let freed = freed.fold(Freed::default(), Freed::and);
        counts.extend([
            ("reaped-records".into(), freed.records),
            ("reaped-cancelled".into(), freed.cancelled),
            ("reaped-clock-entries".into(), freed.clock_entries),
            ("reaped-bytes".into(), freed.bytes),
        ]);
        for (peer, sent) in self.peers.counts() {
            counts.push((format!("sent-to-{peer}"), sent.sent));
            counts.push((format!("dropped-to-{peer}"), sent.full + sent.unconnected));
        }
        counts
    }
}

impl NodeService for Inner {
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send {
        self.router.request(request)
    }

    fn deliver(&self, from: NodeId, messages: Vec<Message>) -> Result<(), Overloaded> {
        if self.router.deliver(from, messages) { Ok(()) } else { Err(Overloaded) }
    }

    fn greeted(&self, node: NodeId, address: &str) {
        self.control.control(Delivery::Greeted { node, address: address.into() });
    }

    fn gossip(&self, from: NodeId, message: MemberMessage) -> Result<(), Overloaded> {
        if self.control.message(from, message) { Ok(()) } else { Err(Overloaded) }
    }

    fn refuses(&self) -> Option<RequestError> {
        match self.standing() {
            Standing::Draining | Standing::Removed => Some(RequestError::Removed),
            Standing::NoView | Standing::Joining | Standing::Member => None,
        }
    }

    async fn members(&self) -> Members {
        let (reply, answer) = oneshot::channel();
        let asked = self.control.ask(Delivery::Members { reply });
        let answered = if asked { answer.await.ok() } else { None };
        let nothing = || Members {
            node: self.store.id.0,
            name: self.store.name.clone(),
            ..Members::default()
        };
        answered.unwrap_or_else(nothing)
    }

    async fn stage(&self, wishes: Vec<NewWish>, only_plan: bool) -> Result<Outlook, StageError> {
        let (reply, answer) = oneshot::channel();
        if !self.control.ask(Delivery::Stage { wishes, only_plan, reply }) {
            return Err(StageError::Busy);
        }
        answer.await.unwrap_or(Err(StageError::Busy))
    }

    async fn reap(&self, up_to: Option<AddId>) -> Result<(), ReapError> {
        let (reply, answer) = oneshot::channel();
        if !self.control.ask(Delivery::Reap { up_to, reply }) {
            return Err(ReapError::Busy);
        }
        answer.await.unwrap_or(Err(ReapError::Busy))
    }

    async fn reaping(&self) -> ReapSeen {
        let (reply, answer) = oneshot::channel();
        let asked = self.control.ask(Delivery::Reaping { reply });
        if asked { answer.await.unwrap_or_default() } else { ReapSeen::default() }
    }

    fn directory(&self) -> Option<Directory> {
        let seen = self.seen.borrow().clone();
        seen.view.map(|view| Directory::new(self.cluster, view.layout()))
    }

    fn status(&self) -> Status {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
        let mutants = if HAS_MUTANTS { " MUTANT BUILD" } else { "" };
        Status {
            node: self.store.id.0,
            name: self.store.name.clone(),
            cluster: self.cluster.0,
            incarnation: self.incarnation.0,
            version: format!("{}{mutants}", env!("CARGO_PKG_VERSION")),
            view: self.view_text(),
            engine: self.engine_kind.to_string(),
            is_draining: self.is_draining(),
            mutant: self.mutant.map(|mutant| mutant.name().to_owned()),
            suspected: ids(&self.seen.borrow().suspected),
            connected: ids(&self.peers.connected()),
            counts: self.counts(),
        }
    }
}
