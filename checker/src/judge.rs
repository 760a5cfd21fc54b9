//! A file and the name of a checker in, a verdict and its results out: what a command needs.

use std::path::Path;
use std::str::FromStr;

use crate::{Event, Verdict, cart, duplicates, read_history, set, set_full, writable};

/// How many of three owners a majority may miss, and w=2.
const MAY_MISS: usize = 1;

/// The checkers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Judge {
    /// [`cart`].
    Cart,
    /// [`writable`], with quorums that one of three owners may miss.
    Writable,
    /// [`set`].
    Set,
    /// [`set_full`], eventual or linearizable.
    SetFull(set_full::Options),
}

/// A verdict with what it rests on.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The conclusion.
    pub verdict: Verdict,
    /// The checker's whole result, under its own keys.
    pub results: serde_json::Value,
    /// Elements shown twice, which Jepsen's checkers do not see; only for those. Reported beside
    /// the verdict, not part of it.
    pub duplicates: Option<duplicates::Results>,
}

impl Judge {
    /// The names that [`Judge::from_str`] knows.
    pub const NAMES: [&'static str; 5] =
        ["cart", "writable", "set", "set-full", "set-full-linearizable"];

    /// Checks a history file. A file that cannot be read is unknown, and `error` in the results
    /// says why, with the line.
    ///
    /// # Errors
    /// Results that JSON cannot hold; no checker makes any.
    pub fn check_file(self, path: impl AsRef<Path>) -> serde_json::Result<Judgement> {
        let path = path.as_ref();
        match self {
            Self::Cart => {
                let results = cart::check_file(path);
                let verdict = results.valid;
                let results = serde_json::to_value(results)?;
                Ok(Judgement { verdict, results, duplicates: None })
            }
            Self::Writable => judged(path, |events| {
                let results = writable::check(events, MAY_MISS);
                let verdict = results.verdict();
                let mut results = serde_json::to_value(results)?;
                results["valid?"] = serde_json::to_value(verdict)?;
                Ok(Judgement { verdict, results, duplicates: None })
            }),
            Self::Set => judged(path, |events| {
                let results = set::check(events);
                of_elements(events, results.valid, serde_json::to_value(results)?)
            }),
            Self::SetFull(options) => judged(path, |events| {
                let results = set_full::check(events, options);
                of_elements(events, results.valid, serde_json::to_value(results)?)
            }),
        }
    }
}

/// Judges the events of a file; one that cannot be read is unknown.
fn judged(
    path: &Path,
    judge: impl FnOnce(&[Event]) -> serde_json::Result<Judgement>,
) -> serde_json::Result<Judgement> {
    match read_history(path) {
        Ok(events) => judge(&events),
        Err(error) => {
            let verdict = Verdict::Unknown;
            let results = serde_json::json!({ "valid?": verdict, "error": error.to_string() });
            Ok(Judgement { verdict, results, duplicates: None })
        }
    }
}

fn of_elements(
    events: &[Event],
    verdict: Verdict,
    results: serde_json::Value,
) -> serde_json::Result<Judgement> {
    Ok(Judgement { verdict, results, duplicates: Some(duplicates::check(events)) })
}

impl FromStr for Judge {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "cart" => Ok(Self::Cart),
            "writable" => Ok(Self::Writable),
            "set" => Ok(Self::Set),
            "set-full" => Ok(Self::SetFull(set_full::Options { linearizable: false })),
            "set-full-linearizable" => Ok(Self::SetFull(set_full::Options { linearizable: true })),
            other => Err(format!("{other} is no checker; there are {}", Self::NAMES.join(", "))),
        }
    }
}
