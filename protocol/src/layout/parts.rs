//! A layout in parts: what is written of it, and how it is put together again from what was read.

use alloc::vec::Vec;

use super::{Layout, LayoutHash, Member, fingerprint, sizes_of};
use crate::{
    bucket::{Bucket, BucketError},
    key::Partitions,
};

/// All that a layout consists of. Any values: [`Layout::from_parts`] says whether they are one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayoutParts {
    /// Its number, from 1.
    pub number: u64,
    /// Its fingerprint, which must fit the rest.
    pub hash: LayoutHash,
    /// How many partitions the cluster has.
    pub partitions: Partitions,
    /// By id.
    pub members: Vec<Member>,
    /// By id; nobody is a member too.
    pub draining: Vec<Member>,
    /// By name.
    pub buckets: Vec<Bucket>,
    /// Indexes into `members`, without repetition for each partition: as many for each as the largest `n` in use, or
    /// as there are members if they are fewer.
    pub owners: Vec<u16>,
}

impl Layout {
    /// Its parts.
    pub fn to_parts(&self) -> LayoutParts {
        LayoutParts {
            number: self.number,
            hash: self.hash,
            partitions: self.partitions,
            members: self.members.to_vec(),
            draining: self.draining.to_vec(),
            buckets: self.buckets.to_vec(),
            owners: self.owners.to_vec(),
        }
    }

    /// The owners of all partitions in order, as indexes into [`Layout::members`].
    pub(crate) fn all_owner_indexes(&self) -> &[u16] {
        &self.owners
    }

    /// The layout with these parts, or what is wrong with them.
    pub fn from_parts(parts: LayoutParts) -> Result<Self, &'static str> {
        let LayoutParts { number, hash, partitions, members, draining, buckets, owners } = parts;
        if !(1..u64::MAX).contains(&number) {
            return Err("a layout's number is zero or leaves no room for the next");
        }
        check_members(&members, &draining)?;
        check_buckets(&buckets)?;
        let largest = sizes_of(&buckets).last().copied().unwrap_or(0);
        let width = usize::from(largest).min(members.len());
        if owners.len() != width * partitions.count() as usize {
            return Err("a layout has too few or too many owners");
        }
        for row in owners.chunks_exact(width) {
            let is_repeated = |at: usize| row[..at].contains(&row[at]);
            if row.iter().any(|owner| usize::from(*owner) >= members.len()) {
                return Err("an owner is not a member of the layout");
            }
            if (0..width).any(is_repeated) {
                return Err("a partition has an owner twice");
            }
        }
        let members = members.into();
        let (draining, buckets, owners) = (draining.into(), buckets.into(), owners.into());
        let width = width as u8;
        let layout = Self { number, hash, partitions, members, draining, buckets, width, owners };
        if fingerprint(&layout) == hash {
            Ok(layout)
        } else {
            Err("a layout's hash does not fit what it says")
        }
    }
}

fn check_members(members: &[Member], draining: &[Member]) -> Result<(), &'static str> {
    if members.is_empty() || members.len() > Layout::MAX_MEMBERS {
        return Err("a layout has no member or too many");
    }
    if !members.is_sorted_by(|a, b| a.id < b.id) || !draining.is_sorted_by(|a, b| a.id < b.id) {
        return Err("the members of a layout are not in ascending order");
    }
    let is_member = |id| members.binary_search_by(|member| member.id.cmp(&id)).is_ok();
    if draining.iter().any(|member| is_member(member.id)) {
        return Err("a member of a layout drains");
    }
    let allowed = 1..=Member::MAX_WEIGHT;
    if members.iter().chain(draining).any(|member| !allowed.contains(&member.weight)) {
        return Err("a member's weight is zero or too large");
    }
    Ok(())
}

fn check_buckets(buckets: &[Bucket]) -> Result<(), &'static str> {
    if buckets.is_empty() || !buckets.is_sorted_by(|a, b| a.name < b.name) {
        return Err("a layout has no bucket, or they are not in ascending order");
    }
    let fits =
        |bucket: &Bucket| matches!(bucket.check(), Ok(()) | Err(BucketError::CancelledBound(_)));
    if buckets.iter().all(fits) { Ok(()) } else { Err("a bucket's numbers do not fit together") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bucket::Kind,
        id::{NodeId, Zone},
    };

    fn layout() -> Layout {
        let member = |id: u64| Member {
            id: NodeId(id),
            name: "n".into(),
            address: "host:1".into(),
            zone: Zone("z".into()),
            weight: 1,
        };
        let partitions = Partitions::new(8).expect("a power of two");
        Layout::form((1..=4).map(member), partitions, Bucket::built_in()).expect("it forms")
    }

    #[test]
    fn a_layout_is_put_together_from_its_parts() {
        assert_eq!(Layout::from_parts(layout().to_parts()), Ok(layout()));
    }

    #[test]
    fn parts_that_are_no_layout_are_refused_and_named() {
        let refused = |spoil: fn(&mut LayoutParts)| {
            let mut parts = layout().to_parts();
            spoil(&mut parts);
            Layout::from_parts(parts).expect_err("the parts are spoilt")
        };
        assert!(refused(|parts| parts.number = 0).contains("number"));
        assert!(refused(|parts| parts.number = 9).contains("hash"));
        assert!(refused(|parts| parts.hash.0 ^= 1).contains("hash"));
        assert!(refused(|parts| parts.members.clear()).contains("no member"));
        assert!(refused(|parts| parts.members.swap(0, 1)).contains("ascending"));
        assert!(refused(|parts| parts.members[0].weight = 0).contains("weight"));
        assert!(refused(|parts| parts.draining = parts.members.clone()).contains("drains"));
        assert!(refused(|parts| parts.buckets.clear()).contains("no bucket"));
        assert!(refused(|parts| parts.buckets.swap(0, 1)).contains("ascending"));
        assert!(refused(|parts| parts.buckets[0].kind = Kind::Register).contains("hash"));
        assert!(refused(|parts| parts.buckets[0].w = 0).contains("do not fit"));
        assert!(refused(|parts| parts.owners.truncate(23)).contains("too few"));
        assert!(refused(|parts| parts.owners[0] = 4).contains("not a member"));
        assert!(refused(|parts| parts.owners[0] = parts.owners[1]).contains("twice"));
    }
}
