//! Catching up: before a change of layout may finish, those who own more than before merge what is there (rule L3).
//!
//! An owner of a partition in the next layout that was none must have merged it, durably, from so many owners in the
//! present layout that every strict write acknowledged before is among what they hold; where a partition gets fewer
//! owners, all must. Only owners that go by the same joint view count: what one of them has not taken in by then can
//! only be acknowledged as a strict write by those who come after, which goes to the next layout's owners too.
//!
//! A view that is only raised changes nothing of this: the same owners count, and strict writes go to both layouts in it
//! as before. So what was merged holds on.
//!
//! Each source is read in pages with a cursor, a bounded number of partitions at a time. A page is merged in one step; the next is
//! asked for by its last key, so that nothing is remembered at the source. Between two pages there is a pause, the longer the
//! larger they are. Whoever crashes begins again.
//!
//! As many sources of a partition are asked as it needs: first those that are not suspected and have not been silent. When
//! no page has come for a while, whoever still owes one is taken for silent until it sends one, and others are asked,
//! for this partition and for all that follow: a dead source costs one such wait and not one for each partition.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use crate::{
    env::Env,
    hints::{self, Absorbed},
    id::NodeId,
    key::{Key, Partition, RecordKey},
    membership::least_quorum,
    mending,
    message::Body,
    object::Object,
    paging,
    record::{Record, Storage, Stored},
    rules::Mutant,
    step::{Effect, Fact, Ticket, Timer},
    view::ViewId,
};

/// What a shard still has to merge in a joint view.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct CatchUp {
    /// In the order in which they are begun.
    tasks: BTreeMap<(Partition, u8), Task>,
    /// Sources that did not send what they were asked for, until they send something.
    silent: BTreeSet<NodeId>,
    /// Whether the claim was made in this view.
    claimed: bool,
    timer: Waits,
}

/// What the timer is set for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Waits {
    /// It is not set.
    #[default]
    Idle,
    /// Pages that were asked for.
    Pages,
    /// The pause before the next page is asked for. So many bytes have come since it began.
    Turn { bytes: usize },
}

/// One partition, for buckets of one size.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Task {
    /// How many of the sources must have been merged.
    need: usize,
    sources: Vec<Source>,
}

/// One owner in the present layout, and how far it was read.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Source {
    node: NodeId,
    at: At,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum At {
    /// To be asked, if it is needed, for what comes after this key, or for the first page.
    Next(Option<Key>),
    /// Asked for that.
    Asked(Option<Key>),
    /// The last page is merged and not known to be durable.
    Merged,
    /// All of it is durable here.
    Durable,
}

/// The least pause between two pages, in milliseconds.
const PAGE_GAP_MS: u32 = 1;

impl CatchUp {
    /// A view was adopted: what was caught up with in another one counts no more.
    pub(crate) fn start<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        self.cancel_timer(env);
        *self = Self::default();
        if env.view.next().is_none() {
            return;
        }
        let partitions = env.view.partitions().iter().filter(|p| env.shard.holds(*p));
        for partition in partitions {
            for n in env.view.layout().sizes() {
                if let Some(task) = Task::new(env, partition, n) {
                    self.tasks.insert((partition, n), task);
                }
            }
        }
        self.go_on(env);
    }

    /// Claims when nothing is left to merge; else asks for as many pages as may be on their way at once.
    fn go_on<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        if self.tasks.is_empty() {
            if !self.claimed {
                self.claimed = true;
                self.cancel_timer(env);
                env.effects.push(Effect::Report(Fact::CaughtUp(env.view.id())));
            }
            return;
        }
        while self.ask(env) {}
        self.wait_for_pages(env);
    }

    /// Asks for one page, if there is one to ask for.
    fn ask<S: Storage>(&mut self, env: &mut Env<'_, S>) -> bool {
        let Some((partition, n, source)) = self.next(env) else { return false };
        if let At::Next(after) = &source.at {
            let (node, after) = (source.node, after.clone());
            source.at = At::Asked(after.clone());
            env.send(node, partition, Body::Sync { n, after });
        }
        true
    }

    /// Whom to ask next, and for which partition and size.
    fn next<S: Storage>(&mut self, env: &Env<'_, S>) -> Option<(Partition, u8, &mut Source)> {
        let silent = &self.silent;
        let is_trusted = |node| !silent.contains(&node) && !env.is_suspected(node);
        let mut begun = self.tasks.iter_mut().take(env.config.catch_up_parallel);
        begun.find_map(|((p, n), task)| task.next(is_trusted).map(|source| (*p, *n, source)))
    }

    /// What is on its way should come before this.
    fn wait_for_pages<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        self.timer = Waits::Pages;
        env.set_timer(Timer::CatchUp, env.config.catch_up_retry_ms);
    }

    /// So many bytes have come: if there is a page to ask for, its turn comes after a pause.
    fn pause<S: Storage>(&mut self, env: &mut Env<'_, S>, came: usize) {
        if let Waits::Turn { bytes } = &mut self.timer {
            *bytes = bytes.saturating_add(came);
        } else if self.next(env).is_some() {
            self.timer = Waits::Turn { bytes: 0 };
            paging::pause(env, Timer::CatchUp, PAGE_GAP_MS, came);
        } else {
            self.wait_for_pages(env);
        }
    }

    fn cancel_timer<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        if core::mem::take(&mut self.timer) != Waits::Idle {
            env.cancel_timer(Timer::CatchUp);
        }
    }

    /// The next page's turn has come; or what was asked for has not.
    pub(crate) fn fire<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        match core::mem::take(&mut self.timer) {
            Waits::Idle => {}
            Waits::Pages => self.give_up_waiting(env),
            Waits::Turn { bytes } => {
                self.ask(env);
                self.pause(env, bytes);
            }
        }
    }

    /// Whoever owes a page is silent: others are asked, and who is silent only where they do not suffice.
    fn give_up_waiting<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        for source in self.tasks.values_mut().flat_map(|task| &mut task.sources) {
            if let At::Asked(after) = &mut source.at {
                source.at = At::Next(after.take());
                self.silent.insert(source.node);
            }
        }
        self.go_on(env);
    }

    /// A node is suspected: if it was asked for a page, another is asked now.
    pub(crate) fn suspect<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        if !self.tasks.is_empty() {
            while self.ask(env) {}
        }
    }

    /// A page of a source has come.
    pub(crate) fn page<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        (from, view): (NodeId, ViewId),
        partition: Partition,
        page: Page,
    ) {
        if view.era() != env.view.id().era() && env.keeps(Mutant::UnfencedSync) {
            return;
        }
        self.silent.remove(&from);
        let Page { n, after, objects, next } = page;
        let Some(task) = self.tasks.get_mut(&(partition, n)) else { return };
        let source = task.sources.iter_mut().find(|source| source.node == from);
        let Some(source) = source.filter(|source| source.awaits(&after)) else { return };
        let bytes = objects.iter().map(|(_, object)| object.size_hint()).sum();
        for (key, object) in objects.iter() {
            if env.view.partitions().of(key) != partition {
                // A peer's fault: no reader would look for it here.
                return;
            }
            let key = RecordKey { partition, key: key.clone() };
            match hints::absorb(env, &key, object, None) {
                Absorbed::Held { .. } => {}
                // It cannot be merged here: the source does not count.
                Absorbed::UnknownBucket => return,
            }
        }
        if next.is_some() {
            source.at = At::Next(next);
            self.pause(env, bytes);
        } else if env.keeps(Mutant::ClaimBeforeDurable) {
            source.at = At::Merged;
            let ticket = Ticket::Merged { partition, n, source: from, view: env.view.id() };
            env.effects.push(Effect::Sync(ticket));
            self.pause(env, bytes);
        } else {
            self.durable(env, (partition, n), from);
        }
    }

    /// All that a source holds of a partition is durable here.
    pub(crate) fn merged<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        (partition, n): (Partition, u8),
        source: NodeId,
        view: ViewId,
    ) {
        if view.era() == env.view.id().era() {
            self.durable(env, (partition, n), source);
        }
    }

    fn durable<S: Storage>(&mut self, env: &mut Env<'_, S>, id: (Partition, u8), source: NodeId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let source = task.sources.iter_mut().find(|known| known.node == source);
        source.into_iter().for_each(|source| source.at = At::Durable);
        if !task.is_done() {
            return;
        }
        self.tasks.remove(&id);
        if self.tasks.is_empty() {
            self.go_on(env);
        } else {
            self.pause(env, 0);
        }
    }

    /// How many partitions are still to be merged, for each size apart.
    pub(crate) fn left(&self) -> usize {
        self.tasks.len()
    }
}

impl Task {
    /// What the node has to merge of a partition; nothing where it need not catch up, or is done with its own copy.
    fn new<S: Storage>(env: &Env<'_, S>, partition: Partition, n: u8) -> Option<Self> {
        let view = env.view;
        let present = view.owners(partition, n);
        let is_owner = present.contains(&env.me);
        let spares = is_owner && !env.keeps(Mutant::ClampWithoutShrinkSync);
        if !view.must_catch_up(env.me, partition, n) || spares {
            return None;
        }
        let strict_w = least_quorum(view, n, |bucket| bucket.strict_w);
        let quorum = (present.len() + 1).saturating_sub(strict_w).max(1);
        let lost = present.iter().filter(|node| view.names_lost(**node)).count();
        // A quorum, or all that the operator has not given up.
        let need = if env.keeps(Mutant::AcceptLossCountsAsEmpty) {
            quorum.min(present.len() - lost)
        } else {
            quorum.saturating_sub(lost)
        };
        let need = need.saturating_sub(usize::from(is_owner));
        let others = present.iter().filter(|node| **node != env.me && !view.names_lost(**node));
        let sources = others.map(|node| Source { node: *node, at: At::Next(None) }).collect();
        (need > 0).then_some(Self { need, sources })
    }

    fn is_done(&self) -> bool {
        self.sources.iter().filter(|source| source.at == At::Durable).count() >= self.need
    }

    /// The next source to ask for a page, as long as fewer than needed are merged or asked. Who is not trusted is asked where
    /// the others do not suffice, and counts for nobody's answer until it comes.
    fn next(&mut self, is_trusted: impl Fn(NodeId) -> bool) -> Option<&mut Source> {
        let counts = |source: &&Source| match source.at {
            At::Merged | At::Durable => true,
            At::Asked(_) => is_trusted(source.node),
            At::Next(_) => false,
        };
        if self.sources.iter().filter(counts).count() >= self.need {
            return None;
        }
        let waits = |source: &&mut Source| matches!(source.at, At::Next(_));
        self.sources.iter_mut().filter(waits).min_by_key(|source| !is_trusted(source.node))
    }
}

impl Source {
    /// Whether the page after this key is the one that is missing.
    fn awaits(&self, after: &Option<Key>) -> bool {
        match &self.at {
            At::Next(next) | At::Asked(next) => next == after,
            At::Merged | At::Durable => false,
        }
    }
}

/// What a source holds of a partition, from some key on.
pub(crate) struct Page {
    pub(crate) n: u8,
    pub(crate) after: Option<Key>,
    pub(crate) objects: Arc<[(Key, Object)]>,
    /// Ask for what comes after this key; nothing if this was the last page.
    pub(crate) next: Option<Key>,
}

/// Answers with a page, if this node owns the partition in the present layout and goes by the asker's view, however often that
/// was raised. Where a record is damaged there is none: silence is not "nothing" (W1), and the page is asked for again.
pub(crate) fn answer<S: Storage>(
    env: &mut Env<'_, S>,
    (from, view): (NodeId, ViewId),
    partition: Partition,
    n: u8,
    after: Option<Key>,
) {
    let fenced = view.era() == env.view.id().era() || !env.keeps(Mutant::UnfencedSync);
    let has_size = env.view.layout().sizes().contains(&n);
    if !fenced || !has_size || !env.view.owners(partition, n).contains(&env.me) {
        return;
    }
    let mut objects: Vec<(Key, Object)> = Vec::new();
    let of_size = |key: &Key| env.view.bucket(&key.bucket).is_some_and(|bucket| bucket.n == n);
    let limit = env.config.handoff_page;
    let (found, next) = paging::scan(env.storage, partition, after.as_ref(), limit, of_size);
    let mut is_damaged = false;
    for (key, stored) in found {
        let key = RecordKey { partition, key };
        // All of them are found now: one newer view is enough to mend them.
        match mending::judge(env, &key, stored) {
            Stored::Found(Record { damaged: Some(_), .. }) | Stored::Damaged => is_damaged = true,
            Stored::Found(record) => objects.push((key.key, record.object)),
            Stored::Absent => {}
        }
    }
    if is_damaged && env.keeps(Mutant::PageSkipsDamaged) {
        return;
    }
    let body = Body::SyncPage { n, after, objects: objects.into(), next };
    env.send(from, partition, body);
}
