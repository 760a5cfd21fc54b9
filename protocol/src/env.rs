//! What every concern of a replica is handed: who it is, its view, its store and the list of effects.

use crate::{
    bucket::Bucket,
    id::{Incarnation, NodeId},
    key::{Partition, RecordKey},
    mending::Mending,
    message::{Body, Message},
    object::{Merging, Object},
    record::{Record, Storage},
    rules::Mutant,
    step::{Config, Effect, Effects, Fact, Ticket, Timer},
    trees::Trees,
    view::View,
};

/// Which partitions a replica holds: those whose number leaves `index` when divided by `count`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Shard {
    pub(crate) index: u16,
    pub(crate) count: u16,
}

impl Shard {
    pub(crate) fn holds(self, partition: Partition) -> bool {
        shard_of(partition, self.count) == self.index
    }
}

/// The shard, of so many, that holds a partition.
pub fn shard_of(partition: Partition, shards: u16) -> u16 {
    (partition.0 % u32::from(shards)) as u16
}

/// The surroundings of one step.
pub(crate) struct Env<'a, S> {
    pub(crate) me: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) config: &'a Config,
    pub(crate) view: &'a View,
    pub(crate) shard: Shard,
    pub(crate) suspected: &'a [NodeId],
    pub(crate) short: bool,
    /// The marks of damaged records: whoever reads one adds to them.
    pub(crate) mending: &'a mut Mending,
    pub(crate) storage: &'a mut S,
    pub(crate) trees: &'a mut Trees,
    pub(crate) effects: &'a mut Effects,
}

impl<'a, S: Storage> Env<'a, S> {
    pub(crate) fn keeps(&self, mutant: Mutant) -> bool {
        self.config.rules.keeps(mutant)
    }

    pub(crate) fn merging(&self, bucket: &Bucket) -> Merging {
        Merging::of(bucket, self.config.rules)
    }

    /// The bucket of a record. Peers in a newer view may speak of one that this view does not have.
    pub(crate) fn bucket(&self, key: &RecordKey) -> Option<&'a Bucket> {
        self.view.bucket(&key.key.bucket)
    }

    pub(crate) fn owns(&self, key: &RecordKey, bucket: &Bucket) -> bool {
        self.view.owns(self.me, key.partition, bucket.n)
    }

    /// Replaces a record, or removes it: the one way, so that no tree misses an update. `before` is the object as this step
    /// read it, empty if there was none or it could not be read.
    pub(crate) fn write(&mut self, key: &RecordKey, before: &Object, record: Option<Record>) {
        let after = record.as_ref().map(|record| &record.object);
        if let Some(bucket) = self.bucket(key) {
            self.trees.update((key, bucket.n), self.config.tree_depth, before, after);
        }
        self.storage.write(key.clone(), record);
    }

    pub(crate) fn is_suspected(&self, node: NodeId) -> bool {
        self.suspected.binary_search(&node).is_ok()
    }

    pub(crate) fn message(&self, partition: Partition, body: Body) -> Message {
        Message { view: self.view.id(), partition, body }
    }

    pub(crate) fn send(&mut self, to: NodeId, partition: Partition, body: Body) {
        debug_assert_ne!(to, self.me, "a replica never writes to itself");
        let message = self.message(partition, body);
        self.effects.push(Effect::Send { to, message });
    }

    /// Acknowledges at the barrier of this step, also when it changed nothing (D1).
    pub(crate) fn acknowledge(&mut self, to: NodeId, message: Message, changed: bool) {
        if self.acknowledges_at_once(changed) {
            self.effects.push(Effect::Send { to, message });
        } else {
            self.effects.push(Effect::Sync(Ticket::Acknowledge { to, message }));
        }
    }

    /// What the mutants of D1 do.
    pub(crate) fn acknowledges_at_once(&self, changed: bool) -> bool {
        !self.keeps(Mutant::AckBeforeSync) || (!changed && !self.keeps(Mutant::AckUnchangedAtOnce))
    }

    pub(crate) fn set_timer(&mut self, timer: Timer, after_ms: u32) {
        self.effects.push(Effect::SetTimer { timer, after_ms, yields: false });
    }

    /// Pauses before the next page of background work, at least so long.
    pub(crate) fn rest(&mut self, timer: Timer, after_ms: u32) {
        self.effects.push(Effect::SetTimer { timer, after_ms, yields: true });
    }

    pub(crate) fn cancel_timer(&mut self, timer: Timer) {
        self.effects.push(Effect::CancelTimer(timer));
    }

    /// A suspected peer that answers is taken back.
    pub(crate) fn heard_from(&mut self, node: NodeId) {
        if self.is_suspected(node) {
            self.effects.push(Effect::Report(Fact::Answered(node)));
        }
    }

    pub(crate) fn silent(&mut self, node: NodeId) {
        if !self.is_suspected(node) {
            self.effects.push(Effect::Report(Fact::Silent(node)));
        }
    }
}
