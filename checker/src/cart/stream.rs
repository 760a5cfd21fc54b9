//! A history of JSON lines from its file to the verdict. One thread cuts the file into batches of
//! whole lines, some parse them in turn, and this one checks them in order. Batches go round, so
//! memory does not grow with the file; parsing costs more than checking, so two cores stay busy.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use super::batch::Batch;
use super::checker::Checker;
use super::line;
use super::observe::{Place, observe};
use super::report;
use super::results::Results;
use super::scan;
use crate::read::ReadError;

/// How much of the file one batch holds, in bytes; a longer line makes a longer batch.
const BATCH_BYTES: usize = 1 << 20;
/// How many threads parse.
const PARSERS: usize = 2;
/// How many batches may wait for each parser, and for the checker from each.
const BATCHES_AHEAD: usize = 2;

/// Checks a history of JSON lines.
///
/// # Errors
/// The file cannot be read, or a line (the first such) is malformed or makes no sense.
pub(super) fn check(reader: impl Read + Send) -> Result<Results, ReadError> {
    thread::scope(|scope| {
        let (empties, empty) = mpsc::channel();
        let (mut raw, mut parsed) = (Vec::new(), Vec::new());
        for _ in 0..PARSERS {
            let (to_parse, lines) = mpsc::sync_channel(BATCHES_AHEAD);
            let (full, batches) = mpsc::sync_channel(BATCHES_AHEAD);
            scope.spawn(move || parse_all(&lines, &full));
            raw.push(to_parse);
            parsed.push(batches);
        }
        let cutter = scope.spawn(move || Cutter { reader, empty, rest: Vec::new() }.run(&raw));
        let mut checker = Checker::default();
        let mut place = Place::default();
        // Batches were dealt in turn and are taken in turn, so the first that is missing is the end.
        for batches in parsed.iter().cycle() {
            let Ok(batch) = batches.recv() else { break };
            observe(&mut checker, &batch, &mut place)
                .map_err(|(line, reason)| ReadError::Malformed { line, reason })?;
            // The cutter may have ended already and needs no more batches.
            let _ = empties.send(batch);
        }
        match cutter.join() {
            Ok(cut) => cut.map(|()| report::report(checker)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Cuts the file into whole lines.
struct Cutter<R> {
    reader: R,
    empty: Receiver<Batch>,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
}

impl<R: Read> Cutter<R> {
    /// Deals the file out to the parsers in turn; ends early when one of them is gone.
    fn run(mut self, parsers: &[SyncSender<(Batch, Vec<u8>)>]) -> Result<(), ReadError> {
        for parser in parsers.iter().cycle() {
            let mut batch = self.empty.try_recv().unwrap_or_default();
            let mut lines = batch.clear();
            self.fill(&mut lines)?;
            if lines.is_empty() || parser.send((batch, lines)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The next whole lines; nothing at the end of the file.
    fn fill(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        lines.append(&mut self.rest);
        loop {
            let wanted = BATCH_BYTES.max(lines.len()) as u64;
            if self.reader.by_ref().take(wanted).read_to_end(lines)? == 0 {
                break;
            }
            if let Some(end) = lines.iter().rposition(|byte| *byte == b'\n') {
                self.rest.extend_from_slice(&lines[end + 1..]);
                lines.truncate(end + 1);
                break;
            }
        }
        if lines.len() > i32::MAX as usize {
            return Err(io::Error::other("a line is longer than 2 GiB"));
        }
        Ok(())
    }
}

/// Parses what comes until there is no more, or nobody wants it.
fn parse_all(lines: &Receiver<(Batch, Vec<u8>)>, full: &SyncSender<Batch>) {
    for (mut batch, lines) in lines {
        parse(&mut batch, lines);
        if full.send(batch).is_err() {
            break;
        }
    }
}

/// Parses lines into a batch, up to the first fault, which the batch keeps: what stands before it
/// is checked first, and may be at fault itself.
fn parse(batch: &mut Batch, lines: Vec<u8>) {
    let text = match String::from_utf8(lines) {
        Ok(text) => text,
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() as u64;
            batch.fault = Some((line, "not UTF-8".to_owned()));
            return;
        }
    };
    batch.refill(text);
    let (text, mut sink, parsed) = batch.split();
    let mut start = 0;
    while start < text.len() {
        let (line, event) = (*parsed.lines, *parsed.events);
        if let Some((operation, next)) = scan::operation(text, start, line, event, &mut sink) {
            parsed.operations.push(operation);
            *parsed.events += 1;
            start = next;
        } else {
            let rest = &text[start..];
            let whole = rest.split_once('\n').map_or(rest, |(whole, _)| whole);
            if !whole.trim_ascii().is_empty() {
                match line::parse(whole, line, event, &mut sink) {
                    Ok(operation) => parsed.operations.extend(operation),
                    Err(reason) => {
                        *parsed.fault = Some((line, reason));
                        return;
                    }
                }
                *parsed.events += 1;
            }
            start += whole.len() + 1;
        }
        *parsed.lines += 1;
    }
}
