//! A seeded cart history as a sound store would have left it: for the benchmark and for tests.

use std::io::{self, Write};

use cartwheel_checker::cart::{CartValue, Item};
use cartwheel_checker::{Event, EventType, HistoryWriter};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How big a history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Operations, each with an invocation and a completion, the final reads included.
    pub(crate) operations: usize,
    /// Carts, used equally often.
    pub(crate) carts: usize,
    /// How many additions a cart holds once it is full.
    pub(crate) items: usize,
    /// Operations in flight at a time.
    pub(crate) processes: usize,
    /// Where randomness comes from.
    pub(crate) seed: u64,
}

/// Owners of each cart, read one by one at the end.
const OWNERS: usize = 3;

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) events: u64,
    pub(crate) reads: u64,
    pub(crate) shown: u64,
}

/// Writes such a history.
pub(crate) fn write(shape: Shape, out: impl Write) -> io::Result<Written> {
    let mut store = Store {
        carts: vec![Vec::new(); shape.carts],
        rng: StdRng::seed_from_u64(shape.seed),
        history: HistoryWriter::new(out),
        clock: 0,
        written: Written::default(),
    };
    let mut clients: Vec<Option<Operation>> = vec![None; shape.processes];
    let mut numbers: Vec<u64> = (0..shape.processes as u64).collect();
    let final_reads = shape.carts * (OWNERS + 1);
    let mut begun = 0;
    let mut busy = 0;
    while begun + final_reads < shape.operations || busy > 0 {
        let client = store.rng.random_range(0..shape.processes);
        if let Some(operation) = clients[client].take() {
            busy -= 1;
            if store.complete(numbers[client], operation)? == EventType::Info {
                numbers[client] += shape.processes as u64;
            }
        } else if begun + final_reads < shape.operations {
            let operation = store.choose(begun % shape.carts, shape.items);
            store.begin(numbers[client], &operation)?;
            clients[client] = Some(operation);
            begun += 1;
            busy += 1;
        }
    }
    store.read_everything(numbers[0])?;
    store.history.flush()?;
    Ok(store.written)
}

/// One operation in flight.
#[derive(Clone, Debug)]
struct Operation {
    cart: usize,
    value: CartValue,
    strict: bool,
}

/// A store in which each operation happens at the moment of its completion.
struct Store<W: Write> {
    carts: Vec<Vec<Item>>,
    rng: StdRng,
    history: HistoryWriter<W>,
    clock: i64,
    written: Written,
}

impl<W: Write> Store<W> {
    fn choose(&mut self, number: usize, items: usize) -> Operation {
        let cart = format!("cart-{number}");
        let strict = self.rng.random_bool(0.3);
        let oldest = self.carts[number].first().map(|item| item.add_id.clone());
        let value = match (self.rng.random_range(0..10), oldest) {
            (0..4, _) => CartValue::Read { cart, items: None },
            (4, Some(oldest)) if self.carts[number].len() >= items => {
                CartValue::Change { cart, cancel: vec![oldest], add: Some(self.item()) }
            }
            (_, Some(oldest)) if self.carts[number].len() >= items => {
                CartValue::Cancel { cart, add_ids: vec![oldest] }
            }
            (_, _) => CartValue::Add { cart, item: self.item() },
        };
        Operation { cart: number, value, strict }
    }

    fn item(&mut self) -> Item {
        let (high, low): (u64, u64) = (self.rng.random(), self.rng.random());
        let add_id = format!(
            "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48,
            low & 0xffff_ffff_ffff
        );
        let sku = format!("sku-{}", self.rng.random_range(0..1000));
        Item { add_id, sku, quantity: self.rng.random_range(1..10) }
    }

    fn begin(&mut self, process: u64, operation: &Operation) -> io::Result<()> {
        let event = Event::cart(EventType::Invoke, process, operation.value.clone());
        self.append(event.with_strict(operation.strict).with_node(node(operation.cart)))
    }

    fn complete(&mut self, process: u64, mut operation: Operation) -> io::Result<EventType> {
        let lucky = self.rng.random_range(0..100);
        let outcome = match (&mut operation.value, lucky) {
            (_, 0) => EventType::Fail,
            (CartValue::Read { .. }, 1..3) => EventType::Info,
            (CartValue::Read { items, .. }, _) => {
                *items = Some(self.carts[operation.cart].clone());
                EventType::Ok
            }
            // Unknown outcomes: one of two happened.
            (_, 1) => EventType::Info,
            (write, other) => {
                let cart = &mut self.carts[operation.cart];
                apply(write, cart);
                if other == 2 { EventType::Info } else { EventType::Ok }
            }
        };
        if let (CartValue::Read { items: Some(items), .. }, EventType::Ok) =
            (&operation.value, outcome)
        {
            self.written.reads += 1;
            self.written.shown += items.len() as u64;
        }
        let event = Event::cart(outcome, process, operation.value);
        let event = event.with_strict(operation.strict).with_node(node(operation.cart));
        self.append(if outcome == EventType::Ok { event } else { event.with_error("timeout") })?;
        Ok(outcome)
    }

    fn read_everything(&mut self, process: u64) -> io::Result<()> {
        for number in 0..self.carts.len() {
            for owner in 0..=OWNERS {
                let cart = format!("cart-{number}");
                let items = Some(self.carts[number].clone());
                let ask = CartValue::Read { cart: cart.clone(), items: None };
                let answer = CartValue::Read { cart, items };
                for (event_type, value) in [(EventType::Invoke, ask), (EventType::Ok, answer)] {
                    let event = Event::cart(event_type, process, value);
                    let event = event.with_node(node(number + owner));
                    self.append(if owner == OWNERS {
                        event.with_final().with_strict(true)
                    } else {
                        event.with_local_final()
                    })?;
                }
                self.written.reads += 1;
                self.written.shown += self.carts[number].len() as u64;
            }
        }
        Ok(())
    }

    fn append(&mut self, event: Event) -> io::Result<()> {
        self.clock += self.rng.random_range(1_000..100_000);
        let event = event.at(self.written.events, self.clock);
        self.written.events += 1;
        self.history.append(&event)
    }
}

fn node(number: usize) -> String {
    format!("n{}", number % 5 + 1)
}

fn apply(write: &CartValue, cart: &mut Vec<Item>) {
    let (gone, come): (&[String], Option<&Item>) = match write {
        CartValue::Add { item, .. } => (&[], Some(item)),
        CartValue::Cancel { add_ids, .. } => (add_ids, None),
        CartValue::Change { cancel, add, .. } => (cancel, add.as_ref()),
        CartValue::Read { .. } => (&[], None),
    };
    cart.retain(|item| !gone.contains(&item.add_id));
    cart.extend(come.cloned());
}
