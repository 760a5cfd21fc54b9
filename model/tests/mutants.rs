//! Every mutant is caught by the property that is declared beside it, in a preset that runs clean without it.
#![cfg(feature = "mutants")]

use std::{collections::BTreeSet, time::Duration};

use cartwheel_model::{
    explore::{Limits, Verdict, exhaust, shortest},
    mutants::{CAUGHT, Caught},
    presets::Preset,
};
use cartwheel_protocol::rules::Rules;

fn limits() -> Limits {
    Limits { states: 5_000_000, memory_bytes: 4 << 30, time: Duration::from_secs(200) }
}

#[test]
fn every_mutant_is_caught_as_declared() {
    let caught = |entry: &Caught| {
        let report = shortest(&entry.preset().plan(), Rules::without(entry.mutant), limits());
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
fn the_presets_that_catch_mutants_run_clean_without() {
    let names: BTreeSet<&str> = CAUGHT.iter().map(|caught| caught.preset).collect();
    for name in names {
        let preset = Preset::named(name).expect("the table names presets that exist");
        let report = exhaust(&preset.plan(), Rules::sound(), 2, limits(), &mut |_, _| {});
        assert!(matches!(report.verdict, Verdict::Complete), "{name}: {:?}", report.verdict);
    }
}
