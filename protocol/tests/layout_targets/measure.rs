//! What a ring is worth: balance, movement, what a dead node leaves to the others. Rings of any make are
//! measured, so that bad ones can show that the targets can be missed.

use std::collections::{BTreeMap, BTreeSet};

use cartwheel_protocol::{
    id::{NodeId, Zone},
    key::Partition,
    layout::{Layout, Member},
};

/// A missed target, in words.
pub(crate) type Missed = String;

/// Who owns what, by whatever rule. Nodes are named by id.
#[derive(Clone)]
pub(crate) struct Ring {
    /// The nodes.
    pub(crate) members: Vec<Member>,
    /// For each size in use the preference list of every partition: owners, then fallbacks.
    pub(crate) lists: BTreeMap<u8, Vec<Vec<u64>>>,
}

/// What a dead node does to the survivors, at worst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failover {
    /// Greatest coordination load of a survivor by its share, requests being shared by the living owners.
    pub(crate) coordination: f64,
    /// The same when the first living owner coordinates.
    pub(crate) first_living: f64,
    /// Greatest number of slots of a survivor by its share.
    pub(crate) replicas: f64,
    /// Least part of the others that hold a slot of the dead node.
    pub(crate) spread: f64,
}

impl Ring {
    /// Owners and fallbacks of a layout.
    pub(crate) fn of(layout: &Layout) -> Self {
        Self::from_lists(layout, |n, p| layout.preference_list(p, n))
    }

    /// Owners of a layout alone: much faster, for all but [`Ring::failover`].
    pub(crate) fn of_owners(layout: &Layout) -> Self {
        Self::from_lists(layout, |n, p| layout.owners(p).take(usize::from(n)).collect())
    }

    fn from_lists(layout: &Layout, list: impl Fn(u8, Partition) -> Vec<NodeId>) -> Self {
        let ids = |n, p| list(n, p).into_iter().map(|id| id.0).collect();
        let lists = |n| (n, layout.partitions().iter().map(|p| ids(n, p)).collect());
        let lists = layout.sizes().into_iter().map(lists).collect();
        Self { members: layout.members().to_vec(), lists }
    }

    /// Owners of each partition in buckets of size `n`.
    pub(crate) fn owners(&self, n: u8) -> impl Iterator<Item = &[u64]> {
        let count = self.width(n);
        self.lists[&n].iter().map(move |list| &list[..count])
    }

    /// How many owners a partition has.
    pub(crate) fn width(&self, n: u8) -> usize {
        self.members.len().min(usize::from(n))
    }

    /// Slots of each node.
    pub(crate) fn loads(&self, n: u8) -> BTreeMap<u64, u32> {
        let mut loads: BTreeMap<u64, u32> = self.members.iter().map(|m| (m.id.0, 0)).collect();
        for owner in self.owners(n).flatten() {
            *loads.get_mut(owner).expect("owners are members") += 1;
        }
        loads
    }

    /// How many slots have another owner than in a ring before.
    pub(crate) fn moved_since(&self, before: &Self, n: u8) -> usize {
        let gained = |(old, new): (&[u64], &[u64])| new.iter().filter(|o| !old.contains(o)).count();
        before.owners(n).zip(self.owners(n)).map(gained).sum()
    }

    /// The feasible share of each node: worked out with floats by lowering and raising one level for all
    /// zones and one for each zone at its bound.
    pub(crate) fn shares(&self, n: u8) -> BTreeMap<u64, f64> {
        let partitions = self.lists[&n].len() as f64;
        let zones: BTreeSet<_> = self.members.iter().map(|m| &m.zone).collect();
        let size = self.width(n);
        let most = if zones.len() >= size { partitions } else { f64::INFINITY };
        let least = if zones.len() <= size { partitions } else { 0.0 };
        let share = |m: &Member, level: f64| (level * f64::from(m.weight)).min(partitions);
        let sum = |zone: &Zone, level| -> f64 {
            self.members.iter().filter(|m| m.zone == *zone).map(|m| share(m, level)).sum()
        };
        let solve = |reached: &dyn Fn(f64) -> bool| {
            let (mut low, mut high) = (0.0, partitions);
            for _ in 0..100 {
                let middle = (low + high) / 2.0;
                if reached(middle) { high = middle } else { low = middle }
            }
            high
        };
        let level = solve(&|level| {
            let total: f64 = zones.iter().map(|zone| sum(zone, level).clamp(least, most)).sum();
            total >= partitions * size as f64 - 1e-6
        });
        let level_of = |zone: &Zone| match sum(zone, level) {
            slots if slots > most => solve(&|level| sum(zone, level) >= most - 1e-6),
            slots if slots < least => solve(&|level| sum(zone, level) >= least - 1e-6),
            _ => level,
        };
        self.members.iter().map(|m| (m.id.0, share(m, level_of(&m.zone)))).collect()
    }

    /// Whether no node has more than `limit` times its share, or than its share rounded up.
    pub(crate) fn check_loads(&self, n: u8, limit: f64) -> Result<(), Missed> {
        let shares = self.shares(n);
        for (id, load) in self.loads(n) {
            let (share, load) = (shares[&id], f64::from(load));
            if load > (limit * share).max(whole(share)) {
                return Err(format!("n={n}: load of {id:x} is {load}, its share {share:.2}"));
            }
        }
        Ok(())
    }

    /// Whether not more than `limit` times a node's share, or than that rounded up, has moved.
    pub(crate) fn check_moves(
        &self,
        before: &Self,
        node: u64,
        n: u8,
        limit: f64,
    ) -> Result<(), Missed> {
        let sharing = if self.members.iter().any(|m| m.id.0 == node) { self } else { before };
        let share = sharing.shares(n)[&node];
        let moved = self.moved_since(before, n) as f64;
        if moved > (limit * share).max(whole(share)) {
            return Err(format!("n={n}: moves are {moved}, the share {share:.2}"));
        }
        Ok(())
    }

    /// Whether the owners of every partition span as many zones as there are.
    pub(crate) fn check_zones(&self, n: u8) -> Result<(), Missed> {
        let zone_of: BTreeMap<u64, &Zone> =
            self.members.iter().map(|m| (m.id.0, &m.zone)).collect();
        let zones: BTreeSet<&Zone> = zone_of.values().copied().collect();
        for (partition, owners) in self.owners(n).enumerate() {
            let spanned: BTreeSet<&Zone> = owners.iter().map(|owner| zone_of[owner]).collect();
            if spanned.len() < zones.len().min(owners.len()) {
                return Err(format!("n={n}: zones of q{partition} are {spanned:?}"));
            }
        }
        Ok(())
    }

    /// Whether the death of any one node is borne by the others as it should be, all shares being equal.
    /// Coordination is meant to be shared by the living owners.
    pub(crate) fn check_failover(&self, n: u8) -> Result<(), Missed> {
        let count = self.members.len();
        let failover = self.failover(n);
        if failover.coordination > 1.15 {
            return Err(format!("n={n}, {count} nodes: coordination {failover:?}"));
        }
        if failover.replicas > 1.25 {
            return Err(format!("n={n}, {count} nodes: replicas {failover:?}"));
        }
        // Half of the others; less when the dead node has hardly more slots than there are others.
        let slots = (self.lists[&n].len() * usize::from(n)) as f64 / count as f64;
        let enough = (0.4 * slots / (count - 1) as f64).min(0.5);
        if failover.spread < enough && usize::from(n) < count && count <= 50 {
            return Err(format!("n={n}, {count} nodes: spread {failover:?}"));
        }
        Ok(())
    }

    /// The same for coordination when it is always the first living owner's: whoever is first owner of
    /// its share rounded up may be second owner of one of the dead node's partitions.
    pub(crate) fn check_first_living(&self, n: u8) -> Result<(), Missed> {
        let (count, partitions) = (self.members.len() as f64, self.lists[&n].len() as f64);
        let one_more = (whole(partitions / count) + 1.0) * (count - 1.0) / partitions;
        let first_living = self.failover(n).first_living;
        if first_living > one_more.max(1.15) {
            return Err(format!("n={n}, {count} nodes: first living owner {first_living}"));
        }
        Ok(())
    }

    /// What the death of any one node does, all shares being equal.
    pub(crate) fn failover(&self, n: u8) -> Failover {
        let count = self.members.len();
        let (width, partitions) = (self.width(n), self.lists[&n].len() as f64);
        let index: BTreeMap<u64, usize> =
            self.members.iter().enumerate().map(|(index, m)| (m.id.0, index)).collect();
        // What each node carries while all live, and what it gets when another one (the row) dies.
        let mut carried = vec![[0.0; 3]; count];
        let mut inherited = vec![vec![[0.0; 3]; count]; count];
        for list in &self.lists[&n] {
            let list: Vec<usize> =
                list[..count.min(width + 1)].iter().map(|id| index[id]).collect();
            let (owners, heir) = (&list[..width], list.get(width));
            for &owner in owners {
                let part = 1.0 / width as f64;
                let first = if owner == owners[0] { 1.0 } else { 0.0 };
                add(&mut carried[owner], [part, first, 1.0]);
                let living: Vec<usize> = owners.iter().copied().filter(|&o| o != owner).collect();
                let others =
                    if living.is_empty() { heir.into_iter().copied().collect() } else { living };
                for &other in &others {
                    let more = 1.0 / others.len() as f64 - if width > 1 { part } else { 0.0 };
                    let first = if other == others[0] { first } else { 0.0 };
                    add(&mut inherited[owner][other], [more, first, 0.0]);
                }
                if let Some(&heir) = heir {
                    add(&mut inherited[owner][heir], [0.0, 0.0, 1.0]);
                }
            }
        }
        let survivors = (count - 1) as f64;
        let share = partitions / survivors;
        let mut worst =
            Failover { coordination: 0.0, first_living: 0.0, replicas: 0.0, spread: 1.0 };
        for (dead, inherited) in inherited.iter().enumerate() {
            for node in (0..count).filter(|&node| node != dead) {
                let mut total = carried[node];
                add(&mut total, inherited[node]);
                worst.coordination = worst.coordination.max(total[0] / share);
                worst.first_living = worst.first_living.max(total[1] / share);
                let replicas = total[2] / (share * survivors.min(f64::from(n)));
                worst.replicas = worst.replicas.max(replicas);
            }
            let heirs = inherited.iter().filter(|gets| gets[2] > 0.0).count();
            worst.spread = worst.spread.min(heirs as f64 / survivors);
        }
        worst
    }
}

fn add(total: &mut [f64; 3], more: [f64; 3]) {
    for (total, more) in total.iter_mut().zip(more) {
        *total += more;
    }
}

/// A share rounded up to whole slots, but for the error of floats.
pub(crate) fn whole(share: f64) -> f64 {
    (share - 1e-3).ceil().max(1.0)
}
