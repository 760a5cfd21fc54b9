//! Small layouts of nodes that are named after their ids.

use std::sync::Arc;

use cartwheel_protocol::{
    bucket::Bucket,
    id::{NodeId, Zone},
    key::Partitions,
    layout::{Layout, Member},
    view::View,
};

pub(crate) fn member(id: u64) -> Member {
    Member {
        id: NodeId(id),
        name: format!("n{id}").into(),
        address: format!("n{id}:1").into(),
        zone: Zone("z".into()),
        weight: 1,
    }
}

/// The first layout of these nodes, with the built-in buckets.
pub(crate) fn layout(nodes: impl IntoIterator<Item = u64>, partitions: u32) -> Layout {
    let partitions = Partitions::new(partitions).expect("a power of two");
    let members = nodes.into_iter().map(member);
    Layout::form(members, partitions, Bucket::built_in()).expect("a layout")
}

/// The view of that layout.
pub(crate) fn view(nodes: impl IntoIterator<Item = u64>, partitions: u32) -> Arc<View> {
    Arc::new(View::new(Arc::new(layout(nodes, partitions))))
}
