//! Replicas, their disks, their timers and the messages between them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    sync::Arc,
};

use cartwheel_protocol::{
    Config, Effect, Fact, Input, Message, Replica, Ticket, Timer,
    bucket::{Bucket, BucketName, Conflict, Kind, Spread},
    id::{AddId, ClusterId, Incarnation, NodeId, Zone},
    key::{Key, Partitions, RecordKey},
    layout::{Command, Layout, Member},
    reap_page::ReapPage,
    record::{Storage, Stored},
    request::{Request, Response},
    view::{Change, View, ViewId},
};

use super::disk::Disk;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// How many nodes.
    pub(crate) nodes: u64,
    /// Owners of each key.
    pub(crate) n: u8,
    /// The bound of `cancelled` in every bucket.
    pub(crate) cancelled_bound: u32,
    /// Zones, dealt out to the nodes in turn.
    pub(crate) zones: Vec<String>,
    /// Whether copies are spread over zones.
    pub(crate) spread: Spread,
    /// What varies between replicas.
    pub(crate) config: Config,
}

/// One node: a disk, and a process unless it is down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) replica: Option<Replica>,
    pub(crate) disk: Disk,
    /// The view that it went by last: on disk, so a restart comes back with it.
    pub(crate) view: Option<Arc<View>>,
    pub(crate) tickets: VecDeque<Ticket>,
    pub(crate) timers: BTreeSet<Timer>,
    /// Requests that were taken and not answered in this run.
    pub(crate) waiting: BTreeSet<u64>,
    /// The reap round that it wants to begin: above which view, what it names, and its floor.
    pub(crate) wanted: Option<(ViewId, Arc<ReapPage>, Option<AddId>)>,
}

/// A message on its way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Flight {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

/// What one node did.
pub(crate) type Done = (NodeId, Effect);

/// A cluster with one partition, whose nodes are named so that a key's preference list is n1, n2, n3 and on.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// The newest view that was decided.
    pub(crate) view: Arc<View>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) net: Vec<Flight>,
    /// Every reply to a client, by request number.
    pub(crate) replies: BTreeMap<u64, Response>,
    config: Arc<Config>,
    requests: u64,
    runs: u64,
}

impl Default for Setup {
    fn default() -> Self {
        let config = Config {
            fallback_after_ms: 25,
            max_timeout_ms: 10_000,
            handoff_every_ms: 500,
            handoff_page: 64,
            anti_entropy_every_ms: 0,
            anti_entropy_batch: 1,
            ..Config::new(ClusterId(7))
        };
        let zones = vec!["a".to_owned()];
        Self {
            nodes: 5,
            n: 3,
            cancelled_bound: Bucket::CANCELLED_BOUND,
            zones,
            spread: Spread::Node,
            config,
        }
    }
}

impl Setup {
    /// The buckets `default`, `carts` and `latest` (last write wins), all with this `n`.
    fn buckets(&self) -> Vec<Bucket> {
        let bucket = |name: &str, kind, conflict| Bucket {
            conflict,
            spread: self.spread,
            cancelled_bound: self.cancelled_bound,
            ..Bucket::new(BucketName::new(name).expect("a valid name"), kind, self.n)
        };
        vec![
            bucket("carts", Kind::Cart, Conflict::Siblings),
            bucket("default", Kind::Register, Conflict::Siblings),
            bucket("latest", Kind::Register, Conflict::LastWriteWins),
        ]
    }

    /// A view in which n1 … nn own the one partition and the rest are fallbacks. Who owns what depends on
    /// hashes, so strangers form the layout and are then replaced, in the order of the preference list.
    fn view(&self) -> View {
        let member = |id: u64, zone: &Zone| Member {
            id: NodeId(id),
            name: format!("n{id:x}").into(),
            address: format!("n{id:x}:7400").into(),
            zone: zone.clone(),
            weight: 1,
        };
        let zone = |at: u64| Zone(self.zones[at as usize % self.zones.len()].as_str().into());
        let strangers = (0..self.nodes).map(|at| member(0x1000 + at, &zone(at)));
        let one = Partitions::new(1).expect("one is a power of two");
        let formed = Layout::form(strangers, one, self.buckets()).expect("the layout is in order");
        let partition = one.iter().next().expect("there is one partition");
        let seats = formed.preference_list(partition, self.n);
        let replace = seats.into_iter().zip(1..).map(|(old, id)| {
            let zone = &formed.member(old).expect("a member").zone;
            Command::Replace { old, new: member(id, zone) }
        });
        let forgotten = formed.members().iter().map(|stranger| Command::Forget(stranger.id));
        let commands: Vec<Command> = replace.chain(forgotten).collect();
        View::new(Arc::new(formed.step(&commands, false).expect("the seats are inherited")))
    }
}

impl Cluster {
    /// All nodes started, each with its view.
    pub(crate) fn new(setup: &Setup) -> Self {
        let view = Arc::new(setup.view());
        let ids = view.layout().members().iter().map(|member| member.id);
        let nodes = ids.map(|id| (id, Node::default())).collect();
        let mut cluster = Self {
            view,
            nodes,
            net: Vec::new(),
            replies: BTreeMap::new(),
            config: Arc::new(setup.config.clone()),
            requests: 0,
            runs: 0,
        };
        for id in cluster.ids() {
            cluster.start(id);
            cluster.adopt(id);
        }
        cluster
    }

    /// The members decide on a change, or amend the one under way. Joiners start without a view.
    pub(crate) fn change(&mut self, commands: &[Command], lost: &[NodeId]) -> Result<(), String> {
        let next = self.view.layout().step(commands, !lost.is_empty());
        let next = Arc::new(next.map_err(|error| error.to_string())?);
        let change = Change { accepted_losses: lost.into(), ..Change::default() };
        for member in next.members() {
            if let Entry::Vacant(joiner) = self.nodes.entry(member.id) {
                joiner.insert(Node::default());
                self.start(member.id);
            }
        }
        let (decree, reaped) = (self.view.id().decree + 1, self.view.reaped());
        self.view = Arc::new(self.view.joint(decree, next, change, reaped));
        Ok(())
    }

    /// The members decide that the change is done.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        let finished = self.view.finished().ok_or("there is no change to finish")?;
        self.view = Arc::new(finished);
        Ok(())
    }

    /// A node raises the view, to begin the reap round that it wants if it wants one, and goes by that.
    pub(crate) fn raise(&mut self, id: NodeId) -> Vec<Done> {
        let wanted = self.nodes[&id].wanted.clone();
        let wanted = wanted.filter(|(above, ..)| *above == self.view.id());
        self.view = Arc::new(match wanted {
            Some((_, page, floor)) => self.view.reaping(id, page, floor),
            None => self.view.raised(id),
        });
        self.adopt(id)
    }

    /// A node carries through all reap rounds that it can, each with everybody in it.
    pub(crate) fn reap(&mut self, id: NodeId, bound: Option<AddId>) {
        self.step(id, Input::Reap { bound });
        for _ in 0..1_000 {
            let node = &self.nodes[&id];
            if node.replica.as_ref().is_none_or(|replica| replica.reaps_at().is_none()) {
                return;
            }
            if node.wanted.as_ref().is_some_and(|(above, ..)| *above == self.view.id()) {
                self.raise(id);
                for other in self.ids().into_iter().filter(|other| *other != id) {
                    self.adopt(other);
                }
            } else {
                self.fire(id, Timer::Reap);
            }
            self.settle();
        }
        panic!("{id} does not come to the end of its reap rounds");
    }

    /// A disk is lost, and with it the node.
    pub(crate) fn wipe(&mut self, id: NodeId) {
        *self.nodes.get_mut(&id).expect("a node of the cluster") = Node::default();
    }

    /// All nodes, up or down.
    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Where a key's record stands.
    pub(crate) fn place(&self, key: Key) -> RecordKey {
        self.view.place(key)
    }

    /// What a node stores for a key.
    pub(crate) fn stored(&self, id: NodeId, key: &RecordKey) -> Stored {
        self.nodes[&id].disk.read(key)
    }

    /// The trees of a node: what they sum up to, and how many partitions are still to be scanned.
    pub(crate) fn trees(&self, id: NodeId) -> Vec<String> {
        let Some(replica) = &self.nodes[&id].replica else { return Vec::new() };
        let sums =
            replica.trees().map(|((partition, n), sum)| format!("{id} {partition} n={n} {sum}"));
        let left = replica.trees_left();
        sums.chain((left > 0).then(|| format!("{id} {left} to scan"))).collect()
    }

    /// Whether the process runs.
    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.nodes[&id].replica.is_some()
    }

    /// One step of one node: its effects take place and are told. Nothing happens if it is down.
    pub(crate) fn step(&mut self, id: NodeId, input: Input) -> Vec<Done> {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        let Some(replica) = &mut node.replica else { return Vec::new() };
        let mut effects = Vec::new();
        replica.step(&mut node.disk, input, &mut effects);
        node.disk.end_step();
        for effect in &effects {
            match effect.clone() {
                Effect::Reply { number, response } => {
                    assert!(
                        node.waiting.remove(&number),
                        "a second reply to r{number}: {response}"
                    );
                    self.replies.insert(number, response);
                }
                Effect::Send { to, message } => self.net.push(Flight { from: id, to, message }),
                Effect::Sync(ticket) => node.tickets.push_back(ticket),
                Effect::SetTimer { timer, .. } => drop(node.timers.insert(timer)),
                Effect::CancelTimer(timer) => drop(node.timers.remove(&timer)),
                Effect::Report(Fact::Reap { view, page, floor }) => {
                    node.wanted = Some((view, page, floor));
                }
                Effect::Report(_) => {}
            }
        }
        effects.into_iter().map(|effect| (id, effect)).collect()
    }

    /// A client asks a node that is up; gives the number of the request.
    pub(crate) fn request(&mut self, id: NodeId, request: Request) -> (u64, Vec<Done>) {
        self.requests += 1;
        let number = self.requests;
        (number, self.request_as(number, id, request))
    }

    /// A client asks under a number of the caller's choice; it is to be unique within the node's run.
    pub(crate) fn request_as(&mut self, number: u64, id: NodeId, request: Request) -> Vec<Done> {
        self.nodes.get_mut(&id).expect("a node of the cluster").waiting.insert(number);
        self.step(id, Input::Request { number, request })
    }

    /// Hands a message over that was taken off the network.
    pub(crate) fn deliver(&mut self, Flight { from, to, message }: Flight) -> Vec<Done> {
        self.step(to, Input::Message { from, message })
    }

    /// Makes a node's writes durable and hands its tickets back.
    pub(crate) fn sync(&mut self, id: NodeId) -> Vec<Done> {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        node.disk.sync();
        let tickets: Vec<Ticket> = node.tickets.drain(..).collect();
        tickets.into_iter().flat_map(|ticket| self.step(id, Input::Synced(ticket))).collect()
    }

    /// Fires a timer that is set.
    pub(crate) fn fire(&mut self, id: NodeId, timer: Timer) -> Vec<Done> {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        assert!(node.timers.remove(&timer), "the timer is not set");
        self.step(id, Input::Timeout(timer))
    }

    /// Ends a process. Of what its disk had not synced, the first `keep` steps survive.
    pub(crate) fn crash(&mut self, id: NodeId, keep: usize) {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        node.disk.crash(keep);
        let (disk, view) = (std::mem::take(&mut node.disk), node.view.take());
        *node = Node { disk, view, ..Node::default() };
    }

    /// Starts a process on the disk as it is; it has no view yet.
    pub(crate) fn start(&mut self, id: NodeId) {
        self.runs += 1;
        let replica = Replica::new(id, Incarnation(self.runs), self.config.clone());
        self.nodes.get_mut(&id).expect("a node of the cluster").replica = Some(replica);
    }

    /// Gives a node the newest view.
    pub(crate) fn adopt(&mut self, id: NodeId) -> Vec<Done> {
        self.nodes.get_mut(&id).expect("a node of the cluster").view = Some(self.view.clone());
        self.step(id, Input::View(self.view.clone()))
    }

    /// Gives a node that starts again the view that it had.
    pub(crate) fn adopt_own(&mut self, id: NodeId) -> Vec<Done> {
        let own = self.nodes[&id].view.clone();
        own.map_or_else(Vec::new, |view| self.step(id, Input::View(view)))
    }

    /// Delivers and syncs until nothing is in flight or unsynced.
    pub(crate) fn settle(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        for _ in 0..10_000 {
            if self.net.is_empty() && self.nodes.values().all(|node| node.tickets.is_empty()) {
                return done;
            }
            for flight in std::mem::take(&mut self.net) {
                done.extend(self.deliver(flight));
            }
            for id in self.ids() {
                done.extend(self.sync(id));
            }
        }
        panic!("the cluster does not settle: {} messages in flight", self.net.len());
    }
}
