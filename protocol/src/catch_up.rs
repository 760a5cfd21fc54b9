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
//! asked for by its last key, so that nothing is remembered at the source. Whoever crashes begins again.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use crate::{
    env::Env,
    hints::{self, Absorbed},
    id::NodeId,
    key::{Key, Partition, RecordKey},
    membership::least_quorum,
    mending,
    message::Body,
    object::Object,
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
    /// Whether the claim was made in this view.
    claimed: bool,
    /// Whether the timer is set.
    waits: bool,
}

/// One partition, for buckets of one size.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Task {
    /// How many of the sources must have been merged.
    need: usize,
    sources: Vec<Source>,
    begun: bool,
}

/// One owner in the present layout, and how far it was read.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Source {
    node: NodeId,
    at: At,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum At {
    /// Not asked yet.
    Waiting,
    /// Asked for what comes after this key, or for the first page.
    Reading(Option<Key>),
    /// The last page is merged and not known to be durable.
    Merged,
    /// All of it is durable here.
    Durable,
}

impl CatchUp {
    /// A view was adopted: what was caught up with in another one counts no more.
    pub(crate) fn start<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        if self.waits {
            env.cancel_timer(Timer::CatchUp);
        }
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

    /// Begins as many tasks as may run at once; claims when there are none left.
    fn go_on<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        self.tasks.retain(|_, task| !task.is_done());
        if self.tasks.is_empty() {
            if !self.claimed {
                self.claimed = true;
                if core::mem::take(&mut self.waits) {
                    env.cancel_timer(Timer::CatchUp);
                }
                env.effects.push(Effect::Report(Fact::CaughtUp(env.view.id())));
            }
            return;
        }
        for ((partition, n), task) in self.tasks.iter_mut().take(env.config.catch_up_parallel) {
            if !task.begun {
                task.begun = true;
                let need = task.need;
                task.ask(env, *partition, *n, need);
            }
        }
        if !self.waits {
            self.waits = true;
            env.set_timer(Timer::CatchUp, env.config.catch_up_retry_ms);
        }
    }

    /// Some pages did not come: they are asked for again, and so are the other sources.
    pub(crate) fn retry<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        self.waits = false;
        for ((partition, n), task) in self.tasks.iter_mut().filter(|(_, task)| task.begun) {
            task.ask(env, *partition, *n, usize::MAX);
        }
        self.go_on(env);
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
        let Page { n, after, objects, next } = page;
        let Some(task) = self.tasks.get_mut(&(partition, n)) else { return };
        let source = task.sources.iter_mut().find(|source| source.node == from);
        let Some(source) = source.filter(|source| source.at == At::Reading(after)) else { return };
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
            source.at = At::Reading(next);
            source.ask(env, partition, n);
        } else if env.keeps(Mutant::ClaimBeforeDurable) {
            source.at = At::Merged;
            let ticket = Ticket::Merged { partition, n, source: from, view: env.view.id() };
            env.effects.push(Effect::Sync(ticket));
        } else {
            source.at = At::Durable;
            self.go_on(env);
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
        let Some(task) = self.tasks.get_mut(&(partition, n)) else { return };
        let source = task.sources.iter_mut().find(|known| known.node == source);
        if let Some(source) = source.filter(|_| view.era() == env.view.id().era()) {
            source.at = At::Durable;
            self.go_on(env);
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
        let named = |node: &NodeId| view.change().accepted_losses.binary_search(node).is_ok();
        let lost = present.iter().filter(|node| named(node)).count();
        // A quorum, or all that the operator has not given up.
        let need = if env.keeps(Mutant::AcceptLossCountsAsEmpty) {
            quorum.min(present.len() - lost)
        } else {
            quorum.saturating_sub(lost)
        };
        let need = need.saturating_sub(usize::from(is_owner));
        let others = present.iter().filter(|node| **node != env.me && !named(node));
        let mut sources: Vec<Source> =
            others.map(|node| Source { node: *node, at: At::Waiting }).collect();
        sources.sort_by_key(|source| env.is_suspected(source.node));
        (need > 0).then_some(Self { need, sources, begun: false })
    }

    fn is_done(&self) -> bool {
        self.sources.iter().filter(|source| source.at == At::Durable).count() >= self.need
    }

    /// Asks the first `count` sources that are not merged for their next page.
    fn ask<S: Storage>(&mut self, env: &mut Env<'_, S>, partition: Partition, n: u8, count: usize) {
        for source in self.sources.iter_mut().take(count) {
            if source.at == At::Waiting {
                source.at = At::Reading(None);
            }
            source.ask(env, partition, n);
        }
    }
}

impl Source {
    fn ask<S: Storage>(&self, env: &mut Env<'_, S>, partition: Partition, n: u8) {
        if let At::Reading(after) = &self.at {
            env.send(self.node, partition, Body::Sync { n, after: after.clone() });
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
/// was raised. A damaged record ends it: silence is not "nothing" (W1), and the page is asked for again.
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
    let start = match &after {
        Some(key) => hints::after(RecordKey { partition, key: key.clone() }),
        None => RecordKey::start_of(partition),
    };
    let mut objects: Vec<(Key, Object)> = Vec::new();
    let limit = env.config.handoff_page;
    let stored = env.storage.scan(&start, limit);
    let goes_on = stored.len() == limit;
    let next = stored.last().filter(|(key, _)| goes_on && key.partition == partition);
    let next = next.map(|(key, _)| key.key.clone());
    for (key, stored) in stored {
        let of_size = env.bucket(&key).is_some_and(|bucket| bucket.n == n);
        if key.partition != partition {
            break;
        }
        match mending::judge(env, &key, stored) {
            Stored::Found(Record { damaged: Some(_), .. }) | Stored::Damaged if of_size => {
                if env.keeps(Mutant::PageSkipsDamaged) {
                    return;
                }
            }
            Stored::Found(record) if of_size => objects.push((key.key, record.object)),
            Stored::Found(_) | Stored::Absent | Stored::Damaged => {}
        }
    }
    let body = Body::SyncPage { n, after, objects: objects.into(), next };
    env.send(from, partition, body);
}
