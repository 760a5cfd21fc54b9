//! A Cartwheel node: tokio driver, shards, committer, storage engines, HTTP.

pub mod committer;
pub mod engine;
mod sync;
