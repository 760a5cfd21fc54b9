//! What a step does: for `--plan`, `ring` and whoever reports on a change.

use alloc::vec::Vec;
use core::fmt;

use super::Layout;
use crate::{
    id::NodeId,
    key::{Partition, Partitions},
};

/// The difference of two layouts.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Plan {
    /// Number of the layout before.
    pub from: u64,
    /// Number of the layout after.
    pub to: u64,
    /// How many partitions there are.
    pub partitions: Partitions,
    /// One for each `n` in use afterwards, ascending.
    pub sizes: Vec<SizePlan>,
}

/// The difference for buckets of one size.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SizePlan {
    /// The size: how many owners a key has.
    pub n: u8,
    /// Slots that get another owner, by partition. For a size that was not in use before: against the
    /// first `n` of the owners that there were.
    pub moves: Vec<Move>,
    /// The nodes of either layout, by id.
    pub loads: Vec<NodeLoad>,
    /// Partitions whose owners afterwards span fewer zones than `n`, and than the members lie in before or after, with
    /// how many they span.
    pub zones_short: Vec<(Partition, usize)>,
}

/// A slot that gets another owner.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Move {
    /// The partition.
    pub partition: Partition,
    /// Who loses a slot of it; nobody when it gets more owners.
    pub from: Option<NodeId>,
    /// Who gets a slot of it; nobody when it gets fewer owners.
    pub to: Option<NodeId>,
}

/// How many slots a node has before and after.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeLoad {
    /// The node.
    pub node: NodeId,
    /// Slots before.
    pub before: u32,
    /// Slots after.
    pub after: u32,
    /// Of these, how many it is first owner of.
    pub first: u32,
}

impl Plan {
    /// What changes from one layout to another of the same cluster.
    pub fn new(before: &Layout, after: &Layout) -> Self {
        let sizes = after.sizes().into_iter().map(|n| SizePlan::new(n, before, after)).collect();
        let (from, to) = (before.number(), after.number());
        Self { from, to, partitions: after.partitions(), sizes }
    }

    /// How many partitions of a layout have fewer living owners than `max(1, h - min(Rs, Ws) + 1)` when
    /// these nodes are dead, for each `n` in use that has such partitions (h owners, Rs and Ws the
    /// smallest of its buckets; rule L3). Changing the owners of these needs `accept_loss`.
    pub fn thin(layout: &Layout, dead: &[NodeId]) -> Vec<(u8, usize)> {
        let thin_for = |n: u8| {
            let buckets = layout.buckets().iter().filter(|bucket| bucket.n == n);
            let quorum = buckets.map(|bucket| bucket.strict_r.min(bucket.strict_w)).min();
            let is_thin = |partition: &Partition| {
                let owners = layout.owners(*partition).take(usize::from(n));
                let needed = (owners.len() + 1).saturating_sub(usize::from(quorum.unwrap_or(n)));
                owners.filter(|owner| !dead.contains(owner)).count() < needed.max(1)
            };
            (n, layout.partitions().iter().filter(is_thin).count())
        };
        layout.sizes().into_iter().map(thin_for).filter(|(_, count)| *count > 0).collect()
    }
}

impl SizePlan {
    fn new(n: u8, before: &Layout, after: &Layout) -> Self {
        let mut moves = Vec::new();
        let mut zones_short = Vec::new();
        let zones = before.zones().len().max(after.zones().len()).min(usize::from(n));
        let owners = |layout: &Layout, partition| -> Vec<NodeId> {
            layout.owners(partition).take(usize::from(n)).collect()
        };
        for partition in after.partitions().iter() {
            let (old, new) = (owners(before, partition), owners(after, partition));
            let mut lost = old.iter().copied().filter(|node| !new.contains(node));
            let mut gained = new.iter().copied().filter(|node| !old.contains(node));
            loop {
                let (from, to) = (lost.next(), gained.next());
                if from.is_none() && to.is_none() {
                    break;
                }
                moves.push(Move { partition, from, to });
            }
            let spanned = after.zones_spanned(partition, n);
            if spanned < zones {
                zones_short.push((partition, spanned));
            }
        }
        Self { n, moves, loads: loads(n, before, after), zones_short }
    }
}

/// The loads of the nodes of either layout, by id.
fn loads(n: u8, before: &Layout, after: &Layout) -> Vec<NodeLoad> {
    let members = before.members().iter().chain(after.members());
    let mut loads: Vec<NodeLoad> =
        members.map(|member| NodeLoad { node: member.id, before: 0, after: 0, first: 0 }).collect();
    loads.sort_unstable();
    loads.dedup();
    let at = |loads: &[NodeLoad], node| loads.partition_point(|load| load.node < node);
    for partition in after.partitions().iter() {
        for node in before.owners(partition).take(usize::from(n)) {
            let index = at(&loads, node);
            loads[index].before += 1;
        }
        for (rank, node) in after.owners(partition).take(usize::from(n)).enumerate() {
            let index = at(&loads, node);
            loads[index].after += 1;
            loads[index].first += u32::from(rank == 0);
        }
    }
    loads
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions = self.partitions.count();
        write!(f, "layout {} -> {}, {partitions} partitions", self.from, self.to)?;
        for size in &self.sizes {
            write!(f, "\n{size}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SizePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u32 = self.loads.iter().map(|load| load.after).sum();
        write!(f, "n={}: {} of {total} slots move", self.n, self.moves.len())?;
        for load in &self.loads {
            write!(f, "\n  {load}")?;
        }
        if let Some(fewest) = self.zones_short.iter().map(|(_, zones)| *zones).min() {
            let count = self.zones_short.len();
            write!(f, "\n  {count} partitions span too few zones, some only {fewest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Move {
    /// `q17 n1 -> n4`; `-` for nobody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.partition)?;
        match self.from {
            Some(from) => write!(f, "{from} -> ")?,
            None => f.write_str("- -> ")?,
        }
        match self.to {
            Some(to) => write!(f, "{to}"),
            None => f.write_str("-"),
        }
    }
}

impl fmt::Display for NodeLoad {
    /// `n1 768 -> 614 slots, first in 205`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, before, after, first } = self;
        write!(f, "{node} {before} -> {after} slots, first in {first}")
    }
}
