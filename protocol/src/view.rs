//! What a node goes by: a layout, or two while the cluster changes, precomputed, with a number.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    bucket::{Bucket, BucketName},
    id::{AddId, NodeId, Zone},
    key::{Key, Partition, Partitions, RecordKey},
    layout::{Layout, Member},
    membership::Staged,
    reap_page::{ReapPage, Reaped},
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
    reaped: Reaped,
    /// What the reap round that raised it names.
    page: Option<Arc<ReapPage>>,
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
        let (change, reaped) = (Change::default(), Reaped::default());
        Self { id, present: Placed::new(layout), next: None, change, reaped, page: None }
    }

    /// The joint view that the `decree`-th decree of the present layout's members makes: of this layout and `next`,
    /// which is a step from it. A later one amends an earlier one: those who were to be members and are not any more
    /// may hold, as fallbacks or as owners to be, copies that were counted, so they drain like former members.
    ///
    /// `reaped` is the decree's: those who carry it out may go by views of this era that were raised differently.
    pub fn joint(&self, decree: u64, next: Arc<Layout>, change: Change, reaped: Reaped) -> Self {
        let amended = self.next().into_iter();
        let were_to_be =
            amended.flat_map(|layout| layout.members().iter().chain(layout.draining()));
        let dropped = were_to_be.filter(|member| !self.layout().lists(member.id));
        let dropped: Vec<Member> =
            dropped.filter(|member| !next.lists(member.id)).cloned().collect();
        let next = if dropped.is_empty() { next } else { Arc::new(next.with_draining(dropped)) };
        let id = ViewId { decree, ..ViewId::of_layout(self.id.layout) };
        let (present, next) = (self.present.clone(), Some(Placed::new(next)));
        Self { id, present, next, change, reaped, page: None }
    }

    /// The single view of the next layout: what `finish` decrees. `None` if there is no change to finish. There are no
    /// reap rounds in a joint view, so all views of its era carry the same of those before.
    pub fn finished(&self) -> Option<Self> {
        let present = self.next.clone()?;
        let id = ViewId::of_layout(present.layout.number());
        let settled = self.change.settled.clone();
        let change = Change { settled, ..Change::default() };
        Some(Self { id, present, next: None, change, reaped: self.reaped, page: None })
    }

    /// The next view of the same era, which `raiser` makes without a decree: whoever goes by it has heard of it
    /// after it was raised, and that is all that is new.
    pub fn raised(&self, raiser: NodeId) -> Self {
        let reap = (self.id.reap.0 + 1, raiser);
        Self { id: ViewId { reap, ..self.id }, page: None, ..self.clone() }
    }

    /// The next view of the same era, with which `raiser` begins a reap round (T1): additions up to `floor`, or up to an
    /// earlier round's, are refused in it and in every later one.
    pub fn reaping(&self, raiser: NodeId, page: Arc<ReapPage>, floor: Option<AddId>) -> Self {
        let raised = self.raised(raiser);
        let floor = self.reaped.floor.max(floor);
        let reaped = Reaped { fence: Some(raised.id), floor };
        Self { reaped, page: Some(page), ..raised }
    }

    /// The same view for a node that takes no part in the reap round that it begins.
    #[must_use]
    pub fn without_page(&self) -> Self {
        Self { page: None, ..self.clone() }
    }

    /// The same view as one that carries what other rounds have left behind.
    #[must_use]
    pub fn carrying(&self, reaped: Reaped) -> Self {
        Self { reaped, ..self.clone() }
    }

    /// Puts a view together that another node described. Its number must fit its layouts.
    pub fn assemble(
        id: ViewId,
        (present, next): (Arc<Layout>, Option<Arc<Layout>>),
        change: Change,
        (reaped, page): (Reaped, Option<Arc<ReapPage>>),
    ) -> Option<Self> {
        let fits = id.layout == present.number()
            && next.as_ref().is_none_or(|next| next.number() == id.layout + 1)
            && next.is_some() == (id.decree > 0)
            && reaped.fence.is_none_or(|fence| fence <= id)
            && (page.is_none() || reaped.fence == Some(id));
        let next = next.map(Placed::new);
        fits.then(|| Self { id, present: Placed::new(present), next, change, reaped, page })
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

    /// Whether the operator has named this owner as lost (L3): what only it holds is given up, and nobody waits for it.
    pub fn names_lost(&self, node: NodeId) -> bool {
        self.change.accepted_losses.binary_search(&node).is_ok()
    }

    /// What reap rounds up to this view have left behind.
    pub fn reaped(&self) -> Reaped {
        self.reaped
    }

    /// What the reap round that begins with this view names; `None` in any other view.
    pub fn page(&self) -> Option<&Arc<ReapPage>> {
        self.page.as_ref()
    }

    /// Whether an object that was sent in that view is refused: a reap round has begun since (T1).
    pub fn is_fenced(&self, sent_in: ViewId) -> bool {
        self.reaped.fence.is_some_and(|fence| sent_in < fence)
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

    /// Everybody whom the view lists: the members of all its layouts and who drains in one, ascending.
    pub fn listed(&self) -> Vec<NodeId> {
        let all =
            self.layouts().flat_map(|layout| layout.members().iter().chain(layout.draining()));
        let mut listed: Vec<NodeId> = all.map(|member| member.id).collect();
        listed.sort_unstable();
        listed.dedup();
        listed
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
