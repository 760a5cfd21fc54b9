//! Why a node cannot start or go on.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;

use cartwheel_protocol::id::NodeId;
use cartwheel_protocol::layout::LayoutError;

use crate::config::ConfigError;
use crate::engine::EngineError;
use crate::store::StoreError;

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A bad flag or field.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node's folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The layout that the cluster file describes cannot be.
    #[error("the cluster file describes no layout: {0}")]
    Layout(#[from] LayoutError),
    /// The cluster file does not list this node.
    #[error(
        "{} does not list this node: {name} is {id}; a wiped or new store is a new node, \
         its member line is {line}",
        cluster.display()
    )]
    NotMember {
        /// The cluster file.
        cluster: PathBuf,
        /// The node's name.
        name: String,
        /// Its id.
        id: NodeId,
        /// The line to add.
        line: String,
    },
    /// An address that cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; choose another address or port with --{flag} HOST:PORT"
    )]
    Listen {
        /// The flag that gave the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Any other answer of the operating system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl NodeError {
    /// Whether it is the fault of a flag or of a configuration field.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) | Self::Layout(_) | Self::NotMember { .. } => true,
            Self::Store(error) => error.is_configuration(),
            // Taken, not this machine's, not for everybody: another address or port helps.
            Self::Listen { source, .. } => matches!(
                source.kind(),
                ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied
            ),
            Self::System { .. } => false,
        }
    }
}

impl From<EngineError> for NodeError {
    fn from(error: EngineError) -> Self {
        Self::Store(error.into())
    }
}
