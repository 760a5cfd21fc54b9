//! All interleavings of a gate between senders and a shard, explored by loom.
//!
//! Checked: never more are in than the limit, whoever is refused leaves no trace, and what left makes room
//! again. A gate that looks first and counts afterwards must fail.

#![cfg(feature = "loom")]

use std::sync::Arc;

use cartwheel_node::gate::Gate;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// What the exploration needs of a gate: the real one, or a broken one.
trait Admits: Send + Sync + 'static {
    fn new(limit: usize) -> Self;
    fn enter(&self) -> bool;
    fn leave(&self);
    fn within(&self) -> usize;
}

impl Admits for Gate {
    fn new(limit: usize) -> Self {
        Self::new(limit)
    }

    fn enter(&self) -> bool {
        self.enter(1)
    }

    fn leave(&self) {
        self.leave(1);
    }

    fn within(&self) -> usize {
        self.within()
    }
}

/// Looks, then counts: two senders may see the same last place.
struct LooksFirst {
    within: AtomicUsize,
    limit: usize,
}

impl Admits for LooksFirst {
    fn new(limit: usize) -> Self {
        Self { within: AtomicUsize::new(0), limit }
    }

    fn enter(&self) -> bool {
        let admitted = self.within.load(Ordering::Relaxed) < self.limit;
        if admitted {
            self.within.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn leave(&self) {
        self.within.fetch_sub(1, Ordering::Relaxed);
    }

    fn within(&self) -> usize {
        self.within.load(Ordering::Relaxed)
    }
}

/// Two senders and one place: whoever is in counts itself in a ledger of the test's own.
fn explore<G: Admits>() {
    loom::model(|| {
        let gate = Arc::new(G::new(1));
        let inside = Arc::new(AtomicUsize::new(0));
        let pass = |gate: Arc<G>, inside: Arc<AtomicUsize>| {
            let admitted = gate.enter();
            if admitted {
                let before = inside.fetch_add(1, Ordering::Relaxed);
                assert_eq!(before, 0, "two are in where one may be");
                inside.fetch_sub(1, Ordering::Relaxed);
                gate.leave();
            }
        };
        let other = {
            let (gate, inside) = (gate.clone(), inside.clone());
            thread::spawn(move || pass(gate, inside))
        };
        pass(gate.clone(), inside.clone());
        other.join().expect("the other sender does not fail");
        assert_eq!(gate.within(), 0, "a refused sender left a trace");
        assert!(gate.enter(), "an empty gate refuses");
    });
}

#[test]
fn never_more_are_in_than_may_be() {
    explore::<Gate>();
}

#[test]
#[should_panic(expected = "two are in where one may be")]
fn a_gate_that_looks_first_lets_two_in() {
    explore::<LooksFirst>();
}
