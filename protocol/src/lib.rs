//! The protocol core of Cartwheel.
#![no_std]
extern crate alloc;

pub mod bucket;
pub mod id;
pub mod key;
pub mod layout;
