//! What an exploration found, as tables.

use std::{
    io::{self, Write},
    time::Duration,
};

use cartwheel_protocol::rules::{Mutant, coverage};

use crate::{
    explore::{Report, Verdict},
    place::Asked,
    trace::Trace,
    witness::Witness,
};

/// How often progress is told.
pub(crate) const EVERY: Duration = Duration::from_secs(2);

pub(crate) fn title(asked: &Asked, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}", asked.place.name())?;
    for setting in &asked.settings {
        write!(out, " {setting}")?;
    }
    if let Some(mutant) = asked.mutant {
        write!(out, " with {mutant}")?;
    }
    writeln!(out, ": {}", asked.place.why())?;
    out.flush()
}

/// One line of progress. It is only for the eye: that it cannot be written stops nothing.
pub(crate) fn progress(states: u64, elapsed: Duration, out: &mut dyn Write) {
    let told = writeln!(out, "  … {states} states, {elapsed:.0?}, {:.0}/s", rate(states, elapsed));
    drop(told.and_then(|()| out.flush()));
}

/// The numbers, the witnesses, and the trace if something is wrong, with its `story`.
pub(crate) fn summary<A>(
    asked: &Asked,
    report: &Report<A>,
    story: impl Fn(&Trace<A>) -> String,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Report { states, generated, depth, elapsed, .. } = report;
    let per_second = rate(*states, *elapsed);
    let bytes = report.grown_bytes.map(|bytes| bytes / (*states).max(1));
    let bytes = bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes/state"));
    writeln!(
        out,
        "  {states} states ({generated} generated), depth {depth}, {elapsed:.2?}, \
         {per_second:.0} states/s{bytes}"
    )?;
    for (witness, count) in report.witnesses.iter().filter(|(_, count)| *count > 0) {
        writeln!(out, "  {count:>12} × {witness}")?;
    }
    match &report.verdict {
        Verdict::Complete => {
            writeln!(out, "  explored to the end: all properties hold")?;
            for witness in missing(asked, report) {
                writeln!(out, "  but it shows nothing: never seen: {witness}")?;
            }
        }
        Verdict::Incomplete(limit) => {
            writeln!(out, "  INCOMPLETE: {limit} was met; nothing wrong until then")?;
        }
        Verdict::Violated(trace) => {
            let steps = trace.actions.len();
            writeln!(out, "  VIOLATED: {} ({steps} steps)", trace.property)?;
            writeln!(out, "{}", story(trace))?;
        }
    }
    Ok(())
}

/// The witnesses that the preset needs and that were not seen.
pub(crate) fn missing<A>(asked: &Asked, report: &Report<A>) -> Vec<Witness> {
    let seen = |witness: &Witness| report.witnesses.iter().any(|(w, n)| w == witness && *n > 0);
    asked.place.needs().iter().copied().filter(|witness| !seen(witness)).collect()
}

/// What one exploration came to.
pub(crate) struct Count {
    name: String,
    states: u64,
    depth: usize,
    pub(crate) elapsed: Duration,
    ended: &'static str,
}

impl Count {
    pub(crate) fn of<A>(asked: &Asked, report: &Report<A>) -> Self {
        let settings = asked.settings.iter().map(|setting| format!(" {setting}"));
        let mutant = asked.mutant.map(|mutant| format!(" with {mutant}"));
        let name = settings.chain(mutant).fold(asked.place.name().to_owned(), |all, s| all + &s);
        let ended = match report.verdict {
            Verdict::Complete => "to the end",
            Verdict::Incomplete(_) => "INCOMPLETE",
            Verdict::Violated(_) => "VIOLATED",
        };
        Self { name, states: report.states, depth: report.depth, elapsed: report.elapsed, ended }
    }
}

/// A table in Markdown, so that it can stand in the documentation as it is.
pub(crate) fn counts(counts: &[Count], out: &mut dyn Write) -> io::Result<()> {
    let width = counts.iter().map(|count| count.name.chars().count()).max().unwrap_or(0).max(6);
    writeln!(out, "| {:width$} | unique states | depth | seconds | explored   |", "preset")?;
    writeln!(out, "| {:width$} | ------------: | ----: | ------: | ---        |", "---")?;
    for Count { name, states, depth, elapsed, ended } in counts {
        let seconds = elapsed.as_secs_f64();
        writeln!(
            out,
            "| {name:width$} | {states:>13} | {depth:>5} | {seconds:>7.1} | {ended:10} |"
        )?;
    }
    Ok(())
}

fn rate(states: u64, elapsed: Duration) -> f64 {
    states as f64 / elapsed.as_secs_f64().max(1e-6)
}

/// How often the core asked for each rule, at some moment.
pub(crate) struct Coverage(Vec<Option<u64>>);

impl Coverage {
    pub(crate) fn now() -> Self {
        Self(Mutant::ALL.iter().map(|mutant| coverage(*mutant)).collect())
    }

    /// The rules that were asked for since.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let since = Mutant::ALL
            .iter()
            .zip(&self.0)
            .filter_map(|(mutant, before)| Some((*mutant, coverage(*mutant)? - (*before)?)));
        for (mutant, count) in since.filter(|(_, count)| *count > 0) {
            writeln!(out, "  {count:>12} asked of {} (against {mutant})", mutant.rule())?;
        }
        Ok(())
    }
}
