//! Forwarding: a node that owns no copy of a key passes the request on, once (rule F1).
//!
//! A register put that was forwarded is neither resent nor coordinated again by the forwarder: it may have been
//! taken, and a second dot of the same put could bring back what a later put has replaced (riak_kv #1754).
//! After a silence its outcome is unknown. A refusal before anything was started is definite: it is delivered once.
//! Reads and cart operations may be carried out anywhere any number of times; they may also be delivered
//! twice, so a refusal of one says nothing of what became of the other.

use alloc::collections::BTreeMap;

use crate::{
    env::Env,
    id::{NodeId, RequestId},
    key::RecordKey,
    message::Body,
    record::Storage,
    request::{Refusal, Request, Response},
    rules::Mutant,
    step::Timer,
    waiter::Client,
};

/// The requests that others coordinate for this node's clients.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Forwards(BTreeMap<RequestId, Forwarded>);

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Forwarded {
    client: Client,
    to: NodeId,
    key: RecordKey,
    request: Request,
    need: u8,
}

/// A request that this node is to coordinate itself after all.
pub(crate) struct TakenBack {
    pub(crate) id: RequestId,
    pub(crate) client: Client,
    pub(crate) request: Request,
}

impl Forwards {
    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the request is under way.
    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.0.contains_key(&id)
    }

    /// Passes a request on to an owner.
    pub(crate) fn start<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        (id, client): (RequestId, Client),
        to: NodeId,
        (key, need): (RecordKey, u8),
        request: Request,
    ) {
        let partition = key.partition;
        env.set_timer(Timer::Deadline(id), request.timeout_ms.min(env.config.max_timeout_ms));
        env.set_timer(Timer::Fallback(id), env.config.fallback_after_ms);
        env.send(to, partition, Body::Forward { request: id, asked: request.clone() });
        self.0.insert(id, Forwarded { client, to, key, request, need });
    }

    /// What became of a forwarded request: the client is told, unless the other node definitely started nothing.
    pub(crate) fn answered<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        from: NodeId,
        id: RequestId,
        response: Response,
    ) -> Option<TakenBack> {
        if self.0.get(&id).is_none_or(|forwarded| forwarded.to != from) {
            return None;
        }
        let Forwarded { client, key, request, need, .. } = self.0.remove(&id)?;
        env.cancel_timer(Timer::Fallback(id));
        env.cancel_timer(Timer::Deadline(id));
        match response {
            Response::Refused(refusal) if refusal.is_the_nodes() => {
                // The network may have delivered it twice, and this be the answer to the later one only.
                let operation = &request.operation;
                let twice = operation.is_repeatable() && !operation.is_read();
                let client = if twice { client.unsure(need) } else { client };
                if !env.config.fallbacks && !operation.is_read() {
                    // Only an owner may carry it out: the client finds another.
                    client.reply(env, &key, response);
                    return None;
                }
                Some(TakenBack { id, client, request })
            }
            // So it may be here: before the floor rose it was in order.
            Response::Refused(Refusal::TooOld(_)) => {
                client.unsure(need).reply(env, &key, response);
                None
            }
            Response::Found { .. }
            | Response::Held { .. }
            | Response::Written { .. }
            | Response::Refused(_) => {
                client.reply(env, &key, response);
                None
            }
        }
    }

    /// The other node has been silent for a while: what may be carried out twice is taken back.
    pub(crate) fn silent<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        id: RequestId,
    ) -> Option<TakenBack> {
        let forwarded = self.0.get(&id)?;
        env.silent(forwarded.to);
        let operation = &forwarded.request.operation;
        if !operation.is_repeatable() && env.keeps(Mutant::RecoordinateOnForward) {
            return None;
        }
        if !env.config.fallbacks && !operation.is_read() {
            // It would only be refused here: the owner may still answer.
            return None;
        }
        let Forwarded { client, request, need, .. } = self.0.remove(&id)?;
        env.cancel_timer(Timer::Deadline(id));
        let client = client.unsure(need);
        Some(TakenBack { id, client, request })
    }

    /// The client waits no longer.
    pub(crate) fn deadline<S: Storage>(&mut self, env: &mut Env<'_, S>, id: RequestId) {
        if let Some(Forwarded { client, key, need, .. }) = self.0.remove(&id) {
            env.cancel_timer(Timer::Fallback(id));
            client.reply(env, &key, Response::Refused(Refusal::Unavailable { have: 0, need }));
        }
    }
}
