//! What replicas say to each other.

use alloc::sync::Arc;
use core::fmt;

use crate::{
    anti_entropy::Differing,
    id::{AddId, Incarnation, NodeId, RequestId},
    key::{Key, Partition},
    object::{Digest, Object},
    reap_page::Reapable,
    request::{Request, Response},
    trees::{Branch, Sum},
    view::ViewId,
};

/// One message from one replica to another. Any may be lost, delayed or duplicated, but a forwarded register
/// put, which the transport never duplicates (F1).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Message {
    /// The view of the shard that sent it, when it decided to.
    pub(crate) view: ViewId,
    /// The partition that it is about: the receiving shard.
    pub(crate) partition: Partition,
    /// What it says. Drivers carry it and do not look.
    pub(crate) body: Body,
}

/// What a message says. They come in pairs.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Body {
    /// Hold this object, in the slot of the owner named.
    Put { request: RequestId, slot: NodeId, key: Key, object: Object },
    /// The object is durable here, in that slot.
    PutOk { request: RequestId, slot: NodeId },
    /// What do you hold for this key?
    Get { request: RequestId, key: Key },
    /// This.
    GetOk { request: RequestId, answer: Answer },
    /// You were seen to lack some of this; merge it. Nobody waits for an answer.
    Repair { key: Key, object: Object },
    /// I hold this for you.
    Handoff { key: Key, object: Object, digest: Digest },
    /// What you handed over, named by the digest that came with it, is durable here; `owner` says whether the
    /// answerer owns the key.
    HandoffOk { key: Key, digest: Digest, owner: bool },
    /// What do you hold of this partition for buckets of this size, after this key or from the start?
    Sync { n: u8, after: Option<Key> },
    /// This, in the order of the keys; ask for what comes after `next`, or that was all.
    SyncPage { n: u8, after: Option<Key>, objects: Arc<[(Key, Object)]>, next: Option<Key> },
    /// These are the sums of my tree for buckets of this size; where do yours differ?
    Compare { n: u8, sums: Arc<[(Branch, Sum)]> },
    /// Here, of the sums that come to this together; or I have no whole tree.
    CompareOk { n: u8, of: Sum, differing: Option<Arc<[Differing]>> },
    /// This is what I hold under these leaves, after one key and up to another. What do you hold there?
    Keys {
        n: u8,
        leaves: Arc<[Branch]>,
        after: Option<Key>,
        until: Option<Key>,
        keys: Arc<[(Key, Digest)]>,
    },
    /// These objects, and I want yours of those keys; go on after `next`, or that was all.
    KeysOk {
        n: u8,
        after: Option<Key>,
        next: Option<Key>,
        objects: Arc<[(Key, Object)]>,
        wanted: Arc<[Key]>,
    },
    /// Coordinate this for me: I own no copy.
    Forward { request: RequestId, asked: Request },
    /// What became of it.
    ForwardOk { request: RequestId, response: Response },
    /// My copy was damaged: what do you hold for this key?
    Mend { key: Key },
    /// This.
    MendOk { key: Key, answer: Answer },
    /// Are you fit for the reap round that began with this view?
    Judge,
    /// I was, or was not, when I came to it; and this is my run.
    JudgeOk { fit: bool, incarnation: Incarnation },
    /// All were: drop this, if it is still what you hold. Nobody waits for an answer.
    Reap { floor: Option<AddId>, items: Arc<[Reapable]> },
    /// You sent me an object in a view below a reap round that I have come to: come to it too, and send again.
    Outdated,
}

/// What hangs on a message: a driver that must choose gives it its turn by that, and may keep what asks for a page.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Haste {
    /// A client's request waits for it.
    Request,
    /// It is part of background work, and taken as it comes.
    Background,
    /// It asks for a page of background work: who answers decides when, as a slow network would.
    Page,
}

/// One node's answer to a read.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Answer {
    /// Nothing here.
    Absent,
    /// This is what is held here.
    Found(Object),
    /// Something is here and cannot be read: never evidence of absence (W1).
    Damaged,
}

impl Body {
    /// The key that it is about, if it names one.
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Self::Put { key, .. }
            | Self::Get { key, .. }
            | Self::Repair { key, .. }
            | Self::Handoff { key, .. }
            | Self::HandoffOk { key, .. }
            | Self::Mend { key }
            | Self::MendOk { key, .. } => Some(key),
            Self::Forward { asked, .. } => Some(&asked.key),
            Self::PutOk { .. }
            | Self::GetOk { .. }
            | Self::Sync { .. }
            | Self::SyncPage { .. }
            | Self::Compare { .. }
            | Self::CompareOk { .. }
            | Self::Keys { .. }
            | Self::KeysOk { .. }
            | Self::Judge
            | Self::JudgeOk { .. }
            | Self::Reap { .. }
            | Self::Outdated
            | Self::ForwardOk { .. } => None,
        }
    }
}

impl Body {
    /// Whether it answers something that the receiver asked.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::PutOk { .. }
            | Self::GetOk { .. }
            | Self::HandoffOk { .. }
            | Self::SyncPage { .. }
            | Self::CompareOk { .. }
            | Self::KeysOk { .. }
            | Self::MendOk { .. }
            | Self::JudgeOk { .. }
            | Self::Outdated
            | Self::ForwardOk { .. } => true,
            Self::Put { .. }
            | Self::Get { .. }
            | Self::Repair { .. }
            | Self::Handoff { .. }
            | Self::Sync { .. }
            | Self::Compare { .. }
            | Self::Keys { .. }
            | Self::Mend { .. }
            | Self::Reap { .. }
            | Self::Forward { .. } => false,
            // Who is no member any more is asked, too.
            Self::Judge => true,
        }
    }

    /// Whether it brings an object that the receiver may merge.
    pub(crate) fn brings_object(&self) -> bool {
        match self {
            Self::Put { .. }
            | Self::GetOk { .. }
            | Self::Repair { .. }
            | Self::Handoff { .. }
            | Self::SyncPage { .. }
            | Self::KeysOk { .. }
            | Self::MendOk { .. } => true,
            Self::PutOk { .. }
            | Self::Get { .. }
            | Self::HandoffOk { .. }
            | Self::Sync { .. }
            | Self::Compare { .. }
            | Self::CompareOk { .. }
            | Self::Keys { .. }
            | Self::Mend { .. }
            | Self::Forward { .. }
            | Self::ForwardOk { .. }
            | Self::Judge
            | Self::JudgeOk { .. }
            | Self::Reap { .. }
            | Self::Outdated => false,
        }
    }
}

impl Message {
    /// The partition that it is about: a driver routes by it.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The view of the sender.
    pub fn view(&self) -> ViewId {
        self.view
    }

    /// What hangs on it.
    pub fn haste(&self) -> Haste {
        match &self.body {
            Body::Put { .. }
            | Body::PutOk { .. }
            | Body::Get { .. }
            | Body::GetOk { .. }
            | Body::Forward { .. }
            | Body::ForwardOk { .. } => Haste::Request,
            Body::Sync { .. } | Body::Keys { .. } => Haste::Page,
            Body::Repair { .. }
            | Body::Handoff { .. }
            | Body::HandoffOk { .. }
            | Body::SyncPage { .. }
            | Body::Compare { .. }
            | Body::CompareOk { .. }
            | Body::KeysOk { .. }
            | Body::Mend { .. }
            | Body::MendOk { .. }
            | Body::Judge
            | Body::JudgeOk { .. }
            | Body::Reap { .. }
            | Body::Outdated => Haste::Background,
        }
    }

    /// Whether the transport may deliver it twice: all but a forwarded register put (F1).
    pub fn may_be_duplicated(&self) -> bool {
        match &self.body {
            Body::Forward { asked, .. } => asked.operation.is_repeatable(),
            Body::Put { .. }
            | Body::PutOk { .. }
            | Body::Get { .. }
            | Body::GetOk { .. }
            | Body::Repair { .. }
            | Body::Handoff { .. }
            | Body::HandoffOk { .. }
            | Body::Sync { .. }
            | Body::SyncPage { .. }
            | Body::Compare { .. }
            | Body::CompareOk { .. }
            | Body::Keys { .. }
            | Body::KeysOk { .. }
            | Body::Mend { .. }
            | Body::MendOk { .. }
            | Body::Judge
            | Body::JudgeOk { .. }
            | Body::Reap { .. }
            | Body::Outdated
            | Body::ForwardOk { .. } => true,
        }
    }
}

impl fmt::Display for Message {
    /// `Put default/k r1@i1 for n3 {…}`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Put { request, slot, key, object } => {
                write!(f, "Put {key} {request} for {slot} {object}")
            }
            Body::PutOk { request, slot } => write!(f, "PutOk {request} for {slot}"),
            Body::Get { request, key } => write!(f, "Get {key} {request}"),
            Body::GetOk { request, answer } => write!(f, "GetOk {request} {answer}"),
            Body::Repair { key, object } => write!(f, "Repair {key} {object}"),
            Body::Handoff { key, object, digest } => {
                write!(f, "Handoff {key} {object} {digest}")
            }
            Body::HandoffOk { key, digest, owner } => {
                write!(f, "HandoffOk {key} {digest}{}", if *owner { "" } else { " not owner" })
            }
            Body::Sync { n, after } => {
                write!(f, "Sync {} n={n}", self.partition)?;
                after.iter().try_for_each(|key| write!(f, " after {key}"))
            }
            Body::SyncPage { n, after, objects, next } => {
                write!(f, "SyncPage {} n={n}", self.partition)?;
                after.iter().try_for_each(|key| write!(f, " after {key}"))?;
                objects.iter().try_for_each(|(key, object)| write!(f, " {key} {object}"))?;
                f.write_str(if next.is_none() { ", all" } else { "" })
            }
            Body::Compare { n, sums } => {
                write!(f, "Compare {} n={n}", self.partition)?;
                sums.iter().try_for_each(|(branch, sum)| write!(f, " {branch} {sum}"))
            }
            Body::CompareOk { n, of, differing } => {
                write!(f, "CompareOk {} n={n} of {of}", self.partition)?;
                match differing.as_deref() {
                    None => f.write_str(" no tree"),
                    Some([]) => f.write_str(" equal"),
                    Some(differing) => differing.iter().try_for_each(|(branch, children)| {
                        write!(f, " {branch} [")?;
                        for (at, (digit, sum)) in children.iter().enumerate() {
                            write!(f, "{}{digit:x} {sum}", if at == 0 { "" } else { " " })?;
                        }
                        f.write_str("]")
                    }),
                }
            }
            Body::Keys { n, leaves, after, until, keys } => {
                write!(f, "Keys {} n={n}", self.partition)?;
                leaves.iter().try_for_each(|leaf| write!(f, " {leaf}"))?;
                after.iter().try_for_each(|key| write!(f, " after {key}"))?;
                until.iter().try_for_each(|key| write!(f, " until {key}"))?;
                keys.iter().try_for_each(|(key, digest)| write!(f, " {key} {digest}"))
            }
            Body::KeysOk { n, after, next, objects, wanted } => {
                write!(f, "KeysOk {} n={n}", self.partition)?;
                after.iter().try_for_each(|key| write!(f, " after {key}"))?;
                objects.iter().try_for_each(|(key, object)| write!(f, " {key} {object}"))?;
                wanted.iter().try_for_each(|key| write!(f, " wants {key}"))?;
                f.write_str(if next.is_none() { ", all" } else { "" })
            }
            Body::Forward { request, asked } => write!(f, "Forward {request} {asked}"),
            Body::ForwardOk { request, response } => write!(f, "ForwardOk {request} {response}"),
            Body::Mend { key } => write!(f, "Mend {key}"),
            Body::MendOk { key, answer } => write!(f, "MendOk {key} {answer}"),
            Body::Judge => write!(f, "Judge {}", self.partition),
            Body::JudgeOk { fit, incarnation } => {
                let not = if *fit { "" } else { "not " };
                write!(f, "JudgeOk {} {not}fit {incarnation}", self.partition)
            }
            Body::Reap { floor, items } => write_items(f, self.partition, items, *floor),
            Body::Outdated => f.write_str("Outdated"),
        }
    }
}

fn write_items(
    f: &mut fmt::Formatter<'_>,
    partition: Partition,
    items: &[Reapable],
    floor: Option<AddId>,
) -> fmt::Result {
    write!(f, "Reap {partition}")?;
    items.iter().try_for_each(|item| write!(f, " {item}"))?;
    floor.iter().try_for_each(|floor| write!(f, " up to {floor}"))
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Found(object) => object.fmt(f),
            Self::Damaged => f.write_str("damaged"),
        }
    }
}
