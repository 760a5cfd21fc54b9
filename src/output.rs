//! What the command prints: results on standard output, errors on standard error. Colour is for terminals only.

use std::io::{IsTerminal, Write, stderr, stdout};

use serde::Serialize;

use crate::exit::Failure;

/// A line on standard output. A reader that went away ends the output and nothing else.
pub(crate) fn line(text: impl std::fmt::Display) {
    let _ = writeln!(stdout(), "{text}");
}

/// A value as one JSON document.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(Failure::crashed)?);
    Ok(())
}

/// Whether standard error shows colours: a terminal, and nobody said otherwise.
pub(crate) fn colours_stderr() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// What went wrong.
pub(crate) fn error(failure: &Failure) {
    let label = if colours_stderr() { "\u{1b}[1;31merror\u{1b}[0m" } else { "error" };
    let _ = writeln!(stderr(), "{label}: {failure}");
}
