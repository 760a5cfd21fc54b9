//! What people see while they wait: a bar on a terminal, a line every few seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far something of a known length has come.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    length: Duration,
    next_line: Duration,
}

impl Progress {
    /// Something that takes so long.
    pub fn new(length: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(length.as_secs());
            let style = ProgressStyle::with_template("{bar:40} {pos:>3}/{len} s  {msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, length, next_line: LINE_EVERY }
    }

    /// So much time has passed, and this is to be said.
    pub fn at(&mut self, passed: Duration, message: impl FnOnce() -> String) {
        let seconds = passed.min(self.length).as_secs();
        if let Some(bar) = &self.bar {
            bar.set_position(seconds);
            bar.set_message(message());
        } else if passed >= self.next_line {
            self.next_line = passed + LINE_EVERY;
            say(&format!("{seconds:>4} s  {}", message()));
        }
    }

    /// A new part of the work, of unknown length.
    pub fn part(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(message.to_owned()),
            None => say(message),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Prints a line at once. Who closed our output does not want it.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
