//! Damaged records: marked where they are found, and mended from other owners (rule W1).
//!
//! A record whose checksum fails is never "not found". Whoever finds one that it owns puts a *mark* in its place,
//! in the step that finds it: a record that holds nothing and says in which view the damage was found. While it
//! is marked, a record answers readers and pages with an error. What it takes meanwhile is merged into it and
//! acknowledged as ever. A damaged record that the node does not own is a lost copy: it is removed, for there is
//! nobody to mend it from but those to whom it was owed.
//!
//! A mark asks for a newer view. In that view the record is mended by merging what so many other undamaged owners
//! in the older layout hold, as they answer in such a view too, that every strict write that counted the damaged copy
//! is among it. Were answers of the view in which the damage was found enough, a write could be acknowledged afterwards with
//! what the damaged copy had answered before, and no owner that was merged from would hold it. For the same reason a
//! strict write counts answers of exactly its view. Where nobody else owns the key nothing can mend it:
//! it answers an error until its loss is accepted ([`crate::accepting`]).
//!
//! An owner that the operator has named as lost in the change under way (L3) never counts here either, and is not waited
//! for: where so many are named that no quorum is left, all the others together are enough, as they are for who
//! catches up. Otherwise the two would wait for each other: a node that takes the dead one's place asks the damaged owner, whose
//! record waits for the dead one.
//!
//! Marks are found by whatever reads a record, and by a look at all records after a start, in pages.
//! A bounded number is asked about at a time, again and again until each is mended ([`crate::marks`]).

use alloc::vec::Vec;

use crate::{
    accepting::{self, Accepting},
    bucket::Bucket,
    env::Env,
    hints,
    id::NodeId,
    key::RecordKey,
    marks::Marks,
    message::{Answer, Body},
    object::Object,
    paging,
    record::{Record, Storage, Stored},
    requests,
    rules::Mutant,
    step::{Effect, Fact, Timer},
    trees::Trees,
    view::ViewId,
};

/// The pause between two pages of a look, in milliseconds: foreground requests come in between.
const PAGE_GAP_MS: u32 = 5;

/// What a shard knows of its damaged records.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Mending {
    marks: Marks,
    /// Whether the timer is set.
    waits: bool,
    /// The losses that clients ask to accept.
    pub(crate) accepting: Accepting,
}

/// A marked record and what mends it.
pub(crate) struct Marked<'a> {
    pub(crate) record: Record,
    /// The view in which the damage was found.
    pub(crate) found: ViewId,
    bucket: &'a Bucket,
    /// The other owners in the older layout, without those that the operator has named as lost.
    pub(crate) others: Vec<NodeId>,
    /// How many of them must be merged from.
    need: usize,
}

impl Mending {
    /// How many records are known to be marked and not mended.
    pub(crate) fn unmended(&self) -> usize {
        self.marks.len()
    }

    /// Whether there may be damage that nobody has looked at yet.
    pub(crate) fn is_looking(&self) -> bool {
        self.marks.has_more()
    }

    /// The owners whose copies are merged into a marked record in this era.
    pub(crate) fn merged(&self, key: &RecordKey) -> &[NodeId] {
        self.marks.merged(key)
    }

    /// A record is not marked any more.
    pub(crate) fn forget(&mut self, key: &RecordKey) {
        self.marks.forget(key);
    }

    fn remember(&mut self, key: &RecordKey) {
        let is_awaited = self.accepting.values().any(|acceptance| acceptance.is_of(key));
        self.marks.remember(key, is_awaited);
    }
}

/// The record of a key. One that is damaged is marked or, where this node does not own it, removed; `Damaged` is left only
/// where its bucket is not in this view.
pub(crate) fn read<S: Storage>(env: &mut Env<'_, S>, key: &RecordKey) -> Stored {
    let stored = env.storage.read(key);
    judge(env, key, stored)
}

/// The same of what a scan has found.
pub(crate) fn judge<S: Storage>(env: &mut Env<'_, S>, key: &RecordKey, stored: Stored) -> Stored {
    if let Stored::Found(Record { damaged: Some(_), .. }) = &stored {
        // The mark may be from before a restart, or from before this node owned it again.
        remember(env, key);
        return stored;
    }
    let (Stored::Damaged, Some(bucket)) = (&stored, env.bucket(key)) else { return stored };
    if !env.keeps(Mutant::DamagedAnswersNotfound) {
        return Stored::Absent;
    }
    if !env.owns(key, bucket) {
        env.write(key, &Object::new(), None);
        return Stored::Absent;
    }
    let found = env.view.id();
    let record = Record { damaged: Some(found), ..Record::default() };
    env.write(key, &Object::new(), Some(record.clone()));
    // What was merged into it, if it was marked before, is lost with it.
    env.mending.forget(key);
    accepting::damaged_again(env, key);
    env.mending.remember(key);
    // Its leaf had what is lost, and will have it again when that is mended.
    Trees::rebuild(env, key.partition);
    want_view(env, found);
    wait(env, env.config.mend_retry_ms);
    Stored::Found(record)
}

/// Comes back to a record that is marked, if this node owns it.
fn remember<S: Storage>(env: &mut Env<'_, S>, key: &RecordKey) {
    let owns = env.bucket(key).is_some_and(|bucket| env.owns(key, bucket));
    if owns && !env.mending.marks.contains(key) && env.keeps(Mutant::RestartForgetsMarks) {
        env.mending.remember(key);
        wait(env, env.config.mend_retry_ms);
    }
}

/// The mark of a record after something was taken in: that does not mend it. A node that does not own the record holds
/// what it took in for others, and no mark.
pub(crate) fn mark_after<S: Storage>(
    env: &Env<'_, S>,
    key: &RecordKey,
    bucket: &Bucket,
    before: &Record,
) -> Option<ViewId> {
    let stays = env.owns(key, bucket) && env.keeps(Mutant::WriteClearsMark);
    before.damaged.filter(|_| stays)
}

/// A view was adopted: marks may be mended now. After a start all records are looked at.
pub(crate) fn adopt<S: Storage>(env: &mut Env<'_, S>, is_first: bool) {
    if is_first {
        env.mending.marks.look();
    }
    env.mending.marks.adopt(env.view.id().era());
    if env.mending.marks.is_looking() {
        // Their turn comes when the look is over, and who asked waits no longer than he said.
        accepting::keys(env).iter().for_each(|key| ask(env, key));
    }
    if env.mending.is_looking() || env.mending.unmended() > 0 {
        env.mending.waits = false;
        wait(env, 0);
    }
}

/// Looks at a page of records, and asks about some of the marks.
pub(crate) fn go_on<S: Storage>(env: &mut Env<'_, S>) {
    env.mending.waits = false;
    look(env);
    let some = env.mending.marks.next(env.config.mend_parallel);
    // The pages of a look come soon after each other.
    if !env.mending.marks.is_looking() {
        accept(env, &some);
    }
    for key in some {
        ask(env, &key);
    }
    let again = env.mending.unmended() > 0 && env.keeps(Mutant::MarkAskedOnce);
    if env.mending.marks.is_looking() {
        env.mending.waits = true;
        env.rest(Timer::Mend, PAGE_GAP_MS);
    } else if again || env.mending.is_looking() {
        wait(env, env.config.mend_retry_ms);
    }
}

/// Asks about the records whose loss is to be accepted, but for these, which are asked about in any case.
fn accept<S: Storage>(env: &mut Env<'_, S>, asked: &[RecordKey]) {
    for key in accepting::keys(env) {
        if !asked.contains(&key) {
            ask(env, &key);
        }
        accepting::settle(env, &key);
    }
}

/// A record that was found damaged in this view is mended in a newer one.
fn want_view<S: Storage>(env: &mut Env<'_, S>, found: ViewId) {
    env.mending.marks.want_view();
    env.effects.push(Effect::Report(Fact::Damaged(found)));
}

fn wait<S: Storage>(env: &mut Env<'_, S>, after_ms: u32) {
    if !env.mending.waits {
        env.mending.waits = true;
        env.set_timer(Timer::Mend, after_ms);
    }
}

fn look<S: Storage>(env: &mut Env<'_, S>) {
    let Some(from) = env.mending.marks.page() else { return };
    let page = paging::read(env.storage, from, env.config.handoff_page);
    for (key, stored) in page.records {
        judge(env, &key, stored);
    }
    env.mending.marks.looked(page.last.map(hints::after));
}

/// A record if it is marked, and what mends it; a mark that is none any more is forgotten.
pub(crate) fn marked<'a, S: Storage>(env: &mut Env<'a, S>, key: &RecordKey) -> Option<Marked<'a>> {
    let stored = read(env, key);
    let bucket = env.bucket(key).filter(|bucket| env.owns(key, bucket));
    let (Stored::Found(record), Some(bucket)) = (stored, bucket) else {
        env.mending.forget(key);
        return None;
    };
    let Some(found) = record.damaged else {
        env.mending.forget(key);
        return None;
    };
    let owners = env.view.owners(key.partition, bucket.n);
    let is_lost =
        |owner: NodeId| env.view.names_lost(owner) && env.keeps(Mutant::MendAwaitsTheLost);
    let others = owners.iter().copied().filter(|owner| *owner != env.me && !is_lost(*owner));
    let mut others: Vec<NodeId> = others.collect();
    let quorum = (owners.len() + 1).saturating_sub(bucket.strict_w.into()).max(1);
    let need = quorum.min(others.len());
    if !env.keeps(Mutant::RepairFromFallback) {
        others.extend(env.view.fallbacks(key.partition, bucket.n));
    }
    Some(Marked { record, found, bucket, others, need })
}

/// Asks the other owners what they hold; in the view in which the damage was found a newer one is asked for.
pub(crate) fn ask<S: Storage>(env: &mut Env<'_, S>, key: &RecordKey) {
    let Some(Marked { found, others, .. }) = marked(env, key) else { return };
    if env.view.id() <= found && env.keeps(Mutant::MendWithoutRaise) {
        return want_view(env, found);
    }
    let merged = env.mending.merged(key).to_vec();
    for owner in others.into_iter().filter(|owner| !merged.contains(owner)) {
        env.send(owner, key.partition, Body::Mend { key: key.key.clone() });
    }
}

/// Tells an owner whose copy is damaged what is held here.
pub(crate) fn answer<S: Storage>(env: &mut Env<'_, S>, from: NodeId, key: RecordKey) {
    let answer = requests::answer(env, &key);
    let RecordKey { partition, key } = key;
    env.send(from, partition, Body::MendOk { key, answer });
}

/// An owner has told what it holds. When enough have, the record is whole: it is written with all that they hold and
/// without the mark, at once.
pub(crate) fn merge<S: Storage>(
    env: &mut Env<'_, S>,
    (from, view): (NodeId, ViewId),
    key: &RecordKey,
    answer: Answer,
) {
    let Some(Marked { record, found, bucket, others, need }) = marked(env, key) else { return };
    let (mine, era) = (env.view.id(), env.view.id().era());
    let is_late = mine <= found && env.keeps(Mutant::MendWithoutRaise);
    let is_old = view <= found
        && env.keeps(Mutant::MendWithoutRaise)
        && env.keeps(Mutant::MendCountsOlderView);
    if is_late || is_old || view.era() != era || !others.contains(&from) {
        return;
    }
    let object = match answer {
        Answer::Found(object) => object,
        Answer::Absent => Object::new(),
        Answer::Damaged if env.keeps(Mutant::DamagedSourceCounts) => {
            return accepting::lost(env, from, key);
        }
        Answer::Damaged => Object::new(),
    };
    env.mending.remember(key);
    let Some(merged) = env.mending.marks.merge(key, from) else { return };
    let need = if env.config.rules.keeps(Mutant::MendFromOne) { need } else { need.min(1) };
    let is_whole = merged >= need;
    let before = record.object.clone();
    let object = before.merge(&object, env.merging(bucket));
    let damaged = record.damaged.filter(|_| !is_whole);
    if is_whole {
        env.mending.forget(key);
    }
    env.write(key, &before, Some(Record { object, damaged, ..record }));
    accepting::settle(env, key);
}
