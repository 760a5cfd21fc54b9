//! What a node reads and takes before anything is started.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use cartwheel_protocol::id::Zone;
use cartwheel_protocol::layout::Member;
use cartwheel_protocol::view::View;
use tokio::net::TcpListener;

use crate::config::{ClusterFile, ConfigError, NodeConfig, member_line};
use crate::error::NodeError;
use crate::store::{Served, Store};

/// What is read before anything is started.
pub(crate) struct Prepared {
    pub(crate) config: NodeConfig,
    pub(crate) cluster: ClusterFile,
    pub(crate) view: Arc<View>,
    pub(crate) store: Store,
    /// The node's own line of the cluster file.
    pub(crate) member: Member,
}

/// Reads the configuration and takes the store; in a thread of its own, for both may wait.
pub(crate) async fn prepare(config: NodeConfig) -> Result<Prepared, NodeError> {
    let reading = tokio::task::spawn_blocking(move || {
        config.check()?;
        let missing = |field, what| Err(NodeError::from(ConfigError::Missing { field, what }));
        if config.data.as_os_str().is_empty() {
            return missing("data", "the folder of a formatted store");
        }
        if config.cluster.as_os_str().is_empty() {
            return missing("cluster", "the file with the cluster's members");
        }
        let cluster = ClusterFile::read(&config.cluster)?;
        let view = Arc::new(View::new(Arc::new(cluster.layout()?)));
        let layout = view.layout().hash();
        let serves = Served { cluster: cluster.cluster, layout, engine: config.engine };
        let store = Store::open(&config.data, serves, config.cache_mib)?;
        let member = own_member(&config, &cluster, &store)?;
        Ok(Prepared { config, cluster, view, store, member })
    });
    reading.await.map_err(|error| NodeError::System {
        what: "cannot read the configuration",
        source: std::io::Error::other(error),
    })?
}

/// The line of the cluster file that is about this node.
fn own_member(
    config: &NodeConfig,
    cluster: &ClusterFile,
    store: &Store,
) -> Result<Member, NodeError> {
    let Some(member) = cluster.member(store.id.id) else {
        let address = config.advertise.clone().unwrap_or_else(|| config.listen.to_string());
        let member = Member {
            id: store.id.id,
            name: store.id.name.as_str().into(),
            address: address.into(),
            zone: Zone("z1".into()),
            weight: 1,
        };
        return Err(NodeError::NotMember {
            cluster: config.cluster.clone(),
            name: store.id.name.clone(),
            id: store.id.id,
            line: member_line(&member),
        });
    };
    match &config.advertise {
        Some(advertised) if **advertised != *member.address => {
            let allowed = format!("{}, the address in the cluster file", member.address);
            Err(ConfigError::field("advertise", advertised, allowed).into())
        }
        Some(_) | None => Ok(member.clone()),
    }
}

/// A listener, the given one or a new one.
pub(crate) async fn listen(
    given: Option<StdListener>,
    address: SocketAddr,
    flag: &'static str,
) -> Result<TcpListener, NodeError> {
    let failed = |source| NodeError::Listen { flag, address, source };
    match given {
        None => TcpListener::bind(address).await.map_err(failed),
        Some(listener) => {
            listener.set_nonblocking(true).map_err(failed)?;
            TcpListener::from_std(listener).map_err(failed)
        }
    }
}
