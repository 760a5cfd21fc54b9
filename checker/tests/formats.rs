//! Histories go from one format to the other and back unchanged, and damage is located.

use std::path::PathBuf;

use cartwheel_checker::cart::{CartValue, Item};
use cartwheel_checker::{
    Event, EventType, Float, HistoryWriter, Process, Value, read_history, write_edn,
};
use proptest::prelude::*;

/// Writes a file and reads it as a history.
fn read(name: &str, contents: &[u8]) -> Result<Vec<Event>, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let path: PathBuf = dir.path().join(name);
    std::fs::write(&path, contents).expect("written");
    read_history(&path).map_err(|error| error.to_string())
}

fn as_json(events: &[Event]) -> Vec<u8> {
    let mut writer = HistoryWriter::new(Vec::new());
    events.iter().for_each(|event| writer.append(event).expect("written"));
    writer.into_inner().expect("bytes")
}

fn as_edn(events: &[Event]) -> Vec<u8> {
    let mut edn = Vec::new();
    write_edn(events, &mut edn).expect("written");
    edn
}

/// Texts with what needs escaping, and what looks like something else.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        any::<String>(),
        Just(":key".to_owned()),
        Just("nil \"quoted\" \\ \n\t\r;".to_owned()),
    ]
}

/// A key as JSON reads it: a keyword where EDN could write one.
fn key() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a-z][a-z0-9_-]{0,6}[?!]?".prop_map(Value::Keyword),
        "[0-9 :/]{1,4}".prop_map(Value::Text),
    ]
}

/// Values that both formats can hold.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<i32>().prop_map(|number| Value::Float(Float(f64::from(number) / 8.0))),
        text().prop_map(Value::Text),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Vector),
            prop::collection::btree_map(key(), inner, 0..4).prop_map(Value::Map),
        ]
    })
}

/// Values that only EDN can hold.
fn edn_value() -> impl Strategy<Value = Value> {
    value().prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            "[a-z]{1,5}".prop_map(Value::Keyword),
            "[a-z]{2,5}x".prop_map(Value::Symbol),
            prop::collection::btree_set(inner.clone(), 0..3).prop_map(Value::Set),
            ("[a-z]{1,5}", inner).prop_map(|(tag, inner)| Value::Tagged(tag, Box::new(inner))),
        ]
    })
}

fn item() -> impl Strategy<Value = Item> {
    (text(), text(), any::<i32>()).prop_map(|(add_id, sku, quantity)| Item {
        add_id,
        sku,
        quantity: quantity.unsigned_abs(),
    })
}

fn cart_value() -> impl Strategy<Value = CartValue> {
    let ids = || prop::collection::vec(text(), 0..3);
    prop_oneof![
        (text(), item()).prop_map(|(cart, item)| CartValue::Add { cart, item }),
        (text(), ids()).prop_map(|(cart, add_ids)| CartValue::Cancel { cart, add_ids }),
        (text(), ids(), prop::option::of(item()))
            .prop_map(|(cart, cancel, add)| CartValue::Change { cart, cancel, add }),
        (text(), prop::option::of(prop::collection::vec(item(), 0..3)))
            .prop_map(|(cart, items)| CartValue::Read { cart, items }),
    ]
}

fn event(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Event> {
    let process =
        prop_oneof![(0..i64::MAX as u64).prop_map(Process::Client), Just(Process::nemesis()),];
    let event_type = prop::sample::select(vec![
        EventType::Invoke,
        EventType::Ok,
        EventType::Fail,
        EventType::Info,
    ]);
    let flags = any::<(bool, bool, bool)>();
    let text = || prop::option::of("[a-z0-9]{1,4}");
    let nodes = (text(), text());
    let error = prop::option::of("[a-z ]{1,9}");
    let place = (any::<u32>(), any::<i32>());
    (process, event_type, "[a-z][a-z-]{0,8}", value, flags, nodes, error, place).prop_map(
        |(
            process,
            event_type,
            f,
            value,
            (strict, final_read, local),
            (node, digest),
            error,
            place,
        )| Event {
            index: place.0.into(),
            time: place.1.into(),
            strict,
            final_read,
            local,
            node,
            digest,
            error: error.map(Value::Text),
            extras: vec![("clock-offsets".to_owned(), value.clone())],
            ..Event::new(event_type, process, f, value)
        },
    )
}

proptest! {
    #[test]
    fn json_to_edn_and_back_changes_nothing(
        events in prop::collection::vec(event(value()), 0..5),
    ) {
        let json = as_json(&events);
        let from_json = read("h.jsonl", &json).expect("our own JSON");
        prop_assert_eq!(&from_json, &events);
        let from_edn = read("h.edn", &as_edn(&from_json)).expect("our own EDN");
        prop_assert_eq!(&from_edn, &events);
        prop_assert_eq!(as_json(&from_edn), json);
    }

    #[test]
    fn edn_is_read_as_it_was_written(events in prop::collection::vec(event(edn_value()), 0..5)) {
        let edn = as_edn(&events);
        let lines = edn.iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(lines, events.len(), "one map a line");
        prop_assert_eq!(read("h.edn", &edn).expect("our own EDN"), events);
    }

    #[test]
    fn cart_values_are_typed_values(value in cart_value()) {
        let event = Event::cart(EventType::Ok, 3, value.clone());
        prop_assert_eq!(CartValue::from_event(&event), Ok(value));
        prop_assert_eq!(read("h.edn", &as_edn(std::slice::from_ref(&event))), Ok(vec![event]));
    }
}

#[test]
fn the_first_fault_is_located() {
    let good = r#"{"type":"ok","process":0,"f":"add","value":1}"#;
    let cases = [
        (
            "h.jsonl",
            format!("{good}\n\n{{\"type\":\"ok\",\n"),
            "line 3: the line ends in the middle",
        ),
        (
            "h.jsonl",
            format!("{good}\n{{\"type\":\"maybe\"}}\n"),
            "line 2: type is \"maybe\", not one",
        ),
        ("h.jsonl", "{\"type\":\"ok\",\"f\":\"add\"}".into(), "line 1: the event has no process"),
        ("h.jsonl", format!("{good} x\n"), "line 1: trailing characters"),
        ("h.jsonl", "{\"index\":-1}".into(), "line 1: index is -1, not a whole number from 0"),
        ("h.edn", "{:type :ok :process 0 :f :add}\n\n{:type :ok".into(), "line 3: the file ends"),
        (
            "h.edn",
            "{:type :ok\n:process 0, :f 7}".into(),
            "line 1: f is 7, not an operation's name",
        ),
        ("h.edn", "\n[{:type :ok :process 0 :f :add} 7]".into(), "line 2: element 1 of the vector"),
        (
            "h.edn",
            "{:type :ok :process 0 :f :add}\n}".into(),
            "line 2: not EDN: UnmatchedDelimiter",
        ),
        ("h", "what is this".into(), "line 1: not an event"),
    ];
    for (name, contents, reason) in cases {
        let error = read(name, contents.as_bytes()).expect_err(&contents);
        assert!(error.starts_with(reason), "{contents:?}: {error}");
    }
    let error = read("h.edn", b"; fine\n\xff").expect_err("no text");
    assert_eq!(error, "line 2: not UTF-8");
}

#[test]
fn an_empty_file_is_an_empty_history() {
    for name in ["h", "h.jsonl", "h.edn"] {
        assert_eq!(read(name, b"\n \n"), Ok(Vec::new()), "{name}");
    }
    assert_eq!(read("h.edn", b"; nothing\n#_{:type :ok}"), Ok(Vec::new()));
}

#[test]
fn the_format_is_told_by_the_contents_where_the_name_does_not() {
    let event = Event::nemesis("kill", "n1").at(0, 5).with_error("none");
    for contents in [as_json(std::slice::from_ref(&event)), as_edn(std::slice::from_ref(&event))] {
        assert_eq!(read("history", &contents), Ok(vec![event.clone()]));
    }
}

#[test]
fn lines_have_jepsens_keys_in_its_order() {
    let items = vec![Item { add_id: "a1".into(), sku: "milk".into(), quantity: 2 }];
    let value = CartValue::Read { cart: "c1".into(), items: Some(items) };
    let mut event =
        Event::cart(EventType::Ok, 7, value).at(3, 42).with_node("n1").with_local_final();
    event.digest = Some("0d".to_owned());
    assert_eq!(
        String::from_utf8(as_edn(std::slice::from_ref(&event))).expect("text"),
        "{:index 3, :time 42, :type :ok, :process 7, :f :read, :value [\"c1\" [{:add_id \"a1\", \
         :quantity 2, :sku \"milk\"}]], :node \"n1\", :final? true, :local? true, :digest \
         \"0d\"}\n"
    );
    assert_eq!(
        String::from_utf8(as_json(&[event])).expect("text"),
        "{\"index\":3,\"time\":42,\"type\":\"ok\",\"process\":7,\"f\":\"read\",\"value\":[\"c1\",\
         [{\"add_id\":\"a1\",\"quantity\":2,\"sku\":\"milk\"}]],\"node\":\"n1\",\"final?\":true,\
         \"local?\":true,\"digest\":\"0d\"}\n"
    );
}
