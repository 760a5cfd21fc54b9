//! Histories and verdicts: knows nothing of the other crates, so that it cannot share a bug with them.
