//! Reap rounds: how tombstones, spent cancellations and old entries of clocks go (rules T1 and V6).
//!
//! What nobody needs any more is kept until it is certain that what it hides is nowhere: on no disk, in no message and in
//! nobody's memory. A round makes that certain for one page of keys. The first owner of their partition collects what may
//! go, and Membership raises the view with that page. In the step in which a shard adopts the view it forgets every object
//! that it held in memory, and judges: an owner is *fit* if it holds exactly the object that the page names, any other
//! node if it holds none. From then on it refuses objects that were sent in a lower view, and additions up to the
//! view's floor. So when all are fit, what was hidden is in no store, and can come out of no message either; each owner
//! drops what the page names, if it still holds exactly that, whenever it hears of it. A copy that was not dropped
//! yet may bring back the tombstone, but never the entry.
//!
//! A verdict leaves after the barrier of its step: what was judged is on disk. It is kept in memory only. A shard that
//! starts in the view judges nothing, and is not fit: it cannot know what it has sent in that view before. So does one whose node
//! has voted on the next decree: its view comes without the page (`membership/raising.rs`).
//!
//! A view in between, silence, or one that is not fit ends the round, and nothing has happened. The page is tried again a few
//! times, then the next one is. A restart forgets all.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use crate::{
    env::Env,
    hints,
    id::{AddId, Incarnation, NodeId},
    key::{Partition, RecordKey},
    mending,
    message::Body,
    object::Object,
    paging,
    reap_page::{Goes, ReapPage, Reapable},
    record::{Record, Storage, Stored},
    rules::Mutant,
    step::{Effect, Fact, Freed, ReapEnd, Ticket, Timer},
    version::Actor,
    view::ViewId,
};

/// How many keys a page has at most.
const MAX_ITEMS: usize = 64;
/// How many partitions without a record are passed over in one step.
const MAX_PARTITIONS: usize = 64;
/// The pause between two pages of a run, in milliseconds: foreground requests come in between.
const PAGE_GAP_MS: u32 = 5;
/// So often a page is tried.
const MAX_TRIES: u8 = 4;
/// So many times the retry interval a view or a verdict is waited for.
const MAX_WAITS: u8 = 10;

/// What a shard knows of reap rounds: its verdict on the present one, and the run that it carries through, if any.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Reaping {
    /// In the present view, if it begins a round about a partition of this shard.
    verdict: Option<bool>,
    run: Option<Run>,
    /// The run of each node that was heard of last: entries of these in clocks stay.
    running: BTreeMap<NodeId, Incarnation>,
}

/// A run: all that may go of the partitions of which this node is the first owner, page after page.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Run {
    /// No newer add_id goes.
    bound: Option<AddId>,
    /// Where the present page begins, and where the next one does.
    from: RecordKey,
    next: Option<RecordKey>,
    stage: Stage,
    /// How often the present page was begun.
    tries: u8,
    /// How often the timer has run out since.
    waits: u8,
    /// How many rounds have come to their end, and how many pages were given up.
    rounds: u32,
    given_up: u32,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Stage {
    /// For a page.
    Looking,
    /// Membership is to raise the view with this page and floor.
    Wanted(Arc<ReapPage>, Option<AddId>),
    /// It has; these nodes are fit.
    Round(Arc<ReapPage>, Vec<NodeId>),
}

/// What one scan has found.
struct Found {
    /// What may go.
    items: Vec<Reapable>,
    /// The newest add_id that goes with it.
    floor: Option<AddId>,
    /// How many records were read for it, those of partitions beyond included.
    scanned: usize,
}

impl Reaping {
    /// The partition that a run is at.
    pub(crate) fn is_at(&self) -> Option<Partition> {
        self.run.as_ref().map(|run| run.from.partition)
    }

    /// Somebody wants all reaped that may go, with cancelled add_ids up to `bound`.
    pub(crate) fn start<S: Storage>(&mut self, env: &mut Env<'_, S>, bound: Option<AddId>) {
        if self.run.is_some() {
            return;
        }
        self.run = Some(Run {
            bound,
            from: RecordKey::start_of(Partition(0)),
            next: None,
            stage: Stage::Looking,
            tries: 0,
            waits: 0,
            rounds: 0,
            given_up: 0,
        });
        self.go_on(env);
    }

    /// A view was adopted. If it begins a round this shard judges, before it does anything else.
    pub(crate) fn adopt<S: Storage>(&mut self, env: &mut Env<'_, S>, is_first: bool) {
        self.verdict = None;
        let raiser = env.view.id().reap.1;
        let waits = raiser != env.me && !env.keeps(Mutant::ReapFitWhenAsked);
        let page = env.view.page().filter(|page| env.shard.holds(page.partition));
        let starts = is_first && env.keeps(Mutant::RestartJudges);
        if let Some(page) = page.filter(|_| !starts && !waits) {
            self.judge(env, page);
        }
        let Some(run) = &mut self.run else { return };
        let (is_mine, fit) = (raiser == env.me, self.verdict == Some(true));
        match &run.stage {
            Stage::Looking => {}
            Stage::Wanted(page, _) if is_mine && fit && env.view.page() == Some(page) => {
                run.stage = Stage::Round(page.clone(), Vec::new());
                run.waits = 0;
                env.set_timer(Timer::Reap, env.config.reap_retry_ms);
            }
            Stage::Wanted(..) | Stage::Round(..) => run.again(env),
        }
    }

    fn judge<S: Storage>(&mut self, env: &mut Env<'_, S>, page: &ReapPage) {
        let fit = page.items.iter().all(|item| is_fit(env, page.partition, item));
        self.verdict = Some(fit);
        env.effects.push(Effect::Report(Fact::Judged { fit }));
        let (view, raiser) = (env.view.id(), env.view.id().reap.1);
        if raiser == env.me {
            env.effects.push(Effect::Sync(Ticket::Judged(view)));
        } else {
            let body = Body::JudgeOk { fit, incarnation: env.incarnation };
            let message = env.message(page.partition, body);
            if env.keeps(Mutant::VerdictBeforeSync) {
                env.acknowledge(raiser, message, true);
            } else {
                env.effects.push(Effect::Send { to: raiser, message });
            }
        }
    }

    /// The raiser asks for the verdict: it was not told, or that was lost. Who has none is not fit.
    pub(crate) fn asked<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        (from, view): (NodeId, ViewId),
        partition: Partition,
    ) {
        if view != env.view.id() {
            return;
        }
        if self.verdict.is_none()
            && !env.keeps(Mutant::ReapFitWhenAsked)
            && let Some(page) = env.view.page()
        {
            return self.judge(env, page);
        }
        let fit = self.verdict == Some(true);
        let body = Body::JudgeOk { fit, incarnation: env.incarnation };
        env.acknowledge(from, env.message(partition, body), true);
    }

    /// This node's own verdict is durable: it is fit.
    pub(crate) fn judged<S: Storage>(&mut self, env: &mut Env<'_, S>, view: ViewId) {
        self.count(env, env.me, view);
    }

    /// Another node's verdict.
    pub(crate) fn heard<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        (from, view): (NodeId, ViewId),
        fit: bool,
        incarnation: Incarnation,
    ) {
        self.running.insert(from, incarnation);
        if fit {
            return self.count(env, from, view);
        }
        let run = self.run.as_mut().filter(|_| view == env.view.id());
        if let Some(run) = run.filter(|run| matches!(run.stage, Stage::Round(..))) {
            run.again(env);
        }
    }

    /// One more is fit. When all are, what the page names goes.
    fn count<S: Storage>(&mut self, env: &mut Env<'_, S>, node: NodeId, view: ViewId) {
        let Some(run) = self.run.as_mut().filter(|_| view == env.view.id()) else { return };
        let Stage::Round(page, fit) = &mut run.stage else { return };
        if !fit.contains(&node) {
            fit.push(node);
        }
        let page = page.clone();
        let counts = |node: &NodeId| {
            let owns = |item: &Reapable| {
                let n = env.view.bucket(&item.key.bucket).map_or(0, |bucket| bucket.n);
                n > 0 && env.view.owns(*node, page.partition, n)
            };
            (env.keeps(Mutant::ReapWhenAllHoldIt) || page.items.iter().any(owns))
                && (env.keeps(Mutant::ReapForgetsDraining) || env.view.is_member(*node))
        };
        if env.view.listed().iter().filter(|node| counts(node)).all(|node| fit.contains(node)) {
            run.finish(env, &page, env.view.reaped().floor);
        }
    }

    /// Looks for the next page; or somebody has been silent.
    pub(crate) fn go_on<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        let Some(run) = &mut self.run else { return };
        let end = match &run.stage {
            Stage::Looking => run.look(env, &self.running),
            Stage::Wanted(..) if run.waits >= MAX_WAITS => Some(ReapEnd::NotRaised),
            Stage::Wanted(page, floor) => {
                run.waits += 1;
                want(env, page.clone(), *floor);
                None
            }
            Stage::Round(..) if run.waits >= MAX_WAITS => {
                run.again(env);
                None
            }
            Stage::Round(page, fit) => {
                run.waits += 1;
                let silent = env.view.listed().into_iter().filter(|node| *node != env.me);
                for node in silent.filter(|node| !fit.contains(node)).collect::<Vec<_>>() {
                    env.send(node, page.partition, Body::Judge);
                }
                env.set_timer(Timer::Reap, env.config.reap_retry_ms);
                None
            }
        };
        if let Some(end) = end {
            let (rounds, given_up) = (run.rounds, run.given_up);
            self.run = None;
            env.effects.push(Effect::Report(Fact::ReapEnded { end, rounds, given_up }));
        }
    }
}

impl Run {
    /// The round has come to nothing. The page is tried again, or given up.
    fn again<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        self.tries += 1;
        if self.tries >= MAX_TRIES {
            self.given_up += 1;
            self.go_to_next();
        }
        self.stage = Stage::Looking;
        env.rest(Timer::Reap, PAGE_GAP_MS);
    }

    fn go_to_next(&mut self) {
        self.tries = 0;
        // Beyond the last partition there is nothing: the next look ends the run.
        let end = RecordKey::start_of(Partition(u32::MAX));
        self.from = self.next.take().unwrap_or(end);
    }

    /// Collects a page from where the run is, and has the view raised with it. Says so if the run is over.
    fn look<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        running: &BTreeMap<NodeId, Incarnation>,
    ) -> Option<ReapEnd> {
        if env.view.next().is_some() {
            return Some(ReapEnd::Changing);
        }
        // It would not judge, so that nothing would come of it; and it may hold what would come back.
        if let Some(away) = env.view.listed().into_iter().find(|node| env.is_suspected(*node)) {
            return Some(ReapEnd::Away(away));
        }
        for _ in 0..MAX_PARTITIONS {
            let Some(partition) = next_mine(env, self.from.partition) else {
                return Some(ReapEnd::Done);
            };
            self.from = self.from.clone().max(RecordKey::start_of(partition));
            let Found { items, floor, scanned } = self.collect(env, running);
            if items.is_empty() {
                self.go_to_next();
                if scanned == 0 {
                    continue;
                }
                break;
            }
            let page = Arc::new(ReapPage { partition, items: items.into() });
            self.stage = Stage::Wanted(page.clone(), floor);
            self.waits = 0;
            want(env, page, floor);
            return None;
        }
        env.rest(Timer::Reap, PAGE_GAP_MS);
        None
    }

    /// What may go of the next records of a partition, and the newest add_id that goes with it.
    fn collect<S: Storage>(
        &mut self,
        env: &Env<'_, S>,
        running: &BTreeMap<NodeId, Incarnation>,
    ) -> Found {
        let (partition, limit) = (self.from.partition, env.config.tree_page);
        let (mut items, mut floor) = (Vec::new(), None);
        let page = paging::read(env.storage, self.from.clone(), limit);
        let scanned = page.records.len();
        let here = page.last.filter(|last| last.partition == partition);
        self.next = here.map(hints::after);
        let me = env.incarnation;
        let mine = page.records.into_iter().take_while(|(key, _)| key.partition == partition);
        for (place, stored) in mine {
            let Stored::Found(Record { object, damaged: None, .. }) = stored else { continue };
            let Some(bucket) = env.bucket(&place) else { continue };
            if env.view.owners(partition, bucket.n).first() != Some(&env.me) {
                continue;
            }
            let ended = |incarnation| {
                incarnation != me && !running.values().any(|other| *other == incarnation)
            };
            let goes = Goes::of(&object, self.bound, |actor| ended(actor.incarnation));
            let Some((goes, newest)) = goes else { continue };
            floor = floor.max(newest);
            let digest = object.digest(&place.key);
            items.push(Reapable { key: place.key.clone(), digest, goes });
            if items.len() == MAX_ITEMS {
                self.next = Some(hints::after(place));
                break;
            }
        }
        if self.next.is_none() {
            let next = Partition(partition.0 + 1);
            let exists = next.0 < env.view.partitions().count();
            self.next = exists.then(|| RecordKey::start_of(next));
        }
        Found { items, floor, scanned }
    }

    /// All are fit: every owner drops what the page names.
    fn finish<S: Storage>(&mut self, env: &mut Env<'_, S>, page: &ReapPage, floor: Option<AddId>) {
        let owns = |node: &NodeId| {
            let sizes = env.view.layout().sizes();
            sizes.into_iter().any(|n| env.view.owns(*node, page.partition, n))
        };
        let others = env.view.listed().into_iter().filter(|node| *node != env.me);
        for owner in others.filter(owns).collect::<Vec<_>>() {
            env.send(owner, page.partition, Body::Reap { floor, items: page.items.clone() });
        }
        reap(env, page.partition, floor, &page.items);
        self.rounds += 1;
        self.stage = Stage::Looking;
        self.go_to_next();
        env.rest(Timer::Reap, PAGE_GAP_MS);
    }
}

/// Has Membership raise the view with a page.
fn want<S: Storage>(env: &mut Env<'_, S>, page: Arc<ReapPage>, floor: Option<AddId>) {
    let view = env.view.id();
    env.effects.push(Effect::Report(Fact::Reap { view, page, floor }));
    env.set_timer(Timer::Reap, env.config.reap_retry_ms);
}

/// The next partition of this shard, from one on, of which this node is the first owner.
fn next_mine<S: Storage>(env: &Env<'_, S>, from: Partition) -> Option<Partition> {
    let n = *env.view.layout().sizes().first()?;
    let mut rest = (from.0..env.view.partitions().count()).map(Partition);
    rest.find(|p| env.shard.holds(*p) && env.view.owners(*p, n).first() == Some(&env.me))
}

/// Whether this node is fit as far as one key goes: an owner holds exactly the object that is named, everybody else holds
/// none; and none of the actors whose entries are to go is of its own run.
fn is_fit<S: Storage>(env: &mut Env<'_, S>, partition: Partition, item: &Reapable) -> bool {
    let key = RecordKey { partition, key: item.key.clone() };
    let Some(bucket) = env.bucket(&key) else { return false };
    let is_mine = |spent: &Goes| match spent {
        Goes::Whole => false,
        Goes::Spent(actors) => actors.iter().any(|actor| actor.incarnation == env.incarnation),
    };
    if is_mine(&item.goes) || env.view.partitions().of(&item.key) != partition {
        return false;
    }
    match mending::read(env, &key) {
        Stored::Absent => !env.owns(&key, bucket),
        Stored::Found(Record { object, damaged: None, .. }) => {
            let is_named = object.digest(&item.key) == item.digest
                || (!env.keeps(Mutant::PruneWhenCovered) && is_covered(&object, &item.goes));
            env.owns(&key, bucket) && is_named
        }
        Stored::Found(Record { damaged: Some(_), .. }) | Stored::Damaged => false,
    }
}

/// Whether the clock of an object has all the entries that are to go. It may be one that still has live what another has
/// replaced.
fn is_covered(object: &Object, goes: &Goes) -> bool {
    let has = |actor: &Actor| object.seen().dots().iter().any(|dot| dot.actor == *actor);
    match goes {
        Goes::Whole => false,
        Goes::Spent(actors) => actors.iter().all(has),
    }
}

/// Everybody was fit: an owner that still holds exactly what is named drops it, or what of it is spent.
pub(crate) fn reap<S: Storage>(
    env: &mut Env<'_, S>,
    partition: Partition,
    floor: Option<AddId>,
    items: &[Reapable],
) {
    let mut freed = Freed::default();
    for item in items {
        let key = RecordKey { partition, key: item.key.clone() };
        let owns = env.bucket(&key).is_some_and(|bucket| env.owns(&key, bucket));
        if !owns || env.view.partitions().of(&item.key) != partition {
            continue;
        }
        let Stored::Found(record) = mending::read(env, &key) else { continue };
        let before = record.object.clone();
        let differs = before.digest(&item.key) != item.digest;
        if record.damaged.is_some() || (differs && env.keeps(Mutant::ReapsWhatChanged)) {
            continue;
        }
        let left = item.goes.leaves(&before, floor);
        freed.add(&item.key, &before, left.as_ref());
        env.write(&key, &before, left.map(|object| Record { object, ..record }));
    }
    if freed != Freed::default() {
        env.effects.push(Effect::Report(Fact::Reaped(freed)));
    }
}
