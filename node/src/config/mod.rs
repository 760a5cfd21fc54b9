//! What a node is told at its start: flags and a TOML file with the same names.
//!
//! Values come in layers (the file, then the flags over it) as TOML tables, so that a name, its type and its
//! limits are written down once. Whatever is wrong names the field, its value and what is allowed.

mod check;
mod cluster_file;
mod read;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cartwheel_protocol::format::Formats;
use cartwheel_protocol::rules::{Mutant, NoMutants, Rules};
use cartwheel_protocol::{Config as CoreConfig, id::ClusterId};
use serde::{Deserialize, Serialize};

pub use self::cluster_file::{ClusterFile, member_line};
use crate::control::Schedule;
use crate::pace::Limits;

/// Everything that a node is told at its start. Field names are those of the TOML file and, with dashes,
/// of the flags.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// The folder of the formatted store.
    pub data: PathBuf,
    /// The name under which a store is made in `data` if there is none, also after its disk was lost. Without it a
    /// folder without a store is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The cluster file: the first layout's members, buckets, partitions. Of no effect once the store has a view.
    pub cluster: PathBuf,
    /// Addresses of nodes of the cluster, `host:port`: a node with a new store learns from them what there is.
    /// Without a seed and without a cluster file it forms a cluster of its own.
    pub seed: Vec<String>,
    /// Whether the node becomes a member by itself. In place of a member of its name it does once that one is
    /// suspected.
    pub join: bool,
    /// The zone in which it joins.
    pub zone: String,
    /// The weight with which it joins: 1 to 1,000,000.
    pub weight: u32,
    /// Where peers and clients connect. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The address under which others reach this node, `host:port`; without it the one that the layout or the
    /// cluster file lists, else where it listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Where `/metrics` and `/health` are answered; nowhere without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// How many shards, each a thread, share the partitions: 1 to 64.
    pub shards: u16,
    /// How many threads move bytes between the network and the shards: 1 to 64.
    pub io_threads: u16,
    /// What keeps the records.
    pub engine: EngineKind,
    /// Memory for pages of the store, in MiB: 1 to 1,048,576.
    pub cache_mib: u64,
    /// Clients' writes are refused while less than this is free on the store's disk, in MiB: 0 to 1,073,741,824. Without
    /// it 256 MiB, or an eighth of the disk if that is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_space_reserve_mib: Option<u64>,
    /// How long an owner may be silent before a fallback is asked, in milliseconds: 1 to 60,000.
    pub fallback_after_ms: u32,
    /// Whether fallbacks stand in for owners that are suspected or silent. Without them a write fails where too few
    /// owners answer, and nobody is owed what it missed: for campaigns.
    pub fallbacks: bool,
    /// How many entries of a key's version vector are kept when it is written to, as the paper truncates its clocks: 1 to
    /// 1,000,000. What was replaced may come back with it; without it all are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_entries: Option<usize>,
    /// The longest that any request may take, in milliseconds: 1 to 600,000.
    pub max_timeout_ms: u32,
    /// How often the node gossips, in milliseconds: 10 to 60,000.
    pub gossip_every_ms: u32,
    /// After how many periods of gossip without a heartbeat a node is suspected: 2 to 1,000.
    pub suspect_after: u32,
    /// The time between two passes over the hints, in milliseconds: 1 to 3,600,000.
    pub handoff_every_ms: u32,
    /// How many hints are handed over in one step: 1 to 4,096.
    pub handoff_page: usize,
    /// The pause between two batches of exchanges of trees with other owners, in milliseconds: 1 to 3,600,000, or 0 for no
    /// anti-entropy.
    pub anti_entropy_every_ms: u32,
    /// The rest when every tree was compared with every other owner's, in milliseconds: 1 to 3,600,000.
    pub anti_entropy_rest_ms: u32,
    /// How many levels a tree has, each node with 16 children: 0 to 3.
    pub tree_depth: u8,
    /// The pause between rebuilding one partition's trees and the next's once all are whole, in milliseconds: 1 to
    /// 3,600,000, or 0 for never.
    pub tree_rescan_every_ms: u32,
    /// The time between two runs of reap rounds that the node begins by itself, in seconds: 1 to 31,536,000, or 0 for none.
    pub reap_every_s: u32,
    /// How old cancelled additions are that such a run may forget, in seconds: 1 to 315,360,000. An addition that is sent
    /// again later than that is refused.
    pub reap_older_than_s: u32,
    /// The most that each kind of background work moves, in MiB a second: 1 to 1,000,000. The shards have equal parts of it.
    pub move_mib_per_s: u32,
    /// Background work yields when clients' requests take longer than so many percent of what they usually take: 100 to
    /// 100,000.
    pub background_slowdown_percent: u32,
    /// How much of its speed background work keeps whatever requests take, in percent: 1 to 100, where it never yields.
    pub background_least_percent: u32,
    /// How many connections are kept: 1 to 1,000,000. One more is refused.
    pub connections: usize,
    /// How many requests of clients the node may have under way: 1 to 1,000,000. One more is refused as
    /// overloaded.
    pub max_requests: usize,
    /// How many requests a shard may coordinate at once: 1 to 1,000,000. One more is refused as overloaded.
    pub max_pending: usize,
    /// How many requests may wait for a shard: 1 to 1,000,000, of 64 MiB at most. One more is refused as overloaded.
    pub request_queue: usize,
    /// How many messages of peers may wait for a shard: 1 to 1,000,000, of 64 MiB at most. One more is dropped.
    pub message_queue: usize,
    /// How many messages may wait for each peer: 1 to 1,000,000. One more is dropped.
    pub peer_queue: usize,
    /// How many steps may wait for the disk: 1 to 1,000,000. A shard with one more waits.
    pub commit_queue: usize,
    /// How long a clean shutdown waits for requests under way, in milliseconds: 0 to 600,000.
    pub drain_ms: u32,
    /// Added to the wall clock in the stamps of last-write-wins puts, in milliseconds: for campaigns.
    pub clock_offset_ms: i64,
    /// Whether the process is killed when the one that started it ends (Linux).
    pub die_with_parent: bool,
    /// The newest format spoken to peers and clients; this build's newest without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speak_version: Option<u8>,
    /// A rule to leave out, in a build that can: the name of its mutant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
}

/// What keeps a node's records.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// sled on disk.
    Sled,
    /// The process's memory: everything is forgotten at its end, so the store serves once and never again.
    Memory,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read or is no TOML.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A field that does not exist.
    #[error("there is no field {field} (its value is {value}); allowed are {allowed}")]
    Unknown {
        /// Its name.
        field: String,
        /// Its value.
        value: String,
        /// The names that exist.
        allowed: String,
    },
    /// A field with a value that is not allowed.
    #[error("{field} is {value}; allowed is {allowed}")]
    Field {
        /// Its name.
        field: String,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A field that is needed.
    #[error("{field} is missing: {what}")]
    Missing {
        /// Its name.
        field: &'static str,
        /// What it is.
        what: &'static str,
    },
    /// A mutant was asked for and this build has none.
    #[error(transparent)]
    NoMutants(#[from] NoMutants),
}

impl ConfigError {
    pub(crate) fn field(
        field: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl fmt::Display,
    ) -> Self {
        let (value, allowed) = (value.to_string(), allowed.to_string());
        Self::Field { field: field.into(), value, allowed }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        let core = CoreConfig::new(ClusterId(0));
        let cores = std::thread::available_parallelism().map_or(2, usize::from) as u16;
        Self {
            data: PathBuf::new(),
            name: None,
            cluster: PathBuf::new(),
            seed: Vec::new(),
            join: false,
            zone: "z1".to_owned(),
            weight: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            advertise: None,
            http: None,
            shards: (cores / 2).clamp(1, 8),
            io_threads: (cores / 2).clamp(1, 8),
            engine: EngineKind::Sled,
            cache_mib: 128,
            free_space_reserve_mib: None,
            fallback_after_ms: core.fallback_after_ms,
            fallbacks: core.fallbacks,
            clock_entries: core.clock_entries,
            max_timeout_ms: core.max_timeout_ms,
            gossip_every_ms: 1_000,
            suspect_after: 10,
            handoff_every_ms: core.handoff_every_ms,
            handoff_page: core.handoff_page,
            anti_entropy_every_ms: core.anti_entropy_every_ms,
            anti_entropy_rest_ms: core.anti_entropy_rest_ms,
            tree_depth: core.tree_depth,
            tree_rescan_every_ms: core.tree_rescan_every_ms,
            reap_every_s: 0,
            reap_older_than_s: 86_400,
            move_mib_per_s: core.move_bytes_per_s >> 20,
            background_slowdown_percent: 150,
            background_least_percent: 10,
            connections: 4_096,
            max_requests: 8_192,
            max_pending: core.max_pending,
            request_queue: 4_096,
            message_queue: 65_536,
            peer_queue: 65_536,
            commit_queue: 4_096,
            drain_ms: 2_000,
            clock_offset_ms: 0,
            die_with_parent: false,
            speak_version: None,
            mutant: None,
        }
    }
}

impl NodeConfig {
    /// The formats that are spoken.
    ///
    /// # Errors
    /// When `speak_version` is none of this build's.
    pub fn formats(&self) -> Result<Formats, ConfigError> {
        match self.speak_version {
            None => Ok(Formats::SPOKEN),
            Some(newest) => Formats::up_to(newest)
                .ok_or_else(|| ConfigError::field("speak_version", newest, Formats::SPOKEN)),
        }
    }

    /// The rules that hold.
    ///
    /// # Errors
    /// When `mutant` names none, or this build has none.
    pub fn rules(&self) -> Result<Rules, ConfigError> {
        let Some(name) = &self.mutant else { return Ok(Rules::sound()) };
        let mutant = Mutant::named(name).ok_or_else(|| {
            let names: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
            ConfigError::field("mutant", name, names.join(", "))
        })?;
        Ok(Rules::with_mutant(Some(mutant))?)
    }

    /// The configured reserve of free space, in bytes.
    pub(crate) fn reserve_bytes(&self) -> Option<u64> {
        self.free_space_reserve_mib.map(|mib| mib << 20)
    }

    /// A shard's part of what is moved.
    fn move_bytes_per_s(&self) -> u32 {
        let bytes = (u64::from(self.move_mib_per_s) << 20) / u64::from(self.shards);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// When the node reaps by itself, if it does.
    pub(crate) fn reap_schedule(&self) -> Option<Schedule> {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let (every, older_than) = (seconds(self.reap_every_s), seconds(self.reap_older_than_s));
        (!every.is_zero()).then_some(Schedule { every, older_than })
    }

    /// How far background work yields.
    pub(crate) fn pace_limits(&self) -> Limits {
        Limits {
            least: f64::from(self.background_least_percent) / 100.0,
            slowdown: f64::from(self.background_slowdown_percent) / 100.0,
        }
    }

    /// What the core is told.
    ///
    /// # Errors
    /// As [`NodeConfig::rules`].
    pub fn core(&self, cluster: ClusterId) -> Result<CoreConfig, ConfigError> {
        Ok(CoreConfig {
            cluster,
            fallback_after_ms: self.fallback_after_ms,
            fallbacks: self.fallbacks,
            clock_entries: self.clock_entries,
            max_timeout_ms: self.max_timeout_ms,
            handoff_every_ms: self.handoff_every_ms,
            handoff_page: self.handoff_page,
            anti_entropy_every_ms: self.anti_entropy_every_ms,
            anti_entropy_rest_ms: self.anti_entropy_rest_ms,
            tree_depth: self.tree_depth,
            tree_rescan_every_ms: self.tree_rescan_every_ms,
            move_bytes_per_s: self.move_bytes_per_s(),
            max_pending: self.max_pending,
            rules: self.rules()?,
            ..CoreConfig::new(cluster)
        })
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sled => "sled",
            Self::Memory => "memory",
        })
    }
}

#[cfg(test)]
mod tests;
