//! The flags of `cartwheel campaign`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use super::drive::Plan;
use super::finale::MAJORITY;
use crate::fault::FaultKind;
use crate::ground::process::RESERVE_MIB;
use crate::schedule::{Pace, Schedule};
use crate::workload::{Mix, Workload};

/// Arguments of `cartwheel campaign`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  cartwheel campaign
  cartwheel campaign --time-limit 10 --nemesis kill --seed 7
  cartwheel campaign --nodes 6 --time-limit 120 --nemesis kill,pause,partition,membership,wipe
  cartwheel campaign --nodes 5 --nemesis pause,membership,rolling-restart
  cartwheel campaign --nodes 6 --zones 3 --nemesis kill,zone,zone-destroy
  cartwheel campaign --nodes 5 --nemesis kill,partition,disk-full      (as root)
  cartwheel campaign --workload lww-cart --nemesis none      (the control that must fail)
  cartwheel campaign --schedule store/latest/schedule.json
  cartwheel campaign --w 1 --carts 2 --node-option handoff-every-ms=20

Exit codes: 0 valid, 1 invalid, 2 unknown, 254 bad arguments, 255 crashed.")]
pub struct CampaignArgs {
    /// How many nodes there are at the beginning
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub nodes: u16,
    /// Over how many zones the nodes are spread; with more than one, carts lie in a bucket whose copies
    /// are spread over zones
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub zones: u16,
    /// What schedule and workload follow from; drawn and printed if not given
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long clients work, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub time_limit: u64,
    /// What clients do: cart, paper-cart or lww-cart (the control that must fail)
    #[arg(long, default_value = "cart")]
    pub workload: Workload,
    /// Which faults happen, between commas: kill, pause, partition, slow (links take their time), membership (nodes join, leave, are removed
    /// and replaced, get other weights), wipe (disks are erased), corrupt (files are damaged), disk-full (needs root),
    /// rolling-restart, reap (nodes free what was cancelled), and with --zones 2 or more zone (a whole zone is cut off or
    /// killed) and zone-destroy (its disks are erased); or none
    #[arg(long, default_value = "kill,pause,partition", value_name = "FAULTS",
        value_parser = parse_nemesis)]
    pub nemesis: Nemesis,
    /// The mean time from one fault to the next, in milliseconds
    #[arg(long, default_value_t = 3_000, value_name = "MS",
        value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub fault_every_ms: u64,
    /// Apply the faults of this file, as an earlier campaign saved it, instead of drawing them
    #[arg(long, value_name = "FILE")]
    pub schedule: Option<PathBuf>,
    /// How many clients work at the same time
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub concurrency: u64,
    /// Operations that all clients together begin in a second
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    /// How long a client waits for one operation, in milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MS",
        value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub timeout_ms: u64,
    /// How many of the clients ask one node and no other, whatever happens to it
    #[arg(long, default_value_t = 1, value_name = "CLIENTS")]
    pub stubborn: u64,
    /// How many carts are in use at a time
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub carts: u64,
    /// How many additions a cart takes before another takes its place
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=900))]
    pub cart_size: u64,
    /// The part of all operations that are additions, 0 to 1
    #[arg(long, default_value_t = 0.5, value_name = "FRACTION", value_parser = parse_fraction)]
    pub add_fraction: f64,
    /// The part of the others that remove what they were shown, 0 to 1
    #[arg(long, default_value_t = 0.25, value_name = "FRACTION", value_parser = parse_fraction)]
    pub remove_fraction: f64,
    /// The part of all operations that are strict, 0 to 1
    #[arg(long, default_value_t = 0.3, value_name = "FRACTION", value_parser = parse_fraction)]
    pub strict_fraction: f64,
    /// The quorum of sloppy reads [default: the bucket's]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub r: Option<u8>,
    /// The quorum of sloppy writes [default: the bucket's]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub w: Option<u8>,
    /// How long the cluster may take to become quiet at the end, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub quiet_within: u64,
    /// The folder for results
    #[arg(long, default_value = "store", value_name = "DIR")]
    pub store: PathBuf,
    /// The campaign's name: its folder within the store [default: the workload's]
    #[arg(long, value_parser = parse_name)]
    pub name: Option<String>,
    /// Run nodes that break this rule of the protocol (needs a build with mutants)
    #[arg(long, value_name = "MUTANT")]
    pub mutant: Option<String>,
    /// How long a node waits for an owner before it asks a fallback, in milliseconds
    #[arg(long, value_name = "MS")]
    pub fallback_after_ms: Option<u32>,
    /// How often a node hands over hints, in milliseconds
    #[arg(long, value_name = "MS")]
    pub handoff_every_ms: Option<u32>,
    /// Whether fallbacks stand in for owners, on or off [default: on]
    #[arg(long, value_name = "ON_OR_OFF", value_parser = ["on", "off"])]
    pub fallbacks: Option<String>,
    /// Any other option of `serve`, as NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::options::parse)]
    pub node_option: Vec<(String, String)>,
    /// Keep the nodes' stores even if the verdict is valid
    #[arg(long)]
    pub keep_data: bool,
}

/// The faults that `--nemesis` names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nemesis(pub Vec<FaultKind>);

/// The option of nodes that forget at their end.
const IN_MEMORY: (&str, &str) = ("engine", "memory");

/// Arguments that cannot be used, though each of them alone is in order.
#[derive(Debug, thiserror::Error)]
pub enum BadArguments {
    /// A flag's value does not fit the others, or the cluster.
    #[error("{field} is {value}; allowed is {allowed}")]
    Field {
        /// The flag.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

impl CampaignArgs {
    /// The seed, drawn if none was given. Small enough to be typed.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0 >> 32)
    }

    /// The campaign's name.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.workload.name())
    }

    /// What is done to the cluster, faults included.
    ///
    /// # Errors
    /// A flag whose value does not fit the others, or a schedule that cannot be used.
    pub fn plan(&self, seed: u64) -> Result<Plan, BadArguments> {
        let time_limit = Duration::from_secs(self.time_limit);
        self.check_quorum()?;
        self.check_nemesis()?;
        let schedule = self.faults(seed)?;
        let keeps = [FaultKind::Pause, FaultKind::Partition, FaultKind::Reap, FaultKind::Slow];
        let restarts = schedule.faults.iter().any(|planned| !keeps.contains(&planned.fault.kind()));
        if restarts
            && self.node_options().iter().any(|(name, value)| (&**name, &**value) == IN_MEMORY)
        {
            return Err(BadArguments::Field {
                field: "--node-option",
                value: format!("{}={}", IN_MEMORY.0, IN_MEMORY.1),
                allowed:
                    "sled, or a nemesis of pause, partition, reap and slow: a node that kept its records in \
                          memory cannot be started again"
                        .to_owned(),
            });
        }
        Ok(Plan {
            seed,
            workload: self.workload,
            concurrency: self.concurrency,
            rate: self.rate as f64,
            time_limit,
            mix: Mix {
                adds: self.add_fraction,
                removes: self.remove_fraction,
                strict: self.strict_fraction,
                ..Mix::default()
            },
            stubborn: self.stubborn,
            carts: self.carts as usize,
            cart_size: self.cart_size,
            r: self.r,
            w: self.w,
            timeout: Duration::from_millis(self.timeout_ms),
            quiet_within: Duration::from_secs(self.quiet_within),
            schedule,
        })
    }

    /// Whether writes have a quorum while nothing is broken: there are fewer owners than three where there are fewer nodes, and in
    /// several zones each copy lies in one of its own.
    fn check_quorum(&self) -> Result<(), BadArguments> {
        let w = self.w.unwrap_or(MAJORITY);
        let places = if self.zones > 1 { self.zones.min(self.nodes) } else { self.nodes };
        if u16::from(w) <= places {
            return Ok(());
        }
        let what = if self.zones > 1 { "zones" } else { "nodes" };
        Err(BadArguments::Field {
            field: "--w",
            value: w.to_string(),
            allowed: format!("1 to {places}: there are {places} {what}"),
        })
    }

    /// Whether the cluster can be broken in these ways.
    fn check_nemesis(&self) -> Result<(), BadArguments> {
        let has = |kind| self.nemesis.0.contains(&kind);
        let bad = |allowed: &str| {
            let value = self.nemesis.to_string();
            Err(BadArguments::Field { field: "--nemesis", value, allowed: allowed.to_owned() })
        };
        if self.nodes < 2 && (has(FaultKind::Partition) || has(FaultKind::Slow)) {
            return bad("kill, pause or none: one node has no links to others");
        }
        if self.zones < 2 && self.nemesis.0.iter().any(|kind| kind.needs_zones()) {
            return bad("one without zone and zone-destroy, or --zones 2 or more");
        }
        let loses = [FaultKind::Wipe, FaultKind::ZoneDestroy, FaultKind::Corrupt];
        if self.may_lose() == 0 && loses.into_iter().any(has) {
            return bad(
                "one without wipe, zone-destroy and corrupt, or --w 2 or more: what is on one disk only is lost \
                 with it",
            );
        }
        Ok(())
    }

    /// How many disks, or zones, may be lost between two quiet points: w − 1, where strict writes have a majority.
    fn may_lose(&self) -> usize {
        usize::from(self.w.unwrap_or(MAJORITY).min(MAJORITY)).saturating_sub(1)
    }

    fn faults(&self, seed: u64) -> Result<Schedule, BadArguments> {
        let may_lose = self.may_lose();
        let (nodes, time_limit_ms) = (usize::from(self.nodes), self.time_limit * 1_000);
        let Some(path) = &self.schedule else {
            let Nemesis(kinds) = self.nemesis.clone();
            let fault_every_ms = self.fault_every_ms;
            let zones = usize::from(self.zones);
            let pace = Pace { nodes, zones, time_limit_ms, kinds, fault_every_ms, may_lose };
            return Ok(Schedule::generate(seed, &pace));
        };
        let bad = |why: String| BadArguments::Field {
            field: "--schedule",
            value: path.display().to_string(),
            allowed: format!("a schedule.json of such a cluster ({why})"),
        };
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let schedule: Schedule =
            serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let checked = schedule.check((nodes, usize::from(self.zones)), time_limit_ms, may_lose);
        checked.map_err(|error| bad(error.to_string()))?;
        Ok(schedule)
    }

    /// The rule that the nodes break on purpose, however they are told.
    pub fn mutant(&self) -> Option<String> {
        let mut options = self.node_options().into_iter();
        options.find(|(name, _)| name == "mutant").map(|(_, value)| value)
    }

    /// The options for each node.
    pub fn node_options(&self) -> Vec<(String, String)> {
        let named = [
            ("mutant", self.mutant.clone()),
            ("fallback-after-ms", self.fallback_after_ms.map(|ms| ms.to_string())),
            ("handoff-every-ms", self.handoff_every_ms.map(|ms| ms.to_string())),
            ("fallbacks", self.fallbacks.clone()),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        named.chain(self.node_option.iter().cloned()).collect()
    }

    /// The same, and the reserve of free space that fits disks of the nodes' own.
    pub fn options_on_disks(&self, own_disks: bool) -> Vec<(String, String)> {
        let mut options = self.node_options();
        let is_reserve =
            |(name, _): &(String, String)| name.replace('_', "-") == "free-space-reserve-mib";
        if own_disks && !options.iter().any(is_reserve) {
            options.push(("free-space-reserve-mib".to_owned(), RESERVE_MIB.to_string()));
        }
        options
    }

    /// The command that does the same again.
    pub fn command(&self, seed: u64) -> String {
        let options = self.node_options();
        let has_mutant = options.iter().any(|(name, _)| name == "mutant");
        let features = if has_mutant { " --features mutants" } else { "" };
        let mut words = vec![format!("cargo run --release{features} -- campaign --seed {seed}")];
        let mut flag = |name: &str, value: String| words.push(format!("--{name} {value}"));
        flag("nodes", self.nodes.to_string());
        if self.zones > 1 {
            flag("zones", self.zones.to_string());
        }
        flag("time-limit", self.time_limit.to_string());
        flag("workload", self.workload.to_string());
        // Of a schedule no fault is drawn, but what may happen is still judged against the cluster.
        flag("nemesis", self.nemesis.to_string());
        match &self.schedule {
            Some(path) => flag("schedule", quoted(&path.display().to_string())),
            None => flag("fault-every-ms", self.fault_every_ms.to_string()),
        }
        flag("concurrency", self.concurrency.to_string());
        flag("rate", self.rate.to_string());
        flag("timeout-ms", self.timeout_ms.to_string());
        flag("stubborn", self.stubborn.to_string());
        flag("carts", self.carts.to_string());
        flag("cart-size", self.cart_size.to_string());
        flag("add-fraction", self.add_fraction.to_string());
        flag("remove-fraction", self.remove_fraction.to_string());
        flag("strict-fraction", self.strict_fraction.to_string());
        let quorums = [("r", self.r), ("w", self.w)];
        quorums.into_iter().for_each(|(name, value)| {
            value.into_iter().for_each(|value| flag(name, value.to_string()));
        });
        flag("quiet-within", self.quiet_within.to_string());
        options.iter().for_each(|(name, value)| match name.as_str() {
            "mutant" | "fallback-after-ms" | "handoff-every-ms" | "fallbacks" => {
                flag(name, value.clone())
            }
            _ => flag("node-option", quoted(&format!("{name}={value}"))),
        });
        words.join(" ")
    }
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,".contains(&byte);
    if text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn parse_nemesis(text: &str) -> Result<Nemesis, String> {
    if text == "none" {
        return Ok(Nemesis(Vec::new()));
    }
    let mut kinds = text.split(',').map(str::parse).collect::<Result<Vec<FaultKind>, _>>()?;
    kinds.sort_unstable();
    kinds.dedup();
    Ok(Nemesis(kinds))
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "allowed is a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err("allowed is a number from 0 to 1".to_owned())
    }
}

fn parse_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let valid = (1..=64).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('.')
        && text != "latest";
    if valid {
        Ok(text.to_owned())
    } else {
        Err("allowed are 1 to 64 of a-z, A-Z, 0-9, -, _ and ., but not latest".to_owned())
    }
}

impl std::fmt::Display for Nemesis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.0.iter().map(|kind| kind.name()).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(",") }.as_str())
    }
}

#[cfg(test)]
mod tests;
