//! Connections that were not let in: each is counted, each sender's reason is logged once.
//!
//! A peer that is refused dials again twice a second for as long as it runs: its reason must be found in the
//! log, and must not fill it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::handshake::HandshakeError;

/// So many reasons are remembered; with one more all are forgotten, and may be logged again.
const REMEMBERED: usize = 1_024;

/// What a server knows of the connections that it refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    count: AtomicU64,
    logged: Mutex<BTreeSet<(IpAddr, String)>>,
}

impl Refusals {
    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one, and logs it if its sender was not refused for that before.
    pub(crate) fn note(&self, from: SocketAddr, error: &HandshakeError) {
        self.count.fetch_add(1, Ordering::Relaxed);
        match error {
            HandshakeError::Io(_) => {
                tracing::debug!(%from, %error, "a connection without handshake");
            }
            HandshakeError::Timeout(_)
            | HandshakeError::Malformed(_)
            | HandshakeError::Refused(_)
            | HandshakeError::WrongNode { .. } => {
                if self.is_new(from.ip(), error.to_string()) {
                    tracing::warn!(%from, %error, "a connection was refused");
                }
            }
        }
    }

    fn is_new(&self, from: IpAddr, reason: String) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= REMEMBERED {
            logged.clear();
        }
        logged.insert((from, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_new_once_for_each_sender() {
        let refusals = Refusals::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!(refusals.is_new(one, "why".to_owned()));
        assert!(!refusals.is_new(one, "why".to_owned()));
        assert!(refusals.is_new(other, "why".to_owned()));
        assert!(refusals.is_new(one, "another".to_owned()));
    }

    #[test]
    fn the_memory_for_reasons_is_bounded() {
        let (refusals, from) = (Refusals::default(), IpAddr::from([10, 0, 0, 1]));
        for number in 0..3 * REMEMBERED {
            assert!(refusals.is_new(from, number.to_string()));
            assert!(refusals.logged.lock().expect("nobody panicked").len() <= REMEMBERED);
        }
    }

    #[test]
    fn every_refusal_is_counted() {
        let (refusals, from) = (Refusals::default(), SocketAddr::from(([10, 0, 0, 1], 1)));
        for _ in 0..3 {
            refusals.note(from, &HandshakeError::Malformed("why"));
        }
        assert_eq!(refusals.count(), 3);
    }
}
