//! Real processes on this machine: `serve` once a node, every link between them through a proxy.

mod cluster;
mod connection;
mod node;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use cartwheel_client::handshake::{Hello, Kind, first_frame};
use cartwheel_client::{Connecting, Connection as NodeConnection};
use tokio::sync::Mutex as AsyncMutex;

pub use cluster::{ClusterSpec, Prepared};
pub use connection::Connection;
pub use node::NodeProcess;

use super::{Answer, Call, CallError, Ground};
use crate::fault::{Connections, Fault, NodeNumber};
use crate::proxy::{Dialler, Ends, Identify, Links, Proxy};

/// How long a node may take to answer for the first time, or again after its faults have ended.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The time between two questions whether a node answers.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long a node may take to answer one question.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long a node may take to end in order.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// A cluster of processes, its clients and its faults.
pub struct ProcessGround {
    began: Instant,
    nodes: AsyncMutex<Vec<NodeProcess>>,
    links: Arc<Links>,
    /// Before each node, unless the cluster is without faults. They end with this.
    _proxies: Vec<Proxy>,
    connection: Connection,
    addresses: Vec<SocketAddr>,
    active: Mutex<BTreeMap<usize, Fault>>,
    mishaps: Mutex<Vec<String>>,
    /// Keeps the ports.
    _prepared: Vec<Prepared>,
}

impl ProcessGround {
    /// Formats the stores, starts the nodes and waits until all of them answer. With `faulty` every
    /// link between nodes runs through a proxy. The nodes are killed when the calling thread ends.
    ///
    /// # Errors
    /// A node cannot be formatted or started, or does not answer in time.
    pub async fn start(spec: &ClusterSpec, faulty: bool) -> anyhow::Result<Self> {
        let prepared = spec.prepare().await?;
        let links = Arc::new(Links::default());
        let mut proxies = Vec::new();
        let mut addresses: Vec<_> = prepared.iter().map(|node| node.listen).collect();
        if faulty {
            let identify = identify(&prepared);
            for node in &prepared {
                let proxy =
                    Proxy::start(node.number, Arc::clone(&links), Arc::clone(&identify)).await?;
                proxy.lead_to(Some(node.listen));
                addresses[node.number.0] = proxy.address();
                proxies.push(proxy);
            }
        }
        let mut nodes = spec.processes(&prepared, &addresses)?;
        for node in &mut nodes {
            node.start()?;
        }
        let ids = prepared.iter().map(|node| node.id.clone()).collect();
        let ground = Self {
            began: Instant::now(),
            nodes: AsyncMutex::new(nodes),
            links,
            _proxies: proxies,
            connection: Connection::new(addresses.iter().map(ToString::to_string).collect(), ids),
            addresses,
            active: Mutex::default(),
            mishaps: Mutex::default(),
            _prepared: prepared,
        };
        ground.ready().await?;
        Ok(ground)
    }

    /// Where the nodes are reached, in order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The numbers of the processes that run.
    pub async fn pids(&self) -> Vec<u32> {
        self.nodes.lock().await.iter().filter_map(NodeProcess::pid).collect()
    }

    /// Ends all nodes in order; those that do not within 15 s are killed, which is a mishap.
    pub async fn stop(&self) {
        let mut nodes = self.nodes.lock().await;
        let stops = nodes.iter_mut().map(|node| node.stop(STOP_WITHIN));
        for stopped in futures::future::join_all(stops).await {
            match stopped {
                Ok(None) => {}
                Ok(Some(mishap)) => self.note(mishap),
                Err(error) => self.note(format!("{error:#}")),
            }
        }
    }

    /// Makes processes and links what the active faults say. Whether that changed anything.
    async fn settle(&self, changed: &Fault) -> anyhow::Result<bool> {
        match changed {
            Fault::Kill { node } | Fault::Pause { node } => self.settle_node(*node).await,
            Fault::Partition { cut, .. } => {
                let active = self.active();
                Ok(settle_links(&self.links, active.values(), cut))
            }
        }
    }

    async fn settle_node(&self, number: NodeNumber) -> anyhow::Result<bool> {
        let (down, paused) = {
            let active = self.active();
            let any = |fault: Fault| active.values().any(|active| *active == fault);
            (any(Fault::Kill { node: number }), any(Fault::Pause { node: number }))
        };
        let mut nodes = self.nodes.lock().await;
        let Some(node) = nodes.get_mut(number.0) else { bail!("there is no {number}") };
        let mut changed = false;
        if let Some(mishap) = node.maybe_mishap()? {
            self.note(mishap);
            if !down {
                node.start()?;
            }
        } else if down && node.is_up() {
            node.kill().await?;
            changed = true;
        }
        if !down && !node.is_up() {
            node.start()?;
            changed = true;
        }
        if node.is_up() && paused != node.is_paused() {
            node.pause(paused)?;
            changed = true;
        }
        Ok(changed)
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<usize, Fault>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, mishap: String) {
        tracing::warn!("{mishap}");
        self.mishaps.lock().unwrap_or_else(PoisonError::into_inner).push(mishap);
    }

    /// Whether a node answers and is connected to all others; if not, why.
    async fn answers(&self, node: NodeNumber) -> Result<(), String> {
        let address = self.addresses[node.0].to_string();
        let asked = async {
            let connection = NodeConnection::open(&address, &Connecting::default()).await?;
            connection.status(ANSWER_WITHIN).await
        };
        let status = asked.await.map_err(|closed| closed.to_string())?;
        let (connected, others) = (status.connected.len(), self.addresses.len() - 1);
        if connected < others {
            return Err(format!("it is connected to {connected} of {others} others"));
        }
        Ok(())
    }
}

impl Ground for ProcessGround {
    fn nodes(&self) -> usize {
        self.addresses.len()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep_until(&self, at: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep_until((self.began + at).into())
    }

    fn call(&self, call: Call) -> impl Future<Output = Result<Answer, CallError>> {
        self.connection.call(call)
    }

    async fn begin(&self, id: usize, fault: &Fault) -> anyhow::Result<bool> {
        self.active().insert(id, fault.clone());
        self.settle(fault).await
    }

    async fn end(&self, id: usize) -> anyhow::Result<()> {
        let ended = self.active().remove(&id);
        match ended {
            Some(fault) => self.settle(&fault).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn heal(&self) -> anyhow::Result<()> {
        self.active().clear();
        self.links.heal();
        for node in (0..self.nodes()).map(NodeNumber) {
            self.settle_node(node).await?;
        }
        Ok(())
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        for node in (0..self.nodes()).map(NodeNumber) {
            while let Err(error) = self.answers(node).await {
                let mishap = self.nodes.lock().await[node.0].maybe_mishap()?;
                if let Some(mishap) = mishap {
                    self.note(mishap.clone());
                    bail!("{mishap}");
                }
                if Instant::now() >= deadline {
                    bail!("{node} is not ready within {READY_WITHIN:?}: {error}");
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        Ok(())
    }

    async fn owners(&self, bucket: &str, key: &str) -> anyhow::Result<Vec<NodeNumber>> {
        self.connection.owners(bucket, key).await
    }

    fn mishaps(&self) -> Vec<String> {
        self.mishaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Makes these links what the active faults say. Whether that changed one: they may have been cut already.
fn settle_links<'f>(
    links: &Links,
    active: impl Iterator<Item = &'f Fault> + Clone,
    settled: &[Ends],
) -> bool {
    let mut changed = false;
    for ends in settled {
        let cuts = active.clone().filter_map(|fault| match fault {
            Fault::Partition { connections, cut, .. } => cut.contains(ends).then_some(*connections),
            Fault::Kill { .. } | Fault::Pause { .. } => None,
        });
        let cuts: Vec<_> = cuts.collect();
        changed |= links.change(*ends, |link| {
            let refuses = cuts.contains(&Connections::Reset);
            link.losses += u64::from(refuses && !link.refuses);
            (link.cut, link.refuses) = (!cuts.is_empty(), refuses);
        });
    }
    changed
}

/// Tells from the handshake which of these nodes dials.
fn identify(nodes: &[Prepared]) -> Identify {
    let ids: Vec<_> = nodes.iter().map(|node| (node.id.clone(), node.number)).collect();
    Arc::new(move |bytes| match first_frame(bytes) {
        Ok(None) => Dialler::Undecided,
        Ok(Some(frame)) => match Hello::decode(frame).map(|hello| hello.kind) {
            Ok(Kind::Peer { node, .. }) => {
                let id = node.to_string();
                let known = ids.iter().find(|(known, _)| *known == id);
                known.map_or(Dialler::Stranger, |(_, number)| Dialler::Node(*number))
            }
            Ok(Kind::Client) | Err(_) => Dialler::Stranger,
        },
        Err(_) => Dialler::Stranger,
    })
}

#[cfg(test)]
mod tests {
    use super::{Ends, Links, settle_links};
    use crate::fault::{Connections, Fault, NodeNumber, Shape};

    fn partition(connections: Connections, cut: &[Ends]) -> Fault {
        Fault::Partition { shape: Shape::OneWay, connections, cut: cut.to_vec() }
    }

    #[test]
    fn a_partition_is_applied_only_if_it_changes_a_link() {
        let links = Links::default();
        let (there, back) = ((NodeNumber(0), NodeNumber(1)), (NodeNumber(1), NodeNumber(0)));
        let one = partition(Connections::Stall, &[there]);
        let both = partition(Connections::Stall, &[there, back]);
        let harder = partition(Connections::Reset, &[there]);
        let settle =
            |active: &[&Fault], cut: &[Ends]| settle_links(&links, active.iter().copied(), cut);
        assert!(!settle(&[], &[]), "nothing is cut");
        assert!(settle(&[&one], &[there]));
        assert!(!settle(&[&one, &one], &[there]), "it was cut already");
        assert!(settle(&[&one, &both], &[there, back]), "the way back was not");
        assert!(settle(&[&both, &harder], &[there]), "connections over it are lost now");
        assert!(!settle(&[&both, &harder, &one], &[there]), "and that goes on");
        assert!(settle(&[&both], &[there]));
        assert!(!settle(&[&both, &harder], &[]), "a fault that cuts nothing changes nothing");
        assert!(settle(&[], &[there, back]));
        assert!(!links.link(there).cut && !links.link(back).cut);
    }
}
