//! What `cartwheel model check` says, where it is not about a rule.

use cartwheel_model::{
    cli::{Args, Outcome, run},
    presets::Preset,
};
use cartwheel_protocol::rules::HAS_MUTANTS;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn model(words: &[&str]) -> (Outcome, String) {
    let line = Line::try_parse_from([&["model"], words].concat()).expect("good arguments");
    let mut out = Vec::new();
    let outcome = run(&line.args, &mut out).expect("a vector takes everything");
    (outcome, String::from_utf8(out).expect("it writes text"))
}

#[test]
fn growth_is_told_of_every_exploration_and_missing_coverage_is_explained() {
    let small = ["cart-bound", "foreign"];
    assert!(small.iter().all(|name| Preset::named(name).is_some()));
    let (outcome, said) = model(&[&["check", "--max-states", "20000"], &small[..]].concat());
    assert!(outcome == Outcome::Holds || outcome == Outcome::Incomplete, "{said}");
    let figures: Vec<&str> = said.lines().filter(|line| line.contains(" states/s")).collect();
    assert_eq!(figures.len(), 2, "{said}");
    let told: Vec<bool> = figures.iter().map(|line| line.contains("bytes/state")).collect();
    let can_tell = cfg!(all(target_os = "linux", target_env = "gnu"));
    assert_eq!(told, [can_tell, can_tell], "{said}");
    let explained = said.lines().filter(|line| line.contains("only builds with mutants")).count();
    assert_eq!(explained, usize::from(!HAS_MUTANTS), "{said}");
    assert_eq!(said.contains(" asked of "), HAS_MUTANTS, "{said}");
}
