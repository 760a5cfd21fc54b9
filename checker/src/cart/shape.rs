//! The `value` of a line, by its shape.
//!
//! Lines of the nemesis may carry any value, and which shape a value must have is known only when
//! `f` was read, which may stand behind it. So values are taken by their shape, whatever it is, and
//! the checker says afterwards which one the operation needed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::batch::{Argument, Content, Items, Key, RawItem, Sink, Text, sku_hash, terms};
use super::line::NameSeed;

/// A visitor's methods for values that are not what is looked for.
macro_rules! otherwise {
    ($value:expr; $($method:ident($kind:ty)),*) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON value")
        }
        $(fn $method<E: Error>(self, _: $kind) -> Result<Self::Value, E> {
            Ok($value)
        })*
    };
}

/// A visitor's methods for arrays and objects that are not what is looked for.
macro_rules! skip {
    ($value:expr; seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
    ($value:expr; map) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
    ($value:expr; unit) => {
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

/// Implements `DeserializeSeed` by taking whatever comes.
macro_rules! any_seed {
    ($seed:ident -> $value:ty) => {
        pub(super) struct $seed<'s, 'b> {
            pub(super) sink: &'s mut Sink<'b>,
        }

        impl<'de> DeserializeSeed<'de> for $seed<'_, '_> {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<$value, D::Error> {
                from.deserialize_any(self)
            }
        }
    };
}

// A string's place and key; `None` for any other value.
any_seed!(TextSeed -> Option<(Text, Key)>);

impl<'de> Visitor<'de> for TextSeed<'_, '_> {
    type Value = Option<(Text, Key)>;

    otherwise!(None; visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));
    skip!(None; unit);
    skip!(None; seq);
    skip!(None; map);

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some((self.sink.borrow(text), Key::of(text.as_bytes()))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some((self.sink.spill(text), Key::of(text.as_bytes()))))
    }
}

/// A string's hash; `None` for any other value.
struct SkuSeed;

impl<'de> DeserializeSeed<'de> for SkuSeed {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SkuSeed {
    type Value = Option<u64>;

    otherwise!(None; visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));
    skip!(None; unit);
    skip!(None; seq);
    skip!(None; map);

    fn visit_str<E: Error>(self, sku: &str) -> Result<Option<u64>, E> {
        Ok(Some(sku_hash(sku.as_bytes())))
    }
}

/// A whole number; `None` for any other value.
struct QuantitySeed;

impl<'de> DeserializeSeed<'de> for QuantitySeed {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for QuantitySeed {
    type Value = Option<u64>;

    otherwise!(None; visit_bool(bool), visit_i64(i64), visit_f64(f64), visit_str(&str));
    skip!(None; unit);
    skip!(None; seq);
    skip!(None; map);

    fn visit_u64<E: Error>(self, quantity: u64) -> Result<Option<u64>, E> {
        Ok(Some(quantity))
    }
}

// An operation's value.
any_seed!(ValueSeed -> Argument);

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = Argument;

    otherwise!(Argument::Odd; visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64),
        visit_str(&str));
    skip!(Argument::Odd; unit);
    skip!(Argument::Odd; map);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Argument, A::Error> {
        let Some(cart) = seq.next_element_seed(TextSeed { sink: self.sink })? else {
            return Ok(Argument::Odd);
        };
        let Some(content) = seq.next_element_seed(ContentSeed { sink: self.sink })? else {
            return Ok(Argument::Odd);
        };
        let mut further = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            further = true;
        }
        Ok(match cart {
            Some((cart, key)) if !further => Argument::Of { cart, key, content },
            Some(_) | None => Argument::Odd,
        })
    }
}

// What stands beside the cart, or within a change.
any_seed!(ContentSeed -> Content);

impl<'de> Visitor<'de> for ContentSeed<'_, '_> {
    type Value = Content;

    otherwise!(Content::Odd; visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64),
        visit_str(&str));
    skip!(Content::Nothing; unit);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let start = self.sink.len();
        let (mut ids, mut items, mut odd) = (false, false, false);
        while let Some(element) = seq.next_element_seed(ElementSeed { sink: self.sink })? {
            match element {
                Element::Id(item) => {
                    ids = true;
                    self.sink.push(item);
                }
                Element::Item(item) => {
                    items = true;
                    self.sink.push(item);
                }
                Element::Odd => odd = true,
            }
        }
        let run = self.sink.items_from(start);
        Ok(match (odd, ids, items) {
            (false, false, false) => Content::Empty,
            (false, true, false) => Content::Ids(run),
            (false, false, true) => Content::Items(run),
            (true, _, _) | (false, true, true) => Content::Odd,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
        object(map, self.sink)
    }
}

/// What a list of ids or items holds.
pub(super) enum Element {
    Id(RawItem),
    Item(RawItem),
    Odd,
}

any_seed!(ElementSeed -> Element);

impl<'de> Visitor<'de> for ElementSeed<'_, '_> {
    type Value = Element;

    otherwise!(Element::Odd; visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));
    skip!(Element::Odd; unit);
    skip!(Element::Odd; seq);

    fn visit_borrowed_str<E: Error>(self, add_id: &'de str) -> Result<Element, E> {
        let text = self.sink.borrow(add_id);
        Ok(Element::Id(RawItem { add_id: text, key: Key::of(add_id.as_bytes()), terms: 0 }))
    }

    fn visit_str<E: Error>(self, add_id: &str) -> Result<Element, E> {
        let text = self.sink.spill(add_id);
        Ok(Element::Id(RawItem { add_id: text, key: Key::of(add_id.as_bytes()), terms: 0 }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
        Ok(match object(map, self.sink)? {
            Content::Item(item) => Element::Item(item),
            Content::Nothing
            | Content::Empty
            | Content::Ids(_)
            | Content::Items(_)
            | Content::Change { .. }
            | Content::Odd => Element::Odd,
        })
    }
}

/// An item, if it has an add_id; else a change.
fn object<'de, A: MapAccess<'de>>(mut map: A, sink: &mut Sink<'_>) -> Result<Content, A::Error> {
    let (mut add_id, mut sku, mut quantity) = (None, None, None);
    let (mut cancel, mut add, mut odd) = (Items::default(), None, false);
    while let Some(part) = map.next_key_seed(NameSeed(part))? {
        match part {
            Part::AddId => add_id = map.next_value_seed(TextSeed { sink })?,
            Part::Sku => sku = map.next_value_seed(SkuSeed)?,
            Part::Quantity => quantity = map.next_value_seed(QuantitySeed)?,
            Part::Cancel => match map.next_value_seed(ContentSeed { sink })? {
                Content::Ids(ids) => cancel = ids,
                Content::Nothing | Content::Empty => {}
                Content::Item(_) | Content::Items(_) | Content::Change { .. } | Content::Odd => {
                    odd = true;
                }
            },
            Part::Add => match map.next_value_seed(ContentSeed { sink })? {
                Content::Item(item) => add = Some(item),
                Content::Nothing => {}
                Content::Empty
                | Content::Ids(_)
                | Content::Items(_)
                | Content::Change { .. }
                | Content::Odd => odd = true,
            },
            Part::Other => {
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    Ok(match (add_id, sku, quantity) {
        _ if odd => Content::Odd,
        (Some((add_id, key)), Some(sku), Some(quantity)) => {
            Content::Item(RawItem { add_id, key, terms: terms(sku, quantity) })
        }
        (None, None, None) => Content::Change { cancel, add },
        (_, _, _) => Content::Odd,
    })
}

enum Part {
    AddId,
    Sku,
    Quantity,
    Cancel,
    Add,
    Other,
}

fn part(key: &str) -> Part {
    match key {
        "add_id" => Part::AddId,
        "sku" => Part::Sku,
        "quantity" => Part::Quantity,
        "cancel" => Part::Cancel,
        "add" => Part::Add,
        _ => Part::Other,
    }
}
