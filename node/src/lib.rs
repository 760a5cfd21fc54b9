//! A Cartwheel node: tokio driver, shards, committer, storage engines, HTTP.

pub mod committer;
pub mod config;
pub mod engine;
mod gate;
mod metrics;
mod shard;
mod store;
mod sync;

pub use store::{StoreError, StoreId, format_store, store_id};
