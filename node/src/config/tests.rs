//! What is read, and what is refused.

use super::*;

fn parse(text: &str) -> Result<NodeConfig, ConfigError> {
    NodeConfig::from_table(text.parse().expect("the text is TOML"))
}

fn refused(text: &str) -> String {
    parse(text).expect_err("the text is refused").to_string()
}

#[test]
fn what_is_of_another_type_is_told_what_is_allowed() {
    for (text, said) in [
        ("shards = \"many\"", "shards is \"many\"; allowed is a whole number from 0 to 65535"),
        ("shards = 70000", "shards is 70000; allowed is a whole number from 0 to 65535"),
        ("tree_depth = -1", "tree_depth is -1; allowed is a whole number from 0 to 255"),
        ("drain_ms = 1.5", "drain_ms is 1.5; allowed is a whole number from 0 to 4294967295"),
        ("cache_mib = true", "cache_mib is true; allowed is a whole number"),
        ("join = 1", "join is 1; allowed is true or false"),
        ("zone = 1", "zone is 1; allowed is text"),
        ("data = 1", "data is 1; allowed is text"),
        ("seed = \"a:1\"", "seed is \"a:1\"; allowed is a list of text"),
        ("engine = \"paper\"", "engine is \"paper\"; allowed is `sled` or `memory`"),
        (
            "listen = \"nowhere\"",
            "listen is \"nowhere\"; allowed is an IP address and a port, such as 127.0.0.1:7400",
        ),
        ("http = 1", "http is 1; allowed is an IP address and a port, such as 127.0.0.1:7400"),
    ] {
        assert_eq!(refused(text), said);
    }
}

#[test]
fn an_empty_table_gives_the_defaults() {
    assert_eq!(parse("").ok(), Some(NodeConfig::default()));
}

#[test]
fn what_is_written_is_read_back() {
    let config = NodeConfig {
        data: "somewhere".into(),
        http: Some(SocketAddr::from(([127, 0, 0, 1], 7500))),
        engine: EngineKind::Memory,
        clock_offset_ms: -40,
        ..NodeConfig::default()
    };
    let text = toml::to_string(&config).expect("a configuration is TOML");
    assert_eq!(parse(&text).ok(), Some(config));
}

#[test]
fn the_names_of_the_fields_are_those_of_the_type() {
    let all = NodeConfig {
        name: Some(String::new()),
        advertise: Some(String::new()),
        http: Some(SocketAddr::from(([127, 0, 0, 1], 1))),
        free_space_reserve_mib: Some(1),
        clock_entries: Some(1),
        speak_version: Some(1),
        mutant: Some(String::new()),
        ..NodeConfig::default()
    };
    let table = toml::Table::try_from(all).expect("a configuration is a table");
    let mut names = NodeConfig::field_names();
    names.sort_unstable();
    assert_eq!(table.keys().map(String::as_str).collect::<Vec<_>>(), names);
}

#[test]
fn flags_stand_over_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    std::fs::write(&file, "shards = 3\ndrain_ms = 7\n").expect("a file");
    let flags = toml::Table::from_iter([("shards".to_owned(), toml::Value::Integer(5))]);
    let config = NodeConfig::from_layers(Some(&file), flags).expect("both are in order");
    assert_eq!((config.shards, config.drain_ms), (5, 7));
}

#[test]
fn an_unknown_field_is_named_with_its_value_and_the_known_ones() {
    let said = refused("sharts = 3");
    assert!(said.starts_with("there is no field sharts (its value is 3); allowed are data, "));
}

#[test]
fn a_value_out_of_range_is_named_with_what_is_allowed() {
    assert_eq!(refused("shards = 0"), "shards is 0; allowed is 1 to 64");
    assert_eq!(refused("speak_version = 9"), "speak_version is 9; allowed is 1");
}

#[test]
fn a_value_of_the_wrong_type_names_the_field_and_the_value() {
    let said = refused("listen = \"nowhere\"");
    assert!(said.starts_with("listen is \"nowhere\"; allowed is "), "{said}");
    let said = refused("engine = \"rocks\"");
    assert!(said.contains("engine is \"rocks\"") && said.contains("sled"), "{said}");
    let said = refused("shards = \"two\"");
    assert!(said.contains("shards is \"two\"") && said.contains("whole number"), "{said}");
}

#[test]
fn seeds_are_addresses_and_joining_needs_one() {
    assert_eq!(refused("seed = [\"n1\"]"), "seed is n1; allowed is host:port");
    assert_eq!(refused("join = true"), "join is true; allowed is false without a seed");
    let config = parse("join = true\nseed = [\"a:1\", \"b:2\"]").expect("it is allowed");
    assert_eq!((config.join, config.seed.len()), (true, 2));
}

#[test]
fn a_mutant_needs_a_build_that_has_them() {
    assert!(refused("mutant = \"nonsense\"").contains("counter-per-key"));
    assert_eq!(parse("mutant = \"expire-hints\"").is_ok(), cartwheel_protocol::rules::HAS_MUTANTS);
}
