//! A history of JSON lines from its file to the verdict: one thread reads and parses, the other
//! checks. Batches go back and forth between them, so memory does not grow with the file.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use super::batch::Batch;
use super::checker::Checker;
use super::results::Results;
use super::{line, observe, report};
use crate::read::ReadError;

/// How much of the file one batch holds, in bytes; a longer line makes a longer batch.
const BATCH_BYTES: usize = 1 << 20;
/// How many batches may wait for the checker.
const BATCHES_AHEAD: usize = 4;

/// Checks a history of JSON lines.
///
/// # Errors
/// The file cannot be read, or a line (the first such) is malformed or makes no sense.
pub(super) fn check(reader: impl Read + Send) -> Result<Results, ReadError> {
    let (full, batches) = mpsc::sync_channel(BATCHES_AHEAD);
    let (empties, empty) = mpsc::channel();
    thread::scope(|scope| {
        let parser = scope.spawn(move || Parser::new(reader, empty).run(&full));
        let mut checker = Checker::default();
        for batch in &batches {
            let batch: Batch = batch;
            observe(&mut checker, &batch)
                .map_err(|(line, reason)| ReadError::Malformed { line, reason })?;
            // The parser may have ended already and needs no more batches.
            let _ = empties.send(batch);
        }
        match parser.join() {
            Ok(parsed) => parsed.map(|()| report::report(checker)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Cuts the file into batches of whole lines and parses them.
struct Parser<R> {
    reader: R,
    empty: Receiver<Batch>,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
    line: u64,
    events: u64,
}

impl<R: Read> Parser<R> {
    fn new(reader: R, empty: Receiver<Batch>) -> Self {
        Self { reader, empty, rest: Vec::new(), line: 0, events: 0 }
    }

    fn run(mut self, full: &SyncSender<Batch>) -> Result<(), ReadError> {
        loop {
            let mut batch = self.empty.try_recv().unwrap_or_default();
            let text = self.maybe_fill(batch.clear())?;
            if text.is_empty() {
                return Ok(());
            }
            batch.refill(text);
            // What stands before a malformed line is checked too, so that the first fault is named.
            let parsed = self.parse(&mut batch);
            let gone = full.send(batch).is_err();
            parsed?;
            if gone {
                return Ok(());
            }
        }
    }

    /// The next whole lines, in the buffer of an old text; nothing at the end of the file.
    fn maybe_fill(&mut self, old: String) -> Result<String, ReadError> {
        let mut bytes = old.into_bytes();
        bytes.clear();
        bytes.append(&mut self.rest);
        loop {
            let wanted = BATCH_BYTES.max(bytes.len()) as u64;
            let read = self.reader.by_ref().take(wanted).read_to_end(&mut bytes)?;
            if read == 0 {
                break;
            }
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                self.rest.extend_from_slice(&bytes[end + 1..]);
                bytes.truncate(end + 1);
                break;
            }
        }
        if bytes.len() > i32::MAX as usize {
            return Err(io::Error::other("a line is longer than 2 GiB").into());
        }
        String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let newlines = before.iter().filter(|byte| **byte == b'\n').count() as u64;
            let line = self.line + newlines + 1;
            ReadError::Malformed { line, reason: "not UTF-8".to_owned() }
        })
    }

    fn parse(&mut self, batch: &mut Batch) -> Result<(), ReadError> {
        let (text, mut sink, operations) = batch.split();
        for line in text.split_terminator('\n') {
            self.line += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let operation = line::parse(line, self.line, self.events, &mut sink)
                .map_err(|reason| ReadError::Malformed { line: self.line, reason })?;
            self.events += 1;
            operations.extend(operation);
        }
        Ok(())
    }
}
