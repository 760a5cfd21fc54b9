//! The model alone: whoever edits a rule waits for two small crates.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use cartwheel_model::cli::{Args, Outcome, run};
use clap::Parser;

/// Explores what the core of Cartwheel can do, to the end.
#[derive(Parser)]
#[command(name = "cartwheel-model", version)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    let mut out = io::stdout();
    let outcome = match Line::try_parse() {
        Ok(line) => run(&line.args, &mut out),
        Err(error) => {
            let code = if error.use_stderr() { Outcome::BadArguments } else { Outcome::Holds };
            error.print().map(|()| code)
        }
    };
    match outcome.and_then(|outcome| out.flush().map(|()| outcome)) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(_) => ExitCode::from(255),
    }
}
