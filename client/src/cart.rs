//! Shopping carts.

use std::{collections::BTreeMap, sync::Arc};

use cartwheel_protocol::{
    bucket::Kind,
    id::AddId,
    object::{Addition, Object},
    request::{Operation, Refusal},
};

use crate::{
    client::Client,
    error::Error,
    values::{Context, Held, Options, Written, new_add_id},
};

/// One cart. An addition carries an id that is the same in every retry, so that however often it is sent it
/// counts once; a removal names the additions that it was shown, so that it never touches one that it has
/// not seen.
#[derive(Clone)]
pub struct Cart {
    client: Client,
    name: Vec<u8>,
    options: Options,
}

/// What a cart shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The articles, by name.
    pub items: Vec<Item>,
    /// What was seen. A cart operation needs none.
    pub context: Context,
    /// How many owners answered.
    pub owners: u8,
    /// How many fallbacks answered.
    pub fallbacks: u8,
}

/// An article in a cart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// The article.
    pub sku: String,
    /// How many of it: the sum of its additions.
    pub quantity: u64,
    /// Its additions, oldest first.
    pub additions: Vec<Addition>,
}

/// An acknowledged addition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Added {
    /// Its id: what [`Cart::cancel`] takes.
    pub add_id: AddId,
    /// Where it is held.
    pub written: Written,
}

/// An acknowledged removal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Removed {
    /// What was shown, and is cancelled.
    pub cancelled: Vec<AddId>,
    /// Where that is held; `None` if nothing was shown.
    pub written: Option<Written>,
}

impl Client {
    /// The cart of that name in the bucket `carts`.
    pub fn cart(&self, name: impl Into<Vec<u8>>) -> Cart {
        self.cart_with(name, Options::bucket("carts"))
    }

    /// The cart of that name, with options for all that is done with it.
    pub fn cart_with(&self, name: impl Into<Vec<u8>>, options: Options) -> Cart {
        Cart { client: self.clone(), name: name.into(), options }
    }
}

impl Cart {
    /// What is in it.
    ///
    /// # Errors
    /// See [`Error`]; none leaves anything unknown.
    pub async fn show(&self) -> Result<Shown, Error> {
        let read = self.client.read(&self.name, Operation::Get, &self.options).await?;
        let (owners, fallbacks) = (read.owners, read.fallbacks);
        Ok(Shown { items: items(&read.object)?, context: read.context, owners, fallbacks })
    }

    /// What the node that the options ask itself stores, merged with nothing.
    ///
    /// # Errors
    /// See [`Error`]; none leaves anything unknown.
    pub async fn show_local(&self) -> Result<Held<Vec<Item>>, Error> {
        self.client.held(&self.name, Operation::GetLocal, &self.options, items).await
    }

    /// Adds so many of an article. Who wants to repeat an addition of unknown outcome uses
    /// [`Cart::change`] with an id of its own.
    ///
    /// # Errors
    /// [`Error::Unknown`] if no node acknowledged it in time.
    pub async fn add(&self, sku: &str, quantity: u32) -> Result<Added, Error> {
        let add_id = new_add_id();
        let added = Addition { add_id, sku: Arc::from(sku), quantity };
        let written = self.change(&[], Some(added)).await?;
        Ok(Added { add_id, written })
    }

    /// Cancels these additions, for good, on whichever copies they are.
    ///
    /// # Errors
    /// [`Error::Unknown`] if no node acknowledged it in time.
    pub async fn cancel(&self, add_ids: &[AddId]) -> Result<Written, Error> {
        self.change(add_ids, None).await
    }

    /// Cancels additions and makes one, both or neither; it may be repeated.
    ///
    /// # Errors
    /// [`Error::Unknown`] if no node acknowledged it in time.
    pub async fn change(&self, cancel: &[AddId], add: Option<Addition>) -> Result<Written, Error> {
        let operation = Operation::Change { cancel: Arc::from(cancel), add, context: None };
        self.client.write(&self.name, operation, &self.options).await
    }

    /// Removes an article: shows the cart and cancels the additions of it that were shown.
    ///
    /// # Errors
    /// [`Error::Unknown`] if no node acknowledged the cancellation in time.
    pub async fn remove(&self, sku: &str) -> Result<Removed, Error> {
        let shown = self.show().await?;
        let items = shown.items.iter().filter(|item| item.sku == sku);
        let cancelled: Vec<AddId> =
            items.flat_map(|item| &item.additions).map(|addition| addition.add_id).collect();
        let written = match &cancelled[..] {
            [] => None,
            shown => Some(self.cancel(shown).await?),
        };
        Ok(Removed { cancelled, written })
    }
}

fn items(object: &Object) -> Result<Vec<Item>, Error> {
    if !object.values().is_empty() {
        return Err(Error::Refused(Refusal::WrongKind(Kind::Register)));
    }
    let mut by_sku: BTreeMap<&str, Vec<Addition>> = BTreeMap::new();
    for addition in object.additions() {
        by_sku.entry(&addition.sku).or_default().push(addition.clone());
    }
    let item = |(sku, additions): (&str, Vec<Addition>)| Item {
        sku: sku.to_owned(),
        quantity: additions.iter().map(|addition| u64::from(addition.quantity)).sum(),
        additions,
    };
    Ok(by_sku.into_iter().map(item).collect())
}
