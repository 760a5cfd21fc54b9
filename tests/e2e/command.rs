//! What the command says to bad arguments, and how it exits.

use std::net::TcpListener;

use assert_cmd::Command;

pub(crate) fn cartwheel(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cartwheel"));
    let output = command.args(arguments).timeout(std::time::Duration::from_secs(120)).output();
    let output = output.expect("it runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let code = output.status.code();
    let code = code.unwrap_or_else(|| panic!("{arguments:?}: {}; it said:\n{said}", output.status));
    (code, said)
}

#[test]
fn bad_arguments_exit_254_and_name_what_is_allowed() {
    let cases: &[(&[&str], &str)] = &[
        (&["nonsense"], "nonsense"),
        (&["campaign", "--nodes", "0"], "1..=32"),
        (&["campaign", "--workload", "tea"], "lww-cart"),
        (&["campaign", "--nemesis", "flood"], "partition"),
        (&["campaign", "--node-option", "sharts=1"], "node option sharts=1: there is no field"),
        (&["campaign", "--node-option", "shards=0"], "shards is 0; allowed is 1 to 64"),
        (&["campaign", "--node-option", "listen=[::1]:1"], "each node is given its own"),
        (&["campaign", "--seed", "1", "--node-option", "engine=memory"], "cannot be started again"),
        (&["dev", "--node-option", "sharts=1"], "there is no field sharts"),
        (&["bench", "--node-option", "sharts=1"], "there is no field sharts"),
        (&["check", "history.jsonl", "--checker", "tea"], "set-full"),
        (&["dev", "--port", "65001"], "0..=65000"),
        (&["serve", "--data", "x", "--cluster", "y", "--shards", "0"], "shards is 0"),
        (&["serve", "--data", "x", "--cluster", "y", "--engine", "paper"], "engine"),
    ];
    for (arguments, word) in cases {
        let (code, said) = cartwheel(arguments);
        assert_eq!(code, 254, "{arguments:?} said:\n{said}");
        assert!(said.contains(word), "{arguments:?} does not name {word}:\n{said}");
    }
}

#[test]
fn help_and_version_exit_0_and_every_subcommand_has_examples() {
    let (code, said) = cartwheel(&["--help"]);
    assert_eq!(code, 0);
    let names = said.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = names
        .take_while(|line| line.starts_with("  "))
        .filter_map(|l| l.split(' ').nth(2))
        .collect();
    assert!(names.len() > 8, "{said}");
    for name in names.iter().filter(|name| !name.is_empty()) {
        let (code, said) = cartwheel(&[name, "--help"]);
        assert_eq!(code, 0, "{name}");
        assert!(said.contains("Example"), "{name} --help has no examples:\n{said}");
    }
    assert_eq!(cartwheel(&["--version"]).0, 0);
}

#[cfg(not(feature = "mutants"))]
#[test]
fn a_build_without_mutants_says_how_to_get_them() {
    let cases: &[&[&str]] = &[
        &["campaign", "--mutant", "ack-before-sync"],
        &["model", "check", "--mutant", "ack-before-sync"],
        &["serve", "--data", "x", "--cluster", "y", "--mutant", "ack-before-sync"],
    ];
    for arguments in cases {
        let (code, said) = cartwheel(arguments);
        assert_eq!(code, 254, "{arguments:?} said:\n{said}");
        let how = "this build has no mutants; run cargo run --release --features mutants -- …";
        assert!(said.contains(how), "{arguments:?} said:\n{said}");
    }
}

#[test]
fn a_store_is_formatted_once_and_never_over_something_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("n1");
    let data = data.to_str().expect("a path in UTF-8");
    let (code, said) = cartwheel(&["format", "--data", data, "--name", "n1"]);
    assert!(code == 0 && said.contains("name = \"n1\""), "{said}");
    let (code, said) = cartwheel(&["format", "--data", data, "--name", "n2"]);
    assert!(code != 0 && said.contains("nothing was changed"), "{said}");
    let (_, before) = cartwheel(&["format", "--data", data, "--name", "n2"]);
    assert!(before.contains("n1"), "the store is still n1's: {before}");
}

#[test]
fn a_store_that_was_never_formatted_is_not_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = folder.path().join("cluster.toml");
    std::fs::write(&cluster, "cluster = \"00000000000000aa\"\npartitions = 4\nmembers = [{ id = \"n1\", name = \"n1\", address = \"127.0.0.1:1\", zone = \"z1\", weight = 1 }]\n")
        .expect("a file");
    let data = folder.path().join("empty");
    let (data, cluster) = (data.to_str().expect("a path"), cluster.to_str().expect("a path"));
    let (code, said) = cartwheel(&["serve", "--data", data, "--cluster", cluster]);
    assert!(code != 0 && said.contains("cartwheel format"), "{said}");
}

#[test]
fn a_bucket_spread_over_more_zones_than_there_are_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("n1");
    let data = data.to_str().expect("a path in UTF-8");
    let (code, member) = cartwheel(&["format", "--data", data, "--name", "n1"]);
    assert_eq!(code, 0, "{member}");
    let cluster = folder.path().join("cluster.toml");
    let bucket = "[[buckets]]\nname = \"spread\"\nkind = \"register\"\nspread = \"zone\"";
    let text = format!("cluster = \"00000000000000aa\"\nmembers = [{member}]\n{bucket}\n");
    std::fs::write(&cluster, text).expect("a file");
    let cluster = cluster.to_str().expect("a path in UTF-8");
    let (code, said) = cartwheel(&["serve", "--data", data, "--cluster", cluster]);
    assert_eq!(code, 254, "{said}");
    let why = "bucket spread writes to 2 zones, but owners would span 1";
    assert!(said.contains(why), "{said}");
}

#[test]
fn a_taken_port_is_named_with_the_flag_to_use_instead() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("n1");
    let data = data.to_str().expect("a path in UTF-8");
    let format = ["format", "--data", data, "--name", "n1", "--address", &address];
    let (code, member) = cartwheel(&format);
    assert_eq!(code, 0, "{member}");
    let cluster = folder.path().join("cluster.toml");
    let text = format!("cluster = \"00000000000000aa\"\npartitions = 4\nmembers = [{member}]\n");
    std::fs::write(&cluster, text).expect("a file");
    let cluster = cluster.to_str().expect("a path in UTF-8");
    let serve = ["serve", "--data", data, "--cluster", cluster];
    let free = "127.0.0.1:0";
    for (flag, flags) in [
        ("--listen", ["--listen", &address, "--http", free]),
        ("--http", ["--listen", free, "--http", &address]),
    ] {
        let (code, said) = cartwheel(&[&serve[..], &flags].concat());
        assert_eq!(code, 254, "{flag} said:\n{said}");
        let names = format!("cannot listen on {address}");
        let instead = format!("choose another address or port with {flag} HOST:PORT");
        assert!(said.contains(&names) && said.contains(&instead), "{flag} said:\n{said}");
    }
}

#[test]
fn a_bad_field_of_a_configuration_file_is_named_with_its_value_and_what_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    let config = file.to_str().expect("a path in UTF-8");
    for (text, flags, words) in [
        ("shards = 0", &[][..], &["shards is 0; allowed is 1 to 64"][..]),
        ("shards = \"many\"", &[], &["shards is \"many\"; allowed is a whole number"]),
        ("engine = \"paper\"", &[], &["engine is \"paper\"", "sled", "memory"]),
        (
            "listen = \"nowhere\"",
            &[],
            &["listen is \"nowhere\"; allowed is an IP address and a port"],
        ),
        ("sharts = 1", &[], &["no field sharts", "its value is 1", "allowed are data, name"]),
        ("shards = ", &[], &["node.toml", "line 2"]),
        // A flag goes over the file and is judged the same; the file's sound fields stay.
        ("shards = 2", &["--shards", "65"], &["shards is 65; allowed is 1 to 64"]),
        ("shards = 65", &["--io-threads", "1"], &["shards is 65; allowed is 1 to 64"]),
    ] {
        std::fs::write(&file, format!("data = \"x\"\n{text}\n")).expect("a file");
        let (code, said) = cartwheel(&[&["serve", "--config", config], flags].concat());
        assert_eq!(code, 254, "{text} said:\n{said}");
        for word in words {
            assert!(said.contains(word), "{text} does not say {word}:\n{said}");
        }
    }
    let (code, said) = cartwheel(&["serve", "--config", "/nowhere/node.toml"]);
    assert!(code == 254 && said.contains("/nowhere/node.toml"), "{said}");
}

#[test]
fn a_damaged_history_is_unknown_and_its_line_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history.jsonl");
    let good = r#"{"index":0,"time":1,"process":0,"type":"invoke","f":"read","value":["c",null]}"#;
    std::fs::write(&history, format!("{good}\n{}\n", &good[..40])).expect("a file");
    let (code, said) = cartwheel(&["check", history.to_str().expect("a path in UTF-8")]);
    assert!(code == 2 && said.contains("line 2"), "{said}");
}
