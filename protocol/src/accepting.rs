//! Accepting the loss of a single record (rule W1).
//!
//! A record that more owners have lost than leave enough to mend it from stays marked: strict reads of it are answered
//! *unavailable* for good. An operator may end that at one owner, who gives up what only damaged copies held. That owner asks
//! all other owners in the older layout and waits until each has told what it holds, or that its own copy is
//! damaged too, in a view newer than the one in which the damage was found here, as when a record is mended. So all that is left
//! anywhere is in its record when the mark goes, and no write is acknowledged later that counted what the damaged copy had
//! answered before. The other owners mend theirs from it.
//!
//! Where an owner is silent nothing is given up: it may hold what all others have lost. One that is lost for good is
//! replaced first, or named as lost in the change that takes it out (L3). When enough owners turn out to hold the record, it is mended, and there is no loss to accept.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    env::Env,
    id::{NodeId, RequestId},
    key::RecordKey,
    mending,
    record::{Record, Storage},
    request::{Refusal, Response},
    requests,
    rules::Mutant,
    step::{Effect, Ticket, Timer},
    view::Era,
    waiter::Client,
};

/// How many losses a shard is asked to accept at a time; more are refused.
const MAX_ACCEPTING: usize = 64;

/// The losses that a shard is asked to accept.
pub(crate) type Accepting = BTreeMap<RequestId, Acceptance>;

/// One of them.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Acceptance {
    client: Client,
    key: RecordKey,
    /// The era in which `lost` answered.
    era: Era,
    /// The owners whose copies are damaged too.
    lost: Vec<NodeId>,
    /// The mark is gone, and the client is told when that is durable.
    is_written: bool,
}

impl Acceptance {
    /// Whether it is the loss of this record.
    pub(crate) fn is_of(&self, key: &RecordKey) -> bool {
        self.key == *key
    }
}

/// A client asks to accept the loss of a record.
pub(crate) fn start<S: Storage>(
    env: &mut Env<'_, S>,
    (id, client): (RequestId, Client),
    key: RecordKey,
    timeout_ms: u32,
) {
    if env.mending.accepting.len() >= MAX_ACCEPTING {
        return client.reply(env, &key, Response::Refused(Refusal::Overloaded));
    }
    let era = env.view.id().era();
    let acceptance = Acceptance { client, key, era, lost: Vec::new(), is_written: false };
    let key = acceptance.key.clone();
    env.mending.accepting.insert(id, acceptance);
    env.set_timer(Timer::Deadline(id), timeout_ms);
    mending::ask(env, &key);
    settle(env, &key);
}

/// The keys whose losses wait to be accepted, each once.
pub(crate) fn keys<S: Storage>(env: &Env<'_, S>) -> Vec<RecordKey> {
    let waiting = env.mending.accepting.values().filter(|acceptance| !acceptance.is_written);
    let keys: BTreeSet<&RecordKey> = waiting.map(|acceptance| &acceptance.key).collect();
    keys.into_iter().cloned().collect()
}

/// The own copy is damaged once more: what others had told before does not count, they may hold since what is lost now.
pub(crate) fn damaged_again<S: Storage>(env: &mut Env<'_, S>, key: &RecordKey) {
    let of_key = env.mending.accepting.values_mut().filter(|known| known.is_of(key));
    of_key.for_each(|known| known.lost.clear());
}

/// An owner has told that its copy is damaged too.
pub(crate) fn lost<S: Storage>(env: &mut Env<'_, S>, from: NodeId, key: &RecordKey) {
    let era = env.view.id().era();
    for acceptance in env.mending.accepting.values_mut().filter(|known| known.is_of(key)) {
        if acceptance.era != era {
            (acceptance.era, acceptance.lost) = (era, Vec::new());
        }
        if !acceptance.lost.contains(&from) {
            acceptance.lost.push(from);
        }
    }
    settle(env, key);
}

/// Carries out what was asked for a record, where all has been heard that there is to hear: then its mark goes. Whoever
/// asked for the same is told that there is no loss to accept any more.
pub(crate) fn settle<S: Storage>(env: &mut Env<'_, S>, key: &RecordKey) {
    let waiting = env.mending.accepting.iter();
    let waiting = waiting.filter(|(_, known)| known.is_of(key) && !known.is_written);
    let waiting: Vec<RequestId> = waiting.map(|(id, _)| *id).collect();
    for id in waiting {
        let Some(marked) = mending::marked(env, key) else {
            end(env, id, Response::Refused(Refusal::NotDamaged));
            continue;
        };
        let is_late = env.view.id() <= marked.found && env.keeps(Mutant::MendWithoutRaise);
        let all_told = told(env, id, &marked.others) == marked.others.len();
        if !is_late && (all_told || !env.keeps(Mutant::LossAcceptedUnread)) {
            give_up(env, id, key, marked.record);
        }
    }
}

/// The mark goes, and the client is told when that is durable.
fn give_up<S: Storage>(env: &mut Env<'_, S>, id: RequestId, key: &RecordKey, record: Record) {
    let before = record.object.clone();
    env.mending.forget(key);
    env.write(key, &before, Some(Record { damaged: None, ..record }));
    if let Some(acceptance) = env.mending.accepting.get_mut(&id) {
        acceptance.is_written = true;
    }
    env.effects.push(Effect::Sync(Ticket::LossAccepted(id)));
}

/// How many of the other owners have told, in this era, what they hold or that they have lost it too.
fn told<S: Storage>(env: &Env<'_, S>, id: RequestId, others: &[NodeId]) -> usize {
    let era = env.view.id().era();
    let Some(acceptance) = env.mending.accepting.get(&id) else { return 0 };
    let merged = env.mending.merged(&acceptance.key);
    let has_lost = |owner| acceptance.era == era && acceptance.lost.contains(owner);
    others.iter().filter(|owner| merged.contains(owner) || has_lost(owner)).count()
}

/// That the mark is gone is durable.
pub(crate) fn synced<S: Storage>(env: &mut Env<'_, S>, id: RequestId) {
    let Some(acceptance) = env.mending.accepting.get(&id) else { return };
    let key = acceptance.key.clone();
    if let Some(bucket) = env.bucket(&key) {
        let response = requests::local(env, &key, bucket);
        end(env, id, response);
    }
}

/// The client waits no longer.
pub(crate) fn deadline<S: Storage>(env: &mut Env<'_, S>, id: RequestId) {
    let Some(acceptance) = env.mending.accepting.get(&id) else { return };
    if acceptance.is_written {
        // It was given up, and is said to be when that is durable.
        return;
    }
    let key = acceptance.key.clone();
    let others = mending::marked(env, &key).map_or_else(Vec::new, |marked| marked.others);
    let (answered, owners) = (told(env, id, &others) as u8, others.len() as u8);
    end(env, id, Response::Refused(Refusal::OwnersSilent { answered, owners }));
}

fn end<S: Storage>(env: &mut Env<'_, S>, id: RequestId, response: Response) {
    if let Some(Acceptance { client, key, .. }) = env.mending.accepting.remove(&id) {
        env.cancel_timer(Timer::Deadline(id));
        client.reply(env, &key, response);
    }
}
