//! Which carts exist. A few are in use at a time, so that clients meet in them; a cart that has
//! taken its share of additions is left alone and a new one takes its place, so that no cart, and
//! no read in the history, grows with the length of the campaign.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::rng::Rng;

/// How many of the carts that were left alone may still be read.
const REMEMBERED: u64 = 3;
/// How often an old cart is chosen for a read.
const OLD_READ: f64 = 0.15;

/// The carts in use, shared by all clients.
#[derive(Debug)]
pub struct Carts {
    /// Additions begun so far, by place.
    begun: Vec<AtomicU64>,
    size: u64,
}

impl Carts {
    /// `places` carts in use at a time, each left alone after `size` additions.
    pub fn new(places: usize, size: u64) -> Self {
        let begun = (0..places.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { begun, size: size.max(1) }
    }

    /// The cart for an addition that begins now.
    pub fn for_addition(&self, rng: &mut Rng) -> String {
        let place = rng.below(self.begun.len() as u64);
        let begun = self.begun[place as usize].fetch_add(1, Ordering::Relaxed);
        self.name(place, begun / self.size)
    }

    /// A cart in use, to change without adding much.
    pub fn in_use(&self, rng: &mut Rng) -> String {
        let place = rng.below(self.begun.len() as u64);
        self.name(place, self.generation(place))
    }

    /// A cart for a read: mostly one in use, sometimes one that was left alone.
    pub fn for_read(&self, rng: &mut Rng) -> String {
        let place = rng.below(self.begun.len() as u64);
        let newest = self.generation(place);
        let old = rng.chance(OLD_READ);
        let back = if old { rng.between(1, REMEMBERED) } else { 0 };
        self.name(place, newest.saturating_sub(back))
    }

    fn generation(&self, place: u64) -> u64 {
        self.begun[place as usize].load(Ordering::Relaxed).saturating_sub(1) / self.size
    }

    fn name(&self, place: u64, generation: u64) -> String {
        format!("cart-{}", place + generation * self.begun.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Carts;
    use crate::rng::Rng;

    #[test]
    fn no_cart_takes_more_additions_than_its_share() {
        let (carts, mut rng) = (Carts::new(3, 10), Rng::new(4));
        let mut additions = BTreeMap::<_, u32>::new();
        for _ in 0..300 {
            *additions.entry(carts.for_addition(&mut rng)).or_default() += 1;
        }
        assert!(additions.values().all(|count| *count <= 10), "{additions:?}");
        assert!(additions.len() >= 30, "{additions:?}");
        for _ in 0..300 {
            let read = carts.for_read(&mut rng);
            assert!(additions.contains_key(&read), "{read} was never added to");
        }
    }

    #[test]
    fn one_endless_cart_is_possible() {
        let (carts, mut rng) = (Carts::new(1, u64::MAX), Rng::new(4));
        let names: Vec<_> = (0..100).map(|_| carts.for_addition(&mut rng)).collect();
        assert!(names.iter().all(|name| name == "cart-0"));
        assert_eq!(carts.in_use(&mut rng), "cart-0");
    }
}
