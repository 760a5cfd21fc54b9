//! The way between nodes, and between clients and nodes: wire types, two tarpc services, the transport
//! under them, and the client library that knows the layout.
//!
//! A node has one address. Whoever connects says first what it is ([`handshake`]): a *peer*, which then
//! sends batches of messages one way, or a *client*, which then asks and is answered ([`service`]). Frames
//! are bounded, begin with the number of their format and carry postcard ([`codec`]).
//!
//! What a node implements is [`NodeService`]; what it gets is a [`Server`], which accepts, admits, bounds
//! and shuts down, and [`TcpPeers`], which sends to the other nodes behind [`PeerTransport`].
//!
//! What an application uses is [`Client`]: it goes straight to an owner of the key, retries what may be
//! retried, and never reports success without an acknowledgement. `examples/` shows a cart, a session and a
//! catalogue.
//!
//! tarpc writes a tracing span for every call; run with the filter `tarpc=warn`
//! ([`TARPC_LOG_FILTER`]), for its spans cost about as much as the calls.

mod admin;
mod cart;
mod client;
pub mod codec;
mod connection;
mod error;
pub mod handshake;
mod identity;
pub mod members;
mod patience;
mod peers;
mod pieces;
mod progress;
pub mod reaping;
mod refusals;
mod resolver;
mod route;
mod server;
pub mod service;
mod stream;
mod values;

pub use admin::{Look, NotQuiet};
pub use cart::{Added, Cart, Item, Removed, Shown};
/// What this crate's functions take and give of the core's types.
pub use cartwheel_protocol::{
    id::{AddId, NodeId},
    object::Addition,
};
pub use client::{Client, ClientConfig};
pub use connection::{Attempt, Connecting, Connection};
pub use error::{Doubt, Error};
pub use identity::{Identity, Limits};
pub use peers::{Closed, Dropped, PeerCounts, PeerEvents, PeerTransport, TcpPeers};
pub use progress::Progress;
pub use resolver::{Resolved, Resolver};
pub use server::{Counter, NodeService, Overloaded, Server, ServerCounts};
pub use values::{
    Ask, Context, Found, Held, Options, Written, add_id_text, new_add_id, new_put_id, new_wish_id,
    parse_add_id, parse_node_id,
};

/// What to add to a log filter, so that tarpc's spans are not made.
pub const TARPC_LOG_FILTER: &str = "tarpc=warn";
