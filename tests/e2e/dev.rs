//! `cartwheel dev` as somebody meets it: a local cluster, the commands that it suggests, the examples, ctrl-c.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{command::cartwheel, refusals::json};

/// How long the cluster may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// `cartwheel dev` while it runs; its nodes end with it, whatever becomes of the test.
struct Dev {
    child: Child,
    lines: Receiver<String>,
}

impl Dev {
    /// Starts it, with its temporary folder in this one.
    fn start(folder: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cartwheel"))
            .args(["dev", "--port", "0"])
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (told, lines) = channel();
        std::thread::spawn(move || {
            let all_told = out.lines().map_while(Result::ok).all(|line| told.send(line).is_ok());
            drop((told, all_told));
        });
        Self { child, lines }
    }

    /// The lines up to the one that has this word.
    fn until(&self, word: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut heard: Vec<String> = Vec::new();
        while !heard.last().is_some_and(|line| line.contains(word)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => heard.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("it did not say {word}; it said:\n{}", heard.join("\n"))
                }
            }
        }
        heard
    }

    /// Sends ctrl-c and waits for the end; gives the exit code.
    fn interrupt(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        // Its output ends when it does, so that there is nothing to poll.
        self.until("stopping");
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().expect("it ended").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs an example against a node; gives what it printed. Cargo builds examples with the tests, beside them.
fn example(name: &str, node: &str) -> String {
    let tests = std::env::current_exe().expect("a test knows where it is");
    let folder = tests.ancestors().nth(2).expect("target/debug/deps/…").join("examples");
    let program: PathBuf = folder.join(name);
    let path = program.display();
    assert!(program.exists(), "{path} is not built; run all tests, or cargo build --examples");
    let output = assert_cmd::Command::new(&program).arg(node).timeout(PATIENCE).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}{complained}", output.status);
    said
}

#[test]
fn a_local_cluster_serves_commands_and_examples_and_ends_at_ctrl_c() {
    let folder = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(folder.path());
    let serves = dev.until(" nodes serve on ").pop().expect("a line");
    let nodes: Vec<&str> =
        serves.rsplit(" nodes serve on ").next().expect("addresses").split(", ").collect();
    assert_eq!(nodes.len(), 3, "{serves}");
    let suggested = dev.until("Ctrl-c ends the cluster");
    let named = format!("cartwheel status --node {}", nodes[0]);
    assert!(suggested.iter().any(|line| line.ends_with(&named)), "{}", suggested.join("\n"));

    json(nodes[0], &["put", "colour", "red"]);
    assert_eq!(json(nodes[1], &["get", "colour"])["values"], serde_json::json!(["red"]));
    json(nodes[1], &["cart", "add", "ann", "milk", "2"]);
    let shown = json(nodes[2], &["cart", "show", "ann"]);
    assert_eq!(
        (&shown["items"][0]["sku"], &shown["items"][0]["quantity"]),
        (&"milk".into(), &2.into())
    );
    let status = json(nodes[0], &["status"]);
    assert_eq!(status.as_array().map(Vec::len), Some(3), "{status}");

    let cart = example("cart", nodes[0]);
    let after = cart.split("after a removal and an addition at once:").nth(1).expect("the end");
    assert!(after.contains("1 × milk") && after.contains("1 × tea"), "{cart}");
    let catalogue = example("catalogue", nodes[1]);
    for kept in ["kitchen", "sale", "4499", "3999", "siblings arose 1 times"] {
        assert!(catalogue.contains(kept), "{kept} is missing:\n{catalogue}");
    }
    let session = example("session", nodes[2]);
    assert!(session.contains("alice has seen 3 pages"), "{session}");
    assert!(session.contains("logged out: 0 values"), "{session}");

    let left = || std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left(), 1, "stores and logs are in a folder of their own");
    assert_eq!(dev.interrupt(), Some(0));
    assert_eq!(left(), 0, "a temporary cluster leaves nothing behind");
    let (code, said) = cartwheel(&["status", "--timeout", "500", "--node", nodes[0]]);
    assert!(code == 255 && said.contains("is a cluster running?"), "{code}: {said}");
}
