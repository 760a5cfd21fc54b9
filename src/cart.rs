//! `cartwheel cart`: shopping carts.

use cartwheel_client::{Cart, Shown, Written, add_id_text, new_add_id, parse_add_id};
use cartwheel_protocol::{id::AddId, object::Addition};
use serde_json::json;

use crate::{
    connect::{Quorum, Target, block_on, failure},
    exit::{Exit, Failure},
    output,
    register::{where_held, written},
};

/// Arguments of `cartwheel cart`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel cart add ann milk 2
  cartwheel cart show ann
  cartwheel cart remove ann milk
  cartwheel cart change ann --cancel 0198… --add tea --quantity 1")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Add articles to a cart
    #[command(after_help = "Example:\n  cartwheel cart add ann milk 2")]
    Add {
        #[command(flatten)]
        at: At,
        /// The article
        sku: String,
        /// How many
        #[arg(default_value_t = 1)]
        quantity: u32,
        /// The add_id of an addition whose outcome is unknown: to make it again, once in all
        #[arg(long, value_name = "ADD_ID")]
        again: Option<String>,
    },
    /// Remove an article: cancel the additions of it that the cart shows now
    #[command(after_help = "Example:\n  cartwheel cart remove ann milk")]
    Remove {
        #[command(flatten)]
        at: At,
        /// The article
        sku: String,
    },
    /// Cancel additions and make one, in one write
    #[command(after_help = "Example:\n  cartwheel cart change ann --cancel 0198… --add tea")]
    Change {
        #[command(flatten)]
        at: At,
        /// The add_id of an addition to cancel; may be repeated
        #[arg(long, value_name = "ADD_ID")]
        cancel: Vec<String>,
        /// The article to add
        #[arg(long, value_name = "SKU")]
        add: Option<String>,
        /// How many of it
        #[arg(long, default_value_t = 1)]
        quantity: u32,
        /// The add_id of a change whose outcome is unknown: to make it again, once in all
        #[arg(long, value_name = "ADD_ID", requires = "add")]
        again: Option<String>,
    },
    /// Show what is in a cart
    #[command(after_help = "Example:\n  cartwheel cart show ann --strict --json")]
    Show {
        #[command(flatten)]
        at: At,
    },
}

/// Which cart, and how.
#[derive(clap::Args)]
struct At {
    /// The cart
    cart: String,
    /// The bucket
    #[arg(long, default_value = "carts")]
    bucket: String,
    #[command(flatten)]
    quorum: Quorum,
    #[command(flatten)]
    target: Target,
}

impl At {
    async fn open(&self) -> Result<Cart, Failure> {
        let client = self.target.connect().await?;
        let options = self.target.options(&self.bucket, &self.quorum);
        Ok(client.cart_with(self.cart.as_bytes(), options))
    }
}

/// Carries out one cart operation.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    block_on(async {
        match &args.command {
            Command::Add { at, sku, quantity, again } => {
                change(at, &[], Some(addition(sku, *quantity, again.as_deref())?)).await
            }
            Command::Remove { at, sku } => remove(at, sku).await,
            Command::Change { at, cancel, add, quantity, again } => {
                let add = add.as_deref().map(|sku| addition(sku, *quantity, again.as_deref()));
                change(at, cancel, add.transpose()?).await
            }
            Command::Show { at } => show(at).await,
        }
    })
}

/// An addition under a new add_id, or under that of an earlier one that is made again.
fn addition(sku: &str, quantity: u32, again: Option<&str>) -> Result<Addition, Failure> {
    let add_id = again.map_or_else(|| Ok(new_add_id()), parsed)?;
    Ok(Addition { add_id, sku: sku.into(), quantity })
}

fn parsed(text: &str) -> Result<AddId, Failure> {
    let wrong = || Failure::arguments(format!("{text} is no add_id; `cart show` prints them"));
    parse_add_id(text).ok_or_else(wrong)
}

async fn remove(at: &At, sku: &str) -> Result<Exit, Failure> {
    let removed = at.open().await?.remove(sku).await.map_err(failure)?;
    let ids: Vec<String> = removed.cancelled.iter().map(|id| add_id_text(*id)).collect();
    match removed.written {
        Some(written_to) if at.target.json => said(&json!({ "cancelled": ids }), &written_to),
        Some(written_to) => {
            output::line(format!("cancelled {}", ids.join(" ")));
            written(written_to, false)
        }
        None if at.target.json => {
            output::json(&json!({ "cancelled": ids }))?;
            Ok(Exit::Done)
        }
        None => {
            output::line(format!("there is no {sku} in the cart"));
            Ok(Exit::Done)
        }
    }
}

/// What a cart operation came to, and where it is held, as one object.
fn said(what: &serde_json::Value, written_to: &Written) -> Result<Exit, Failure> {
    let mut all = where_held(written_to);
    for (name, value) in what.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    output::json(&all)?;
    Ok(Exit::Done)
}

async fn change(at: &At, cancel: &[String], add: Option<Addition>) -> Result<Exit, Failure> {
    let cancel: Vec<AddId> = cancel.iter().map(|id| parsed(id)).collect::<Result<_, _>>()?;
    let id = add.as_ref().map(|add| add_id_text(add.add_id));
    let changed = at.open().await?.change(&cancel, add).await;
    let written_to = changed.map_err(|error| {
        let Failure { exit, message } = failure(error);
        match &id {
            Some(id) if exit == Exit::Unknown => {
                let how = format!("{message}; to do the same again: --again {id}");
                Failure::new(exit, how)
            }
            Some(_) | None => Failure::new(exit, message),
        }
    })?;
    match id {
        Some(id) if at.target.json => said(&json!({ "add_id": id }), &written_to),
        Some(id) => {
            output::line(format!("add_id {id}"));
            written(written_to, false)
        }
        None => written(written_to, at.target.json),
    }
}

async fn show(at: &At) -> Result<Exit, Failure> {
    let shown = at.open().await?.show().await.map_err(failure)?;
    if at.target.json {
        output::json(&json!({ "items": items(&shown), "owners": shown.owners,
            "fallbacks": shown.fallbacks }))?;
        return Ok(Exit::Done);
    }
    if shown.items.is_empty() {
        output::line("the cart is empty");
    }
    for item in &shown.items {
        output::line(format!("{:>8} × {}", item.quantity, item.sku));
        for added in &item.additions {
            output::line(format!("           {} × {}", added.quantity, add_id_text(added.add_id)));
        }
    }
    Ok(Exit::Done)
}

fn items(shown: &Shown) -> serde_json::Value {
    let addition = |added: &Addition| json!({ "add_id": add_id_text(added.add_id), "quantity": added.quantity });
    let item = |item: &cartwheel_client::Item| {
        let additions: Vec<_> = item.additions.iter().map(addition).collect();
        json!({ "sku": item.sku, "quantity": item.quantity, "additions": additions })
    };
    shown.items.iter().map(item).collect()
}
