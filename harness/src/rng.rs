//! The generator of pseudo-random numbers behind schedules and workloads: splitmix64.
//!
//! Our own, because a seed that a report names must mean the same schedule on every machine and
//! after every update of a dependency; no library promises that for its ranges and shuffles.

/// A stream of numbers that follows from its seed alone.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for each `label` under one seed: the schedule, each client.
    pub fn of(seed: u64, label: u64) -> Self {
        let mut mixed = Self(seed ^ Self(label).bits());
        Self(mixed.bits())
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to below `limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included; `low` if they are the wrong way round.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of the elements, or `None` of none.
    pub fn pick<'a, T>(&mut self, elements: &'a [T]) -> Option<&'a T> {
        elements.get(self.below(elements.len() as u64) as usize)
    }

    /// Puts the elements into a random order.
    pub fn shuffle<T>(&mut self, elements: &mut [T]) {
        for last in (1..elements.len()).rev() {
            elements.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn gives_the_published_numbers_of_splitmix64() {
        let mut rng = Rng::new(1_234_567);
        let numbers = [rng.bits(), rng.bits(), rng.bits()];
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(numbers, published);
    }

    #[test]
    fn keeps_within_its_bounds_and_reaches_both_ends() {
        let mut rng = Rng::new(1);
        let numbers: Vec<_> = (0..1_000).map(|_| rng.between(3, 5)).collect();
        assert!(numbers.iter().all(|number| (3..=5).contains(number)));
        assert!(numbers.contains(&3) && numbers.contains(&5));
        assert!((0..1_000).map(|_| rng.unit()).all(|number| (0.0..1.0).contains(&number)));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn streams_of_one_seed_differ() {
        assert_ne!(Rng::of(1, 1).bits(), Rng::of(1, 2).bits());
        assert_ne!(Rng::of(1, 1).bits(), Rng::of(2, 1).bits());
        assert_eq!(Rng::of(1, 1).bits(), Rng::of(1, 1).bits());
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut elements: Vec<_> = (0..50).collect();
        Rng::new(9).shuffle(&mut elements);
        assert_ne!(elements, (0..50).collect::<Vec<_>>());
        elements.sort_unstable();
        assert_eq!(elements, (0..50).collect::<Vec<_>>());
    }
}
