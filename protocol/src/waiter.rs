//! Who waits for a request: a client of this node, or the node that forwarded it.

use crate::{
    env::Env,
    id::{NodeId, RequestId},
    key::RecordKey,
    message::Body,
    record::Storage,
    request::{Refusal, Response},
    step::Effect,
};

/// Who waits for a request, and what it may be told.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Client {
    waiter: Waiter,
    /// Another node may have carried the request out already, with this many answers to collect: then no refusal
    /// is definite any more.
    started_elsewhere: Option<u8>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Waiter {
    /// A client of this node, by its own number.
    Here(u64),
    /// The node that forwarded it, by its request id.
    Peer(NodeId, RequestId),
}

impl Client {
    /// A client of this node, by its own number.
    pub(crate) fn here(number: u64) -> Self {
        Self { waiter: Waiter::Here(number), started_elsewhere: None }
    }

    /// The node that forwarded a request, by its request id.
    pub(crate) fn peer(node: NodeId, request: RequestId) -> Self {
        Self { waiter: Waiter::Peer(node, request), started_elsewhere: None }
    }

    /// Whether a node forwarded it.
    pub(crate) fn is_peer(self) -> bool {
        matches!(self.waiter, Waiter::Peer(..))
    }

    /// The same, when another node that needed so many answers was silent: it may have started.
    pub(crate) fn unsure(self, need: u8) -> Self {
        Self { started_elsewhere: Some(need), ..self }
    }

    /// Tells it.
    pub(crate) fn reply<S: Storage>(
        self,
        env: &mut Env<'_, S>,
        key: &RecordKey,
        response: Response,
    ) {
        let response = match (response, self.started_elsewhere) {
            (Response::Refused(refusal), Some(need)) if refusal.is_definite() => {
                Response::Refused(Refusal::Unavailable { have: 0, need })
            }
            (response, _) => response,
        };
        match self.waiter {
            Waiter::Here(number) => env.effects.push(Effect::Reply { number, response }),
            Waiter::Peer(node, request) => {
                env.send(node, key.partition, Body::ForwardOk { request, response });
            }
        }
    }
}
