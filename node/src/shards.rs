//! All shards of a node and their committer: starting them, and stopping them in the right order.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use cartwheel_protocol::id::{Incarnation, NodeId};
use cartwheel_protocol::{Config as CoreConfig, Replica};
use metrics::counter;

use crate::committer::{self, CommitSender, Committer, ShardId, Watermarks, durable_step};
use crate::config::NodeConfig;
use crate::engine::{Engine, Overlay};
use crate::error::NodeError;
use crate::metrics::ShardMetrics;
use crate::pace::Pace;
use crate::router::Router;
use crate::shard::{
    Delivery, Inbox, Outbound, Outlet, Parts, Refused, Shard, ShardStatus, ShardStorage, inbox,
};

/// Stops the node for good, with the reason. Called when the store failed or a shard panicked; what was not
/// acknowledged then never will be.
pub(crate) type FailStop = Arc<dyn Fn(&str) + Send + Sync>;

/// What all shards share.
pub(crate) struct Common {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) core: Arc<CoreConfig>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) fail_stop: FailStop,
}

/// The inboxes of shards that do not run yet: whoever needs to reach them can be made first.
pub(crate) struct Inboxes {
    inboxes: Vec<Inbox>,
    outlets: Vec<Outlet>,
    pace: Arc<Pace>,
}

/// The running threads. Dropped, they end in their own time; see [`Shards::join`].
pub(crate) struct Shards {
    inboxes: Vec<Inbox>,
    threads: Vec<JoinHandle<()>>,
    /// There until it is joined.
    committer: Option<Committer>,
    statuses: Vec<Arc<ShardStatus>>,
    /// Membership's way to the committer, until it is taken.
    writer: Option<Writer>,
}

/// A way to the committer, beside the shards'.
pub(crate) struct Writer {
    /// Its number there: the first that is no shard's.
    pub(crate) shard: ShardId,
    /// Its newest durable step.
    pub(crate) step: u64,
    pub(crate) commits: CommitSender,
    pub(crate) watermarks: Arc<Watermarks>,
}

impl Inboxes {
    pub(crate) fn new(config: &NodeConfig) -> Self {
        let ends = (0..config.shards).map(|_| inbox(config.request_queue, config.message_queue));
        let (inboxes, outlets) = ends.unzip();
        let pace = Arc::new(Pace::new(config.pace_limits()));
        Self { inboxes, outlets, pace }
    }

    /// The way to the shards.
    pub(crate) fn router(&self, clock_offset_ms: i64) -> Router {
        Router::new(self.inboxes.clone(), self.pace.clone(), clock_offset_ms)
    }

    /// How fast background work of these shards may go.
    pub(crate) fn pace(&self) -> Arc<Pace> {
        self.pace.clone()
    }

    /// Starts the committer and the shards. `outbound` makes each shard's way out.
    pub(crate) fn start<O: Outbound + 'static>(
        self,
        common: &Common,
        config: &NodeConfig,
        outbound: impl Fn(ShardId) -> O,
        wake_control: impl Fn() + Send + Sync + 'static,
    ) -> Result<Shards, NodeError> {
        let ids: Vec<ShardId> = (0..config.shards).map(ShardId).collect();
        let control = ShardId(config.shards);
        let engine = &common.engine;
        let writers = ids.iter().chain([&control]);
        let durable: Vec<u64> =
            writers.map(|id| durable_step(engine.as_ref(), *id)).collect::<Result<_, _>>()?;
        let inboxes = self.inboxes.clone();
        let wake = move |shard: ShardId, _| match inboxes.get(usize::from(shard.0)) {
            None => wake_control(),
            Some(inbox) => {
                // A shard that has ended waits for no barrier.
                let _: Result<(), Refused> = inbox.control(Delivery::Durable);
            }
        };
        let watermarks = Arc::new(Watermarks::new(&durable, Box::new(wake)));
        let limits = committer::Config { queue: config.commit_queue, ..Default::default() };
        let fail_stop = common.fail_stop.clone();
        let failed = Box::new(move |error| fail_stop(&format!("{error}")));
        let committer = Committer::spawn(engine.clone(), watermarks.clone(), limits, failed)
            .map_err(|source| NodeError::System { what: "no thread for the committer", source })?;
        let commits = committer.sender();
        let own = Writer {
            shard: control,
            step: durable[usize::from(control.0)],
            commits: commits.clone(),
            watermarks: watermarks.clone(),
        };
        let (inboxes, committer) = (self.inboxes, Some(committer));
        let (threads, statuses) = (Vec::new(), Vec::new());
        // From here on it stops what runs, should a thread be refused.
        let mut shards = Shards { inboxes, threads, committer, statuses, writer: Some(own) };
        for ((id, outlet), durable) in ids.into_iter().zip(self.outlets).zip(durable) {
            let overlay = Overlay::new(engine.clone(), id, durable);
            let damaged = counter!("cartwheel_damaged_records_total");
            let status = Arc::new(ShardStatus::default());
            shards.statuses.push(status.clone());
            let parts = Parts {
                id,
                shards: config.shards,
                replica: Replica::new(common.id, common.incarnation, common.core.clone())
                    .of_shard(id.0, config.shards),
                storage: ShardStorage::new(overlay, id, config.shards, damaged),
                outlet,
                watermarks: watermarks.clone(),
                commits: commits.clone(),
                outbound: outbound(id),
                pace: self.pace.clone(),
                status,
                metrics: ShardMetrics::new(),
            };
            shards.threads.push(spawn(id, Shard::new(parts), common.fail_stop.clone())?);
        }
        Ok(shards)
    }
}

impl Shards {
    /// What the shards show of themselves.
    pub(crate) fn statuses(&self) -> Vec<Arc<ShardStatus>> {
        self.statuses.clone()
    }

    /// Membership's way to the committer. The committer ends when it is dropped.
    pub(crate) fn take_writer(&mut self) -> Option<Writer> {
        self.writer.take()
    }

    /// Tells the shards to stop, waits until they have ended and everything that they wrote is on disk.
    pub(crate) fn join(mut self) {
        self.stop();
        drop(self.writer.take());
        for thread in self.threads.drain(..) {
            // A panic of a shard was reported when it happened.
            let _: std::thread::Result<()> = thread.join();
        }
        if let Some(committer) = self.committer.take() {
            committer.join();
        }
    }

    fn stop(&self) {
        for inbox in &self.inboxes {
            // One that has ended need not be told.
            let _: Result<(), Refused> = inbox.control(Delivery::Stop);
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Requests under way in all shards.
pub(crate) fn pending(statuses: &[Arc<ShardStatus>]) -> usize {
    statuses.iter().map(|status| status.pending.load(Ordering::Relaxed)).sum()
}

fn spawn<O: Outbound + 'static>(
    id: ShardId,
    shard: Shard<O>,
    fail_stop: FailStop,
) -> Result<JoinHandle<()>, NodeError> {
    std::thread::Builder::new()
        .name(format!("shard-{}", id.0))
        .spawn(move || {
            if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| shard.run())) {
                fail_stop(&format!("{id} panicked: {}", what_it_said(panic.as_ref())));
            }
        })
        .map_err(|source| NodeError::System { what: "no thread for a shard", source })
}

/// The message of a panic.
pub(crate) fn what_it_said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, OnceLock};
    use std::time::{Duration, Instant};

    use cartwheel_client::{Dropped, PeerTransport};
    use cartwheel_protocol::Message;
    use cartwheel_protocol::bucket::{Bucket, BucketName};
    use cartwheel_protocol::id::{ClusterId, PutId, Zone};
    use cartwheel_protocol::key::{Key, Partitions};
    use cartwheel_protocol::layout::{Layout, Member};
    use cartwheel_protocol::membership::Evidence;
    use cartwheel_protocol::request::{Operation, Refusal, Request, Response};
    use cartwheel_protocol::view::View;
    use tokio::sync::mpsc;

    use super::*;
    use crate::control::{self, ControlOutlet, Delivery as Told};
    use crate::engine::{Batch, DiskSpace, EngineError, Layer, MemoryEngine};
    use crate::peers::ShardOutbound;

    /// Peers in one process: what is sent to one is in its inbox at once.
    #[derive(Default)]
    struct Wires {
        me: OnceLock<NodeId>,
        routers: Mutex<Vec<(NodeId, Arc<Router>)>>,
    }

    impl PeerTransport for Wires {
        fn send(&self, to: NodeId, message: &Message) -> Result<(), Dropped> {
            let routers = self.routers.lock().expect("nobody panicked");
            let router = routers.iter().find(|(id, _)| *id == to).ok_or(Dropped::NotConnected)?;
            let me = *self.me.get().expect("set at the start");
            if router.1.deliver(me, vec![message.clone()]) { Ok(()) } else { Err(Dropped::Full) }
        }
    }

    struct Host {
        router: Arc<Router>,
        shards: Shards,
        wires: Arc<Wires>,
        control: ControlOutlet,
    }

    fn view(nodes: u64) -> Arc<View> {
        let member = |id: u64| Member {
            id: NodeId(id),
            name: format!("n{id}").into(),
            address: "nowhere:1".into(),
            zone: Zone("z1".into()),
            weight: 1,
        };
        let partitions = Partitions::new(16).expect("a power of two");
        let layout = Layout::form((1..=nodes).map(member), partitions, Bucket::built_in());
        Arc::new(View::new(Arc::new(layout.expect("a layout"))))
    }

    fn start(id: u64, view: &Arc<View>, engine: Arc<dyn Engine>) -> Host {
        start_with(id, view, engine, Arc::new(|reason| panic!("the node stopped: {reason}")))
    }

    fn start_with(id: u64, view: &Arc<View>, engine: Arc<dyn Engine>, fail_stop: FailStop) -> Host {
        let config = NodeConfig { shards: 3, ..NodeConfig::default() };
        let inboxes = Inboxes::new(&config);
        let router = Arc::new(inboxes.router(0));
        router.view(view);
        let (sender, control) = control::inbox();
        let wires = Arc::new(Wires::default());
        wires.me.set(NodeId(id)).expect("set once");
        let core = CoreConfig { fallback_after_ms: 5, ..CoreConfig::new(ClusterId(1)) };
        let common = Common {
            id: NodeId(id),
            incarnation: Incarnation(rand::random()),
            core: Arc::new(core),
            engine,
            fail_stop,
        };
        let outbound = |id: ShardId| ShardOutbound::new(id, wires.clone(), sender.clone());
        let shards = inboxes.start(&common, &config, outbound, || {}).expect("threads");
        Host { router, shards, wires, control }
    }

    fn connect(hosts: &[Host]) {
        let routers = |host: &Host| (*host.wires.me.get().expect("set"), host.router.clone());
        let all: Vec<_> = hosts.iter().map(routers).collect();
        for host in hosts {
            *host.wires.routers.lock().expect("nobody panicked") = all.clone();
        }
    }

    fn stop(host: Host) {
        host.wires.routers.lock().expect("nobody panicked").clear();
        host.router.stop();
        host.shards.join();
    }

    fn request(name: &str, operation: Operation) -> Request {
        let bucket = BucketName::new("default").expect("a name");
        let key = Key::new(bucket, name.as_bytes());
        Request { key, operation, quorum: None, strict: false, timeout_ms: 5_000 }
    }

    fn put(name: &str, value: &[u8]) -> Request {
        let put_id = PutId(rand::random());
        let operation = Operation::Put { context: None, put_id, time_us: 0, value: value.into() };
        request(name, operation)
    }

    async fn values(host: &Host, name: &str) -> Vec<Vec<u8>> {
        match host.router.request(request(name, Operation::Get)).await {
            Response::Found { object, .. } => {
                object.values().iter().map(|value| value.bytes.to_vec()).collect()
            }
            other @ (Response::Held { .. } | Response::Written { .. } | Response::Refused(_)) => {
                panic!("{other}")
            }
        }
    }

    async fn written(host: &Host, request: Request) {
        let response = host.router.request(request).await;
        assert!(matches!(response, Response::Written { .. }), "{response}");
    }

    #[tokio::test]
    async fn what_is_put_through_one_node_is_got_through_the_others() {
        let view = view(3);
        let hosts: Vec<Host> =
            (1..=3).map(|id| start(id, &view, Arc::new(MemoryEngine::new()))).collect();
        connect(&hosts);
        for number in 0..50 {
            let (name, value) = (format!("k{number}"), format!("v{number}"));
            written(&hosts[number % 3], put(&name, value.as_bytes())).await;
            for host in &hosts {
                assert_eq!(values(host, &name).await, [value.as_bytes()]);
            }
        }
        hosts.into_iter().for_each(stop);
    }

    #[tokio::test]
    async fn writes_go_on_without_one_of_three_and_its_silence_is_reported() {
        let view = view(3);
        let hosts = (1..=3).map(|id| start(id, &view, Arc::new(MemoryEngine::new())));
        let mut hosts: Vec<Host> = hosts.collect();
        connect(&hosts);
        stop(hosts.pop().expect("three"));
        for number in 0..20 {
            written(&hosts[number % 2], put(&format!("k{number}"), b"v")).await;
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let told = hosts[0].control.receive(Some(deadline)).expect("in time");
            // A busy machine may make another silent for a moment.
            if matches!(told, Told::Evidence(Evidence::Silent(NodeId(3)))) {
                break;
            }
        }
        hosts.into_iter().for_each(stop);
    }

    #[tokio::test]
    async fn a_restart_finds_what_was_acknowledged_and_goes_on_counting_steps() {
        let view = view(1);
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let one_copy = |request: Request| Request { quorum: Some(1), ..request };
        for run in 0..3 {
            let host = start(1, &view, engine.clone());
            for before in 0..run {
                let read = one_copy(request(&format!("k{before}"), Operation::Get));
                let response = host.router.request(read).await;
                let Response::Found { object, .. } = &response else { panic!("{response}") };
                assert_eq!(object.values().len(), 1, "k{before} in run {run}");
            }
            written(&host, one_copy(put(&format!("k{run}"), b"v"))).await;
            stop(host);
        }
    }

    #[test]
    fn shards_that_are_dropped_stop_and_let_go_of_the_store() {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let host = start(1, &view(1), engine.clone());
        assert!(Arc::strong_count(&engine) > 1, "they hold it");
        drop(host.shards);
        let began = Instant::now();
        while Arc::strong_count(&engine) > 1 {
            assert!(began.elapsed() < Duration::from_secs(20), "shards or committer still run");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_request_to_shards_that_have_ended_is_refused() {
        let host = start(1, &view(1), Arc::new(MemoryEngine::new()));
        let router = host.router.clone();
        stop(host);
        let response = router.request(put("k", b"v")).await;
        let definite = |refusal: Refusal| refusal.is_definite();
        assert!(matches!(response, Response::Refused(refusal) if definite(refusal)), "{response}");
    }

    #[tokio::test]
    async fn a_deadline_answers_a_request_that_nobody_else_does() {
        let host = start(1, &view(3), Arc::new(MemoryEngine::new()));
        let began = Instant::now();
        let response = host.router.request(Request { timeout_ms: 40, ..put("k", b"v") }).await;
        assert!(matches!(response, Response::Refused(_)), "{response}");
        assert!(began.elapsed() >= Duration::from_millis(40));
        stop(host);
    }

    /// A disk that is full from the start.
    struct FullDisk(MemoryEngine);

    impl Layer for FullDisk {
        fn below(&self) -> &dyn Engine {
            &self.0
        }

        fn commit(&self, _: Batch) -> Result<(), EngineError> {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into())
        }

        fn space(&self) -> Result<DiskSpace, EngineError> {
            Ok(DiskSpace { free_bytes: 0, total_bytes: 1 << 30 })
        }
    }

    #[tokio::test]
    async fn a_full_disk_stops_the_node_and_nothing_is_acknowledged() {
        let (stopped, mut reasons) = mpsc::unbounded_channel();
        let fail_stop: FailStop = Arc::new(move |reason| {
            // The test has all that it needs after the first.
            let _: Result<(), _> = stopped.send(reason.to_owned());
        });
        let disk = Arc::new(FullDisk(MemoryEngine::new()));
        let host = start_with(1, &view(1), disk, fail_stop);
        let request = Request { quorum: Some(1), timeout_ms: 50, ..put("k", b"v") };
        let response = host.router.request(request).await;
        let unknown = Response::Refused(Refusal::Unavailable { have: 0, need: 1 });
        assert_eq!(response, unknown);
        let reason = reasons.recv().await.expect("the node was stopped");
        assert!(reason.contains("disk failed"), "{reason}");
        stop(host);
    }
}
