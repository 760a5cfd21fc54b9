//! `cartwheel serve`: one node, until SIGTERM or ctrl-c. `cartwheel format`: a new store.

use std::path::PathBuf;

use cartwheel_client::TARPC_LOG_FILTER;
use cartwheel_node::config::{NodeConfig, member_line};
use cartwheel_protocol::{id::Zone, layout::Member};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use tracing_subscriber::EnvFilter;

use crate::{
    exit::{Exit, Failure},
    output,
};

/// What each field of the configuration means: the flag's help. The names are those of [`NodeConfig`].
const FLAGS: &[(&str, &str)] = &[
    ("data", "The folder of the formatted store"),
    (
        "name",
        "Make a store of this name in --data if there is none; with --seed also where it cannot be opened",
    ),
    ("cluster", "The cluster file: the first layout's members, buckets, partitions"),
    (
        "seed",
        "A node of the cluster, HOST:PORT; may be repeated. A new store without one forms a cluster",
    ),
    ("join", "Become a member; in place of one of its name once that one is suspected"),
    ("zone", "The zone in which it joins"),
    ("weight", "The weight with which it joins"),
    ("listen", "Where peers and clients connect; port 0 lets the system choose"),
    ("advertise", "The address under which others reach this node"),
    ("http", "Where /metrics and /health are answered; nowhere without it"),
    ("shards", "How many shards, each a thread, share the partitions"),
    ("io_threads", "How many threads move bytes between network and shards"),
    ("engine", "What keeps the records: sled or memory (forgets all: such a store serves once)"),
    ("cache_mib", "Memory for pages of the store, in MiB"),
    (
        "free_space_reserve_mib",
        "Refuse clients' writes while less is free on the disk; 256, or an eighth of a small disk",
    ),
    ("fallback_after_ms", "How long an owner may be silent before a fallback is asked"),
    ("fallbacks", "Whether fallbacks stand in for owners, on or off; off is for campaigns"),
    (
        "clock_entries",
        "How many entries of a version vector are kept, as the paper truncates them; what was replaced may come back",
    ),
    ("max_timeout_ms", "The longest that any request may take"),
    ("gossip_every_ms", "How often the node gossips"),
    ("suspect_after", "After how many periods of gossip without a heartbeat a node is suspected"),
    ("handoff_every_ms", "The time between two passes over the hints"),
    ("handoff_page", "How many hints are handed over in one step"),
    ("anti_entropy_every_ms", "The pause between two batches of exchanges of trees; 0 for none"),
    ("anti_entropy_rest_ms", "The rest when all trees were compared"),
    ("tree_depth", "How many levels a tree has, each node with 16 children"),
    ("tree_rescan_every_ms", "The pause between rebuilding two partitions' trees; 0 for never"),
    ("reap_every_s", "The time between two runs of reap rounds of the node's own; 0 for none"),
    ("reap_older_than_s", "How old cancelled additions are that such a run may forget"),
    ("move_mib_per_s", "The most that each kind of background work moves, in MiB a second"),
    (
        "background_slowdown_percent",
        "Background work yields when requests take longer than so many percent of the usual",
    ),
    ("background_least_percent", "How much of its speed it keeps then; with 100 it never yields"),
    ("connections", "How many connections are kept"),
    ("max_requests", "How many requests may be under way over all connections"),
    ("max_pending", "How many requests a shard may have under way"),
    ("request_queue", "How many requests may wait for a shard"),
    ("message_queue", "How many messages of peers may wait for a shard"),
    ("peer_queue", "How many messages may wait for each peer"),
    ("commit_queue", "How many steps may wait for the disk"),
    ("drain_ms", "How long a clean shutdown waits for requests under way"),
    ("clock_offset_ms", "Added to the clock in stamps of last-write-wins puts: for campaigns"),
    ("die_with_parent", "Be killed when the process that started this one ends (Linux)"),
    ("speak_version", "The newest format spoken to peers and clients"),
    ("mutant", "A rule to leave out, in a build with mutants"),
];

/// Arguments of `cartwheel serve`: a TOML file, and every field of it as a flag.
pub(crate) struct Args {
    config: Option<PathBuf>,
    flags: toml::Table,
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A TOML file with the fields below, underscores for dashes; flags go over it");
        let command = command.arg(config).after_help(
            "Examples:
  cartwheel format --data n1 --name n1
  cartwheel serve --data n1 --cluster cluster.toml --listen 127.0.0.1:7400 --http 127.0.0.1:7480

A node has no authentication and no encryption yet: keep it on loopback or a private network.",
        );
        FLAGS.iter().fold(command, |command, (field, help)| {
            let flag = Arg::new(*field).long(field.replace('_', "-")).help(*help);
            command.arg(if SWITCHES.contains(field) {
                flag.action(ArgAction::SetTrue)
            } else if *field == "seed" {
                flag.value_name("HOST:PORT").action(ArgAction::Append)
            } else {
                flag.value_name("VALUE").allow_negative_numbers(true)
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = toml::Table::new();
        for (field, _) in FLAGS {
            if *field == "seed" {
                let seeds = matches.get_many::<String>(field).into_iter().flatten();
                let seeds: Vec<toml::Value> = seeds.map(|seed| seed.as_str().into()).collect();
                if !seeds.is_empty() {
                    flags.insert((*field).to_owned(), seeds.into());
                }
            } else if SWITCHES.contains(field) {
                if matches.get_flag(field) {
                    flags.insert((*field).to_owned(), true.into());
                }
            } else if let Some(value) = matches.get_one::<String>(field) {
                flags.insert((*field).to_owned(), toml_value(field, value));
            }
        }
        Ok(Self { config: matches.get_one("config").cloned(), flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Fields that are on or off.
const SWITCHES: [&str; 2] = ["join", "die_with_parent"];

/// A whole number is a number, anything else text, and so are names; the configuration judges both.
fn toml_value(field: &str, value: &str) -> toml::Value {
    match (field, value) {
        ("fallbacks", "on" | "true") => return true.into(),
        ("fallbacks", "off" | "false") => return false.into(),
        (_, _) => {}
    }
    match value.parse::<i64>() {
        Ok(number) if !["name", "zone", "data", "cluster"].contains(&field) => number.into(),
        Ok(_) | Err(_) => value.into(),
    }
}

/// What the starter of a cluster gives to each node itself.
const GIVEN: [&str; 10] = [
    "data",
    "name",
    "cluster",
    "zone",
    "seed",
    "join",
    "listen",
    "advertise",
    "http",
    "die_with_parent",
];

/// Whether nodes would take these options, NAME=VALUE with dashes or underscores: said before any node is
/// started.
pub(crate) fn check_node_options(options: &[(String, String)]) -> Result<(), Failure> {
    let mut table = toml::Table::new();
    for (name, value) in options {
        let bad = |why: String| Failure::arguments(format!("node option {name}={value}: {why}"));
        let field = name.replace('-', "_");
        if GIVEN.contains(&field.as_str()) {
            return Err(bad("each node is given its own".to_owned()));
        }
        let value = toml_value(&field, value);
        let alone = toml::Table::from_iter([(field.clone(), value.clone())]);
        NodeConfig::from_table(alone).map_err(|error| bad(error.to_string()))?;
        if table.insert(field, value).is_some() {
            return Err(bad("it is given twice".to_owned()));
        }
    }
    Ok(())
}

/// Serves until the process is told to end.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let config =
        NodeConfig::from_layers(args.config.as_deref(), args.flags).map_err(Failure::arguments)?;
    config.check().map_err(Failure::arguments)?;
    let filter = EnvFilter::try_from_env("CARTWHEEL_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("info,{TARPC_LOG_FILTER},sled=warn")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::colours_stderr())
        .init();
    let reason = cartwheel_node::run(config).map_err(|error| {
        if error.is_configuration() { Failure::arguments(error) } else { Failure::crashed(error) }
    })?;
    tracing::info!("{reason}");
    Ok(Exit::Done)
}

/// Arguments of `cartwheel format`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel format --data /var/lib/cartwheel --name n1")]
pub(crate) struct FormatArgs {
    /// The folder of the store; it must be empty or not exist
    #[arg(long)]
    data: PathBuf,
    /// The node's name: a label; its id is random
    #[arg(long)]
    name: String,
    /// The address that the member line carries
    #[arg(long, default_value = "127.0.0.1:7400")]
    address: String,
    /// The zone that the member line carries
    #[arg(long, default_value = "z1")]
    zone: String,
    /// Print the store's id as JSON
    #[arg(long)]
    json: bool,
}

/// Makes a store and prints who it is.
pub(crate) fn format(args: &FormatArgs) -> Result<Exit, Failure> {
    let store = cartwheel_node::format_store(&args.data, &args.name).map_err(Failure::crashed)?;
    let member = Member {
        id: store.id,
        name: args.name.as_str().into(),
        address: args.address.as_str().into(),
        zone: Zone(args.zone.as_str().into()),
        weight: 1,
    };
    if args.json {
        let (id, name) = (store.id.to_string(), store.name);
        output::json(&serde_json::json!({ "id": id, "name": name }))?;
    } else {
        output::line(member_line(&member));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)]) -> Result<(), String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let options: Vec<_> = options.iter().map(owned).collect();
        check_node_options(&options).map_err(|failure| {
            assert_eq!(failure.exit, Exit::BadArguments);
            failure.message
        })
    }

    #[test]
    fn options_that_a_node_would_refuse_are_named() {
        assert_eq!(
            check(&[("shards", "1"), ("handoff-every-ms", "20"), ("drain_ms", "0")]),
            Ok(())
        );
        assert_eq!(check(&[("clock-offset-ms", "-5"), ("engine", "memory")]), Ok(()));
        for (options, word) in [
            (&[("sharts", "1")][..], "there is no field sharts"),
            (&[("shards", "0")], "node option shards=0: shards is 0; allowed is 1 to 64"),
            (&[("shards", "many")], "shards is \"many\""),
            (&[("listen", "127.0.0.1:1")], "listen=127.0.0.1:1: each node is given its own"),
            (&[("die-with-parent", "true")], "each node is given its own"),
            (&[("drain-ms", "1"), ("drain_ms", "2")], "drain_ms=2: it is given twice"),
        ] {
            let said = check(options).expect_err(word);
            assert!(said.contains(word) && said.starts_with("node option "), "{said}");
        }
    }

    #[test]
    fn every_field_of_the_configuration_is_a_flag() {
        let flags: Vec<&str> = FLAGS.iter().map(|(field, _)| *field).collect();
        assert_eq!(flags, NodeConfig::field_names());
    }
}
