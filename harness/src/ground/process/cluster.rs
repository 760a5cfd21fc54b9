//! Everything that a cluster of processes needs before its first process: formatted stores, ports,
//! the cluster file, each node's command line.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;
use tokio::process::Command;
use uuid::Uuid;

use super::disks::Disk;
use super::node::NodeProcess;
use crate::fault::{NodeNumber, ZoneNumber};
use crate::workload::{CART_BUCKET, LWW_BUCKET, PAPER_BUCKET};

/// What a cluster of processes is made of.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// The program that formats and serves.
    pub program: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// Where the stores lie, a folder each.
    pub data: PathBuf,
    /// Where the logs lie, a file each, and the cluster file.
    pub logs: PathBuf,
    /// The first of the ports, one a node; `None` lets the system choose.
    pub first_port: Option<u16>,
    /// The first of the ports for metrics, one a node; `None` for no metrics.
    pub first_http_port: Option<u16>,
    /// Further options of `serve`, without dashes, with their values.
    pub options: Vec<(String, String)>,
    /// Whether each store lies on a [`Disk`] of its own, which can be full.
    pub own_disks: bool,
}

/// A node that is ready to be started.
#[derive(Debug)]
pub struct Prepared {
    /// Its place.
    pub number: NodeNumber,
    /// Its zone.
    pub zone: ZoneNumber,
    /// Its id, as the cluster file writes it.
    pub id: String,
    /// Where it will listen.
    pub listen: SocketAddr,
    /// Its store.
    pub data: PathBuf,
    /// What the store lies on, if it has a disk of its own.
    pub disk: Option<Disk>,
    /// Keeps the port: bound, but not listened on, so that nobody else is given it and the node,
    /// which may share it, can listen on it again and again.
    pub(super) reserved: Option<TcpSocket>,
}

/// How a node comes to know the cluster.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// It is a member of the first layout: the cluster file.
    File,
    /// From these nodes, with a store that is new.
    Seeds {
        /// Their addresses.
        addresses: &'a [SocketAddr],
        /// Whether it becomes a member by itself.
        joins: bool,
    },
}

/// The cluster file, as `serve` reads it.
#[derive(Deserialize, Serialize)]
struct ClusterFile {
    cluster: String,
    members: Vec<Member>,
    buckets: Vec<Bucket>,
}

#[derive(Deserialize, Serialize)]
struct Member {
    id: String,
    name: String,
    address: String,
    #[serde(default)]
    zone: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Bucket {
    name: String,
    kind: String,
    n: u8,
    r: u8,
    w: u8,
    #[serde(default)]
    conflict: Option<String>,
    #[serde(default)]
    spread: Option<String>,
}

/// What `format --json` prints, as far as we need it.
#[derive(Deserialize)]
struct Formatted {
    id: String,
}

impl ClusterSpec {
    /// Formats the stores and finds the ports, for nodes spread over so many zones, one after the other. A
    /// cluster that was made here before is gone on with.
    ///
    /// # Errors
    /// A store cannot be made or a port not be had.
    pub async fn prepare(&self, zones: usize) -> anyhow::Result<Vec<Prepared>> {
        std::fs::create_dir_all(&self.logs).with_context(|| self.logs.display().to_string())?;
        let known = self.maybe_known()?;
        let mut prepared = Vec::new();
        for number in (0..self.nodes).map(NodeNumber) {
            let zone = ZoneNumber(number.0 % zones.max(1));
            let (data, disk) = self.home(number)?;
            let id = match &known {
                Some(file) => file.members[number.0].id.clone(),
                None => self.format(&data, number).await?,
            };
            let (listen, reserved) = match self.first_port {
                Some(first) => (SocketAddr::from(([127, 0, 0, 1], first + number.0 as u16)), None),
                None => {
                    let (address, socket) = reserve().context("no port can be had")?;
                    (address, Some(socket))
                }
            };
            prepared.push(Prepared { number, zone, id, listen, data, disk, reserved });
        }
        Ok(prepared)
    }

    /// A node at a place where nobody has been: formats a store and finds a port.
    ///
    /// # Errors
    /// The store cannot be made or no port be had.
    pub async fn prepare_fresh(
        &self,
        number: NodeNumber,
        zone: ZoneNumber,
    ) -> anyhow::Result<Prepared> {
        let (data, disk) = self.home(number)?;
        let id = self.format(&data, number).await?;
        let (listen, socket) = reserve().context("no port can be had")?;
        Ok(Prepared { number, zone, id, listen, data, disk, reserved: Some(socket) })
    }

    /// Where the store of a place is to be.
    fn home(&self, number: NodeNumber) -> anyhow::Result<(PathBuf, Option<Disk>)> {
        let folder = self.data.join(number.to_string());
        if !self.own_disks {
            return Ok((folder, None));
        }
        let disk = Disk::mount(&folder)?;
        Ok((disk.store(), Some(disk)))
    }

    /// Writes the cluster file, in which each node has the address that others dial, and gives the
    /// nodes' processes, not started yet.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn processes(
        &self,
        prepared: &[Prepared],
        addresses: &[SocketAddr],
    ) -> anyhow::Result<Vec<NodeProcess>> {
        let path = self.cluster_path();
        match self.maybe_known()? {
            Some(file) => {
                let same = |(member, address): (&Member, &SocketAddr)| {
                    member.address == address.to_string()
                };
                if !file.members.iter().zip(addresses).all(same) {
                    bail!("{} lists other addresses: use the same ports", path.display());
                }
            }
            None => {
                let text = toml::to_string(&ClusterFile::new(prepared, addresses))?;
                std::fs::write(&path, text).with_context(|| path.display().to_string())?;
            }
        }
        let process =
            |(node, address): (&Prepared, &SocketAddr)| self.process(node, *address, Origin::File);
        Ok(prepared.iter().zip(addresses).map(process).collect())
    }

    /// The process of a node, not started yet. Its output is appended to the log of its place.
    pub fn process(&self, node: &Prepared, address: SocketAddr, origin: Origin<'_>) -> NodeProcess {
        let name = node.number.to_string();
        let log = self.logs.join(format!("{name}.log"));
        NodeProcess::new(name, &self.program, self.arguments(node, address, origin), log)
    }

    fn cluster_path(&self) -> PathBuf {
        self.logs.join("cluster.toml")
    }

    /// The cluster that was made here before, if there is one.
    fn maybe_known(&self) -> anyhow::Result<Option<ClusterFile>> {
        let path = self.cluster_path();
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| path.display().to_string())?,
        };
        let file: ClusterFile =
            toml::from_str(&text).with_context(|| path.display().to_string())?;
        let members = file.members.len();
        if members != self.nodes {
            bail!("{} lists {members} nodes, not {}", path.display(), self.nodes);
        }
        Ok(Some(file))
    }

    /// Has the program format a store, and gives its id.
    ///
    /// # Errors
    /// It does not.
    pub async fn format(&self, data: &Path, number: NodeNumber) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(["format", "--json", "--name", &number.to_string(), "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("{} does not start", self.program.display()))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("the store of {number} cannot be formatted ({}): {}", output.status, why.trim());
        }
        let formatted: Formatted = serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stdout);
            format!("format --json printed {:?}, which has no id", said.trim())
        })?;
        Ok(formatted.id)
    }

    fn arguments(&self, node: &Prepared, address: SocketAddr, origin: Origin<'_>) -> Vec<String> {
        let mut arguments: Vec<_> = [
            "serve",
            "--data",
            &node.data.display().to_string(),
            "--listen",
            &node.listen.to_string(),
            "--advertise",
            &address.to_string(),
            "--zone",
            &node.zone.to_string(),
            "--die-with-parent",
        ]
        .map(str::to_owned)
        .to_vec();
        match origin {
            Origin::File => {
                let cluster = self.cluster_path().display().to_string();
                arguments.extend(["--cluster".to_owned(), cluster]);
            }
            Origin::Seeds { addresses, joins } => {
                for seed in addresses {
                    arguments.extend(["--seed".to_owned(), seed.to_string()]);
                }
                arguments.extend(joins.then(|| "--join".to_owned()));
                // So that it can come up as a new node where its store cannot be opened.
                arguments.extend(["--name".to_owned(), node.number.to_string()]);
            }
        }
        if let Some(first) = self.first_http_port {
            let http = format!("127.0.0.1:{}", first + node.number.0 as u16);
            arguments.extend(["--http".to_owned(), http]);
        }
        for (name, value) in &self.options {
            arguments.extend([format!("--{}", name.replace('_', "-")), value.clone()]);
        }
        arguments
    }
}

/// A loopback port that the system chooses and keeps for us.
fn reserve() -> io::Result<(SocketAddr, TcpSocket)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok((socket.local_addr()?, socket))
}

impl ClusterFile {
    /// A new cluster: the built-in buckets are there without being named. Where there are several zones, the
    /// copies of what the workloads write are spread over them: a zone that is destroyed is one loss then.
    fn new(prepared: &[Prepared], addresses: &[SocketAddr]) -> Self {
        let member = |(node, address): (&Prepared, &SocketAddr)| Member {
            id: node.id.clone(),
            name: node.number.to_string(),
            address: address.to_string(),
            zone: Some(node.zone.to_string()),
        };
        let register = |name: &str, conflict: &str, (r, w)| Bucket {
            name: name.to_owned(),
            kind: "register".to_owned(),
            n: 3,
            r,
            w,
            conflict: Some(conflict.to_owned()),
            spread: None,
        };
        let zoned = Bucket {
            name: CART_BUCKET.to_owned(),
            kind: "cart".to_owned(),
            conflict: None,
            spread: Some("zone".to_owned()),
            ..register("", "", (2, 2))
        };
        let has_zones = prepared.iter().any(|node| node.zone != ZoneNumber(0));
        let of_workload = |name: &str, conflict: &str| Bucket {
            spread: has_zones.then(|| "zone".to_owned()),
            ..register(name, conflict, (2, 2))
        };
        let registers = [
            of_workload(PAPER_BUCKET, "siblings"),
            of_workload(LWW_BUCKET, "last-write-wins"),
            // What the examples use.
            register("sessions", "last-write-wins", (2, 2)),
            register("catalogue", "siblings", (1, 3)),
        ];
        Self {
            cluster: format!("{:016x}", Uuid::new_v4().as_u64_pair().0),
            members: prepared.iter().zip(addresses).map(member).collect(),
            buckets: registers.into_iter().chain(has_zones.then_some(zoned)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::net::{TcpListener, TcpSocket};

    use super::{ClusterFile, ClusterSpec, Origin, Prepared, reserve};
    use crate::fault::{NodeNumber, ZoneNumber};

    #[tokio::test]
    async fn a_reserved_port_can_be_listened_on_again_and_again() {
        let (address, _reserved) = reserve().expect("a port");
        for _ in 0..3 {
            let listener = TcpListener::bind(address).await.expect("ours to listen on");
            let socket = TcpSocket::new_v4().expect("a socket");
            let (dialled, accepted) = tokio::join!(socket.connect(address), listener.accept());
            drop((dialled.expect("dialled"), accepted.expect("accepted")));
        }
        let strangers: Vec<_> = (0..200).map(|_| reserve().expect("a port")).collect();
        assert!(strangers.iter().all(|(other, _)| *other != address));
    }

    #[test]
    fn the_command_line_and_the_cluster_file_name_everything() {
        let spec = ClusterSpec {
            program: PathBuf::from("cartwheel"),
            nodes: 1,
            data: PathBuf::from("data"),
            logs: PathBuf::from("logs"),
            first_port: Some(7400),
            first_http_port: Some(7480),
            options: vec![("handoff_every_ms".to_owned(), "10".to_owned())],
            own_disks: false,
        };
        let listen = "127.0.0.1:7400".parse().expect("an address");
        let address = "127.0.0.1:9".parse().expect("an address");
        let node = |zone| Prepared {
            number: NodeNumber(0),
            zone,
            id: "n3fa".to_owned(),
            listen,
            data: PathBuf::from("data/n1"),
            disk: None,
            reserved: None,
        };
        assert_eq!(
            spec.arguments(&node(ZoneNumber(0)), address, Origin::File).join(" "),
            "serve --data data/n1 --listen 127.0.0.1:7400 --advertise 127.0.0.1:9 --zone z1 \
             --die-with-parent --cluster logs/cluster.toml --http 127.0.0.1:7480 \
             --handoff-every-ms 10"
        );
        let fresh = Origin::Seeds { addresses: &[listen, address], joins: true };
        let fresh = spec.arguments(&node(ZoneNumber(0)), address, fresh).join(" ");
        let seeds = "--seed 127.0.0.1:7400 --seed 127.0.0.1:9 --join";
        assert!(fresh.contains(seeds) && !fresh.contains("--cluster"), "{fresh}");
        let zoned = node(ZoneNumber(1));
        let zoned = toml::to_string(&ClusterFile::new(&[zoned], &[address])).expect("TOML");
        let zoned: toml::Table = zoned.parse().expect("TOML");
        assert_eq!(zoned["members"][0]["zone"].as_str(), Some("z2"));
        assert_eq!(zoned["buckets"][4]["spread"].as_str(), Some("zone"));
        let node = node(ZoneNumber(0));
        let file = toml::to_string(&ClusterFile::new(&[node], &[address])).expect("TOML");
        let file: toml::Table = file.parse().expect("TOML");
        assert_eq!(file["members"][0]["address"].as_str(), Some("127.0.0.1:9"));
        assert_eq!(file["members"][0]["id"].as_str(), Some("n3fa"));
        assert_eq!(file["cluster"].as_str().map(str::len), Some(16));
        assert_eq!(file["buckets"][1]["conflict"].as_str(), Some("last-write-wins"));
    }
}
