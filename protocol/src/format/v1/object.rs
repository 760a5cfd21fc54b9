//! Objects, version vectors and records.

use alloc::{sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    DecodeError,
    primitive::{Bytes, Each, Id128, Random64, ascending},
};
use crate::{
    id::{AddId, Incarnation, NodeId, PutId},
    object::{Addition as LiveAddition, Entry as LiveEntry, Object as LiveObject, Value},
    record::{Owed as LiveOwed, Record as LiveRecord},
    version::{Actor, Dot as LiveDot, VersionVector},
    view::ViewId as LiveViewId,
};

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Dot {
    incarnation: Random64,
    n: u64,
    counter: u64,
}

#[derive(Deserialize, Serialize)]
pub(super) enum Entry<'a> {
    Value {
        put_id: Id128,
        time_us: u64,
        #[serde(borrow)]
        bytes: Bytes<'a>,
    },
    Addition(#[serde(borrow)] Addition<'a>),
}

#[derive(Deserialize, Serialize)]
pub(super) struct Addition<'a> {
    add_id: Id128,
    sku: &'a str,
    quantity: u32,
}

/// One definition for both ways: the parts are iterators when written and vectors when read.
#[derive(Deserialize, Serialize)]
pub(super) struct Object<S, E, C> {
    seen: S,
    entries: E,
    cancelled: C,
}

pub(super) type DecodedObject<'a> = Object<Vec<Dot>, Vec<(Dot, Entry<'a>)>, Vec<Id128>>;

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct ViewId {
    layout: u64,
    decree: u64,
    reap: u64,
    reap_by: Random64,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Record<O> {
    object: O,
    own: Option<Dot>,
    owed: Option<Owed>,
    damaged: Option<ViewId>,
}

#[derive(Deserialize, Serialize)]
struct Owed {
    view: ViewId,
    owners: Vec<Random64>,
}

pub(super) fn seen(seen: &VersionVector) -> impl Serialize {
    Each(seen.dots().iter().copied().map(dot))
}

pub(super) fn into_seen(dots: Vec<Dot>) -> Result<VersionVector, DecodeError> {
    let dots: Vec<LiveDot> = dots.into_iter().map(into_dot).collect::<Result<_, _>>()?;
    let why = "the actors of a version vector are not in ascending order";
    Ok(VersionVector::from_dots(ascending(dots, |dot| dot.actor, why)?))
}

pub(super) fn object(object: &LiveObject) -> impl Serialize {
    Object {
        seen: seen(object.seen()),
        entries: Each(object.entries().iter().map(|(at, live)| (dot(*at), entry(live)))),
        cancelled: Each(object.cancelled().iter().map(|add_id| Id128(add_id.0))),
    }
}

pub(super) fn into_object(object: DecodedObject<'_>) -> Result<LiveObject, DecodeError> {
    let seen = into_seen(object.seen)?;
    let entries = object.entries.into_iter();
    let entries = entries.map(|(dot, entry)| Ok((into_dot(dot)?, into_entry(&entry))));
    let entries: Vec<(LiveDot, LiveEntry)> = entries.collect::<Result<_, _>>()?;
    let why = "the entries of an object are not in ascending order of their dots";
    let entries = ascending(entries, |(dot, _)| *dot, why)?;
    Ok(LiveObject::from_parts(seen, entries, into_add_ids(object.cancelled)?))
}

pub(super) fn record(record: &LiveRecord) -> impl Serialize {
    let owed = record.owed.as_ref().map(|owed| Owed {
        view: view_id(owed.view),
        owners: owed.owners.iter().map(|owner| Random64(owner.0)).collect(),
    });
    let damaged = record.damaged.map(view_id);
    Record { object: object(&record.object), own: record.own.map(dot), owed, damaged }
}

pub(super) fn into_record(record: Record<DecodedObject<'_>>) -> Result<LiveRecord, DecodeError> {
    Ok(LiveRecord {
        object: into_object(record.object)?,
        own: record.own.map(into_dot).transpose()?,
        owed: record.owed.map(into_owed).transpose()?,
        damaged: record.damaged.map(into_view_id),
    })
}

pub(super) fn size_hint(object: &LiveObject) -> usize {
    object.size_hint()
}

pub(super) fn view_id(view: LiveViewId) -> ViewId {
    let (reap, by) = view.reap;
    ViewId { layout: view.layout, decree: view.decree, reap, reap_by: Random64(by.0) }
}

pub(super) fn into_view_id(view: ViewId) -> LiveViewId {
    let reap = (view.reap, NodeId(view.reap_by.0));
    LiveViewId { layout: view.layout, decree: view.decree, reap }
}

pub(super) fn addition(added: &LiveAddition) -> Addition<'_> {
    Addition { add_id: Id128(added.add_id.0), sku: &added.sku, quantity: added.quantity }
}

pub(super) fn into_addition(added: &Addition<'_>) -> LiveAddition {
    LiveAddition {
        add_id: AddId(added.add_id.0),
        sku: Arc::from(added.sku),
        quantity: added.quantity,
    }
}

fn dot(dot: LiveDot) -> Dot {
    Dot { incarnation: Random64(dot.actor.incarnation.0), n: dot.actor.n, counter: dot.counter }
}

fn into_dot(dot: Dot) -> Result<LiveDot, DecodeError> {
    if dot.counter == 0 {
        return Err(DecodeError::Invalid("a dot's counter is zero"));
    }
    let actor = Actor { incarnation: Incarnation(dot.incarnation.0), n: dot.n };
    Ok(LiveDot { actor, counter: dot.counter })
}

fn entry(entry: &LiveEntry) -> Entry<'_> {
    match entry {
        LiveEntry::Value(value) => Entry::Value {
            put_id: Id128(value.put_id.0),
            time_us: value.time_us,
            bytes: Bytes::borrowed(&value.bytes),
        },
        LiveEntry::Addition(added) => Entry::Addition(addition(added)),
    }
}

fn into_entry(entry: &Entry<'_>) -> LiveEntry {
    match entry {
        Entry::Value { put_id, time_us, bytes } => LiveEntry::Value(Value {
            put_id: PutId(put_id.0),
            time_us: *time_us,
            bytes: bytes.shared(),
        }),
        Entry::Addition(added) => LiveEntry::Addition(into_addition(added)),
    }
}

fn into_add_ids(ids: Vec<Id128>) -> Result<Vec<AddId>, DecodeError> {
    let ids = ids.into_iter().map(|id| AddId(id.0)).collect();
    ascending(ids, |id| *id, "the cancelled add_ids are not in ascending order")
}

fn into_owed(owed: Owed) -> Result<LiveOwed, DecodeError> {
    let owners: Vec<NodeId> = owed.owners.iter().map(|owner| NodeId(owner.0)).collect();
    let owners = ascending(owners, |owner| *owner, "the owners owed are not in ascending order")?;
    LiveOwed::new(into_view_id(owed.view), owners)
        .ok_or(DecodeError::Invalid("a record owes, and owes nobody"))
}
