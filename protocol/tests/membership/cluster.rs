//! The cluster: memberships, their disks, timers and links.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use cartwheel_protocol::{
    Fact,
    bucket::{Bucket, BucketName, Kind},
    id::{NodeId, Zone},
    key::Partitions,
    layout::{Command, Layout, Member},
    membership::{
        Evidence, MemberConfig, MemberEffect, MemberInput, MemberMessage, MemberTicket,
        MemberTimer, Membership, Saved, Staged, Status, Wish,
    },
    rules::Rules,
    view::{View, ViewId},
};

use crate::{
    checks::{Checks, is_about},
    random::Random,
};

/// What goes wrong on links and disks.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    /// Messages lost, of a hundred.
    pub(crate) loss: u64,
    /// Messages delivered twice, of a hundred.
    pub(crate) twice: u64,
    /// The longest that a message takes, in milliseconds.
    pub(crate) delay_ms: u64,
}

impl Faults {
    pub(crate) const NONE: Self = Self { loss: 0, twice: 0, delay_ms: 5 };
    pub(crate) const SOME: Self = Self { loss: 20, twice: 10, delay_ms: 120 };
}

/// What will happen, and when.
enum Event {
    Deliver { to: u64, from: u64, message: MemberMessage },
    Timer { node: u64, life: u32, timer: MemberTimer, set: u64 },
    Saved { node: u64, life: u32 },
    Report { node: u64, life: u32, fact: Fact },
    Evidence { node: u64, life: u32, evidence: Evidence },
}

/// One node: its disk, and while it runs its membership.
pub(crate) struct Node {
    config: MemberConfig,
    pub(crate) membership: Option<Membership>,
    life: u32,
    pub(crate) disk: Option<Arc<Saved>>,
    unsaved: VecDeque<(Arc<Saved>, MemberTicket)>,
    timers: BTreeMap<MemberTimer, u64>,
    seeds: Vec<u64>,
    /// Whether its shards ever finish catching up and draining.
    pub(crate) is_stuck: bool,
}

pub(crate) struct Cluster {
    pub(crate) seed: u64,
    pub(crate) now_ms: u64,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) checks: Checks,
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// Which side of a partition each node is on; those without are on side zero.
    sides: BTreeMap<u64, u8>,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    rules: Rules,
    /// Over how many zones the nodes are spread.
    zones: u64,
}

pub(crate) const PERIOD_MS: u32 = 100;

/// A bucket of three owners with these strict quorums.
pub(crate) fn bucket(strict_r: u8, strict_w: u8) -> Bucket {
    let name = BucketName::new("default").expect("a valid name");
    Bucket { strict_r, strict_w, ..Bucket::new(name, Kind::Register, 3) }
}

pub(crate) fn change(id: u128, base: u64, command: Command) -> Staged {
    Staged { id, base, wish: Wish::Change { command, accept_loss: false } }
}

impl Cluster {
    /// A cluster of the nodes 1 to `members` in layout 1.
    pub(crate) fn new(seed: u64, rules: Rules, members: u64, bucket: Bucket) -> Self {
        Self::with_zones(seed, rules, members, bucket, 1)
    }

    /// One whose nodes are spread over so many zones.
    pub(crate) fn with_zones(
        seed: u64,
        rules: Rules,
        members: u64,
        bucket: Bucket,
        zones: u64,
    ) -> Self {
        let mut cluster = Self {
            seed,
            now_ms: 0,
            random: Random::new(seed),
            faults: Faults::NONE,
            checks: Checks::default(),
            nodes: BTreeMap::new(),
            sides: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            rules,
            zones,
        };
        let partitions = Partitions::new(4).expect("a power of two");
        let listed = (1..=members).map(|node| cluster.member(node));
        let layout = Layout::form(listed, partitions, [bucket]).expect("the layout forms");
        let view = Arc::new(View::new(Arc::new(layout)));
        for node in 1..=members {
            cluster.add(node, None, &[]);
            cluster.node_mut(node).disk = Some(Arc::new(Saved::new(view.clone())));
        }
        (1..=members).for_each(|node| cluster.start(node));
        cluster
    }

    pub(crate) fn member(&self, node: u64) -> Member {
        let zone = format!("z{}", node % self.zones);
        Member {
            id: NodeId(node),
            name: format!("n{node}").into(),
            address: format!("host{node}:1").into(),
            zone: Zone(zone.into()),
            weight: 1,
        }
    }

    /// A node with an empty disk that is to join.
    pub(crate) fn add_joiner(&mut self, node: u64, seeds: &[u64]) {
        let joins = Command::Join(self.member(node));
        self.add(node, Some(joins), seeds);
        self.start(node);
    }

    pub(crate) fn add(&mut self, node: u64, joins: Option<Command>, seeds: &[u64]) {
        let Member { name, address, .. } = self.member(node);
        let name = match &joins {
            Some(Command::Join(member)) => member.name.clone(),
            _ => name,
        };
        let config = MemberConfig {
            gossip_every_ms: PERIOD_MS,
            backoff_ms: 10,
            joins,
            rules: self.rules,
            ..MemberConfig::new(&name, &address)
        };
        let node_of = Node {
            config,
            membership: None,
            life: 0,
            disk: None,
            unsaved: VecDeque::new(),
            timers: BTreeMap::new(),
            seeds: seeds.to_vec(),
            is_stuck: false,
        };
        self.nodes.insert(node, node_of);
    }

    pub(crate) fn node_mut(&mut self, node: u64) -> &mut Node {
        self.nodes.get_mut(&node).expect("the node is there")
    }

    pub(crate) fn membership(&self, node: u64) -> &Membership {
        self.nodes[&node].membership.as_ref().expect("the node runs")
    }

    pub(crate) fn view(&self, node: u64) -> Option<&Arc<View>> {
        self.nodes[&node].membership.as_ref()?.view()
    }

    pub(crate) fn is_up(&self, node: u64) -> bool {
        self.nodes[&node].membership.is_some()
    }

    pub(crate) fn start(&mut self, node: u64) {
        let at = self.node_mut(node);
        assert!(at.membership.is_none(), "n{node} runs already");
        at.life += 1;
        let mut membership = Membership::new(NodeId(node), at.config.clone());
        let (saved, seeds) = (at.disk.clone(), at.seeds.clone());
        let mut effects = Vec::new();
        membership.step(MemberInput::Start(saved), &mut effects);
        at.membership = Some(membership);
        self.carry_out(node, effects);
        for seed in seeds {
            self.step(node, MemberInput::Seed(NodeId(seed)));
        }
        let others: Vec<u64> = self.nodes.keys().copied().filter(|other| *other != node).collect();
        for other in others {
            let evidence = Evidence::Opened(NodeId(node));
            self.tell_evidence(other, evidence);
        }
    }

    fn tell_evidence(&mut self, node: u64, evidence: Evidence) {
        let life = self.nodes[&node].life;
        let after = 1 + self.random.below(50);
        self.schedule(after, Event::Evidence { node, life, evidence });
    }

    /// The process ends; of what was to be saved any prefix is on disk.
    pub(crate) fn crash(&mut self, node: u64) {
        let unsaved = self.nodes[&node].unsaved.len() as u64;
        let kept = self.random.below(unsaved + 1);
        let at = self.node_mut(node);
        for _ in 0..kept {
            at.disk = at.unsaved.pop_front().map(|(saved, _)| saved);
        }
        at.membership = None;
        at.unsaved.clear();
        at.timers.clear();
        self.checks.crashed(node);
    }

    /// These nodes are on one side from now on, the others on the other.
    pub(crate) fn cut(&mut self, side: &[u64]) {
        self.sides = side.iter().map(|node| (*node, 1)).collect();
    }

    pub(crate) fn heal(&mut self) {
        self.sides.clear();
    }

    pub(crate) fn stage(&mut self, node: u64, staged: Staged) {
        self.step(node, MemberInput::Stage(staged));
    }

    fn schedule(&mut self, after_ms: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now_ms + after_ms, self.sequence), event);
    }

    pub(crate) fn step(&mut self, node: u64, input: MemberInput) {
        let Some(membership) = self.node_mut(node).membership.as_mut() else { return };
        let mut effects = Vec::new();
        membership.step(input, &mut effects);
        self.carry_out(node, effects);
    }

    fn carry_out(&mut self, node: u64, effects: Vec<MemberEffect>) {
        let life = self.nodes[&node].life;
        for effect in effects {
            match effect {
                MemberEffect::Send { to, message } => self.send(node, to.0, message),
                MemberEffect::Save { saved, ticket } => {
                    self.node_mut(node).unsaved.push_back((saved, ticket));
                    let after = 1 + self.random.below(8);
                    self.schedule(after, Event::Saved { node, life });
                }
                MemberEffect::View(view) => self.given(node, &view),
                MemberEffect::Suspect { .. } | MemberEffect::Addresses => {}
                MemberEffect::Disagrees { node: other, era } => {
                    self.checks.disagrees(node, other.0, era);
                }
                MemberEffect::SetTimer { timer, after_ms } => {
                    self.schedule(
                        after_ms.into(),
                        Event::Timer { node, life, timer, set: self.sequence + 1 },
                    );
                    let set = self.sequence;
                    self.node_mut(node).timers.insert(timer, set);
                }
                MemberEffect::Choose { choice, among } => {
                    let number = self.random.below(among);
                    self.step(node, MemberInput::Chosen(choice, number));
                }
            }
        }
    }

    fn send(&mut self, from: u64, to: u64, message: MemberMessage) {
        assert_ne!(from, to, "a node sends to itself");
        self.checks.sent(from, &message);
        if self.random.percent(self.faults.loss) {
            return;
        }
        let copies = 1 + u64::from(self.random.percent(self.faults.twice));
        for _ in 0..copies {
            let after = 1 + self.random.below(self.faults.delay_ms);
            self.schedule(after, Event::Deliver { to, from, message: message.clone() });
        }
    }

    /// The shards of a node are given a view.
    fn given(&mut self, node: u64, view: &Arc<View>) {
        self.checks.given(node, view);
        let life = self.nodes[&node].life;
        let after = 1 + self.random.below(40);
        let id = view.id();
        self.schedule(after, Event::Report { node, life, fact: Fact::Adopted(id) });
        if self.nodes[&node].is_stuck {
            return;
        }
        let later = after + 10 + self.random.below(200);
        let fact = if must_catch_up(view, NodeId(node)) {
            Fact::CaughtUp(id)
        } else if view.lists(NodeId(node)) && !view.is_member(NodeId(node)) {
            Fact::Drained(id)
        } else {
            return;
        };
        self.schedule(later, Event::Report { node, life, fact });
    }

    /// The next thing happens.
    pub(crate) fn tick(&mut self) {
        let Some(((now, _), event)) = self.events.pop_first() else {
            // Everybody is down.
            self.now_ms += 1;
            return;
        };
        self.now_ms = now;
        match event {
            Event::Deliver { to, from, message } => self.deliver(to, from, message),
            Event::Timer { node, life, timer, set } => {
                let at = self.node_mut(node);
                if at.life == life && at.timers.get(&timer) == Some(&set) {
                    at.timers.remove(&timer);
                    self.step(node, MemberInput::Timeout(timer));
                }
            }
            Event::Saved { node, life } => {
                let at = self.node_mut(node);
                if at.life == life && at.membership.is_some() {
                    let (saved, ticket) = at.unsaved.pop_front().expect("it was to be saved");
                    at.disk = Some(saved);
                    self.step(node, MemberInput::Synced(ticket));
                }
            }
            Event::Report { node, life, fact } => {
                let at = &self.nodes[&node];
                if at.life == life && at.membership.is_some() {
                    self.report(node, fact);
                }
            }
            Event::Evidence { node, life, evidence } => {
                if self.nodes[&node].life == life {
                    self.step(node, MemberInput::Evidence(evidence));
                }
            }
        }
    }

    /// A shard of the node has found damage.
    pub(crate) fn find_damage(&mut self, node: u64) {
        if let Some(view) = self.view_id(node) {
            let fact = Fact::Damaged(view);
            self.step(node, MemberInput::Report { shard: 0, fact });
        }
    }

    fn report(&mut self, node: u64, fact: Fact) {
        // A stub that was given a newer view meanwhile has nothing to say of the older one.
        let current = self.view(node).map(|view| view.id());
        let of = is_about(&fact);
        if of.is_some() && of == current {
            self.checks.reported(node, &fact);
            self.step(node, MemberInput::Report { shard: 0, fact });
        }
    }

    fn deliver(&mut self, to: u64, from: u64, message: MemberMessage) {
        let side = |node| self.sides.get(&node).copied().unwrap_or(0);
        if side(from) != side(to) {
            return;
        }
        if self.nodes.get(&to).is_none_or(|node| node.membership.is_none()) {
            return self.tell_evidence(from, Evidence::Closed(NodeId(to)));
        }
        let is_gossip = matches!(message, MemberMessage::GossipOk { .. });
        self.step(to, MemberInput::Message { from: NodeId(from), message });
        if is_gossip {
            let membership = self.nodes[&to].membership.as_ref();
            self.checks.rows(to, membership.expect("it runs").rows());
        }
    }

    /// Lets things happen until `holds`, or for so long; then it is a failure that says what was waited for.
    pub(crate) fn wait(
        &mut self,
        at_most_ms: u64,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let deadline = self.now_ms + at_most_ms;
        while !holds(self) {
            self.checks.result()?;
            if self.now_ms > deadline {
                return Err(format!("never within {at_most_ms} ms: {what}\n{}", self.describe()));
            }
            self.tick();
        }
        self.checks.result()
    }

    /// Lets things happen for so long.
    pub(crate) fn run(&mut self, for_ms: u64) -> Result<(), String> {
        let until = self.now_ms + for_ms;
        while self.now_ms < until {
            self.tick();
            self.checks.result()?;
        }
        Ok(())
    }

    /// Whether all running nodes that the newest view lists go by it, it is single, and no wish is staged.
    pub(crate) fn is_settled(&self) -> bool {
        let running =
            || self.nodes.iter().filter_map(|(id, node)| Some((*id, node.membership.as_ref()?)));
        let newest = running().filter_map(|(_, node)| node.view()).max_by_key(|view| view.id());
        let Some(newest) = newest else { return false };
        newest.next().is_none()
            && running().all(|(id, node)| {
                let goes_by_it = node.view().is_some_and(|view| view.id() == newest.id());
                (goes_by_it || !newest.lists(NodeId(id))) && node.staged().next().is_none()
            })
    }

    /// The members of the layout that a node goes by.
    pub(crate) fn members(&self, node: u64) -> BTreeSet<u64> {
        let layout = self.view(node).expect("it has a view").layout();
        layout.members().iter().map(|member| member.id.0).collect()
    }

    pub(crate) fn is_member(&self, node: u64) -> bool {
        let by = self.view(node).filter(|view| view.next().is_none());
        by.is_some_and(|view| view.layout().member(NodeId(node)).is_some())
    }

    /// What `of` knows about the standing of a node.
    pub(crate) fn status(&self, of: u64, node: u64) -> Option<Status> {
        let mut rows = self.nodes[&of].membership.as_ref()?.rows();
        rows.find(|row| row.node == NodeId(node)).map(|row| row.status)
    }

    pub(crate) fn view_id(&self, node: u64) -> Option<ViewId> {
        self.view(node).map(|view| view.id())
    }

    fn describe(&self) -> String {
        let line = |(id, node): (&u64, &Node)| {
            let Some(membership) = &node.membership else { return format!("n{id} is down") };
            let view = membership.view().map(|view| view.id().to_string()).unwrap_or_default();
            let staged: Vec<Staged> = membership.staged().cloned().collect();
            let outlook = membership.outlook(&staged);
            let fates = outlook.into_iter().flat_map(|outlook| outlook.fates);
            let staged: Vec<String> = fates.map(|(s, fate)| format!("{s}: {fate}")).collect();
            let suspected: Vec<String> =
                membership.suspected().iter().map(|n| n.to_string()).collect();
            format!("n{id} {view} staged {staged:?} suspects {suspected:?}")
        };
        let lines: Vec<String> = self.nodes.iter().map(line).collect();
        format!("at {} ms:\n{}", self.now_ms, lines.join("\n"))
    }
}

/// Whether the node has something to catch up with in a joint view.
pub(crate) fn must_catch_up(view: &View, node: NodeId) -> bool {
    let places = view.layout().sizes().into_iter();
    let mut places = places.flat_map(|n| view.partitions().iter().map(move |p| (p, n)));
    places.any(|(partition, n)| view.must_catch_up(node, partition, n))
}

/// So many seeds, or as many as the variable `MEMBERSHIP_SEEDS` says.
pub(crate) fn seeds(usual: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("MEMBERSHIP_SEEDS").ok();
    0..asked.map_or(usual, |asked| asked.parse().expect("MEMBERSHIP_SEEDS is a number"))
}

/// Plays a story with many seeds; it must hold with each.
pub(crate) fn with_seeds(
    seeds: std::ops::Range<u64>,
    story: impl Fn(u64, Rules) -> Result<(), String>,
) {
    for seed in seeds {
        if let Err(why) = story(seed, Rules::sound()) {
            panic!("seed {seed}: {why}");
        }
    }
}
