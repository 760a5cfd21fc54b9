//! The atomics that cross-thread structures are built from: the standard library's, or, with the cargo
//! feature `loom`, those whose interleavings loom explores.

#[cfg(feature = "loom")]
pub(crate) use loom::sync::atomic;
#[cfg(not(feature = "loom"))]
pub(crate) use std::sync::atomic;
