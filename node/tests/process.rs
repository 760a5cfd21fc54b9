//! Nodes as processes: signals, kill -9, and a parent that ends.
//!
//! The processes are this test binary itself: [`child`] does in a process of its own what the other tests
//! ask for through the environment.

#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use cartwheel_client::{Client, Error, Options};
use cartwheel_node::{ClusterFile, EngineKind, NodeConfig, format_store, run};
use cartwheel_protocol::id::{ClusterId, Zone};
use cartwheel_protocol::layout::Member;
use cartwheel_protocol::request::Refusal;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use rustix::process::{
    Pid, Resource, Signal, getrlimit, kill_process, setrlimit, test_kill_process,
};

const CONFIG: &str = "CARTWHEEL_TEST_CONFIG";
/// How many files a process may open at first.
const GIVEN_FILES: u64 = 256;
/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

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
            // What is given to a process is often a fraction of what it may ask for.
            let mut files = getrlimit(Resource::Nofile);
            files.current = Some(GIVEN_FILES);
            setrlimit(Resource::Nofile, files).expect("it can ask for less");
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
    _reserved: OwnedFd,
}

impl One {
    fn new(die_with_parent: bool) -> Self {
        Self::with(|config| config.die_with_parent = die_with_parent)
    }

    fn with(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let store = format_store(&data, "n1").expect("a new store");
        let (listen, reserved) = reserve();
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
        let mut config = NodeConfig { data, cluster, listen, engine, ..defaults };
        change(&mut config);
        let text = toml::to_string(&config).expect("a configuration is TOML");
        std::fs::write(folder.path().join("node.toml"), text).expect("a file");
        Self { folder, listen, _reserved: reserved }
    }

    fn start(&self, nest: bool) -> Process {
        let process = spawn(&self.folder.path().join("node.toml"), nest);
        self.wait("the node listens", || std::net::TcpStream::connect(self.listen).is_ok());
        // It listens a moment before it serves.
        self.wait("the mark goes while a node runs", || !self.is_marked_clean());
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

/// A loopback port that the system chooses and keeps for us as long as the socket lives: bound, but not listened on, so that
/// nobody else is given it and a node, which may share it, can listen on it again and again.
fn reserve() -> (SocketAddr, OwnedFd) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    set_socket_reuseaddr(&socket, true).expect("a port can be shared");
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let name = getsockname(&socket).expect("a bound socket has an address");
    (name.try_into().expect("an address of the internet"), socket)
}

fn pid(process: &Process) -> Pid {
    Pid::from_child(&process.0)
}

#[test]
fn a_signal_ends_the_node_cleanly_and_a_kill_does_not() {
    let one = One::new(false);
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = one.start(false);
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

/// A put that no quorum answers keeps a clean shutdown waiting; nobody has to wait with it.
#[test]
fn a_second_signal_ends_a_node_that_waits_for_requests() {
    let one = One::with(|config| (config.drain_ms, config.max_timeout_ms) = (600_000, 600_000));
    let mut process = one.start(false);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let address = one.listen.to_string();
    let client = runtime.block_on(Client::connect([address.clone()])).expect("it answers");
    let asks = client.clone();
    let asking = runtime.spawn(async move {
        let three = Options::default().with_quorums(None, Some(3)).within(PATIENCE * 4);
        asks.put(b"k", None, b"v", &three).await
    });
    let pending = || {
        let seen = runtime.block_on(client.members_at(&address, PATIENCE)).expect("it answers");
        seen.shards.iter().map(|shard| shard.pending).sum::<u64>()
    };
    one.wait("the put is under way", || pending() == 1);
    kill_process(pid(&process), Signal::TERM).expect("it runs");
    let quickly = Options::default().with_quorums(None, Some(1)).within(Duration::from_millis(50));
    let late = || runtime.block_on(client.put(b"late", None, b"v", &quickly));
    let refuses = || late() == Err(Error::Refused(Refusal::NotReady));
    one.wait("it takes no more requests", refuses);
    assert!(process.0.try_wait().expect("it can be asked").is_none(), "it waits for the put");
    // The first second's signals are one.
    let began = Instant::now();
    let status = loop {
        if let Some(status) = process.0.try_wait().expect("it can be asked") {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "it goes on waiting");
        kill_process(pid(&process), Signal::TERM).expect("it runs");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(3), "requests were under way");
    assert!(!one.is_marked_clean());
    asking.abort();
}

#[test]
fn a_node_may_open_as_many_files_as_the_system_lets_it() {
    let one = One::new(false);
    let process = one.start(false);
    let limits = format!("/proc/{}/limits", process.0.id());
    let limits = std::fs::read_to_string(limits).expect("the process runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = line.expect("it has one").split_whitespace().collect();
    assert_eq!(words[3], words[4], "{words:?}");
    assert_ne!(words[3], GIVEN_FILES.to_string());
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

/// The one child of a process that starts one. Not every kernel lists the children of a process, so all processes are asked
/// for their parent.
fn node_below(parent: Pid) -> Pid {
    let processes = std::fs::read_dir("/proc").expect("processes are listed");
    let mut numbers =
        processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |number: &i32| {
        Pid::from_raw(*number)
            .and_then(state)
            .is_some_and(|(_, above)| above == parent.as_raw_nonzero().get())
    };
    let child = numbers.find(is_child).expect("it has a child");
    Pid::from_raw(child).expect("a child has a number")
}

/// Whether it has ended and nobody has asked how.
fn is_zombie(process: Pid) -> bool {
    state(process).is_some_and(|(state, _)| state == "Z")
}

/// How a process is, in a letter, and the number of its parent.
fn state(process: Pid) -> Option<(String, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    // The program's name before it may have anything in it.
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
