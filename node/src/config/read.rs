//! How a configuration is read: a TOML file, and flags that stand over it.

use std::path::Path;

use super::{ConfigError, NodeConfig};

impl NodeConfig {
    /// The values of `file`, if any, and over them those of `flags`; both use the names of the fields.
    ///
    /// # Errors
    /// What [`ConfigError`] lists.
    pub fn from_layers(file: Option<&Path>, flags: toml::Table) -> Result<Self, ConfigError> {
        let mut table = match file {
            Some(path) => read_table(path)?,
            None => toml::Table::new(),
        };
        table.extend(flags);
        Self::from_table(table)
    }

    /// A configuration from one table.
    ///
    /// # Errors
    /// What [`ConfigError`] lists.
    pub fn from_table(table: toml::Table) -> Result<Self, ConfigError> {
        let known = Self::field_names();
        for (field, value) in &table {
            if !known.contains(&field.as_str()) {
                return Err(ConfigError::Unknown {
                    field: field.clone(),
                    value: value.to_string(),
                    allowed: known.join(", "),
                });
            }
            // Alone, so that the error is certainly about this field.
            let alone = toml::Table::from_iter([(field.clone(), value.clone())]);
            if let Err(error) = alone.try_into::<Self>() {
                return Err(ConfigError::field(field.as_str(), value, allowed(&error)));
            }
        }
        let config: Self = table
            .try_into()
            .map_err(|error| ConfigError::field("the configuration", "invalid", said(&error)))?;
        config.check()?;
        Ok(config)
    }

    /// The names of all fields, in order.
    #[must_use]
    pub fn field_names() -> Vec<&'static str> {
        vec![
            "data",
            "name",
            "cluster",
            "seed",
            "join",
            "zone",
            "weight",
            "listen",
            "advertise",
            "http",
            "shards",
            "io_threads",
            "engine",
            "cache_mib",
            "free_space_reserve_mib",
            "fallback_after_ms",
            "fallbacks",
            "clock_entries",
            "max_timeout_ms",
            "gossip_every_ms",
            "suspect_after",
            "handoff_every_ms",
            "handoff_page",
            "anti_entropy_every_ms",
            "anti_entropy_rest_ms",
            "tree_depth",
            "tree_rescan_every_ms",
            "reap_every_s",
            "reap_older_than_s",
            "move_mib_per_s",
            "background_slowdown_percent",
            "background_least_percent",
            "connections",
            "max_requests",
            "max_pending",
            "request_queue",
            "message_queue",
            "peer_queue",
            "commit_queue",
            "drain_ms",
            "clock_offset_ms",
            "die_with_parent",
            "speak_version",
            "mutant",
        ]
    }
}

/// The TOML table in a file.
fn read_table(path: &Path) -> Result<toml::Table, ConfigError> {
    let failed = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    text.parse().map_err(|error: toml::de::Error| failed(error.to_string()))
}

/// What the TOML library says, in one line.
pub(super) fn said(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}

/// What is allowed in place of what the library could not take, which it says in the words of Rust.
fn allowed(error: &toml::de::Error) -> String {
    let said = said(error);
    let expected = said.rsplit_once("expected ").map_or(&*said, |(_, expected)| expected);
    let up_to = |most: u64| format!("a whole number from 0 to {most}");
    match expected {
        "u8" => up_to(u8::MAX.into()),
        "u16" => up_to(u16::MAX.into()),
        "u32" => up_to(u32::MAX.into()),
        "u64" | "usize" | "i64" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "text".to_owned(),
        "a sequence" => "a list of text".to_owned(),
        "invalid socket address syntax" | "socket address" => {
            "an IP address and a port, such as 127.0.0.1:7400".to_owned()
        }
        other => other.to_owned(),
    }
}
