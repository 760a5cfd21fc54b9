//! A Cartwheel node: tokio driver, shards, committer, storage engines, HTTP.

pub mod committer;
pub mod config;
mod control;
#[doc(hidden)]
pub mod drain;
mod durable;
pub mod engine;
mod error;
#[doc(hidden)]
pub mod gate;
mod http;
mod identity;
mod inner;
mod metrics;
mod node;
mod pace;
mod peers;
mod prepare;
mod process;
mod renew;
mod router;
mod run;
mod shard;
mod shards;
mod space;
mod store;
mod sync;

pub use config::{ClusterFile, ConfigError, EngineKind, NodeConfig};
pub use error::NodeError;
pub use node::{EXIT_FAIL_STOP, Node, OnFailure, Options};
pub use run::{ExitReason, run};
pub use store::{StoreError, StoreId, format_store, store_id};
