//! Shopping carts: is every acknowledged addition still there, and does what was removed stay away?
//!
//! The classes are described at [`Results`]. An addition is judged by its add_id within its cart:
//! - *lost* needs an acknowledgement, no cancellation that did or may have happened (one that
//!   failed is none, one that was never completed may have), and a final read invoked after it;
//! - a strict read must show what a strict write was acknowledged for before the read was invoked,
//!   unless a cancellation naming it was invoked before the read was completed;
//! - everything else that a read misses, or still shows, is *stale*: reported, not condemned;
//! - so is what a process had written or seen itself and then misses (the session guarantees *read
//!   your writes* and *monotonic reads*): where both of its operations were strict, and the addition
//!   was acknowledged strictly, that is a stale strict read. A strict read promises no more: what it
//!   shows may be a write that is not acknowledged yet, and that the next one misses.
//!
//! Order is the history's, not the clock's. Final reads (`final?`) are taken after quiet only: a
//! harness that does not reach quiet must not mark any, and the verdict is unknown.

mod batch;
mod checker;
mod line;
mod observe;
mod report;
mod results;
mod rules;
mod scan;
mod session;
mod shape;
mod state;
mod stream;
mod timeline;
mod tracker;
mod value;

use std::path::Path;

use batch::Batch;
use checker::Checker;
use observe::{Place, observe};

pub use results::{Anomaly, Availability, Class, Diverged, OpCounts, Results};
pub use value::{CartValue, Item};

use crate::event::Event;
use crate::read::{self, Format, ReadError};

/// Judges the history of a cart workload. Events of the nemesis are passed over.
///
/// A history that makes no sense (a completion without invocation, a value of another shape) is
/// unknown, and the result's `error` names the event.
pub fn check<'a>(events: impl IntoIterator<Item = &'a Event>) -> Results {
    let mut checker = Checker::default();
    let mut batch = Batch::default();
    for event in events {
        batch.clear();
        let observed = batch.push_event(event).and_then(|()| {
            observe(&mut checker, &batch, &mut Place::default()).map_err(|(_, reason)| reason)
        });
        if let Err(reason) = observed {
            return Results::unreadable(format!("event {}: {reason}", event.index));
        }
    }
    report::report(checker)
}

/// Judges a history file of either format, without keeping a history of JSON lines in memory.
///
/// A file that cannot be read or is malformed is unknown, and the result's `error` names the line.
pub fn check_file(path: impl AsRef<Path>) -> Results {
    let path = path.as_ref();
    let judged =
        read::open(path).map_err(ReadError::Io).and_then(|(format, reader)| match format {
            Format::JsonLines => stream::check(reader),
            Format::Edn => Ok(check(&read::read_history(path)?)),
        });
    judged.unwrap_or_else(|error| Results::unreadable(error.to_string()))
}
