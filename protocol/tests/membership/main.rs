//! Membership under crashes, loss and partitions, in a cluster of pure values with virtual time and a seed.
//!
//! Shards are stubs here: they adopt what they are given, catch up and drain after a while. What a change
//! means for data is the replica's and the model's matter.

mod agreement;
mod changes;
mod checks;
mod cluster;
mod gossip;
#[cfg(feature = "mutants")]
mod mutants;
mod raises;
mod random;
mod reaps;
mod regressions;
mod wishes;
