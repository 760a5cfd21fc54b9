//! Pages of reap rounds, and what rounds leave behind.

use alloc::{sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    DecodeError,
    key::{self, Key},
    object::{self, ViewId},
    primitive::{Id128, Random64, ascending},
};
use crate::{
    id::{AddId, Incarnation},
    key::Partition,
    object::Digest,
    reap_page::{Goes as LiveGoes, ReapPage, Reapable as LiveReapable, Reaped as LiveReaped},
    version::Actor,
};

#[derive(Deserialize, Serialize)]
pub(super) struct Page<'a> {
    partition: u32,
    #[serde(borrow)]
    items: Vec<Reapable<'a>>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Reapable<'a> {
    #[serde(borrow)]
    key: Key<'a>,
    digest: Id128,
    goes: Goes,
}

#[derive(Deserialize, Serialize)]
enum Goes {
    Whole,
    Spent(Vec<(Random64, u64)>),
}

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Reaped {
    fence: Option<ViewId>,
    floor: Option<Id128>,
}

pub(super) fn page(page: &ReapPage) -> Page<'_> {
    Page { partition: page.partition.0, items: items(&page.items) }
}

pub(super) fn into_page(page: &Page<'_>) -> Result<ReapPage, DecodeError> {
    let items = into_items(&page.items)?;
    Ok(ReapPage { partition: Partition(page.partition), items })
}

pub(super) fn items(items: &[LiveReapable]) -> Vec<Reapable<'_>> {
    let item = |item: &'_ LiveReapable| -> Goes {
        match &item.goes {
            LiveGoes::Whole => Goes::Whole,
            LiveGoes::Spent(actors) => {
                let actors = actors.iter().map(|actor| (Random64(actor.incarnation.0), actor.n));
                Goes::Spent(actors.collect())
            }
        }
    };
    let all = items.iter();
    all.map(|live| Reapable {
        key: key::key(&live.key),
        digest: Id128(live.digest.0),
        goes: item(live),
    })
    .collect()
}

pub(super) fn into_items(items: &[Reapable<'_>]) -> Result<Arc<[LiveReapable]>, DecodeError> {
    let live = items.iter().map(|item| {
        let (key, digest) = (key::into_key(&item.key)?, Digest(item.digest.0));
        Ok(LiveReapable { key, digest, goes: into_goes(&item.goes)? })
    });
    let why = "the keys of a reap round are not in ascending order";
    let live: Vec<LiveReapable> = live.collect::<Result<_, DecodeError>>()?;
    Ok(ascending(live, |item| item.key.clone(), why)?.into())
}

fn into_goes(goes: &Goes) -> Result<LiveGoes, DecodeError> {
    let Goes::Spent(actors) = goes else { return Ok(LiveGoes::Whole) };
    let actors = actors.iter().map(|(run, n)| Actor { incarnation: Incarnation(run.0), n: *n });
    let why = "the actors of a reap round are not in ascending order";
    Ok(LiveGoes::Spent(ascending(actors.collect(), |actor: &Actor| *actor, why)?.into()))
}

pub(super) fn reaped(reaped: LiveReaped) -> Reaped {
    Reaped { fence: reaped.fence.map(object::view_id), floor: floor(reaped.floor) }
}

pub(super) fn into_reaped(reaped: Reaped) -> LiveReaped {
    let fence = reaped.fence.map(object::into_view_id);
    LiveReaped { fence, floor: into_floor(reaped.floor) }
}

pub(super) fn floor(floor: Option<AddId>) -> Option<Id128> {
    floor.map(|floor| Id128(floor.0))
}

pub(super) fn into_floor(floor: Option<Id128>) -> Option<AddId> {
    floor.map(|floor| AddId(floor.0))
}

/// About how many bytes the keys of a page take.
pub(super) fn items_size_hint(items: &[LiveReapable]) -> usize {
    let actors = |item: &LiveReapable| match &item.goes {
        LiveGoes::Whole => 0,
        LiveGoes::Spent(actors) => 16 * actors.len(),
    };
    items.iter().map(|item| 40 + item.key.name.len() + actors(item)).sum()
}
