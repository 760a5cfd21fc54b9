//! What a node reads and takes before anything is started.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::Arc;

use cartwheel_protocol::bucket::Bucket;
use cartwheel_protocol::id::{ClusterId, Zone};
use cartwheel_protocol::key::Partitions;
use cartwheel_protocol::layout::{Command, Layout, LayoutHash, Member};
use cartwheel_protocol::membership::{MemberConfig, Saved};
use cartwheel_protocol::view::View;
use tokio::net::TcpListener;

use crate::config::{ClusterFile, ConfigError, NodeConfig, member_line};
use crate::control::{find_cluster, read_saved};
use crate::error::NodeError;
use crate::renew::open_or_renew;
use crate::store::{Served, Store, StoreError, StoreId, format_store, served_cluster, store_id};

/// What is read before anything is started.
pub(crate) struct Prepared {
    pub(crate) config: NodeConfig,
    pub(crate) cluster: ClusterId,
    /// The first layout, if a cluster file describes it.
    pub(crate) first: Option<LayoutHash>,
    pub(crate) store: Store,
    pub(crate) origin: Origin,
}

/// Where the node's view comes from.
pub(crate) enum Origin {
    /// It was saved by an earlier run.
    Saved(Arc<Saved>),
    /// From the cluster file: the first layout.
    File(Arc<View>),
    /// There is none: a new cluster is formed, of this node alone.
    Form,
    /// The seeds will tell.
    Seeds,
}

/// Reads the configuration and takes the store. A new store without a cluster file waits for a seed to tell the
/// cluster.
pub(crate) async fn prepare(config: NodeConfig) -> Result<Prepared, NodeError> {
    let (config, file, known) = reading(move || {
        config.check()?;
        if config.data.as_os_str().is_empty() {
            let what = "the folder of a formatted store";
            return Err(ConfigError::Missing { field: "data", what }.into());
        }
        let id = find_store(&config)?;
        let file = read_cluster_file(&config.cluster)?;
        let known = (id, served_cluster(&config.data)?);
        Ok((config, file, known))
    })
    .await?;
    let (id, served) = known;
    let cluster = match (&file, served) {
        // A store of another cluster than the file's is refused when it is opened.
        (Some(file), _) => file.cluster,
        (None, Some(served)) => served,
        (None, None) if config.seed.is_empty() => ClusterId(rand::random()),
        (None, None) => find_cluster(&config.seed, id.id, config.formats()?).await,
    };
    reading(move || {
        let first = file.as_ref().map(|file| file.layout().map(|layout| layout.hash()));
        let first = first.transpose()?;
        let serves = Served { cluster, layout: first, engine: config.engine };
        // With a seed and a name it can come up as a new node in place of one that it cannot be any more.
        let renews = config.name.is_some() && !config.seed.is_empty();
        let store = open_or_renew(&config.data, serves, config.cache_mib, renews)?;
        let origin = origin(&config, file.as_ref(), &store)?;
        Ok(Prepared { config, cluster, first, store, origin })
    })
    .await
}

/// Runs what waits for a disk in a thread of its own.
async fn reading<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    let reading = tokio::task::spawn_blocking(read);
    reading.await.map_err(|error| NodeError::System {
        what: "cannot read the configuration",
        source: std::io::Error::other(error),
    })?
}

/// Who the store is. If there is none and the configuration has a name for it, it is made: a lost disk comes back
/// as a new node.
fn find_store(config: &NodeConfig) -> Result<StoreId, NodeError> {
    match (store_id(&config.data), &config.name) {
        (Err(StoreError::NotFormatted { .. }), Some(name)) => {
            let store = format_store(&config.data, name)?;
            tracing::info!(node = %store.id, name, "a new store was made");
            Ok(store)
        }
        (found, _) => Ok(found?),
    }
}

fn read_cluster_file(path: &Path) -> Result<Option<ClusterFile>, ConfigError> {
    if path.as_os_str().is_empty() { Ok(None) } else { ClusterFile::read(path).map(Some) }
}

fn origin(
    config: &NodeConfig,
    file: Option<&ClusterFile>,
    store: &Store,
) -> Result<Origin, NodeError> {
    // What an earlier start left behind that failed before it served counts for nothing.
    if store.has_served
        && let Some(saved) = read_saved(store.engine.as_ref())?
    {
        return Ok(Origin::Saved(Arc::new(saved)));
    }
    if let Some(file) = file
        && (file.member(store.id.id).is_some() || config.seed.is_empty())
    {
        check_own_member(config, file, store)?;
        return Ok(Origin::File(Arc::new(View::new(Arc::new(file.layout()?)))));
    }
    if !config.seed.is_empty() {
        return Ok(Origin::Seeds);
    }
    if store.has_served {
        let what = "the store has never had a view, so it needs a seed or the cluster file";
        return Err(ConfigError::Missing { field: "seed", what }.into());
    }
    Ok(Origin::Form)
}

/// Whether the cluster file lists this node, under the address that it advertises.
fn check_own_member(
    config: &NodeConfig,
    cluster: &ClusterFile,
    store: &Store,
) -> Result<(), NodeError> {
    let Some(member) = cluster.member(store.id.id) else {
        let address = config.advertise.clone().unwrap_or_else(|| config.listen.to_string());
        return Err(NodeError::NotMember {
            cluster: config.cluster.clone(),
            name: store.id.name.clone(),
            id: store.id.id,
            line: member_line(&own_member(config, &store.id, address.into())),
        });
    };
    match &config.advertise {
        Some(advertised) if **advertised != *member.address => {
            let allowed = format!("{}, the address in the cluster file", member.address);
            Err(ConfigError::field("advertise", advertised, allowed).into())
        }
        Some(_) | None => Ok(()),
    }
}

/// This node as a new member.
fn own_member(config: &NodeConfig, store: &StoreId, address: Arc<str>) -> Member {
    Member {
        id: store.id,
        name: store.name.as_str().into(),
        address,
        zone: Zone(config.zone.as_str().into()),
        weight: config.weight,
    }
}

impl Prepared {
    /// The address under which others reach this node, which listens there.
    pub(crate) fn address(&self, listens: SocketAddr) -> Result<Arc<str>, NodeError> {
        if let Some(address) = &self.config.advertise {
            return Ok(address.as_str().into());
        }
        let view = match &self.origin {
            Origin::Saved(saved) => Some(&saved.view),
            Origin::File(view) => Some(view),
            Origin::Form | Origin::Seeds => None,
        };
        if let Some(member) = view.and_then(|view| view.member(self.store.id.id)) {
            return Ok(member.address.clone());
        }
        if listens.ip().is_unspecified() {
            let what = "the address under which others reach this node, since it listens on all";
            return Err(ConfigError::Missing { field: "advertise", what }.into());
        }
        Ok(listens.to_string().into())
    }

    /// What membership begins with, and whether it is on disk already.
    pub(crate) fn saved(
        &self,
        address: &Arc<str>,
    ) -> Result<(Option<Arc<Saved>>, bool), NodeError> {
        Ok(match &self.origin {
            Origin::Saved(saved) => (Some(saved.clone()), true),
            Origin::File(view) => (Some(Arc::new(Saved::new(view.clone()))), false),
            Origin::Form => {
                let me = own_member(&self.config, &self.store.id, address.clone());
                let layout = Layout::form([me], Partitions::DEFAULT, Bucket::built_in())?;
                let view = Arc::new(View::new(Arc::new(layout)));
                (Some(Arc::new(Saved::new(view))), false)
            }
            Origin::Seeds => (None, true),
        })
    }

    /// What membership is told.
    pub(crate) fn member_config(&self, address: &Arc<str>) -> Result<MemberConfig, NodeError> {
        let config = &self.config;
        let me = own_member(config, &self.store.id, address.clone());
        Ok(MemberConfig {
            shards: config.shards,
            gossip_every_ms: config.gossip_every_ms,
            suspect_after: config.suspect_after,
            joins: config.join.then_some(Command::Join(me)),
            rules: config.rules()?,
            ..MemberConfig::new(&self.store.id.name, address)
        })
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
