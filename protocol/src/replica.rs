//! The replica: one shard of one node, as a pure state machine. This file only routes.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    accepting, admitting,
    anti_entropy::{self, AntiEntropy},
    bucket::Spread,
    catch_up::{self, CatchUp, Page},
    coordinate::Actors,
    env::{Env, Shard},
    forward::{Forwards, TakenBack},
    hints::{self, Absorbed, Handoff},
    id::{AddId, Incarnation, NodeId, RequestId},
    key::{Partition, RecordKey},
    limits,
    mending::{self, Mending},
    message::{Body, Message},
    reaping::{self, Reaping},
    record::Storage,
    request::{Refusal, Request, Response},
    requests::{Requests, answer},
    rules::Mutant,
    step::{Config, Effect, Effects, Fact, Input, Ticket, Timer},
    trees::{Here, Sum, TreeId, Trees},
    view::View,
    waiter::Client,
};

/// Requests, records and hints of one shard. A crash loses it whole; what it must not lose is in [`Storage`].
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Replica {
    id: NodeId,
    incarnation: Incarnation,
    config: Arc<Config>,
    view: Option<Arc<View>>,
    suspected: Vec<NodeId>,
    /// Whether the disk is short: clients' writes are refused.
    short: bool,
    actors: Actors,
    requests: Requests,
    forwards: Forwards,
    handoff: Handoff,
    catch_up: CatchUp,
    trees: Trees,
    anti_entropy: AntiEntropy,
    mending: Mending,
    reaping: Reaping,
    shard: Shard,
}

impl Replica {
    /// A replica as after any start: it knows nothing but who it is.
    pub fn new(id: NodeId, incarnation: Incarnation, config: impl Into<Arc<Config>>) -> Self {
        Self {
            id,
            incarnation,
            config: config.into(),
            view: None,
            suspected: Vec::new(),
            short: false,
            actors: Actors::default(),
            requests: Requests::default(),
            forwards: Forwards::default(),
            handoff: Handoff::default(),
            catch_up: CatchUp::default(),
            trees: Trees::default(),
            anti_entropy: AntiEntropy::default(),
            mending: Mending::default(),
            reaping: Reaping::default(),
            shard: Shard { index: 0, count: 1 },
        }
    }

    /// The same as one of several shards: see [`crate::shard_of`].
    #[must_use]
    pub fn of_shard(self, index: u16, count: u16) -> Self {
        Self { shard: Shard { index, count }, ..self }
    }

    /// Takes one input and appends what is to be done. The same state and input give the same effects.
    ///
    /// A client's fault gets a typed reply, a peer's fault is ignored, a fault of this code panics. What it
    /// writes to `storage` in one step is one atomic batch.
    pub fn step(&mut self, storage: &mut impl Storage, input: Input, effects: &mut Effects) {
        match input {
            Input::View(view) => self.adopt(storage, view, effects),
            Input::Suspect { node, suspected } => self.suspect(storage, node, suspected, effects),
            Input::Request { number, request } => self.request(storage, number, request, effects),
            Input::Message { from, message } => self.message(storage, from, message, effects),
            Input::Timeout(timer) => self.timeout(storage, timer, effects),
            Input::Synced(ticket) => self.synced(storage, ticket, effects),
            Input::Space { short } => self.short = short,
            Input::Reap { bound } => self.reap(storage, bound, effects),
        }
    }

    /// How many requests wait for their reply: coordinated here or forwarded, and losses to accept.
    pub fn pending(&self) -> usize {
        self.requests.len() + self.forwards.len() + self.mending.accepting.len()
    }

    /// How many damaged records this shard knows of that are not mended yet.
    pub fn unmended(&self) -> usize {
        self.mending.unmended()
    }

    /// Whether the shard, since it started, has not yet looked for damage at all that it stores.
    pub fn is_looking_for_damage(&self) -> bool {
        self.mending.is_looking()
    }

    /// The partition at which a run of reaping is, if there is one.
    pub fn reaps_at(&self) -> Option<Partition> {
        self.reaping.is_at()
    }

    /// How far the run of reaping is, if there is one, in thousandths of the partitions.
    pub fn reaped_permille(&self) -> Option<u32> {
        let partitions = u64::from(self.view.as_ref()?.partitions().count());
        let at = u64::from(self.reaps_at()?.0).min(partitions);
        Some((at * 1_000 / partitions) as u32)
    }

    /// How many partitions this shard still has to catch up with before the change under way may finish.
    pub fn catching_up(&self) -> usize {
        self.catch_up.left()
    }

    /// The trees that are whole, and the sum of all that each is over: equal at two owners that hold the same.
    pub fn trees(&self) -> impl Iterator<Item = (TreeId, Sum)> + '_ {
        self.trees.roots(self.config.tree_depth)
    }

    /// How many partitions are still to be scanned before all trees are whole.
    pub fn trees_left(&self) -> usize {
        self.trees.left()
    }

    /// How many exchanges a rotation of anti-entropy has in the present view: one for each tree and partner.
    pub fn exchanges(&self) -> usize {
        let Some(view) = self.view.as_ref().filter(|_| self.config.anti_entropy_every_ms > 0)
        else {
            return 0;
        };
        let here = Here { view, me: self.id, rules: self.config.rules };
        here.trees_of(self.shard).map(|id| here.partners(id).len()).sum()
    }

    fn adopt(&mut self, storage: &mut impl Storage, view: Arc<View>, effects: &mut Effects) {
        if self.view.as_ref().is_some_and(|mine| mine.id() >= view.id()) {
            return;
        }
        let before = self.view.replace(view);
        if let Some((mut env, parts)) = self.parts(storage, effects) {
            env.effects.push(Effect::Report(Fact::Adopted(env.view.id())));
            parts.reaping.adopt(&mut env, before.is_none());
            let fence = before.as_ref().and_then(|view| view.reaped().fence);
            if env.view.reaped().fence > fence {
                parts.requests.forget(&mut env);
            }
            Trees::adopt(&mut env, before.is_none());
            parts.anti_entropy.adopt(&mut env);
            parts.requests.adopt(&mut env);
            parts.handoff.start(&mut env);
            if before.as_ref().map(|view| view.id().era()) != Some(env.view.id().era()) {
                parts.catch_up.start(&mut env);
            }
            mending::adopt(&mut env, before.is_none());
        }
    }

    fn suspect(
        &mut self,
        storage: &mut impl Storage,
        node: NodeId,
        suspected: bool,
        effects: &mut Effects,
    ) {
        match self.suspected.binary_search(&node) {
            Err(at) if suspected && node != self.id => {
                self.suspected.insert(at, node);
                if let Some((mut env, parts)) = self.parts(storage, effects) {
                    parts.catch_up.suspect(&mut env);
                }
            }
            Ok(at) if !suspected => {
                self.suspected.remove(at);
                // What is held for the peer need not wait for the next pass.
                if let Some((mut env, parts)) = self.parts(storage, effects) {
                    parts.handoff.hurry(&mut env);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn request(
        &mut self,
        storage: &mut impl Storage,
        number: u64,
        request: Request,
        effects: &mut Effects,
    ) {
        let run = if self.config.rules.keeps(Mutant::ReuseRequestIds) {
            self.incarnation
        } else {
            Incarnation(0)
        };
        let id = RequestId { coordinator: run, caller: run, number };
        match self.parts(storage, effects) {
            Some((mut env, mut parts)) => {
                parts.take(&mut env, id, Client::here(number), request, true)
            }
            None => {
                let response = Response::Refused(Refusal::NotReady);
                effects.push(Effect::Reply { number, response });
            }
        }
    }

    fn reap(&mut self, storage: &mut impl Storage, bound: Option<AddId>, effects: &mut Effects) {
        if let Some((mut env, parts)) = self.parts(storage, effects) {
            parts.reaping.start(&mut env, bound);
        }
    }

    fn message(
        &mut self,
        storage: &mut impl Storage,
        from: NodeId,
        message: Message,
        effects: &mut Effects,
    ) {
        // Without a view there is nothing to judge a message by: it is lost, as on any network.
        if let Some((mut env, mut parts)) = self.parts(storage, effects) {
            env.heard_from(from);
            if message.view > env.view.id() {
                env.effects.push(Effect::Report(Fact::Newer(from)));
            }
            parts.message(&mut env, from, message);
        }
    }

    fn timeout(&mut self, storage: &mut impl Storage, timer: Timer, effects: &mut Effects) {
        let Some((mut env, mut parts)) = self.parts(storage, effects) else { return };
        match timer {
            Timer::Handoff => parts.handoff.page(&mut env),
            Timer::CatchUp => parts.catch_up.fire(&mut env),
            Timer::Trees => Trees::page(&mut env),
            Timer::AntiEntropy => parts.anti_entropy.fire(&mut env),
            Timer::Mend => mending::go_on(&mut env),
            Timer::Reap => parts.reaping.go_on(&mut env),
            Timer::Deadline(id) => {
                parts.requests.deadline(&mut env, id);
                parts.forwards.deadline(&mut env, id);
                accepting::deadline(&mut env, id);
            }
            Timer::Fallback(id) => {
                parts.requests.fallback(&mut env, id);
                let back = parts.forwards.silent(&mut env, id);
                parts.take_back(&mut env, back);
            }
        }
    }

    fn synced(&mut self, storage: &mut impl Storage, ticket: Ticket, effects: &mut Effects) {
        match ticket {
            Ticket::Acknowledge { to, message } => effects.push(Effect::Send { to, message }),
            Ticket::Drained(view) => effects.push(Effect::Report(Fact::Drained(view))),
            Ticket::LossAccepted(id) => {
                if let Some((mut env, _)) = self.parts(storage, effects) {
                    accepting::synced(&mut env, id);
                }
            }
            Ticket::Judged(view) => {
                if let Some((mut env, parts)) = self.parts(storage, effects) {
                    parts.reaping.judged(&mut env, view);
                }
            }
            Ticket::Merged { partition, n, source, view } => {
                if let Some((mut env, parts)) = self.parts(storage, effects) {
                    parts.catch_up.merged(&mut env, (partition, n), source, view);
                }
            }
            Ticket::Coordinated(id, view) => {
                if let Some((mut env, parts)) = self.parts(storage, effects) {
                    parts.requests.coordinated(&mut env, id, view);
                }
            }
        }
    }

    /// Splits the replica into the surroundings of a step and its concerns; `None` before the first view.
    fn parts<'a, S: Storage>(
        &'a mut self,
        storage: &'a mut S,
        effects: &'a mut Effects,
    ) -> Option<(Env<'a, S>, Parts<'a>)> {
        let env = Env {
            me: self.id,
            incarnation: self.incarnation,
            config: &self.config,
            view: self.view.as_deref()?,
            shard: self.shard,
            suspected: &self.suspected,
            short: self.short,
            mending: &mut self.mending,
            storage,
            trees: &mut self.trees,
            effects,
        };
        let parts = Parts {
            actors: &mut self.actors,
            requests: &mut self.requests,
            forwards: &mut self.forwards,
            handoff: &mut self.handoff,
            catch_up: &mut self.catch_up,
            anti_entropy: &mut self.anti_entropy,
            reaping: &mut self.reaping,
        };
        Some((env, parts))
    }
}

/// The concerns of a replica, each with its own table.
struct Parts<'a> {
    actors: &'a mut Actors,
    requests: &'a mut Requests,
    forwards: &'a mut Forwards,
    handoff: &'a mut Handoff,
    catch_up: &'a mut CatchUp,
    anti_entropy: &'a mut AntiEntropy,
    reaping: &'a mut Reaping,
}

impl Parts<'_> {
    /// Takes a request of a client or of a peer: checks it, then coordinates it or passes it on.
    fn take<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        id: RequestId,
        client: Client,
        request: Request,
        may_forward: bool,
    ) {
        let key = env.view.place(request.key.clone());
        let is_accepting = env.mending.accepting.contains_key(&id);
        if is_accepting || self.requests.contains(id) || self.forwards.contains(id) {
            return;
        }
        let refuse = |env: &mut Env<'_, S>, refusal| {
            client.reply(env, &key, Response::Refused(refusal));
        };
        if self.requests.len() + self.forwards.len() >= env.config.max_pending {
            return refuse(env, Refusal::Overloaded);
        }
        let Some(bucket) = env.bucket(&key) else { return refuse(env, Refusal::UnknownBucket) };
        let need = match limits::check(&request, bucket, env.config) {
            Ok(need) => need,
            Err(refusal) => return refuse(env, refusal),
        };
        if let Some(floor) = env.view.reaped().floor
            && request.operation.added().is_some_and(|add_id| add_id <= floor)
            && env.keeps(Mutant::ReapWithoutFloor)
        {
            return refuse(env, Refusal::TooOld(floor));
        }
        let is_member = env.view.is_member(env.me);
        let is_local = request.operation.is_local();
        if !is_member && env.view.lists(env.me) && !is_local {
            // It was removed: it drains and takes nothing on.
            return refuse(env, Refusal::NotReady);
        }
        let here = env.owns(&key, bucket) || is_local;
        let owners = env.view.owners(key.partition, bucket.n);
        let is_write = !request.operation.is_read() && !is_local;
        if bucket.spread == Spread::Zone && is_write {
            let zones = env.view.zones(owners.iter().copied()) as u8;
            if zones < need {
                return refuse(env, Refusal::TooFewZones { asked: need, zones });
            }
        }
        let trusted = owners.iter().find(|owner| !env.is_suspected(**owner)).copied();
        // Whether nobody but an owner may coordinate this. Then one is asked whatever is suspected.
        let is_owners = !env.config.fallbacks && is_write && !here;
        let asked = trusted.or_else(|| owners.first().copied().filter(|_| is_owners));
        match asked.filter(|_| may_forward && !here) {
            None if is_owners => refuse(env, Refusal::NotReady),
            None if !is_member && !here => refuse(env, Refusal::NotReady),
            // Passing a request on stores nothing here, so that goes on. What peers send is never refused:
            // somebody has acknowledged it, or is about to (H2).
            None if env.short && is_write => refuse(env, Refusal::DiskFull),
            Some(owner) => self.forwards.start(env, (id, client), owner, (key, need), request),
            None => {
                let placed = (key, bucket, need);
                self.requests.start(env, self.actors, (id, client), placed, &request);
            }
        }
    }

    /// Coordinates what another node did not.
    fn take_back<S: Storage>(&mut self, env: &mut Env<'_, S>, back: Option<TakenBack>) {
        if let Some(TakenBack { id, client, request }) = back {
            self.take(env, id, client, request, false);
        }
    }

    /// Coordinates what another node passed on.
    fn forwarded<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        from: NodeId,
        request: RequestId,
        asked: Request,
    ) {
        let coordinator =
            if env.keeps(Mutant::ReuseRequestIds) { env.incarnation } else { Incarnation(0) };
        let id = RequestId { coordinator, ..request };
        self.take(env, id, Client::peer(from, request), asked, false);
    }

    fn message<S: Storage>(&mut self, env: &mut Env<'_, S>, from: NodeId, message: Message) {
        let Message { view, partition, body } = message;
        if !admitting::admits(env, (from, view), partition, &body) {
            return;
        }
        let placed = |key| RecordKey { partition, key };
        match body {
            Body::Put { request, slot, key, object } => {
                let (key, ok) = (placed(key), Body::PutOk { request, slot });
                if let Absorbed::Held { changed } = hints::absorb(env, &key, &object, Some(slot)) {
                    env.acknowledge(from, env.message(partition, ok), changed);
                }
            }
            Body::PutOk { request, slot } => {
                self.requests.put_ok(env, from, request, slot, view);
            }
            Body::Get { request, key } => {
                let answer = answer(env, &placed(key));
                env.send(from, partition, Body::GetOk { request, answer });
            }
            Body::GetOk { request, answer } => {
                self.requests.get_ok(env, from, request, answer, view);
            }
            Body::Repair { key, object } => hints::repaired(env, &placed(key), &object),
            Body::Handoff { key, object, digest } => {
                hints::receive(env, from, placed(key), &object, digest);
            }
            Body::HandoffOk { key, digest, owner } => {
                hints::settle(env, from, &placed(key), digest, owner, view);
            }
            Body::Sync { n, after } => catch_up::answer(env, (from, view), partition, n, after),
            Body::SyncPage { n, after, objects, next } => {
                let page = Page { n, after, objects, next };
                self.catch_up.page(env, (from, view), partition, page);
            }
            Body::Compare { n, sums } => {
                anti_entropy::compare(env, from, (partition, n), &sums);
            }
            Body::CompareOk { n, of, differing } => {
                self.anti_entropy.compared(env, from, (partition, n), of, differing.as_deref());
            }
            Body::Keys { n, leaves, after, until, keys } => {
                let page = anti_entropy::Page { n, leaves, after, until, keys };
                anti_entropy::answer(env, from, partition, &page);
            }
            Body::KeysOk { n, after, next, objects, wanted } => {
                let reply = anti_entropy::Reply { n, after, next, objects, wanted };
                self.anti_entropy.replied(env, from, partition, reply);
            }
            Body::Forward { request, asked } => self.forwarded(env, from, request, asked),
            Body::Mend { key } => mending::answer(env, from, placed(key)),
            Body::MendOk { key, answer } => {
                mending::merge(env, (from, view), &placed(key), answer);
            }
            Body::Judge => self.reaping.asked(env, (from, view), partition),
            Body::JudgeOk { fit, incarnation } => {
                self.reaping.heard(env, (from, view), fit, incarnation);
            }
            Body::Reap { floor, items } => reaping::reap(env, partition, floor, &items),
            Body::Outdated => {} // That the sender goes by a newer view is reported already.
            Body::ForwardOk { request, response } => {
                let back = self.forwards.answered(env, from, request, response);
                self.take_back(env, back);
            }
        }
    }
}
