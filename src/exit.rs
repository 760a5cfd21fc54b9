//! How the command ends.

use std::{fmt, process::ExitCode};

/// The exit codes, as Jepsen has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// 0: valid, or done.
    Done,
    /// 1: invalid, or refused by the cluster.
    Failed,
    /// 2: the verdict, or the outcome of a write, is unknown.
    Unknown,
    /// 254: the arguments or a configuration are wrong.
    BadArguments,
    /// 255: a failure of our own or of the machine.
    Crashed,
}

/// Why the command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// The arguments are wrong.
    pub(crate) fn arguments(message: impl fmt::Display) -> Self {
        Self::new(Exit::BadArguments, message)
    }

    /// Something failed that the arguments cannot help.
    pub(crate) fn crashed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Crashed, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Exit {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Unknown => 2,
            Self::BadArguments => 254,
            Self::Crashed => 255,
        }
    }

    /// The exit of a verdict's or a library's code.
    pub(crate) fn of_code(code: u8) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Failed,
            2 => Self::Unknown,
            254 => Self::BadArguments,
            _ => Self::Crashed,
        }
    }
}
