//! `cartwheel put`, `get` and `delete`: registers, with siblings and contexts.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    path::PathBuf,
};

use cartwheel_client::{Context, Found, Written};
use cartwheel_protocol::limits::MAX_VALUE;
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
  cartwheel put photo --file photo.png          (- is standard input)

Without a context nothing is replaced: the value becomes a sibling.")]
pub(crate) struct PutArgs {
    /// The key
    key: String,
    /// The value, at most 1 MiB
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    value: Option<String>,
    /// A file with the value, byte for byte; - is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
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
  cartwheel get colour --strict --json
  cartwheel get photo --raw > photo.png")]
pub(crate) struct GetArgs {
    /// The key
    key: String,
    /// Write the only value as it is, byte for byte, and no context
    #[arg(long, conflicts_with = "json")]
    raw: bool,
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
    let value = value(args)?;
    block_on(async {
        let client = args.target.connect().await?;
        let options = args.target.options(&args.bucket, &args.quorum);
        let put = client.put(args.key.as_bytes(), context.as_ref(), &value, &options).await;
        written(put.map_err(failure)?, args.target.json)
    })
}

/// Gets all values, and the context that a following put hands back.
pub(crate) fn get(args: &GetArgs) -> Result<Exit, Failure> {
    block_on(async {
        let client = args.target.connect().await?;
        let options = args.target.options(&args.bucket, &args.quorum);
        let found = client.get(args.key.as_bytes(), &options).await.map_err(failure)?;
        if args.raw { show_raw(&found) } else { show(&found, args.target.json) }
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

/// What is to be put.
fn value(args: &PutArgs) -> Result<Vec<u8>, Failure> {
    let Some(path) = &args.file else {
        return Ok(args.value.clone().unwrap_or_default().into_bytes());
    };
    let mut bytes = Vec::new();
    let is_input = path.as_os_str() == "-";
    // One more byte than is allowed: how much too much it is does not matter.
    let most = MAX_VALUE as u64 + 1;
    let read = if is_input {
        std::io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    let cannot = |why| Failure::arguments(format!("{} cannot be read: {why}", path.display()));
    read.map_err(cannot).map(|_| bytes)
}

/// The only value, byte for byte. To choose among siblings is not for a pipe.
fn show_raw(found: &Found) -> Result<Exit, Failure> {
    let [value] = &found.values[..] else {
        let count = found.values.len();
        return Err(Failure::new(
            Exit::Failed,
            format!("there are {count} values; --raw writes one, and without it all are shown"),
        ));
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(value).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::crashed(error)),
        // Nor is a reader that goes away an error elsewhere.
        Ok(()) | Err(_) => Ok(Exit::Done),
    }
}

/// A value as JSON: a string, or an object with its bytes where it is no text.
fn as_json(value: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": hex(value) }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value for the eye.
fn as_text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{} bytes that are no text", value.len()),
    }
}

fn show(found: &Found, is_json: bool) -> Result<Exit, Failure> {
    if is_json {
        output::json(&json!({
            "values": found.values.iter().map(|value| as_json(value)).collect::<Vec<_>>(),
            "context": found.context.to_string(),
            "owners": found.owners,
            "fallbacks": found.fallbacks,
        }))?;
        return Ok(Exit::Done);
    }
    let values: Vec<_> = found.values.iter().map(|value| as_text(value)).collect();
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

/// Where a write is held, as an object.
pub(crate) fn where_held(written: &Written) -> serde_json::Value {
    let Written { slots, nodes, zones } = written;
    json!({ "slots": slots, "nodes": nodes, "zones": zones })
}

/// Says where a write is held.
pub(crate) fn written(written: Written, as_json: bool) -> Result<Exit, Failure> {
    if as_json {
        output::json(&where_held(&written))?;
    } else {
        let Written { slots, nodes, zones } = written;
        output::line(format!("written: {slots} slots, {nodes} nodes, {zones} zones hold it"));
    }
    Ok(Exit::Done)
}
