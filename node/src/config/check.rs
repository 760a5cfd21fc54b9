//! Which values are allowed.

use cartwheel_protocol::MAX_TREE_DEPTH;
use cartwheel_protocol::layout::Member;

use super::{ConfigError, NodeConfig};

impl NodeConfig {
    /// Whether every value is one that is allowed.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let ranges: [(&str, u64, u64, u64); 29] = [
            ("weight", self.weight.into(), 1, Member::MAX_WEIGHT.into()),
            ("gossip_every_ms", self.gossip_every_ms.into(), 10, 60_000),
            ("suspect_after", self.suspect_after.into(), 2, 1_000),
            ("shards", self.shards.into(), 1, 64),
            ("io_threads", self.io_threads.into(), 1, 64),
            ("cache_mib", self.cache_mib, 1, 1 << 20),
            ("free_space_reserve_mib", self.free_space_reserve_mib.unwrap_or(0), 0, 1 << 30),
            ("clock_entries", self.clock_entries.unwrap_or(1) as u64, 1, 1_000_000),
            ("fallback_after_ms", self.fallback_after_ms.into(), 1, 60_000),
            ("max_timeout_ms", self.max_timeout_ms.into(), 1, 600_000),
            ("handoff_every_ms", self.handoff_every_ms.into(), 1, 3_600_000),
            ("handoff_page", self.handoff_page as u64, 1, 4_096),
            ("anti_entropy_every_ms", self.anti_entropy_every_ms.into(), 0, 3_600_000),
            ("anti_entropy_rest_ms", self.anti_entropy_rest_ms.into(), 1, 3_600_000),
            ("tree_depth", self.tree_depth.into(), 0, MAX_TREE_DEPTH.into()),
            ("tree_rescan_every_ms", self.tree_rescan_every_ms.into(), 0, 3_600_000),
            ("reap_every_s", self.reap_every_s.into(), 0, 31_536_000),
            ("reap_older_than_s", self.reap_older_than_s.into(), 1, 315_360_000),
            ("move_mib_per_s", self.move_mib_per_s.into(), 1, 1_000_000),
            ("background_slowdown_percent", self.background_slowdown_percent.into(), 100, 100_000),
            ("background_least_percent", self.background_least_percent.into(), 1, 100),
            ("connections", self.connections as u64, 1, 1_000_000),
            ("max_requests", self.max_requests as u64, 1, 1_000_000),
            ("max_pending", self.max_pending as u64, 1, 1_000_000),
            ("request_queue", self.request_queue as u64, 1, 1_000_000),
            ("message_queue", self.message_queue as u64, 1, 1_000_000),
            ("peer_queue", self.peer_queue as u64, 1, 1_000_000),
            ("commit_queue", self.commit_queue as u64, 1, 1_000_000),
            ("drain_ms", self.drain_ms.into(), 0, 600_000),
        ];
        for (field, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::field(field, value, format!("{least} to {most}")));
            }
        }
        self.check_joining()?;
        self.formats()?;
        self.rules()?;
        if cfg!(not(target_os = "linux")) && self.die_with_parent {
            return Err(ConfigError::field("die_with_parent", true, "false on this system"));
        }
        Ok(())
    }

    fn check_joining(&self) -> Result<(), ConfigError> {
        for seed in &self.seed {
            if !is_address(seed) {
                return Err(ConfigError::field("seed", seed, "host:port"));
            }
        }
        if let Some(address) = self.advertise.as_ref().filter(|address| !is_address(address)) {
            return Err(ConfigError::field("advertise", address, "host:port"));
        }
        if self.join && self.seed.is_empty() {
            return Err(ConfigError::field("join", true, "false without a seed"));
        }
        if !(1..=64).contains(&self.zone.len()) {
            return Err(ConfigError::field("zone", &self.zone, "1 to 64 bytes"));
        }
        Ok(())
    }
}

fn is_address(text: &str) -> bool {
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    port.is_some() && text.len() <= 255
}
