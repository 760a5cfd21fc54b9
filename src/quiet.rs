//! `cartwheel quiet`: waits until nothing is under way in the cluster.

use std::time::Duration;

use serde_json::json;

use crate::{
    connect::{Target, block_on},
    exit::{Exit, Failure},
    output,
};

/// Arguments of `cartwheel quiet`.
#[derive(clap::Args)]
#[command(after_help = "Example:
  cartwheel quiet --timeout 60000

Exit codes: 0 the cluster is quiet, 2 it was not in time.")]
pub(crate) struct QuietArgs {
    #[command(flatten)]
    target: Target,
}

/// Waits, and says what for.
pub(crate) fn run(args: &QuietArgs) -> Result<Exit, Failure> {
    let within: Duration = args.target.within();
    let as_json = args.target.json;
    block_on(async {
        let client = args.target.connect().await?;
        let tell = |waits_for: &[String]| {
            if !as_json {
                output::line(format!("waits: {}", waits_for.join("; ")));
            }
        };
        let ended = client.quiet(within, tell).await;
        let waits_for = ended.as_ref().err().map(|not| not.waits_for.clone()).unwrap_or_default();
        if as_json {
            output::json(&json!({ "quiet": ended.is_ok(), "waits_for": waits_for }))?;
        } else if ended.is_ok() {
            output::line("quiet");
        }
        ended.map(|()| Exit::Done).map_err(|not| Failure::new(Exit::Unknown, not))
    })
}
