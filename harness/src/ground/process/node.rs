//! One node as a process: started, killed, stopped in its tracks, ended in order.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How much of a log is quoted when a node ends by itself, in bytes.
const LOG_TAIL: usize = 600;

/// A node's process, or the place of one that is down. Dropping it kills the process.
#[derive(Debug)]
pub struct NodeProcess {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    paused: bool,
}

impl NodeProcess {
    /// A node that is not started yet. Its output is appended to `log`.
    pub fn new(name: String, program: &Path, arguments: Vec<String>, log: PathBuf) -> Self {
        Self { name, program: program.to_owned(), arguments, log, child: None, paused: false }
    }

    /// Starts the process. It is killed when the calling *thread* ends, so this one must outlive it.
    ///
    /// # Errors
    /// The program or its log cannot be opened.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let open = || File::options().create(true).append(true).open(&self.log);
        let log = open().with_context(|| format!("{}", self.log.display()))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        (self.child, self.paused) = (Some(child), false);
        Ok(())
    }

    /// The process's number while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Whether it was started and not killed since, as far as we know.
    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it is stopped in its tracks.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// If the process has ended by itself: how, and its last words.
    ///
    /// # Errors
    /// The system does not say.
    pub fn maybe_mishap(&mut self) -> anyhow::Result<Option<String>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.child = None;
        Ok(Some(self.mishap(status)))
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// The system does not do it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.with_context(|| format!("{} cannot be killed", self.name))?;
        }
        Ok(())
    }

    /// SIGSTOP, or SIGCONT to go on.
    ///
    /// # Errors
    /// The system does not do it.
    pub fn pause(&mut self, pause: bool) -> anyhow::Result<()> {
        self.signal(if pause { Signal::STOP } else { Signal::CONT })?;
        self.paused = pause;
        Ok(())
    }

    /// SIGTERM, and SIGKILL if it takes longer than `patience`. What went wrong, if anything did.
    ///
    /// # Errors
    /// The system does not do it.
    pub async fn stop(&mut self, patience: Duration) -> anyhow::Result<Option<String>> {
        if let Some(mishap) = self.maybe_mishap()? {
            return Ok(Some(mishap));
        }
        self.pause(false)?;
        self.signal(Signal::TERM)?;
        let Some(child) = &mut self.child else { return Ok(None) };
        match timeout(patience, child.wait()).await {
            Ok(status) => {
                let status = status?;
                self.child = None;
                Ok((!status.success()).then(|| self.mishap(status)))
            }
            Err(_) => {
                self.kill().await?;
                Ok(Some(format!("{} did not end within {patience:?} of SIGTERM", self.name)))
            }
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        match pid {
            Some(pid) => {
                kill_process(pid, signal).with_context(|| format!("{}: {signal:?}", self.name))
            }
            None => Ok(()),
        }
    }

    fn mishap(&self, status: ExitStatus) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL)..]).into_owned();
        let log = self.log.display();
        format!("{} ended by itself with {status}; the end of {log}: {}", self.name, tail.trim())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::NodeProcess;

    fn shell(script: &str, log: &Path) -> NodeProcess {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let log = log.join("log");
        NodeProcess::new("n1".to_owned(), Path::new("/bin/sh"), arguments, log)
    }

    /// The state letter of a process: `T` is stopped.
    fn state(pid: u32) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
        let after = stat.rsplit(')').next().expect("its fields");
        after.trim_start().chars().next().expect("its state")
    }

    /// Waits until something holds, at most twenty seconds.
    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn is_paused_goes_on_and_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut node = shell("exec sleep 1000", folder.path());
        node.start().expect("a shell");
        let pid = node.pid().expect("it runs");
        node.pause(true).expect("stopped");
        until("it is stopped", || state(pid) == 'T').await;
        node.pause(false).expect("going on");
        until("it goes on", || state(pid) == 'S').await;
        node.kill().await.expect("killed");
        assert!(!node.is_up());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert_eq!(node.maybe_mishap().expect("known"), None, "a kill is no mishap");
    }

    #[tokio::test]
    async fn an_end_by_itself_is_a_mishap_with_the_last_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut node = shell("echo alas; exit 3", folder.path());
        node.start().expect("a shell");
        let mut mishap = None;
        until("the shell has ended", || {
            mishap = node.maybe_mishap().expect("known");
            mishap.is_some()
        })
        .await;
        let mishap = mishap.expect("it has ended");
        assert!(mishap.contains("n1 ended by itself") && mishap.contains("alas"), "{mishap}");
        assert!(!node.is_up());
    }

    #[tokio::test]
    async fn a_stop_is_orderly_unless_it_takes_too_long() {
        let folder = tempfile::tempdir().expect("a folder");
        let trap = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done";
        let mut node = shell(trap, folder.path());
        node.start().expect("a shell");
        let log = folder.path().join("log");
        let said = |word| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(word));
        until("the first has set its trap", || said("ready")).await;
        assert_eq!(node.stop(Duration::from_secs(20)).await.expect("stopped"), None);
        let mut deaf =
            shell("trap '' TERM; echo deaf; while :; do sleep 0.01; done", folder.path());
        deaf.start().expect("a shell");
        until("the second has set its trap", || said("deaf")).await;
        let mishap = deaf.stop(Duration::from_millis(50)).await.expect("stopped");
        assert!(mishap.expect("it was deaf").contains("did not end within"));
    }
}
