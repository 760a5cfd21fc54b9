//! The gate that clients pass before each operation. At a quiet point it is shut, and the campaign's time stands
//! still.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::watch;

/// Shared by clients and nemesis.
#[derive(Debug)]
pub struct Gate {
    open: watch::Sender<bool>,
    /// Operations under way.
    under_way: watch::Sender<usize>,
    /// For how long it was shut.
    stood_still: Cell<Duration>,
}

impl Default for Gate {
    fn default() -> Self {
        let (open, under_way) = (watch::Sender::new(true), watch::Sender::new(0));
        Self { open, under_way, stood_still: Cell::default() }
    }
}

impl Gate {
    /// Waits until it is open.
    pub(super) async fn opened(&self) {
        until(&self.open, |open| *open).await;
    }

    /// Somebody passes, and is beyond until [`Gate::leave`].
    pub(super) fn enter(&self) {
        self.under_way.send_modify(|count| *count += 1);
    }

    /// Somebody is done.
    pub(super) fn leave(&self) {
        self.under_way.send_modify(|count| *count = count.saturating_sub(1));
    }

    /// Shuts it and waits until nobody is beyond.
    pub(super) async fn shut(&self) {
        self.open.send_replace(false);
        until(&self.under_way, |count| *count == 0).await;
    }

    /// Opens it, after it was shut for so long.
    pub(super) fn open(&self, shut_for: Duration) {
        self.stood_still.set(self.stood_still.get() + shut_for);
        self.open.send_replace(true);
    }

    /// For how long it was shut so far: as much later everything happens.
    pub fn stood_still(&self) -> Duration {
        self.stood_still.get()
    }
}

async fn until<T>(value: &watch::Sender<T>, holds: impl FnMut(&T) -> bool) {
    // The sender lives as long as whoever waits.
    let _ = value.subscribe().wait_for(holds).await;
}
