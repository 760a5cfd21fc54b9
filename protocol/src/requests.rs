//! The requests that this node coordinates: the tables of puts and gets under way.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use crate::{
    accepting,
    bucket::{Bucket, Spread},
    context::Binding,
    coordinate::Actors,
    env::Env,
    get::Get,
    hints::{self, Absorbed},
    id::{NodeId, RequestId},
    key::RecordKey,
    mending,
    message::{Answer, Body},
    object::Object,
    put::Put,
    record::{Record, Storage, Stored},
    request::{Operation, Refusal, Request, Response},
    rules::Mutant,
    step::{Effect, Ticket, Timer},
    view::ViewId,
    waiter::Client,
};

mod forget;

/// What this node coordinates.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Requests {
    puts: BTreeMap<RequestId, (Client, Put)>,
    gets: BTreeMap<RequestId, (Client, Get)>,
    /// Those of them whose clients have their replies, the oldest reply first.
    replied: VecDeque<RequestId>,
}

impl Requests {
    /// How many wait for their reply.
    pub(crate) fn len(&self) -> usize {
        self.puts.len() + self.gets.len() - self.replied.len()
    }

    /// Whether the request is under way: a duplicate starts nothing.
    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.puts.contains_key(&id) || self.gets.contains_key(&id)
    }

    /// Coordinates a request that is in order and needs `need` answers.
    pub(crate) fn start<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        actors: &mut Actors,
        (id, client): (RequestId, Client),
        (key, bucket, need): (RecordKey, &Bucket, u8),
        request: &Request,
    ) {
        let timeout_ms = request.timeout_ms.min(env.config.max_timeout_ms);
        match &request.operation {
            Operation::Get => {
                env.set_timer(Timer::Deadline(id), timeout_ms);
                self.start_get(env, (id, client), (key, bucket, need), request.strict);
            }
            Operation::GetLocal => {
                let response = local(env, &key, bucket);
                client.reply(env, &key, response);
            }
            Operation::AcceptLoss => accepting::start(env, (id, client), key, timeout_ms),
            Operation::Put { .. } | Operation::Delete { .. } | Operation::Change { .. } => {
                let coordinated = actors.coordinate(env, &key, bucket, &request.operation);
                match coordinated {
                    Err(refusal) => client.reply(env, &key, Response::Refused(refusal)),
                    Ok(done) => {
                        env.set_timer(Timer::Deadline(id), timeout_ms);
                        let (object, strict) = (done.object, request.strict);
                        let put = Put::new((key, bucket), object, env.view, need, strict);
                        self.start_put(env, (id, client), put, bucket, done.changed);
                    }
                }
            }
        }
    }

    fn start_put<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        (id, client): (RequestId, Client),
        mut put: Put,
        bucket: &Bucket,
        changed: bool,
    ) {
        hold_here(env, id, &mut put, changed);
        send_to_missing(env, id, &put);
        let owners: Vec<NodeId> = put.open_slots().filter(|owner| *owner != env.me).collect();
        for owner in owners {
            if env.is_suspected(owner) {
                ask_fallback_to_hold(env, &mut put, id, owner, bucket, true);
            }
        }
        if put.open_slots().next().is_some() {
            env.set_timer(Timer::Fallback(id), env.config.fallback_after_ms);
        }
        self.puts.insert(id, (client, put));
        self.after_put_answer(env, id);
    }

    fn start_get<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        (id, client): (RequestId, Client),
        (key, bucket, need): (RecordKey, &Bucket, u8),
        strict: bool,
    ) {
        let rules = env.config.rules;
        let mut get = Get::new(key, env.view, (bucket.n, need), (strict, client.is_peer()), rules);
        get.hear(env.me, answer(env, &get.key), env.view.id(), rules);
        let silent = ask_silent_owners(env, id, &get);
        for owner in &silent {
            if env.is_suspected(*owner) {
                ask_fallback_to_read(env, &mut get, id, bucket, true);
            }
        }
        if !silent.is_empty() {
            env.set_timer(Timer::Fallback(id), env.config.fallback_after_ms);
        }
        self.gets.insert(id, (client, get));
        self.after_get_answer(env, id);
    }

    /// The view has changed. Strict requests count anew; sloppy ones keep the owners that they began with (L4).
    pub(crate) fn adopt<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        let rules = env.config.rules;
        let mut ids = Vec::new();
        for (id, (_, put)) in self.puts.iter_mut().filter(|(_, (_, put))| put.is_strict()) {
            let Some(bucket) = env.bucket(&put.key).filter(|_| !put.replied) else { continue };
            let was_durable = put.is_durable_here();
            put.restart(env.view, bucket.n);
            if was_durable && !env.keeps(Mutant::OwnCopyCountsOn) {
                put.durable_here(env.me, rules);
            } else if let Absorbed::Held { changed } = hold_again(env, put, bucket) {
                hold_here(env, *id, put, changed);
            }
            send_to_missing(env, *id, put);
            ids.push(*id);
        }
        for (id, (_, get)) in self.gets.iter_mut().filter(|(_, (_, get))| get.is_strict()) {
            let Some(bucket) = env.bucket(&get.key).filter(|_| !get.replied) else { continue };
            get.restart(env.view, bucket.n, rules);
            get.hear(env.me, answer(env, &get.key), env.view.id(), rules);
            ask_silent_owners(env, *id, get);
            ids.push(*id);
        }
        for id in ids {
            env.set_timer(Timer::Fallback(id), env.config.fallback_after_ms);
            self.after_put_answer(env, id);
            self.after_get_answer(env, id);
        }
    }

    /// The own copy of a coordinated write, as it was written while the request counted in `view`, is durable.
    pub(crate) fn coordinated<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        id: RequestId,
        view: ViewId,
    ) {
        if let Some((_, put)) = self.puts.get_mut(&id).filter(|(_, put)| put.view == view) {
            put.durable_here(env.me, env.config.rules);
            self.after_put_answer(env, id);
        }
    }

    /// A peer holds the object of a put.
    pub(crate) fn put_ok<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        from: NodeId,
        id: RequestId,
        slot: NodeId,
        view: ViewId,
    ) {
        if let Some((_, put)) = self.puts.get_mut(&id) {
            put.hear(from, slot, view, env.config.rules);
            self.after_put_answer(env, id);
        }
    }

    /// A peer answers a get.
    pub(crate) fn get_ok<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        from: NodeId,
        id: RequestId,
        answer: Answer,
        view: ViewId,
    ) {
        if let Some((_, get)) = self.gets.get_mut(&id) {
            get.hear(from, answer, view, env.config.rules);
            self.after_get_answer(env, id);
        }
    }

    fn after_put_answer<S: Storage>(&mut self, env: &mut Env<'_, S>, id: RequestId) {
        let Some((client, put)) = self.puts.get_mut(&id) else { return };
        if !put.replied && put.enough(env.view, env.config.rules) {
            put.replied = true;
            let response = put.response(env.me, env.view, env.config.rules);
            client.reply(env, &put.key, response);
            self.replied.push_back(id);
        }
        // The request goes on after its reply until every slot is filled (paper §4.5).
        if put.complete() && put.replied {
            self.end(env, id);
        }
        self.make_room(env);
    }

    fn after_get_answer<S: Storage>(&mut self, env: &mut Env<'_, S>, id: RequestId) {
        let Some((client, get)) = self.gets.get_mut(&id) else { return };
        let Some(bucket) = env.bucket(&get.key) else { return };
        if get.enough() && !get.replied {
            get.replied = true;
            let binding = Binding::new(env.config.cluster, &get.key.key);
            let response = get.response(binding, env.merging(bucket));
            client.reply(env, &get.key, response);
            self.replied.push_back(id);
        }
        if get.complete() && get.replied {
            self.end(env, id);
        }
        self.make_room(env);
    }

    /// Keeps those that go on after their reply within their bound: the oldest ends.
    fn make_room<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        while self.replied.len() > env.config.max_replied
            && let Some(oldest) = self.replied.front().copied()
        {
            self.end(env, oldest);
        }
    }

    /// Ends a request whose client has its reply. Stale owners are repaired with what a get has heard.
    fn end<S: Storage>(&mut self, env: &mut Env<'_, S>, id: RequestId) {
        self.puts.remove(&id);
        if let Some((_, get)) = self.gets.remove(&id)
            && let Some(bucket) = env.bucket(&get.key)
        {
            repair(env, &get, bucket);
        }
        self.forget_reply(id);
        env.cancel_timer(Timer::Fallback(id));
        env.cancel_timer(Timer::Deadline(id));
    }

    /// The request is no longer among those that go on after their reply. Most leave soon after they came,
    /// the others when they are the oldest: it is looked for from both ends.
    fn forget_reply(&mut self, id: RequestId) {
        let count = self.replied.len();
        let is_at = |at: &usize| self.replied[*at] == id;
        let both = |near: usize| [count - 1 - near, near].into_iter().find(is_at);
        if let Some(at) = (0..count.div_ceil(2)).find_map(both) {
            self.replied.remove(at);
        }
    }

    /// Owners have been silent for a while: a fallback is asked for each of them.
    pub(crate) fn fallback<S: Storage>(&mut self, env: &mut Env<'_, S>, id: RequestId) {
        let mut again = false;
        if let Some((_, put)) = self.puts.get_mut(&id) {
            let Some(bucket) = env.bucket(&put.key) else { return };
            for owner in put.open_slots().collect::<Vec<_>>() {
                if owner != env.me {
                    if !put.is_heard(owner) {
                        env.silent(owner);
                    }
                    again |= ask_fallback_to_hold(env, put, id, owner, bucket, false);
                }
            }
            if put.is_strict() && !put.replied {
                // Who answered in another view than this is asked again (L2).
                send_to_missing(env, id, put);
                again = true;
            }
        } else if let Some((_, get)) = self.gets.get_mut(&id) {
            let Some(bucket) = env.bucket(&get.key) else { return };
            for owner in get.silent_owners().collect::<Vec<_>>() {
                if !get.may_be_heard(env.view.id()) {
                    env.silent(owner);
                }
                // Who has its answer needs no more fallbacks: messages stay constant in the number of nodes.
                again |= !get.replied && ask_fallback_to_read(env, get, id, bucket, false);
            }
            if !get.replied {
                // An answer may have come in a view in which it does not count (L2), or may not be taken in (T1).
                again |= !ask_silent_owners(env, id, get).is_empty();
            }
        }
        if again {
            env.set_timer(Timer::Fallback(id), env.config.fallback_after_ms);
        }
        self.after_put_answer(env, id);
        self.after_get_answer(env, id);
    }

    /// The client waits no longer: it is told what is known, and stale owners are repaired with what came.
    pub(crate) fn deadline<S: Storage>(&mut self, env: &mut Env<'_, S>, id: RequestId) {
        if let Some((client, put)) = self.puts.remove(&id) {
            env.cancel_timer(Timer::Fallback(id));
            if put.replied {
                self.forget_reply(id);
            } else {
                let response = put.response(env.me, env.view, env.config.rules);
                client.reply(env, &put.key, response);
            }
        }
        if let Some((client, get)) = self.gets.remove(&id) {
            env.cancel_timer(Timer::Fallback(id));
            if get.replied {
                self.forget_reply(id);
            }
            let Some(bucket) = env.bucket(&get.key) else { return };
            if !get.replied {
                let binding = Binding::new(env.config.cluster, &get.key.key);
                let response = get.response(binding, env.merging(bucket));
                client.reply(env, &get.key, response);
            }
            repair(env, &get, bucket);
        }
    }
}

/// The own copy counts when it is durable (D1).
fn hold_here<S: Storage>(env: &mut Env<'_, S>, id: RequestId, put: &mut Put, changed: bool) {
    if env.acknowledges_at_once(changed) {
        put.durable_here(env.me, env.config.rules);
    } else {
        env.effects.push(Effect::Sync(Ticket::Coordinated(id, put.view)));
    }
}

/// The coordinator is asked again like every owner when the view changes: what it wrote before may have been damaged
/// since, and the record mended from others that never heard of it (W1). A copy that is no owner's does not count.
fn hold_again<S: Storage>(env: &mut Env<'_, S>, put: &Put, bucket: &Bucket) -> Absorbed {
    if !env.owns(&put.key, bucket) {
        return Absorbed::UnknownBucket;
    }
    hints::absorb(env, &put.key, &put.object, None)
}

/// What this node answers to a read of its own copy.
pub(crate) fn answer<S: Storage>(env: &mut Env<'_, S>, key: &RecordKey) -> Answer {
    match mending::read(env, key) {
        Stored::Absent => Answer::Absent,
        Stored::Found(Record { object, damaged: None, .. }) => Answer::Found(object),
        Stored::Found(Record { damaged: Some(_), .. }) | Stored::Damaged => Answer::Damaged,
    }
}

/// What is stored here, and how many owners lack it.
pub(crate) fn local<S: Storage>(
    env: &mut Env<'_, S>,
    key: &RecordKey,
    bucket: &Bucket,
) -> Response {
    match mending::read(env, key) {
        Stored::Found(Record { damaged: Some(_), .. }) => Response::Refused(Refusal::Damaged),
        Stored::Absent => Response::Held { object: Object::new(), owes: 0 },
        Stored::Found(record) => {
            let owes = hints::owed_now(env, key, bucket, &record).len() as u8;
            Response::Held { object: record.object, owes }
        }
        Stored::Damaged => Response::Refused(Refusal::Damaged),
    }
}

/// Sends the object to everybody who is to hold it and is not known to.
fn send_to_missing<S: Storage>(env: &mut Env<'_, S>, id: RequestId, put: &Put) {
    for node in put.missing().filter(|node| *node != env.me).collect::<Vec<_>>() {
        send_put(env, node, node, id, put);
    }
}

/// Asks the owners that have not answered; gives them.
fn ask_silent_owners<S: Storage>(env: &mut Env<'_, S>, id: RequestId, get: &Get) -> Vec<NodeId> {
    let silent: Vec<NodeId> = get.silent_owners().filter(|owner| *owner != env.me).collect();
    for owner in &silent {
        ask_to_read(env, *owner, id, get);
    }
    silent
}

fn ask_to_read<S: Storage>(env: &mut Env<'_, S>, node: NodeId, id: RequestId, get: &Get) {
    let body = Body::Get { request: id, key: get.key.key.clone() };
    env.send(node, get.key.partition, body);
}

fn send_put<S: Storage>(
    env: &mut Env<'_, S>,
    to: NodeId,
    slot: NodeId,
    request: RequestId,
    put: &Put,
) {
    let (key, object) = (put.key.key.clone(), put.object.clone());
    env.send(to, put.key.partition, Body::Put { request, slot, key, object });
}

/// Asks the next fallback that was not asked yet to hold the slot of `owner`, preferring those that are not
/// suspected; says whether there was one. The coordinator itself may be it.
fn ask_fallback_to_hold<S: Storage>(
    env: &mut Env<'_, S>,
    put: &mut Put,
    id: RequestId,
    owner: NodeId,
    bucket: &Bucket,
    unsuspected_only: bool,
) -> bool {
    let free = |node: &NodeId| !put.has_asked(*node);
    let candidates = || env.view.fallbacks(put.key.partition, bucket.n).filter(free);
    // With copies spread over zones, the silent owner's zone is to have one (Q3).
    let is_near = |node: &NodeId| env.view.zone(*node) == env.view.zone(owner);
    let is_trusted = |node: &NodeId| !env.is_suspected(*node);
    let near =
        candidates().filter(|_| bucket.spread == Spread::Zone).filter(is_near).find(is_trusted);
    let trusted = near.or_else(|| candidates().find(is_trusted));
    let any = candidates().next().filter(|_| !unsuspected_only);
    if put.is_strict() || !env.config.fallbacks {
        return false;
    }
    let Some(node) = trusted.or(any) else { return false };
    put.ask(owner, node);
    if node != env.me {
        send_put(env, node, owner, id, put);
    } else if put.is_durable_here() {
        put.durable_here(env.me, env.config.rules);
    }
    true
}

/// Asks the next fallback that was not asked yet to answer a read in place of a silent owner; says whether
/// there was one.
fn ask_fallback_to_read<S: Storage>(
    env: &mut Env<'_, S>,
    get: &mut Get,
    id: RequestId,
    bucket: &Bucket,
    unsuspected_only: bool,
) -> bool {
    if !get.asks_fallbacks(env.config.rules) || !env.config.fallbacks {
        return false;
    }
    let free = |node: &NodeId| !get.fallbacks().contains(node);
    let candidates = || env.view.fallbacks(get.key.partition, bucket.n).filter(free);
    let trusted = candidates().find(|node| !env.is_suspected(*node));
    let any = candidates().next().filter(|_| !unsuspected_only);
    let Some(node) = trusted.or(any) else { return false };
    get.ask(node);
    if node == env.me {
        get.hear(node, answer(env, &get.key), env.view.id(), env.config.rules);
    } else {
        ask_to_read(env, node, id, get);
    }
    true
}

/// Brings stale owners up to date with the merge of all answers, this node's own copy included.
fn repair<S: Storage>(env: &mut Env<'_, S>, get: &Get, bucket: &Bucket) {
    let (merged, stale) = get.repair(env.merging(bucket));
    for owner in stale {
        if owner == env.me {
            hints::absorb(env, &get.key, &merged, None);
        } else {
            let body = Body::Repair { key: get.key.key.clone(), object: merged.clone() };
            env.send(owner, get.key.partition, body);
        }
    }
}
