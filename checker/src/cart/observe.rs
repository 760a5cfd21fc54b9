//! Batches to the checker, whose faults get their place in the whole history.

use super::batch::Batch;
use super::checker::Checker;

/// How far a history was taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// Lines, of a file, or events, of a list.
    pub(crate) lines: u64,
    /// Events, those of the nemesis included.
    pub(crate) events: u64,
}

/// Feeds a batch to the checker. The error is the line, from 1, and what is wrong there.
pub(crate) fn observe(
    checker: &mut Checker,
    batch: &Batch,
    place: &mut Place,
) -> Result<(), (u64, String)> {
    let line = |line| place.lines + line + 1;
    for operation in &batch.operations {
        let index = operation.index.unwrap_or(place.events + operation.position);
        checker
            .observe(batch, operation, index)
            .map_err(|reason| (line(operation.line), reason))?;
    }
    if let Some((number, reason)) = &batch.fault {
        return Err((line(*number), reason.clone()));
    }
    place.lines += batch.lines;
    place.events += batch.events;
    Ok(())
}
