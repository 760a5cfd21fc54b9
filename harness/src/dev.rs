//! `cartwheel dev`: a cluster without faults on known ports, until ctrl-c.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::campaign::Stop;
use crate::ground::Ground;
use crate::ground::process::{ClusterSpec, ProcessGround};
use crate::progress::say;
use crate::runtime;

/// How far the ports for metrics are from those for clients.
const HTTP_OFFSET: u16 = 80;

/// Arguments of `cartwheel dev`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  cartwheel dev
  cartwheel dev --nodes 5 --data my-cluster      (keeps its data, and goes on with it)
  cartwheel dev --port 7500")]
pub struct DevArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub nodes: u16,
    /// The first node's port; the others follow it. With 0 the system chooses, and there are no metrics
    #[arg(long, default_value_t = 7400, value_parser = clap::value_parser!(u16).range(0..=65_000))]
    pub port: u16,
    /// The folder for stores and logs, made or gone on with [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Any option of `serve`, as NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::options::parse)]
    pub node_option: Vec<(String, String)>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Somebody else listens there. To be changed by a flag.
    #[error("port {port} is taken; choose another first port with --port")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// Anything else.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// What to type once the nodes serve, at these addresses.
pub type Next<'a> = &'a dyn Fn(&[SocketAddr]) -> String;

/// Runs the cluster until ctrl-c or SIGTERM. `next` is printed once it serves. It must be called from the main
/// thread, outside any async runtime.
///
/// # Errors
/// The cluster cannot be started.
pub fn run(args: &DevArgs, program: &Path, next: Next<'_>) -> Result<(), DevError> {
    if let Some(first) = args.first_port() {
        for port in (first..).take(args.nodes.into()) {
            for port in [port, port + HTTP_OFFSET] {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                TcpListener::bind(address).map_err(|_| DevError::PortTaken { port })?;
            }
        }
    }
    let temporary = std::env::temp_dir().join(format!("cartwheel-dev-{}", std::process::id()));
    let folder = args.data.clone().unwrap_or_else(|| temporary.clone());
    let runtime = runtime::new().context("no threads").map_err(DevError::Failed)?;
    let served = runtime.block_on(serve(args, program, &folder, next));
    if args.data.is_none() {
        match std::fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                say(&format!("{} stays behind: {error}", temporary.display()));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(served?)
}

impl DevArgs {
    /// The first node's port, if it was not left to the system.
    fn first_port(&self) -> Option<u16> {
        (self.port > 0).then_some(self.port)
    }
}

async fn serve(
    args: &DevArgs,
    program: &Path,
    folder: &Path,
    next: Next<'_>,
) -> anyhow::Result<()> {
    let stop = Stop::default();
    let interrupts = tokio::spawn(runtime::request_on_interrupt(stop.clone()));
    let first_http_port = args.first_port().map(|first| first + HTTP_OFFSET);
    let spec = ClusterSpec {
        program: program.to_owned(),
        nodes: args.nodes.into(),
        data: folder.join("data"),
        logs: folder.join("nodes"),
        first_port: args.first_port(),
        first_http_port,
        options: args.node_option.clone(),
        own_disks: false,
    };
    let Some(ground) = stop.unless(ProcessGround::start(&spec, false)).await else {
        return Ok(());
    };
    let ground = ground?;
    let addresses: Vec<_> = ground.addresses().iter().map(ToString::to_string).collect();
    say(&format!("{} nodes serve on {}", addresses.len(), addresses.join(", ")));
    if let Some(port) = first_http_port {
        say(&format!("metrics on http://127.0.0.1:{port}/metrics …"));
    }
    say(&format!("stores and logs are in {}; ctrl-c ends them", folder.display()));
    say(&next(ground.addresses()));
    stop.requested().await;
    say("stopping");
    ground.stop().await;
    interrupts.abort();
    ground.mishaps().iter().for_each(|mishap| say(mishap));
    Ok(())
}
