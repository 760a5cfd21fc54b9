//! Style and architecture as tests: each check is a function over text, with a test of itself, and one test that
//! runs all of them over the tree.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A source file: its path from the root, with forward slashes, and its text.
struct Source {
    path: String,
    text: String,
}

/// What is wrong, where, and what to do instead.
type Complaint = String;

/// Who may depend on whom (ARCHITECTURE.md): `model → protocol ← client ← node`,
/// `harness → checker, model, client`, the command → all. The checker depends on none of ours.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("checker", &[]),
    ("model", &["protocol"]),
    ("client", &["protocol"]),
    ("node", &["client", "protocol"]),
    ("harness", &["checker", "client", "model"]),
];

/// Files that may be longer than [`LONGEST_FILE`], each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];
const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 70;

/// Every dependency that a manifest names, by the package's name, of all kinds and for all targets.
fn dependencies(manifest: &toml::Table) -> Vec<(String, &toml::Value)> {
    let for_targets = manifest.get("target").and_then(toml::Value::as_table);
    let for_targets = for_targets.into_iter().flat_map(|targets| targets.values());
    let workspace = manifest.get("workspace").and_then(toml::Value::as_table);
    let mut holders = vec![manifest];
    holders.extend(for_targets.filter_map(toml::Value::as_table).chain(workspace));
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = holders.into_iter().flat_map(|holder| kinds.map(|kind| holder.get(kind)));
    let named = tables.flatten().filter_map(toml::Value::as_table).flatten();
    // A dependency may go under another name here.
    let package = |name: &String, value: &toml::Value| match value.get("package") {
        Some(package) => package.as_str().unwrap_or(name).to_owned(),
        None => name.clone(),
    };
    named.map(|(name, value)| (package(name, value), value)).collect()
}

fn check_arrows(package: &str, manifest: &str) -> Vec<Complaint> {
    let allowed = ARROWS.iter().find(|(name, _)| *name == package).map_or(&[][..], |(_, to)| to);
    let manifest: toml::Table = manifest.parse().expect("a Cargo.toml is TOML");
    let named = dependencies(&manifest);
    let ours = named.iter().filter_map(|(name, _)| name.strip_prefix("cartwheel-"));
    ours.filter(|name| !allowed.contains(name))
        .map(|name| format!("{package} depends on {name}; allowed is {allowed:?}"))
        .collect()
}

fn check_no_mutants_in_dependencies(path: &str, manifest: &str) -> Vec<Complaint> {
    let manifest: toml::Table = manifest.parse().expect("a Cargo.toml is TOML");
    let turns_on = |features: Option<&toml::Value>| {
        let listed = features.and_then(toml::Value::as_array).into_iter().flatten();
        listed.filter_map(toml::Value::as_str).any(|f| f == "mutants" || f.ends_with("/mutants"))
    };
    let named = dependencies(&manifest);
    let named = named.iter().filter(|(_, value)| turns_on(value.get("features")));
    let mut complaints: Vec<Complaint> = named
        .map(|(name, _)| format!("{path} turns mutants of {name} on for every build of it"))
        .collect();
    if turns_on(manifest.get("features").and_then(|features| features.get("default"))) {
        complaints.push(format!("{path} turns mutants on by default"));
    }
    complaints
}

fn check_drivers_name_no_message(source: &Source) -> Vec<Complaint> {
    let driver = ["node/src/", "model/src/", "harness/src/", "client/src/", "src/"];
    if !driver.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    let names = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            before.is_none_or(|c| !c.is_alphanumeric()) && after.is_some_and(char::is_uppercase)
        })
    };
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| names(line, "Message::") || names(line, "protocol::Body::"))
        .map(|(at, line)| {
            format!("{}:{}: a driver names a protocol message: {line}", source.path, at + 1)
        })
        .collect()
}

fn check_length(source: &Source) -> Vec<Complaint> {
    let lines = source.text.lines().count();
    let argued = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    if lines <= LONGEST_FILE || argued {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines; split it, or argue in LONG_FILES", source.path)]
}

/// rustfmt puts a function's last brace at the indentation of its first line.
fn check_functions(source: &Source) -> Vec<Complaint> {
    let lines: Vec<&str> = source.text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let starts = |line: &str| {
        let words = line.trim_start().split(' ').take(5).collect::<Vec<_>>();
        words.contains(&"fn") && !line.trim_start().starts_with("//")
    };
    let mut complaints = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| starts(line)) {
        let rest = &lines[at..];
        let end = rest.iter().position(|l| indent(l) == indent(line) && l.trim_start() == "}");
        let declaration = rest.iter().position(|l| l.ends_with(';') && indent(l) == indent(line));
        let length = end.map_or(0, |end| end + 1);
        if length > LONGEST_FUNCTION && declaration.is_none_or(|d| Some(d) > end) {
            complaints.push(format!(
                "{}:{}: a function of {length} lines; at most {LONGEST_FUNCTION}",
                source.path,
                at + 1
            ));
        }
    }
    complaints
}

fn check_one_manual_hash(sources: &[Source]) -> Vec<Complaint> {
    let needle = " Hash for ";
    let manual = sources.iter().flat_map(|source| {
        let lines = source
            .text
            .lines()
            .filter(|line| line.trim_start().starts_with("impl") && line.contains(needle));
        lines.map(|line| format!("{}: {line}", source.path))
    });
    let manual: Vec<String> = manual.collect();
    if manual.len() <= 1 {
        return Vec::new();
    }
    vec![format!("only model's Hashed may write Hash by hand: {manual:?}")]
}

/// Every file of a crate's `src` is reached by a `mod` line of its parent.
fn check_reached(sources: &[Source]) -> Vec<Complaint> {
    let paths: BTreeSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let text_of = |path: &str| sources.iter().find(|s| s.path == path).map(|s| s.text.as_str());
    let mut complaints = Vec::new();
    for path in paths.iter().filter(|path| path.contains("src/")) {
        let (folder, file) = path.rsplit_once('/').expect("a path with src/ has a folder");
        let is_root = folder.ends_with("src") && (file == "lib.rs" || file == "main.rs");
        if is_root || folder.ends_with("/bin") {
            continue;
        }
        let (name, parent) = match file {
            "mod.rs" => folder.rsplit_once('/').map(|(up, name)| (name, up)).expect("a folder"),
            _ => (file.trim_end_matches(".rs"), folder),
        };
        let parents = [
            format!("{parent}/lib.rs"),
            format!("{parent}/main.rs"),
            format!("{parent}/mod.rs"),
            format!("{parent}.rs"),
        ];
        let declared = |text: &str| {
            text.lines().any(|line| {
                let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
                line.strip_prefix("mod ")
                    .is_some_and(|rest| rest.trim_end_matches([';', '{', ' ']) == name)
            })
        };
        if !parents.iter().filter_map(|parent| text_of(parent)).any(declared) {
            complaints.push(format!("{path}: no mod line reaches this file"));
        }
    }
    complaints
}

fn check_words(source: &Source) -> Vec<Complaint> {
    // Split, so that this file does not find itself.
    let banned = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| banned.iter().any(|word| line.contains(word)))
        .map(|(at, line)| format!("{}:{}: left over: {}", source.path, at + 1, line.trim()))
        .collect()
}

/// What mutants add to tests is of use only where `.ci/run` runs them in a build with mutants; what they take away
/// (`not(…)`) is run without.
fn check_mutants_are_run(source: &Source, script: &str) -> Vec<Complaint> {
    // Split, so that this file does not find itself.
    let needle = concat!("feature = ", "\"mutants\"");
    let inside = source.path.split_once("tests/");
    let Some((_, inside)) = inside.filter(|(up, _)| up.is_empty() || up.ends_with('/')) else {
        return Vec::new();
    };
    let target = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
    let runs = script.split_whitespace().collect::<Vec<_>>();
    let is_run = runs.windows(2).any(|pair| pair == ["--test", target]);
    let adds = source.text.replace(&format!("not({needle})"), "").contains(needle);
    if !adds || is_run {
        return Vec::new();
    }
    vec![format!("{}: .ci/run does not run it with mutants: --test {target}", source.path)]
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder of the tree").map(|e| e.expect("an entry")).collect();
    entries.sort_by_key(|entry| entry.path());
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "store" {
            collect(&path, sources);
        } else if name.ends_with(".rs") {
            let relative = path.strip_prefix(root()).expect("below the root");
            let path_text = relative.to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).expect("a source is text");
            sources.push(Source { path: path_text, text });
        }
    }
}

#[test]
fn the_tree_is_tidy() {
    let mut sources = Vec::new();
    collect(&root(), &mut sources);
    assert!(sources.len() > 20, "the tree was not found");
    let mut complaints = Vec::new();
    for (package, _) in ARROWS {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("exists");
        complaints.extend(check_arrows(package, &manifest));
        complaints.extend(check_no_mutants_in_dependencies(package, &manifest));
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("exists");
    complaints.extend(check_no_mutants_in_dependencies("the root", &manifest));
    let script = fs::read_to_string(root().join(".ci/run")).expect("exists");
    for source in &sources {
        complaints.extend(check_mutants_are_run(source, &script));
        complaints.extend(check_drivers_name_no_message(source));
        complaints.extend(check_length(source));
        complaints.extend(check_functions(source));
        complaints.extend(check_words(source));
    }
    complaints.extend(check_one_manual_hash(&sources));
    complaints.extend(check_reached(&sources));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn an_arrow_against_the_design_is_found() {
    let manifest = "[dependencies]\ncartwheel-node = { path = \"../node\" }\nserde = \"1\"\n";
    assert_eq!(check_arrows("checker", manifest).len(), 1);
    assert_eq!(check_arrows("client", "[dependencies]\ncartwheel-protocol = \"1\"\n").len(), 0);
    for table in ["target.'cfg(unix)'.dependencies", "target.x86_64-unknown-none.dev-dependencies"]
    {
        let manifest = format!("[{table}]\ncartwheel-node.workspace = true\n");
        assert_eq!(check_arrows("checker", &manifest).len(), 1, "{table}");
    }
    let renamed = "[build-dependencies]\nother = { package = \"cartwheel-node\", path = \"x\" }\n";
    assert_eq!(check_arrows("checker", renamed).len(), 1);
}

#[test]
fn mutants_in_a_dependency_are_found() {
    for manifest in [
        "[dependencies]\ncartwheel-model = { path = \"model\", features = [\"mutants\"] }",
        "[dev-dependencies.cartwheel-model]\nworkspace = true\nfeatures = [\n  \"x\",\n  \"mutants\",\n]",
        "[target.'cfg(unix)'.dependencies]\ncartwheel-model.features = [\n\"mutants\"\n]",
        "[workspace.dependencies]\ncartwheel-model = { path = \"model\", features = ['mutants'] }",
        "[features]\ndefault = [\n  \"mutants\",\n]",
        "[features]\ndefault = [\"cartwheel-model/mutants\"]",
    ] {
        assert_eq!(check_no_mutants_in_dependencies("x", manifest).len(), 1, "{manifest}");
    }
    let forwarded = "[features]\nmutants = [\"cartwheel-model/mutants\"]\n[dependencies]\n\
        cartwheel-model = { path = \"model\", features = [\"x\"] }\nserde.workspace = true";
    assert_eq!(check_no_mutants_in_dependencies("x", forwarded).len(), 0);
}

#[test]
fn a_driver_that_names_a_message_is_found() {
    let named = source("node/src/shard.rs", "    Message::Put { .. } => {}\n");
    assert_eq!(check_drivers_name_no_message(&named).len(), 1);
    let other =
        source("node/src/shard.rs", "Input::Message { from, message }\nMessage::partition()\n");
    assert_eq!(check_drivers_name_no_message(&other).len(), 0);
}

#[test]
fn long_files_and_functions_are_found() {
    assert_eq!(check_length(&source("a.rs", &"x\n".repeat(LONGEST_FILE + 1))).len(), 1);
    assert_eq!(check_length(&source("a.rs", &"x\n".repeat(LONGEST_FILE))).len(), 0);
    let function = |lines| format!("    fn f() {{\n{}    }}\n", "        x;\n".repeat(lines));
    assert_eq!(check_functions(&source("a.rs", &function(LONGEST_FUNCTION))).len(), 1);
    assert_eq!(check_functions(&source("a.rs", &function(LONGEST_FUNCTION - 2))).len(), 0);
}

#[test]
fn a_second_manual_hash_is_found() {
    let one = source("a.rs", "impl<T> Hash for Hashed<T> {\n");
    let two = source("b.rs", "impl Hash for Other {\n");
    assert_eq!(check_one_manual_hash(&[one, two]).len(), 1);
    assert_eq!(check_one_manual_hash(&[source("a.rs", "impl<T> Hash for Hashed<T> {\n")]).len(), 0);
}

#[test]
fn a_file_that_nothing_reaches_is_found() {
    let lib = source("a/src/lib.rs", "mod one;\npub mod two;\n");
    let tree = [
        lib,
        source("a/src/one.rs", ""),
        source("a/src/two/mod.rs", "mod three;\n"),
        source("a/src/two/three.rs", ""),
        source("a/src/dead.rs", ""),
    ];
    assert_eq!(check_reached(&tree), ["a/src/dead.rs: no mod line reaches this file"]);
}

#[test]
fn left_overs_are_found() {
    assert_eq!(check_words(&source("a.rs", concat!("    todo", "!()\n"))).len(), 1);
}

#[test]
fn a_test_of_mutants_that_is_not_run_is_found() {
    let gated = concat!("#[cfg(feature = ", "\"mutants\")]\n");
    let one = source("model/tests/mutants.rs", gated);
    let two = source("protocol/tests/membership/main.rs", gated);
    let script = "cargo test --test mutants --test cluster";
    assert_eq!(check_mutants_are_run(&one, script).len(), 0);
    assert_eq!(check_mutants_are_run(&two, script).len(), 1);
    assert_eq!(check_mutants_are_run(&source("model/tests/presets.rs", ""), script).len(), 0);
    let gated = concat!("#![cfg(feature = ", "\"mutants\")]\n");
    assert_eq!(check_mutants_are_run(&source("tests/mutant_build.rs", gated), script).len(), 1);
    assert_eq!(check_mutants_are_run(&source("tests/mutants.rs", gated), script).len(), 0);
    let without = concat!("#[cfg(not(feature = ", "\"mutants\"))]\n");
    assert_eq!(check_mutants_are_run(&source("tests/e2e/command.rs", without), script).len(), 0);
    let both = format!("{without}{gated}");
    assert_eq!(check_mutants_are_run(&source("tests/e2e/command.rs", &both), script).len(), 1);
}
