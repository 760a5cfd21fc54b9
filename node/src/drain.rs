//! The requests that are being carried out, and the end of taking new ones: what a clean shutdown waits for.
//!
//! **Invariant:** once a drain has begun and nobody was found at work, nobody is at work ever after. That is why both are one
//! number: of a request and a drain one comes first, and the other sees it. `tests/loom_drain.rs` explores it.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// The lowest bit says whether a drain has begun; the others count.
const BEGUN: usize = 1;
/// One who is at work.
const ONE: usize = 2;

/// Counts who is at work, until a drain begins.
#[derive(Debug)]
pub struct Drain(AtomicUsize);

impl Drain {
    /// Nobody is at work, and no drain has begun.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "nothing about it goes without saying")]
    pub fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Lets one in, who is at work until what is given here is dropped; nobody once a drain has begun.
    #[must_use]
    pub fn enter(&self) -> Option<Open<'_>> {
        let before = self.0.fetch_add(ONE, Ordering::AcqRel);
        let open = Open(&self.0);
        (before & BEGUN == 0).then_some(open)
    }

    /// From now on nobody is let in.
    pub fn begin(&self) {
        self.0.fetch_or(BEGUN, Ordering::AcqRel);
    }

    /// Whether nobody is let in any more.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) & BEGUN != 0
    }

    /// How many are at work; those just being turned away count for a moment.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Acquire) / ONE
    }
}

/// One who is at work; also where its caller goes away.
#[derive(Debug)]
pub struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(ONE, Ordering::AcqRel);
    }
}
