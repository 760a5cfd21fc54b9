//! The client library and the transport against nodes that do as they are told, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod retry;
mod strangers;
mod support;
mod transport;
