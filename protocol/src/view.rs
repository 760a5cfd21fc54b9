//! What a node goes by: a layout, or two while the cluster changes, precomputed, with a number.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    bucket::{Bucket, BucketName},
    id::{NodeId, Zone},
    key::{Key, Partition, Partitions, RecordKey},
    layout::{Layout, Member},
    membership::Staged,
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

/// What a decree settles: views that differ only in how often they were raised are of one era, and go by the
/// same layouts. Decrees, catching up and draining are matters of eras.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Era {
    /// The layout's number.
    pub layout: u64,
    /// The decree that made it, within the layout.
    pub decree: u64,
}

/// What a node goes by: one layout, or, while it changes, the present and the next one together (L1), with
/// the preference list of every partition in each.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct View {
    id: ViewId,
    /// The older layout: the present one.
    present: Placed,
    /// The newer one, while the cluster changes to it.
    next: Option<Placed>,
    change: Change,
}

/// What a joint view knows of its change beside the layouts; empty in a single view but for `applied`.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Change {
    /// Dead owners that the operator named: what only they hold is given up (`--accept-loss`, L3). Sorted.
    pub accepted_losses: Arc<[NodeId]>,
    /// The wishes that the next layout carries out.
    pub commands: Arc<[Staged]>,
    /// The ids of the staged commands that this view, or one before it, has settled: carried out or given
    /// up. The newest last, at most [`Change::MAX_SETTLED`].
    pub settled: Arc<[u128]>,
}

/// A layout with its preference lists.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Placed {
    layout: Arc<Layout>,
    /// For each `n` in use, ascending, and each partition all members: the first n owners, then the rest
    /// in rendezvous order.
    preference: Arc<[(u8, Box<[NodeId]>)]>,
}

impl Change {
    /// How many settled commands a view remembers: one that is staged again later than that is refused as too old.
    pub const MAX_SETTLED: usize = 256;
}

impl ViewId {
    /// The view of a layout that nothing has happened to.
    pub const fn of_layout(layout: u64) -> Self {
        Self { layout, decree: 0, reap: (0, NodeId(0)) }
    }

    /// What the view is about, however often it was raised.
    pub const fn era(self) -> Era {
        Era { layout: self.layout, decree: self.decree }
    }
}

impl View {
    /// The view that consists of one layout.
    pub fn new(layout: Arc<Layout>) -> Self {
        let id = ViewId::of_layout(layout.number());
        Self { id, present: Placed::new(layout), next: None, change: Change::default() }
    }

    /// The joint view that the `decree`-th decree of the present layout's members makes: of this layout and `next`,
    /// which is a step from it. A later one amends an earlier one: those who were to be members and are not any more
    /// may hold, as fallbacks or as owners to be, copies that were counted, so they drain like former members.
    pub fn joint(&self, decree: u64, next: Arc<Layout>, change: Change) -> Self {
        let amended = self.next().into_iter();
        let were_to_be =
            amended.flat_map(|layout| layout.members().iter().chain(layout.draining()));
        let dropped = were_to_be.filter(|member| !self.layout().lists(member.id));
        let dropped: Vec<Member> =
            dropped.filter(|member| !next.lists(member.id)).cloned().collect();
        let next = if dropped.is_empty() { next } else { Arc::new(next.with_draining(dropped)) };
        let id = ViewId { decree, ..ViewId::of_layout(self.id.layout) };
        Self { id, present: self.present.clone(), next: Some(Placed::new(next)), change }
    }

    /// The single view of the next layout: what `finish` decrees. `None` if there is no change to finish.
    pub fn finished(&self) -> Option<Self> {
        let present = self.next.clone()?;
        let id = ViewId::of_layout(present.layout.number());
        let settled = self.change.settled.clone();
        let change = Change { settled, ..Change::default() };
        Some(Self { id, present, next: None, change })
    }

    /// The next view of the same era, which `raiser` makes without a decree: whoever goes by it has heard of it
    /// after it was raised, and that is all that is new.
    pub fn raised(&self, raiser: NodeId) -> Self {
        let reap = (self.id.reap.0 + 1, raiser);
        Self { id: ViewId { reap, ..self.id }, ..self.clone() }
    }

    /// Puts a view together that another node described. Its number must fit its layouts.
    pub fn assemble(
        id: ViewId,
        present: Arc<Layout>,
        next: Option<Arc<Layout>>,
        change: Change,
    ) -> Option<Self> {
        let fits = id.layout == present.number()
            && next.as_ref().is_none_or(|next| next.number() == id.layout + 1)
            && next.is_some() == (id.decree > 0);
        let next = next.map(Placed::new);
        fits.then(|| Self { id, present: Placed::new(present), next, change })
    }

    /// Its number.
    pub fn id(&self) -> ViewId {
        self.id
    }

    /// The older layout: the only one, but while the cluster changes.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.present.layout
    }

    /// The newer layout of a joint view.
    pub fn next(&self) -> Option<&Arc<Layout>> {
        self.next.as_ref().map(|next| &next.layout)
    }

    /// What the change is about beside its layouts.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// The layouts, the older first.
    pub fn layouts(&self) -> impl Iterator<Item = &Arc<Layout>> {
        self.placed().map(|placed| &placed.layout)
    }

    /// How many partitions keys hash into.
    pub fn partitions(&self) -> Partitions {
        self.present.layout.partitions()
    }

    /// Where the key's record stands.
    pub fn place(&self, key: Key) -> RecordKey {
        RecordKey { partition: self.partitions().of(&key), key }
    }

    /// The bucket of that name, if there is one. One that the next layout creates is there when the change is done.
    pub fn bucket(&self, name: &BucketName) -> Option<&Bucket> {
        self.present.layout.bucket(name)
    }

    /// All members of the older layout in the order in which a bucket of size `n` prefers them: the paper's
    /// preference list, whole.
    ///
    /// # Panics
    /// If no bucket of this view has that `n`.
    pub fn preference_list(&self, partition: Partition, n: u8) -> &[NodeId] {
        self.present.preference_list(partition, n)
    }

    /// The owners of a partition's keys in the older layout, for a bucket of size `n`: fewer if there are fewer members.
    /// Their slots are what sloppy requests count (L4).
    pub fn owners(&self, partition: Partition, n: u8) -> &[NodeId] {
        self.present.owners(partition, n)
    }

    /// The owners in the newer layout of a joint view.
    pub fn next_owners(&self, partition: Partition, n: u8) -> Option<&[NodeId]> {
        self.next.as_ref().map(|next| next.owners(partition, n))
    }

    /// Everybody who owns the partition's keys in some layout, each once: first the owners in the older one, then those
    /// that the newer one adds.
    pub fn all_owners(&self, partition: Partition, n: u8) -> impl Iterator<Item = NodeId> + '_ {
        let older = self.owners(partition, n);
        let newer = self.next_owners(partition, n).unwrap_or(&[]);
        let added = newer.iter().filter(move |node| !older.contains(node));
        older.iter().chain(added).copied()
    }

    /// Who may stand in for a silent owner, the next of the preference list first: the members of the older
    /// layout that own no slot in it, then the members that the newer one adds (L4).
    pub fn fallbacks(&self, partition: Partition, n: u8) -> impl Iterator<Item = NodeId> + '_ {
        let older = self.preference_list(partition, n);
        let newer = self.next.as_ref().map_or(&[][..], |next| next.preference_list(partition, n));
        let own_none = &older[older.len().min(usize::from(n))..];
        let added = newer.iter().filter(|node| self.present.layout.member(**node).is_none());
        own_none.iter().chain(added).copied()
    }

    /// Whether the node owns the partition's keys, in some layout, in a bucket with that `n`.
    pub fn owns(&self, node: NodeId, partition: Partition, n: u8) -> bool {
        self.placed().any(|placed| placed.owners(partition, n).contains(&node))
    }

    /// Whether the node is a member of some layout.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.layouts().any(|layout| layout.member(node).is_some())
    }

    /// Whether the node is a member of some layout or drains in it: what others send is ignored.
    pub fn lists(&self, node: NodeId) -> bool {
        self.layouts().any(|layout| layout.lists(node))
    }

    /// The member with this id, of the newest layout that has it.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        let newest_first = self.next.iter().chain([&self.present]);
        newest_first.filter_map(|placed| placed.layout.member(node)).next()
    }

    /// Whether the node has to catch up with a partition, for buckets of size `n`, before the change may finish (L3): an
    /// owner that was none must, and all must where a partition gets fewer owners.
    pub fn must_catch_up(&self, node: NodeId, partition: Partition, n: u8) -> bool {
        let Some(newer) = self.next_owners(partition, n) else { return false };
        let older = self.owners(partition, n);
        newer.contains(&node) && (!older.contains(&node) || newer.len() < older.len())
    }

    /// How many distinct zones the nodes lie in.
    pub fn zones(&self, nodes: impl Iterator<Item = NodeId>) -> usize {
        let mut zones: Vec<&Zone> = nodes.filter_map(|node| self.zone(node)).collect();
        zones.sort_unstable();
        zones.dedup();
        zones.len()
    }

    /// The zone of a member.
    pub fn zone(&self, node: NodeId) -> Option<&Zone> {
        self.member(node).map(|member| &member.zone)
    }

    fn placed(&self) -> impl Iterator<Item = &Placed> {
        [&self.present].into_iter().chain(&self.next)
    }
}

impl Placed {
    fn new(layout: Arc<Layout>) -> Self {
        let from = &*layout;
        let lists = |n| from.partitions().iter().flat_map(move |p| from.preference_list(p, n));
        let preference = layout.sizes().into_iter().map(|n| (n, lists(n).collect())).collect();
        Self { layout, preference }
    }

    fn preference_list(&self, partition: Partition, n: u8) -> &[NodeId] {
        let of_size = self.preference.iter().find(|(size, _)| *size == n);
        let (_, lists) = of_size.expect("n is of a bucket of this view");
        let members = self.layout.members().len();
        let start = partition.0 as usize * members;
        &lists[start..start + members]
    }

    fn owners(&self, partition: Partition, n: u8) -> &[NodeId] {
        let list = self.preference_list(partition, n);
        &list[..list.len().min(usize::from(n))]
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
