//! All interleavings of a request and a drain, explored by loom.
//!
//! Checked: once a drain has begun and nobody was found at work, nobody is at work ever after. A request that looks first
//! and counts afterwards must fail.

#![cfg(feature = "loom")]

use std::sync::Arc;

use cartwheel_node::drain::Drain;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// What the exploration needs of a drain: the real one, or a broken one.
trait Drains: Send + Sync + 'static {
    fn new() -> Self;
    /// Carries the work out, unless a drain has begun.
    fn work(&self, work: impl FnOnce());
    fn begin(&self);
    fn open(&self) -> usize;
}

impl Drains for Drain {
    fn new() -> Self {
        Self::new()
    }

    fn work(&self, work: impl FnOnce()) {
        if let Some(_open) = self.enter() {
            work();
        }
    }

    fn begin(&self) {
        self.begin();
    }

    fn open(&self) -> usize {
        self.open()
    }
}

/// Looks, then counts: a drain may find nobody in between.
struct LooksFirst {
    begun: AtomicBool,
    open: AtomicUsize,
}

impl Drains for LooksFirst {
    fn new() -> Self {
        Self { begun: AtomicBool::new(false), open: AtomicUsize::new(0) }
    }

    fn work(&self, work: impl FnOnce()) {
        if !self.begun.load(Ordering::SeqCst) {
            self.open.fetch_add(1, Ordering::SeqCst);
            work();
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Two requests and a drain, which notes when it has found nobody at work.
fn explore<D: Drains>() {
    loom::model(|| {
        let drain = Arc::new(D::new());
        let is_over = Arc::new(AtomicBool::new(false));
        let requests = [(); 2].map(|()| {
            let (drain, is_over) = (drain.clone(), is_over.clone());
            thread::spawn(move || {
                drain.work(|| {
                    assert!(!is_over.load(Ordering::SeqCst), "one is at work after the drain");
                });
            })
        });
        drain.begin();
        if drain.open() == 0 {
            is_over.store(true, Ordering::SeqCst);
        }
        for request in requests {
            request.join().expect("a request does not fail");
        }
        assert_eq!(drain.open(), 0, "a request left a trace");
        drain.work(|| panic!("one was let in after the drain"));
    });
}

#[test]
fn nobody_is_at_work_after_a_drain() {
    explore::<Drain>();
}

#[test]
#[should_panic(expected = "one is at work after the drain")]
fn a_request_that_looks_first_is_at_work_after_a_drain() {
    explore::<LooksFirst>();
}
