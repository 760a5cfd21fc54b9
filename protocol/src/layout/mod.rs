//! Layouts: who owns what (paper §4.2, §4.3, §4.7 and §6.2, strategy 3).
//!
//! # What a layout is
//!
//! A [`Layout`] is an immutable, numbered value: the members with their zones and weights, the buckets,
//! and for every partition an ordered list of owners as long as the largest `n` in use. A bucket takes
//! the first `n` of the list. Whoever is not among them is a *fallback* of the partition, in an order of
//! its own, so that the slots of a dead node go to many others ([`Layout::preference_list`]).
//!
//! # How layouts follow each other
//!
//! The owners are not a function of the members: such rings either move far too much when somebody
//! leaves or load the members unevenly. Layout `k + 1` is a step from layout `k` and a list of commands
//! ([`Layout::step`]): what need not move stays. Layout 1 is the step from nothing ([`Layout::form`]).
//! The step is deterministic: members decide on the commands and each computes the same layout.
//!
//! A step works on seats (a partition and a rank) and on *levels*, one for each `n` in use, from the
//! smallest upwards. A level's load of a node is the number of partitions that have it among their first
//! `n` owners, and its *share* is what it should be: in proportion to the weights, but at most one slot a
//! partition for a node, at most one for a zone while there are at least `n` zones, and at least one for
//! each zone when there are fewer. For each level:
//!
//! 1. partitions that span too few zones get an owner of a missing zone;
//! 2. empty seats go to the relatively least loaded;
//! 3. who is below its share takes seats from the relatively most loaded; who lost one is reseated at a
//!    higher level if somebody else there can better spare it;
//! 4. who is above its share gives to the relatively least loaded;
//! 5. what is still uneven is settled by chains of moves (`a` gives to `b` gives to `c`).
//!
//! Two owners of a partition that belong to different levels can swap seats, which moves nothing for the
//! larger size; such swaps are tried before a new owner is. At last the order within each level, which
//! moves no data at all, is settled so that first owners (who coordinate) are even too, and stay so when
//! a node dies. Ties are broken by hash.
//!
//! # What this reaches
//!
//! Measured with Q = 1024, n = 3 and equal nodes, through joins from 3 to 100 and leaves back: no node
//! has more than its share rounded up, a join moves the joiner's share and nothing else, and with one
//! node dead no survivor coordinates more than 1.06 or holds more than 1.17 of its share. Several sizes
//! in one zone do as well. Unequal weights over zones cost up to 1.2 of a share in load where there are
//! hardly more nodes than owners, and joins then move up to 1.5 (with several sizes at once: more, when
//! many nodes have few slots). With `n = 1` there is nobody to share a dead node's work: one fallback
//! may get three or four of its ten partitions.
//!
//! # Limits
//!
//! At most [`Layout::MAX_MEMBERS`] members, weights from 1 to [`Member::MAX_WEIGHT`].

mod balance;
mod command;
mod error;
mod fallback;
mod order;
mod parts;
mod plan;
mod seats;
mod share;
mod step;

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::{
    bucket::{Bucket, BucketName, Conflict, Kind, Spread},
    id::{NodeId, Zone},
    key::{Partition, Partitions},
};

pub use self::{
    command::{Command, Member},
    error::LayoutError,
    parts::LayoutParts,
    plan::{Move, NodeLoad, Plan, SizePlan},
};

/// Who owns what: one numbered state of the cluster's membership and buckets.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Layout {
    number: u64,
    hash: LayoutHash,
    partitions: Partitions,
    /// By id.
    members: Arc<[Member]>,
    /// Former members that may still hold the only copy of something, by id.
    draining: Arc<[Member]>,
    /// By name.
    buckets: Arc<[Bucket]>,
    /// Owners for each partition: the largest `n` in use, or all members when they are fewer.
    width: u8,
    /// Indexes into `members`, `width` for each partition in order.
    owners: Arc<[u16]>,
}

/// A layout's fingerprint: xxh3-128 over everything in it. Two nodes that computed layouts with one
/// number and different hashes have a bug.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LayoutHash(pub u128);

impl Layout {
    /// The most members of a layout.
    pub const MAX_MEMBERS: usize = 1_024;

    /// Its number: 1 for the first, one more with every step.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its fingerprint.
    pub fn hash(&self) -> LayoutHash {
        self.hash
    }

    /// How many partitions the cluster has.
    pub fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// All members, by id.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member with this id.
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.index_of(id).map(|index| &self.members[index])
    }

    /// Former members that are not yet known to have handed everything off, by id (rule H3). They own
    /// nothing, take no requests and count nowhere; each is listed until it is drained or given up.
    pub fn draining(&self) -> &[Member] {
        &self.draining
    }

    /// Whether the node is a member, or a former one that drains: others are strangers here.
    pub fn lists(&self, id: NodeId) -> bool {
        self.member(id).is_some() || self.draining.binary_search_by(|m| m.id.cmp(&id)).is_ok()
    }

    /// The same layout, in which these nodes drain too.
    pub(crate) fn with_draining(&self, more: Vec<Member>) -> Self {
        let mut draining = self.draining.to_vec();
        draining.extend(more);
        draining.sort_unstable_by_key(|member| member.id);
        let layout = Self { draining: draining.into(), ..self.clone() };
        Self { hash: fingerprint(&layout), ..layout }
    }

    /// All buckets, by name.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The bucket with this name.
    pub fn bucket(&self, name: &BucketName) -> Option<&Bucket> {
        let index = self.buckets.binary_search_by(|bucket| bucket.name.cmp(name)).ok()?;
        Some(&self.buckets[index])
    }

    /// Each `n` that some bucket has, ascending.
    pub fn sizes(&self) -> Vec<u8> {
        sizes_of(&self.buckets)
    }

    /// The distinct zones of the members, in order.
    pub fn zones(&self) -> Vec<&Zone> {
        let mut zones: Vec<&Zone> = self.members.iter().map(|member| &member.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }

    /// The owners of a partition in order, as many as the largest `n` in use, or all members when they
    /// are fewer. A bucket takes its first `n`. Empty for a partition that the cluster does not have.
    pub fn owners(&self, partition: Partition) -> impl ExactSizeIterator<Item = NodeId> + Clone {
        self.owner_indexes(partition).iter().map(|&index| self.members[usize::from(index)].id)
    }

    /// [`Layout::owners`] as indexes into [`Layout::members`].
    pub fn owner_indexes(&self, partition: Partition) -> &[u16] {
        let width = usize::from(self.width);
        let start = partition.0 as usize * width;
        self.owners.get(start..start + width).unwrap_or(&[])
    }

    /// Whether a node is among the first `n` owners of a partition.
    pub fn owns(&self, node: NodeId, partition: Partition, n: u8) -> bool {
        self.owners(partition).take(usize::from(n)).any(|owner| owner == node)
    }

    /// Over how many distinct zones the first `n` owners of a partition are spread.
    pub fn zones_spanned(&self, partition: Partition, n: u8) -> usize {
        let owners = self.owner_indexes(partition);
        let owners = &owners[..owners.len().min(usize::from(n))];
        let zone = |index: u16| &self.members[usize::from(index)].zone;
        let is_new = |rank: usize| owners[..rank].iter().all(|&o| zone(o) != zone(owners[rank]));
        (0..owners.len()).filter(|&rank| is_new(rank)).count()
    }

    fn index_of(&self, id: NodeId) -> Option<usize> {
        self.members.binary_search_by(|member| member.id.cmp(&id)).ok()
    }

    /// A layout with its hash. `owners` has `width` valid indexes for each partition.
    fn assemble(
        number: u64,
        partitions: Partitions,
        [members, draining]: [Vec<Member>; 2],
        buckets: Vec<Bucket>,
        width: u8,
        owners: Vec<u16>,
    ) -> Self {
        let (members, draining) = (members.into(), draining.into());
        let (buckets, owners) = (buckets.into(), owners.into());
        let hash = LayoutHash(0);
        let layout = Self { number, hash, partitions, members, draining, buckets, width, owners };
        Self { hash: fingerprint(&layout), ..layout }
    }
}

/// Each `n` that some bucket has, ascending.
fn sizes_of(buckets: &[Bucket]) -> Vec<u8> {
    let mut sizes: Vec<u8> = buckets.iter().map(|bucket| bucket.n).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// xxh3-128 over all fields in order: integers little-endian, texts and lists behind their length as
/// eight bytes.
fn fingerprint(layout: &Layout) -> LayoutHash {
    let Layout { number, hash: _, partitions, members, draining, buckets, width, owners } = layout;
    let mut hasher = Xxh3::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&partitions.count().to_le_bytes());
    for list in [members, draining] {
        hasher.update(&(list.len() as u64).to_le_bytes());
        for member in list.iter() {
            hasher.update(&member.id.0.to_le_bytes());
            for text in [&member.name, &member.address, &member.zone.0] {
                update_text(&mut hasher, text);
            }
            hasher.update(&member.weight.to_le_bytes());
        }
    }
    hasher.update(&(buckets.len() as u64).to_le_bytes());
    for bucket in buckets.iter() {
        update_text(&mut hasher, bucket.name.as_str());
        let kind = match bucket.kind {
            Kind::Register => 0,
            Kind::Cart => 1,
        };
        let conflict = match bucket.conflict {
            Conflict::Siblings => 0,
            Conflict::LastWriteWins => 1,
        };
        let spread = match bucket.spread {
            Spread::Node => 0,
            Spread::Zone => 1,
        };
        let quorums = [bucket.strict_r, bucket.strict_w, bucket.r, bucket.w];
        hasher.update(&[bucket.n, kind, conflict, spread]);
        hasher.update(&quorums);
        hasher.update(&bucket.cancelled_bound.to_le_bytes());
    }
    hasher.update(&[*width]);
    for owner in owners.iter() {
        hasher.update(&owner.to_le_bytes());
    }
    LayoutHash(hasher.digest128())
}

fn update_text(hasher: &mut Xxh3, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

impl fmt::Display for Layout {
    /// `layout 3 (5 members, 1024 partitions)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (members, partitions) = (self.members.len(), self.partitions.count());
        write!(f, "layout {} ({members} members, {partitions} partitions)", self.number)
    }
}

impl fmt::Display for LayoutHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
