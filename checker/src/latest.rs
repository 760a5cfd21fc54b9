//! The largest of all that came since some point, for things that come almost in order.

/// Keys with increasing numbers, of which only those are kept that could still be a largest one:
/// where keys come in order that is a single one, else about as many as were out of order together.
#[derive(Debug)]
pub(crate) struct LatestSince<T> {
    /// Numbers ascending, keys descending.
    candidates: Vec<(u32, T)>,
}

impl<T> Default for LatestSince<T> {
    fn default() -> Self {
        Self { candidates: Vec::new() }
    }
}

impl<T: Copy + Ord> LatestSince<T> {
    /// Takes a key whose number is larger than all before.
    pub(crate) fn push(&mut self, number: u32, key: T) {
        while self.candidates.last().is_some_and(|(_, smaller)| *smaller <= key) {
            self.candidates.pop();
        }
        self.candidates.push((number, key));
    }

    /// The largest key among those with this number or a larger one.
    pub(crate) fn since(&self, number: u32) -> Option<T> {
        let place = self.candidates.partition_point(|(other, _)| *other < number);
        self.candidates.get(place).map(|(_, key)| *key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LatestSince;

    proptest! {
        #[test]
        fn it_is_the_maximum_of_every_suffix(keys in prop::collection::vec(0_u32..20, 0..30)) {
            let mut latest = LatestSince::default();
            for (number, key) in keys.iter().enumerate() {
                latest.push(number as u32, *key);
            }
            for start in 0..=keys.len() {
                prop_assert_eq!(latest.since(start as u32), keys[start..].iter().copied().max());
            }
        }
    }
}
