//! The replicated object and its merge: the heart of the promise.
//!
//! An object is what was written to a key, as far as one copy knows: the entries that are live, each under
//! the dot of the write that made it; `seen`, a version vector of every write that the copy ever took in;
//! and, for carts, the add_ids that were cancelled. An entry that `seen` covers and that is not there was
//! replaced or removed. That is all that [`Object::merge`] needs to tell *new here* from *removed there*.

use alloc::{sync::Arc, vec::Vec};
use core::{cmp::Ordering, fmt};

use xxhash_rust::xxh3::Xxh3;

use crate::{
    bucket::{Bucket, Conflict},
    id::{AddId, PutId},
    key::Key,
    rules::{Mutant, Rules},
    version::{Actor, Dot, VersionVector},
};

/// What all copies of a key hold and exchange. Immutable; cloning shares.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Object {
    seen: VersionVector,
    entries: Arc<[(Dot, Entry)]>,
    cancelled: Arc<[AddId]>,
}

/// One live write.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Entry {
    /// A register's value.
    Value(Value),
    /// An addition to a cart.
    Addition(Addition),
}

/// A register's value, opaque to the store.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Value {
    /// The client's id of the put, the same in every retry.
    pub put_id: PutId,
    /// When the driver took the put, in microseconds of its wall clock. It orders the puts of a
    /// last-write-wins bucket and nothing else.
    pub time_us: u64,
    /// At most 1 MiB.
    pub bytes: Arc<[u8]>,
}

/// One addition of an article to a cart.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Addition {
    /// The client's id of the addition, the same in every retry.
    pub add_id: AddId,
    /// The article.
    pub sku: Arc<str>,
    /// How many of it: 1 to 1,000,000.
    pub quantity: u32,
}

/// What a merge must know of the bucket, and which rules hold.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Merging {
    conflict: Conflict,
    cancelled_bound: usize,
    rules: Rules,
}

/// The hash of a key and its object, the same wherever the copies are equal: xxh3-128 over a fixed
/// little-endian layout. It is a tree's leaf and what the acknowledgement of a hand-off echoes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub u128);

impl Merging {
    /// How objects of `bucket` merge.
    pub fn of(bucket: &Bucket, rules: Rules) -> Self {
        let cancelled_bound = bucket.cancelled_bound as usize;
        Self { conflict: bucket.conflict, cancelled_bound, rules }
    }
}

impl Default for Object {
    fn default() -> Self {
        Self::new()
    }
}

impl Object {
    /// The object of a key that was never written.
    pub fn new() -> Self {
        Self { seen: VersionVector::default(), entries: Arc::from([]), cancelled: Arc::from([]) }
    }

    /// An object from its parts, as decoded: sorts what must be sorted. The entries' dots must be distinct.
    pub fn from_parts(
        seen: VersionVector,
        mut entries: Vec<(Dot, Entry)>,
        mut cancelled: Vec<AddId>,
    ) -> Self {
        entries.sort_unstable_by_key(|(dot, _)| *dot);
        entries.dedup_by_key(|(dot, _)| *dot);
        cancelled.sort_unstable();
        cancelled.dedup();
        Self { seen, entries: entries.into(), cancelled: cancelled.into() }
    }

    /// Every write that this copy ever took in.
    pub fn seen(&self) -> &VersionVector {
        &self.seen
    }

    /// The live entries, sorted by dot.
    pub fn entries(&self) -> &[(Dot, Entry)] {
        &self.entries
    }

    /// The add_ids that were cancelled, sorted, the newest K of them.
    pub fn cancelled(&self) -> &[AddId] {
        &self.cancelled
    }

    /// Whether nothing was ever written here.
    pub fn is_new(&self) -> bool {
        self.seen.is_empty() && self.cancelled.is_empty()
    }

    /// The distinct values of a register: entries with the same `put_id` are one.
    pub fn values(&self) -> Vec<&Value> {
        let mut values: Vec<&Value> = Vec::new();
        for (_, entry) in self.entries.iter() {
            if let Entry::Value(value) = entry
                && !values.iter().any(|known| known.put_id == value.put_id)
            {
                values.push(value);
            }
        }
        values
    }

    /// The distinct additions of a cart, by add_id: one that was coordinated twice appears once.
    pub fn additions(&self) -> Vec<&Addition> {
        let mut additions: Vec<&Addition> = self.entries.iter().filter_map(addition).collect();
        additions.sort_unstable_by_key(|addition| addition.add_id);
        additions.dedup_by_key(|addition| addition.add_id);
        additions
    }

    /// Whether an addition is live or was cancelled: coordinating it once more makes no new dot (C1).
    pub fn knows(&self, add_id: AddId) -> bool {
        self.cancelled.binary_search(&add_id).is_ok()
            || self.entries.iter().filter_map(addition).any(|live| live.add_id == add_id)
    }

    /// The object after a put: what `context` covers is replaced by `value`, what it does not stays (V4).
    #[must_use]
    pub fn put(&self, merging: Merging, context: &VersionVector, dot: Dot, value: Value) -> Self {
        let kept = self.entries.iter().filter(|(live, _)| {
            merging.rules.keeps(Mutant::PutOverwritesLocal) && !context.covers(*live)
        });
        let entries = insert(kept.cloned(), self.entries.len(), (dot, Entry::Value(value)));
        let seen = self.seen.join(context).with(dot);
        Self { seen, entries, cancelled: self.cancelled.clone() }.settled(merging)
    }

    /// The object after a delete: what `context` covers is gone, what it does not stays.
    #[must_use]
    pub fn delete(&self, context: &VersionVector) -> Self {
        let kept = self.entries.iter().filter(|(live, _)| !context.covers(*live));
        let entries = kept.cloned().collect();
        Self { seen: self.seen.join(context), entries, cancelled: self.cancelled.clone() }
    }

    /// The object after a cart operation: the additions named in `cancel` are gone for good, `add` is there
    /// under its dot. The caller has asked [`Object::knows`] before it made a dot.
    #[must_use]
    pub fn change(&self, merging: Merging, cancel: &[AddId], add: Option<(Dot, Addition)>) -> Self {
        let mut cancel = cancel.to_vec();
        cancel.sort_unstable();
        cancel.dedup();
        let remembered = if merging.rules.keeps(Mutant::ForgetCancelled) {
            union(&self.cancelled, &Arc::from(&cancel[..]))
        } else {
            self.cancelled.clone()
        };
        let untouched = self.entries.iter().all(|entry| !is_named(entry, &cancel));
        let kept = self.entries.iter().filter(|entry| !is_named(entry, &cancel)).cloned();
        let (seen, entries) = match add {
            Some((dot, added)) => {
                let entry = (dot, Entry::Addition(added));
                (self.seen.with(dot), insert(kept, self.entries.len(), entry))
            }
            None if untouched => (self.seen.clone(), self.entries.clone()),
            None => (self.seen.clone(), kept.collect()),
        };
        Self { seen, entries, cancelled: newest(remembered, merging.cancelled_bound) }
    }

    /// What both copies know together (V5: the only way in which a replica changes by what others send).
    ///
    /// An entry stays if both hold its dot, or if one holds it and the other's `seen` does not cover it.
    /// Commutative, associative, idempotent and monotone, as long as `cancelled` is within its bound; it never
    /// fails. (In a last-write-wins bucket with deletes it is not associative; replicas that exchange still
    /// become equal.) Where nothing is new the result shares the memory of `self`.
    #[must_use]
    pub fn merge(&self, other: &Self, merging: Merging) -> Self {
        if !merging.rules.keeps(Mutant::LastWriteWins) {
            return self.max(other).clone();
        }
        if self == other {
            return self.clone();
        }
        let all_cancelled = union(&self.cancelled, &other.cancelled);
        let cancelled = newest(all_cancelled.clone(), merging.cancelled_bound);
        let dropped =
            if merging.rules.keeps(Mutant::CutBeforeDrop) { &all_cancelled } else { &cancelled };
        let entries = self.merge_entries(other, dropped);
        Self { seen: self.seen.join(&other.seen), entries, cancelled }.settled(merging)
    }

    fn merge_entries(&self, other: &Self, cancelled: &[AddId]) -> Arc<[(Dot, Entry)]> {
        let mut covered_here = Cover(self.seen.dots());
        let mut covered_there = Cover(other.seen.dots());
        let mut merged: Vec<(Dot, Entry)> =
            Vec::with_capacity(self.entries.len() + other.entries.len());
        let mut same = true;
        let (mut left, mut right) = (&self.entries[..], &other.entries[..]);
        loop {
            let order = match (left, right) {
                ([], []) => break,
                ([_, ..], []) => Ordering::Less,
                ([], [_, ..]) => Ordering::Greater,
                ([a, ..], [b, ..]) => a.0.cmp(&b.0),
            };
            let (entry, stays) = match order {
                Ordering::Less => (&left[0], !covered_there.covers(left[0].0)),
                Ordering::Greater => (&right[0], !covered_here.covers(right[0].0)),
                Ordering::Equal => (&left[0], true),
            };
            let stays = stays && !is_named(entry, cancelled);
            same &= stays == order.is_le();
            if stays {
                merged.push(entry.clone());
            }
            left = if order.is_le() { &left[1..] } else { left };
            right = if order.is_ge() { &right[1..] } else { right };
        }
        if same { self.entries.clone() } else { merged.into() }
    }

    /// In a last-write-wins bucket only the entry of the latest time, ties by put_id, stays live.
    fn settled(self, merging: Merging) -> Self {
        if merging.conflict == Conflict::Siblings || self.entries.len() < 2 {
            return self;
        }
        let stamp = |entry: &(Dot, Entry)| match &entry.1 {
            Entry::Value(value) => Some((value.time_us, value.put_id)),
            Entry::Addition(_) => None,
        };
        let latest = self.entries.iter().max_by_key(|entry| stamp(entry)).cloned();
        Self { entries: latest.into_iter().collect(), ..self }
    }

    /// The object whose `seen` names at most `limit` actors, and those of its live entries: the paper's truncation.
    ///
    /// What is dropped makes this copy forget that it saw a write, so that a copy which still holds what was replaced
    /// brings it back. No merge loses anything by it: an entry is dropped only for what is covered, and less is. The
    /// paper drops the entry of the oldest time; there are no times in here, and the first in the order of the
    /// actors goes: the oldest where runs are numbered, any where their numbers are random.
    #[must_use]
    pub(crate) fn truncated(self, limit: usize) -> Self {
        let mut excess = self.seen.len().saturating_sub(limit);
        let kept = self.seen.dots().iter().copied().filter(|dot| {
            let drops = excess > 0 && !self.is_live(dot.actor);
            excess -= usize::from(drops);
            !drops
        });
        let seen = VersionVector::from_dots(kept);
        Self { seen, ..self }
    }

    /// Whether an entry that the actor made is live.
    pub(crate) fn is_live(&self, actor: Actor) -> bool {
        self.entries.iter().any(|(dot, _)| dot.actor == actor)
    }

    /// The object without what a reap round takes away: the cancelled add_ids at or below the floor, and those of the
    /// actors of which nothing is live.
    #[must_use]
    pub(crate) fn reaped(&self, floor: Option<AddId>, actors: &[Actor]) -> Self {
        let goes = |dot: &Dot| actors.contains(&dot.actor) && !self.is_live(dot.actor);
        let seen = self.seen.dots().iter().copied().filter(|dot| !goes(dot));
        let cancelled = self.cancelled.iter().copied().filter(|add_id| Some(*add_id) > floor);
        let (seen, cancelled) = (VersionVector::from_dots(seen), cancelled.collect());
        Self { seen, entries: self.entries.clone(), cancelled }
    }

    /// The object reduced to the one entry of `dot`: what the mutant of V3 replicates.
    pub(crate) fn only(&self, dot: Dot) -> Self {
        let entries: Arc<[(Dot, Entry)]> =
            self.entries.iter().filter(|(live, _)| *live == dot).cloned().collect();
        Self { seen: VersionVector::from_dots([dot]), entries, cancelled: self.cancelled.clone() }
    }

    /// About how many bytes it takes, encoded: a little more.
    pub(crate) fn size_hint(&self) -> usize {
        let entries = self.entries.iter().map(|(_, entry)| match entry {
            Entry::Value(value) => 48 + value.bytes.len(),
            Entry::Addition(added) => 40 + added.sku.len(),
        });
        64 + 20 * self.seen.len() + entries.sum::<usize>() + 16 * self.cancelled.len()
    }

    /// The digest of this object under `key`.
    pub fn digest(&self, key: &Key) -> Digest {
        let mut hasher = Xxh3::new();
        hasher.update(&key.hash128().to_le_bytes());
        hasher.update(&(self.seen.len() as u64).to_le_bytes());
        for dot in self.seen.dots() {
            hash_dot(&mut hasher, *dot);
        }
        hasher.update(&(self.entries.len() as u64).to_le_bytes());
        for (dot, entry) in self.entries.iter() {
            hash_dot(&mut hasher, *dot);
            match entry {
                Entry::Value(value) => {
                    hasher.update(&value.put_id.0.to_le_bytes());
                    hasher.update(&value.time_us.to_le_bytes());
                    hasher.update(&(value.bytes.len() as u64).to_le_bytes());
                    hasher.update(&value.bytes);
                }
                Entry::Addition(added) => {
                    hasher.update(&added.add_id.0.to_le_bytes());
                    hasher.update(&added.quantity.to_le_bytes());
                    hasher.update(&(added.sku.len() as u64).to_le_bytes());
                    hasher.update(added.sku.as_bytes());
                }
            }
        }
        for add_id in self.cancelled.iter() {
            hasher.update(&add_id.0.to_le_bytes());
        }
        Digest(hasher.digest128())
    }
}

/// Asks a version vector about dots in ascending order, walking it once.
struct Cover<'a>(&'a [Dot]);

impl Cover<'_> {
    fn covers(&mut self, dot: Dot) -> bool {
        while let [first, rest @ ..] = self.0
            && first.actor < dot.actor
        {
            self.0 = rest;
        }
        self.0.first().is_some_and(|first| first.actor == dot.actor && dot.counter <= first.counter)
    }
}

fn addition((_, entry): &(Dot, Entry)) -> Option<&Addition> {
    match entry {
        Entry::Addition(addition) => Some(addition),
        Entry::Value(_) => None,
    }
}

fn is_named(entry: &(Dot, Entry), cancelled: &[AddId]) -> bool {
    addition(entry).is_some_and(|added| cancelled.binary_search(&added.add_id).is_ok())
}

fn insert(
    kept: impl Iterator<Item = (Dot, Entry)>,
    at_most: usize,
    new: (Dot, Entry),
) -> Arc<[(Dot, Entry)]> {
    let mut entries = Vec::with_capacity(at_most + 1);
    entries.extend(kept);
    let at = entries.partition_point(|(dot, _)| *dot < new.0);
    entries.insert(at, new);
    entries.into()
}

/// The union of two sorted sets; shares the memory of `a` where `b` brings nothing.
fn union(a: &Arc<[AddId]>, b: &Arc<[AddId]>) -> Arc<[AddId]> {
    if Arc::ptr_eq(a, b) || b.iter().all(|id| a.binary_search(id).is_ok()) {
        return a.clone();
    }
    if a.is_empty() {
        return b.clone();
    }
    let mut all = Vec::with_capacity(a.len() + b.len());
    all.extend_from_slice(a);
    all.extend_from_slice(b);
    all.sort();
    all.dedup();
    all.into()
}

fn newest(ids: Arc<[AddId]>, bound: usize) -> Arc<[AddId]> {
    if ids.len() <= bound { ids } else { Arc::from(&ids[ids.len() - bound..]) }
}

fn hash_dot(hasher: &mut Xxh3, dot: Dot) {
    hasher.update(&dot.actor.incarnation.0.to_le_bytes());
    hasher.update(&dot.actor.n.to_le_bytes());
    hasher.update(&dot.counter.to_le_bytes());
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "{}={}", value.put_id, value.bytes.escape_ascii()),
            Self::Addition(added) => write!(f, "{}={}×{}", added.add_id, added.sku, added.quantity),
        }
    }
}

impl fmt::Display for Object {
    /// `{i1.1:2 a1=milk×2; seen [i1.1:2]; cancelled [a0]}`; empty parts are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (dot, entry)) in self.entries.iter().enumerate() {
            write!(f, "{}{dot} {entry}", if at == 0 { "" } else { ", " })?;
        }
        write!(f, "{}seen {}", if self.entries.is_empty() { "" } else { "; " }, self.seen)?;
        if !self.cancelled.is_empty() {
            f.write_str("; cancelled [")?;
            for (at, add_id) in self.cancelled.iter().enumerate() {
                write!(f, "{}{add_id}", if at == 0 { "" } else { " " })?;
            }
            f.write_str("]")?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:08x}", self.0 >> 96)
    }
}
