//! The faulty link proxy: stands before every node and spoils what its peers send.
//!
//! A node advertises its proxy's address instead of its own, so every peer dials the proxy. The
//! first bytes that the dialler sends say who it is; from then on what it sends goes by the state of
//! the link from it to the node, and what it is sent by that of the link back. No privileges are
//! needed, and nothing but the first frame is understood. Who is no node of the cluster (a client)
//! gets a sound connection.

mod links;
mod pump;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use links::{Ends, Link, Links};

use crate::fault::NodeNumber;

/// The longest introduction, in bytes. Whoever says more without saying who it is gets no further.
const LONGEST_HELLO: usize = 1 << 16;

/// Who dials, as far as the first bytes tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialler {
    /// More bytes are needed.
    Undecided,
    /// This node of the cluster.
    Node(NodeNumber),
    /// Anybody else.
    Stranger,
}

/// Tells from the first bytes of a connection who dials.
pub type Identify = Arc<dyn Fn(&[u8]) -> Dialler + Send + Sync>;

/// The proxy before one node. Dropping it closes its listener and all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    accepting: JoinHandle<()>,
}

/// What every connection of a proxy needs.
#[derive(Clone)]
struct Shared {
    node: NodeNumber,
    links: Arc<Links>,
    identify: Identify,
    target: Arc<Mutex<Option<SocketAddr>>>,
}

impl Proxy {
    /// Listens on a loopback port that the system chooses. Nobody gets through before
    /// [`Proxy::lead_to`].
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(
        node: NodeNumber,
        links: Arc<Links>,
        identify: Identify,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let target = Arc::new(Mutex::new(None));
        let shared = Shared { node, links, identify, target: Arc::clone(&target) };
        let accepting = tokio::spawn(accept(listener, shared));
        Ok(Self { address, target, accepting })
    }

    /// Where peers reach the node.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on new connections lead to this address; `None` refuses them.
    pub fn lead_to(&self, target: Option<SocketAddr>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((dialler, _)) => {
                connections.spawn(connect(dialler, shared.clone()));
            }
            Err(error) => {
                tracing::warn!(node = %shared.node, %error, "the proxy cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, from its first byte to its last. Its errors are its ends': both get to see that
/// it is closed.
async fn connect(mut dialler: TcpStream, shared: Shared) {
    let mut hello = Vec::new();
    let who = loop {
        match (shared.identify)(&hello) {
            Dialler::Undecided if hello.len() < LONGEST_HELLO => {}
            Dialler::Undecided | Dialler::Stranger => break None,
            Dialler::Node(node) => break Some(node),
        }
        match dialler.read_buf(&mut hello).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    };
    let (there, back) = match who {
        Some(peer) => {
            let ends = ((peer, shared.node), (shared.node, peer));
            (Some(shared.links.view(ends.0)), Some(shared.links.view(ends.1)))
        }
        None => (None, None),
    };
    let refused = |view: &Option<links::LinkView>| {
        view.as_ref().is_some_and(|view| view.now().cut && view.now().refuses)
    };
    if refused(&there) || refused(&back) {
        return pump::reset(&dialler);
    }
    let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(target) = target else { return pump::reset(&dialler) };
    let Ok(node) = TcpStream::connect(target).await else { return pump::reset(&dialler) };
    pump::both_ways(dialler, node, hello, there, back).await;
}

#[cfg(test)]
mod tests;
