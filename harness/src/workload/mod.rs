//! What clients do: which operations, on which carts, and how each is carried out.
//!
//! All workloads are about carts and are judged by the same checker. They differ in where the cart
//! is kept: in the store's own cart type, or in a register whose siblings the client unites.

mod blob;
mod carts;
mod mix;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cartwheel_checker::cart::{CartValue, Item};
use serde::{Deserialize, Serialize};

pub use carts::Carts;
pub use mix::{Generator, Mix, Operation};

use crate::fault::NodeNumber;
use crate::ground::{Action, Answer, Call, CallError, Ground, OwnCopy};

/// The bucket of the `cart` workload: built in.
pub const CART_BUCKET: &str = "carts";
/// The bucket of the `paper-cart` workload: a register with siblings.
pub const PAPER_BUCKET: &str = "paper";
/// The bucket of the `lww-cart` workload: a register where the last write wins.
pub const LWW_BUCKET: &str = "lww";

/// Where carts are kept, and so how they are changed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// In the store's cart type, which adds and cancels by id.
    Cart,
    /// In a register: the client unites the siblings it reads, changes the union, puts it back (the
    /// paper's §4.4). Keeps every addition; what was removed may come back.
    PaperCart,
    /// The same in a bucket where the last write wins. It loses additions: the control that shows
    /// that the checker would notice.
    LwwCart,
}

/// How a client asks.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The node that is asked first; `None` leaves it to the client library.
    pub node: Option<NodeNumber>,
    /// Whether no other node is asked should that one fail.
    pub only: bool,
    /// Whether only owners count.
    pub strict: bool,
    /// The quorum of sloppy reads, if not the bucket's.
    pub r: Option<u8>,
    /// The quorum of sloppy writes, if not the bucket's.
    pub w: Option<u8>,
    /// How long a client waits for one operation.
    pub timeout: Duration,
}

/// What a read found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The cart's additions, in no order.
    pub items: Vec<Item>,
    /// What lies beneath, if one node's own copy was read.
    pub copy: Option<OwnCopy>,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cart, Self::PaperCart, Self::LwwCart];

    /// The name in flags and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cart => "cart",
            Self::PaperCart => "paper-cart",
            Self::LwwCart => "lww-cart",
        }
    }

    /// Where its carts are.
    pub fn bucket(self) -> &'static str {
        match self {
            Self::Cart => CART_BUCKET,
            Self::PaperCart => PAPER_BUCKET,
            Self::LwwCart => LWW_BUCKET,
        }
    }

    /// Carries out one operation, and gives the value of its completion.
    ///
    /// # Errors
    /// It did not happen, or its outcome is unknown: see [`CallError::definite`].
    pub async fn execute(
        self,
        ground: &impl Ground,
        operation: &CartValue,
        manner: Manner,
    ) -> Result<CartValue, CallError> {
        if let CartValue::Read { cart, .. } = operation {
            let shown = self.show(ground, cart, Action::Read, manner).await?;
            return Ok(CartValue::Read { cart: cart.clone(), items: Some(shown.items) });
        }
        match self {
            Self::Cart => {
                let action = cart_change(operation);
                ground.call(manner.call(self.bucket(), operation.cart(), action)).await?;
            }
            Self::PaperCart | Self::LwwCart => {
                blob::change(ground, self.bucket(), operation, manner).await?;
            }
        }
        Ok(operation.clone())
    }

    /// What a cart shows, read from a quorum or from one node's own copy (`action`).
    ///
    /// # Errors
    /// Nothing was read. Always definite: a read changes nothing.
    pub async fn show(
        self,
        ground: &impl Ground,
        cart: &str,
        action: Action,
        manner: Manner,
    ) -> Result<Shown, CallError> {
        let definite = |error: CallError| CallError { definite: true, ..error };
        let call = manner.call(self.bucket(), cart, action);
        match ground.call(call).await.map_err(definite)? {
            Answer::Cart { items, copy } => Ok(Shown { items, copy }),
            Answer::Register { values, copy, .. } => {
                Ok(Shown { items: blob::union(&values).map_err(definite)?, copy })
            }
            Answer::Written => Err(definite(unexpected("a read was answered as a write"))),
        }
    }
}

impl Manner {
    /// A call in this manner.
    pub fn call(&self, bucket: &str, key: &str, action: Action) -> Call {
        let asked = match &action {
            Action::Read => self.r,
            Action::ReadLocal => None,
            Action::Change { .. } | Action::Put { .. } => self.w,
        };
        Call {
            node: self.node,
            only: self.only,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            action,
            strict: self.strict,
            quorum: asked.filter(|_| !self.strict),
            timeout: self.timeout,
        }
    }
}

/// A cart operation as the store's own.
fn cart_change(operation: &CartValue) -> Action {
    match operation.clone() {
        CartValue::Add { item, .. } => Action::Change { cancel: Vec::new(), add: Some(item) },
        CartValue::Cancel { add_ids, .. } => Action::Change { cancel: add_ids, add: None },
        CartValue::Change { cancel, add, .. } => Action::Change { cancel, add },
        CartValue::Read { .. } => Action::Read,
    }
}

fn unexpected(message: &str) -> CallError {
    CallError { definite: false, message: message.to_owned() }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|workload| workload.name() == name).ok_or_else(|| {
            format!("{name} is no workload; allowed are cart, paper-cart and lww-cart")
        })
    }
}

#[cfg(test)]
mod tests;
