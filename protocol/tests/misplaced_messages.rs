//! A peer's message is not believed blindly. One about a key that lies in another partition than it says (the peer
//! counts other partitions), or about a key that no client could write, is a peer's fault: it is ignored, and
//! above all it does not stop the node.

mod support;

use std::{collections::BTreeSet, sync::Arc};

use cartwheel_protocol::{
    Config, Effect, Input, Message, Replica,
    bucket::BucketName,
    format::v1,
    id::{ClusterId, Incarnation, NodeId},
    key::{Key, RecordKey},
    limits::MAX_KEY,
    record::Storage,
    request::{Operation, Request},
    view::View,
};

use support::{
    ask::simple_put,
    cluster::{Cluster, Setup},
    disk::Disk,
    layouts::view,
};

const NODES: [u64; 3] = [1, 2, 3];

fn replica(id: u64, view: &Arc<View>, disk: &mut Disk) -> Replica {
    let mut replica = Replica::new(NodeId(id), Incarnation(id), Config::new(ClusterId(7)));
    replica.step(disk, Input::View(view.clone()), &mut Vec::new());
    replica
}

fn key(bucket: &str, name: String) -> Key {
    Key::new(BucketName::new(bucket).expect("a valid name"), name.into_bytes())
}

/// What n1, which goes by `view`, sends for a request.
fn sent(view: &Arc<View>, request: Request) -> Vec<(NodeId, Message)> {
    let (mut disk, mut effects) = (Disk::default(), Vec::new());
    let request = Input::Request { number: 1, request };
    replica(1, view, &mut disk).step(&mut disk, request, &mut effects);
    let sent = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send { to, message } => Some((to, message)),
        Effect::Reply { .. }
        | Effect::Sync(_)
        | Effect::SetTimer { .. }
        | Effect::CancelTimer(_)
        | Effect::Report(_) => None,
    });
    sent.collect()
}

/// What the receiver of a message does, and how many records it then stores.
fn received(view: &Arc<View>, to: NodeId, message: Message) -> (Vec<Effect>, usize) {
    let (mut disk, mut effects) = (Disk::default(), Vec::new());
    let input = Input::Message { from: NodeId(1), message };
    replica(to.0, view, &mut disk).step(&mut disk, input, &mut effects);
    let first = RecordKey::start_of(view.partitions().iter().next().expect("a partition"));
    (effects, disk.scan(&first, None, 10).len())
}

#[test]
fn what_a_peer_says_of_a_key_in_another_partition_is_ignored() {
    let (few, many) = (view(NODES, 2), view(NODES, 4));
    let mut ignored = BTreeSet::new();
    for name in 0..64 {
        let key = key("default", format!("k{name}"));
        let agreed = many.partitions().of(&key) == few.partitions().of(&key);
        let read = Request { operation: Operation::Get, ..simple_put(key.clone(), 1) };
        for request in [simple_put(key, 1), read] {
            let is_read = request.operation.is_read();
            for (to, message) in sent(&many, request) {
                let partition = message.partition();
                let (effects, stored) = received(&few, to, message);
                assert_eq!(effects.is_empty(), !agreed, "{effects:?}");
                assert_eq!(stored, usize::from(agreed && !is_read), "k{name}");
                if !agreed {
                    ignored.insert((partition, is_read));
                }
            }
        }
    }
    // Also for partitions that the receiver does not have at all.
    assert!(ignored.iter().any(|(partition, _)| partition.0 >= 2), "{ignored:?}");
}

#[test]
fn what_a_peer_says_of_a_key_that_is_too_long_is_ignored() {
    let mut cluster = Cluster::new(&Setup::default());
    let name = "k".repeat(MAX_KEY);
    cluster.request(NodeId(1), simple_put(key("default", name.clone()), 1));
    let flight = cluster.net.iter().find(|flight| flight.to == NodeId(2)).expect("a put").clone();
    // A byte more, by a peer that checks nothing. Two bytes of length stand before the name.
    let name = name.as_bytes();
    let longer = |length: usize| {
        let prefix = [(length & 0x7f | 0x80) as u8, (length >> 7) as u8];
        [&prefix[..], &vec![b'k'; length]].concat()
    };
    let bytes = v1::encode_message(&flight.message);
    let within = longer(name.len());
    let at = bytes.windows(within.len()).position(|window| *window == within);
    let at = at.expect("the name stands in the message");
    let spoilt = [&bytes[..at], &longer(name.len() + 1), &bytes[at + within.len()..]].concat();
    let message = v1::decode_message(&spoilt).expect("a message");
    assert_eq!(message.partition(), flight.message.partition());

    let mut tell = |message| {
        let flight = support::cluster::Flight { message, ..flight.clone() };
        cluster.deliver(flight)
    };
    assert_eq!(tell(message), []);
    assert_ne!(tell(flight.message.clone()), [], "the longest key that is allowed is taken");
    let first = RecordKey::start_of(flight.message.partition());
    assert_eq!(cluster.nodes[&NodeId(2)].disk.scan(&first, None, 10).len(), 1);
}
