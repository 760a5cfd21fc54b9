//! `cartwheel record`: what an operator does about a single record.

use cartwheel_client::{Ask, Options};
use cartwheel_protocol::id::NodeId;
use serde_json::json;

use crate::{
    connect::{Target, block_on, failure},
    exit::{Exit, Failure},
    member::find,
    output,
};

/// Arguments of `cartwheel record`.
#[derive(clap::Args)]
#[command(after_help = "Example:
  cartwheel record accept-loss carts ann --at n3

A damaged record is mended by itself while enough other owners hold it. Where too many have lost it, it stays damaged, strict reads
of it are unavailable, and `status` and `quiet` go on counting it at its nodes. Accepting the loss at one of them keeps all that some owner
still holds or has taken since; what only the damaged copies held is lost for good.")]
pub(crate) struct RecordArgs {
    #[command(subcommand)]
    command: RecordCommand,
}

#[derive(clap::Subcommand)]
enum RecordCommand {
    /// Give up what only damaged copies of a record held
    AcceptLoss {
        /// The record's bucket
        bucket: String,
        /// The record's key
        key: String,
        /// The owner whose copy is damaged, by name or id
        #[arg(long, value_name = "NODE")]
        at: String,
        #[command(flatten)]
        target: Target,
    },
}

/// Does it.
pub(crate) fn run(args: &RecordArgs) -> Result<Exit, Failure> {
    let RecordCommand::AcceptLoss { bucket, key, at, target } = &args.command;
    block_on(async {
        let client = target.connect().await?;
        let members = client.members(target.within()).await.map_err(failure)?;
        let row = find(&members, at)?;
        let ask = Ask::Only(NodeId(row.node));
        let options = Options { ask, ..Options::bucket(bucket).within(target.within()) };
        let held = client.accept_loss(key.as_bytes(), &options).await.map_err(failure)?;
        let (name, left) = (&row.name, held.content);
        if target.json {
            output::json(&json!({ "node": name, "entries": left }))?;
        } else {
            output::line(format!(
                "accepted: what only damaged copies of {bucket}/{key} held is lost for good"
            ));
            output::line(format!(
                "{name} keeps the {left} values or additions that some owner still held; the other owners mend theirs \
                 from it"
            ));
        }
        Ok(Exit::Done)
    })
}
