//! Histories on disk: JSON lines (our own format) and EDN (Jepsen's), told apart by the file's name
//! or, failing that, by its first characters.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use crate::edn;
use crate::event::{Draft, Event};

/// Why a history could not be read. The verdict about such a history is unknown.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be opened or read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is no event, or the file ends within one.
    #[error("line {line}: {reason}")]
    Malformed {
        /// Counted from 1.
        line: u64,
        /// What is wrong there.
        reason: String,
    },
}

/// How a history is written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One JSON object a line: our own.
    JsonLines,
    /// EDN maps, one a line or all in one vector: Jepsen's, Knossos', elle-cli's.
    Edn,
}

impl Format {
    /// The format of a file: by its extension (`jsonl`, `ndjson`, `json`; `edn`), else by how its
    /// contents begin.
    pub fn of(path: &Path, beginning: &[u8]) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl" | "ndjson" | "json") => Self::JsonLines,
            Some("edn") => Self::Edn,
            Some(_) | None => Self::by_contents(beginning),
        }
    }

    /// A JSON history begins with `{"` (or is empty); everything else can only be EDN.
    fn by_contents(beginning: &[u8]) -> Self {
        let mut visible = beginning.iter().filter(|byte| !byte.is_ascii_whitespace());
        match (visible.next(), visible.next()) {
            (None, _) | (Some(b'{'), Some(b'"')) => Self::JsonLines,
            (Some(_), _) => Self::Edn,
        }
    }
}

/// Reads a whole history, whatever its format.
///
/// # Errors
/// The file cannot be read, or a line (named) is no event.
pub fn read_history(path: impl AsRef<Path>) -> Result<Vec<Event>, ReadError> {
    let (format, mut reader) = open(path.as_ref())?;
    match format {
        Format::JsonLines => JsonLines::new(reader).collect(),
        Format::Edn => {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            edn::read(text(&bytes)?)
        }
    }
}

/// Opens a history and tells its format; the reader still stands at the first byte.
pub(crate) fn open(path: &Path) -> io::Result<(Format, BufReader<File>)> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let format = Format::of(path, reader.fill_buf()?);
    Ok((format, reader))
}

/// The bytes as text, or the line with the first byte that is none.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, ReadError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        ReadError::Malformed { line, reason: "not UTF-8".to_owned() }
    })
}

/// The events of a JSON-lines history, one by one. Empty lines are skipped.
#[derive(Debug)]
pub struct JsonLines<R> {
    reader: R,
    line: Vec<u8>,
    line_number: u64,
    events: u64,
}

impl<R: BufRead> JsonLines<R> {
    /// Reads from here on.
    pub fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), line_number: 0, events: 0 }
    }

    fn maybe_next(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            self.line.clear();
            if self.reader.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            self.line_number += 1;
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let malformed = |reason| ReadError::Malformed { line: self.line_number, reason };
        let draft: Draft =
            serde_json::from_slice(&self.line).map_err(|error| malformed(json_reason(&error)))?;
        let event = draft.finish(self.events).map_err(malformed)?;
        self.events += 1;
        Ok(Some(event))
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.maybe_next().transpose()
    }
}

/// What is wrong with a line of JSON, without serde's own line number, which is always 1.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let column = error.column();
    if error.is_eof() {
        return format!("the line ends in the middle of an event, at column {column}");
    }
    match message.rfind(" at line ") {
        Some(end) => format!("{} at column {column}", &message[..end]),
        None => message,
    }
}

/// Writes a history as JSON lines, one event at a time.
#[derive(Debug)]
pub struct HistoryWriter<W: Write> {
    writer: W,
}

impl HistoryWriter<BufWriter<File>> {
    /// Starts an empty file.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self::new(BufWriter::new(File::create(path)?)))
    }
}

impl<W: Write> HistoryWriter<W> {
    /// Appends to this writer, which should be buffered.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }

    /// Appends one event as it is: index and time are the caller's.
    ///
    /// # Errors
    /// What the writer answers.
    pub fn append(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.writer, event)?;
        self.writer.write_all(b"\n")
    }

    /// Hands everything appended so far to the operating system.
    ///
    /// # Errors
    /// What the writer answers.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// The writer below, after flushing it.
    ///
    /// # Errors
    /// What the writer answers.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }
}
