//! Histories and verdicts.
//!
//! A history is a list of [`Event`]s in Jepsen's sense: what clients asked, what they were told,
//! what the nemesis did. It is stored as JSON lines (ours) or EDN (Jepsen's). Four checkers judge
//! it: [`cart`] (additions to shopping carts, with removals), [`writable`] (whether writes were taken whenever they could be),
//! [`set`] and [`set_full`] (Jepsen's own, with their definitions, result keys and blind spots).
//!
//! This package depends on no other of the workspace, so that it cannot share a bug with the
//! protocol that it judges.

pub mod cart;
pub mod duplicates;
mod edn;
mod event;
mod judge;
mod latest;
mod read;
pub mod set;
pub mod set_full;
mod value;
mod verdict;
pub mod writable;

pub use edn::write_edn;
pub use event::{Event, EventType, Process};
pub use judge::{Judge, Judgement};
pub use read::{Format, HistoryWriter, JsonLines, ReadError, read_history};
pub use value::{Float, Value};
pub use verdict::Verdict;
