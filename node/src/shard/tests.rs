//! Shards driven turn by turn, at times of the test's choosing.

use std::sync::Mutex;
use std::time::Duration;

use cartwheel_protocol::Config as CoreConfig;
use cartwheel_protocol::bucket::{Bucket, BucketName};
use cartwheel_protocol::id::{AddId, ClusterId, Incarnation, PutId, Zone};
use cartwheel_protocol::key::{Key, Partitions};
use cartwheel_protocol::layout::{Command as LayoutCommand, Layout, Member};
use cartwheel_protocol::object::Addition;
use cartwheel_protocol::view::{Change, View};
use metrics::Counter;

use super::*;
use crate::committer::{self, Committer};
use crate::config::NodeConfig;
use crate::engine::{Engine, MemoryEngine, Overlay};

/// Long enough for every timer of a request to be due.
const STALL: Duration = Duration::from_secs(60);
/// How long a thread may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What left a shard.
#[derive(Clone, Default)]
struct Left {
    messages: Arc<Mutex<Vec<(NodeId, Message)>>>,
    facts: Arc<Mutex<Vec<Fact>>>,
}

impl Outbound for Left {
    fn send(&mut self, to: NodeId, message: Message) {
        self.messages.lock().expect("nobody panicked").push((to, message));
    }

    fn flush(&mut self) {}

    fn report(&mut self, fact: Fact) {
        self.facts.lock().expect("nobody panicked").push(fact);
    }
}

/// The only shard of one node.
struct One {
    shard: Shard<Left>,
    inbox: Inbox,
    left: Left,
    _committer: Committer,
}

fn member(id: u64) -> Member {
    Member {
        id: NodeId(id),
        name: format!("n{id}").into(),
        address: "nowhere:1".into(),
        zone: Zone("z1".into()),
        weight: 1,
    }
}

fn view(nodes: u64) -> Arc<View> {
    let partitions = Partitions::new(16).expect("a power of two");
    let layout = Layout::form((1..=nodes).map(member), partitions, Bucket::built_in());
    Arc::new(View::new(Arc::new(layout.expect("a layout"))))
}

impl One {
    fn new(id: u64, view: &Arc<View>) -> Self {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let (inbox, outlet) = inbox(64, 64);
        let watermarks = Arc::new(Watermarks::new(&[0], Box::new(|_, _| {})));
        let limits = committer::Config::default();
        let failed = Box::new(|error| panic!("the committer failed: {error}"));
        let committer = Committer::spawn(engine.clone(), watermarks.clone(), limits, failed);
        let committer = committer.expect("a thread");
        let core = Arc::new(CoreConfig::new(ClusterId(1)));
        let left = Left::default();
        let overlay = Overlay::new(engine, ShardId(0), 0);
        let shard = Shard::new(Parts {
            id: ShardId(0),
            shards: 1,
            replica: Replica::new(NodeId(id), Incarnation(id), core),
            storage: ShardStorage::new(overlay, ShardId(0), 1, Counter::noop()),
            outlet,
            watermarks,
            commits: committer.sender(),
            outbound: left.clone(),
            pace: Arc::new(Pace::new(NodeConfig::default().pace_limits())),
            status: Arc::default(),
            metrics: ShardMetrics::new(),
        });
        let mut this = Self { shard, inbox, left, _committer: committer };
        this.give(Delivery::View(view.clone()));
        this
    }

    /// One turn with this delivery, which no gate counts.
    fn give(&mut self, delivery: Delivery) {
        self.inbox.control(delivery).expect("it takes everything");
        self.turn();
    }

    fn turn(&mut self) {
        assert_eq!(self.shard.turn(None), Turn::GoOn);
    }

    fn ask(&mut self, request: Request) -> oneshot::Receiver<Response> {
        let (reply, hears) = oneshot::channel();
        self.inbox.request(request, reply).expect("there is room");
        self.turn();
        hears
    }

    /// Waits until everything written is durable, and tells the shard.
    fn sync(&mut self) {
        let began = Instant::now();
        while let Some(Barrier { step, .. }) = self.shard.tickets.front() {
            let step = *step;
            assert!(began.elapsed() < PATIENCE, "step {step} is not durable");
            std::thread::yield_now();
            self.give(Delivery::Durable);
        }
    }

    fn sent(&self) -> Vec<(NodeId, Message)> {
        std::mem::take(&mut *self.left.messages.lock().expect("nobody panicked"))
    }

    fn reported(&self) -> Vec<Fact> {
        std::mem::take(&mut *self.left.facts.lock().expect("nobody panicked"))
    }
}

fn request(bucket: &str, name: &str, operation: Operation) -> Request {
    let bucket = BucketName::new(bucket).expect("a name");
    let key = Key::new(bucket, name.as_bytes());
    Request { key, operation, quorum: None, strict: false, timeout_ms: 5_000 }
}

#[test]
fn answers_that_wait_are_taken_before_timers_that_a_stall_made_due() {
    let view = view(3);
    let mut nodes: Vec<One> = (1..=3).map(|id| One::new(id, &view)).collect();
    let put_id = PutId(7);
    let operation =
        Operation::Put { context: None, put_id, time_us: 0, value: b"v".as_slice().into() };
    let mut hears = nodes[0].ask(request("default", "k", operation));
    nodes[0].sync();
    let copies = nodes[0].sent();
    assert_eq!(copies.len(), 2, "one to each of the other owners");
    for (to, copy) in copies {
        let owner = &mut nodes[to.0 as usize - 1];
        owner.inbox.messages(NodeId(1), vec![copy]).expect("there is room");
        owner.turn();
        owner.sync();
        for (back, answer) in owner.sent() {
            assert_eq!(back, NodeId(1));
            nodes[0].inbox.messages(to, vec![answer]).expect("there is room");
        }
    }
    nodes[0].reported();
    assert!(hears.try_recv().is_err(), "the answers wait in the inbox");
    nodes[0].shard.now += STALL;
    nodes[0].turn();
    let response = hears.try_recv().expect("an answer");
    assert!(matches!(response, Response::Written { slots: 2.., .. }), "{response}");
    let silent = |fact: &Fact| matches!(fact, Fact::Silent(_));
    assert!(!nodes[0].reported().iter().any(silent), "nobody was silent");
}

#[test]
fn a_timer_that_another_of_the_same_turn_set_again_does_not_fire() {
    let view = view(5);
    let layout = view.layout();
    let bucket = BucketName::new("carts").expect("a name");
    let is_foreign = |name: &String| {
        let key = view.place(Key::new(bucket.clone(), name.as_bytes()));
        !layout.owns(NodeId(1), key.partition, 3)
    };
    let name = (0..).map(|number| format!("k{number}")).find(is_foreign).expect("a foreign key");
    let mut node = One::new(1, &view);
    let add = Some(Addition { add_id: AddId(1), sku: "milk".into(), quantity: 1 });
    let operation = Operation::Change { cancel: [].into(), add, context: None };
    let mut hears = node.ask(request("carts", &name, operation));
    assert_eq!(node.sent().len(), 1, "it is forwarded");
    // Both its timers are due: the first takes it back and sets the second again.
    node.shard.now += STALL;
    node.turn();
    assert!(node.sent().len() > 1, "it is coordinated here");
    assert!(hears.try_recv().is_err(), "it has its full time");
    node.shard.now += STALL;
    node.turn();
    let response = hears.try_recv().expect("its time is over");
    assert!(matches!(response, Response::Refused(_)), "{response}");
}

#[test]
fn pages_that_peers_ask_for_wait_while_requests_suffer_and_requests_do_not() {
    let (before, mut nodes) = (view(1), Vec::new());
    let next = before.layout().step(&[LayoutCommand::Join(member(2))], false);
    let next = Arc::new(next.expect("it may join"));
    let joint = Arc::new(before.joint(1, next, Change::default(), before.reaped()));
    for id in 1..=2 {
        nodes.push(One::new(id, &joint));
    }
    let asked: Vec<Message> = nodes[1].sent().into_iter().map(|(_, message)| message).collect();
    assert!(asked.len() > 2 && asked.iter().all(|message| message.haste() == Haste::Page));
    let source = &mut nodes[0];
    source.sent();
    for message in asked.iter().chain(&asked) {
        source.inbox.messages(NodeId(2), vec![message.clone()]).expect("there is room");
    }
    source.shard.parts.pace.slow_down();
    source.turn();
    assert_eq!(source.sent().len(), 1, "one a turn");
    source.turn();
    assert_eq!(source.sent().len(), 0, "the next must wait");
    let hears = source.ask(request("default", "k", Operation::GetLocal));
    assert_eq!(hears.blocking_recv().map(|response| response.to_string().is_empty()), Ok(false));
    let mut given = 1;
    while let Some(next) = source.shard.held.next() {
        source.shard.now = next;
        source.turn();
        given += source.sent().len();
    }
    assert_eq!(given, asked.len(), "each is given once");
}
