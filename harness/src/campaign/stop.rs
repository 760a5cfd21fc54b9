//! A wish to stop early, from whoever has it (ctrl-c, a failure) to everybody who works.

use std::future::Future;

use futures::future::{Either, select};
use tokio::sync::watch;

/// Shared by everybody who works or may end the work.
#[derive(Clone, Debug)]
pub struct Stop {
    requested: watch::Sender<bool>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { requested: watch::Sender::new(false) }
    }
}

impl Stop {
    /// Everybody should stop.
    pub fn request(&self) {
        self.requested.send_replace(true);
    }

    /// Whether everybody should.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Waits for the wish.
    pub async fn requested(&self) {
        let mut receiver = self.requested.subscribe();
        // The sender lives as long as `self`.
        let _ = receiver.wait_for(|requested| *requested).await;
    }

    /// Waits for `work`, unless everybody should stop.
    pub async fn unless<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let stopped = std::pin::pin!(self.requested());
        match select(stopped, std::pin::pin!(work)).await {
            Either::Left(_) => None,
            Either::Right((done, _)) => Some(done),
        }
    }
}
