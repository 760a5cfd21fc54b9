//! `cartwheel campaign`: a live cluster of this very program, broken on a seeded schedule and judged.

use cartwheel_harness::campaign::{self, CampaignArgs};

use crate::{
    exit::{Exit, Failure},
    program, serve,
};

/// Runs the campaign; its progress and verdict are printed on the way.
pub(crate) fn run(args: &CampaignArgs) -> Result<Exit, Failure> {
    program::check_mutant(args.mutant.as_deref())?;
    serve::check_node_options(&args.node_options())?;
    let outcome = campaign::run(args, &program::path()?);
    let exit = Exit::of_code(outcome.exit_code);
    match outcome.error {
        Some(error) => Err(Failure::new(exit, error)),
        None => Ok(exit),
    }
}
