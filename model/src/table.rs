//! The table of rules: which mutants break each, and where every one of them is caught.
//!
//! It is a table in Markdown, so that what a run prints can stand in the documentation as it is.

use std::io::{self, Write};

use cartwheel_protocol::rules::{HAS_MUTANTS, Mutant};

use crate::{
    explore::{Report, Verdict},
    mutants::Caught,
};

/// A rule of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its number, such as `V1`.
    pub id: &'static str,
    /// What it says, in a few words.
    pub says: &'static str,
    /// Why no mutant breaks it; `None` where there are mutants.
    pub unbroken: Option<&'static str>,
}

/// Every rule, in the order of `docs/rules.md`.
pub const RULES: &[Rule] = &[
    rule("V1", "a dot is never reused"),
    rule("V2", "a version vector has no gaps"),
    rule("V3", "the whole merged object is replicated"),
    rule("V4", "an operation removes only what it names or its context covers"),
    rule("V5", "merging is the only way in which others change a replica"),
    rule("V6", "clock entries are pruned only in a reap round"),
    rule("V7", "a context is bound to its cluster, bucket and key"),
    rule("C1", "a known add_id makes no new dot, and cancelled ones are remembered"),
    rule("D1", "every acknowledgement leaves at its barrier"),
    rule("Q1", "quorums count slots, each once, on distinct nodes"),
    rule("Q2", "a fallback's \"not found\" is no evidence for a strict read"),
    rule("Q3", "with spread over zones, distinct zones are counted"),
    rule("H1", "a hint is settled only by its owner's durable copy of what is held now"),
    rule("H2", "hints never expire"),
    rule("H3", "a copy that is not owned is dropped when it owes nobody, never before"),
    rule("F1", "a request is forwarded once, a register put never coordinated twice"),
    rule("T1", "tombstones go only in a reap round"),
    rule("W1", "a node is its disk; a damaged record never answers \"not found\""),
    rule("L0", "layouts are numbered values; what gossip brings never undoes what is newer"),
    rule("L1", "a view is on disk before shards go by it"),
    rule("L2", "a strict request needs its quorum in every layout, of its own view"),
    rule("L3", "a change is done when the owners to be have caught up"),
    Rule {
        id: "L4",
        says: "a sloppy request keeps the view that it began with",
        unbroken: Some(
            "a sloppy request promises w durable copies, which D1, Q1 and H1 keep whichever layout's \
             slots they fill, and no freshness, which is all that another layout's slots would cost",
        ),
    },
];

const fn rule(id: &'static str, says: &'static str) -> Rule {
    Rule { id, says, unbroken: None }
}

/// What a run against one mutant measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Figures {
    /// Unique worlds that were judged until it was caught.
    pub states: u64,
    /// The length of the shortest trace; `None` if it was not caught as declared.
    pub steps: Option<usize>,
}

impl Figures {
    /// What a report says of the mutant that it was to catch.
    pub fn of<A>(caught: &Caught, report: &Report<A>) -> Self {
        let steps = match &report.verdict {
            Verdict::Violated(trace) if trace.property == caught.property => {
                Some(trace.actions.len())
            }
            Verdict::Violated(_) | Verdict::Complete | Verdict::Incomplete(_) => None,
        };
        Self { states: report.states, steps }
    }
}

/// The most characters to which a column is padded.
const WIDEST: usize = 48;

/// Columns: rule, mutant, where, by what, states, steps.
type Row = [String; 6];

/// Writes the table. `figures` are those of [`Caught::all`], in its order; without them the last two columns are empty, and
/// a line says how to fill them.
///
/// Errors: only those of `out`.
pub fn write(figures: Option<&[Figures]>, out: &mut dyn Write) -> io::Result<()> {
    let rows = rows(figures);
    // A reason is a sentence: it would make its column as wide in every row.
    let cells = |column: usize| rows.iter().map(move |row| row[column].chars().count());
    let width = |column| cells(column).filter(|chars| *chars <= WIDEST).max().unwrap_or_default();
    let widths: [usize; 6] = std::array::from_fn(width);
    for row in &rows {
        write!(out, "|")?;
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if at < 4 {
                write!(out, " {cell:width$} |")?;
            } else {
                write!(out, " {cell:>width$} |")?;
            }
        }
        writeln!(out)?;
    }
    writeln!(out)?;
    for rule in RULES {
        writeln!(out, "* {}: {}", rule.id, rule.says)?;
    }
    if figures.is_none() {
        let mutants = if HAS_MUTANTS { "" } else { "cargo run --release --features mutants -- " };
        writeln!(out, "\nStates and steps are of a run: {mutants}model check --mutants")?;
    }
    Ok(())
}

fn rows(figures: Option<&[Figures]>) -> Vec<Row> {
    let heads = ["rule", "mutant", "caught in", "by", "states", "steps"].map(str::to_owned);
    let lines = ["---", "---", "---", "---", "---:", "---:"].map(str::to_owned);
    let mut rows = vec![heads, lines];
    for rule in RULES {
        let caught =
            Caught::all().enumerate().filter(|(_, caught)| caught.mutant.rule() == rule.id);
        rows.extend(caught.map(|(at, caught)| caught_row(caught, figures.map(|all| all[at]))));
        if let Some(why) = rule.unbroken {
            rows.push([rule.id, &format!("none: {why}"), "", "", "", ""].map(str::to_owned));
        }
    }
    rows
}

fn caught_row(caught: &Caught, figures: Option<Figures>) -> Row {
    let steps = |figures: Figures| figures.steps.map_or("NOT CAUGHT".into(), |n| n.to_string());
    let states = figures.map_or_else(String::new, |figures| figures.states.to_string());
    [
        caught.mutant.rule().into(),
        quoted(caught.mutant),
        caught.preset.into(),
        caught.property.name().into(),
        states,
        figures.map_or_else(String::new, steps),
    ]
}

fn quoted(mutant: Mutant) -> String {
    format!("`{mutant}`")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mutants::CAUGHT;

    const DESIGNED: &str = "V1 V2 V3 V4 V5 V6 V7 C1 D1 Q1 Q2 Q3 H1 H2 H3 F1 T1 W1 L0 L1 L2 L3 L4";

    #[test]
    fn every_rule_and_every_mutant_is_in_the_table() {
        let ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.join(" "), DESIGNED);
        let rows = rows(None);
        for rule in RULES {
            let of_rule: Vec<&Row> = rows.iter().filter(|row| row[0] == rule.id).collect();
            assert!(!of_rule.is_empty(), "{} has no row", rule.id);
            let breaks = Mutant::ALL.iter().any(|mutant| mutant.rule() == rule.id);
            assert_ne!(
                breaks,
                rule.unbroken.is_some(),
                "{}: mutants, or why there are none",
                rule.id
            );
        }
        for mutant in Mutant::ALL {
            let of_mutant = rows.iter().filter(|row| row[1] == quoted(*mutant));
            let groups: BTreeSet<&str> = of_mutant.map(|row| row[0].as_str()).collect();
            assert_eq!(groups, BTreeSet::from([mutant.rule()]), "{mutant}");
        }
        let count = Caught::all().count();
        let unbroken = RULES.iter().filter(|rule| rule.unbroken.is_some()).count();
        assert_eq!(rows.len(), 2 + count + unbroken);
    }

    #[test]
    fn a_mutant_that_was_not_caught_says_so() {
        let row = |steps| caught_row(&CAUGHT[0], Some(Figures { states: 12, steps }));
        assert_eq!(row(Some(5))[4..], ["12", "5"]);
        assert_eq!(row(None)[4..], ["12", "NOT CAUGHT"]);
    }
}
