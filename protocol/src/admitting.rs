//! Which messages of peers are handled at all.

use crate::{
    env::Env,
    id::NodeId,
    key::{Key, Partition},
    limits,
    message::Body,
    record::Storage,
    request::{Refusal, Response},
    rules::Mutant,
    view::ViewId,
};

/// Whether a message is to be handled at all in this view.
pub(crate) fn admits<S: Storage>(
    env: &mut Env<'_, S>,
    (from, view): (NodeId, ViewId),
    partition: Partition,
    body: &Body,
) -> bool {
    let misplaced = |key: &Key| env.view.partitions().of(key) != partition;
    let is_wrong = |key: &Key| key.name.len() > limits::MAX_KEY || misplaced(key);
    if partition.0 >= env.view.partitions().count() || body.key().is_some_and(is_wrong) {
        // A peer's fault. Taken in here, the record would stand where no reader looks for it.
        return false;
    }
    if !env.view.is_member(env.me) && !body.is_answer() {
        // It counts nowhere any more, or not yet. Who forwards to it is told, and goes elsewhere.
        if let Body::Forward { request, .. } = body {
            let response = Response::Refused(Refusal::NotReady);
            env.send(from, partition, Body::ForwardOk { request: *request, response });
        }
        return false;
    }
    // No member yet, or one whose disk was given up: what it holds is refused.
    if !env.view.lists(from) && !matches!(body, Body::Forward { .. } | Body::ForwardOk { .. }) {
        return false;
    }
    let is_older = env.view.is_fenced(view) && body.brings_object();
    if is_older && env.keeps(Mutant::ReapTakesOlderObjects) {
        // What it brings may be what a reap round has made certain is nowhere (T1).
        env.send(from, partition, Body::Outdated);
        return false;
    }
    true
}
