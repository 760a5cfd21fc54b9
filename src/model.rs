//! `cartwheel model` and `cartwheel replay`: the model's own command line, called as a library.

use std::io::{Write, stdout};

use cartwheel_model::cli::{self, Args, ReplayArgs, Task};

use crate::exit::{Exit, Failure};

/// Does what the model is asked.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let mut out = stdout();
    let outcome = cli::run(args, &mut out).and_then(|outcome| out.flush().map(|()| outcome));
    outcome.map(|outcome| Exit::of_code(outcome.code())).map_err(Failure::crashed)
}

/// Runs a saved trace again.
pub(crate) fn replay(args: ReplayArgs) -> Result<Exit, Failure> {
    run(&Args { task: Task::Replay(args) })
}
