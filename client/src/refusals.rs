//! What was refused: connections that were not let in, and bytes that nothing can be made of. Each is counted;
//! a connection's reason is logged once for each sender, undecodable bytes once for each sender.
//!
//! A peer that is refused dials again twice a second for as long as it runs: its reason must be found in the
//! log, and must not fill it. Bytes may be wrong in a new way each time, so there the reason does not count.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cartwheel_protocol::id::NodeId;

use crate::handshake::HandshakeError;

/// So many reasons are remembered; with one more all are forgotten, and may be logged again.
const REMEMBERED: usize = 1_024;

/// Who sent what was refused.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Sender {
    /// A client, or who never said who it is.
    At(IpAddr),
    /// A peer. Several may dial from one address.
    Peer(NodeId),
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => write!(f, "{address}"),
            Self::Peer(node) => write!(f, "{node}"),
        }
    }
}

/// What a server knows of what it refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    connections: AtomicU64,
    undecodable: AtomicU64,
    logged: Mutex<BTreeSet<(Sender, String)>>,
}

/// Stands for all reasons for which bytes cannot be decoded.
const UNDECODABLE: &str = "undecodable";

impl Refusals {
    /// How many connections were not let in.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How often bytes could not be decoded.
    pub(crate) fn undecodable(&self) -> u64 {
        self.undecodable.load(Ordering::Relaxed)
    }

    /// Counts a connection that was not let in, and logs it if its sender was not refused for that before.
    pub(crate) fn note_connection(&self, from: SocketAddr, error: &HandshakeError) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        match error {
            HandshakeError::Io(_) => {
                tracing::debug!(%from, %error, "a connection without handshake");
            }
            HandshakeError::Timeout(_)
            | HandshakeError::Malformed(_)
            | HandshakeError::Refused(_)
            | HandshakeError::WrongNode { .. } => {
                if self.is_new(Sender::At(from.ip()), error.to_string()) {
                    tracing::warn!(%from, %error, "a connection was refused");
                }
            }
        }
    }

    /// Counts bytes that cannot be decoded, and logs them if they are the sender's first.
    pub(crate) fn note_undecodable(&self, from: Sender, error: &dyn fmt::Display) {
        self.undecodable.fetch_add(1, Ordering::Relaxed);
        if self.is_new(from, UNDECODABLE.to_owned()) {
            tracing::warn!(%from, %error, "what was sent cannot be decoded; more of it is only counted");
        } else {
            tracing::debug!(%from, %error, "what was sent cannot be decoded");
        }
    }

    fn is_new(&self, from: Sender, reason: String) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= REMEMBERED {
            logged.clear();
        }
        logged.insert((from, reason))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicUsize};

    use tracing::{Event, Level, Metadata, Subscriber, span};

    use super::*;

    fn at(last: u8) -> Sender {
        Sender::At(IpAddr::from([10, 0, 0, last]))
    }

    /// Counts warnings.
    #[derive(Clone, Default)]
    struct Warnings(Arc<AtomicUsize>);

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::WARN
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// How many warnings are logged meanwhile.
    fn warnings(during: impl FnOnce()) -> usize {
        let warnings = Warnings::default();
        tracing::subscriber::with_default(warnings.clone(), during);
        warnings.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_reason_is_new_once_for_each_sender() {
        let refusals = Refusals::default();
        assert!(refusals.is_new(at(1), "why".to_owned()));
        assert!(!refusals.is_new(at(1), "why".to_owned()));
        assert!(refusals.is_new(at(2), "why".to_owned()));
        assert!(refusals.is_new(at(1), "another".to_owned()));
        assert!(refusals.is_new(Sender::Peer(NodeId(1)), "why".to_owned()));
    }

    #[test]
    fn the_memory_for_reasons_is_bounded() {
        let refusals = Refusals::default();
        for number in 0..3 * REMEMBERED {
            assert!(refusals.is_new(at(1), number.to_string()));
            assert!(refusals.logged.lock().expect("nobody panicked").len() <= REMEMBERED);
        }
    }

    #[test]
    fn every_refused_connection_is_counted_and_its_reason_is_logged_once() {
        let (refusals, from) = (Refusals::default(), SocketAddr::from(([10, 0, 0, 1], 1)));
        let logged = warnings(|| {
            for why in ["one", "one", "other"] {
                refusals.note_connection(from, &HandshakeError::Malformed(why));
            }
        });
        assert_eq!((refusals.connections(), refusals.undecodable(), logged), (3, 0, 2));
    }

    #[test]
    fn undecodable_bytes_are_counted_and_logged_once_for_each_sender_whatever_is_wrong() {
        let refusals = Refusals::default();
        let senders = [at(1), at(2), Sender::Peer(NodeId(1)), Sender::Peer(NodeId(2))];
        let logged = warnings(|| {
            for length in 0..5 {
                for sender in senders {
                    refusals.note_undecodable(sender, &format!("a frame of {length} bytes"));
                }
            }
        });
        assert_eq!((refusals.connections(), refusals.undecodable(), logged), (0, 20, 4));
    }
}
