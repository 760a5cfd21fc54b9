//! Which keys are asked for: all equally often, or some much more often than others.

use clap::ValueEnum;

use crate::rng::Rng;

/// How requests are spread over the keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Spread {
    /// Every key equally often.
    Uniform,
    /// The k-th key in proportion to 1/k (Zipf, exponent 1).
    Zipf,
}

/// Draws keys, numbered from 0.
#[derive(Clone, Debug)]
pub struct Keys {
    count: u64,
    /// For Zipf: the share of all keys up to and including each.
    shares: Vec<f64>,
}

impl Keys {
    /// `count` keys, at least one.
    pub fn new(count: u64, spread: Spread) -> Self {
        let count = count.max(1);
        let shares = match spread {
            Spread::Uniform => Vec::new(),
            Spread::Zipf => {
                let mut sum = 0.0;
                let sums: Vec<f64> = (1..=count)
                    .map(|rank| {
                        sum += 1.0 / rank as f64;
                        sum
                    })
                    .collect();
                sums.into_iter().map(|part| part / sum).collect()
            }
        };
        Self { count, shares }
    }

    /// The next key.
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        if self.shares.is_empty() {
            return rng.below(self.count);
        }
        let drawn = rng.unit();
        let rank = self.shares.partition_point(|share| *share <= drawn) as u64;
        rank.min(self.count - 1)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, Spread};
    use crate::rng::Rng;

    fn drawn(spread: Spread) -> Vec<u64> {
        let (keys, mut rng) = (Keys::new(100, spread), Rng::new(2));
        let mut counts = vec![0; 100];
        (0..100_000).for_each(|_| counts[keys.draw(&mut rng) as usize] += 1);
        counts
    }

    #[test]
    fn uniform_keys_come_equally_often() {
        let counts = drawn(Spread::Uniform);
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn zipf_keys_come_in_proportion_to_their_rank() {
        let counts = drawn(Spread::Zipf);
        // The 100th harmonic number is 5.187.
        let expected = |rank: f64| 100_000.0 / 5.187 / rank;
        for rank in [1_usize, 2, 10, 100] {
            let (count, expected) = (counts[rank - 1] as f64, expected(rank as f64));
            assert!((count / expected - 1.0).abs() < 0.2, "{rank}: {count} and not {expected}");
        }
    }
}
