//! `cartwheel cart`: shopping carts.

use cartwheel_client::{Cart, Shown, add_id_text, new_add_id, parse_add_id};
use cartwheel_protocol::{id::AddId, object::Addition};
use serde_json::json;

use crate::{
    connect::{Quorum, Target, block_on, failure},
    exit::{Exit, Failure},
    output,
    register::written,
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
                add(at, sku, *quantity, again.as_deref()).await
            }
            Command::Remove { at, sku } => remove(at, sku).await,
            Command::Change { at, cancel, add, quantity } => {
                change(at, cancel, add.as_deref(), *quantity).await
            }
            Command::Show { at } => show(at).await,
        }
    })
}

async fn add(at: &At, sku: &str, quantity: u32, again: Option<&str>) -> Result<Exit, Failure> {
    let add_id = again.map_or_else(|| Ok(new_add_id()), parsed)?;
    let id = add_id_text(add_id);
    let addition = Addition { add_id, sku: sku.into(), quantity };
    let added = at.open().await?.change(&[], Some(addition)).await;
    let written_to = added.map_err(|error| {
        let Failure { exit, message } = failure(error);
        if exit != Exit::Unknown {
            return Failure::new(exit, message);
        }
        Failure::new(exit, format!("{message}; to make the same addition again: --again {id}"))
    })?;
    if !at.target.json {
        output::line(format!("add_id {id}"));
        return written(written_to, false);
    }
    output::json(&json!({ "add_id": id, "slots": written_to.slots }))?;
    Ok(Exit::Done)
}

fn parsed(text: &str) -> Result<AddId, Failure> {
    let wrong = || Failure::arguments(format!("{text} is no add_id; `cart show` prints them"));
    parse_add_id(text).ok_or_else(wrong)
}

async fn remove(at: &At, sku: &str) -> Result<Exit, Failure> {
    let removed = at.open().await?.remove(sku).await.map_err(failure)?;
    let ids: Vec<String> = removed.cancelled.iter().map(|id| add_id_text(*id)).collect();
    if at.target.json {
        output::json(&json!({ "cancelled": ids }))?;
        return Ok(Exit::Done);
    }
    match removed.written {
        Some(written_to) => {
            output::line(format!("cancelled {}", ids.join(" ")));
            written(written_to, false)
        }
        None => {
            output::line(format!("there is no {sku} in the cart"));
            Ok(Exit::Done)
        }
    }
}

async fn change(
    at: &At,
    cancel: &[String],
    add: Option<&str>,
    quantity: u32,
) -> Result<Exit, Failure> {
    let cancel: Vec<AddId> = cancel.iter().map(|id| parsed(id)).collect::<Result<_, _>>()?;
    let add = add.map(|sku| Addition { add_id: new_add_id(), sku: sku.into(), quantity });
    let added = add.as_ref().map(|add| add_id_text(add.add_id));
    let changed = at.open().await?.change(&cancel, add).await.map_err(failure)?;
    if let Some(add_id) = added.filter(|_| !at.target.json) {
        output::line(format!("add_id {add_id}"));
    }
    written(changed, at.target.json)
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
