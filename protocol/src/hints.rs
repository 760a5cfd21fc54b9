//! Hints: what a node holds for others, and how it gets rid of it (paper §4.6; rules H1 to H3).
//!
//! A record that owes somebody is a hint. What a node that owns no copy takes in, it owes in the same step, also
//! when the object did not change: the copy was counted again, so it must be handed over again. An owner is
//! struck off only by an answer that names exactly what is held now. A record that owes nobody and is not
//! owned here is dropped, never before. Hints do not expire (H2).

use alloc::vec::Vec;

use crate::{
    bucket::{Bucket, Spread},
    env::Env,
    id::NodeId,
    key::{Key, Partition, RecordKey},
    mending,
    message::Body,
    object::{Digest, Object},
    paging::{self, PAGE_BYTES},
    record::{Owed, Record, Storage, Stored},
    rules::{Mutant, Rules},
    step::{Effect, Ticket, Timer},
    view::{View, ViewId},
};

/// What became of what a peer sent.
pub(crate) enum Absorbed {
    /// It is in the record.
    Held {
        /// Whether the record changed.
        changed: bool,
    },
    /// The bucket is not in this view, or not yet: nothing was taken in, and there is nothing to say.
    UnknownBucket,
}

/// Merges what a peer sent into the own record (V5), and owes it on if this node owns no copy (H1).
///
/// `slot` is the owner whose place the sender addressed.
pub(crate) fn absorb<S: Storage>(
    env: &mut Env<'_, S>,
    key: &RecordKey,
    object: &Object,
    slot: Option<NodeId>,
) -> Absorbed {
    let Some(bucket) = env.bucket(key) else { return Absorbed::UnknownBucket };
    let before = match mending::read(env, key) {
        Stored::Absent | Stored::Damaged => Record::default(),
        Stored::Found(record) => record,
    };
    let merged = before.object.merge(object, env.merging(bucket));
    let own = if env.keeps(Mutant::ExtendOwnFromMerge) {
        before.own
    } else {
        let mine = merged.seen().dots().iter().rev();
        let mut mine = mine.filter(|dot| dot.actor.incarnation == env.incarnation);
        before.own.or(mine.next().copied())
    };
    let unchanged = merged == before.object && before != Record::default();
    let owed = if unchanged && !env.keeps(Mutant::OwedLeftWhenUnchanged) {
        before.owed.clone()
    } else {
        owed_after(env, key, bucket, &before, slot)
    };
    if slot == Some(env.me) && !env.owns(key, bucket) && !env.keeps(Mutant::OwnerAddressOwesNobody)
    {
        // What owes nobody and is not owned here is dropped.
        env.write(key, &before.object, None);
        return Absorbed::Held { changed: true };
    }
    let damaged = mending::mark_after(env, key, bucket, &before);
    let record = Record { object: merged, own, owed, damaged };
    let changed = record != before;
    if changed {
        env.write(key, &before.object, Some(record));
    }
    Absorbed::Held { changed }
}

/// A reader saw that this copy lacks something.
pub(crate) fn repaired<S: Storage>(env: &mut Env<'_, S>, key: &RecordKey, object: &Object) {
    if !env.keeps(Mutant::RepairOverwrites) {
        let record = Record { object: object.clone(), ..Record::default() };
        let before = match env.storage.read(key) {
            Stored::Found(before) => before.object,
            Stored::Absent | Stored::Damaged => Object::new(),
        };
        return env.write(key, &before, Some(record));
    }
    absorb(env, key, object, None);
}

/// What a record owes after something was taken in: nobody at an owner. Elsewhere, beside what it owed before,
/// the owner whose slot was addressed, or all owners if none was or if it was this node's own.
pub(crate) fn owed_after<S: Storage>(
    env: &Env<'_, S>,
    key: &RecordKey,
    bucket: &Bucket,
    before: &Record,
    slot: Option<NodeId>,
) -> Option<Owed> {
    let (view, n) = (env.view, bucket.n);
    if view.owns(env.me, key.partition, n) {
        return None;
    }
    let is_new = *before == Record::default();
    let mut owners =
        if is_new { Vec::new() } else { owed_in(view, key, n, before, env.config.rules) };
    // In another zone the owner's copy would leave this one's zone without any, when it is dropped (Q3).
    let is_settled_by_one = |owner: &NodeId| {
        bucket.spread == Spread::Node
            || view.zone(*owner) == view.zone(env.me)
            || !env.keeps(Mutant::CrossZoneHintOwesOne)
    };
    let owns = |owner: &NodeId| view.owns(*owner, key.partition, n);
    match slot.filter(|owner| owns(owner) && is_settled_by_one(owner)) {
        Some(owner) => owners.push(owner),
        None => owners.extend(view.all_owners(key.partition, n)),
    }
    Owed::new(view.id(), owners)
}

/// Who is owed in this view by a node that owns no copy: what was counted in another view reads as all owners
/// of the present one. So does a record that owes nobody: only an owner's does, so it is from another view.
fn owed_in(view: &View, key: &RecordKey, n: u8, record: &Record, rules: Rules) -> Vec<NodeId> {
    match &record.owed {
        Some(owed) if owed.view == view.id() || !rules.keeps(Mutant::OwedWithoutView) => {
            owed.owners.to_vec()
        }
        Some(_) | None => view.all_owners(key.partition, n).collect(),
    }
}

/// Who is owed now: nobody by an owner.
pub(crate) fn owed_now<S: Storage>(
    env: &Env<'_, S>,
    key: &RecordKey,
    bucket: &Bucket,
    record: &Record,
) -> Vec<NodeId> {
    if env.owns(key, bucket) {
        Vec::new()
    } else {
        owed_in(env.view, key, bucket.n, record, env.config.rules)
    }
}

/// Handing hints over: a bounded scan with a cursor, one page a step.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Handoff {
    /// Where the next page begins; `None` at the start of a pass.
    cursor: Option<RecordKey>,
    /// The suspected owners that were sent a hint, in the order of the nodes: one a pass is enough to find them
    /// well again.
    probes: Vec<Probe>,
    /// Whether this pass has found a record that is not owned here.
    found: bool,
    /// The view in which a pass found none, at a node that is no member.
    drained: Option<ViewId>,
}

/// A hint that a suspected owner was sent. The next pass sends a later one: should the owner be unable to answer
/// one of them, others must not wait for it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Probe {
    owner: NodeId,
    key: RecordKey,
    /// Whether that was in this pass.
    in_this_pass: bool,
}

/// The pause between two pages of one pass, in milliseconds: foreground requests come in between.
const PAGE_GAP_MS: u32 = 5;

impl Handoff {
    /// A peer is back: what is held for it need not wait for the next pass. A pass that is under way goes on: began it anew with
    /// every peer that comes and goes, it might never end.
    pub(crate) fn hurry<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        if self.cursor.is_none() {
            self.start(env);
        }
    }

    /// Begins a pass now, in a new view.
    pub(crate) fn start<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        *self = Self { drained: self.drained, ..Self::default() };
        // A stranger's copies are refused: it is no member yet and holds none, or was given up.
        if env.view.lists(env.me) {
            env.set_timer(Timer::Handoff, 0);
        }
    }

    /// Hands over one page, and arms the timer for the next: soon within a pass, later after it.
    pub(crate) fn page<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        let mut from = self.cursor.take().or_else(|| next_foreign(env, Partition(0)));
        let (mut bytes, mut looked_at) = (0, 0);
        // The end of the run of partitions that is looked at: nothing but a look at all of them finds it.
        let mut run: Option<Option<Partition>> = None;
        for _ in 0..env.config.handoff_page {
            let Some(at) = from.take() else { break };
            let owned = match run {
                Some(owned) if owned.is_none_or(|owned| at.partition < owned) => owned,
                Some(_) | None => next_owned(env, at.partition),
            };
            run = Some(owned);
            from = match env.storage.scan(&at, owned, 1).pop() {
                Some((key, stored)) => {
                    // What is not sent was read all the same.
                    looked_at += paging::size_of(&stored);
                    bytes += self.hand_over(env, &key, stored);
                    Some(after(key))
                }
                None => owned.and_then(|owned| next_foreign(env, owned)),
            };
            if bytes.max(looked_at) >= PAGE_BYTES {
                break;
            }
        }
        self.cursor = from;
        if self.cursor.is_some() {
            return paging::pause(env, Timer::Handoff, PAGE_GAP_MS, bytes.max(looked_at));
        }
        let has_sent = self.found;
        self.end_pass(env);
        if !has_sent || env.keeps(Mutant::HintSentOnce) {
            env.set_timer(Timer::Handoff, env.config.handoff_every_ms);
        }
    }

    /// Ends a pass. A suspected owner for which it had no later hint than the pass before gets that one again, and
    /// the next pass begins with the first.
    fn end_pass<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        let view = env.view.id();
        let is_empty = !core::mem::take(&mut self.found);
        if is_empty && !env.view.is_member(env.me) && self.drained != Some(view) {
            self.drained = Some(view);
            env.effects.push(Effect::Sync(Ticket::Drained(view)));
        }
        for probe in core::mem::take(&mut self.probes) {
            if !env.is_suspected(probe.owner) {
                continue;
            }
            if probe.in_this_pass {
                self.probes.push(Probe { in_this_pass: false, ..probe });
            } else if let Stored::Found(record) = mending::read(env, &probe.key)
                && let Some(bucket) = env.bucket(&probe.key)
                && owed_now(env, &probe.key, bucket, &record).contains(&probe.owner)
            {
                send_hint(env, probe.owner, &probe.key, &record);
            }
        }
    }

    /// Sends one hint to whom it is owed, and says about how many bytes that was. Owners that are suspected get one
    /// hint a pass, the rest when they have answered.
    fn hand_over<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        key: &RecordKey,
        stored: Stored,
    ) -> usize {
        let stored = mending::judge(env, key, stored);
        if env.bucket(key).is_some_and(|bucket| env.owns(key, bucket)) {
            return 0;
        }
        self.found = true;
        let Stored::Found(record) = stored else { return 0 };
        let Some(bucket) = env.bucket(key) else { return 0 };
        if !env.view.is_member(env.me) && !env.keeps(Mutant::RemovedNodeDiscards) {
            env.write(key, &record.object, None);
            return 0;
        }
        let owners = owed_in(env.view, key, bucket.n, &record, env.config.rules);
        if owners.iter().any(|owner| env.is_suspected(*owner)) && !env.keeps(Mutant::ExpireHints) {
            env.write(key, &record.object, None);
            return 0;
        }
        let mut bytes = 0;
        for owner in owners {
            if !env.is_suspected(owner) || self.probes(owner, key) {
                bytes += record.object.size_hint();
                send_hint(env, owner, key, &record);
            }
        }
        bytes
    }

    /// Whether a suspected owner is sent this hint: one that the pass before did not come to.
    fn probes(&mut self, owner: NodeId, key: &RecordKey) -> bool {
        let probe = Probe { owner, key: key.clone(), in_this_pass: true };
        match self.probes.binary_search_by_key(&owner, |probe| probe.owner) {
            Err(at) => self.probes.insert(at, probe),
            Ok(at) if !self.probes[at].in_this_pass && self.probes[at].key < *key => {
                self.probes[at] = probe;
            }
            Ok(_) => return false,
        }
        true
    }
}

fn send_hint<S: Storage>(env: &mut Env<'_, S>, to: NodeId, key: &RecordKey, record: &Record) {
    let digest = record.object.digest(&key.key);
    let (place, key, object) = (key.partition, key.key.clone(), record.object.clone());
    env.send(to, place, Body::Handoff { key, object, digest });
}

/// The start of the first partition from `from` on of which this node does not own every key.
fn next_foreign<S: Storage>(env: &Env<'_, S>, from: Partition) -> Option<RecordKey> {
    let mut partitions = (from.0..env.view.partitions().count()).map(Partition);
    partitions.find(|partition| !owns_all(env, *partition)).map(RecordKey::start_of)
}

/// The least partition from `from` on in which there can be no hint: what it owns is not read in search of one.
fn next_owned<S: Storage>(env: &Env<'_, S>, from: Partition) -> Option<Partition> {
    let mut partitions = (from.0..env.view.partitions().count()).map(Partition);
    partitions.find(|partition| owns_all(env, *partition))
}

/// Whether the node owns the partition's keys of every bucket: no record in it can be a hint.
fn owns_all<S: Storage>(env: &Env<'_, S>, partition: Partition) -> bool {
    let least = env.view.layout().buckets().iter().map(|bucket| bucket.n).min();
    least.is_some_and(|n| env.view.owns(env.me, partition, n))
}

/// The least record key above `key`.
pub(crate) fn after(key: RecordKey) -> RecordKey {
    let mut name = key.key.name.to_vec();
    name.push(0);
    RecordKey { partition: key.partition, key: Key { bucket: key.key.bucket, name: name.into() } }
}

/// Somebody hands over what it holds for this node: it is merged and acknowledged at the barrier.
pub(crate) fn receive<S: Storage>(
    env: &mut Env<'_, S>,
    from: NodeId,
    key: RecordKey,
    object: &Object,
    digest: Digest,
) {
    let owner = env.bucket(&key).is_some_and(|bucket| env.owns(&key, bucket));
    let absorbed = absorb(env, &key, object, None);
    let RecordKey { partition, key } = key;
    if let Absorbed::Held { changed } = absorbed {
        let ok = Body::HandoffOk { key, digest, owner };
        env.acknowledge(from, env.message(partition, ok), changed);
    }
}

/// An owner holds durably what was handed over. It is struck off if that is exactly what is held now, in the
/// present view; the record goes when it owes nobody any more (H1).
pub(crate) fn settle<S: Storage>(
    env: &mut Env<'_, S>,
    from: NodeId,
    key: &RecordKey,
    digest: Digest,
    owner: bool,
    view: ViewId,
) {
    let (Stored::Found(record), Some(bucket)) = (mending::read(env, key), env.bucket(key)) else {
        return;
    };
    if env.owns(key, bucket) {
        return;
    }
    if !env.keeps(Mutant::DeleteHintUnconditionally) {
        env.write(key, &record.object, None);
        return;
    }
    let in_view = view == env.view.id() && env.view.owns(from, key.partition, bucket.n);
    let settles = owner && in_view;
    let misfits = !settles && env.keeps(Mutant::AnySettles);
    if misfits || record.object.digest(&key.key) != digest {
        return;
    }
    let owed = owed_in(env.view, key, bucket.n, &record, env.config.rules);
    let settles_all = !settles || !env.keeps(Mutant::DropAfterFirstOwnerAcks);
    let left = owed.into_iter().filter(|owner| *owner != from && !settles_all);
    let left = Owed::new(env.view.id(), left);
    let object = record.object.clone();
    let record = left.map(|left| Record { owed: Some(left), ..record });
    env.write(key, &object, record);
}
