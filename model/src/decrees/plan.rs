//! What a preset of decrees is made of, and the cluster at its start.

use std::sync::Arc;

use cartwheel_protocol::{
    bucket::{Bucket, BucketName, Kind},
    id::{NodeId, Zone},
    key::{Key, Partition, Partitions},
    layout::{Command, Layout, Member},
    membership::{MemberConfig, Staged, Wish},
    object::Digest,
    reap_page::{Goes, ReapPage, Reapable},
    rules::Rules,
    view::View,
};

use crate::setup::{Budget, Budgets};

/// A small cluster of members, what is wished for and what may go wrong.
#[derive(Clone, Debug)]
pub struct DecreePlan {
    /// How many members there are, named n1, n2 and so on.
    pub members: u8,
    /// How many owners a key has.
    pub owners: u8,
    /// At which members, counted from zero, somebody wishes for something: the n-th that member n weighs more.
    pub wishes: Vec<u8>,
    /// Whether shards say how far they are. Without that no change finishes.
    pub reports: bool,
    /// Who may crash, within the budget.
    pub crashing: Vec<u8>,
    /// Whose shards may want a newer view, within the budget, once the node has promised something: before that a raised view
    /// differs from the one that all begin with by its number.
    pub raising: Vec<u8>,
    /// Whose shard may begin a reap round, within the budget.
    pub reaper: Option<u8>,
    /// How often what may happen.
    pub budgets: Budgets,
}

/// What stays the same.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct DecreeSetup {
    pub(super) nodes: Vec<NodeId>,
    pub(super) configs: Vec<Arc<MemberConfig>>,
    pub(super) view: Arc<View>,
    pub(super) wishes: Vec<(u8, Staged)>,
    pub(super) reports: bool,
    pub(super) crashing: Vec<u8>,
    pub(super) raising: Vec<u8>,
    pub(super) reaper: Option<u8>,
    /// What a reap round names.
    pub(super) page: Arc<ReapPage>,
}

impl DecreePlan {
    /// Members of whom each owns everything; nothing is wished for and nothing goes wrong.
    pub fn new(members: u8) -> Self {
        Self {
            members,
            owners: members,
            wishes: Vec::new(),
            reports: false,
            crashing: Vec::new(),
            raising: Vec::new(),
            reaper: None,
            budgets: Budgets::default(),
        }
    }

    /// The same with one more wish, at that member.
    #[must_use]
    pub fn wish(mut self, at: u8) -> Self {
        self.wishes.push(at);
        self
    }

    /// The same with a budget.
    #[must_use]
    pub fn may(mut self, kind: Budget, count: u8) -> Self {
        self.budgets = self.budgets.with(kind, count);
        self
    }

    pub(super) fn setup(&self, rules: Rules) -> DecreeSetup {
        let nodes: Vec<NodeId> = (1..=u64::from(self.members)).map(NodeId).collect();
        let name = BucketName::new("b").expect("a valid bucket name");
        let bucket = Bucket::new(name.clone(), Kind::Register, self.owners);
        let partitions = Partitions::new(1).expect("a power of two");
        let members = nodes.iter().map(|node| member(*node));
        let key = Key::new(name, *b"k");
        let item = Reapable { key, digest: Digest(0), goes: Goes::Whole };
        let page = ReapPage { partition: Partition(0), items: [item].into() };
        let layout = Layout::form(members, partitions, [bucket]).expect("the layout forms");
        let config = |node: &NodeId| {
            let Member { name, address, .. } = member(*node);
            Arc::new(MemberConfig { rules, ..MemberConfig::new(&name, &address) })
        };
        let wish = |(at, node): (usize, &u8)| {
            let command = Command::Weight(nodes[at], 2);
            let wish = Wish::Change { command, accept_loss: false };
            (*node, Staged { id: at as u128 + 1, base: 1, wish })
        };
        DecreeSetup {
            configs: nodes.iter().map(config).collect(),
            view: Arc::new(View::new(Arc::new(layout))),
            wishes: self.wishes.iter().enumerate().map(wish).collect(),
            reports: self.reports,
            crashing: self.crashing.clone(),
            raising: self.raising.clone(),
            reaper: self.reaper,
            page: Arc::new(page),
            nodes,
        }
    }
}

fn member(id: NodeId) -> Member {
    let (name, address) = (format!("{id}").into(), format!("host-{id}").into());
    Member { id, name, address, zone: Zone("z".into()), weight: 1 }
}
