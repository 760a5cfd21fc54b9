//! What a campaign found, as `results.json` and as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use cartwheel_checker::Verdict;
use cartwheel_checker::cart;
use cartwheel_checker::writable::Writable;
use serde::Serialize;

use super::drive::{Driven, Plan};
use crate::fault::FaultKind;

/// How many things of a list the table names.
const MOST_NAMED: usize = 3;

/// The contents of `results.json`: the checker's result and what it is about.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Results {
    /// What the checker found. Its verdict is the campaign's: unknown, unless it is invalid, if
    /// something is `missing` or a node ended by itself.
    #[serde(flatten)]
    pub check: cart::Results,
    /// Whether writes were taken whenever a quorum was there for them; missing if that was not judged. It is part of the verdict.
    pub always_writable: Option<Writable>,
    /// What everything random followed from.
    pub seed: u64,
    /// What clients did.
    pub workload: &'static str,
    /// How many nodes there were.
    pub nodes: usize,
    /// How long clients worked, in seconds.
    pub time_limit_s: u64,
    /// How many faults of each kind changed something, and how many changes of the members that were begun were
    /// completed: `joins-completed` and so on.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many quiet points were reached.
    pub quiet_points: u64,
    /// How long the cluster took to become quiet after everything was healed, in milliseconds.
    pub quiet_after_ms: Option<u64>,
    /// How many acknowledged additions were on fewer nodes than their quorum when everything was healed, before it was waited
    /// for hints and owners; missing if that could not be seen, or if disks were lost or members changed. Reported
    /// only: the verdict rests on what is lost in the end.
    pub thin_count: Option<u64>,
    /// Why the history cannot tell whether the promise was kept.
    pub missing: Vec<String>,
    /// What went wrong with nodes that nobody disturbed.
    pub mishaps: Vec<String>,
    /// The rule that the nodes broke on purpose.
    pub mutant: Option<String>,
    /// The command that does the same again.
    pub command: String,
}

impl Results {
    /// Puts the checker's result and what else is known together.
    pub fn new(
        mut check: cart::Results,
        always_writable: Option<Writable>,
        plan: &Plan,
        driven: Driven,
        mishaps: Vec<String>,
        mutant: Option<String>,
        command: String,
    ) -> Self {
        let missing = driven.finale.missing;
        let doubts: Vec<_> = missing.iter().chain(&mishaps).cloned().collect();
        if !doubts.is_empty() {
            check.valid = check.valid.and(Verdict::Unknown);
            let error = check.error.into_iter().chain(doubts).collect::<Vec<_>>().join("; ");
            check.error = Some(error);
        }
        if always_writable.as_ref().is_some_and(|found| found.refused_count > 0) {
            check.valid = Verdict::Invalid;
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            check,
            always_writable,
            seed: plan.seed,
            workload: plan.workload.name(),
            nodes: plan.schedule.nodes,
            time_limit_s: plan.time_limit.as_secs(),
            faults: FaultKind::ALL
                .into_iter()
                .map(|kind| (kind.name(), driven.faults.get(&kind).copied().unwrap_or(0)))
                .chain(driven.completed)
                .collect(),
            quiet_points: driven.quiet_points,
            thin_count: driven.finale.thin,
            quiet_after_ms: driven.finale.quiet_after.map(millis),
            missing,
            mishaps,
            mutant,
            command,
        }
    }

    /// The verdict and what it rests on, one line each.
    pub fn table(&self) -> String {
        let check = &self.check;
        let mut table = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "  {name:<14} {value}");
        };
        row("verdict", check.valid.to_string().to_uppercase());
        row("additions", {
            let (acknowledged, attempts) = (check.acknowledged_count, check.attempt_count);
            format!(
                "{acknowledged} acknowledged of {attempts} attempted, {} carts",
                check.cart_count
            )
        });
        for (name, count, list) in [
            ("lost", check.lost_count, &check.lost),
            ("resurrected", check.resurrected_count, &check.resurrected),
            ("duplicated", check.duplicated_count, &check.duplicated),
            ("phantom", check.phantom_count, &check.phantom),
            ("denied", check.denied_count, &check.denied),
            ("stale strict", check.stale_strict_count, &check.stale_strict),
        ] {
            row(name, named(count, list));
        }
        let diverged: Vec<_> = check.diverged.iter().map(|cart| cart.cart.clone()).collect();
        row("diverged", named(check.diverged_count, &diverged));
        row("stale", {
            let worst = check.worst_stale_latency_ms;
            format!("{} in sloppy reads, the worst for {worst} ms (allowed)", check.stale_count)
        });
        row("sessions", {
            let (written, seen) = (check.read_your_writes_count, check.monotonic_reads_count);
            format!("{written} missed by who wrote them, {seen} by who had seen them (allowed)")
        });
        row("recovered", format!("{} of unknown outcome (allowed)", check.recovered_count));
        let faults: Vec<_> = self
            .faults
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(name, n)| format!("{n} {name}"))
            .collect();
        row("faults", if faults.is_empty() { "none".to_owned() } else { faults.join(", ") });
        if self.quiet_points > 0 {
            row("quiet points", self.quiet_points.to_string());
        }
        row("availability", {
            let fraction = check.availability.ok_fraction.unwrap_or(0.0) * 100.0;
            let gap = check.availability.longest_gap_ms.unwrap_or(0.0);
            format!("{fraction:.2} % of writes acknowledged, longest gap {gap:.0} ms")
        });
        if let Some(Writable { judged_count, refused_count, .. }) = &self.always_writable {
            let quorum = "writes for which a quorum was there";
            row("refused", format!("{refused_count} of {judged_count} {quorum}"));
        }
        if let Some(ms) = self.quiet_after_ms {
            row("quiet after", format!("{ms} ms"));
        }
        if let Some(thin) = self.thin_count {
            row("thin", format!("{thin} on fewer nodes than their quorum before quiet (allowed)"));
        }
        if let Some(error) = &check.error {
            row("because", error.clone());
        }
        row("again", self.command.clone());
        table
    }
}

fn named(count: u64, list: &[String]) -> String {
    if count == 0 {
        return "0".to_owned();
    }
    let more = if list.len() > MOST_NAMED { ", …" } else { "" };
    format!(
        "{count}: {}{more}",
        list.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ")
    )
}
