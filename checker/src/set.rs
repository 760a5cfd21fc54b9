//! Jepsen's `set`: additions of unique elements, and one final read that must show what was
//! acknowledged and nothing that was not attempted.
//!
//! Definitions and result keys are Jepsen's: the final read is the *last* read that succeeded, a
//! failed addition that is found counts as recovered, and an element shown twice goes unnoticed
//! (see [`crate::duplicates`]).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use crate::{Event, EventType, Value, Verdict};

/// The result of checking a set history, with Jepsen's keys.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Results {
    /// Whether nothing is lost or unexpected; unknown if there was no read.
    #[serde(rename = "valid?")]
    pub valid: Verdict,
    /// Why the verdict is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was counted; nothing if the verdict is unknown.
    #[serde(flatten)]
    pub counts: Option<Counts>,
}

/// What a set checker counts. The sets are written as Jepsen writes them: `#{0..2 5}`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Distinct elements whose addition was invoked.
    pub attempt_count: usize,
    /// Distinct elements whose addition was acknowledged.
    pub acknowledged_count: usize,
    /// How many are `ok`.
    pub ok_count: usize,
    /// How many are `lost`.
    pub lost_count: usize,
    /// How many are `recovered`.
    pub recovered_count: usize,
    /// How many are `unexpected`.
    pub unexpected_count: usize,
    /// Attempted and in the final read.
    pub ok: String,
    /// Acknowledged and not in the final read.
    pub lost: String,
    /// In the final read, never attempted.
    pub unexpected: String,
    /// In the final read, attempted, not acknowledged.
    pub recovered: String,
}

/// Judges a set history.
pub fn check<'a>(events: impl IntoIterator<Item = &'a Event>) -> Results {
    let mut attempts = BTreeSet::new();
    let mut acknowledged = BTreeSet::new();
    let mut last_read = None;
    for event in events {
        match (event.f.as_str(), event.event_type) {
            ("add", EventType::Invoke) => {
                attempts.insert(&event.value);
            }
            ("add", EventType::Ok) => {
                acknowledged.insert(&event.value);
            }
            ("read", EventType::Ok) => last_read = Some(event),
            (_, _) => {}
        }
    }
    let Some(read) = last_read.filter(|read| read.value != Value::Nil) else {
        return unknown("Set was never read".to_owned());
    };
    let Some(shown) = read.value.elements() else {
        return unknown(format!("event {}: {} is no collection", read.index, read.value));
    };
    let shown: BTreeSet<&Value> = shown.into_iter().collect();
    count(&attempts, &acknowledged, &shown).unwrap_or_else(unknown)
}

fn count(
    attempts: &BTreeSet<&Value>,
    acknowledged: &BTreeSet<&Value>,
    shown: &BTreeSet<&Value>,
) -> Result<Results, String> {
    let ok: BTreeSet<_> = shown.intersection(attempts).copied().collect();
    let unexpected: BTreeSet<_> = shown.difference(attempts).copied().collect();
    let lost: BTreeSet<_> = acknowledged.difference(shown).copied().collect();
    let recovered: BTreeSet<_> = ok.difference(acknowledged).copied().collect();
    Ok(Results {
        valid: Verdict::from_bool(lost.is_empty() && unexpected.is_empty()),
        error: None,
        counts: Some(Counts {
            attempt_count: attempts.len(),
            acknowledged_count: acknowledged.len(),
            ok_count: ok.len(),
            lost_count: lost.len(),
            recovered_count: recovered.len(),
            unexpected_count: unexpected.len(),
            ok: intervals(&ok)?,
            lost: intervals(&lost)?,
            unexpected: intervals(&unexpected)?,
            recovered: intervals(&recovered)?,
        }),
    })
}

fn unknown(error: String) -> Results {
    Results { valid: Verdict::Unknown, error: Some(error), counts: None }
}

/// A set of whole numbers as runs: `#{0..2 5 7..9}`. With a nil among them the elements stand for
/// themselves; anything else is an error, as it is in Jepsen.
fn intervals(set: &BTreeSet<&Value>) -> Result<String, String> {
    if set.contains(&Value::Nil) {
        return Ok(Value::Set(set.iter().map(|value| (*value).clone()).collect()).to_string());
    }
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for element in set {
        let Value::Int(number) = element else {
            return Err(format!("the element {element} is no whole number"));
        };
        match runs.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(*number) => *end = *number,
            Some(_) | None => runs.push((*number, *number)),
        }
    }
    let mut text = String::from("#{");
    for (place, (start, end)) in runs.into_iter().enumerate() {
        let gap = if place > 0 { " " } else { "" };
        let written = if start == end {
            write!(text, "{gap}{start}")
        } else {
            write!(text, "{gap}{start}..{end}")
        };
        written.map_err(|error| error.to_string())?;
    }
    text.push('}');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{check, intervals};
    use crate::{Event, EventType, Process, Value, Verdict};

    fn run_of(numbers: &[i64]) -> String {
        let values: Vec<_> = numbers.iter().map(|number| Value::Int(*number)).collect();
        intervals(&values.iter().collect()).expect("whole numbers")
    }

    #[test]
    fn whole_numbers_are_written_as_runs() {
        assert_eq!(run_of(&[]), "#{}");
        assert_eq!(run_of(&[3]), "#{3}");
        assert_eq!(run_of(&[9, 0, 1, 2, 5, 7, 8]), "#{0..2 5 7..9}");
        assert_eq!(run_of(&[-2, -1, i64::MAX]), "#{-2..-1 9223372036854775807}");
    }

    #[test]
    fn elements_that_are_no_whole_numbers_are_unknown() {
        let client = Process::Client(0);
        let events = [
            Event::new(EventType::Invoke, client.clone(), "add", "a"),
            Event::new(EventType::Ok, client.clone(), "add", "a"),
            Event::new(EventType::Ok, client, "read", vec![Value::from("a")]),
        ];
        let results = check(&events);
        assert_eq!(results.valid, Verdict::Unknown);
        assert_eq!(results.error.as_deref(), Some("the element \"a\" is no whole number"));
    }
}
