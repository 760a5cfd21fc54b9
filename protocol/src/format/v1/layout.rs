//! Layouts, views and what they are made of.

use alloc::{sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    DecodeError, key,
    object::{self, ViewId},
    primitive::{Each, Id128, Random64, ascending},
    reap::{self, Page, Reaped},
    wish::{self, Staged},
};
use crate::{
    bucket::{Bucket as LiveBucket, Conflict, Kind, Spread},
    id::{NodeId, Zone},
    key::Partitions,
    layout::{Layout as LiveLayout, LayoutHash, LayoutParts, Member as LiveMember},
    view::{Change, View as LiveView},
};

#[derive(Deserialize, Serialize)]
pub(super) struct Member<'a> {
    id: Random64,
    name: &'a str,
    address: &'a str,
    zone: &'a str,
    weight: u32,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Bucket<'a> {
    name: &'a str,
    n: u8,
    is_cart: bool,
    last_write_wins: bool,
    spreads_over_zones: bool,
    strict_r: u8,
    strict_w: u8,
    cancelled_bound: u32,
    r: u8,
    w: u8,
}

/// One definition for both ways: the parts are iterators when written and vectors when read.
#[derive(Deserialize, Serialize)]
pub(super) struct Layout<M, D, B, O> {
    number: u64,
    hash: Id128,
    partitions: u32,
    members: M,
    draining: D,
    buckets: B,
    owners: O,
}

pub(super) type DecodedLayout<'a> =
    Layout<Vec<Member<'a>>, Vec<Member<'a>>, Vec<Bucket<'a>>, Vec<u16>>;

#[derive(Deserialize, Serialize)]
pub(super) struct View<'a, L, C, I> {
    id: ViewId,
    present: L,
    next: Option<L>,
    accepted_losses: I,
    commands: C,
    settled: Vec<Id128>,
    reaped: Reaped,
    #[serde(borrow)]
    page: Option<Page<'a>>,
}

pub(super) type DecodedView<'a> = View<'a, DecodedLayout<'a>, Vec<Staged<'a>>, Vec<Random64>>;

pub(super) fn member(member: &LiveMember) -> Member<'_> {
    Member {
        id: Random64(member.id.0),
        name: &member.name,
        address: &member.address,
        zone: &member.zone.0,
        weight: member.weight,
    }
}

pub(super) fn into_member(member: &Member<'_>) -> LiveMember {
    LiveMember {
        id: NodeId(member.id.0),
        name: member.name.into(),
        address: member.address.into(),
        zone: Zone(member.zone.into()),
        weight: member.weight,
    }
}

pub(super) fn bucket(bucket: &LiveBucket) -> Bucket<'_> {
    Bucket {
        name: bucket.name.as_str(),
        n: bucket.n,
        is_cart: bucket.kind == Kind::Cart,
        last_write_wins: bucket.conflict == Conflict::LastWriteWins,
        spreads_over_zones: bucket.spread == Spread::Zone,
        strict_r: bucket.strict_r,
        strict_w: bucket.strict_w,
        cancelled_bound: bucket.cancelled_bound,
        r: bucket.r,
        w: bucket.w,
    }
}

pub(super) fn into_bucket(bucket: &Bucket<'_>) -> Result<LiveBucket, DecodeError> {
    Ok(LiveBucket {
        name: key::bucket_name(bucket.name)?,
        n: bucket.n,
        kind: if bucket.is_cart { Kind::Cart } else { Kind::Register },
        conflict: if bucket.last_write_wins { Conflict::LastWriteWins } else { Conflict::Siblings },
        spread: if bucket.spreads_over_zones { Spread::Zone } else { Spread::Node },
        strict_r: bucket.strict_r,
        strict_w: bucket.strict_w,
        cancelled_bound: bucket.cancelled_bound,
        r: bucket.r,
        w: bucket.w,
    })
}

pub(super) fn layout(layout: &LiveLayout) -> impl Serialize {
    Layout {
        number: layout.number(),
        hash: Id128(layout.hash().0),
        partitions: layout.partitions().count(),
        members: Each(layout.members().iter().map(member)),
        draining: Each(layout.draining().iter().map(member)),
        buckets: Each(layout.buckets().iter().map(bucket)),
        owners: Each(layout.all_owner_indexes().iter().copied()),
    }
}

pub(super) fn into_layout(layout: &DecodedLayout<'_>) -> Result<LiveLayout, DecodeError> {
    let partitions = Partitions::new(layout.partitions)
        .ok_or(DecodeError::Invalid("the number of partitions is not a power of two"))?;
    let parts = LayoutParts {
        number: layout.number,
        hash: LayoutHash(layout.hash.0),
        partitions,
        members: layout.members.iter().map(into_member).collect(),
        draining: layout.draining.iter().map(into_member).collect(),
        buckets: layout.buckets.iter().map(into_bucket).collect::<Result<_, _>>()?,
        owners: layout.owners.clone(),
    };
    LiveLayout::from_parts(parts).map_err(DecodeError::Invalid)
}

/// About how many bytes a layout takes.
pub(super) fn layout_size_hint(layout: &LiveLayout) -> usize {
    let members = layout.members().iter().chain(layout.draining());
    let members =
        members.map(|member| 20 + member.name.len() + member.address.len() + member.zone.0.len());
    64 + members.sum::<usize>() + 24 * layout.buckets().len() + 2 * layout.all_owner_indexes().len()
}

pub(super) fn view(view: &LiveView) -> impl Serialize {
    let change = view.change();
    View {
        id: object::view_id(view.id()),
        present: layout(view.layout()),
        next: view.next().map(|next| layout(next)),
        accepted_losses: Each(change.accepted_losses.iter().map(|node| Random64(node.0))),
        commands: Each(change.commands.iter().map(wish::staged)),
        settled: change.settled.iter().map(|id| Id128(*id)).collect(),
        reaped: reap::reaped(view.reaped()),
        page: view.page().map(|page| reap::page(page)),
    }
}

pub(super) fn into_view(view: DecodedView<'_>) -> Result<LiveView, DecodeError> {
    let losses: Vec<NodeId> = view.accepted_losses.iter().map(|node| NodeId(node.0)).collect();
    let why = "the accepted losses of a view are not in ascending order";
    let losses = ascending(losses, |node| *node, why)?;
    if view.settled.len() > Change::MAX_SETTLED {
        return Err(DecodeError::Invalid("a view has settled too many wishes"));
    }
    let commands = view.commands.iter().map(wish::into_staged);
    let change = Change {
        accepted_losses: losses.into(),
        commands: commands.collect::<Result<Arc<[_]>, _>>()?,
        settled: view.settled.iter().map(|id| id.0).collect(),
    };
    let is_single = view.next.is_none();
    if is_single && !(change.accepted_losses.is_empty() && change.commands.is_empty()) {
        return Err(DecodeError::Invalid("a view carries out commands and has no next layout"));
    }
    let present = Arc::new(into_layout(&view.present)?);
    let next = view.next.as_ref().map(into_layout).transpose()?.map(Arc::new);
    if next.as_ref().is_some_and(|next| next.partitions() != present.partitions()) {
        return Err(DecodeError::Invalid("the layouts of a view differ in their partitions"));
    }
    if next.as_ref().is_some_and(|next| !present.sizes().iter().all(|n| next.sizes().contains(n))) {
        return Err(DecodeError::Invalid("the next layout of a view lacks a size that is in use"));
    }
    let page = view.page.as_ref().map(reap::into_page).transpose()?.map(Arc::new);
    let reaped = (reap::into_reaped(view.reaped), page);
    LiveView::assemble(object::into_view_id(view.id), (present, next), change, reaped)
        .ok_or(DecodeError::Invalid("a view's number does not fit its layouts"))
}

/// About how many bytes a view takes.
pub(super) fn view_size_hint(view: &LiveView) -> usize {
    let layouts = view.layouts().map(|layout| layout_size_hint(layout));
    let change = view.change();
    let page = view.page().map_or(0, |page| reap::items_size_hint(&page.items));
    112 + page + layouts.sum::<usize>() + 16 * change.settled.len() + 100 * change.commands.len()
}
