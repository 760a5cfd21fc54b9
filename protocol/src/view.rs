//! What a node goes by: a layout, precomputed, with a number.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    bucket::{Bucket, BucketName},
    id::{NodeId, Zone},
    key::{Key, Partition, Partitions, RecordKey},
    layout::Layout,
};

/// The number of a view: the layout, the decree within it, and the reap round or raise within that, compared
/// in this order. Every message carries the view of the shard that sent it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ViewId {
    /// The layout's number.
    pub layout: u64,
    /// The decree that made it, within the layout.
    pub decree: u64,
    /// Who raised it and how often; `(0, n0)` if nobody did.
    pub reap: (u64, NodeId),
}

/// The layout that a node goes by, with the preference list of every partition.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct View {
    id: ViewId,
    layout: Arc<Layout>,
    /// For each `n` in use, ascending, and each partition all members: the first n owners, then the rest
    /// in rendezvous order.
    preference: Vec<(u8, Box<[NodeId]>)>,
}

impl ViewId {
    /// The view of a layout that nothing has happened to.
    pub const fn of_layout(layout: u64) -> Self {
        Self { layout, decree: 0, reap: (0, NodeId(0)) }
    }
}

impl View {
    /// The view that consists of one layout.
    pub fn new(layout: Arc<Layout>) -> Self {
        let from = &*layout;
        let lists = |n| from.partitions().iter().flat_map(move |p| from.preference_list(p, n));
        let preference = layout.sizes().into_iter().map(|n| (n, lists(n).collect())).collect();
        Self { id: ViewId::of_layout(layout.number()), layout, preference }
    }

    /// Its number.
    pub fn id(&self) -> ViewId {
        self.id
    }

    /// Its layout.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// How many partitions keys hash into.
    pub fn partitions(&self) -> Partitions {
        self.layout.partitions()
    }

    /// Where the key's record stands.
    pub fn place(&self, key: Key) -> RecordKey {
        RecordKey { partition: self.partitions().of(&key), key }
    }

    /// The bucket of that name, if there is one.
    pub fn bucket(&self, name: &BucketName) -> Option<&Bucket> {
        self.layout.bucket(name)
    }

    /// All members in the order in which a bucket of size `n` prefers them: the paper's preference list, whole.
    ///
    /// # Panics
    /// If no bucket of this view has that `n`.
    pub fn preference_list(&self, partition: Partition, n: u8) -> &[NodeId] {
        let of_size = self.preference.iter().find(|(size, _)| *size == n);
        let (_, lists) = of_size.expect("n is of a bucket of this view");
        let members = self.layout.members().len();
        let start = partition.0 as usize * members;
        &lists[start..start + members]
    }

    /// The owners of a partition's keys in a bucket of size `n`: fewer if there are fewer members.
    pub fn owners(&self, partition: Partition, n: u8) -> &[NodeId] {
        let list = self.preference_list(partition, n);
        &list[..list.len().min(usize::from(n))]
    }

    /// The members that may stand in for a silent owner, the next of the preference list first.
    pub fn fallbacks(&self, partition: Partition, n: u8) -> &[NodeId] {
        let list = self.preference_list(partition, n);
        &list[list.len().min(usize::from(n))..]
    }

    /// Whether the node owns the partition's keys in a bucket with that `n`.
    pub fn owns(&self, node: NodeId, partition: Partition, n: u8) -> bool {
        self.owners(partition, n).contains(&node)
    }

    /// Whether the node is a member.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.layout.member(node).is_some()
    }

    /// How many distinct zones the nodes lie in.
    pub fn zones(&self, nodes: impl Iterator<Item = NodeId>) -> usize {
        let mut zones: Vec<&Zone> =
            nodes.filter_map(|node| self.layout.member(node).map(|member| &member.zone)).collect();
        zones.sort_unstable();
        zones.dedup();
        zones.len()
    }
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.layout)?;
        if self.decree > 0 || self.reap.0 > 0 {
            write!(f, ".{}", self.decree)?;
        }
        if self.reap.0 > 0 {
            write!(f, ".{}{}", self.reap.0, self.reap.1)?;
        }
        Ok(())
    }
}
