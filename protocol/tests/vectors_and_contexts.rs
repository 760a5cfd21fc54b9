//! Version vectors against a plain map; contexts as bytes (V7); digests.

mod support;

use std::collections::BTreeMap;

use cartwheel_protocol::{
    bucket::BucketName,
    context::{Binding, Context, DamagedContext},
    id::{ClusterId, Incarnation},
    key::Key,
    rules::Rules,
    version::{Actor, Dot, VersionVector},
};
use proptest::{collection::vec, prelude::*};

use support::history::{Shape, World};

/// The reference: a counter for each actor.
type Reference = BTreeMap<Actor, u64>;

fn dot() -> impl Strategy<Value = Dot> {
    (0..4_u64, 0..3_u64, 1..6_u64).prop_map(|(run, n, counter)| Dot {
        actor: Actor { incarnation: Incarnation(run), n },
        counter,
    })
}

fn reference(dots: &[Dot]) -> Reference {
    let mut counters = Reference::new();
    for dot in dots {
        let counter = counters.entry(dot.actor).or_default();
        *counter = dot.counter.max(*counter);
    }
    counters
}

fn as_reference(vector: &VersionVector) -> Reference {
    vector.dots().iter().map(|dot| (dot.actor, dot.counter)).collect()
}

fn key(bucket: &str, name: &[u8]) -> Key {
    Key::new(BucketName::new(bucket).expect("a valid name"), name)
}

fn context(cluster: u64, key: &Key, dots: &[Dot]) -> Context {
    let seen = VersionVector::from_dots(dots.iter().copied());
    Context::new(Binding::new(ClusterId(cluster), key), seen)
}

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_vector_is_a_map_of_counters(a in vec(dot(), 0..12), b in vec(dot(), 0..12), extra in dot()) {
        let (left, right) = (reference(&a), reference(&b));
        let (va, vb) = (VersionVector::from_dots(a), VersionVector::from_dots(b));
        prop_assert_eq!(as_reference(&va), left.clone());
        prop_assert_eq!((va.len(), va.is_empty()), (left.len(), left.is_empty()));
        prop_assert!(va.dots().is_sorted());

        let mut joined = left.clone();
        for (actor, counter) in &right {
            let here = joined.entry(*actor).or_default();
            *here = (*here).max(*counter);
        }
        prop_assert_eq!(as_reference(&va.join(&vb)), joined);

        let counter = left.get(&extra.actor).copied().unwrap_or(0);
        prop_assert_eq!(va.counter(extra.actor), counter);
        prop_assert_eq!(va.covers(extra), extra.counter <= counter);
        let mut with = left.clone();
        with.insert(extra.actor, counter.max(extra.counter));
        prop_assert_eq!(as_reference(&va.with(extra)), with);

        let includes = right.iter().all(|(actor, counter)| left.get(actor) >= Some(counter));
        prop_assert_eq!(va.includes(&vb), includes);
    }

    #[test]
    fn joining_is_a_least_upper_bound(
        a in vec(dot(), 0..12),
        b in vec(dot(), 0..12),
        c in vec(dot(), 0..12),
    ) {
        let [a, b, c] = [a, b, c].map(VersionVector::from_dots);
        let joined = a.join(&b);
        prop_assert_eq!(&joined, &b.join(&a));
        prop_assert_eq!(joined.join(&c), a.join(&b.join(&c)));
        prop_assert_eq!(&a.join(&a), &a);
        prop_assert!(joined.includes(&a) && joined.includes(&b));
        prop_assert!(!(c.includes(&a) && c.includes(&b)) || c.includes(&joined));
        prop_assert_eq!(a.includes(&b) && b.includes(&a), a == b);
    }

    #[test]
    fn a_context_comes_back_as_it_was(dots in vec(dot(), 0..12), name in vec(any::<u8>(), 1..9)) {
        let given = context(7, &key("default", &name), &dots);
        prop_assert_eq!(Context::decode(&given.encode()), Ok(given.clone()));
        prop_assert_eq!(as_reference(given.seen()), reference(&dots));
    }

    #[test]
    fn a_damaged_context_is_refused(dots in vec(dot(), 0..5), cut in any::<prop::sample::Index>()) {
        let bytes = context(7, &key("default", b"k"), &dots).encode();
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Context::decode(&damaged), Err(DamagedContext), "bit {}", bit);
        }
        let short = &bytes[..cut.index(bytes.len())];
        prop_assert_eq!(Context::decode(short), Err(DamagedContext));
        let long = [&bytes[..], &[0]].concat();
        prop_assert_eq!(Context::decode(&long), Err(DamagedContext));
    }

    #[test]
    fn bytes_that_are_no_context_are_refused(bytes in vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(Context::decode(&bytes), Err(DamagedContext));
    }

    #[test]
    fn a_context_belongs_to_one_key_of_one_cluster(
        names in vec(vec(any::<u8>(), 1..5), 2..6),
        clusters in vec(any::<u64>(), 1..3),
    ) {
        let mut places: Vec<(u64, Key)> = Vec::new();
        for cluster in &clusters {
            for name in &names {
                places.push((*cluster, key("default", name)));
                places.push((*cluster, key("carts", name)));
            }
        }
        for (cluster, one) in &places {
            let given = context(*cluster, one, &[]);
            for (other_cluster, other) in &places {
                let same = (cluster, one) == (other_cluster, other);
                let binding = Binding::new(ClusterId(*other_cluster), other);
                prop_assert_eq!(given.is_bound_to(binding), same, "{} and {}", one, other);
            }
        }
    }

    #[test]
    fn digests_are_equal_where_objects_are(
        register in Shape::Register.histories(true),
        cart in Shape::Cart(4).histories(true),
    ) {
        let here = key("default", b"k");
        for (shape, history) in [(Shape::Register, register), (Shape::Cart(4), cart)] {
            let world = World::after(shape, Rules::sound(), &history);
            for a in &world.states {
                prop_assert_ne!(a.digest(&here), a.digest(&key("default", b"k2")));
                for b in &world.states {
                    let equal = a.digest(&here) == b.digest(&here);
                    prop_assert_eq!(equal, a == b, "{} and {}", a, b);
                }
            }
        }
    }
}

/// A key's name cannot be shifted into its bucket's: the hash tells where one ends.
#[test]
fn bucket_and_name_are_kept_apart() {
    let (one, other) = (key("ab", b"c"), key("a", b"bc"));
    assert_ne!(one.hash128(), other.hash128());
    assert!(!context(7, &one, &[]).is_bound_to(Binding::new(ClusterId(7), &other)));
}
