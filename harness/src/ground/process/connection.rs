//! Clients' calls through the client library.

use std::sync::Arc;

use anyhow::Context as _;
use cartwheel_checker::cart::Item;
use cartwheel_client::{
    Addition, Ask, Client, Context, Error, Held, NodeId, Options, add_id_text, parse_add_id,
};
use tokio::sync::OnceCell;

use super::super::{Action, Answer, Call, CallError, OwnCopy};
use super::roster::Roster;
use crate::fault::NodeNumber;

/// All clients of a cluster: one client of the library, whose connections they share.
pub struct Connection {
    addresses: Vec<String>,
    roster: Arc<Roster>,
    client: OnceCell<Client>,
}

impl Connection {
    /// To the nodes with these ids at these addresses. It connects when it is first used.
    pub fn new(addresses: Vec<String>, ids: Vec<String>) -> Self {
        let roster = Roster::default();
        for (place, id) in ids.iter().enumerate() {
            roster.maybe_move_in(NodeNumber(place), id);
        }
        Self::of(addresses, Arc::new(roster))
    }

    /// To the nodes of this roster, the first of them at these addresses. It connects when it is first used.
    pub fn of(addresses: Vec<String>, roster: Arc<Roster>) -> Self {
        Self { addresses, roster, client: OnceCell::new() }
    }

    /// The library's client.
    ///
    /// # Errors
    /// No node tells the layout.
    pub async fn client(&self) -> Result<&Client, Error> {
        self.client.get_or_try_init(|| Client::connect(&self.addresses)).await
    }

    /// Carries out one operation.
    ///
    /// # Errors
    /// It did not happen, or its outcome is unknown.
    pub async fn call(&self, call: Call) -> Result<Answer, CallError> {
        let client = self.client().await.map_err(|error| failed(&error))?;
        let reads = matches!(call.action, Action::Read | Action::ReadLocal);
        let (r, w) = if reads { (call.quorum, None) } else { (None, call.quorum) };
        let options = Options {
            bucket: call.bucket.clone(),
            r,
            w,
            strict: call.strict,
            timeout: call.timeout,
            ask: self.ask(&call)?,
        };
        let is_cart = client
            .directory()
            .and_then(|directory| directory.bucket(&call.bucket).map(|bucket| bucket.is_cart))
            .unwrap_or(false);
        let answered = carry_out(client, is_cart, call, options).await;
        answered.map_err(|error| failed(&error))
    }

    /// The owners of a key.
    ///
    /// # Errors
    /// The layout is not known or lists strangers.
    pub async fn owners(&self, bucket: &str, key: &str) -> anyhow::Result<Vec<NodeNumber>> {
        let directory = self.client().await?.directory().context("no layout is known")?;
        let owners = directory.owners_of(bucket, key.as_bytes());
        let owners = owners.context("there is no such bucket")?;
        let number =
            |node: u64| self.roster.present_place(node).context("an owner is a stranger or gone");
        owners.iter().map(|seat| number(seat.node)).collect()
    }

    fn ask(&self, call: &Call) -> Result<Ask, CallError> {
        let Some(node) = call.node else { return Ok(Ask::Owners) };
        let id = self.roster.node(node).map(NodeId);
        let id = id.ok_or_else(|| CallError {
            definite: true,
            message: format!("there is no node {node}"),
        })?;
        Ok(if call.only { Ask::Only(id) } else { Ask::First(id) })
    }
}

async fn carry_out(
    client: &Client,
    is_cart: bool,
    call: Call,
    options: Options,
) -> Result<Answer, Error> {
    let key = call.key.into_bytes();
    match call.action {
        Action::Read if is_cart => {
            let shown = client.cart_with(key, options).show().await?;
            Ok(Answer::Cart { items: items(shown.items), copy: None })
        }
        Action::ReadLocal if is_cart => {
            let held = client.cart_with(key, options).show_local().await?;
            let copy = Some(own_copy(&held));
            Ok(Answer::Cart { items: items(held.content), copy })
        }
        Action::Read => {
            let found = client.get(&key, &options).await?;
            let context = Some(found.context.to_bytes());
            Ok(Answer::Register { values: found.values, context, copy: None })
        }
        Action::ReadLocal => {
            let held = client.get_local(&key, &options).await?;
            let copy = Some(own_copy(&held));
            Ok(Answer::Register { values: held.content, context: None, copy })
        }
        Action::Change { cancel, add } => {
            let bad = |add_id: &String| Error::BadValue(format!("{add_id} is no add_id"));
            let id = |add_id: &String| parse_add_id(add_id).ok_or_else(|| bad(add_id));
            let cancel = cancel.iter().map(id).collect::<Result<Vec<_>, _>>()?;
            let addition = |item: Item| {
                let add_id = id(&item.add_id)?;
                Ok(Addition { add_id, sku: Arc::from(item.sku), quantity: item.quantity })
            };
            let add = add.map(addition).transpose()?;
            client.cart_with(key, options).change(&cancel, add).await.map(|_| Answer::Written)
        }
        Action::Put { context, value } => {
            let context = context.as_deref().map(Context::from_bytes).transpose()?;
            let written = client.put(&key, context.as_ref(), &value, &options).await;
            written.map(|_| Answer::Written)
        }
    }
}

fn items(shown: Vec<cartwheel_client::Item>) -> Vec<Item> {
    let additions = shown.into_iter().flat_map(|item| item.additions);
    let item = |addition: Addition| Item {
        add_id: add_id_text(addition.add_id),
        sku: addition.sku.to_string(),
        quantity: addition.quantity,
    };
    additions.map(item).collect()
}

fn own_copy<T>(held: &Held<T>) -> OwnCopy {
    let digest = format!("{:032x}", held.digest);
    OwnCopy { digest, is_stored: held.is_stored, owes: held.owes }
}

fn failed(error: &Error) -> CallError {
    CallError { definite: error.is_definite(), message: error.to_string() }
}
