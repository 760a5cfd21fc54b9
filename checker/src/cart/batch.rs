//! Cart operations in the compact form that the checker eats: no strings of their own, only places
//! in a batch's text. A batch owns its text, so that one thread can parse while another checks.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::value::{CartValue, Item};
use crate::event::{Event, EventType, Process};

/// A run of operations in history order, and the text that they point into.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The lines as they stood in the file; empty for operations made from events.
    text: String,
    /// Texts that do not stand in the file as they are: unescaped, or of events.
    spill: String,
    items: Vec<RawItem>,
    pub(crate) operations: Vec<Operation>,
    /// Lines taken, and events among them, those of the nemesis included.
    pub(crate) lines: u64,
    pub(crate) events: u64,
    /// The line, counted from 0 in this batch, with which parsing ended, and what is wrong there.
    pub(crate) fault: Option<(u64, String)>,
}

/// What parsing produces, beside texts and items.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) operations: &'a mut Vec<Operation>,
    pub(crate) lines: &'a mut u64,
    pub(crate) events: &'a mut u64,
    pub(crate) fault: &'a mut Option<(u64, String)>,
}

/// A place in a batch's text or, with the top bit of `start`, in its spill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    start: u32,
    length: u32,
}

const SPILLED: u32 = 1 << 31;

impl Text {
    /// A place in a batch's text.
    pub(crate) fn at(start: usize, length: usize) -> Self {
        Self { start: start as u32, length: length as u32 }
    }
}

/// A 128-bit hash of a cart's name or an add_id, which stands for it: comparing the texts as well
/// would cost a cache miss for each, and two of a billion are equal once in 10²⁰ histories.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key(u128);

impl Key {
    pub(crate) fn of(text: &[u8]) -> Self {
        Self(xxh3_128(text))
    }

    /// What a hash table needs of it.
    pub(crate) fn hash(self) -> u64 {
        self.0 as u64
    }
}

/// An addition named or shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawItem {
    pub(crate) add_id: Text,
    pub(crate) key: Key,
    /// Hash of sku and quantity; 0 where only the add_id stands.
    pub(crate) terms: u64,
}

/// A run of a batch's items.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Items {
    pub(crate) start: u32,
    pub(crate) length: u32,
}

/// The cart operations.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Name {
    Add,
    Cancel,
    Change,
    Read,
}

impl Name {
    pub(crate) const ALL: [Self; 4] = [Self::Add, Self::Cancel, Self::Change, Self::Read];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Cancel => "cancel",
            Self::Change => "change",
            Self::Read => "read",
        }
    }

    pub(crate) fn of(f: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == f)
    }
}

/// One event of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// The line and the event that it is in its batch, from 0.
    pub(crate) line: u64,
    pub(crate) position: u64,
    pub(crate) index: Option<u64>,
    pub(crate) time: i64,
    pub(crate) process: u64,
    pub(crate) event_type: EventType,
    pub(crate) name: Name,
    pub(crate) strict: bool,
    pub(crate) final_read: bool,
    pub(crate) local: bool,
    pub(crate) node: Option<Text>,
    pub(crate) digest: Option<Text>,
    pub(crate) argument: Argument,
}

/// An operation's value, as far as its shape tells without its name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    /// No pair of a cart and something.
    Odd,
    /// A cart's name, and what stands beside it.
    Of { cart: Text, key: Key, content: Content },
}

/// What stands beside the cart's key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// Null.
    Nothing,
    /// One item.
    Item(RawItem),
    /// A list without elements: of ids or of items.
    Empty,
    /// A list of add_ids.
    Ids(Items),
    /// A list of items.
    Items(Items),
    /// Ids to cancel, and an item to add.
    Change { cancel: Items, add: Option<RawItem> },
    /// Anything else.
    Odd,
}

impl Batch {
    /// A batch over lines of a file, with nothing parsed yet.
    pub(crate) fn refill(&mut self, text: String) {
        self.clear();
        self.text = text;
    }

    /// Forgets everything, keeps the memory; the text's buffer is handed back empty.
    pub(crate) fn clear(&mut self) -> Vec<u8> {
        self.spill.clear();
        self.items.clear();
        self.operations.clear();
        (self.lines, self.events, self.fault) = (0, 0, None);
        let mut text = std::mem::take(&mut self.text).into_bytes();
        text.clear();
        text
    }

    pub(crate) fn str(&self, text: Text) -> &str {
        let start = (text.start & !SPILLED) as usize;
        let source = if text.start & SPILLED == 0 { &self.text } else { &self.spill };
        &source[start..start + text.length as usize]
    }

    pub(crate) fn items(&self, items: Items) -> &[RawItem] {
        &self.items[items.start as usize..(items.start + items.length) as usize]
    }

    #[cfg(test)]
    pub(crate) fn all_items(&self) -> &[RawItem] {
        &self.items
    }

    /// The text, and what is written while it is read.
    pub(crate) fn split(&mut self) -> (&str, Sink<'_>, Parsed<'_>) {
        let Self { text, spill, items, operations, lines, events, fault } = self;
        let sink = Sink { base: text.as_ptr() as usize, spill, items };
        (text, sink, Parsed { operations, lines, events, fault })
    }

    /// Adds an event; those of the nemesis are passed over.
    ///
    /// # Errors
    /// What is wrong with its value, in words.
    pub(crate) fn push_event(&mut self, event: &Event) -> Result<(), String> {
        self.lines += 1;
        self.events += 1;
        let Process::Client(process) = event.process else { return Ok(()) };
        let name = Name::of(&event.f).ok_or_else(|| no_operation(&event.f))?;
        let (_, mut sink, parsed) = self.split();
        let argument = match event.event_type {
            // What a write's completion repeats is known from its invocation.
            EventType::Fail | EventType::Info => Argument::Odd,
            EventType::Ok if name != Name::Read => Argument::Odd,
            EventType::Ok | EventType::Invoke => sink.argument(&CartValue::from_event(event)?),
        };
        let node = event.node.as_deref().map(|node| sink.spill(node));
        let digest = event.digest.as_deref().map(|digest| sink.spill(digest));
        parsed.operations.push(Operation {
            line: *parsed.lines - 1,
            position: *parsed.events - 1,
            index: Some(event.index),
            time: event.time,
            process,
            event_type: event.event_type,
            name,
            strict: event.strict,
            final_read: event.final_read,
            local: event.local,
            node,
            digest,
            argument,
        });
        Ok(())
    }
}

/// What to say of an `f` that is none of ours.
pub(crate) fn no_operation(f: &str) -> String {
    format!("{f} is no cart operation (add, cancel, change, read)")
}

/// Where parsing writes texts and items.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    base: usize,
    spill: &'a mut String,
    items: &'a mut Vec<RawItem>,
}

impl Sink<'_> {
    /// The place of a text that is part of the batch's.
    pub(crate) fn borrow(&self, text: &str) -> Text {
        let start = (text.as_ptr() as usize).wrapping_sub(self.base);
        Text::at(start, text.len())
    }

    /// Keeps a text that is not.
    pub(crate) fn spill(&mut self, text: &str) -> Text {
        let start = self.spill.len() as u32 | SPILLED;
        self.spill.push_str(text);
        Text { start, length: text.len() as u32 }
    }

    /// The run of all items from `start` on.
    pub(crate) fn items_from(&self, start: usize) -> Items {
        Items { start: start as u32, length: (self.items.len() - start) as u32 }
    }

    pub(crate) fn push(&mut self, item: RawItem) {
        self.items.push(item);
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Forgets all but the first items.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.items.truncate(length);
    }

    fn argument(&mut self, value: &CartValue) -> Argument {
        let cart = self.spill(value.cart());
        let content = match value {
            CartValue::Add { item, .. } => Content::Item(self.item(item)),
            CartValue::Cancel { add_ids, .. } => Content::Ids(self.ids(add_ids)),
            CartValue::Change { cancel, add, .. } => Content::Change {
                cancel: self.ids(cancel),
                add: add.as_ref().map(|item| self.item(item)),
            },
            CartValue::Read { items: None, .. } => Content::Nothing,
            CartValue::Read { items: Some(items), .. } => {
                let start = self.len();
                for item in items {
                    let item = self.item(item);
                    self.push(item);
                }
                Content::Items(self.items_from(start))
            }
        };
        Argument::Of { cart, key: Key::of(value.cart().as_bytes()), content }
    }

    fn item(&mut self, item: &Item) -> RawItem {
        let add_id = self.spill(&item.add_id);
        let terms = terms(sku_hash(item.sku.as_bytes()), item.quantity.into());
        RawItem { add_id, key: Key::of(item.add_id.as_bytes()), terms }
    }

    fn ids(&mut self, add_ids: &[String]) -> Items {
        let start = self.len();
        for add_id in add_ids {
            let text = self.spill(add_id);
            self.push(RawItem { add_id: text, key: Key::of(add_id.as_bytes()), terms: 0 });
        }
        self.items_from(start)
    }
}

/// The hash of a sku.
pub(crate) fn sku_hash(sku: &[u8]) -> u64 {
    xxh3_64(sku)
}

/// The hash of what an item is, beside its id; never 0.
pub(crate) fn terms(sku_hash: u64, quantity: u64) -> u64 {
    sku_hash.wrapping_add(quantity.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1
}
