//! From one layout to the next.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Command, Layout, LayoutError, Member, seats::Seats, sizes_of};
use crate::{
    bucket::{Bucket, BucketError, BucketName, Spread},
    id::{NodeId, Zone},
    key::Partitions,
};

impl Layout {
    /// Layout 1: the step from a layout without members to these.
    ///
    /// Buckets are taken with any `cancelled_bound`, because models use small ones. Errors: those of
    /// [`Layout::step`].
    pub fn form(
        members: impl IntoIterator<Item = Member>,
        partitions: Partitions,
        buckets: impl IntoIterator<Item = Bucket>,
    ) -> Result<Self, LayoutError> {
        let empty =
            Self::assemble(0, partitions, [Vec::new(), Vec::new()], Vec::new(), 0, Vec::new());
        let mut draft = Draft::of(&empty);
        for bucket in buckets {
            check(&bucket)?;
            draft.create(bucket)?;
        }
        for member in members {
            draft.join(member)?;
        }
        draft.finish(&empty, false)
    }

    /// The next layout: this one with all commands applied in order. Deterministic.
    ///
    /// Errors: a command that does not fit; a partition whose first `n` owners, for an `n` in use, span
    /// fewer zones than both `n` and the zones of this layout, or fewer than a bucket with spread `zone`
    /// has to write to, unless `accept_loss` (rule L0). Nobody here knows who is dead: whether a partition
    /// has enough living owners is for [`Plan::thin`](super::Plan::thin) to say.
    pub fn step(&self, commands: &[Command], accept_loss: bool) -> Result<Self, LayoutError> {
        let mut draft = Draft::of(self);
        for command in commands {
            draft.apply(command)?;
        }
        draft.finish(self, accept_loss)
    }

    /// Refuses to span fewer zones than the members of `before` lie in, or than a bucket with spread `zone` needs. Where that
    /// bucket was short of zones before and is no shorter now nothing is refused: else an accepted loss would hold up every
    /// later command, those that mend it included.
    pub(crate) fn check_zones(&self, before: &Self) -> Result<(), LayoutError> {
        for n in self.sizes() {
            let spans = || self.partitions.iter().map(|partition| self.zones_spanned(partition, n));
            let zones = spans().min().unwrap_or(0);
            let needed = usize::from(n).min(before.zones().len());
            if zones < needed {
                let partitions = spans().filter(|&zones| zones < needed).count();
                return Err(LayoutError::ZonesLost { n, partitions, zones, needed });
            }
            for bucket in self.buckets.iter().filter(|b| b.n == n && b.spread == Spread::Zone) {
                let w = bucket.w.max(bucket.strict_w);
                if zones < usize::from(w) && !before.is_as_short(bucket, zones) {
                    return Err(LayoutError::ZoneQuorum { bucket: bucket.name.clone(), w, zones });
                }
            }
        }
        Ok(())
    }

    /// Whether this bucket needs no more zones than it did in this layout, and its owners spanned `zones` here at most.
    fn is_as_short(&self, bucket: &Bucket, zones: usize) -> bool {
        let had = |was: &Bucket| was.w.max(was.strict_w) >= bucket.w.max(bucket.strict_w);
        let spans = self.partitions.iter().map(|partition| self.zones_spanned(partition, bucket.n));
        self.bucket(&bucket.name).is_some_and(had) && spans.min().is_some_and(|had| had <= zones)
    }
}

/// Whether a bucket's numbers fit together, but for `cancelled_bound`.
fn check(bucket: &Bucket) -> Result<(), LayoutError> {
    match bucket.check() {
        Ok(()) | Err(BucketError::CancelledBound(_)) => Ok(()),
        Err(error) => Err(LayoutError::Bucket(bucket.name.clone(), error)),
    }
}

/// A layout in the making: members and buckets are final, seats are still those of the layout before.
struct Draft {
    members: BTreeMap<NodeId, Member>,
    draining: BTreeMap<NodeId, Member>,
    buckets: BTreeMap<BucketName, Bucket>,
    /// Who has the seats of a member of the layout before: itself, or who replaced it.
    heirs: BTreeMap<NodeId, NodeId>,
    /// Whether nothing was asked for that changes seats or shares, but for joins.
    grows: bool,
}

impl Draft {
    fn of(layout: &Layout) -> Self {
        let by_id = |list: &[Member]| list.iter().map(|m| (m.id, m.clone())).collect();
        let (members, draining) = (by_id(&layout.members), by_id(&layout.draining));
        let buckets = layout.buckets.iter().map(|b| (b.name.clone(), b.clone())).collect();
        let heirs = layout.members.iter().map(|m| (m.id, m.id)).collect();
        Self { members, draining, buckets, heirs, grows: true }
    }

    fn apply(&mut self, command: &Command) -> Result<(), LayoutError> {
        self.grows &= match command {
            Command::Join(_)
            | Command::Forget(_)
            | Command::Address(..)
            | Command::BucketSet { .. } => true,
            Command::BucketCreate(new) => self.buckets.values().any(|bucket| bucket.n == new.n),
            Command::Leave(_)
            | Command::Remove(_)
            | Command::Replace { .. }
            | Command::Weight(..)
            | Command::Zone(..) => false,
        };
        match command {
            Command::Join(member) => self.join(member.clone())?,
            Command::Leave(id) | Command::Remove(id) => {
                self.take_out(*id)?;
                self.heirs.retain(|_, heir| heir != id);
            }
            Command::Replace { old, new } => self.replace(*old, new)?,
            Command::Forget(id) => {
                self.draining.remove(id).ok_or(LayoutError::NotDraining(*id))?;
            }
            Command::Weight(id, weight) => {
                check_weight(*id, *weight)?;
                self.member(*id)?.weight = *weight;
            }
            Command::Zone(id, zone) => self.member(*id)?.zone = zone.clone(),
            Command::Address(id, address) => self.member(*id)?.address = address.clone(),
            Command::BucketCreate(bucket) => {
                let name = || bucket.name.clone();
                bucket.check().map_err(|error| LayoutError::Bucket(name(), error))?;
                self.create(bucket.clone())?;
            }
            Command::BucketSet { name, r, w } => {
                let bucket = self.buckets.get_mut(name);
                let bucket = bucket.ok_or_else(|| LayoutError::NoSuchBucket(name.clone()))?;
                (bucket.r, bucket.w) = (*r, *w);
                check(bucket)?;
            }
        }
        Ok(())
    }

    fn member(&mut self, id: NodeId) -> Result<&mut Member, LayoutError> {
        self.members.get_mut(&id).ok_or(LayoutError::NotMember(id))
    }

    fn join(&mut self, member: Member) -> Result<(), LayoutError> {
        check_weight(member.id, member.weight)?;
        if self.members.contains_key(&member.id) {
            return Err(LayoutError::AlreadyMember(member.id));
        }
        if self.draining.contains_key(&member.id) {
            return Err(LayoutError::WasMember(member.id));
        }
        self.members.insert(member.id, member);
        Ok(())
    }

    fn take_out(&mut self, id: NodeId) -> Result<Member, LayoutError> {
        let member = self.members.remove(&id).ok_or(LayoutError::NotMember(id))?;
        // Who joins and goes in one step never was a member.
        if self.heirs.contains_key(&id) {
            self.draining.insert(id, member.clone());
        }
        Ok(member)
    }

    fn replace(&mut self, old: NodeId, new: &Member) -> Result<(), LayoutError> {
        if self.members.contains_key(&new.id) {
            return Err(LayoutError::AlreadyMember(new.id));
        }
        let old_zone = self.take_out(old)?.zone;
        if old_zone != new.zone {
            let (new, new_zone) = (new.id, new.zone.clone());
            return Err(LayoutError::ReplaceAcrossZones { old, old_zone, new, new_zone });
        }
        for heir in self.heirs.values_mut().filter(|heir| **heir == old) {
            *heir = new.id;
        }
        self.join(new.clone())
    }

    fn create(&mut self, bucket: Bucket) -> Result<(), LayoutError> {
        if self.buckets.contains_key(&bucket.name) {
            return Err(LayoutError::BucketExists(bucket.name));
        }
        self.buckets.insert(bucket.name.clone(), bucket);
        Ok(())
    }

    /// Gives all seats their owners, and checks the result.
    fn finish(self, before: &Layout, accept_loss: bool) -> Result<Layout, LayoutError> {
        if self.members.is_empty() {
            return Err(LayoutError::NoMembers);
        }
        if self.members.len() > Layout::MAX_MEMBERS {
            return Err(LayoutError::TooManyMembers(self.members.len()));
        }
        if self.buckets.is_empty() {
            return Err(LayoutError::NoBuckets);
        }
        let members: Vec<Member> = self.members.into_values().collect();
        let draining = self.draining.into_values().collect();
        let buckets: Vec<Bucket> = self.buckets.into_values().collect();
        let mut seats = seats_for(&members, before.partitions, &sizes_of(&buckets));
        keep_seats(&mut seats, &members, before, &self.heirs);
        let is_new = |(_, member): &(usize, &Member)| !self.heirs.contains_key(&member.id);
        let newcomers = members.iter().enumerate().filter(is_new).map(|(at, _)| at as u16);
        let grows = self.grows && !before.members.is_empty();
        let newcomers: Vec<u16> = newcomers.filter(|_| grows).collect();
        // A step that asks for nothing that bears on seats moves nothing: an abort is the layout before (L3).
        if !grows || !newcomers.is_empty() {
            seats.balance(&newcomers);
            seats.settle_order();
        }
        let width = seats.width() as u8;
        let (number, partitions) = (before.number + 1, before.partitions);
        let owners = seats.into_rows();
        let members = [members, draining];
        let layout = Layout::assemble(number, partitions, members, buckets, width, owners);
        if !accept_loss {
            layout.check_zones(before)?;
        }
        Ok(layout)
    }
}

fn check_weight(id: NodeId, weight: u32) -> Result<(), LayoutError> {
    let allowed = 1..=Member::MAX_WEIGHT;
    if allowed.contains(&weight) { Ok(()) } else { Err(LayoutError::Weight(id, weight)) }
}

fn seats_for(members: &[Member], partitions: Partitions, sizes: &[u8]) -> Seats {
    let mut zones: Vec<&Zone> = members.iter().map(|member| &member.zone).collect();
    zones.sort_unstable();
    zones.dedup();
    let zone = |member: &Member| zones.partition_point(|&zone| *zone < member.zone) as u16;
    let nodes: Vec<(NodeId, u32, u16)> =
        members.iter().map(|member| (member.id, member.weight, zone(member))).collect();
    Seats::new(&nodes, zones.len(), partitions.count(), sizes)
}

/// Seats those who stay (or their heirs) where they were. When partitions get fewer owners, those that
/// are left move up.
fn keep_seats(
    seats: &mut Seats,
    members: &[Member],
    before: &Layout,
    heirs: &BTreeMap<NodeId, NodeId>,
) {
    let index_now = |member: &Member| {
        let heir = heirs.get(&member.id)?;
        members.binary_search_by(|m| m.id.cmp(heir)).ok().map(|index| index as u16)
    };
    let now: Vec<Option<u16>> = before.members.iter().map(index_now).collect();
    let shrinks = usize::from(before.width) > seats.width();
    for partition in before.partitions.iter() {
        let stay = before.owner_indexes(partition).iter().map(|&owner| now[usize::from(owner)]);
        let stay = stay.enumerate().filter_map(|(rank, node)| Some((rank, node?)));
        for (place, (rank, node)) in stay.enumerate() {
            seats.seat(partition.0, if shrinks { place } else { rank }, node);
        }
    }
}
