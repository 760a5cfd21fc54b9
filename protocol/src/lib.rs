//! The protocol core of Cartwheel.
#![no_std]
extern crate alloc;

pub mod bucket;
pub mod context;
mod coordinate;
mod env;
pub mod format;
mod forward;
mod get;
mod hints;
pub mod id;
pub mod key;
pub mod layout;
pub mod limits;
pub mod membership;
mod message;
pub mod object;
mod put;
pub mod record;
mod replica;
pub mod request;
mod requests;
pub mod rules;
mod step;
pub mod version;
pub mod view;

pub use message::Message;
pub use replica::Replica;
pub use step::{Config, Effect, Effects, Fact, Input, Ticket, Timer};
