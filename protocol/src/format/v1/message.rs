//! Messages between replicas.

use alloc::{sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    DecodeError,
    key::{self, Key, into_maybe_key},
    object::{self, DecodedObject, ViewId},
    primitive::{Id128, Random64},
    reap::{self, Reapable},
    request,
    tree::{self, Branch, Differing},
};
use crate::{
    id::{Incarnation, NodeId, RequestId as LiveRequestId},
    key::{Key as LiveKey, Partition},
    message::{Answer as LiveAnswer, Body as LiveBody, Message as LiveMessage},
    object::{Digest, Object as LiveObject},
    trees::Sum,
};

#[derive(Deserialize, Serialize)]
pub(super) struct Message<'a, O, R> {
    view: ViewId,
    partition: u32,
    #[serde(borrow)]
    body: Body<'a, O, R>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct RequestId {
    coordinator: Random64,
    caller: Random64,
    number: u64,
}

/// `O` is the mirror of an object, `R` that of a response: other types when written and when read.
#[derive(Deserialize, Serialize)]
enum Body<'a, O, R> {
    Put {
        request: RequestId,
        slot: Random64,
        #[serde(borrow)]
        key: Key<'a>,
        object: O,
    },
    PutOk(RequestId, Random64),
    Get {
        request: RequestId,
        #[serde(borrow)]
        key: Key<'a>,
    },
    GetOk {
        request: RequestId,
        answer: Answer<O>,
    },
    Repair {
        #[serde(borrow)]
        key: Key<'a>,
        object: O,
    },
    Handoff {
        #[serde(borrow)]
        key: Key<'a>,
        object: O,
        digest: Id128,
    },
    HandoffOk {
        #[serde(borrow)]
        key: Key<'a>,
        digest: Id128,
        owner: bool,
    },
    Forward {
        request: RequestId,
        #[serde(borrow)]
        asked: request::Request<'a>,
    },
    ForwardOk {
        request: RequestId,
        response: R,
    },
    Sync {
        n: u8,
        #[serde(borrow)]
        after: Option<Key<'a>>,
    },
    SyncPage {
        n: u8,
        #[serde(borrow)]
        after: Option<Key<'a>>,
        #[serde(borrow)]
        objects: Vec<(Key<'a>, O)>,
        #[serde(borrow)]
        next: Option<Key<'a>>,
    },
    Compare {
        n: u8,
        sums: Vec<(Branch, Id128)>,
    },
    CompareOk {
        n: u8,
        of: Id128,
        differing: Option<Vec<Differing>>,
    },
    Keys {
        n: u8,
        leaves: Vec<Branch>,
        #[serde(borrow)]
        after: Option<Key<'a>>,
        #[serde(borrow)]
        until: Option<Key<'a>>,
        #[serde(borrow)]
        keys: Vec<(Key<'a>, Id128)>,
    },
    KeysOk {
        n: u8,
        #[serde(borrow)]
        after: Option<Key<'a>>,
        #[serde(borrow)]
        next: Option<Key<'a>>,
        #[serde(borrow)]
        objects: Vec<(Key<'a>, O)>,
        #[serde(borrow)]
        wanted: Vec<Key<'a>>,
    },
    Mend {
        #[serde(borrow)]
        key: Key<'a>,
    },
    MendOk {
        #[serde(borrow)]
        key: Key<'a>,
        answer: Answer<O>,
    },
    Judge,
    JudgeOk(bool, Random64),
    Reap(Option<Id128>, #[serde(borrow)] Vec<Reapable<'a>>),
    Outdated,
}

#[derive(Deserialize, Serialize)]
enum Answer<O> {
    Absent,
    Found(O),
    Damaged,
}

pub(super) type DecodedMessage<'a> = Message<'a, DecodedObject<'a>, request::DecodedResponse<'a>>;

pub(super) fn message(message: &LiveMessage) -> impl Serialize {
    Message {
        view: object::view_id(message.view),
        partition: message.partition.0,
        body: body(&message.body),
    }
}

pub(super) fn into_message(message: DecodedMessage<'_>) -> Result<LiveMessage, DecodeError> {
    Ok(LiveMessage {
        view: object::into_view_id(message.view),
        partition: Partition(message.partition),
        body: into_body(message.body)?,
    })
}

/// About how many bytes the message takes.
pub(super) fn size_hint(message: &LiveMessage) -> usize {
    const FIXED: usize = 192;
    let content = match &message.body {
        LiveBody::Put { key, object, .. }
        | LiveBody::Repair { key, object }
        | LiveBody::Handoff { key, object, .. } => key.name.len() + object::size_hint(object),
        LiveBody::GetOk { answer: LiveAnswer::Found(object), .. } => object::size_hint(object),
        LiveBody::MendOk { key, answer: LiveAnswer::Found(object) } => {
            key.name.len() + object::size_hint(object)
        }
        LiveBody::Get { key, .. }
        | LiveBody::HandoffOk { key, .. }
        | LiveBody::Mend { key }
        | LiveBody::MendOk { key, answer: LiveAnswer::Absent | LiveAnswer::Damaged } => {
            key.name.len()
        }
        LiveBody::Forward { asked, .. } => request::size_hint(asked),
        LiveBody::ForwardOk { response, .. } => request::response_size_hint(response),
        LiveBody::Compare { sums, .. } => 20 * sums.len(),
        LiveBody::CompareOk { differing, .. } => {
            let branches = differing.iter().flat_map(|differing| differing.iter());
            branches.map(|(_, children)| 8 + 17 * children.len()).sum()
        }
        LiveBody::Keys { leaves, keys, .. } => {
            4 * leaves.len() + keys.iter().map(|(key, _)| 32 + key.name.len()).sum::<usize>()
        }
        LiveBody::KeysOk { objects, wanted, .. } => {
            let objects =
                objects.iter().map(|(key, object)| key.name.len() + object::size_hint(object));
            objects.sum::<usize>() + wanted.iter().map(|key| 16 + key.name.len()).sum::<usize>()
        }
        LiveBody::SyncPage { objects, .. } => {
            objects.iter().map(|(key, object)| key.name.len() + object::size_hint(object)).sum()
        }
        LiveBody::Reap { items, .. } => reap::items_size_hint(items),
        LiveBody::PutOk { .. }
        | LiveBody::Judge
        | LiveBody::JudgeOk { .. }
        | LiveBody::Outdated
        | LiveBody::Sync { .. }
        | LiveBody::GetOk { answer: LiveAnswer::Absent | LiveAnswer::Damaged, .. } => 0,
    };
    FIXED + content
}

fn body(body: &LiveBody) -> Body<'_, impl Serialize, impl Serialize> {
    match body {
        LiveBody::Put { request, slot, key, object } => Body::Put {
            request: request_id(*request),
            slot: Random64(slot.0),
            key: key::key(key),
            object: object::object(object),
        },
        LiveBody::PutOk { request, slot } => Body::PutOk(request_id(*request), Random64(slot.0)),
        LiveBody::Get { request, key } => {
            Body::Get { request: request_id(*request), key: key::key(key) }
        }
        LiveBody::GetOk { request, answer } => Body::GetOk {
            request: request_id(*request),
            answer: self::answer(answer, object::object),
        },
        LiveBody::Mend { key } => Body::Mend { key: key::key(key) },
        LiveBody::MendOk { key, answer } => {
            Body::MendOk { key: key::key(key), answer: self::answer(answer, object::object) }
        }
        LiveBody::Judge => Body::Judge,
        LiveBody::JudgeOk { fit, incarnation } => Body::JudgeOk(*fit, Random64(incarnation.0)),
        LiveBody::Reap { floor, items } => Body::Reap(reap::floor(*floor), reap::items(items)),
        LiveBody::Outdated => Body::Outdated,
        LiveBody::Repair { key, object } => {
            Body::Repair { key: key::key(key), object: object::object(object) }
        }
        LiveBody::Handoff { key, object, digest } => Body::Handoff {
            key: key::key(key),
            object: object::object(object),
            digest: Id128(digest.0),
        },
        LiveBody::HandoffOk { key, digest, owner } => {
            Body::HandoffOk { key: key::key(key), digest: Id128(digest.0), owner: *owner }
        }
        LiveBody::Forward { request, asked } => {
            Body::Forward { request: request_id(*request), asked: request::request(asked) }
        }
        LiveBody::ForwardOk { request, response } => {
            Body::ForwardOk { request: request_id(*request), response: request::response(response) }
        }
        LiveBody::Sync { n, after } => Body::Sync { n: *n, after: after.as_ref().map(key::key) },
        LiveBody::SyncPage { n, after, objects, next } => Body::SyncPage {
            n: *n,
            after: after.as_ref().map(key::key),
            objects: pairs(objects, object::object),
            next: next.as_ref().map(key::key),
        },
        LiveBody::Compare { n, sums } => Body::Compare { n: *n, sums: tree::sums(sums) },
        LiveBody::CompareOk { n, of, differing } => Body::CompareOk {
            n: *n,
            of: Id128(of.0),
            differing: differing.as_deref().map(tree::differing),
        },
        LiveBody::Keys { n, leaves, after, until, keys } => Body::Keys {
            n: *n,
            leaves: leaves.iter().copied().map(tree::branch).collect(),
            after: after.as_ref().map(key::key),
            until: until.as_ref().map(key::key),
            keys: tree::keys(keys),
        },
        LiveBody::KeysOk { n, after, next, objects, wanted } => Body::KeysOk {
            n: *n,
            after: after.as_ref().map(key::key),
            next: next.as_ref().map(key::key),
            objects: pairs(objects, object::object),
            wanted: wanted.iter().map(key::key).collect(),
        },
    }
}

fn into_body(
    body: Body<'_, DecodedObject<'_>, request::DecodedResponse<'_>>,
) -> Result<LiveBody, DecodeError> {
    let id = into_request_id;
    let maybe = |key: Option<Key<'_>>| into_maybe_key(key.as_ref());
    Ok(match body {
        Body::Put { request, slot, key, object } => LiveBody::Put {
            request: id(request),
            slot: NodeId(slot.0),
            key: key::into_key(&key)?,
            object: object::into_object(object)?,
        },
        Body::PutOk(request, slot) => {
            LiveBody::PutOk { request: id(request), slot: NodeId(slot.0) }
        }
        Body::Get { request, key } => {
            LiveBody::Get { request: id(request), key: key::into_key(&key)? }
        }
        Body::GetOk { request, answer } => {
            LiveBody::GetOk { request: id(request), answer: into_answer(answer)? }
        }
        Body::Mend { key } => LiveBody::Mend { key: key::into_key(&key)? },
        Body::MendOk { key, answer } => {
            LiveBody::MendOk { key: key::into_key(&key)?, answer: into_answer(answer)? }
        }
        Body::Judge => LiveBody::Judge,
        Body::JudgeOk(fit, run) => LiveBody::JudgeOk { fit, incarnation: Incarnation(run.0) },
        Body::Reap(floor, items) => {
            LiveBody::Reap { floor: reap::into_floor(floor), items: reap::into_items(&items)? }
        }
        Body::Outdated => LiveBody::Outdated,
        Body::Repair { key, object } => {
            LiveBody::Repair { key: key::into_key(&key)?, object: object::into_object(object)? }
        }
        Body::Handoff { key, object, digest } => LiveBody::Handoff {
            key: key::into_key(&key)?,
            object: object::into_object(object)?,
            digest: Digest(digest.0),
        },
        Body::HandoffOk { key, digest, owner } => {
            LiveBody::HandoffOk { key: key::into_key(&key)?, digest: Digest(digest.0), owner }
        }
        Body::Forward { request, asked } => {
            LiveBody::Forward { request: id(request), asked: request::into_request(asked)? }
        }
        Body::ForwardOk { request, response } => {
            let response = request::into_response(response)?;
            LiveBody::ForwardOk { request: id(request), response }
        }
        Body::Sync { n, after } => LiveBody::Sync { n, after: maybe(after)? },
        Body::SyncPage { n, after, objects, next } => {
            let (after, next) = (maybe(after)?, maybe(next)?);
            LiveBody::SyncPage { n, after, objects: into_objects(objects)?, next }
        }
        Body::Compare { n, sums } => LiveBody::Compare { n, sums: tree::into_sums(sums)? },
        Body::CompareOk { n, of, differing } => {
            let differing = differing.map(tree::into_differing).transpose()?;
            LiveBody::CompareOk { n, of: Sum(of.0), differing }
        }
        Body::Keys { n, leaves, after, until, keys } => {
            let (leaves, keys) = (tree::into_branches(leaves)?, tree::into_keys(&keys)?);
            LiveBody::Keys { n, leaves, after: maybe(after)?, until: maybe(until)?, keys }
        }
        Body::KeysOk { n, after, next, objects, wanted } => {
            let wanted = wanted.iter().map(key::into_key).collect::<Result<_, _>>()?;
            let (after, next) = (maybe(after)?, maybe(next)?);
            LiveBody::KeysOk { n, after, next, objects: into_objects(objects)?, wanted }
        }
    })
}

fn pairs<'a, O>(
    objects: &'a [(LiveKey, LiveObject)],
    object: impl Fn(&'a LiveObject) -> O,
) -> Vec<(Key<'a>, O)> {
    objects.iter().map(|(key, live)| (key::key(key), object(live))).collect()
}

fn answer<'a, O>(answer: &'a LiveAnswer, object: impl Fn(&'a LiveObject) -> O) -> Answer<O> {
    match answer {
        LiveAnswer::Absent => Answer::Absent,
        LiveAnswer::Found(live) => Answer::Found(object(live)),
        LiveAnswer::Damaged => Answer::Damaged,
    }
}

fn into_answer(answer: Answer<DecodedObject<'_>>) -> Result<LiveAnswer, DecodeError> {
    Ok(match answer {
        Answer::Absent => LiveAnswer::Absent,
        Answer::Found(object) => LiveAnswer::Found(object::into_object(object)?),
        Answer::Damaged => LiveAnswer::Damaged,
    })
}

fn into_objects(
    objects: Vec<(Key<'_>, DecodedObject<'_>)>,
) -> Result<Arc<[(LiveKey, LiveObject)]>, DecodeError> {
    let objects = objects.into_iter();
    objects.map(|(key, object)| Ok((key::into_key(&key)?, object::into_object(object)?))).collect()
}

fn request_id(request: LiveRequestId) -> RequestId {
    RequestId {
        coordinator: Random64(request.coordinator.0),
        caller: Random64(request.caller.0),
        number: request.number,
    }
}

fn into_request_id(request: RequestId) -> LiveRequestId {
    LiveRequestId {
        coordinator: Incarnation(request.coordinator.0),
        caller: Incarnation(request.caller.0),
        number: request.number,
    }
}
