//! A command that goes on until it is told to end.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long it may take to say something, and to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `cartwheel` while it runs; its nodes end with it, whatever becomes of the test.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts it, with its temporary folder in this one.
    pub(crate) fn start(arguments: &[&str], folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cartwheel"))
            .args(arguments)
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // On a terminal it would draw a bar there, and say nothing here.
            .stderr(Stdio::null())
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
    pub(crate) fn until(&self, word: &str) -> Vec<String> {
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

    /// Sends ctrl-c and waits for the end; gives what it said since, and the exit code.
    pub(crate) fn interrupt(mut self) -> (String, Option<i32>) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        // Its output ends when it does, so that there is nothing to poll.
        let mut said = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => said = said + &line + "\n",
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; it said:\n{said}"),
            }
        }
        let code = self.child.wait().expect("it ended").code();
        (said, code)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
