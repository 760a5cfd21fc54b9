//! Nodes as processes: signals, kill -9, and a parent that ends.
//!
//! The processes are this test binary itself: [`child`] does in a process of its own what the other tests
//! ask for through the environment.

#![cfg(target_os = "linux")]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use cartwheel_node::{ClusterFile, EngineKind, NodeConfig, format_store, run};
use cartwheel_protocol::id::{ClusterId, Zone};
use cartwheel_protocol::layout::Member;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const CONFIG: &str = "CARTWHEEL_TEST_CONFIG";
/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child process, killed with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _: std::io::Result<()> = self.0.kill();
        let _: std::io::Result<ExitStatus> = self.0.wait();
    }
}

/// Serves, or starts another process that serves and waits for it: not a test by itself.
#[test]
#[ignore = "a process of its own for the other tests"]
fn child() {
    let file = std::env::var(CONFIG).expect("the test that starts it says what to serve");
    match std::env::var("CARTWHEEL_TEST_NEST") {
        Ok(_) => {
            let mut nested = spawn(Path::new(&file), false);
            let status = nested.0.wait().expect("the nested process ends");
            panic!("the nested process ended with {status}");
        }
        Err(_) => {
            let config = NodeConfig::from_layers(Some(Path::new(&file)), toml::Table::new());
            let reason = run(config.expect("a good configuration")).expect("the node serves");
            std::process::exit(if reason.drained { 0 } else { 3 });
        }
    }
}

/// Starts [`child`].
fn spawn(config: &Path, nest: bool) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("this test's program"));
    command.args(["--exact", "child", "--ignored", "--nocapture"]).env(CONFIG, config);
    if nest {
        command.env("CARTWHEEL_TEST_NEST", "1");
    } else {
        command.env_remove("CARTWHEEL_TEST_NEST");
    }
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Process(child.expect("this program can be started"))
}

/// A cluster of one, whose only process is `child`.
struct One {
    folder: tempfile::TempDir,
    listen: SocketAddr,
}

impl One {
    fn new(die_with_parent: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let store = format_store(&data, "n1").expect("a new store");
        let listen = free_address();
        let member = Member {
            id: store.id,
            name: store.name.as_str().into(),
            address: listen.to_string().into(),
            zone: Zone("z1".into()),
            weight: 1,
        };
        let cluster = folder.path().join("cluster.toml");
        ClusterFile::new(ClusterId(1), vec![member]).write(&cluster).expect("a file");
        let (engine, defaults) = (EngineKind::Sled, NodeConfig::default());
        let config = NodeConfig { data, cluster, listen, engine, die_with_parent, ..defaults };
        let text = toml::to_string(&config).expect("a configuration is TOML");
        std::fs::write(folder.path().join("node.toml"), text).expect("a file");
        Self { folder, listen }
    }

    fn start(&self, nest: bool) -> Process {
        let process = spawn(&self.folder.path().join("node.toml"), nest);
        self.wait("the node listens", || std::net::TcpStream::connect(self.listen).is_ok());
        process
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_marked_clean(&self) -> bool {
        self.folder.path().join("data/clean-shutdown").exists()
    }
}

/// An address that nobody listens on and no other test here is given. It is below the ports that the system
/// hands out by itself, so that no connection takes it meanwhile.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 5_000) as u16;
    let mut addresses = (0..5_000).map(|_| {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        SocketAddr::from(([127, 0, 0, 1], port))
    });
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}

fn pid(process: &Process) -> Pid {
    Pid::from_child(&process.0)
}

#[test]
fn a_signal_ends_the_node_cleanly_and_a_kill_does_not() {
    let one = One::new(false);
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = one.start(false);
        assert!(!one.is_marked_clean(), "the mark goes while a node runs");
        kill_process(pid(&process), signal).expect("it runs");
        let status = process.0.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(one.is_marked_clean(), "{signal:?}");
    }
    let mut process = one.start(false);
    process.0.kill().expect("it runs");
    process.0.wait().expect("it ends");
    assert!(!one.is_marked_clean());
    drop(one.start(false));
}

#[test]
fn a_node_that_is_to_die_with_its_parent_does() {
    let one = One::new(true);
    let mut parent = one.start(true);
    let node = node_below(pid(&parent));
    parent.0.kill().expect("it runs");
    parent.0.wait().expect("it ends");
    one.wait("the node has ended", || test_kill_process(node).is_err() || is_zombie(node));
}

#[test]
fn a_node_that_is_not_to_outlives_its_parent() {
    let one = One::new(false);
    let mut parent = one.start(true);
    let node = node_below(pid(&parent));
    parent.0.kill().expect("it runs");
    parent.0.wait().expect("it ends");
    // It still answers: the port is its own.
    std::net::TcpStream::connect(one.listen).expect("the node listens");
    kill_process(node, Signal::KILL).expect("it runs");
}

/// The one child of a process that starts one.
fn node_below(parent: Pid) -> Pid {
    let raw = parent.as_raw_nonzero();
    let threads = std::fs::read_dir(format!("/proc/{raw}/task")).expect("the parent runs");
    let children = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    });
    let child = children.last().expect("it has a child");
    Pid::from_raw(child).expect("a child has a number")
}

/// Whether it has ended and nobody has asked how.
fn is_zombie(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')))
}
