//! `cartwheel member` and `cartwheel bucket`: changes of the layout, their plans, and how far they are.

mod follow;
mod show;

use std::collections::BTreeMap;

use cartwheel_client::{
    Client, Error,
    members::{Fate, Members, NewWish, RowSeen, StageError, Wish},
    service::{BucketEntry, Directory, Seat, Status},
};

use crate::{
    connect::{LONGEST_WAIT_S, Target, block_on, failure},
    exit::{Exit, Failure},
    inspect::ask,
    output,
};

use follow::follow;
use show::show_plan;
pub(crate) use show::{members_json, row_line};

/// Arguments of `cartwheel member`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel member list
  cartwheel member leave n3 --plan         (what would move; nothing is changed)
  cartwheel member leave n3                (waits until n3 has handed everything off)
  cartwheel member replace n3 n5
  cartwheel member remove n3 --accept-loss

NODE is a name (n3) or an id (n3fa77…). A node that was started with --seed and --join joins by itself.")]
pub(crate) struct MemberArgs {
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(clap::Subcommand)]
enum MemberCommand {
    /// List the nodes, and the wishes that wait
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Make a node that was started with --seed a member
    Join {
        /// The node, by name or id
        #[arg(value_name = "NODE")]
        member: String,
        /// Its zone
        #[arg(long, default_value = "z1")]
        zone: String,
        /// Its weight
        #[arg(long, default_value_t = 1)]
        weight: u32,
        #[command(flatten)]
        how: How,
    },
    /// Let a living member go: it hands everything off
    Leave {
        /// The node, by name or id
        #[arg(value_name = "NODE")]
        member: String,
        #[command(flatten)]
        how: How,
    },
    /// Take out a dead member
    Remove {
        /// The node, by name or id
        #[arg(value_name = "NODE")]
        member: String,
        #[command(flatten)]
        how: How,
    },
    /// Let a new node of the same zone take a member's place
    Replace {
        /// The member that goes
        old: String,
        /// The node that takes its place
        new: String,
        #[command(flatten)]
        how: How,
    },
    /// Change a member's weight: its share is in proportion
    Weight {
        /// The node, by name or id
        #[arg(value_name = "NODE")]
        member: String,
        /// Its weight
        weight: u32,
        #[command(flatten)]
        how: How,
    },
    /// Change a member's zone
    Zone {
        /// The node, by name or id
        #[arg(value_name = "NODE")]
        member: String,
        /// Its zone
        zone: String,
        #[command(flatten)]
        how: How,
    },
    /// Give up a former member that drains: its disk is lost, what it holds is refused from now on
    Forget {
        /// The node, by name or id
        #[arg(value_name = "NODE")]
        member: String,
        #[command(flatten)]
        how: How,
    },
    /// Take a staged wish back, also one under way
    Withdraw {
        /// The wish's id as `member list` shows it
        id: String,
        #[command(flatten)]
        how: How,
    },
}

/// Arguments of `cartwheel bucket`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel bucket list
  cartwheel bucket create orders --kind cart
  cartwheel bucket create sessions --conflict last-write-wins -n 2
  cartwheel bucket set orders -r 1 -w 3")]
pub(crate) struct BucketArgs {
    #[command(subcommand)]
    command: BucketCommand,
}

#[derive(clap::Subcommand)]
enum BucketCommand {
    /// List the buckets
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Create a bucket: all but r and w is fixed from then on
    Create {
        /// Its name
        name: String,
        /// register or cart
        #[arg(long, default_value = "register", value_parser = ["register", "cart"])]
        kind: String,
        /// siblings or last-write-wins
        #[arg(long, default_value = "siblings", value_parser = ["siblings", "last-write-wins"])]
        conflict: String,
        /// Whether copies are spread over nodes or over zones
        #[arg(long, default_value = "node", value_parser = ["node", "zone"])]
        spread: String,
        /// How many owners a key has
        #[arg(short = 'n', default_value_t = 3)]
        n: u8,
        /// The least r of a strict read [default: a majority]
        #[arg(long)]
        strict_r: Option<u8>,
        /// The least w of a strict write [default: a majority]
        #[arg(long)]
        strict_w: Option<u8>,
        /// How many cancelled additions a cart remembers
        #[arg(long, default_value_t = 2_048)]
        cancelled_bound: u32,
        /// How many nodes must answer a read [default: a majority]
        #[arg(short = 'r')]
        r: Option<u8>,
        /// How many slots must hold a write [default: a majority]
        #[arg(short = 'w')]
        w: Option<u8>,
        #[command(flatten)]
        how: How,
    },
    /// Change the defaults of r and w
    Set {
        /// The bucket
        name: String,
        /// How many nodes must answer a read
        #[arg(short = 'r')]
        r: Option<u8>,
        /// How many slots must hold a write
        #[arg(short = 'w')]
        w: Option<u8>,
        #[command(flatten)]
        how: How,
    },
}

/// Flags of every change.
#[derive(clap::Args)]
struct How {
    /// Show what would happen, and change nothing
    #[arg(long)]
    plan: bool,
    /// Stage it and do not wait
    #[arg(long)]
    no_wait: bool,
    /// Give up what only dead owners hold, and accept fewer zones
    #[arg(long)]
    accept_loss: bool,
    /// How long to wait until it is done, in seconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(..=LONGEST_WAIT_S))]
    wait: u64,
    #[command(flatten)]
    target: Target,
}

impl MemberCommand {
    /// How it is carried out; nothing changes without.
    fn how(&self) -> Result<&How, &Target> {
        match self {
            Self::List { target } => Err(target),
            Self::Join { how, .. }
            | Self::Leave { how, .. }
            | Self::Remove { how, .. }
            | Self::Replace { how, .. }
            | Self::Weight { how, .. }
            | Self::Zone { how, .. }
            | Self::Forget { how, .. }
            | Self::Withdraw { how, .. } => Ok(how),
        }
    }

    /// What is wished for, of nodes that are known.
    fn wish(&self, all: &Members) -> Result<Option<Wish>, Failure> {
        Ok(Some(match self {
            Self::List { .. } => return Ok(None),
            Self::Join { member, zone, weight, .. } => {
                Wish::Join(seat(find(all, member)?, zone, *weight))
            }
            Self::Leave { member, .. } => Wish::Leave(find(all, member)?.node),
            Self::Remove { member, .. } => Wish::Remove(find(all, member)?.node),
            Self::Replace { old, new, .. } => replace(all, old, new)?,
            Self::Weight { member, weight, .. } => Wish::Weight(find(all, member)?.node, *weight),
            Self::Zone { member, zone, .. } => Wish::Zone(find(all, member)?.node, zone.clone()),
            Self::Forget { member, .. } => Wish::Forget(find(all, member)?.node),
            Self::Withdraw { id, .. } => Wish::Withdraw(wish_id(all, id)?),
        }))
    }
}

/// Runs `cartwheel member`.
pub(crate) fn member(args: &MemberArgs) -> Result<Exit, Failure> {
    block_on(async {
        let how = match args.command.how() {
            Ok(how) => how,
            Err(target) => return list(target).await,
        };
        let client = how.target.connect().await?;
        let members = client.members(how.target.within()).await.map_err(failure)?;
        match args.command.wish(&members)? {
            Some(wish) => carry_out(&client, &members, wish, how).await,
            None => Ok(Exit::Done),
        }
    })
}

/// Runs `cartwheel bucket`.
pub(crate) fn bucket(args: &BucketArgs) -> Result<Exit, Failure> {
    block_on(async {
        let (how, wish) = match &args.command {
            BucketCommand::List { target } => return buckets(target).await,
            BucketCommand::Create {
                name,
                kind,
                conflict,
                spread,
                n,
                strict_r,
                strict_w,
                cancelled_bound,
                r,
                w,
                how,
            } => {
                let majority = n / 2 + 1;
                let entry = BucketEntry {
                    name: name.clone(),
                    n: *n,
                    is_cart: kind == "cart",
                    is_last_write_wins: conflict == "last-write-wins",
                    is_spread_over_zones: spread == "zone",
                    strict_r: strict_r.unwrap_or(majority),
                    strict_w: strict_w.unwrap_or(majority),
                    cancelled_bound: *cancelled_bound,
                    r: r.unwrap_or(majority),
                    w: w.unwrap_or(majority),
                };
                (how, Wish::BucketCreate(entry))
            }
            BucketCommand::Set { name, r, w, how } => {
                let directory = how.target.directory().await?;
                let known = directory.bucket(name).ok_or_else(|| no_bucket(&directory, name))?;
                let (r, w) = (r.unwrap_or(known.r), w.unwrap_or(known.w));
                (how, Wish::BucketSet { name: name.clone(), r, w })
            }
        };
        let client = how.target.connect().await?;
        let members = client.members(how.target.within()).await.map_err(failure)?;
        carry_out(&client, &members, wish, how).await
    })
}

/// There is no such bucket.
pub(crate) fn no_bucket(directory: &Directory, name: &str) -> Failure {
    let names: Vec<&str> = directory.buckets.iter().map(|bucket| bucket.name.as_str()).collect();
    Failure::arguments(format!("there is no bucket {name}; there are {}", names.join(", ")))
}

/// The node of that name or id.
pub(crate) fn find<'a>(members: &'a Members, node: &str) -> Result<&'a RowSeen, Failure> {
    members.node(node).ok_or_else(|| {
        let known = members.rows.iter().filter(|row| row.status != "removed");
        let mut names: Vec<&str> = known.map(|row| row.name.as_str()).collect();
        names.sort_unstable();
        Failure::arguments(format!("there is no node {node}; there are {}", names.join(", ")))
    })
}

fn seat(row: &RowSeen, zone: &str, weight: u32) -> Seat {
    let (name, address) = (row.name.clone(), row.address.clone());
    Seat { node: row.node, name, address, zone: zone.to_owned(), weight }
}

/// The new node takes the zone of the old one, and its weight. If both have one name, the member is the old one and
/// the new one is whoever is no member yet.
fn replace(all: &Members, old: &str, new: &str) -> Result<Wish, Failure> {
    let old = find(all, old)?;
    let is_new = |row: &&RowSeen| row.name == new && row.zone.is_none() && row.status == "joining";
    let new = match all.rows.iter().find(is_new) {
        Some(row) => row,
        None => find(all, new)?,
    };
    let zone = old.zone.clone().unwrap_or_else(|| "z1".to_owned());
    let weight = old.weight.unwrap_or(1);
    Ok(Wish::Replace { old: old.node, new: seat(new, &zone, weight) })
}

/// The staged or running wish whose id begins so.
fn wish_id(all: &Members, text: &str) -> Result<u128, Failure> {
    let running = all.view.iter().flat_map(|view| view.under_way.iter().copied());
    let mut known: Vec<u128> = all.staged.iter().map(|wish| wish.id).chain(running).collect();
    known.sort_unstable();
    known.dedup();
    let text = text.trim_start_matches('#');
    let is_meant = |id: &&u128| format!("{id:032x}").starts_with(text);
    let meant: Vec<&u128> = known.iter().filter(is_meant).collect();
    match meant[..] {
        [id] if !text.is_empty() => Ok(*id),
        [] => Err(Failure::arguments(format!("no wish with the id {text} waits or runs"))),
        [..] => Err(Failure::arguments(format!("{text} is the beginning of several ids"))),
    }
}

/// How large the stores of the nodes are that are not suspected and answer: by id, in bytes.
async fn stores(members: &Members, target: &Target) -> BTreeMap<u64, u64> {
    let mut stores = BTreeMap::new();
    let answers = |row: &&RowSeen| row.status != "removed" && !row.is_suspected;
    for row in members.rows.iter().filter(answers) {
        // The plan is shown without those that do not answer.
        let asked = tokio::time::timeout(target.within(), ask(row, target)).await;
        let status = asked.ok().and_then(Result::ok).map(|(status, _)| status);
        stores.extend(status.and_then(|s| Some((row.node, s.count(Status::STORE_BYTES)?))));
    }
    stores
}

/// Shows the plan, stages the wish, and follows it.
async fn carry_out(
    client: &Client,
    members: &Members,
    wish: Wish,
    how: &How,
) -> Result<Exit, Failure> {
    let new = NewWish::new(wish, how.accept_loss);
    let id = new.id;
    let followed = new.clone();
    let within = how.target.within();
    let staged = client.stage(vec![new], how.plan, within).await.map_err(|error| {
        if how.plan || !matches!(error, Error::Unreachable(_)) {
            return failure(error);
        }
        let hint = "it may be staged all the same: see `cartwheel member list`";
        Failure::new(Exit::Unknown, format!("{error}; {hint} for {id:032x}"))
    })?;
    let stores = stores(members, &how.target).await;
    let outlook = match staged {
        Ok(outlook) => outlook,
        Err(StageError::Refused { why, outlook }) => {
            show_plan(members, &outlook, &stores, how.target.json)?;
            return Err(Failure::new(Exit::Failed, why));
        }
        Err(StageError::Invalid(why)) => return Err(Failure::arguments(why)),
        Err(
            why @ (StageError::NoView
            | StageError::Removed
            | StageError::Full(_)
            | StageError::Busy),
        ) => return Err(Failure::new(Exit::Failed, why)),
    };
    show_plan(members, &outlook, &stores, how.target.json)?;
    let is_moot = outlook.wish(id).is_some_and(|wish| wish.fate == Fate::Done);
    if how.plan || how.no_wait {
        return Ok(Exit::Done);
    }
    let says_done = is_moot && outlook.from == outlook.to && outlook.wishes.len() == 1;
    // What takes a change back that is under way makes no layout of its own.
    if says_done && !matches!(followed.wish, Wish::Withdraw(_)) {
        output::line("there is nothing to do");
        return Ok(Exit::Done);
    }
    follow(client, &followed, how).await
}

async fn list(target: &Target) -> Result<Exit, Failure> {
    let client = target.connect().await?;
    let members = client.members(target.within()).await.map_err(failure)?;
    if target.json {
        output::json(&members_json(&members))?;
        return Ok(Exit::Done);
    }
    let view = members.view.as_ref().map_or("none", |view| view.id.as_str());
    output::line(format!("view {view}, as {} sees it", members.name));
    for row in &members.rows {
        output::line(row_line(row));
    }
    for wish in &members.staged {
        output::line(format!("staged {:032x} {}: {}", wish.id, wish.text, wish.why));
    }
    for id in members.view.iter().flat_map(|view| &view.under_way) {
        output::line(format!("under way {id:032x}"));
    }
    Ok(Exit::Done)
}

async fn buckets(target: &Target) -> Result<Exit, Failure> {
    let directory = target.directory().await?;
    if target.json {
        output::json(&directory.buckets)?;
        return Ok(Exit::Done);
    }
    for bucket in &directory.buckets {
        let kind = if bucket.is_cart { "cart" } else { "register" };
        let conflict = if bucket.is_last_write_wins { "last-write-wins" } else { "siblings" };
        let spread = if bucket.is_spread_over_zones { "zone" } else { "node" };
        let BucketEntry { name, n, r, w, strict_r, strict_w, .. } = bucket;
        output::line(format!(
            "{name:<16} {kind:<8} {conflict:<15} spread {spread} n={n} r={r} w={w} strict r={strict_r} w={strict_w}"
        ));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
