//! Requests and responses.

use alloc::{borrow::Cow, sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    DecodeError, key,
    object::{self, Addition, DecodedObject},
    primitive::{Bytes, Id128},
};
use crate::{
    bucket::Kind as LiveKind,
    context::Context,
    id::{AddId, PutId},
    request::{
        Operation as LiveOperation, Refusal as LiveRefusal, Request as LiveRequest,
        Response as LiveResponse,
    },
};

#[derive(Deserialize, Serialize)]
pub(super) struct Request<'a> {
    #[serde(borrow)]
    key: key::Key<'a>,
    operation: Operation<'a>,
    quorum: Option<u8>,
    strict: bool,
    timeout_ms: u32,
}

/// A context is carried as the bytes that the client keeps, checksum included.
#[derive(Deserialize, Serialize)]
enum Operation<'a> {
    Get,
    GetLocal,
    Put {
        #[serde(borrow)]
        context: Option<Bytes<'a>>,
        put_id: Id128,
        time_us: u64,
        value: Bytes<'a>,
    },
    Delete {
        #[serde(borrow)]
        context: Option<Bytes<'a>>,
    },
    Change {
        cancel: Vec<Id128>,
        #[serde(borrow)]
        add: Option<Addition<'a>>,
        #[serde(borrow)]
        context: Option<Bytes<'a>>,
    },
    AcceptLoss,
}

#[derive(Deserialize, Serialize)]
pub(super) enum Response<'a, O> {
    Found {
        object: O,
        #[serde(borrow)]
        context: Bytes<'a>,
        owners: u8,
        fallbacks: u8,
    },
    Held {
        object: O,
        owes: u8,
    },
    Written {
        slots: u8,
        nodes: u8,
        zones: u8,
    },
    Refused(Refusal),
}

pub(super) type DecodedResponse<'a> = Response<'a, DecodedObject<'a>>;

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) enum Kind {
    Register,
    Cart,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) enum Refusal {
    KeyEmpty,
    KeyTooLong(u64),
    ValueTooLong(u64),
    SkuLength(u64),
    UnknownBucket,
    WrongKind(Kind),
    Quantity(u32),
    CartFull(u64),
    TooManyCancels { named: u64, bound: u64 },
    TooManySiblings(u64),
    ForeignContext,
    Quorum { asked: u8, n: u8 },
    StrictQuorum { asked: u8, least: u8 },
    TooFewZones { asked: u8, zones: u8 },
    Overloaded,
    NotReady,
    Damaged,
    Unavailable { have: u8, need: u8 },
    DiskFull,
    NotDamaged,
    OwnersSilent { answered: u8, owners: u8 },
    TooOld(Id128),
}

pub(super) fn request(request: &LiveRequest) -> Request<'_> {
    Request {
        key: key::key(&request.key),
        operation: operation(&request.operation),
        quorum: request.quorum,
        strict: request.strict,
        timeout_ms: request.timeout_ms,
    }
}

pub(super) fn into_request(request: Request<'_>) -> Result<LiveRequest, DecodeError> {
    Ok(LiveRequest {
        key: key::into_key(&request.key)?,
        operation: into_operation(request.operation)?,
        quorum: request.quorum,
        strict: request.strict,
        timeout_ms: request.timeout_ms,
    })
}

/// About how many bytes the request takes.
pub(super) fn size_hint(request: &LiveRequest) -> usize {
    let context = request.operation.context().map_or(0, |context| 24 + 20 * context.seen().len());
    let content = match &request.operation {
        LiveOperation::Get
        | LiveOperation::GetLocal
        | LiveOperation::AcceptLoss
        | LiveOperation::Delete { .. } => 0,
        LiveOperation::Put { value, .. } => 40 + value.len(),
        LiveOperation::Change { cancel, add, .. } => {
            16 * cancel.len() + add.as_ref().map_or(0, |add| 32 + add.sku.len())
        }
    };
    96 + request.key.name.len() + context + content
}

pub(super) fn response(response: &LiveResponse) -> Response<'_, impl Serialize> {
    match response {
        LiveResponse::Found { object, context, owners, fallbacks } => Response::Found {
            object: object::object(object),
            context: bytes(context),
            owners: *owners,
            fallbacks: *fallbacks,
        },
        LiveResponse::Held { object, owes } => {
            Response::Held { object: object::object(object), owes: *owes }
        }
        LiveResponse::Written { slots, nodes, zones } => {
            Response::Written { slots: *slots, nodes: *nodes, zones: *zones }
        }
        LiveResponse::Refused(why) => Response::Refused(refusal(*why)),
    }
}

pub(super) fn into_response(response: DecodedResponse<'_>) -> Result<LiveResponse, DecodeError> {
    Ok(match response {
        Response::Found { object, context, owners, fallbacks } => LiveResponse::Found {
            object: object::into_object(object)?,
            context: into_context(&context)?,
            owners,
            fallbacks,
        },
        Response::Held { object, owes } => {
            LiveResponse::Held { object: object::into_object(object)?, owes }
        }
        Response::Written { slots, nodes, zones } => LiveResponse::Written { slots, nodes, zones },
        Response::Refused(why) => LiveResponse::Refused(into_refusal(why)?),
    })
}

/// About how many bytes the response takes.
pub(super) fn response_size_hint(response: &LiveResponse) -> usize {
    match response {
        LiveResponse::Found { object, context, .. } => {
            48 + object::size_hint(object) + 20 * context.seen().len()
        }
        LiveResponse::Held { object, .. } => 32 + object::size_hint(object),
        LiveResponse::Written { .. } | LiveResponse::Refused(_) => 32,
    }
}

fn operation(operation: &LiveOperation) -> Operation<'_> {
    match operation {
        LiveOperation::Get => Operation::Get,
        LiveOperation::GetLocal => Operation::GetLocal,
        LiveOperation::AcceptLoss => Operation::AcceptLoss,
        LiveOperation::Put { context, put_id, time_us, value } => Operation::Put {
            context: context.as_ref().map(bytes),
            put_id: Id128(put_id.0),
            time_us: *time_us,
            value: Bytes::borrowed(value),
        },
        LiveOperation::Delete { context } => {
            Operation::Delete { context: context.as_ref().map(bytes) }
        }
        LiveOperation::Change { cancel, add, context } => Operation::Change {
            cancel: cancel.iter().map(|add_id| Id128(add_id.0)).collect(),
            add: add.as_ref().map(object::addition),
            context: context.as_ref().map(bytes),
        },
    }
}

fn into_operation(operation: Operation<'_>) -> Result<LiveOperation, DecodeError> {
    let maybe_context = |context: Option<Bytes<'_>>| context.as_ref().map(into_context).transpose();
    Ok(match operation {
        Operation::Get => LiveOperation::Get,
        Operation::GetLocal => LiveOperation::GetLocal,
        Operation::AcceptLoss => LiveOperation::AcceptLoss,
        Operation::Put { context, put_id, time_us, value } => LiveOperation::Put {
            context: maybe_context(context)?,
            put_id: PutId(put_id.0),
            time_us,
            value: value.shared(),
        },
        Operation::Delete { context } => LiveOperation::Delete { context: maybe_context(context)? },
        Operation::Change { cancel, add, context } => LiveOperation::Change {
            cancel: cancel.into_iter().map(|id| AddId(id.0)).collect::<Arc<[AddId]>>(),
            add: add.as_ref().map(object::into_addition),
            context: maybe_context(context)?,
        },
    })
}

fn bytes(context: &Context) -> Bytes<'static> {
    Bytes(Cow::Owned(context.encode()))
}

fn into_context(bytes: &Bytes<'_>) -> Result<Context, DecodeError> {
    Context::decode(&bytes.0).map_err(|_| DecodeError::DamagedContext)
}

fn refusal(refusal: LiveRefusal) -> Refusal {
    let wide = |count: usize| count as u64;
    match refusal {
        LiveRefusal::KeyEmpty => Refusal::KeyEmpty,
        LiveRefusal::KeyTooLong(len) => Refusal::KeyTooLong(wide(len)),
        LiveRefusal::ValueTooLong(len) => Refusal::ValueTooLong(wide(len)),
        LiveRefusal::SkuLength(len) => Refusal::SkuLength(wide(len)),
        LiveRefusal::UnknownBucket => Refusal::UnknownBucket,
        LiveRefusal::WrongKind(kind) => Refusal::WrongKind(match kind {
            LiveKind::Register => Kind::Register,
            LiveKind::Cart => Kind::Cart,
        }),
        LiveRefusal::Quantity(quantity) => Refusal::Quantity(quantity),
        LiveRefusal::CartFull(limit) => Refusal::CartFull(wide(limit)),
        LiveRefusal::TooManyCancels { named, bound } => {
            Refusal::TooManyCancels { named: wide(named), bound: wide(bound) }
        }
        LiveRefusal::TooManySiblings(siblings) => Refusal::TooManySiblings(wide(siblings)),
        LiveRefusal::ForeignContext => Refusal::ForeignContext,
        LiveRefusal::Quorum { asked, n } => Refusal::Quorum { asked, n },
        LiveRefusal::TooFewZones { asked, zones } => Refusal::TooFewZones { asked, zones },
        LiveRefusal::StrictQuorum { asked, least } => Refusal::StrictQuorum { asked, least },
        LiveRefusal::Overloaded => Refusal::Overloaded,
        LiveRefusal::NotReady => Refusal::NotReady,
        LiveRefusal::Damaged => Refusal::Damaged,
        LiveRefusal::DiskFull => Refusal::DiskFull,
        LiveRefusal::NotDamaged => Refusal::NotDamaged,
        LiveRefusal::OwnersSilent { answered, owners } => {
            Refusal::OwnersSilent { answered, owners }
        }
        LiveRefusal::TooOld(floor) => Refusal::TooOld(Id128(floor.0)),
        LiveRefusal::Unavailable { have, need } => Refusal::Unavailable { have, need },
    }
}

fn into_refusal(refusal: Refusal) -> Result<LiveRefusal, DecodeError> {
    let narrow = |count: u64| {
        usize::try_from(count)
            .map_err(|_| DecodeError::Invalid("a count does not fit this machine"))
    };
    Ok(match refusal {
        Refusal::KeyEmpty => LiveRefusal::KeyEmpty,
        Refusal::KeyTooLong(len) => LiveRefusal::KeyTooLong(narrow(len)?),
        Refusal::ValueTooLong(len) => LiveRefusal::ValueTooLong(narrow(len)?),
        Refusal::SkuLength(len) => LiveRefusal::SkuLength(narrow(len)?),
        Refusal::UnknownBucket => LiveRefusal::UnknownBucket,
        Refusal::WrongKind(kind) => LiveRefusal::WrongKind(match kind {
            Kind::Register => LiveKind::Register,
            Kind::Cart => LiveKind::Cart,
        }),
        Refusal::Quantity(quantity) => LiveRefusal::Quantity(quantity),
        Refusal::CartFull(limit) => LiveRefusal::CartFull(narrow(limit)?),
        Refusal::TooManyCancels { named, bound } => {
            LiveRefusal::TooManyCancels { named: narrow(named)?, bound: narrow(bound)? }
        }
        Refusal::TooManySiblings(siblings) => LiveRefusal::TooManySiblings(narrow(siblings)?),
        Refusal::ForeignContext => LiveRefusal::ForeignContext,
        Refusal::Quorum { asked, n } => LiveRefusal::Quorum { asked, n },
        Refusal::TooFewZones { asked, zones } => LiveRefusal::TooFewZones { asked, zones },
        Refusal::StrictQuorum { asked, least } => LiveRefusal::StrictQuorum { asked, least },
        Refusal::Overloaded => LiveRefusal::Overloaded,
        Refusal::NotReady => LiveRefusal::NotReady,
        Refusal::Damaged => LiveRefusal::Damaged,
        Refusal::DiskFull => LiveRefusal::DiskFull,
        Refusal::NotDamaged => LiveRefusal::NotDamaged,
        Refusal::OwnersSilent { answered, owners } => {
            LiveRefusal::OwnersSilent { answered, owners }
        }
        Refusal::TooOld(floor) => LiveRefusal::TooOld(AddId(floor.0)),
        Refusal::Unavailable { have, need } => LiveRefusal::Unavailable { have, need },
    })
}
