//! Members and buckets to make layouts of.

use cartwheel_protocol::{
    bucket::{Bucket, BucketName, Kind},
    id::{NodeId, Zone},
    key::Partitions,
    layout::{Layout, Member},
};

/// A member; ids are scattered as random ones are.
pub(crate) fn member(number: u64, zone: u64, weight: u32) -> Member {
    let id = NodeId(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let zone = Zone(format!("z{zone}").into());
    let address = format!("127.0.0.1:{}", 7_400 + number).into();
    Member { id, name: format!("n{number}").into(), address, zone, weight }
}

/// A register bucket with majorities for each size.
pub(crate) fn buckets(sizes: &[u8]) -> Vec<Bucket> {
    let name = |n: &u8| BucketName::new(&format!("size-{n}")).expect("a valid name");
    sizes.iter().map(|n| Bucket::new(name(n), Kind::Register, *n)).collect()
}

/// Layout 1 of these members.
pub(crate) fn form(
    members: impl IntoIterator<Item = Member>,
    partitions: u32,
    sizes: &[u8],
) -> Layout {
    let partitions = Partitions::new(partitions).expect("a power of two");
    Layout::form(members, partitions, buckets(sizes)).expect("a layout")
}
