//! A Cartwheel node: tokio driver, shards, committer, storage engines, HTTP.
