//! Generated histories: a sound one is valid, and each way of breaking it is found for what it is.
//! Also the check that time and memory grow with the history and no faster.

use std::time::Duration;

use cartwheel_checker::cart::{self, CartValue, Results};
use cartwheel_checker::{Event, EventType, JsonLines, Verdict, read_history, write_edn};
use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};

#[path = "../benches/generate/mod.rs"]
mod generate;

use generate::Shape;

fn lines(shape: Shape) -> Vec<u8> {
    let mut lines = Vec::new();
    let written = generate::write(shape, &mut lines).expect("a history");
    assert!(written.reads > 0 && written.shown > 0, "a history that shows nothing tests nothing");
    lines
}

fn history(seed: u64) -> Vec<Event> {
    let shape = Shape { operations: 300, carts: 4, items: 5, processes: 6, seed };
    let lines = lines(shape);
    JsonLines::new(lines.as_slice()).collect::<Result<_, _>>().expect("events")
}

/// The add_ids that the last owner's copy of some cart shows.
fn shown_finally(history: &[Event]) -> Vec<String> {
    let finals = history.iter().filter(|e| e.final_read && e.event_type == EventType::Ok);
    let mut shown: Vec<_> = finals.flat_map(items).map(|item| item.add_id).collect();
    shown.sort_unstable();
    shown.dedup();
    shown
}

fn items(event: &Event) -> Vec<cart::Item> {
    match CartValue::from_event(event) {
        Ok(CartValue::Read { items: Some(items), .. }) => items,
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Changes what reads showed.
fn edit(
    history: &mut [Event],
    reads: impl Fn(&Event) -> bool,
    edit: impl Fn(&mut Vec<cart::Item>),
) {
    for event in history.iter_mut().filter(|event| reads(event)) {
        let Ok(CartValue::Read { cart, items: Some(mut items) }) = CartValue::from_event(event)
        else {
            continue;
        };
        edit(&mut items);
        event.value = CartValue::Read { cart, items: Some(items) }.into();
    }
}

fn acknowledged(history: &[Event], add_id: &str) -> bool {
    let names = |value| match value {
        CartValue::Add { item, .. } | CartValue::Change { add: Some(item), .. } => {
            item.add_id == add_id
        }
        CartValue::Cancel { .. } | CartValue::Change { add: None, .. } | CartValue::Read { .. } => {
            false
        }
    };
    let mut ok = history.iter().filter(|event| event.event_type == EventType::Ok);
    ok.any(|event| CartValue::from_event(event).is_ok_and(names))
}

/// An addition of the history that was acknowledged, is in the final reads, and that no
/// cancellation names.
fn kept(history: &[Event], pick: prop::sample::Index) -> Option<String> {
    let cancelled: Vec<String> = history
        .iter()
        .filter_map(|event| CartValue::from_event(event).ok())
        .flat_map(|value| match value {
            CartValue::Cancel { add_ids, .. } => add_ids,
            CartValue::Change { cancel, .. } => cancel,
            CartValue::Add { .. } | CartValue::Read { .. } => Vec::new(),
        })
        .collect();
    let candidates: Vec<_> = shown_finally(history)
        .into_iter()
        .filter(|id| acknowledged(history, id) && !cancelled.contains(id))
        .collect();
    (!candidates.is_empty()).then(|| candidates[pick.index(candidates.len())].clone())
}

fn from_file(history: &[Event], name: &str) -> Results {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(name);
    let mut file = Vec::new();
    if name.ends_with("edn") {
        write_edn(history, &mut file).expect("written");
    } else {
        let mut writer = cartwheel_checker::HistoryWriter::new(&mut file);
        history.iter().for_each(|event| writer.append(event).expect("written"));
    }
    std::fs::write(&path, file).expect("written");
    assert_eq!(read_history(&path).expect("events"), history, "{name} changes nothing");
    cart::check_file(&path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_sound_history_is_valid_in_every_form(seed: u64) {
        let history = history(seed);
        let results = cart::check(&history);
        prop_assert_eq!(results.valid, Verdict::Valid, "{:?}", results);
        prop_assert_eq!(results.stale_count, 0);
        prop_assert_eq!(results.read_your_writes_count + results.monotonic_reads_count, 0);
        prop_assert!(results.acknowledged_count > 0);
        prop_assert_eq!(&from_file(&history, "history.jsonl"), &results);
        prop_assert_eq!(&from_file(&history, "history.edn"), &results);
    }

    #[test]
    fn an_acknowledged_addition_in_no_final_read_is_lost(seed: u64, pick: prop::sample::Index) {
        let mut history = history(seed);
        let Some(add_id) = kept(&history, pick) else { return Ok(()) };
        edit(&mut history, |e| e.final_read, |items| items.retain(|item| item.add_id != add_id));
        let results = cart::check(&history);
        prop_assert_eq!(results.valid, Verdict::Invalid);
        prop_assert_eq!(results.lost, [add_id]);
    }

    #[test]
    fn one_owner_that_lacks_an_addition_has_diverged(seed: u64, pick: prop::sample::Index) {
        let mut history = history(seed);
        let Some(add_id) = kept(&history, pick) else { return Ok(()) };
        let last_local = history
            .iter()
            .rposition(|e| e.local && items(e).iter().any(|item| item.add_id == add_id))
            .expect("an owner's copy shows it");
        let index = history[last_local].index;
        edit(
            &mut history,
            |event| event.index == index,
            |items| items.retain(|item| item.add_id != add_id),
        );
        let results = cart::check(&history);
        prop_assert_eq!(results.valid, Verdict::Invalid);
        prop_assert_eq!(results.diverged_count, 1);
        prop_assert!(results.diverged[0].differing.contains_key(&add_id));
        prop_assert!(results.lost.is_empty());
    }

    #[test]
    fn an_item_shown_twice_is_duplicated(seed: u64, pick: prop::sample::Index) {
        let mut history = history(seed);
        let Some(add_id) = kept(&history, pick) else { return Ok(()) };
        edit(&mut history, |_| true, |items| {
            let again = items.iter().find(|item| item.add_id == add_id).cloned();
            items.extend(again);
        });
        let results = cart::check(&history);
        prop_assert_eq!(results.valid, Verdict::Invalid);
        prop_assert_eq!(results.duplicated, [add_id]);
    }

    #[test]
    fn an_item_that_changed_is_a_phantom(seed: u64, pick: prop::sample::Index) {
        let mut history = history(seed);
        let Some(add_id) = kept(&history, pick) else { return Ok(()) };
        edit(&mut history, |_| true, |items| {
            for item in items.iter_mut().filter(|item| item.add_id == add_id) {
                item.quantity += 1;
            }
        });
        let results = cart::check(&history);
        prop_assert_eq!(results.valid, Verdict::Invalid);
        prop_assert_eq!(results.phantom, [add_id]);
    }

    #[test]
    fn without_final_reads_nothing_is_known(seed: u64) {
        let mut history = history(seed);
        history.retain(|event| !event.final_read);
        let results = cart::check(&history);
        prop_assert_eq!(results.valid, Verdict::Unknown);
        prop_assert!(results.error.is_some_and(|error| error.contains("no final read")));
    }

    #[test]
    fn a_truncated_file_is_unknown_and_says_where(seed: u64, cut in 0.1..0.95_f64) {
        let shape = Shape { operations: 40, carts: 2, items: 3, processes: 3, seed };
        let mut lines = lines(shape);
        let whole = (lines.len() as f64 * cut) as usize;
        lines.truncate(whole);
        // Within a line, not behind its end, where what is left would be whole.
        while matches!(lines.last(), Some(b'\n' | b'}')) {
            lines.pop();
        }
        let line = 1 + lines.iter().filter(|byte| **byte == b'\n').count();
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("history.jsonl");
        std::fs::write(&path, &lines).expect("written");
        let results = cart::check_file(&path);
        prop_assert_eq!(results.valid, Verdict::Unknown);
        let error = results.error.expect("a reason");
        prop_assert!(error.starts_with(&format!("line {line}: ")), "{} at {}", error, line);
        let read = read_history(&path).expect_err("it is truncated").to_string();
        prop_assert!(read.starts_with(&format!("line {line}: ")), "{}", read);
    }
}

/// Several batches of the streaming reader long, and so is the place of the fault.
#[test]
fn a_long_file_is_judged_as_its_events_are_and_its_faults_are_located() {
    let shape = Shape { operations: 8_000, carts: 40, items: 11, processes: 20, seed: 7 };
    let lines = lines(shape);
    assert!(lines.len() > 4 << 20, "{} bytes", lines.len());
    let events: Vec<Event> =
        JsonLines::new(lines.as_slice()).collect::<Result<_, _>>().expect("events");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("history.jsonl");
    std::fs::write(&path, &lines).expect("written");
    let results = cart::check_file(&path);
    assert_eq!(results.valid, Verdict::Valid, "{:?}", results.error);
    assert_eq!(results, cart::check(&events));

    for damaged in [1, 7_000, 16_000] {
        let mut text = lines.clone();
        let mut starts = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let (newline, _) = starts.nth(damaged - 1).expect("a line");
        text[newline - 1] = b'?';
        std::fs::write(&path, &text).expect("written");
        let results = cart::check_file(&path);
        assert_eq!(results.valid, Verdict::Unknown);
        let error = results.error.expect("a reason");
        assert!(error.starts_with(&format!("line {damaged}: ")), "{error}");
        text[newline - 1] = 0xff;
        std::fs::write(&path, &text).expect("written");
        assert_eq!(cart::check_file(&path).error, Some(format!("line {damaged}: not UTF-8")));
    }
}

/// How long this thread has computed, whatever else the machine does.
fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it has not run for less than nothing")
}

/// An addition that is lost at once stays missing from every later read: a checker that compares
/// each read with each of those takes a hundred times as long for ten times the history.
#[test]
fn losing_everything_costs_no_more_than_keeping_it() {
    let lossy = |writes: u64| -> Vec<Event> {
        let cart = || "cart-0".to_owned();
        (0..writes)
            .flat_map(|number| {
                let item =
                    cart::Item { add_id: format!("a{number}"), sku: "s".into(), quantity: 1 };
                let add = CartValue::Add { cart: cart(), item };
                let ask = CartValue::Read { cart: cart(), items: None };
                let none = CartValue::Read { cart: cart(), items: Some(Vec::new()) };
                [
                    Event::cart(EventType::Invoke, 0, add.clone()).with_strict(true),
                    Event::cart(EventType::Ok, 0, add).with_strict(true),
                    Event::cart(EventType::Invoke, 0, ask).with_strict(true).with_final(),
                    Event::cart(EventType::Ok, 0, none).with_strict(true).with_final(),
                ]
            })
            .collect()
    };
    // The fastest of some tries, because others use this machine's caches too.
    let time = |writes: u64| {
        let history = lossy(writes);
        let tries = (0..4).map(|_| {
            let start = computed();
            assert_eq!(cart::check(&history).lost_count, writes);
            computed() - start
        });
        tries.min().expect("some tries")
    };
    let (small, large) = (time(8_000), time(80_000));
    assert!(large < small * 40, "{small:?} for 8,000, {large:?} for 80,000 operations");
}
