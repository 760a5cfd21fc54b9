//! Where to ask: the directory, the connections, and which nodes failed of late.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cartwheel_protocol::{id::NodeId, key::Key};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    connection::{Connecting, Connection},
    peers::Closed,
    service::Directory,
    values::Ask,
};

/// How long a node that failed is asked last.
const DOUBT: Duration = Duration::from_secs(1);
/// How long an owner that has requests before it may answer none of them until the other owners are asked
/// first. Short, because what it is sent meanwhile waits with the rest, and a put that was sent is not made
/// again elsewhere. An owner that is only slow loses nothing but its turn, and if all are slow nothing changes.
const SILENCE: Duration = Duration::from_millis(10);
/// How old the directory may be while it is used: layouts change, and no answer says so.
const FRESH: Duration = Duration::from_secs(3);
/// How soon it is asked for again when a node refuses because of where it stands.
const SOON: Duration = Duration::from_millis(200);
/// How soon after a failed dial another one may be made to the same node.
const REDIAL_AFTER: Duration = Duration::from_millis(20);

/// What a client knows of a cluster.
pub(crate) struct Routes {
    how: Connecting,
    seeds: Vec<String>,
    directory: Mutex<Option<Arc<Directory>>>,
    refreshed: Mutex<Option<Instant>>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// The connection to one address.
#[derive(Default)]
struct Slot {
    connection: Mutex<Option<Arc<Connection>>>,
    /// Held while dialling, so that many requests make one connection.
    dialling: AsyncMutex<()>,
    failed: Mutex<Option<(Instant, String)>>,
    waits: Mutex<Waits>,
}

/// The requests that a node has before it.
#[derive(Default)]
struct Waits {
    count: usize,
    /// When it last answered one, or since when it has any, whichever is later.
    since: Option<Instant>,
}

/// One request that a node has before it, until this is dropped.
pub(crate) struct Waiting(Arc<Slot>);

impl Routes {
    pub(crate) fn new(how: Connecting, seeds: Vec<String>) -> Self {
        Self {
            how,
            seeds,
            directory: Mutex::default(),
            refreshed: Mutex::default(),
            slots: Mutex::default(),
        }
    }

    pub(crate) fn directory(&self) -> Option<Arc<Directory>> {
        lock(&self.directory).clone()
    }

    /// The addresses to ask, in order: owners, silent ones after the others, then the other members, or the seeds
    /// if nothing else is known; those that failed of late come last.
    pub(crate) fn candidates(&self, key: &Key, ask: Ask) -> Vec<String> {
        self.candidates_at(key, ask, Instant::now())
    }

    fn candidates_at(&self, key: &Key, ask: Ask, now: Instant) -> Vec<String> {
        let directory = self.directory();
        let address = |node: NodeId| {
            let directory = directory.as_ref()?;
            directory.member(node).map(|seat| seat.address.clone())
        };
        if let Ask::Only(node) = ask {
            return Vec::from_iter(address(node));
        }
        let mut candidates: Vec<String> = Vec::new();
        if let Some(directory) = &directory {
            candidates.extend(directory.owners(key).iter().map(|seat| seat.address.clone()));
            candidates.sort_by_key(|address| self.is_silent(address, now));
            candidates.extend(directory.members.iter().map(|seat| seat.address.clone()));
        } else {
            candidates.extend_from_slice(&self.seeds);
        }
        candidates.sort_by_key(|address| self.is_doubtful(address, now));
        if let Ask::First(node) = ask {
            candidates.splice(0..0, address(node));
        }
        let mut asked = HashSet::new();
        candidates.retain(|address| asked.insert(address.clone()));
        candidates
    }

    /// The connection to an address, dialled if need be.
    pub(crate) async fn connection(&self, address: &str) -> Result<Arc<Connection>, String> {
        let slot = self.slot(address);
        if let Some(connection) = slot.open_connection() {
            return Ok(connection);
        }
        let _dialling = slot.dialling.lock().await;
        if let Some(connection) = slot.open_connection() {
            return Ok(connection);
        }
        if let Some((at, why)) = &*lock(&slot.failed)
            && at.elapsed() < REDIAL_AFTER
        {
            return Err(why.clone());
        }
        match Connection::open(address, &self.how).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *lock(&slot.connection) = Some(connection.clone());
                *lock(&slot.failed) = None;
                Ok(connection)
            }
            Err(closed) => {
                let why = closed.to_string();
                *lock(&slot.failed) = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// The node has failed: ask others first for a while.
    pub(crate) fn doubt(&self, address: &str, why: &str) {
        *lock(&self.slot(address).failed) = Some((Instant::now(), why.to_owned()));
    }

    /// The node is asked something, and has not answered while what this gives is held.
    pub(crate) fn wait(&self, address: &str) -> Waiting {
        let slot = self.slot(address);
        let mut waits = lock(&slot.waits);
        if waits.count == 0 {
            waits.since = Some(Instant::now());
        }
        waits.count += 1;
        drop(waits);
        Waiting(slot)
    }

    /// The node has answered.
    pub(crate) fn trust(&self, address: &str) {
        let slot = self.slot(address);
        *lock(&slot.failed) = None;
        lock(&slot.waits).since = Some(Instant::now());
    }

    /// Asks the nodes in turn for the directory; the first answer counts, if it is not older than what is
    /// known.
    pub(crate) async fn refresh(&self, within: Duration) -> Result<Arc<Directory>, String> {
        let known = self.directory();
        let mut addresses: Vec<String> = self.seeds.clone();
        if let Some(directory) = &known {
            addresses.extend(directory.members.iter().map(|seat| seat.address.clone()));
        }
        let now = Instant::now();
        *lock(&self.refreshed) = Some(now);
        addresses.sort_by_key(|address| self.is_doubtful(address, now));
        addresses.dedup();
        let mut why = "no address is known".to_owned();
        for address in addresses {
            if now.elapsed() >= within {
                break;
            }
            match self.directory_of(&address, within.saturating_sub(now.elapsed())).await {
                Ok(directory) => {
                    let mut known = lock(&self.directory);
                    if known.as_ref().is_none_or(|known| known.layout <= directory.layout) {
                        *known = Some(Arc::new(directory));
                    }
                    if let Some(known) = &*known {
                        return Ok(known.clone());
                    }
                }
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        Err(why)
    }

    /// Every address that is known: the members', those that failed of late after the others, then the seeds.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let now = Instant::now();
        let directory = self.directory();
        let seats = directory.iter().flat_map(|directory| &directory.members);
        let mut addresses: Vec<String> = seats.map(|seat| seat.address.clone()).collect();
        addresses.sort_by_key(|address| self.is_doubtful(address, now));
        addresses.extend_from_slice(&self.seeds);
        let mut listed = HashSet::new();
        addresses.retain(|address| listed.insert(address.clone()));
        addresses
    }

    /// Asks for the directory again, beside whatever goes on, if it has grown old; `soon` if there is a reason to
    /// think that it has changed.
    pub(crate) fn keep_fresh(self: &Arc<Self>, soon: bool) {
        let age = if soon { SOON } else { FRESH };
        let mut refreshed = lock(&self.refreshed);
        if refreshed.is_some_and(|at| at.elapsed() < age) {
            return;
        }
        *refreshed = Some(Instant::now());
        drop(refreshed);
        let routes = self.clone();
        tokio::spawn(async move {
            if let Err(why) = routes.refresh(FRESH).await {
                tracing::debug!(why, "the layout is not known anew");
            }
        });
    }

    /// Whether the directory may be asked for again.
    pub(crate) fn may_refresh(&self) -> bool {
        lock(&self.refreshed).is_none_or(|at| at.elapsed() >= DOUBT)
    }

    async fn directory_of(&self, address: &str, within: Duration) -> Result<Directory, String> {
        let connection = self.connection(address).await?;
        let within = within.min(self.how.limits.handshake);
        let answered = connection.directory(within).await.map_err(|closed: Closed| {
            self.doubt(address, &closed.to_string());
            closed.to_string()
        })?;
        let directory = answered.ok_or_else(|| "the node has no layout yet".to_owned())?;
        directory.check().map_err(|bad| bad.to_string())?;
        Ok(directory)
    }

    fn is_doubtful(&self, address: &str, now: Instant) -> bool {
        let slots = lock(&self.slots);
        let failed = slots.get(address).and_then(|slot| lock(&slot.failed).clone());
        failed.is_some_and(|(at, _)| now.saturating_duration_since(at) < DOUBT)
    }

    fn is_silent(&self, address: &str, now: Instant) -> bool {
        let slots = lock(&self.slots);
        let Some(slot) = slots.get(address) else { return false };
        let waits = lock(&slot.waits);
        let silent_since = waits.since.filter(|_| waits.count > 0);
        silent_since.is_some_and(|at| now.saturating_duration_since(at) >= SILENCE)
    }

    fn slot(&self, address: &str) -> Arc<Slot> {
        lock(&self.slots).entry(address.to_owned()).or_default().clone()
    }
}

impl Slot {
    fn open_connection(&self) -> Option<Arc<Connection>> {
        lock(&self.connection).as_ref().filter(|connection| connection.is_open()).cloned()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.0.waits).count -= 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use cartwheel_protocol::bucket::BucketName;

    use super::*;
    use crate::service::{BucketEntry, Seat};

    /// Four nodes; the first three own everything, in this order.
    fn routes() -> Routes {
        let seat = |at: u64| Seat {
            node: at,
            name: format!("n{at}"),
            address: format!("n{at}"),
            zone: "z".into(),
            weight: 1,
        };
        let bucket = BucketEntry {
            name: "default".into(),
            n: 3,
            is_cart: false,
            is_last_write_wins: false,
            is_spread_over_zones: false,
            strict_r: 2,
            strict_w: 2,
            cancelled_bound: 2_048,
            r: 2,
            w: 2,
        };
        let directory = Directory {
            cluster: 1,
            layout: 1,
            hash: 1,
            partitions: 1,
            members: (1..=4).map(seat).collect(),
            buckets: vec![bucket],
            width: 3,
            owners: vec![0, 1, 2],
        };
        let routes = Routes::new(Connecting::default(), Vec::new());
        *lock(&routes.directory) = Some(Arc::new(directory));
        routes
    }

    fn asked_at(routes: &Routes, now: Instant) -> Vec<String> {
        let bucket = BucketName::new("default").expect("a name");
        routes.candidates_at(&Key::new(bucket, *b"k"), Ask::Owners, now)
    }

    #[test]
    fn an_owner_that_keeps_its_requests_waiting_is_asked_after_the_other_owners() {
        let routes = routes();
        let began = Instant::now();
        let (first, second) = (routes.wait("n1"), routes.wait("n1"));
        assert_eq!(asked_at(&routes, began), ["n1", "n2", "n3", "n4"], "it has just been asked");
        let later = Instant::now() + SILENCE;
        assert_eq!(asked_at(&routes, later), ["n2", "n3", "n1", "n4"]);
        drop(first);
        assert_eq!(asked_at(&routes, later), ["n2", "n3", "n1", "n4"], "the second still waits");
        drop(second);
        assert_eq!(asked_at(&routes, later), ["n1", "n2", "n3", "n4"], "nobody waits");
    }

    #[test]
    fn an_answer_ends_the_silence_and_a_failure_is_worse_than_it() {
        let routes = routes();
        let _waiting = routes.wait("n1");
        let later = Instant::now() + SILENCE;
        routes.trust("n1");
        assert_eq!(asked_at(&routes, later - SILENCE), ["n1", "n2", "n3", "n4"]);
        let silent = Instant::now() + SILENCE;
        routes.doubt("n2", "a failure");
        assert_eq!(asked_at(&routes, silent), ["n3", "n1", "n4", "n2"]);
    }

    #[test]
    fn if_all_owners_are_silent_they_are_asked_in_their_order() {
        let routes = routes();
        let _waiting = ["n1", "n2", "n3"].map(|address| routes.wait(address));
        let later = Instant::now() + SILENCE;
        assert_eq!(asked_at(&routes, later), ["n1", "n2", "n3", "n4"]);
    }
}
