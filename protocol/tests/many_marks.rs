//! More damaged records than a shard remembers marks of: those that nothing can mend keep no other from being mended.

mod support;

use cartwheel_protocol::{
    Config, Effect, Fact, Timer,
    bucket::BucketName,
    id::{ClusterId, NodeId, PutId},
    key::{Key, RecordKey},
    record::Stored,
    request::{Operation, Request},
};

use support::cluster::{Cluster, Done, Setup};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
/// More than a shard remembers.
const LOST: usize = 4_100;
const MENDABLE: usize = 100;

/// Two owners with so many records, in the order in which they are looked at.
fn filled() -> (Cluster, Vec<RecordKey>) {
    let config = Config { mend_parallel: 256, ..Config::new(ClusterId(7)) };
    let mut cluster = Cluster::new(&Setup { nodes: 2, n: 2, config, ..Setup::default() });
    let mut keys = Vec::new();
    for number in 0..(LOST + MENDABLE) as u128 {
        let name = BucketName::new("default").expect("a name");
        let key = Key::new(name, format!("k{number}").as_bytes());
        keys.push(cluster.place(key.clone()));
        let (put_id, value) = (PutId(number), (*b"v").into());
        let operation = Operation::Put { context: None, put_id, time_us: 0, value };
        let request = Request { key, operation, quorum: Some(2), strict: false, timeout_ms: 100 };
        cluster.request(N1, request);
        cluster.settle();
    }
    keys.sort();
    (cluster, keys)
}

/// Whether a shard wants a view above the newest one.
fn wants_view(cluster: &Cluster, done: &[Done]) -> bool {
    let newest = cluster.view.id();
    done.iter().any(|(_, effect)| *effect == Effect::Report(Fact::Damaged(newest)))
}

fn is_mended(cluster: &Cluster, key: &RecordKey) -> bool {
    matches!(cluster.stored(N1, key), Stored::Found(record) if record.damaged.is_none())
}

fn damage(cluster: &mut Cluster, id: NodeId, keys: &[RecordKey]) {
    let disk = &mut cluster.nodes.get_mut(&id).expect("a node").disk;
    keys.iter().for_each(|key| disk.damage(key));
}

/// n1 has lost all records, and n2 these; n1 starts again.
fn with_lost(all: &[RecordKey], lost: &[RecordKey], mut cluster: Cluster) -> Cluster {
    damage(&mut cluster, N1, all);
    damage(&mut cluster, N2, lost);
    cluster.crash(N1, 0);
    cluster.start(N1);
    cluster.adopt_own(N1);
    cluster
}

/// The timer runs out once, and a view is raised if one is wanted.
fn turn(cluster: &mut Cluster) {
    let mut done = cluster.fire(N1, Timer::Mend);
    done.extend(cluster.settle());
    if wants_view(cluster, &done) {
        cluster.raise(N1);
        cluster.adopt(N2);
        cluster.settle();
    }
}

fn until_mended(cluster: &mut Cluster, mendable: &[RecordKey]) {
    let mut turns = 0;
    while !mendable.iter().all(|key| is_mended(cluster, key)) {
        turns += 1;
        let left = mendable.iter().filter(|key| !is_mended(cluster, key)).count();
        assert!(turns < 1_000, "{left} that can be mended still wait");
        turn(cluster);
    }
}

#[test]
fn records_that_nothing_can_mend_hold_up_no_other() {
    let (cluster, keys) = filled();
    let (lost, mendable) = keys.split_at(LOST);
    let mut cluster = with_lost(&keys, lost, cluster);
    until_mended(&mut cluster, mendable);
    assert!(lost.iter().all(|key| !is_mended(&cluster, key)));
}

/// What lies behind those that wait for good is not passed over because they were asked about last, and a view that comes while
/// the others have their turn begins nothing anew.
#[test]
fn records_that_wait_for_a_silent_owner_are_mended_when_it_answers() {
    let (cluster, keys) = filled();
    let (mendable, lost) = keys.split_at(LOST - MENDABLE);
    let mut cluster = with_lost(&keys, lost, cluster);
    let n2 = cluster.nodes.get_mut(&N2).and_then(|node| node.replica.take());
    for _ in 0..200 {
        turn(&mut cluster);
    }
    assert!(mendable.iter().all(|key| !is_mended(&cluster, key)), "n2 is down");
    cluster.nodes.get_mut(&N2).expect("a node").replica = n2;
    cluster.adopt(N2);
    until_mended(&mut cluster, mendable);
    assert!(lost.iter().all(|key| !is_mended(&cluster, key)));
}
