//! The lines that our own writer writes, scanned byte for byte. Nearly all lines of a big history
//! are such, and this takes less than half the time of a parser that is ready for every JSON.
//!
//! It knows one order of keys, no white space, no escapes and no negative numbers. It takes a line
//! only where the general parser (`line.rs`) would say the same of it, and leaves the others alone.

use super::batch::{Argument, Content, Items, Key, Name, Operation, RawItem, Sink, Text};
use super::batch::{sku_hash, terms};
use crate::event::EventType;

/// The operation in the line that begins there, and where the next line begins. `None`, with
/// nothing left in the sink, for a line of any other shape: it may be sound all the same.
pub(crate) fn operation(
    text: &str,
    start: usize,
    line: u64,
    position: u64,
    sink: &mut Sink<'_>,
) -> Option<(Operation, usize)> {
    let items = sink.len();
    let mut scanner = Scanner { rest: text.as_bytes().get(start..)?, end: text.len() };
    let operation = scanner.line(line, position, sink);
    if operation.is_none() {
        sink.truncate(items);
    }
    Some((operation?, scanner.at()))
}

/// Words of eight bytes of this value.
const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The lowest bit set is the top bit of the first byte with which plain text ends: a quotation
/// mark, a backslash or a control character. 0 if there is none.
fn stops(word: u64) -> u64 {
    let zeros = |bytes: u64| bytes.wrapping_sub(repeat(1)) & !bytes;
    let control = word.wrapping_sub(repeat(b' ')) & !word;
    (zeros(word ^ repeat(b'"')) | zeros(word ^ repeat(b'\\')) | control) & repeat(0x80)
}

fn is_plain(byte: u8) -> bool {
    byte != b'"' && byte != b'\\' && byte >= b' '
}

struct Scanner<'t> {
    rest: &'t [u8],
    /// Where the text ends.
    end: usize,
}

impl Scanner<'_> {
    fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Steps over exactly these bytes.
    fn expect<const N: usize>(&mut self, bytes: &[u8; N]) -> Option<()> {
        let (found, rest) = self.rest.split_first_chunk::<N>()?;
        (found == bytes).then(|| self.rest = rest)
    }

    /// Steps over these bytes if they stand here.
    fn maybe<const N: usize>(&mut self, bytes: &[u8; N]) -> bool {
        self.expect(bytes).is_some()
    }

    fn line(&mut self, line: u64, position: u64, sink: &mut Sink<'_>) -> Option<Operation> {
        self.expect(b"{\"index\":")?;
        let index = Some(self.number()?);
        self.expect(b",\"time\":")?;
        let time = self.number()?.cast_signed();
        self.expect(b",\"type\":\"")?;
        let event_type = self.event_type()?;
        self.expect(b",\"process\":")?;
        let process = self.number()?;
        self.expect(b",\"f\":\"")?;
        let name = self.name()?;
        self.expect(b",\"value\":[\"")?;
        let argument = self.argument(sink)?;
        if self.maybe(b",\"error\":\"") {
            self.string()?;
        }
        let node = if self.maybe(b",\"node\":\"") { Some(self.text()?.0) } else { None };
        let strict = self.maybe(b",\"strict\":true");
        let final_read = self.maybe(b",\"final?\":true");
        let local = self.maybe(b",\"local?\":true");
        let digest = if self.maybe(b",\"digest\":\"") { Some(self.text()?.0) } else { None };
        self.expect(b"}")?;
        if !self.rest.is_empty() {
            self.expect(b"\n")?;
        }
        Some(Operation {
            line,
            position,
            index,
            time,
            process,
            event_type,
            name,
            strict,
            final_read,
            local,
            node,
            digest,
            argument,
        })
    }

    /// A whole number of up to 18 digits.
    fn number(&mut self) -> Option<u64> {
        let first = *self.rest.first()?;
        let (mut number, mut digits) = (0, 0);
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            number = number * 10 + u64::from(digit - b'0');
            digits += 1;
            if digits > 18 {
                return None;
            }
            self.rest = rest;
        }
        (digits == 1 || digits > 1 && first != b'0').then_some(number)
    }

    /// The rest of a string, up to and over the quotation mark that ends it.
    fn string(&mut self) -> Option<&[u8]> {
        self.string_from(0)
    }

    /// The same where that many bytes are known to be plain.
    fn string_from(&mut self, plain: usize) -> Option<&[u8]> {
        let mut length = plain;
        let mut ahead = self.rest.get(plain..)?;
        while let Some((word, further)) = ahead.split_first_chunk::<8>() {
            let stops = stops(u64::from_le_bytes(*word));
            if stops != 0 {
                ahead = &ahead[stops.trailing_zeros() as usize / 8..];
                break;
            }
            ahead = further;
        }
        ahead = &ahead[ahead.iter().position(|byte| !is_plain(*byte))?..];
        length += self.rest.len() - plain - ahead.len();
        let string = &self.rest[..length];
        self.rest = ahead.strip_prefix(b"\"")?;
        Some(string)
    }

    fn event_type(&mut self) -> Option<EventType> {
        match self.string()? {
            b"invoke" => Some(EventType::Invoke),
            b"ok" => Some(EventType::Ok),
            b"fail" => Some(EventType::Fail),
            b"info" => Some(EventType::Info),
            _ => None,
        }
    }

    fn name(&mut self) -> Option<Name> {
        match self.string()? {
            b"read" => Some(Name::Read),
            b"add" => Some(Name::Add),
            b"cancel" => Some(Name::Cancel),
            b"change" => Some(Name::Change),
            _ => None,
        }
    }

    /// The rest of a short string.
    fn text(&mut self) -> Option<(Text, Key)> {
        let start = self.at();
        let string = self.string()?;
        Some((Text::at(start, string.len()), Key::of(string)))
    }

    /// The rest of an add_id. Most have 36 characters: the first 32 are looked at as a whole.
    fn add_id(&mut self) -> Option<(Text, Key)> {
        let start = self.at();
        let plain = match self.rest.first_chunk::<32>() {
            Some(chunk) if chunk.iter().fold(true, |all, byte| all & is_plain(*byte)) => 32,
            Some(_) | None => 0,
        };
        let add_id = self.string_from(plain)?;
        Some((Text::at(start, add_id.len()), Key::of(add_id)))
    }

    /// The rest of an operation's value, from its cart's name on.
    fn argument(&mut self, sink: &mut Sink<'_>) -> Option<Argument> {
        let (cart, key) = self.text()?;
        self.expect(b",")?;
        let content = match self.rest.first()? {
            b'n' => self.expect(b"null").map(|()| Content::Nothing)?,
            b'[' => self.list(sink)?,
            b'{' => self.object(sink)?,
            _ => return None,
        };
        self.expect(b"]")?;
        Some(Argument::Of { cart, key, content })
    }

    fn list(&mut self, sink: &mut Sink<'_>) -> Option<Content> {
        if self.maybe(b"[]") {
            return Some(Content::Empty);
        }
        if !self.maybe(b"[{\"add_id\":\"") {
            return self.ids(sink).map(Content::Ids);
        }
        let start = sink.len();
        loop {
            let item = self.item()?;
            sink.push(item);
            if self.maybe(b"]") {
                return Some(Content::Items(sink.items_from(start)));
            }
            self.expect(b",{\"add_id\":\"")?;
        }
    }

    /// A list of at least one add_id.
    fn ids(&mut self, sink: &mut Sink<'_>) -> Option<Items> {
        let start = sink.len();
        self.expect(b"[\"")?;
        loop {
            let (add_id, key) = self.add_id()?;
            sink.push(RawItem { add_id, key, terms: 0 });
            if self.maybe(b"]") {
                return Some(sink.items_from(start));
            }
            self.expect(b",\"")?;
        }
    }

    /// An item or a change.
    fn object(&mut self, sink: &mut Sink<'_>) -> Option<Content> {
        if self.maybe(b"{\"add_id\":\"") {
            return self.item().map(Content::Item);
        }
        let add = if self.maybe(b"{\"add\":{\"add_id\":\"") {
            let item = self.item()?;
            self.expect(b",")?;
            Some(item)
        } else {
            self.expect(b"{")?;
            None
        };
        self.expect(b"\"cancel\":")?;
        let cancel = if self.maybe(b"[]") { Items::default() } else { self.ids(sink)? };
        self.expect(b"}")?;
        Some(Content::Change { cancel, add })
    }

    /// The rest of an item, from its add_id on.
    fn item(&mut self) -> Option<RawItem> {
        let (add_id, key) = self.add_id()?;
        self.expect(b",\"quantity\":")?;
        let quantity = self.number()?;
        self.expect(b",\"sku\":\"")?;
        let sku = sku_hash(self.string()?);
        self.expect(b"}")?;
        Some(RawItem { add_id, key, terms: terms(sku, quantity) })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::batch::Batch;
    use super::super::line;
    use super::super::value::{CartValue, Item};
    use super::operation;
    use crate::event::{Event, EventType};

    /// Whether the scanner took the line; then the general parser must have taken it likewise.
    fn agrees(text: &str) -> bool {
        let mut scanned = Batch::default();
        scanned.refill(text.to_owned());
        let (line, mut sink, _) = scanned.split();
        let taken = operation(line, 0, 4, 3, &mut sink);
        let mut parsed = Batch::default();
        parsed.refill(text.to_owned());
        let (line, mut sink, _) = parsed.split();
        let whole = line.strip_suffix('\n').unwrap_or(line);
        let general = line::parse(whole, 4, 3, &mut sink);
        let Some((taken, next)) = taken else {
            assert!(scanned.all_items().is_empty(), "{text} was refused and left something");
            return false;
        };
        assert_eq!(next, text.len(), "{text}");
        assert_eq!(format!("{:?}", Ok::<_, String>(Some(taken))), format!("{general:?}"), "{text}");
        assert_eq!(
            format!("{:?}", scanned.all_items()),
            format!("{:?}", parsed.all_items()),
            "{text}"
        );
        true
    }

    fn plain() -> BoxedStrategy<String> {
        prop_oneof!["[a-z0-9-]{0,9}", "[0-9a-f-]{36}", "[ -!#-\\[\\]-~é]{30,50}"].boxed()
    }

    fn any_text() -> BoxedStrategy<String> {
        prop_oneof![4 => plain(), 1 => any::<String>()].boxed()
    }

    fn value(text: fn() -> BoxedStrategy<String>) -> impl Strategy<Value = CartValue> {
        let item = || {
            (text(), text(), any::<u32>()).prop_map(|(add_id, sku, quantity)| Item {
                add_id,
                sku,
                quantity,
            })
        };
        let ids = || prop::collection::vec(text(), 0..3);
        let items = prop::option::of(prop::collection::vec(item(), 0..4));
        prop_oneof![
            (text(), item()).prop_map(|(cart, item)| CartValue::Add { cart, item }),
            (text(), ids()).prop_map(|(cart, add_ids)| CartValue::Cancel { cart, add_ids }),
            (text(), ids(), prop::option::of(item()))
                .prop_map(|(cart, cancel, add)| CartValue::Change { cart, cancel, add }),
            (text(), items).prop_map(|(cart, items)| CartValue::Read { cart, items }),
        ]
    }

    /// A line as our own writer writes it.
    fn line(text: fn() -> BoxedStrategy<String>) -> impl Strategy<Value = String> {
        let types = vec![EventType::Invoke, EventType::Ok, EventType::Fail, EventType::Info];
        let place = (any::<u32>(), any::<u32>(), any::<u32>());
        let maybe = || prop::option::of(text());
        let more = (maybe(), maybe(), maybe(), any::<[bool; 3]>());
        (prop::sample::select(types), value(text), place, more).prop_map(
            |(
                event_type,
                value,
                (index, time, process),
                (node, error, digest, [strict, fin, local]),
            )| {
                let mut event = Event::cart(event_type, process.into(), value)
                    .at(index.into(), time.into())
                    .with_strict(strict);
                (event.node, event.digest) = (node, digest);
                event.error = error.map(crate::Value::Text);
                (event.final_read, event.local) = (fin, local);
                serde_json::to_string(&event).unwrap() + "\n"
            },
        )
    }

    /// Puts a piece of `from` or a character of meaning in the place of a piece of `line`.
    fn spoil(line: &str, from: &str, edit: &(Index, usize, Index, usize, Option<char>)) -> String {
        let (at, gone, source, length, character) = edit;
        let chars: Vec<char> = line.chars().collect();
        let from: Vec<char> = from.chars().collect();
        let at = at.index(chars.len() + 1);
        let source = source.index(from.len() + 1);
        let piece = from[source..from.len().min(source + length)].iter();
        let piece: String = character.map_or_else(|| piece.collect(), String::from);
        let before: String = chars[..at].iter().collect();
        let after: String = chars[chars.len().min(at + gone)..].iter().collect();
        before + &piece + &after
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn plain_lines_of_our_own_are_taken(line in line(plain)) {
            prop_assert!(agrees(&line));
            prop_assert!(agrees(line.trim_end()));
        }

        #[test]
        fn every_line_that_is_taken_means_the_same_to_the_general_parser(
            line in line(any_text),
            other in line(any_text),
            edits in prop::collection::vec(
                (
                    any::<Index>(),
                    0_usize..3,
                    any::<Index>(),
                    0_usize..40,
                    prop::option::of(prop::sample::select(
                        "\"\\{}[],:0123456789.-+eEnut \t\r\u{1}\u{1f}\u{7f}é".chars()
                            .collect::<Vec<_>>(),
                    )),
                ),
                0..4,
            ),
        ) {
            let line = edits.iter().fold(line, |line, edit| spoil(&line, &other, edit));
            // A line ends at its first newline, wherever that came from.
            agrees(line.split_inclusive('\n').next().unwrap_or_default());
        }
    }

    #[test]
    fn what_looks_almost_like_ours_is_left_to_the_general_parser() {
        let line = |index: &str, value: &str, more: &str| {
            format!(
                "{{\"index\":{index},\"time\":5,\"type\":\"ok\",\"process\":1,\"f\":\"read\",\
                 \"value\":{value}{more}}}"
            )
        };
        let item = r#"["c",[{"add_id":"a","quantity":1,"sku":"s"}]]"#;
        assert!(agrees(&line("7", item, "")));
        assert!(agrees(&line("999999999999999999", item, "")));
        for (index, value, more) in [
            ("07", item, ""),
            ("-7", item, ""),
            ("7.0", item, ""),
            ("7e1", item, ""),
            ("", item, ""),
            ("9999999999999999999", item, ""),
            ("7 ", item, ""),
            ("7", r#"["c",["a",{"add_id":"a","quantity":1,"sku":"s"}]]"#, ""),
            ("7", r#"["c",[{"add_id":"\u0061","quantity":1,"sku":"s"}]]"#, ""),
            ("7", r#"["c",[{"add_id":"a","quantity":-1,"sku":"s"}]]"#, ""),
            ("7", r#"["c",[{"add_id":"a","quantity":1,"sku":"s"},]]"#, ""),
            ("7", r#"["c",[],1]"#, ""),
            ("7", "[\"c\u{1}\",[]]", ""),
            ("7", item, r#","node":null"#),
            ("7", item, r#","digest":null"#),
            ("7", item, r#","digest":"d","local?":true"#),
            ("7", item, r#","strict":true,"strict":false"#),
            ("7", item, r#","local?":true,"final?":true"#),
            ("7", item, r#","value":null"#),
            ("7", item, "}"),
        ] {
            assert!(!agrees(&line(index, value, more)), "{index} {value} {more}");
        }
    }
}
