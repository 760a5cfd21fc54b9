//! Who a node is on the wire, and what it allows there.

use std::{sync::Arc, time::Duration};

use cartwheel_protocol::{
    format::Formats,
    id::{ClusterId, NodeId},
    layout::LayoutHash,
};

/// What a node says of itself in every handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The cluster; others are refused.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Where it can be reached, as layouts list it.
    pub address: Arc<str>,
    /// The formats that it speaks.
    pub formats: Formats,
    /// The first layout, if a cluster file describes it: peers with a file that describes another are refused. A
    /// node that joined by a seed has none.
    pub layout: Option<LayoutHash>,
}

/// Bounds in time and space. [`Limits::default`] gives numbers to start from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// How long connecting may take.
    pub connect: Duration,
    /// How long the handshake may take, on either side.
    pub handshake: Duration,
    /// How long a peer may take to say that it queued a batch, beside the time that the batch takes on the slowest link;
    /// then the connection is given up.
    pub deliver: Duration,
    /// How many bytes a second a link carries at least.
    pub slowest_link: u32,
    /// The first pause before a peer is dialled again; it doubles.
    pub backoff_least: Duration,
    /// The longest pause before a peer is dialled again.
    pub backoff_most: Duration,
    /// How many messages may wait for one peer.
    pub queued_messages: usize,
    /// How many encoded bytes may wait for one peer. One message is taken however long it is, if nothing
    /// else waits.
    pub queued_bytes: usize,
    /// How many bytes of messages go into one batch, if there are more than one.
    pub batch_bytes: usize,
    /// How many batches may be on their way to one peer.
    pub batches_in_flight: usize,
    /// How long a piece of a split message may be. Well under the bound of a frame.
    pub piece_bytes: usize,
    /// How many connections a server keeps; of peers it takes some more.
    pub connections: usize,
    /// How many client requests a server has under way; more are told *overloaded*.
    pub requests_in_flight: usize,
    /// The longest that a client's call may take, whatever it says.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            handshake: Duration::from_secs(1),
            deliver: Duration::from_secs(2),
            slowest_link: 128 << 10,
            backoff_least: Duration::from_millis(20),
            backoff_most: Duration::from_millis(500),
            queued_messages: 16_384,
            queued_bytes: 64 << 20,
            batch_bytes: 256 << 10,
            batches_in_flight: 16,
            piece_bytes: 1 << 20,
            connections: 4_096,
            requests_in_flight: 8_192,
            request: Duration::from_secs(30),
        }
    }
}
