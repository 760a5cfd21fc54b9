//! What others are shown of the node's membership.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cartwheel_client::members::{
    Members, Outlook, RowSeen, ShardSeen, Standing, TreeRange, ViewSeen, ZoneRange,
};
use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::key::Partition;
use cartwheel_protocol::layout::Member;
use cartwheel_protocol::membership::{Membership, Row, Status};
use cartwheel_protocol::shard_of;
use cartwheel_protocol::view::{View, ViewId};

use crate::shard::ShardStatus;

/// What services and pages go by.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// The view that the shards have been given; nothing before there is one.
    pub(crate) view: Option<Arc<View>>,
    /// Where this node stands.
    pub(crate) standing: Standing,
    /// The peers that it suspects, sorted.
    pub(crate) suspected: Vec<NodeId>,
}

impl Seen {
    pub(crate) fn new(me: NodeId, membership: &Membership) -> Self {
        let view = membership.view().cloned();
        let row = membership.rows().find(|row| row.node == me);
        let is_removed = row.is_some_and(|row| row.status == Status::Removed);
        let standing = match &view {
            None => Standing::NoView,
            Some(view) if view.is_member(me) => Standing::Member,
            Some(view) if view.lists(me) => Standing::Draining,
            Some(_) if is_removed => Standing::Removed,
            Some(_) => Standing::Joining,
        };
        // Of a node that was removed nobody asks whether it lives.
        let is_gone = |node: &NodeId| {
            let row = membership.rows().find(|row| row.node == *node);
            row.is_some_and(|row| row.status == Status::Removed)
        };
        let mut suspected = membership.suspected();
        suspected.retain(|node| !is_gone(node));
        Self { view, standing, suspected }
    }
}

/// All that is known of the cluster.
pub(super) fn members(
    me: NodeId,
    name: &str,
    membership: &Membership,
    shards: &[Arc<ShardStatus>],
    reaps: bool,
) -> Members {
    let Seen { view, standing, suspected } = Seen::new(me, membership);
    let rows = membership.rows().map(|row| row_seen(row, view.as_deref(), &suspected));
    let staged: Vec<_> = membership.staged().cloned().collect();
    let outlook = membership.outlook(&staged);
    Members {
        node: me.0,
        name: name.to_owned(),
        standing,
        rows: rows.collect(),
        staged: outlook.map(|outlook| Outlook::new(&outlook).wishes).unwrap_or_default(),
        shards: shards.iter().map(|shard| shard_seen(shard)).collect(),
        trees: view.as_deref().map(|view| trees_seen(me, view, shards)).unwrap_or_default(),
        view: view.as_deref().map(view_seen),
        reaps,
    }
}

/// So many ranges of partitions are told of.
const RANGES: u32 = 8;

/// The exchanges of the trees that this node has, by ranges of partitions.
fn trees_seen(me: NodeId, view: &View, shards: &[Arc<ShardStatus>]) -> Vec<TreeRange> {
    let sizes = view.layout().sizes();
    let all = view.partitions().count();
    let width = all.div_ceil(RANGES);
    let range = |first: u32| {
        let last = (first + width).min(all) - 1;
        let mut range = TreeRange { first, last, ..TreeRange::default() };
        for (partition, n) in
            (first..=last).flat_map(|p| sizes.iter().map(move |n| (Partition(p), *n)))
        {
            if !view.owns(me, partition, n) {
                continue;
            }
            range.trees += 1;
            let shard = shards.get(usize::from(shard_of(partition, shards.len() as u16)));
            if let Some((ago, repaired)) =
                shard.and_then(|shard| shard.exchanges.of((partition, n)))
            {
                range.compared += 1;
                range.repaired += repaired;
                range.oldest_ms = range.oldest_ms.max(ago.as_millis() as u64);
            }
        }
        range
    };
    (0..all).step_by(width as usize).map(range).collect()
}

fn row_seen(row: &Row, view: Option<&View>, suspected: &[NodeId]) -> RowSeen {
    let listed: Option<&Member> = view.and_then(|view| view.member(row.node));
    let must_catch_up = view.is_some_and(|view| must_catch_up(view, row.node));
    // A view that was raised since asks for nothing more.
    let caught_up = row.caught_up.map(ViewId::era);
    let has_caught_up = view.is_some_and(|view| caught_up >= Some(view.id().era()));
    RowSeen {
        node: row.node.0,
        name: row.label.1.to_string(),
        address: row.label.2.to_string(),
        zone: listed.map(|member| member.zone.to_string()),
        weight: listed.map(|member| member.weight),
        status: row.status.to_string(),
        view: row.view.map(|view| view.to_string()),
        must_catch_up,
        has_caught_up: must_catch_up && has_caught_up,
        is_suspected: suspected.contains(&row.node),
    }
}

fn must_catch_up(view: &View, node: NodeId) -> bool {
    view.next().is_some()
        && view.layout().sizes().into_iter().any(|n| {
            view.partitions().iter().any(|partition| view.must_catch_up(node, partition, n))
        })
}

fn shard_seen(shard: &ShardStatus) -> ShardSeen {
    // Before what is left: a shard that has not begun must not look as if it were through.
    let (exchanges, equal) = shard.exchanges.equal();
    ShardSeen {
        pending: shard.pending.load(Ordering::Relaxed) as u64,
        unsynced: shard.unsynced.load(Ordering::Relaxed) as u64,
        catching_up: shard.catching_up.load(Ordering::Relaxed) as u64,
        passes: shard.passes.load(Ordering::Acquire),
        handed_over: shard.handed_over.load(Ordering::Relaxed),
        trees_left: shard.exchanges.left(),
        exchanges,
        equal,
        unmended: shard.unmended.load(Ordering::Relaxed) as u64,
        looks_for_damage: shard.looks_for_damage.load(Ordering::Relaxed),
    }
}

fn view_seen(view: &View) -> ViewSeen {
    ViewSeen {
        id: view.id().to_string(),
        layout: view.layout().number(),
        hash: view.layout().hash().0,
        next: view.next().map(|next| next.number()),
        under_way: view.change().commands.iter().map(|staged| staged.id).collect(),
        settled: view.change().settled.to_vec(),
        draining: view.layout().draining().iter().map(|member| member.id.0).collect(),
        zones: ZoneRange::of(view.layout()),
    }
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::bucket::Bucket;
    use cartwheel_protocol::id::Zone;
    use cartwheel_protocol::key::Partitions;
    use cartwheel_protocol::layout::{Command, Layout};
    use cartwheel_protocol::reap_page::Reaped;
    use cartwheel_protocol::view::Change;

    use super::*;

    fn member(id: u64) -> Member {
        let (name, address) = ("n".into(), "127.0.0.1:1".into());
        Member { id: NodeId(id), name, address, zone: Zone("z1".into()), weight: 1 }
    }

    #[test]
    fn who_had_caught_up_when_a_view_was_raised_still_has() {
        let partitions = Partitions::new(8).expect("a power of two");
        let layout = Layout::form((1..=3).map(member), partitions, Bucket::built_in());
        let view = View::new(Arc::new(layout.expect("a layout")));
        let joined = view.layout().step(&[Command::Join(member(4))], false).expect("it fits");
        let joint = |decree| {
            let (next, change) = (Arc::new(joined.clone()), Change::default());
            view.joint(decree, next, change, Reaped::default())
        };
        let (joint, amended) = (joint(1), joint(2));
        let raised = joint.raised(NodeId(1));
        assert!(raised.id() > joint.id());
        let mut row = Row::new(NodeId(4), "n".into(), "127.0.0.1:1".into());
        row.caught_up = Some(joint.id());
        for (view, has_caught_up) in [(&joint, true), (&raised, true), (&amended, false)] {
            let seen = row_seen(&row, Some(view), &[]);
            assert!(seen.must_catch_up, "{}", view.id());
            assert_eq!(seen.has_caught_up, has_caught_up, "{}", view.id());
        }
    }
}
