//! One place of a cluster of processes: its port, its proxy, its disk and the process there.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpSocket;

use super::cluster::Prepared;
use super::disks::Disk;
use super::node::NodeProcess;
use crate::fault::{NodeNumber, ZoneNumber};
use crate::proxy::Proxy;

/// A place, and what is to be there.
#[derive(Debug)]
pub struct Place {
    /// Its number.
    pub number: NodeNumber,
    /// Its zone.
    pub zone: ZoneNumber,
    /// Where its node listens.
    pub listen: SocketAddr,
    /// Where others reach it.
    pub address: SocketAddr,
    /// Its store.
    pub data: PathBuf,
    /// What the store lies on, if that can be full.
    pub disk: Option<Disk>,
    /// Whether its store was damaged and nobody has seen yet what became of the node.
    pub damaged: bool,
    /// What runs there, or does not.
    pub process: NodeProcess,
    /// What its node is there for.
    pub duty: Duty,
    /// Before the node, unless the cluster is without faults. Ends with this.
    _proxy: Option<Proxy>,
    /// Keeps the port.
    _reserved: Option<TcpSocket>,
}

/// What a node is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Duty {
    /// It is a member, or becomes one.
    Serves,
    /// It hands off what it holds, and ends then.
    Drains,
    /// It is gone.
    Over,
}

impl Place {
    /// The place of a node that serves.
    pub fn new(node: Prepared, process: NodeProcess, proxy: Option<Proxy>) -> Self {
        Self {
            number: node.number,
            zone: node.zone,
            listen: node.listen,
            address: proxy.as_ref().map_or(node.listen, Proxy::address),
            data: node.data,
            disk: node.disk,
            damaged: false,
            process,
            duty: Duty::Serves,
            _proxy: proxy,
            _reserved: node.reserved,
        }
    }

    /// Whether a node is to run here when no fault keeps it from that.
    pub fn is_in_use(&self) -> bool {
        self.duty != Duty::Over
    }
}
