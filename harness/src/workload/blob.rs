//! A cart as one opaque value in a register, as the paper has it: read the siblings, unite them,
//! change the union, put it back with the context.

use std::collections::BTreeMap;

use cartwheel_checker::cart::{CartValue, Item};

use super::{Manner, unexpected};
use crate::ground::{Action, Answer, CallError, Ground};

/// Changes the cart. Only the put can leave the outcome unknown.
pub(super) async fn change(
    ground: &impl Ground,
    bucket: &str,
    operation: &CartValue,
    manner: Manner,
) -> Result<(), CallError> {
    let cart = operation.cart();
    let began = ground.now();
    let nothing_yet = |error: CallError| CallError { definite: true, ..error };
    let answer = ground.call(manner.call(bucket, cart, Action::Read)).await.map_err(nothing_yet)?;
    let Answer::Register { values, context, .. } = answer else {
        return Err(nothing_yet(unexpected("a register was read and something else answered")));
    };
    let mut items = union(&values).map_err(nothing_yet)?;
    let (cancel, add) = match operation {
        CartValue::Add { item, .. } => (&[][..], Some(item)),
        CartValue::Cancel { add_ids, .. } => (&add_ids[..], None),
        CartValue::Change { cancel, add, .. } => (&cancel[..], add.as_ref()),
        CartValue::Read { .. } => return Ok(()),
    };
    items.retain(|item| !cancel.contains(&item.add_id));
    items.extend(add.cloned());
    let value = write(&items).into_bytes();
    // Both halves of the operation share one client's patience.
    let left = manner.timeout.saturating_sub(ground.now().saturating_sub(began));
    let manner = Manner { timeout: left, ..manner };
    ground.call(manner.call(bucket, cart, Action::Put { context, value })).await.map(|_| ())
}

/// Everything that any sibling holds, each addition once, by add_id.
pub(super) fn union(values: &[Vec<u8>]) -> Result<Vec<Item>, CallError> {
    let mut items = BTreeMap::new();
    for value in values {
        let text = std::str::from_utf8(value).map_err(|_| unexpected("a cart is not UTF-8"))?;
        for line in text.lines() {
            let item = parse(line).ok_or_else(|| unexpected("a cart has a damaged line"))?;
            items.insert(item.add_id.clone(), item);
        }
    }
    Ok(items.into_values().collect())
}

/// One line an item: add_id, sku and quantity between tabs.
fn write(items: &[Item]) -> String {
    let line = |item: &Item| format!("{}\t{}\t{}\n", item.add_id, item.sku, item.quantity);
    items.iter().map(line).collect()
}

fn parse(line: &str) -> Option<Item> {
    let mut fields = line.split('\t');
    let (add_id, sku, quantity) = (fields.next()?, fields.next()?, fields.next()?);
    let item =
        Item { add_id: add_id.to_owned(), sku: sku.to_owned(), quantity: quantity.parse().ok()? };
    fields.next().is_none().then_some(item)
}

#[cfg(test)]
mod tests {
    use cartwheel_checker::cart::Item;

    use super::{union, write};

    fn item(add_id: &str, quantity: u32) -> Item {
        Item { add_id: add_id.to_owned(), sku: "milk".to_owned(), quantity }
    }

    #[test]
    fn siblings_are_united_by_id() {
        let one = write(&[item("a", 1), item("b", 2)]).into_bytes();
        let other = write(&[item("b", 2), item("c", 3)]).into_bytes();
        let union = union(&[one, other]).expect("two carts");
        assert_eq!(union, [item("a", 1), item("b", 2), item("c", 3)]);
    }

    #[test]
    fn damaged_carts_are_noticed() {
        for bad in ["a\tmilk\n", "a\tmilk\tmany\n", "a\tmilk\t1\tmore\n"] {
            assert!(union(&[bad.as_bytes().to_vec()]).is_err(), "{bad:?}");
        }
        assert!(union(&[vec![0xff]]).is_err());
    }
}
