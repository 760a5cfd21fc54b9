//! Values to encode in tests: one of each kind by hand, and any by proptest.

use alloc::{string::String, sync::Arc, vec, vec::Vec};

use proptest::{
    collection::{btree_map, btree_set, vec as vec_of},
    option,
    prelude::*,
};

use crate::{
    bucket::{BucketName, Kind},
    context::{Binding, Context},
    id::{AddId, ClusterId, Incarnation, NodeId, PutId, RequestId},
    key::{Key, Partition},
    message::{Answer, Body, Message},
    object::{Addition, Digest, Entry, Object, Value},
    reap_page::{Goes, Reapable},
    record::{Owed, Record},
    request::{Operation, Refusal, Request, Response},
    trees::{Branch, MAX_DEPTH, Sum},
    version::{Actor, Dot, VersionVector},
    view::ViewId,
};

pub(super) fn key(bucket: &str, name: &str) -> Key {
    let bucket = BucketName::new(bucket).expect("a valid name");
    Key { bucket, name: Arc::from(name.as_bytes()) }
}

pub(super) fn dot(incarnation: u64, n: u64, counter: u64) -> Dot {
    Dot { actor: Actor { incarnation: Incarnation(incarnation), n }, counter }
}

pub(super) fn cart() -> Object {
    let (first, second) =
        (dot(0x0102_0304_0506_0708, 1, 2), dot(0xffee_ddcc_bbaa_9988, 300, 70_000));
    let milk = Addition { add_id: AddId(0x0190 << 112 | 1), sku: Arc::from("milk"), quantity: 2 };
    let tea =
        Addition { add_id: AddId(u128::MAX - 5), sku: Arc::from("thé"), quantity: 1_000_000 };
    Object::from_parts(
        VersionVector::from_dots([first, second, dot(9, 1, 1)]),
        vec![(first, Entry::Addition(milk)), (second, Entry::Addition(tea))],
        vec![AddId(7), AddId(0x0190 << 112)],
    )
}

pub(super) fn siblings() -> Object {
    let (first, second) = (dot(1, 1, 1), dot(2, 1, 5));
    let value = |id, bytes: &[u8]| {
        let value =
            Value { put_id: PutId(id), time_us: 1_700_000_000_000_000, bytes: bytes.into() };
        Entry::Value(value)
    };
    let entries = vec![(first, value(10, b"one")), (second, value(11, &[0, 255]))];
    Object::from_parts(VersionVector::from_dots([first, second]), entries, vec![])
}

pub(super) fn context() -> Context {
    let binding = Binding::new(ClusterId(0xc0ffee), &key("default", "k"));
    Context::new(binding, siblings().seen().clone())
}

pub(super) fn view() -> ViewId {
    ViewId { layout: 3, decree: 200, reap: (1, NodeId(0xabcdef)) }
}

pub(super) fn records() -> Vec<(&'static str, Record)> {
    let owed = Owed::new(view(), [NodeId(1), NodeId(u64::MAX)]);
    let new = Record::default;
    vec![
        ("record new", Record::default()),
        ("record cart", Record { object: cart(), own: Some(dot(9, 1, 1)), ..new() }),
        ("record hint", Record { object: siblings(), owed, ..new() }),
        ("record damaged", Record { object: cart(), damaged: Some(view()), ..new() }),
    ]
}

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    let asked = |operation, quorum, strict| Request {
        key: key("default", "k"),
        operation,
        quorum,
        strict,
        timeout_ms: 1_000,
    };
    let value = Arc::from(&b"v"[..]);
    let put = Operation::Put { context: Some(context()), put_id: PutId(5), time_us: 99, value };
    let add = Addition { add_id: AddId(3), sku: Arc::from("milk"), quantity: 1 };
    let cancel = Arc::from([AddId(1), AddId(2)]);
    let change = Operation::Change { cancel, add: Some(add), context: None };
    vec![
        ("request get", asked(Operation::Get, None, false)),
        ("request get local", asked(Operation::GetLocal, Some(1), false)),
        ("request put", asked(put, Some(2), true)),
        ("request delete", asked(Operation::Delete { context: Some(context()) }, None, false)),
        ("request accept loss", asked(Operation::AcceptLoss, None, false)),
        ("request change", Request { key: key("carts", "alice"), ..asked(change, None, false) }),
    ]
}

pub(super) fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::KeyEmpty,
        Refusal::KeyTooLong(1_025),
        Refusal::ValueTooLong((1 << 20) + 1),
        Refusal::SkuLength(0),
        Refusal::UnknownBucket,
        Refusal::WrongKind(Kind::Register),
        Refusal::WrongKind(Kind::Cart),
        Refusal::Quantity(0),
        Refusal::CartFull(1_000),
        Refusal::TooManyCancels { named: 3_000, bound: 2_048 },
        Refusal::TooManySiblings(65),
        Refusal::ForeignContext,
        Refusal::Quorum { asked: 4, n: 3 },
        Refusal::StrictQuorum { asked: 1, least: 2 },
        Refusal::TooFewZones { asked: 3, zones: 2 },
        Refusal::Overloaded,
        Refusal::NotReady,
        Refusal::Damaged,
        Refusal::Unavailable { have: 1, need: 2 },
        Refusal::DiskFull,
        Refusal::NotDamaged,
        Refusal::OwnersSilent { answered: 1, owners: 2 },
        Refusal::TooOld(AddId(u128::MAX / 11)),
    ]
}

pub(super) fn responses() -> Vec<(&'static str, Response)> {
    let found = Response::Found { object: siblings(), context: context(), owners: 2, fallbacks: 1 };
    let refused = refusals().into_iter().map(|why| ("response refused", Response::Refused(why)));
    let mut responses = vec![
        ("response found", found),
        ("response held", Response::Held { object: cart(), owes: 2 }),
        ("response written", Response::Written { slots: 3, nodes: 4, zones: 2 }),
    ];
    responses.extend(refused);
    responses
}

pub(super) fn messages() -> Vec<(&'static str, Message)> {
    let request =
        RequestId { coordinator: Incarnation(0x11), caller: Incarnation(0x22), number: 300 };
    let key = key("carts", "alice");
    let (slot, object, digest) = (NodeId(0x0303), cart(), Digest(u128::MAX / 3));
    let (after, next) = (Some(key.clone()), self::key("carts", "bob"));
    let copies: Arc<[(Key, Object)]> = [(next.clone(), cart())].into();
    let asked = requests()[2].1.clone();
    let response = responses()[0].1.clone();
    let bodies = [
        ("put", Body::Put { request, slot, key: key.clone(), object: object.clone() }),
        ("put ok", Body::PutOk { request, slot }),
        ("get", Body::Get { request, key: key.clone() }),
        ("get ok absent", Body::GetOk { request, answer: Answer::Absent }),
        ("get ok found", Body::GetOk { request, answer: Answer::Found(object.clone()) }),
        ("get ok damaged", Body::GetOk { request, answer: Answer::Damaged }),
        ("repair", Body::Repair { key: key.clone(), object: object.clone() }),
        ("handoff", Body::Handoff { key: key.clone(), object, digest }),
        ("handoff ok", Body::HandoffOk { key: key.clone(), digest, owner: true }),
        ("mend", Body::Mend { key: key.clone() }),
        ("mend ok", Body::MendOk { key, answer: Answer::Found(cart()) }),
        ("sync", Body::Sync { n: 3, after: None }),
        ("sync on", Body::Sync { n: 5, after: Some(next.clone()) }),
        ("sync page", Body::SyncPage { n: 3, after, objects: copies, next: Some(next) }),
        ("sync page last", Body::SyncPage { n: 5, after: None, objects: [].into(), next: None }),
        ("forward", Body::Forward { request, asked }),
        ("forward ok", Body::ForwardOk { request, response }),
    ];
    let bodies = bodies.into_iter().chain(exchange()).chain(round());
    let message = |body| Message { view: view(), partition: Partition(1_023), body };
    bodies.into_iter().map(|(name, body)| (name, message(body))).collect()
}

/// What a reap round names.
pub(super) fn reapable() -> Arc<[Reapable]> {
    let actor = |incarnation| dot(incarnation, 300, 1).actor;
    let spent = Goes::Spent([actor(5), actor(u64::MAX)].into());
    let item =
        |name, goes| Reapable { key: key("carts", name), digest: Digest(u128::MAX / 5), goes };
    [item("alice", Goes::Whole), item("bob", spent)].into()
}

/// The messages of a reap round.
fn round() -> Vec<(&'static str, Body)> {
    let incarnation = Incarnation(0x0909);
    vec![
        ("judge", Body::Judge),
        ("judge ok", Body::JudgeOk { fit: true, incarnation }),
        ("reap", Body::Reap { floor: Some(AddId(u128::MAX / 7)), items: reapable() }),
        ("reap without floor", Body::Reap { floor: None, items: Arc::from([]) }),
        ("outdated", Body::Outdated),
    ]
}

fn any_round() -> impl Strategy<Value = Body> {
    let judged = (any::<bool>(), any::<u64>().prop_map(Incarnation));
    let floor = option::of(any::<u128>().prop_map(AddId));
    let actors = vec_of(any_actor(), 0..4).prop_map(|mut actors| {
        actors.sort_unstable();
        actors.dedup();
        Goes::Spent(actors.into())
    });
    let goes = prop_oneof![Just(Goes::Whole), actors];
    let item = (any_key(), any::<u128>().prop_map(Digest), goes);
    let items = vec_of(item.prop_map(|(key, digest, goes)| Reapable { key, digest, goes }), 0..4);
    prop_oneof![
        Just(Body::Judge),
        Just(Body::Outdated),
        judged.prop_map(|(fit, incarnation)| Body::JudgeOk { fit, incarnation }),
        (floor, items).prop_map(|(floor, mut items)| {
            items.sort_unstable();
            items.dedup_by_key(|item| item.key.clone());
            Body::Reap { floor, items: items.into() }
        }),
    ]
}

/// The messages of one exchange of trees.
fn exchange() -> Vec<(&'static str, Body)> {
    let (alice, bob) = (key("carts", "alice"), key("carts", "bob"));
    let branch = |depth, digits| Branch::new(depth, digits).expect("a branch of a tree");
    let children = Arc::from([(0, Sum(1)), (15, Sum(u128::MAX / 3))]);
    let differing = [(Branch::ROOT, children), (branch(1, 9), Arc::from([]))];
    let leaves = Arc::from([branch(2, 0xab), branch(3, 0xfff)]);
    let (after, until) = (Some(alice.clone()), Some(bob.clone()));
    let keys = Arc::from([(bob.clone(), Digest(u128::MAX / 5))]);
    let objects = Arc::from([(bob.clone(), cart())]);
    let wanted = Arc::from([bob.clone()]);
    vec![
        ("compare", Body::Compare { n: 3, sums: [(branch(1, 9), Sum(u128::MAX / 7))].into() }),
        ("compare ok no tree", Body::CompareOk { n: 3, of: Sum(u128::MAX / 9), differing: None }),
        (
            "compare ok equal",
            Body::CompareOk { n: 3, of: Sum(u128::MAX / 9), differing: Some(Arc::from([])) },
        ),
        (
            "compare ok",
            Body::CompareOk { n: 3, of: Sum(u128::MAX / 9), differing: Some(Arc::from(differing)) },
        ),
        ("keys", Body::Keys { n: 3, leaves, after: after.clone(), until, keys }),
        ("keys ok", Body::KeysOk { n: 3, after, next: Some(bob), objects, wanted }),
    ]
}

fn any_branch() -> impl Strategy<Value = Branch> {
    (0..=MAX_DEPTH, any::<u16>()).prop_map(|(depth, digits)| {
        let digits = u32::from(digits) % (1 << (4 * u32::from(depth)));
        Branch::new(depth, digits as u16).expect("the digits are of that depth")
    })
}

fn any_exchange() -> impl Strategy<Value = Body> {
    let sum = || any::<u128>().prop_map(Sum);
    let key = || option::of(any_key());
    let sums = vec_of((any_branch(), sum()), 0..4);
    let children = vec_of((any::<u8>(), sum()), 0..4).prop_map(Arc::from);
    let differing = option::of(vec_of((any_branch(), children), 0..4));
    let keys = vec_of((any_key(), any::<u128>().prop_map(Digest)), 0..4);
    let keys = (vec_of(any_branch(), 0..4), key(), key(), keys);
    let objects = vec_of((any_key(), any_object()), 0..3);
    let reply = (key(), key(), objects, vec_of(any_key(), 0..3));
    prop_oneof![
        (any::<u8>(), sums).prop_map(|(n, sums)| Body::Compare { n, sums: sums.into() }),
        (any::<u8>(), sum(), differing).prop_map(|(n, of, differing)| {
            Body::CompareOk { n, of, differing: differing.map(Arc::from) }
        }),
        (any::<u8>(), keys).prop_map(|(n, (leaves, after, until, keys))| Body::Keys {
            n,
            leaves: leaves.into(),
            after,
            until,
            keys: keys.into()
        }),
        (any::<u8>(), reply).prop_map(|(n, (after, next, objects, wanted))| Body::KeysOk {
            n,
            after,
            next,
            objects: objects.into(),
            wanted: wanted.into()
        }),
    ]
}

fn any_key() -> impl Strategy<Value = Key> {
    ("[a-z0-9_-]{1,64}", vec_of(any::<u8>(), 0..40)).prop_map(|(bucket, name)| Key {
        bucket: BucketName::new(&bucket).expect("the pattern allows valid names only"),
        name: name.into(),
    })
}

fn any_actor() -> impl Strategy<Value = Actor> {
    (any::<u64>(), any::<u64>())
        .prop_map(|(incarnation, n)| Actor { incarnation: Incarnation(incarnation), n })
}

fn any_dot() -> impl Strategy<Value = Dot> {
    (any_actor(), 1u64..).prop_map(|(actor, counter)| Dot { actor, counter })
}

fn any_addition() -> impl Strategy<Value = Addition> {
    (any::<u128>(), any::<String>(), any::<u32>()).prop_map(|(add_id, sku, quantity)| Addition {
        add_id: AddId(add_id),
        sku: sku.into(),
        quantity,
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let value = (any::<u128>(), any::<u64>(), vec_of(any::<u8>(), 0..300));
    prop_oneof![
        value.prop_map(|(put_id, time_us, bytes)| Entry::Value(Value {
            put_id: PutId(put_id),
            time_us,
            bytes: bytes.into(),
        })),
        any_addition().prop_map(Entry::Addition),
    ]
}

pub(super) fn any_seen() -> impl Strategy<Value = VersionVector> {
    btree_set(any_dot(), 0..8).prop_map(VersionVector::from_dots)
}

pub(super) fn any_object() -> impl Strategy<Value = Object> {
    let entries = btree_map(any_dot(), any_entry(), 0..6);
    (any_seen(), entries, btree_set(any::<u128>(), 0..6)).prop_map(|(seen, entries, cancelled)| {
        let cancelled = cancelled.into_iter().map(AddId).collect();
        Object::from_parts(seen, entries.into_iter().collect(), cancelled)
    })
}

fn any_view() -> impl Strategy<Value = ViewId> {
    (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>())
        .prop_map(|(layout, decree, reap, by)| ViewId { layout, decree, reap: (reap, NodeId(by)) })
}

pub(super) fn any_record() -> impl Strategy<Value = Record> {
    let owed = (any_view(), btree_set(any::<u64>(), 0..4))
        .prop_map(|(view, owners)| Owed::new(view, owners.into_iter().map(NodeId)));
    (any_object(), option::of(any_dot()), owed, option::of(any_view()))
        .prop_map(|(object, own, owed, damaged)| Record { object, own, owed, damaged })
}

fn any_context() -> impl Strategy<Value = Context> {
    (any_key(), any_seen())
        .prop_map(|(key, seen)| Context::new(Binding::new(ClusterId(0xc0ffee), &key), seen))
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let put = (option::of(any_context()), any::<u128>(), any::<u64>(), vec_of(any::<u8>(), 0..300));
    let cancel = vec_of(any::<u128>(), 0..6);
    let change = (cancel, option::of(any_addition()), option::of(any_context()));
    prop_oneof![
        Just(Operation::Get),
        Just(Operation::GetLocal),
        Just(Operation::AcceptLoss),
        put.prop_map(|(context, put_id, time_us, value)| Operation::Put {
            context,
            put_id: PutId(put_id),
            time_us,
            value: value.into(),
        }),
        option::of(any_context()).prop_map(|context| Operation::Delete { context }),
        change.prop_map(|(cancel, add, context)| Operation::Change {
            cancel: cancel.into_iter().map(AddId).collect(),
            add,
            context,
        }),
    ]
}

pub(super) fn any_request() -> impl Strategy<Value = Request> {
    (any_key(), any_operation(), any::<Option<u8>>(), any::<bool>(), any::<u32>()).prop_map(
        |(key, operation, quorum, strict, timeout_ms)| Request {
            key,
            operation,
            quorum,
            strict,
            timeout_ms,
        },
    )
}

pub(super) fn any_response() -> impl Strategy<Value = Response> {
    let found = (any_object(), any_context(), any::<u8>(), any::<u8>());
    prop_oneof![
        found.prop_map(|(object, context, owners, fallbacks)| Response::Found {
            object,
            context,
            owners,
            fallbacks,
        }),
        (any_object(), any::<u8>()).prop_map(|(object, owes)| Response::Held { object, owes }),
        any::<[u8; 3]>().prop_map(|[slots, nodes, zones]| Response::Written {
            slots,
            nodes,
            zones
        }),
        proptest::sample::select(refusals()).prop_map(Response::Refused),
    ]
}

fn any_body() -> impl Strategy<Value = Body> {
    let id =
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(coordinator, caller, number)| {
            RequestId { coordinator: Incarnation(coordinator), caller: Incarnation(caller), number }
        });
    let id = id.boxed();
    let (key, object, node) = (any_key().boxed(), any_object().boxed(), any::<u64>());
    let answer = prop_oneof![
        Just(Answer::Absent),
        Just(Answer::Damaged),
        object.clone().prop_map(Answer::Found),
    ]
    .boxed();
    let digest = any::<u128>().prop_map(Digest).boxed();
    prop_oneof![
        (id.clone(), node, key.clone(), object.clone()).prop_map(|(request, slot, key, object)| {
            Body::Put { request, slot: NodeId(slot), key, object }
        }),
        (id.clone(), node).prop_map(|(request, slot)| Body::PutOk { request, slot: NodeId(slot) }),
        (id.clone(), key.clone()).prop_map(|(request, key)| Body::Get { request, key }),
        (id.clone(), answer.clone()).prop_map(|(request, answer)| Body::GetOk { request, answer }),
        (key.clone(), object.clone()).prop_map(|(key, object)| Body::Repair { key, object }),
        (key.clone(), object, digest.clone()).prop_map(|(key, object, digest)| Body::Handoff {
            key,
            object,
            digest
        }),
        (key.clone(), digest, any::<bool>()).prop_map(|(key, digest, owner)| Body::HandoffOk {
            key,
            digest,
            owner
        }),
        key.clone().prop_map(|key| Body::Mend { key }),
        (key, answer).prop_map(|(key, answer)| Body::MendOk { key, answer }),
        (id.clone(), any_request()).prop_map(|(request, asked)| Body::Forward { request, asked }),
        (id, any_response()).prop_map(|(request, response)| Body::ForwardOk { request, response }),
        any_exchange(),
        any_round(),
    ]
}

pub(super) fn any_message() -> impl Strategy<Value = Message> {
    (any_view(), any::<u32>(), any_body()).prop_map(|(view, partition, body)| Message {
        view,
        partition: Partition(partition),
        body,
    })
}

pub(super) fn any_record_key() -> impl Strategy<Value = crate::key::RecordKey> {
    // Few partitions, short names of few letters: many keys share a prefix, which is where orders differ.
    let key = ("[a-c_-]{1,3}", vec_of(0u8..3, 0..4));
    (0u32..3, key).prop_map(|(partition, (bucket, name))| crate::key::RecordKey {
        partition: Partition(partition << 20 | partition),
        key: Key { bucket: BucketName::new(&bucket).expect("valid"), name: name.into() },
    })
}
