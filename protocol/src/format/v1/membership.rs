//! Messages between memberships, and what they save.

use alloc::{sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    DecodeError,
    layout::{self, DecodedView},
    object::{self, ViewId},
    primitive::{Id128, Random64, ascending},
    wish::{self, Ballot, Decree, Staged},
};
use crate::{
    id::NodeId,
    layout::LayoutHash,
    membership::{
        Brief as LiveBrief, Glimpse as LiveGlimpse, MemberMessage as LiveMessage, Row as LiveRow,
        Saved as LiveSaved, Staged as LiveStaged, Status as LiveStatus,
    },
};

/// `G` is the mirror of a brief, `V` that of a view: other types when written and when read.
#[derive(Deserialize, Serialize)]
pub(super) enum MemberMessage<'a, G, V> {
    Gossip {
        brief: G,
        view: Option<(ViewId, Id128)>,
    },
    GossipOk {
        beats: Vec<(Random64, u64)>,
        #[serde(borrow)]
        rows: Vec<Row<'a>>,
        #[serde(borrow)]
        staged: Vec<Staged<'a>>,
        wants: Option<G>,
    },
    AskView,
    View(V),
    Prepare(ViewId, Ballot),
    Promise(ViewId, Ballot, #[serde(borrow)] Option<(Ballot, Decree<'a>)>),
    Accept(ViewId, Ballot, #[serde(borrow)] Decree<'a>, bool),
    Accepted(ViewId, Ballot),
    Rejected(ViewId, Ballot),
}

pub(super) type DecodedMessage<'a> = MemberMessage<'a, Brief, DecodedView<'a>>;

#[derive(Deserialize, Serialize)]
pub(super) struct Brief {
    glimpses: Vec<Glimpse>,
    staged: Vec<Id128>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Glimpse {
    node: Random64,
    heartbeat: u64,
    rest: Random64,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Row<'a> {
    node: Random64,
    heartbeat: u64,
    label_version: u64,
    name: &'a str,
    address: &'a str,
    status: Status,
    view: Option<ViewId>,
    caught_up: Option<ViewId>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
enum Status {
    Joining,
    Up,
    Leaving,
    Removed,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Saved<'a, V> {
    view: V,
    promised: Ballot,
    #[serde(borrow)]
    accepted: Option<(Ballot, Decree<'a>)>,
    was_member: bool,
}

pub(super) fn message(message: &LiveMessage) -> MemberMessage<'_, impl Serialize, impl Serialize> {
    let after = |after: &_| object::view_id(*after);
    match message {
        LiveMessage::Gossip { brief: live, view } => {
            let view = view.map(|(view, hash)| (object::view_id(view), Id128(hash.0)));
            MemberMessage::Gossip { brief: brief(live), view }
        }
        LiveMessage::GossipOk { beats, rows, staged, wants } => MemberMessage::GossipOk {
            beats: beats.iter().map(|(node, beat)| (Random64(node.0), *beat)).collect(),
            rows: rows.iter().map(row).collect(),
            staged: staged.iter().map(wish::staged).collect(),
            wants: wants.as_ref().map(brief),
        },
        LiveMessage::AskView => MemberMessage::AskView,
        LiveMessage::View(view) => MemberMessage::View(layout::view(view)),
        LiveMessage::Prepare(view, ballot) => {
            MemberMessage::Prepare(after(view), wish::ballot(*ballot))
        }
        LiveMessage::Promise(view, ballot, vote) => {
            let vote =
                vote.as_ref().map(|(ballot, decree)| (wish::ballot(*ballot), wish::decree(decree)));
            MemberMessage::Promise(after(view), wish::ballot(*ballot), vote)
        }
        LiveMessage::Accept(view, ballot, decree, bound) => {
            let decree = wish::decree(decree);
            MemberMessage::Accept(after(view), wish::ballot(*ballot), decree, *bound)
        }
        LiveMessage::Accepted(view, ballot) => {
            MemberMessage::Accepted(after(view), wish::ballot(*ballot))
        }
        LiveMessage::Rejected(view, ballot) => {
            MemberMessage::Rejected(after(view), wish::ballot(*ballot))
        }
    }
}

pub(super) fn into_message(message: DecodedMessage<'_>) -> Result<LiveMessage, DecodeError> {
    let ballot = wish::into_ballot;
    Ok(match message {
        MemberMessage::Gossip { brief, view } => {
            let view = view.map(|(view, hash)| (object::into_view_id(view), LayoutHash(hash.0)));
            LiveMessage::Gossip { brief: into_brief(brief)?, view }
        }
        MemberMessage::GossipOk { beats, rows, staged, wants } => LiveMessage::GossipOk {
            beats: beats.into_iter().map(|(node, beat)| (NodeId(node.0), beat)).collect(),
            rows: rows.iter().map(into_row).collect(),
            staged: into_staged(&staged)?,
            wants: wants.map(into_brief).transpose()?,
        },
        MemberMessage::AskView => LiveMessage::AskView,
        MemberMessage::View(view) => LiveMessage::View(Arc::new(layout::into_view(view)?)),
        MemberMessage::Prepare(view, at) => {
            LiveMessage::Prepare(object::into_view_id(view), ballot(at))
        }
        MemberMessage::Promise(view, at, vote) => {
            let vote = vote.map(|(at, decree)| Ok((ballot(at), wish::into_decree(&decree)?)));
            LiveMessage::Promise(object::into_view_id(view), ballot(at), vote.transpose()?)
        }
        MemberMessage::Accept(view, at, decree, bound) => {
            let decree = wish::into_decree(&decree)?;
            LiveMessage::Accept(object::into_view_id(view), ballot(at), decree, bound)
        }
        MemberMessage::Accepted(view, at) => {
            LiveMessage::Accepted(object::into_view_id(view), ballot(at))
        }
        MemberMessage::Rejected(view, at) => {
            LiveMessage::Rejected(object::into_view_id(view), ballot(at))
        }
    })
}

/// About how many bytes a message takes.
pub(super) fn size_hint(message: &LiveMessage) -> usize {
    let size = |brief: &LiveBrief| 20 * brief.glimpses.len() + 16 * brief.staged.len();
    match message {
        LiveMessage::Gossip { brief, .. } => 56 + size(brief),
        LiveMessage::GossipOk { beats, rows, staged, wants } => {
            16 + 12 * beats.len()
                + 72 * rows.len()
                + 100 * staged.len()
                + wants.as_ref().map_or(0, size)
        }
        LiveMessage::View(view) => layout::view_size_hint(view),
        LiveMessage::AskView
        | LiveMessage::Prepare(..)
        | LiveMessage::Promise(..)
        | LiveMessage::Accept(..)
        | LiveMessage::Accepted(..)
        | LiveMessage::Rejected(..) => 64,
    }
}

pub(super) fn saved(saved: &LiveSaved) -> Saved<'_, impl Serialize> {
    let vote = saved.accepted.as_ref();
    Saved {
        view: layout::view(&saved.view),
        promised: wish::ballot(saved.promised),
        accepted: vote.map(|(ballot, decree)| (wish::ballot(*ballot), wish::decree(decree))),
        was_member: saved.was_member,
    }
}

pub(super) fn into_saved(saved: Saved<'_, DecodedView<'_>>) -> Result<LiveSaved, DecodeError> {
    let vote = saved.accepted.map(|(ballot, decree)| {
        Ok::<_, DecodeError>((wish::into_ballot(ballot), wish::into_decree(&decree)?))
    });
    Ok(LiveSaved {
        view: Arc::new(layout::into_view(saved.view)?),
        promised: wish::into_ballot(saved.promised),
        accepted: vote.transpose()?,
        was_member: saved.was_member,
    })
}

fn brief(brief: &LiveBrief) -> Brief {
    let glimpse = |glimpse: &LiveGlimpse| Glimpse {
        node: Random64(glimpse.node.0),
        heartbeat: glimpse.heartbeat,
        rest: Random64(glimpse.rest),
    };
    Brief {
        glimpses: brief.glimpses.iter().map(glimpse).collect(),
        staged: brief.staged.iter().map(|id| Id128(*id)).collect(),
    }
}

fn into_brief(brief: Brief) -> Result<LiveBrief, DecodeError> {
    Ok(LiveBrief { glimpses: into_glimpses(brief.glimpses)?, staged: into_ids(brief.staged)? })
}

fn into_ids(ids: Vec<Id128>) -> Result<Arc<[u128]>, DecodeError> {
    let ids = ids.into_iter().map(|id| id.0).collect();
    let ids = ascending(ids, |id| *id, "the ids of staged wishes are not in ascending order")?;
    Ok(ids.into())
}

fn into_staged(staged: &[Staged<'_>]) -> Result<Arc<[LiveStaged]>, DecodeError> {
    staged.iter().map(wish::into_staged).collect()
}

fn into_glimpses(glimpses: Vec<Glimpse>) -> Result<Arc<[LiveGlimpse]>, DecodeError> {
    let live = glimpses.into_iter().map(|glimpse| LiveGlimpse {
        node: NodeId(glimpse.node.0),
        heartbeat: glimpse.heartbeat,
        rest: glimpse.rest.0,
    });
    let why = "the nodes that gossip tells of are not in ascending order";
    Ok(ascending(live.collect(), |glimpse: &LiveGlimpse| glimpse.node, why)?.into())
}

fn row(row: &LiveRow) -> Row<'_> {
    let (label_version, name, address) = &row.label;
    Row {
        node: Random64(row.node.0),
        heartbeat: row.heartbeat,
        label_version: *label_version,
        name,
        address,
        status: match row.status {
            LiveStatus::Joining => Status::Joining,
            LiveStatus::Up => Status::Up,
            LiveStatus::Leaving => Status::Leaving,
            LiveStatus::Removed => Status::Removed,
        },
        view: row.view.map(object::view_id),
        caught_up: row.caught_up.map(object::view_id),
    }
}

fn into_row(row: &Row<'_>) -> LiveRow {
    LiveRow {
        node: NodeId(row.node.0),
        heartbeat: row.heartbeat,
        label: (row.label_version, row.name.into(), row.address.into()),
        status: match row.status {
            Status::Joining => LiveStatus::Joining,
            Status::Up => LiveStatus::Up,
            Status::Leaving => LiveStatus::Leaving,
            Status::Removed => LiveStatus::Removed,
        },
        view: row.view.map(object::into_view_id),
        caught_up: row.caught_up.map(object::into_view_id),
    }
}
