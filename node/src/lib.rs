//! A Cartwheel node: tokio driver, shards, committer, storage engines, HTTP.

pub mod committer;
pub mod config;
pub mod engine;
mod error;
#[doc(hidden)]
pub mod gate;
mod membership;
mod metrics;
mod peers;
mod router;
mod shard;
mod shards;
mod status;
mod store;
mod sync;

pub use error::NodeError;
pub use status::{NodeStatus, ShardLine};
pub use store::{StoreError, StoreId, format_store, store_id};
