//! A node as a process: `cartwheel serve`.

use std::fmt;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::node::{Node, Options};
use crate::process;

/// Signals that come so soon after each other are one wish: programs that pass signals on send them twice.
const ONE_WISH: Duration = Duration::from_secs(1);

/// Why a node that ran has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExitReason {
    /// The signal that asked for it.
    pub signal: &'static str,
    /// Whether all requests under way had ended.
    pub drained: bool,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.drained { "drained" } else { "requests may still have been under way" };
        write!(f, "{}: {how}", self.signal)
    }
}

/// Serves until SIGTERM or SIGINT; one that comes a second later or more ends it without waiting for requests
/// or the disk. Logs go to the caller's tracing subscriber; it should filter `tarpc=warn`.
///
/// A store that fails, or a panic of a shard, ends the process with
/// [`EXIT_FAIL_STOP`](crate::EXIT_FAIL_STOP).
///
/// # Errors
/// Why the node could not start, or be marked as shut down cleanly.
pub fn run(config: NodeConfig) -> Result<ExitReason, NodeError> {
    config.check()?;
    let system = |what| move |source| NodeError::System { what, source };
    if config.die_with_parent {
        process::die_with_parent().map_err(system("die_with_parent"))?;
    }
    process::allow_open_files(config.connections);
    let runtime = match config.io_threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        threads => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.into())
            .enable_all()
            .build(),
    };
    let runtime = runtime.map_err(system("no threads for the network"))?;
    let ended = runtime.block_on(async {
        let failed = system("no handler for signals");
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let starting = Node::start(config, Options::default());
        let node = tokio::select! {
            started = starting => started?,
            // A node with a new store may wait for its seeds for long.
            _ = terminate.recv() => return Ok(ExitReason { signal: "SIGTERM", drained: true }),
            _ = interrupt.recv() => return Ok(ExitReason { signal: "SIGINT", drained: true }),
        };
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(
            signal,
            "shutting down; a signal from now on ends the node at once, but for the next second"
        );
        let drained = tokio::select! {
            drained = node.shutdown() => drained?,
            again = signalled_again() => again.map_err(failed).map(|()| false)?,
        };
        Ok(ExitReason { signal, drained })
    });
    // Neither a store that is being opened nor a name that is looked up keeps a process that was told to end.
    runtime.shutdown_background();
    ended
}

/// Ends with a signal that comes later than [`ONE_WISH`] from now.
async fn signalled_again() -> std::io::Result<()> {
    tokio::time::sleep(ONE_WISH).await;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
