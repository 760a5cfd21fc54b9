//! Every mutant is caught by the property that is declared beside it, in a preset that runs clean without it.
//!
//! With CARTWHEEL_REGENERATE=1 the shortest traces are written to `tests/replays`, to be read before they are kept.
#![cfg(feature = "mutants")]

use std::{collections::BTreeSet, fs, path::Path};

use cartwheel_model::{
    decrees::{DecreeModel, DecreePreset},
    explore::{Limits, Verdict, exhaust, exhaust_model, shortest, shortest_in},
    mutants::{CAUGHT, Caught, DECREED},
    presets::Preset,
    replay::{self, Scenario},
    setup::Budget,
};
use cartwheel_protocol::rules::{Mutant, Rules};

fn limits() -> Limits {
    // Time and memory as the command's: those that a machine has are not what is tested.
    Limits { states: 5_000_000, ..Limits::default() }
}

#[test]
fn every_mutant_is_caught_as_declared() {
    let caught = |entry: &Caught| {
        let rules = Rules::without(entry.mutant);
        let report = shortest(&entry.preset().plan(), rules, limits());
        if let Verdict::Violated(trace) = &report.verdict
            && std::env::var_os("CARTWHEEL_REGENERATE").is_some()
        {
            let mutant = Some(entry.mutant);
            let scenario = Scenario { mutant, ..Scenario::of(entry.preset()) };
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replays");
            // One that is caught in several presets has a file for each.
            let is_first =
                Caught::of(entry.mutant).is_some_and(|first| first.preset == entry.preset);
            let place = if is_first { String::new() } else { format!("-in-{}", entry.preset) };
            let file = folder.join(format!("{}{place}.replay", entry.mutant));
            let text = replay::write(&scenario, rules, trace, env!("CARGO_PKG_VERSION"));
            fs::write(file, text).expect("the folder can be written to");
        }
        match report.verdict {
            Verdict::Violated(trace) if trace.property == entry.property => None,
            Verdict::Violated(trace) => Some(format!("{}: {}", entry.mutant, trace.property)),
            Verdict::Complete => Some(format!("{}: not caught", entry.mutant)),
            Verdict::Incomplete(limit) => Some(format!("{}: {limit}", entry.mutant)),
        }
    };
    let wrong: Vec<String> = CAUGHT.iter().filter_map(caught).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_mutant_of_decrees_is_caught_as_declared_and_its_preset_runs_clean_without() {
    let mut clean = BTreeSet::new();
    for entry in DECREED {
        let preset = DecreePreset::named(entry.preset).expect("a preset of decrees");
        let broken = DecreeModel::new(&preset.plan(), Rules::without(entry.mutant));
        let found = match shortest_in(&broken, limits()).verdict {
            Verdict::Violated(trace) => Some(trace.property),
            Verdict::Complete | Verdict::Incomplete(_) => None,
        };
        assert_eq!(found, Some(entry.property), "{}", entry.mutant);
        if clean.insert(entry.preset) {
            let sound = DecreeModel::new(&preset.plan(), Rules::sound());
            let report = exhaust_model(sound, 2, limits(), &mut |_, _| {});
            let verdict = report.verdict;
            assert!(matches!(verdict, Verdict::Complete), "{}: {verdict:?}", entry.preset);
        }
    }
}

#[test]
fn what_is_never_sent_again_is_missed_only_where_messages_are_lost() {
    for mutant in [Mutant::HintSentOnce, Mutant::ExchangeWaitsForEver] {
        let plan = Caught::of(mutant).expect("it is in the table").preset().plan();
        let plan = plan.may(Budget::Drop, 0);
        let report = shortest(&plan, Rules::without(mutant), limits());
        assert!(matches!(report.verdict, Verdict::Complete), "{mutant}: {:?}", report.verdict);
    }
}

#[test]
fn the_presets_that_catch_mutants_run_clean_without() {
    let names: BTreeSet<&str> = CAUGHT.iter().map(|caught| caught.preset).collect();
    for name in names {
        let preset = Preset::named(name).expect("the table names presets that exist");
        let report = exhaust(&preset.plan(), Rules::sound(), 2, limits(), &mut |_, _| {});
        assert!(matches!(report.verdict, Verdict::Complete), "{name}: {:?}", report.verdict);
    }
}
