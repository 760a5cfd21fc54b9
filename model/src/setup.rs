//! What one exploration is about: the cluster, what its clients do, and how many faults may happen.

use std::{fmt, str::FromStr, sync::Arc};

use cartwheel_protocol::{
    Config,
    bucket::{Bucket, BucketName, Kind, Spread},
    id::{ClusterId, NodeId},
    key::{Key, Partitions, RecordKey},
    layout::Layout,
    rules::Rules,
    view::View,
};

use crate::{
    change::{Turn, member, musts, views},
    client::{Op, Script},
};

/// The knobs of a preset. Nodes are counted from zero in the order of the key's preference list: first
/// the owners, then the fallbacks.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many owners a key has.
    pub owners: u8,
    /// How many more nodes there are.
    pub others: u8,
    /// How many of the owners and the others are members at the start; all, if this is not smaller.
    pub members: u8,
    /// How many nodes there are beside, that are no members at the start.
    pub outsiders: u8,
    /// The zones of the nodes, by number; zero for those beyond the list.
    pub zones: Vec<u8>,
    /// Over what copies are spread.
    pub spread: Spread,
    /// What is decreed, one after the other.
    pub turns: Vec<Turn>,
    /// How many of these decrees were made before the start: all nodes go by that view but those that are behind, who go by
    /// the first.
    pub begun: u8,
    /// See `begun`.
    pub behind: Vec<u8>,
    /// What the keys hold.
    pub kind: Kind,
    /// The quorums of requests that do not say: `(r, w)`.
    pub quorums: (u8, u8),
    /// The strict quorums `(Rs, Ws)`.
    pub strict: (u8, u8),
    /// How many cancelled add_ids a cart remembers.
    pub cancelled_bound: u32,
    /// How many keys the clients use.
    pub keys: u8,
    /// How many requests a node takes at once.
    pub max_pending: usize,
    /// Owners keep trees and compare them.
    pub trees: bool,
    /// Disks take their time even when no crash can happen any more.
    pub slow_disks: bool,
    /// What each client does.
    pub clients: Vec<Script>,
    /// How often each kind of fault may happen.
    pub budgets: Budgets,
    /// Who may come to suspect whom.
    pub suspicions: Vec<(u8, u8)>,
    /// Who suspects whom at the start.
    pub suspected: Vec<(u8, u8)>,
    /// Who may crash; empty for everybody.
    pub crashing: Vec<u8>,
    /// Whose disk may be wiped or damaged; empty for everybody.
    pub losing: Vec<u8>,
    /// How often the view of one decree may be raised.
    pub raises: u8,
    /// Who reaps, and not before which task is over.
    pub reaper: Option<u8>,
    /// See `reaper`.
    pub reap_after: Option<Op>,
}

/// A plan that was worked out: immutable, shared by all worlds of an exploration.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Setup {
    /// Every view that may come about, ascending: the one at the start, and what each of `turns` leads to, each
    /// followed by what it may be raised to.
    pub(crate) views: Vec<Arc<View>>,
    /// The number of the view at the start, then of what each of `turns` leads to.
    pub(crate) decrees: Vec<u8>,
    /// Who must catch up in each view.
    pub(crate) musts: Vec<Vec<NodeId>>,
    pub(crate) turns: Vec<Turn>,
    /// What every replica is configured with.
    pub(crate) config: Arc<Config>,
    /// The bucket of all keys.
    pub(crate) bucket: Bucket,
    /// The keys, each with its place.
    pub(crate) keys: Vec<RecordKey>,
    /// All nodes, in the order of the preference list, which is also that of their ids.
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) zones: Vec<u8>,
    pub(crate) slow_disks: bool,
    pub(crate) clients: Vec<Script>,
    pub(crate) suspicions: Vec<(u8, u8)>,
    pub(crate) suspected: Vec<(u8, u8)>,
    pub(crate) crashing: Vec<u8>,
    pub(crate) losing: Vec<u8>,
    pub(crate) reaper: Option<u8>,
    pub(crate) reap_after: Option<Op>,
}

/// A kind of event that happens a limited number of times.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Budget {
    /// A process dies and loses what was not synced.
    Crash,
    /// A disk is lost for good.
    Wipe,
    /// A record's checksum fails.
    Damage,
    /// A message is delivered and stays in flight.
    Duplicate,
    /// A message is lost. Where it only stays in flight nothing is ever quiet, and nothing is asked of what follows.
    Drop,
    /// A node comes to suspect another.
    Suspect,
    /// A client tries elsewhere while its first attempt is in flight.
    Retry,
    /// A client's deadline passes.
    Deadline,
    /// An owner is silent for so long that a fallback is asked, or a forwarded request is given up.
    Silence,
    /// A node hands over what it holds for others.
    Handoff,
    /// A node asks again for pages that did not come.
    CatchUp,
    /// An owner compares its tree with another's, or goes on with that.
    AntiEntropy,
    /// A node looks for damaged records, and asks about those that it knows.
    Mend,
    /// A node raises the view.
    Raise,
    /// An operator has a node reap, or the node goes on with that.
    Reap,
    /// A node proposes a decree.
    Propose,
}

/// How often each kind of event may still happen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Budgets([u8; Budget::ALL.len()]);

impl Budget {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Crash,
        Self::Wipe,
        Self::Damage,
        Self::Duplicate,
        Self::Drop,
        Self::Suspect,
        Self::Retry,
        Self::Deadline,
        Self::Silence,
        Self::Handoff,
        Self::CatchUp,
        Self::AntiEntropy,
        Self::Mend,
        Self::Raise,
        Self::Reap,
        Self::Propose,
    ];

    /// Its name in `--set` and in replay files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Wipe => "wipe",
            Self::Damage => "damage",
            Self::Duplicate => "duplicate",
            Self::Drop => "drop",
            Self::Suspect => "suspect",
            Self::Retry => "retry",
            Self::Deadline => "deadline",
            Self::Silence => "silence",
            Self::Handoff => "handoff",
            Self::CatchUp => "catch-up",
            Self::AntiEntropy => "anti-entropy",
            Self::Mend => "mend",
            Self::Raise => "raise",
            Self::Reap => "reap",
            Self::Propose => "propose",
        }
    }
}

impl Budgets {
    /// What is left of one kind.
    pub fn left(self, kind: Budget) -> u8 {
        self.0[kind as usize]
    }

    /// The same with `count` of one kind.
    #[must_use]
    pub fn with(mut self, kind: Budget, count: u8) -> Self {
        self.0[kind as usize] = count;
        self
    }

    /// Takes one of a kind, if there is one left.
    pub(crate) fn spend(&mut self, kind: Budget) -> bool {
        let left = &mut self.0[kind as usize];
        let enough = *left > 0;
        *left = left.saturating_sub(1);
        enough
    }
}

/// One `--set`: how often something may happen, in place of what the preset says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Setting {
    /// What.
    pub budget: Budget,
    /// How often, 0 to 255.
    pub count: u8,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = || Budget::ALL.map(Budget::name).join(", ");
        let (name, count) =
            text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=COUNT"))?;
        let budget = Budget::ALL.into_iter().find(|budget| budget.name() == name);
        let budget =
            budget.ok_or_else(|| format!("there is no budget `{name}`; there are {}", names()))?;
        let count = count.parse().map_err(|_| format!("`{count}` is not a count from 0 to 255"))?;
        Ok(Self { budget, count })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.budget.name(), self.count)
    }
}

impl Plan {
    /// A plan for `owners` owners and `others` more nodes, one key, majorities, no clients and no faults.
    pub fn new(owners: u8, others: u8, kind: Kind) -> Self {
        let majority = owners / 2 + 1;
        Self {
            owners,
            others,
            members: u8::MAX,
            outsiders: 0,
            zones: Vec::new(),
            spread: Spread::Node,
            turns: Vec::new(),
            begun: 0,
            behind: Vec::new(),
            kind,
            quorums: (majority, majority),
            strict: (majority, majority),
            cancelled_bound: Bucket::CANCELLED_BOUND,
            keys: 1,
            max_pending: 16,
            trees: false,
            slow_disks: false,
            clients: Vec::new(),
            budgets: Budgets::default(),
            suspicions: Vec::new(),
            suspected: Vec::new(),
            crashing: Vec::new(),
            losing: Vec::new(),
            raises: 0,
            reaper: None,
            reap_after: None,
        }
    }

    /// The same with one more client.
    #[must_use]
    pub fn client(mut self, script: Script) -> Self {
        self.clients.push(script);
        self
    }

    /// The same with one more decree.
    #[must_use]
    pub fn turn(mut self, turn: Turn) -> Self {
        self.turns.push(turn);
        self
    }

    /// The same with a budget.
    #[must_use]
    pub fn may(mut self, kind: Budget, count: u8) -> Self {
        self.budgets = self.budgets.with(kind, count);
        self
    }
}

const CLUSTER: ClusterId = ClusterId(1);

impl Setup {
    /// Works a plan out. `rules` are what the replicas go by.
    pub fn new(plan: &Plan, rules: Rules) -> Self {
        let (strict_r, strict_w) = plan.strict;
        let (r, w) = plan.quorums;
        let name = BucketName::new("b").expect("a valid bucket name");
        let bucket = Bucket {
            strict_r,
            strict_w,
            r,
            w,
            spread: plan.spread,
            cancelled_bound: plan.cancelled_bound,
            ..Bucket::new(name.clone(), plan.kind, plan.owners)
        };
        let (decreed, nodes) = views_in_order(plan, &bucket);
        let (views, decrees) = with_raises(&decreed, &nodes, plan.raises);
        let view = &views[0];
        let names = ["k", "l", "m"];
        let keys = names.iter().take(usize::from(plan.keys));
        let keys = keys.map(|key| view.place(Key::new(name.clone(), key.as_bytes()))).collect();
        let mut config = Config::new(CLUSTER);
        config.max_pending = plan.max_pending;
        // Time does not pass here: it is only said whether there are exchanges, and that no partition is scanned in its turn.
        config.anti_entropy_every_ms = u32::from(plan.trees);
        config.anti_entropy_batch = 1;
        config.tree_rescan_every_ms = 0;
        config.tree_depth = 1;
        config.tree_page = 2;
        config.rules = rules;
        Self {
            musts: musts(&views),
            views,
            decrees,
            turns: plan.turns.clone(),
            config: Arc::new(config),
            bucket,
            keys,
            nodes,
            zones: plan.zones.clone(),
            slow_disks: plan.slow_disks,
            clients: plan.clients.clone(),
            suspicions: plan.suspicions.clone(),
            suspected: plan.suspected.clone(),
            crashing: plan.crashing.clone(),
            losing: plan.losing.clone(),
            reaper: plan.reaper,
            reap_after: plan.reap_after,
        }
    }

    /// Whether owners keep trees.
    pub(crate) fn has_trees(&self) -> bool {
        self.config.anti_entropy_every_ms > 0
    }

    /// The zone of a node, by its number.
    pub(crate) fn zone(&self, at: usize) -> u8 {
        self.zones.get(at).copied().unwrap_or(0)
    }

    /// Where a node stands among [`Setup::nodes`].
    pub(crate) fn index(&self, node: NodeId) -> usize {
        self.nodes.binary_search(&node).expect("messages go to members only")
    }
}

/// Views, each followed by all that it may be raised to, and where the first ones stand.
fn with_raises(decreed: &[Arc<View>], nodes: &[NodeId], raises: u8) -> (Vec<Arc<View>>, Vec<u8>) {
    let (mut views, mut decrees) = (Vec::new(), Vec::new());
    for view in decreed {
        decrees.push(views.len() as u8);
        views.push(view.clone());
        let mut before = view.clone();
        for _ in 0..raises {
            views.extend(nodes.iter().map(|raiser| Arc::new(before.raised(*raiser))));
            before = Arc::new(before.raised(NodeId(0)));
        }
    }
    (views, decrees)
}

/// Views of one partition. The members' preference list ascends with the ids, those that come later follow, and each
/// change makes those owners that the plan says: so traces are easy to read. The first ids that happen to fall so.
fn views_in_order(plan: &Plan, bucket: &Bucket) -> (Vec<Arc<View>>, Vec<NodeId>) {
    let one = Partitions::new(1).expect("one is a power of two");
    let members = plan.members.min(plan.owners + plan.others);
    let count = usize::from(members + plan.outsiders);
    for ids in 0_u32..1 << 15 {
        let nodes: Vec<NodeId> =
            (0..15).filter(|bit| ids >> bit & 1 == 1).map(|bit| NodeId(bit + 1)).collect();
        if nodes.len() != count {
            continue;
        }
        let zone = |at: usize| plan.zones.get(at).copied().unwrap_or(0);
        let first = &nodes[..usize::from(members)];
        let listed = first.iter().enumerate().map(|(at, id)| member(*id, zone(at)));
        let layout = Layout::form(listed, one, [bucket.clone()]).expect("a tiny layout is valid");
        let view = View::new(Arc::new(layout));
        let partition = one.iter().next().expect("there is one partition");
        if view.preference_list(partition, bucket.n) != first {
            continue;
        }
        let rest = (&plan.zones[..], bucket.n);
        if let Some(views) = views(Arc::new(view), &plan.turns, &nodes, rest) {
            return (views, nodes);
        }
    }
    panic!("no choice of {count} of 15 ids falls as the plan says");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_stand_in_the_order_of_the_preference_list() {
        for (owners, others) in [(1, 1), (2, 1), (3, 0), (3, 1), (2, 2)] {
            let setup = Setup::new(&Plan::new(owners, others, Kind::Register), Rules::sound());
            let owned = setup.views[0].owners(setup.keys[0].partition, owners);
            assert_eq!(owned, &setup.nodes[..usize::from(owners)]);
            assert_eq!(setup.nodes.len(), usize::from(owners + others));
        }
    }

    #[test]
    fn a_setting_names_a_budget_and_a_count() {
        let setting = Setting { budget: Budget::Crash, count: 2 };
        assert_eq!("crash=2".parse(), Ok(setting));
        assert_eq!(setting.to_string(), "crash=2");
        for wrong in ["crash", "crash=300", "crush=1"] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
    }
}
