//! `cartwheel status` and `cartwheel ring`: how the nodes are, and who owns what.

use cartwheel_client::{
    Connecting, Connection,
    members::{Members, RowSeen, TreeRange, ZoneRange},
    service::{Directory, Seat, Status},
};
use cartwheel_protocol::{
    bucket::BucketName,
    id::NodeId,
    key::{Key, Partition},
};
use serde_json::json;

use crate::{
    connect::{Target, block_on, failure},
    exit::{Exit, Failure},
    member::{members_json, no_bucket, row_line},
    output,
};

/// Arguments of `cartwheel status`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel status
  cartwheel status --json --node 127.0.0.1:7401")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    target: Target,
}

/// Arguments of `cartwheel ring`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel ring                      (members, and how much each owns)
  cartwheel ring ann --bucket carts   (the owners of one key)")]
pub(crate) struct RingArgs {
    /// A key: its partition and owners are shown
    key: Option<String>,
    /// The key's bucket
    #[arg(long, default_value = "default")]
    bucket: String,
    #[command(flatten)]
    target: Target,
}

/// Asks every member how it is.
pub(crate) fn status(args: &StatusArgs) -> Result<Exit, Failure> {
    block_on(async {
        let client = args.target.connect().await?;
        let members = client.members(args.target.within()).await.map_err(failure)?;
        let mut all_answer = true;
        let mut lines = Vec::new();
        if !args.target.json {
            cluster(&members);
        }
        let is_listed = |row: &&RowSeen| row.status != "removed";
        for row in members.rows.iter().filter(is_listed) {
            let asked = tokio::time::timeout(args.target.within(), ask(row, &args.target)).await;
            match asked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                Ok((status, seen)) if args.target.json => {
                    let mut line = json!(status);
                    line["membership"] = members_json(&seen);
                    lines.push(line);
                }
                Ok((status, seen)) => {
                    describe(&members, &status);
                    trees(&seen);
                }
                Err(why) => {
                    all_answer = false;
                    if args.target.json {
                        lines.push(json!({ "name": row.name, "error": why }));
                    } else {
                        output::line(format!("{} {}: {why}", row.name, NodeId(row.node)));
                    }
                }
            }
        }
        if args.target.json {
            output::json(&lines)?;
        }
        Ok(if all_answer { Exit::Done } else { Exit::Failed })
    })
}

/// Shows the layout, or one key's place in it.
pub(crate) fn ring(args: &RingArgs) -> Result<Exit, Failure> {
    block_on(async {
        let directory = args.target.directory().await?;
        match &args.key {
            Some(key) => place(&directory, &args.bucket, key, args.target.json),
            None => members(&directory, args.target.json),
        }
    })
}

/// Asks one node how it is and what it knows of the members.
pub(crate) async fn ask(row: &RowSeen, target: &Target) -> Result<(Status, Members), String> {
    let open = Connection::open(&row.address, &Connecting::default()).await;
    let connection = open.map_err(|error| error.to_string())?;
    if connection.node().0 != row.node {
        return Err(format!("{} answers there", connection.node()));
    }
    let status = connection.status(target.within()).await.map_err(|error| error.to_string())?;
    let members = connection.members(target.within()).await.map_err(|error| error.to_string())?;
    Ok((status, members))
}

/// So many ranges of partitions are shown.
const RANGES: usize = 12;

/// The cluster as one node sees it.
fn cluster(members: &Members) {
    let Some(view) = &members.view else {
        return output::line(format!("{} has no view yet", members.name));
    };
    match view.next {
        None => output::line(format!("layout {}", view.layout)),
        Some(next) => {
            output::line(format!("layout {}, changing to {next}", view.layout));
        }
    }
    members.rows.iter().for_each(|row| output::line(format!("  {}", row_line(row))));
    for wish in &members.staged {
        output::line(format!("  staged {:032x} {}: {}", wish.id, wish.text, wish.why));
    }
    for range in view.zones.iter().take(RANGES) {
        let ZoneRange { n, first, last, zones } = range;
        output::line(format!("  n={n} partitions {first} to {last}: in {zones} zones"));
    }
    if let Some(more) = view.zones.len().checked_sub(RANGES).filter(|more| *more > 0) {
        output::line(format!("  and {more} ranges more (--json shows all)"));
    }
}

fn describe(members: &Members, status: &Status) {
    let name = |node: &u64| members.name_of(*node);
    let names = |nodes: &[u64]| nodes.iter().map(name).collect::<Vec<_>>().join(" ");
    output::line(format!("{} {}", status.name, NodeId(status.node)));
    output::line(format!("  version    {}", status.version));
    if let Some(mutant) = &status.mutant {
        output::line(format!("  MUTANT     {mutant}"));
    }
    output::line(format!("  view       {}, engine {}", status.view, status.engine));
    output::line(format!("  connected  {}", names(&status.connected)));
    if !status.suspected.is_empty() {
        output::line(format!("  suspects   {}", names(&status.suspected)));
    }
    for (what, count) in &status.counts {
        output::line(format!("  {count:>9}  {what}"));
    }
}

/// The node's trees, and its exchanges with other owners.
fn trees(members: &Members) {
    let left: u64 = members.shards.iter().map(|shard| shard.trees_left).sum();
    if left > 0 {
        output::line(format!("  builds the trees of {left} partitions"));
    }
    for TreeRange { first, last, trees, compared, oldest_ms, repaired } in &members.trees {
        let seconds = *oldest_ms as f64 / 1_000.0;
        let when = match (trees, compared) {
            (0, _) => continue,
            (_, 0) => "never".to_owned(),
            (trees, compared) if compared < trees => {
                format!("{compared} of them, {seconds:.1} s ago")
            }
            _ => format!("{seconds:.1} s ago at the latest"),
        };
        output::line(format!(
            "  partitions {first} to {last}: {trees} trees, full exchange {when}, {repaired} keys repaired"
        ));
    }
}

fn place(directory: &Directory, bucket: &str, key: &str, as_json: bool) -> Result<Exit, Failure> {
    let names = || no_bucket(directory, bucket);
    let known = directory.bucket(bucket).ok_or_else(names)?;
    let name = BucketName::new(&known.name).ok_or_else(names)?;
    let key = Key::new(name, key.as_bytes());
    let owners = directory.owners(&key);
    let partition = directory.partition(&key).unwrap_or(Partition(0));
    if as_json {
        let owners: Vec<&str> = owners.iter().map(|seat| seat.name.as_str()).collect();
        output::json(&json!({ "partition": partition.0, "owners": owners }))?;
        return Ok(Exit::Done);
    }
    output::line(format!("{key} is in partition {} of {}", partition.0, directory.partitions));
    owners.iter().for_each(|seat| output::line(format!("  {seat}")));
    Ok(Exit::Done)
}

fn members(directory: &Directory, as_json: bool) -> Result<Exit, Failure> {
    let owned = |index: usize| {
        directory.owners.iter().filter(|owner| usize::from(**owner) == index).count()
    };
    let first = |index: usize| {
        let width = usize::from(directory.width.max(1));
        directory.owners.iter().step_by(width).filter(|o| usize::from(**o) == index).count()
    };
    if as_json {
        let member = |(index, seat): (usize, &Seat)| {
            json!({ "name": seat.name, "id": NodeId(seat.node).to_string(), "zone": seat.zone,
                "address": seat.address, "weight": seat.weight, "slots": owned(index),
                "first": first(index) })
        };
        let members: Vec<_> = directory.members.iter().enumerate().map(member).collect();
        output::json(&json!({ "layout": directory.layout, "members": members }))?;
        return Ok(Exit::Done);
    }
    output::line(format!(
        "layout {}, {} partitions, {} owners each",
        directory.layout, directory.partitions, directory.width
    ));
    output::line(format!(
        "{:<10} {:<6} {:>6} {:>6} {:>6}  address",
        "name", "zone", "weight", "slots", "first"
    ));
    for (index, seat) in directory.members.iter().enumerate() {
        output::line(format!(
            "{:<10} {:<6} {:>6} {:>6} {:>6}  {}",
            seat.name,
            seat.zone,
            seat.weight,
            owned(index),
            first(index),
            seat.address
        ));
    }
    Ok(Exit::Done)
}
