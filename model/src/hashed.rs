//! Shared values that know their fingerprint: what makes a world cheap to copy and to tell apart.

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A value behind an `Arc` with a fingerprint that is computed when first asked for. Copies of a world share
/// what a step did not touch, and its fingerprint with it. The one manual `Hash` of the project.
pub struct Hashed<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: T,
    /// Zero until computed.
    fingerprint: AtomicU64,
}

impl<T> Hashed<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Inner { value, fingerprint: AtomicU64::new(0) }))
    }
}

impl<T: Clone> Hashed<T> {
    /// The value to change, copied first if it is shared. Its fingerprint is forgotten.
    pub fn make_mut(&mut self) -> &mut T {
        let inner = Arc::make_mut(&mut self.0);
        *inner.fingerprint.get_mut() = 0;
        &mut inner.value
    }
}

impl<T: Hash> Hashed<T> {
    /// The fingerprint, never zero.
    pub fn fingerprint(&self) -> u64 {
        let known = self.0.fingerprint.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        let mut hasher = Folding::default();
        self.0.value.hash(&mut hasher);
        let fingerprint = hasher.finish().max(1);
        self.0.fingerprint.store(fingerprint, Ordering::Relaxed);
        fingerprint
    }
}

impl<T: Clone> Clone for Inner<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), fingerprint: AtomicU64::new(0) }
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Hash> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint());
    }
}

impl<T: PartialEq> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Hashed<T> {}

impl<T: fmt::Debug> fmt::Debug for Hashed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

/// A fast hasher for fingerprints: each word is mixed in by one 64 × 64 → 128 bit multiplication whose halves
/// are folded together. The same on every machine and in every run.
#[derive(Debug)]
pub struct Folding(u64);

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
const START: u64 = 0x2545_F491_4F6C_DD1D;

impl Default for Folding {
    fn default() -> Self {
        Self(START)
    }
}

impl Folding {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, i: u8) {
        self.mix(u64::from(i));
    }

    fn write_u32(&mut self, i: u32) {
        self.mix(u64::from(i));
    }

    fn write_u64(&mut self, i: u64) {
        self.mix(i);
    }

    fn write_u128(&mut self, i: u128) {
        self.mix(i as u64);
        self.mix((i >> 64) as u64);
    }

    fn write_usize(&mut self, i: usize) {
        self.mix(i as u64);
    }

    fn finish(&self) -> u64 {
        let mut last = Self(self.0);
        last.mix(START);
        last.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_changes_the_fingerprint_and_not_the_copy_that_was_shared() {
        let before = Hashed::new(vec![1_u64, 2]);
        let first = before.fingerprint();
        let mut after = before.clone();
        after.make_mut().push(3);
        assert_ne!(after.fingerprint(), first);
        assert_eq!((before.fingerprint(), before.len()), (first, 2));
    }

    #[test]
    fn equal_values_have_equal_fingerprints_wherever_they_were_made() {
        assert_eq!(Hashed::new("abc").fingerprint(), Hashed::new("abc").fingerprint());
        assert_ne!(Hashed::new([0_u8; 8]).fingerprint(), Hashed::new([0_u8; 9]).fingerprint());
    }

    #[test]
    fn small_inputs_do_not_collide() {
        let mut seen = std::collections::BTreeSet::new();
        for a in 0..300_u64 {
            for b in 0..300_u64 {
                assert!(seen.insert(Hashed::new((a, b)).fingerprint()), "{a} {b}");
            }
        }
    }
}
