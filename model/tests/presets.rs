//! The quick presets are explored to the end in every test run, through the command line that people use.

use std::{fs, path::Path};

use cartwheel_model::{
    cli::{Args, Outcome, run},
    place::Place,
    replay::Replay,
};
use cartwheel_protocol::rules::HAS_MUTANTS;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn ask(words: &[&str]) -> (Outcome, String) {
    let line = Line::try_parse_from([&["model"], words].concat()).expect("valid arguments");
    let mut out = Vec::new();
    let outcome = run(&line.args, &mut out).expect("a Vec takes all");
    (outcome, String::from_utf8(out).expect("the command writes text"))
}

#[test]
fn quick_presets_are_explored_to_the_end_and_show_what_they_are_for() {
    let quick = Place::all().filter(|place| place.is_quick()).map(Place::name);
    let words: Vec<&str> = ["check"].into_iter().chain(quick).collect();
    assert!(words.len() > 10, "most presets are quick");
    let (outcome, said) = ask(&words);
    assert_eq!(outcome, Outcome::Holds, "{said}");
    assert_eq!(said.matches("explored to the end").count(), words.len() - 1, "{said}");
    assert_eq!(said.matches("| to the end |").count(), words.len() - 1, "{said}");
}

#[test]
fn an_exploration_that_was_cut_short_is_incomplete() {
    let (outcome, said) = ask(&["check", "owners-crash", "--max-states", "100"]);
    assert_eq!(outcome, Outcome::Incomplete, "{said}");
    assert!(said.contains("INCOMPLETE"), "{said}");
    let row = said.lines().find(|line| line.starts_with("| owners-crash |"));
    assert!(row.is_some_and(|row| row.ends_with("| INCOMPLETE |")), "{said}");
    assert_eq!(Outcome::Incomplete.code(), 2);
}

#[test]
fn an_exploration_that_shows_nothing_is_no_success() {
    let (outcome, said) = ask(&["check", "restart", "--set", "crash=0"]);
    assert_eq!(outcome, Outcome::Violated, "{said}");
    assert!(said.contains("never seen: a node restarts"), "{said}");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (words, said) in [
        (&["check", "nowhere"][..], "there is no preset `nowhere`; there are owners-crash"),
        (&["check", "--set", "crush=1"], "there is no budget `crush`; there are crash"),
        (&["check", "--mutant", "x"], "there is no mutant `x`; there are counter-per-key"),
        (&["check", "one-change", "--save", "x"], "`one-change` is told, and cannot be saved"),
        (&["replay", "no-such-file"], "no-such-file"),
        (&["explore", "nowhere"], "there is no preset `nowhere`"),
    ] {
        let (outcome, out) = ask(words);
        assert_eq!((outcome, outcome.code()), (Outcome::BadArguments, 254), "{words:?}");
        assert!(out.contains(said), "{words:?} {out}");
    }
}

#[test]
fn a_build_without_mutants_says_how_to_make_one() {
    if HAS_MUTANTS {
        return;
    }
    for words in [&["check", "--mutant", "ack-before-sync"][..], &["check", "--mutants"]] {
        let (outcome, said) = ask(words);
        assert_eq!(outcome, Outcome::BadArguments);
        assert!(said.contains("this build has no mutants; run cargo run --release"), "{said}");
    }
    assert!(ask(&["list"]).1.contains("--features mutants -- model check --mutants"));
}

#[test]
fn a_mutant_that_is_not_caught_is_no_success() {
    if !HAS_MUTANTS {
        return;
    }
    let (outcome, said) = ask(&["check", "--mutants", "--max-states", "50"]);
    assert_eq!(outcome, Outcome::Incomplete, "{said}");
    assert!(said.contains("NOT CAUGHT |"), "{said}");
    assert!(said.contains("caught, 19 states"), "{said}");
}

/// A row without what a run has measured.
fn declared(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    Some(cells[..cells.len().min(4)].to_vec())
}

#[test]
fn the_documented_table_of_rules_is_the_one_that_is_printed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let documented = fs::read_to_string(file).expect("the table is there");
    let (_, printed) = ask(&["list"]);
    let rows = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter_map(declared);
        rows.map(|row| row.into_iter().map(str::to_owned).collect()).collect()
    };
    assert!(rows(&printed).len() > 50);
    assert_eq!(rows(&documented), rows(&printed), "run `model check --mutants` and copy its table");
}

#[test]
fn saved_scenarios_still_run_as_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replays");
    let mut ran = 0;
    for file in fs::read_dir(folder).expect("the folder is there") {
        let path = file.expect("it can be listed").path();
        let replay = Replay::read(&fs::read_to_string(&path).expect("it is text"));
        let replay = replay.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if replay.scenario.mutant.is_some() && !HAS_MUTANTS {
            continue;
        }
        let ended = replay.run(&mut |_| {});
        let error = ended.err().map(|error| error.to_string());
        let hint = "CARTWHEEL_REGENERATE=1 cargo test -p cartwheel-model --features mutants";
        assert_eq!(error, None, "{}; regenerate on purpose: {hint}", path.display());
        ran += 1;
    }
    assert!(ran > 0, "there are scenarios to run");
}
