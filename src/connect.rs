//! What the client commands share: flags, the connection, and how an error ends the command.

use std::{sync::Arc, time::Duration};

use cartwheel_client::{Client, Error, Options, service::Directory};

use crate::exit::{Exit, Failure};

/// The node that is asked if none is named: the first of `cartwheel dev`.
pub(crate) const DEFAULT_NODE: &str = "127.0.0.1:7400";

/// The longest that a command may be told to wait until something is done, in seconds: a month.
pub(crate) const LONGEST_WAIT_S: u64 = 31 * 24 * 3_600;

/// Flags of every client command.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// A node of the cluster, HOST:PORT; may be repeated
    #[arg(long, default_value = DEFAULT_NODE, value_name = "HOST:PORT")]
    pub(crate) node: Vec<String>,
    /// How long to wait for an answer once connected, in milliseconds
    #[arg(long, default_value_t = 5_000, value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(crate) timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of the commands on keys.
#[derive(clap::Args)]
pub(crate) struct Quorum {
    /// How many nodes must answer a read [default: the bucket's]
    #[arg(short = 'r', value_name = "NODES")]
    r: Option<u8>,
    /// How many slots must hold a write [default: the bucket's]
    #[arg(short = 'w', value_name = "SLOTS")]
    w: Option<u8>,
    /// Count owners only
    #[arg(long)]
    strict: bool,
}

impl Target {
    /// How long each question may take; `quiet` takes it for the whole wait.
    pub(crate) fn within(&self) -> Duration {
        Duration::from_millis(self.timeout)
    }

    /// Connects to the first node that answers.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Client::connect(self.node.iter().cloned()).await.map_err(|error| {
            let hint = "is a cluster running? `cartwheel dev` starts one";
            Failure::crashed(format!("{error}; {hint}"))
        })
    }

    /// The layout, as the first node that answers knows it.
    pub(crate) async fn directory(&self) -> Result<Arc<Directory>, Failure> {
        let client = self.connect().await?;
        client.directory().ok_or_else(|| Failure::crashed("the node has no layout yet"))
    }

    /// The options of an operation in a bucket.
    pub(crate) fn options(&self, bucket: &str, quorum: &Quorum) -> Options {
        let options = Options::bucket(bucket).with_quorums(quorum.r, quorum.w);
        let options = options.within(self.within());
        if quorum.strict { options.strict() } else { options }
    }
}

/// A refusal fails, an unknown outcome is unknown, and an unreachable cluster is no verdict at all.
pub(crate) fn failure(error: Error) -> Failure {
    let exit = match &error {
        Error::Unknown(_) => Exit::Unknown,
        Error::DamagedContext | Error::BucketName(_) => Exit::BadArguments,
        Error::Refused(_) | Error::Unavailable { .. } | Error::BadValue(_) => Exit::Failed,
        Error::Unreachable(_) | Error::Unexpected(_) => Exit::Crashed,
    };
    Failure::new(exit, error)
}

/// Runs a client command to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::crashed)?.block_on(work)
}
