//! Shopping carts: is every acknowledged addition still there?

mod value;

pub use value::{CartValue, Item};
