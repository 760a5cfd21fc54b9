//! The async runtime under everything that works on processes.

use tokio::signal::unix::{SignalKind, signal};

use crate::campaign::Stop;

/// A runtime whose `block_on` polls on the calling thread: processes are started there, and are
/// killed when that thread ends.
///
/// # Errors
/// The system has no threads for it.
pub fn new() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Passes ctrl-c and SIGTERM on, for as long as it is polled.
pub async fn request_on_interrupt(stop: Stop) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals cannot be watched: ctrl-c ends everything at once");
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.request();
    }
}
