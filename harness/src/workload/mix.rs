//! Which operation a client does next.

use std::sync::Arc;
use std::time::Duration;

use cartwheel_checker::cart::{CartValue, Item};
use uuid::Uuid;

use super::carts::Carts;
use crate::rng::Rng;

/// What is added.
const SKUS: [&str; 8] =
    ["bread", "milk", "eggs", "coffee", "batteries", "umbrella", "paper-clips", "fountain-pen"];
/// The most additions that one removal takes out.
const MOST_REMOVED: u64 = 3;

/// How often each operation is chosen, and how.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Of all operations begun, those that add.
    pub adds: f64,
    /// Of the others, those that read in order to remove; the rest only read.
    pub removes: f64,
    /// Of the removals, those that add something in the same step.
    pub changes: f64,
    /// Of all operations, those that are strict.
    pub strict: f64,
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operation {
    /// The operation, without an answer.
    pub value: CartValue,
    /// Whether only owners count.
    pub strict: bool,
}

/// The operations of one client, from a seed and from what its reads showed.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    mix: Mix,
    carts: Arc<Carts>,
    /// The wall clock at time 0 of the campaign, since 1970.
    epoch: Duration,
    /// The cart whose read is to be followed by a removal.
    removing: Option<String>,
    /// The removal that comes next.
    next: Option<CartValue>,
}

impl Default for Mix {
    fn default() -> Self {
        Self { adds: 0.5, removes: 0.25, changes: 0.3, strict: 0.3 }
    }
}

impl Generator {
    /// The generator of one client. `epoch` is the wall clock at the campaign's time 0: add_ids are
    /// ordered by time.
    pub fn new(rng: Rng, mix: Mix, carts: Arc<Carts>, epoch: Duration) -> Self {
        Self { rng, mix, carts, epoch, removing: None, next: None }
    }

    /// The next operation, at this time of the campaign.
    pub fn next(&mut self, now: Duration) -> Operation {
        let strict = self.rng.chance(self.mix.strict);
        let value = match self.next.take() {
            Some(removal) => removal,
            None if self.rng.chance(self.mix.adds) => {
                let cart = self.carts.for_addition(&mut self.rng);
                CartValue::Add { cart, item: self.item(now) }
            }
            None if self.rng.chance(self.mix.removes) => {
                let cart = self.carts.in_use(&mut self.rng);
                self.removing = Some(cart.clone());
                CartValue::Read { cart, items: None }
            }
            None => CartValue::Read { cart: self.carts.for_read(&mut self.rng), items: None },
        };
        Operation { value, strict }
    }

    /// What the last operation answered; `None` if it did not happen. A read that was made in order
    /// to remove is followed by a removal of some of what it showed.
    pub fn answered(&mut self, now: Duration, answer: Option<&CartValue>) {
        let Some(cart) = self.removing.take() else { return };
        let Some(CartValue::Read { items: Some(items), .. }) = answer else { return };
        let mut cancel: Vec<_> = items.iter().map(|item| item.add_id.clone()).collect();
        self.rng.shuffle(&mut cancel);
        cancel.truncate(self.rng.between(1, MOST_REMOVED) as usize);
        if cancel.is_empty() {
            return;
        }
        self.next = Some(if self.rng.chance(self.mix.changes) {
            CartValue::Change { cart, cancel, add: Some(self.item(now)) }
        } else {
            CartValue::Cancel { cart, add_ids: cancel }
        });
    }

    /// A process died with its last operation: what it meant to do next is forgotten.
    pub fn forget(&mut self) {
        (self.removing, self.next) = (None, None);
    }

    fn item(&mut self, now: Duration) -> Item {
        let sku = self.rng.pick(&SKUS).copied().unwrap_or_default().to_owned();
        let random =
            ((u128::from(self.rng.bits()) << 64) | u128::from(self.rng.bits())).to_le_bytes();
        let mut tail = [0; 10];
        tail.copy_from_slice(&random[..10]);
        let millis = u64::try_from((self.epoch + now).as_millis()).unwrap_or(u64::MAX);
        let add_id = uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid();
        let quantity = self.rng.between(1, 5) as u32;
        Item { add_id: Uuid::to_string(&add_id), sku, quantity }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use cartwheel_checker::cart::{CartValue, Item};

    use super::{Generator, Mix};
    use crate::rng::Rng;
    use crate::workload::Carts;

    fn generator(mix: Mix) -> Generator {
        let carts = Arc::new(Carts::new(4, 20));
        Generator::new(Rng::new(5), mix, carts, Duration::from_secs(1_700_000_000))
    }

    fn item(add_id: &str) -> Item {
        Item { add_id: add_id.to_owned(), sku: "milk".to_owned(), quantity: 1 }
    }

    #[test]
    fn the_same_seed_and_answers_give_the_same_operations() {
        let (mut one, mut other) = (generator(Mix::default()), generator(Mix::default()));
        for step in 0..500 {
            let now = Duration::from_millis(step);
            assert_eq!(one.next(now), other.next(now));
            one.answered(now, None);
            other.answered(now, None);
        }
    }

    #[test]
    fn all_operations_occur_as_often_as_the_mix_says() {
        let mut generator = generator(Mix::default());
        let (mut adds, mut strict, mut cancels, mut changes) = (0, 0, 0, 0);
        for step in 0..4_000 {
            let now = Duration::from_millis(step);
            let operation = generator.next(now);
            strict += u32::from(operation.strict);
            let mut answer = operation.value;
            match &mut answer {
                CartValue::Add { .. } => adds += 1,
                CartValue::Cancel { .. } => cancels += 1,
                CartValue::Change { .. } => changes += 1,
                CartValue::Read { items, .. } => *items = Some(vec![item("a"), item("b")]),
            }
            generator.answered(now, Some(&answer));
        }
        assert!((1_600..2_000).contains(&adds), "{adds}");
        assert!((1_000..1_400).contains(&strict), "{strict}");
        assert!(cancels > changes && changes > 50, "{cancels} {changes}");
    }

    #[test]
    fn a_removal_names_only_what_its_client_was_shown() {
        let mut generator = generator(Mix { adds: 0.0, removes: 1.0, ..Mix::default() });
        let shown = vec![item("a"), item("b"), item("c"), item("d"), item("e")];
        for step in 0..200 {
            let now = Duration::from_millis(step);
            let CartValue::Read { cart, .. } = generator.next(now).value else {
                panic!("a removal begins with a read");
            };
            let answer = CartValue::Read { cart: cart.clone(), items: Some(shown.clone()) };
            generator.answered(now, Some(&answer));
            let removal = generator.next(now).value;
            assert_eq!(removal.cart(), cart);
            let (CartValue::Cancel { add_ids, .. } | CartValue::Change { cancel: add_ids, .. }) =
                &removal
            else {
                panic!("{removal:?} removes nothing");
            };
            assert!((1..=3).contains(&add_ids.len()));
            assert!(add_ids.iter().all(|id| shown.iter().any(|item| item.add_id == *id)));
            generator.answered(now, Some(&removal));
        }
    }

    #[test]
    fn nothing_is_removed_from_an_empty_cart_or_after_a_failed_read() {
        let mut generator = generator(Mix { adds: 0.0, removes: 1.0, ..Mix::default() });
        let empty = CartValue::Read { cart: "cart-0".to_owned(), items: Some(Vec::new()) };
        for answer in [None, Some(&empty)] {
            generator.next(Duration::ZERO);
            generator.answered(Duration::ZERO, answer);
            let next = generator.next(Duration::ZERO).value;
            assert!(matches!(next, CartValue::Read { .. }), "{next:?}");
        }
    }

    #[test]
    fn add_ids_are_unique_and_ordered_by_time() {
        let mut generator = generator(Mix { adds: 1.0, ..Mix::default() });
        let ids: Vec<_> = (0..1_000)
            .map(|step| {
                let operation = generator.next(Duration::from_millis(step)).value;
                let CartValue::Add { item, .. } = operation else { panic!("{operation:?}") };
                item.add_id
            })
            .collect();
        assert!(ids.is_sorted_by(|earlier, later| earlier < later));
    }
}
