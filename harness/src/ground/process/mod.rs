//! Real processes on this machine: `serve` once a node, every link between them through a proxy.
//!
//! Nodes come and go: each stands at a [`Place`], and the [`Roster`] knows who is where. What takes its time (a
//! change of the members, a rolling restart, reaping) is begun by a fault and looked after by [`Ground::tend`].

mod changes;
mod cluster;
mod connection;
mod damaged;
mod disks;
mod faults;
mod node;
mod place;
mod roster;
mod tend;
mod turns;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cartwheel_client::handshake::{Hello, Kind, first_frame};
use cartwheel_client::{Connecting, Connection as NodeConnection};
use tokio::sync::Mutex as AsyncMutex;

pub use changes::Changes;
pub use cluster::{ClusterSpec, Origin, Prepared};
pub use connection::Connection;
pub use disks::{Disk, RESERVE_MIB, make_private};
pub use node::NodeProcess;
pub use place::{Duty, Place};
pub use roster::Roster;
pub use turns::{Job, Turns};

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

/// The places of a cluster.
type Places = BTreeMap<NodeNumber, Place>;

/// A cluster of processes, its clients and its faults.
pub struct ProcessGround {
    began: Instant,
    spec: ClusterSpec,
    /// Whether links between nodes run through proxies.
    faulty: bool,
    places: AsyncMutex<Places>,
    roster: Arc<Roster>,
    links: Arc<Links>,
    connection: Connection,
    /// Of the nodes with which it began.
    addresses: Vec<SocketAddr>,
    active: Mutex<BTreeMap<usize, Fault>>,
    changes: Mutex<Changes>,
    turns: Mutex<BTreeMap<usize, Turns>>,
    /// How many rounds the runs of reap rounds that were followed came to.
    reap_rounds: AtomicU64,
    mishaps: Mutex<Vec<String>>,
}

impl ProcessGround {
    /// Formats the stores, starts the nodes and waits until all of them answer. With `faulty` every
    /// link between nodes runs through a proxy. The nodes are killed when the calling thread ends.
    ///
    /// # Errors
    /// A node cannot be formatted or started, or does not answer in time.
    pub async fn start(spec: &ClusterSpec, faulty: bool) -> anyhow::Result<Self> {
        Self::start_in_zones(spec, 1, faulty).await
    }

    /// The same with nodes spread over so many zones, one after the other.
    ///
    /// # Errors
    /// As [`ProcessGround::start`].
    pub async fn start_in_zones(
        spec: &ClusterSpec,
        zones: usize,
        faulty: bool,
    ) -> anyhow::Result<Self> {
        let prepared = spec.prepare(zones).await?;
        let (links, roster) = (Arc::new(Links::default()), Arc::new(Roster::default()));
        let mut addresses = Vec::new();
        let mut proxies = Vec::new();
        for node in &prepared {
            roster.maybe_move_in(node.number, &node.id).context("a store without an id")?;
            let proxy = if faulty { Some(proxy(node, &links, &roster).await?) } else { None };
            let address = proxy.as_ref().map_or(node.listen, Proxy::address);
            roster.is_reached_at(node.number, address);
            addresses.push(address);
            proxies.push(proxy);
        }
        let processes = spec.processes(&prepared, &addresses)?;
        let mut places = Places::new();
        for ((node, process), proxy) in prepared.into_iter().zip(processes).zip(proxies) {
            let mut place = Place::new(node, process, proxy);
            place.process.start()?;
            places.insert(place.number, place);
        }
        roster.set_members(|_| true);
        let known = addresses.iter().map(ToString::to_string).collect();
        let ground = Self {
            began: Instant::now(),
            spec: spec.clone(),
            faulty,
            places: AsyncMutex::new(places),
            roster: Arc::clone(&roster),
            links,
            connection: Connection::of(known, roster),
            addresses,
            active: Mutex::default(),
            changes: Mutex::default(),
            turns: Mutex::default(),
            reap_rounds: AtomicU64::default(),
            mishaps: Mutex::default(),
        };
        ground.ready().await?;
        Ok(ground)
    }

    /// Where the nodes with which it began are reached, in order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The numbers of the processes that run.
    pub async fn pids(&self) -> Vec<u32> {
        self.places.lock().await.values().filter_map(|place| place.process.pid()).collect()
    }

    /// Ends all nodes in order; those that do not within 15 s are killed, which is a mishap.
    pub async fn stop(&self) {
        let mut places = self.places.lock().await;
        let stops = places.values_mut().map(|place| place.process.stop(STOP_WITHIN));
        for stopped in futures::future::join_all(stops).await {
            match stopped {
                Ok(None) => {}
                Ok(Some(mishap)) => self.note(mishap),
                Err(error) => self.note(format!("{error:#}")),
            }
        }
    }

    /// Leaves what is on the nodes' own disks in their folders. To be called when they have ended.
    ///
    /// # Errors
    /// One cannot be unmounted, or not be copied.
    pub async fn keep_disks(&self) -> anyhow::Result<()> {
        let mut places = self.places.lock().await;
        let disks = places.values_mut().filter_map(|place| place.disk.take());
        let kept: Vec<anyhow::Result<()>> = disks.map(Disk::keep).collect();
        kept.into_iter().collect()
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<usize, Fault>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, BTreeMap<usize, Turns>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, mishap: String) {
        tracing::warn!("{mishap}");
        self.mishaps.lock().unwrap_or_else(PoisonError::into_inner).push(mishap);
    }

    /// If the process at a place has ended by itself: how, which is noted. With a damaged store it may, and that is for
    /// [`ProcessGround::tend_damaged`] to find: an end is told once.
    fn maybe_mishap(&self, place: &mut Place) -> anyhow::Result<Option<String>> {
        if place.damaged {
            return Ok(None);
        }
        let mishap = place.process.maybe_mishap()?;
        mishap.iter().for_each(|mishap| self.note(mishap.clone()));
        Ok(mishap)
    }

    /// Whether a node answers and, if it is a member, is connected to all others; if not, why.
    async fn answers(&self, node: NodeNumber, address: SocketAddr) -> Result<(), String> {
        let address = address.to_string();
        let asked = async {
            let connection = NodeConnection::open(&address, &Connecting::default()).await?;
            connection.status(ANSWER_WITHIN).await
        };
        let status = asked.await.map_err(|closed| closed.to_string())?;
        let members = self.roster.members();
        if !members.contains(&node) {
            return Ok(());
        }
        let others = members.into_iter().filter(|other| *other != node);
        let is_missing = |other: &NodeNumber| {
            self.roster.node(*other).is_some_and(|id| !status.connected.contains(&id))
        };
        let missing: Vec<_> = others.filter(is_missing).map(|other| other.to_string()).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("it is not connected to {}", missing.join(", ")))
        }
    }

    /// Waits until a node answers; a node that is to run no more need not.
    async fn wait_for(&self, node: NodeNumber, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let address = {
                let mut places = self.places.lock().await;
                let Some(place) = places.get_mut(&node).filter(|place| place.is_in_use()) else {
                    return Ok(());
                };
                if let Some(mishap) = self.maybe_mishap(place)? {
                    bail!("{mishap}");
                }
                place.address
            };
            let Err(error) = self.answers(node, address).await else { return Ok(()) };
            if Instant::now() >= deadline {
                bail!("{node} is not ready within {READY_WITHIN:?}: {error}");
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

impl Ground for ProcessGround {
    fn members(&self) -> Vec<NodeNumber> {
        self.roster.members()
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
        self.begin_fault(id, fault).await
    }

    async fn end(&self, id: usize) -> anyhow::Result<()> {
        self.end_fault(id).await
    }

    async fn tend(&self) -> anyhow::Result<()> {
        self.tend_turns().await?;
        self.tend_damaged().await?;
        self.tend_members().await
    }

    async fn restless(&self, within: Duration, tell: &mut dyn FnMut(&[String])) -> Vec<String> {
        self.what_moves(within, tell).await
    }

    fn completed(&self) -> BTreeMap<&'static str, u64> {
        let mut completed = self.changes().completed();
        let rounds = self.reap_rounds.load(Ordering::Relaxed);
        completed.extend((rounds > 0).then_some(("reap-rounds-completed", rounds)));
        completed
    }

    async fn heal(&self) -> anyhow::Result<()> {
        let active: Vec<_> = self.active().keys().copied().collect();
        for id in active {
            self.end_fault(id).await?;
        }
        self.links.heal();
        Ok(())
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let all: Vec<_> = self.places.lock().await.keys().copied().collect();
        for node in all {
            self.wait_for(node, deadline).await?;
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

/// A proxy that leads to a node.
async fn proxy(node: &Prepared, links: &Arc<Links>, roster: &Arc<Roster>) -> anyhow::Result<Proxy> {
    let identify = identify(Arc::clone(roster));
    let proxy = Proxy::start(node.number, Arc::clone(links), identify).await?;
    proxy.lead_to(Some(node.listen));
    Ok(proxy)
}

/// Makes these links what the active faults say. Whether that changed one: they may have been so already. Where several
/// faults make one slow, it is as slow as the worst of them.
fn settle_links<'f>(
    links: &Links,
    active: impl Iterator<Item = &'f Fault> + Clone,
    settled: &[Ends],
) -> bool {
    let mut changed = false;
    for ends in settled {
        let cuts = active.clone().filter_map(|fault| {
            let (connections, cut) = fault.cut()?;
            cut.contains(ends).then_some(connections)
        });
        let cuts: Vec<_> = cuts.collect();
        let (delay, bytes_per_s) = slowest(active.clone(), ends);
        changed |= links.change(*ends, |link| {
            let refuses = cuts.contains(&Connections::Reset);
            link.losses += u64::from(refuses && !link.refuses);
            (link.cut, link.refuses) = (!cuts.is_empty(), refuses);
            (link.delay, link.bytes_per_s) = (delay, bytes_per_s);
        });
    }
    changed
}

/// How slow the active faults make a link.
fn slowest<'f>(active: impl Iterator<Item = &'f Fault>, ends: &Ends) -> (Duration, Option<u64>) {
    let mut slowest = (Duration::ZERO, None);
    for fault in active {
        let Fault::Slow { delay_ms, bytes_per_s, links } = fault else { continue };
        if links.contains(ends) {
            let delay = Duration::from_millis((*delay_ms).into());
            let rates = [slowest.1, *bytes_per_s].into_iter().flatten();
            slowest = (slowest.0.max(delay), rates.min());
        }
    }
    slowest
}

/// Tells from the handshake which node dials.
fn identify(roster: Arc<Roster>) -> Identify {
    Arc::new(move |bytes| match first_frame(bytes) {
        Ok(None) => Dialler::Undecided,
        Ok(Some(frame)) => match Hello::decode(frame).map(|hello| hello.kind) {
            Ok(Kind::Peer { node, address }) => {
                let place = roster.place_of_dialler(node.0, &address);
                place.map_or(Dialler::Stranger, Dialler::Node)
            }
            Ok(Kind::Client) | Err(_) => Dialler::Stranger,
        },
        Err(_) => Dialler::Stranger,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ends, Links, settle_links};
    use crate::fault::{Connections, Fault, NodeNumber, Shape};

    fn partition(connections: Connections, cut: &[Ends]) -> Fault {
        Fault::Partition { shape: Shape::OneWay, connections, cut: cut.to_vec() }
    }

    #[test]
    fn a_link_is_as_slow_as_the_worst_fault_makes_it() {
        let links = Links::default();
        let ends = (NodeNumber(0), NodeNumber(1));
        let slow = |delay_ms, bytes_per_s| Fault::Slow { delay_ms, bytes_per_s, links: vec![ends] };
        let mut active = vec![slow(5, None), slow(3, Some(70)), slow(1, Some(90))];
        assert!(settle_links(&links, active.iter(), &[ends]));
        let link = links.link(ends);
        assert_eq!((link.delay, link.bytes_per_s), (Duration::from_millis(5), Some(70)));
        active.clear();
        assert!(settle_links(&links, active.iter(), &[ends]));
        assert_eq!(links.link(ends), Default::default());
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
