//! What the `value` of a cart operation says, typed.
//!
//! | f | value |
//! | --- | --- |
//! | `add` | `["cart-7", {"add_id": …, "sku": …, "quantity": 1}]` |
//! | `cancel` | `["cart-7", ["add_id", …]]` |
//! | `change` | `["cart-7", {"cancel": ["add_id", …], "add": {…}}]`, either may be missing |
//! | `read` | `["cart-7", [{"add_id": …, "sku": …, "quantity": 1}, …]]`, `null` at the invocation |
//!
//! In EDN the names are keywords.

use std::collections::BTreeMap;

use crate::event::Event;
use crate::value::Value;

/// One addition: what a cart shows, and what an `add` asks for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Item {
    /// The client's unique id of this addition.
    pub add_id: String,
    /// What was added.
    pub sku: String,
    /// How many.
    pub quantity: u32,
}

/// A cart operation with its arguments, or its answer.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum CartValue {
    /// Add one item.
    Add {
        /// The cart's key.
        cart: String,
        /// What is added.
        item: Item,
    },
    /// Remove the additions with these ids.
    Cancel {
        /// The cart's key.
        cart: String,
        /// Which additions.
        add_ids: Vec<String>,
    },
    /// Remove and add in one step.
    Change {
        /// The cart's key.
        cart: String,
        /// Which additions go.
        cancel: Vec<String>,
        /// What comes, if anything.
        add: Option<Item>,
    },
    /// Show the cart.
    Read {
        /// The cart's key.
        cart: String,
        /// What it showed; `None` unless the read succeeded.
        items: Option<Vec<Item>>,
    },
}

impl CartValue {
    /// The value of an event whose `f` is a cart operation.
    ///
    /// # Errors
    /// What is wrong with `f` or the shape of the value, in words.
    pub fn from_event(event: &Event) -> Result<Self, String> {
        let pair = event.value.elements();
        let Some([cart, inner]) = pair.as_deref() else {
            return Err(format!("{} is no pair of a cart and a value", event.value));
        };
        let Value::Text(cart) = cart else {
            return Err(format!("the cart {cart} is no string"));
        };
        let cart = cart.clone();
        match event.f.as_str() {
            "add" => Ok(Self::Add { cart, item: item(inner)? }),
            "cancel" => Ok(Self::Cancel { cart, add_ids: add_ids(inner)? }),
            "change" => Ok(Self::Change {
                cart,
                cancel: given(inner, "cancel").map_or(Ok(Vec::new()), add_ids)?,
                add: given(inner, "add").map(item).transpose()?,
            }),
            "read" => Ok(Self::Read { cart, items: items(inner)? }),
            other => Err(format!("{other} is no cart operation (add, cancel, change, read)")),
        }
    }

    /// The operation's name.
    pub fn f(&self) -> &'static str {
        match self {
            Self::Add { .. } => "add",
            Self::Cancel { .. } => "cancel",
            Self::Change { .. } => "change",
            Self::Read { .. } => "read",
        }
    }

    /// The cart's key.
    pub fn cart(&self) -> &str {
        match self {
            Self::Add { cart, .. }
            | Self::Cancel { cart, .. }
            | Self::Change { cart, .. }
            | Self::Read { cart, .. } => cart,
        }
    }
}

impl From<CartValue> for Value {
    fn from(operation: CartValue) -> Self {
        let (cart, inner) = match operation {
            CartValue::Add { cart, item } => (cart, item.into()),
            CartValue::Cancel { cart, add_ids } => (cart, ids_value(add_ids)),
            CartValue::Change { cart, cancel, add } => {
                let mut entries = BTreeMap::from([(Self::key("cancel".into()), ids_value(cancel))]);
                if let Some(item) = add {
                    entries.insert(Self::key("add".into()), item.into());
                }
                (cart, Self::Map(entries))
            }
            CartValue::Read { cart, items: None } => (cart, Self::Nil),
            CartValue::Read { cart, items: Some(items) } => {
                (cart, Self::Vector(items.into_iter().map(Self::from).collect()))
            }
        };
        Self::Vector(vec![Self::Text(cart), inner])
    }
}

impl From<Item> for Value {
    fn from(item: Item) -> Self {
        Self::Map(BTreeMap::from([
            (Self::key("add_id".into()), Self::Text(item.add_id)),
            (Self::key("sku".into()), Self::Text(item.sku)),
            (Self::key("quantity".into()), Self::Int(item.quantity.into())),
        ]))
    }
}

fn ids_value(add_ids: Vec<String>) -> Value {
    Value::Vector(add_ids.into_iter().map(Value::Text).collect())
}

/// A map's value for `name`, unless it is nil.
fn given<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    map.entry(name).filter(|value| **value != Value::Nil)
}

fn add_ids(value: &Value) -> Result<Vec<String>, String> {
    let elements = value.elements().ok_or_else(|| format!("{value} is no list of add_ids"))?;
    let text = |element: &&Value| {
        let Value::Text(add_id) = element else {
            return Err(format!("the add_id {element} is no string"));
        };
        Ok(add_id.clone())
    };
    elements.iter().map(text).collect()
}

fn items(value: &Value) -> Result<Option<Vec<Item>>, String> {
    if *value == Value::Nil {
        return Ok(None);
    }
    let elements = value.elements().ok_or_else(|| format!("{value} is no list of items"))?;
    elements.into_iter().map(item).collect::<Result<_, _>>().map(Some)
}

fn item(value: &Value) -> Result<Item, String> {
    let text = |name: &str| match value.entry(name) {
        Some(Value::Text(text)) => Ok(text.clone()),
        _ => Err(format!("the item {value} has no string {name}")),
    };
    let quantity = match value.entry("quantity") {
        Some(Value::Int(number)) => u32::try_from(*number).ok(),
        _ => None,
    };
    Ok(Item {
        add_id: text("add_id")?,
        sku: text("sku")?,
        quantity: quantity.ok_or_else(|| format!("the item {value} has no whole quantity"))?,
    })
}
