//! Coordination: carrying out a client's write on this node's own copy, in one atomic step.
//!
//! Read, change and write of the record are one step (V4). The new entry gets a dot that was never used (V1):
//! the record's own actor is extended only if it is of this run and the record still says so; else a fresh
//! actor is opened. Nothing about actors is persisted, leased or taken from a clock, and still no crash,
//! no forgotten record and no rebuilt disk can make a counter start again under an old name.

use crate::{
    bucket::Bucket,
    env::Env,
    hints,
    key::RecordKey,
    limits, mending,
    object::{Object, Value},
    record::{Record, Storage, Stored},
    request::{Operation, Refusal},
    rules::Mutant,
    version::{Actor, Dot, VersionVector},
};

/// Opens actors and numbers writes.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Actors {
    /// How many actors this shard opened in this run. It is volatile: the run's own id makes them unique.
    opened: u64,
}

/// What a coordination did.
pub(crate) struct Coordinated {
    /// What is to be replicated: the whole merged object (V3).
    pub(crate) object: Object,
    /// Whether the record changed. It is acknowledged in the same way if it did not (C1, D1).
    pub(crate) changed: bool,
}

impl Actors {
    /// The dot of the next write to a record.
    fn next_dot<S: Storage>(&mut self, env: &Env<'_, S>, own: Option<Dot>) -> Dot {
        if !env.keeps(Mutant::NodeWideCounter) {
            self.opened += 1;
            let actor = Actor { incarnation: env.incarnation, n: 0 };
            return Dot { actor, counter: self.opened };
        }
        if !env.keeps(Mutant::CounterPerKey) {
            let actor = Actor { incarnation: env.incarnation, n: 0 };
            return Dot { actor, counter: own.map_or(0, |own| own.counter) + 1 };
        }
        match own {
            Some(own)
                if own.actor.incarnation == env.incarnation
                    || !env.keeps(Mutant::ExtendAfterRestart) =>
            {
                Dot { actor: own.actor, counter: own.counter + 1 }
            }
            Some(_) | None => {
                self.opened += 1;
                let actor = Actor { incarnation: env.incarnation, n: self.opened };
                Dot { actor, counter: 1 }
            }
        }
    }

    /// Carries out a write on the own copy. Nothing is written if it is refused.
    pub(crate) fn coordinate<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        key: &RecordKey,
        bucket: &Bucket,
        operation: &Operation,
    ) -> Result<Coordinated, Refusal> {
        let before = match mending::read(env, key) {
            Stored::Absent => Record::default(),
            Stored::Found(record) => record,
            Stored::Damaged => return Err(Refusal::Damaged),
        };
        let (object, own) = self.apply(env, bucket, operation, &before)?;
        let limit =
            if env.keeps(Mutant::TruncateOldest) { env.config.clock_entries } else { Some(1) };
        let object = match limit {
            Some(limit) => object.truncated(limit),
            None => object,
        };
        // A coordinator that owns no copy owes it to all owners (H1).
        let owed = hints::owed_after(env, key, bucket, &before, None);
        let changed = object != before.object;
        let replicated = match own {
            Some(dot) if changed && !env.keeps(Mutant::ReplicateOnlyNewEntry) => object.only(dot),
            Some(_) | None => object.clone(),
        };
        let damaged = mending::mark_after(env, key, bucket, &before);
        let record = Record { object, own: own.or(before.own), owed, damaged };
        if record != before && env.keeps(Mutant::TreeMissesAnUpdate) {
            env.write(key, &before.object, Some(record));
        } else if record != before {
            env.storage.write(key.clone(), Some(record));
        }
        Ok(Coordinated { object: replicated, changed })
    }

    fn apply<S: Storage>(
        &mut self,
        env: &Env<'_, S>,
        bucket: &Bucket,
        operation: &Operation,
        before: &Record,
    ) -> Result<(Object, Option<Dot>), Refusal> {
        let (object, merging) = (&before.object, env.merging(bucket));
        let nothing = VersionVector::default();
        let seen = operation.context().map_or(&nothing, |context| context.seen());
        match operation {
            Operation::Put { put_id, time_us, value, .. } => {
                limits::check_siblings(object, seen)?;
                let dot = self.next_dot(env, before.own);
                let value = Value { put_id: *put_id, time_us: *time_us, bytes: value.clone() };
                Ok((object.put(merging, seen, dot, value), Some(dot)))
            }
            Operation::Delete { .. } => Ok((object.delete(seen), None)),
            Operation::Change { cancel, add, .. } => {
                let object = if env.keeps(Mutant::CartJoinsContext) {
                    object.clone()
                } else {
                    object.delete(seen)
                };
                // The cancellations of the same change come first: what it cancels, it does not add.
                let object = object.change(merging, cancel, None);
                let Some(add) = add.as_ref().filter(|add| !object.knows(add.add_id)) else {
                    return Ok((object, None));
                };
                limits::check_cart(&object)?;
                let dot = self.next_dot(env, before.own);
                Ok((object.change(merging, &[], Some((dot, add.clone()))), Some(dot)))
            }
            Operation::Get | Operation::GetLocal | Operation::AcceptLoss => {
                Ok((object.clone(), None))
            }
        }
    }
}
