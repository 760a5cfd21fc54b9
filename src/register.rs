//! `cartwheel put`, `get` and `delete`: registers, with siblings and contexts.

use cartwheel_client::{Context, Found, Written};
use serde_json::json;

use crate::{
    connect::{Quorum, Target, block_on, failure},
    exit::{Exit, Failure},
    output,
};

/// Arguments of `cartwheel put`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel put colour red
  cartwheel put colour blue --context 01…      (replaces what that read showed)
  cartwheel put colour green -w 1 --node 127.0.0.1:7401

Without a context nothing is replaced: the value becomes a sibling.")]
pub(crate) struct PutArgs {
    /// The key
    key: String,
    /// The value, at most 1 MiB
    value: String,
    /// What `get` printed: exactly what it showed is replaced
    #[arg(long, value_name = "HEX")]
    context: Option<String>,
    /// The bucket
    #[arg(long, default_value = "default")]
    bucket: String,
    #[command(flatten)]
    quorum: Quorum,
    #[command(flatten)]
    target: Target,
}

/// Arguments of `cartwheel get`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel get colour
  cartwheel get colour --strict --json")]
pub(crate) struct GetArgs {
    /// The key
    key: String,
    /// The bucket
    #[arg(long, default_value = "default")]
    bucket: String,
    #[command(flatten)]
    quorum: Quorum,
    #[command(flatten)]
    target: Target,
}

/// Arguments of `cartwheel delete`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel delete colour                       (reads first, then removes what it was shown)
  cartwheel delete colour --context 01…")]
pub(crate) struct DeleteArgs {
    /// The key
    key: String,
    /// What `get` printed: exactly what it showed is removed
    #[arg(long, value_name = "HEX")]
    context: Option<String>,
    /// The bucket
    #[arg(long, default_value = "default")]
    bucket: String,
    #[command(flatten)]
    quorum: Quorum,
    #[command(flatten)]
    target: Target,
}

/// Puts one value.
pub(crate) fn put(args: &PutArgs) -> Result<Exit, Failure> {
    let context = args.context.as_deref().map(parse).transpose()?;
    block_on(async {
        let client = args.target.connect().await?;
        let options = args.target.options(&args.bucket, &args.quorum);
        let (key, value) = (args.key.as_bytes(), args.value.as_bytes());
        let put = client.put(key, context.as_ref(), value, &options).await;
        written(put.map_err(failure)?, args.target.json)
    })
}

/// Gets all values, and the context that a following put hands back.
pub(crate) fn get(args: &GetArgs) -> Result<Exit, Failure> {
    block_on(async {
        let client = args.target.connect().await?;
        let options = args.target.options(&args.bucket, &args.quorum);
        let found = client.get(args.key.as_bytes(), &options).await.map_err(failure)?;
        show(&found, args.target.json)
    })
}

/// Deletes what the context, or a read just before, has seen.
pub(crate) fn delete(args: &DeleteArgs) -> Result<Exit, Failure> {
    let context = args.context.as_deref().map(parse).transpose()?;
    block_on(async {
        let client = args.target.connect().await?;
        let options = args.target.options(&args.bucket, &args.quorum);
        let key = args.key.as_bytes();
        let context = match context {
            Some(context) => context,
            None => client.get(key, &options).await.map_err(failure)?.context,
        };
        let deleted = client.delete(key, Some(&context), &options).await.map_err(failure)?;
        written(deleted, args.target.json)
    })
}

fn parse(context: &str) -> Result<Context, Failure> {
    context.parse().map_err(failure)
}

fn show(found: &Found, as_json: bool) -> Result<Exit, Failure> {
    let values: Vec<_> = found.values.iter().map(|value| String::from_utf8_lossy(value)).collect();
    if as_json {
        output::json(&json!({
            "values": values,
            "context": found.context.to_string(),
            "owners": found.owners,
            "fallbacks": found.fallbacks,
        }))?;
        return Ok(Exit::Done);
    }
    match &values[..] {
        [] => output::line("no value"),
        [value] => output::line(value),
        siblings => {
            output::line(format!("{} siblings:", siblings.len()));
            siblings.iter().for_each(|value| output::line(format!("  {value}")));
        }
    }
    output::line(format!("context {}", found.context));
    Ok(Exit::Done)
}

/// Says where a write is held.
pub(crate) fn written(written: Written, as_json: bool) -> Result<Exit, Failure> {
    let Written { slots, nodes, zones } = written;
    if as_json {
        output::json(&json!({ "slots": slots, "nodes": nodes, "zones": zones }))?;
    } else {
        output::line(format!("written: {slots} slots, {nodes} nodes, {zones} zones hold it"));
    }
    Ok(Exit::Done)
}
