//! Clients: what each is to do, and how far it is.

use std::{fmt, sync::Arc};

use cartwheel_protocol::{
    context::Context,
    id::{AddId, PutId},
};

/// What one client does, one task after the other. It stops at the first that does not succeed.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Script {
    pub(crate) tasks: Vec<Task>,
    pub(crate) goes_on: bool,
}

/// One request of a client.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Task {
    pub(crate) what: What,
    /// At which nodes, by their place in the preference list.
    pub(crate) at: Vec<u8>,
    /// Where it may be tried again while it is in flight.
    pub(crate) retry_at: Vec<u8>,
    pub(crate) strict: bool,
    pub(crate) quorum: Option<u8>,
    /// The key, by its number.
    pub(crate) key: u8,
    /// Not before this task is over.
    pub(crate) after: Option<Op>,
}

/// What a task does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum What {
    /// Reads.
    Get,
    /// Puts a new value over what the client's last read showed; over nothing if it read nothing.
    Put,
    /// The same with a forged context: another key's, and one that covers what is yet to be written.
    PutForeign,
    /// Deletes what the client's last read showed.
    Delete,
    /// Adds to a cart, handing back the context of the last read if there was one.
    Add,
    /// The same with a forged context.
    AddForeign,
    /// Cancels what the client's last read showed.
    CancelShown,
    /// Cancels what another task adds, whether it was shown or not.
    Cancel(Op),
    /// Cancels what the client's last read showed and makes an addition, both at once.
    Change,
    /// Gives up what only damaged copies hold.
    AcceptLoss,
}

/// A task of a client: the `step`-th of client `client`, both from zero.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Op {
    /// Which client.
    pub client: u8,
    /// Which of its tasks.
    pub step: u8,
}

/// How far a client is.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Client {
    /// How many tasks it has begun.
    pub(crate) begun: u8,
    /// The task that is under way.
    pub(crate) current: Option<Current>,
    /// Its requests that no node has answered yet, also those of tasks that are over.
    pub(crate) attempts: Vec<Attempt>,
    /// What its last read handed out.
    pub(crate) context: Option<Context>,
    /// The additions that its last read showed.
    pub(crate) shown: Arc<[AddId]>,
    /// It failed and does nothing any more.
    pub(crate) stopped: bool,
}

/// A task under way.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Current {
    pub(crate) step: u8,
    /// The strict writes that were acknowledged before it began, one bit for each [`Op::bit`].
    pub(crate) before: u64,
    /// No fault has happened since it began that could leave owners unequal.
    pub(crate) calm: bool,
    /// Some attempt ended so that it may still take effect.
    pub(crate) unknown: bool,
}

/// One request at one node.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Attempt {
    pub(crate) host: u8,
    pub(crate) number: u64,
    pub(crate) step: u8,
}

impl Script {
    /// A client that does these tasks.
    pub fn new(tasks: impl IntoIterator<Item = Task>) -> Self {
        Self { tasks: tasks.into_iter().collect(), goes_on: false }
    }

    /// The same, but it goes on after a task that failed.
    #[must_use]
    pub fn whatever_happens(mut self) -> Self {
        self.goes_on = true;
        self
    }
}

impl Task {
    /// A sloppy request with the bucket's quorum at one of these nodes.
    pub fn new(what: What, at: &[u8]) -> Self {
        Self {
            what,
            at: at.to_vec(),
            retry_at: Vec::new(),
            strict: false,
            quorum: None,
            key: 0,
            after: None,
        }
    }

    /// The same, strict.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The same with a quorum of its own.
    #[must_use]
    pub fn quorum(mut self, quorum: u8) -> Self {
        self.quorum = Some(quorum);
        self
    }

    /// The same on another key.
    #[must_use]
    pub fn key(mut self, key: u8) -> Self {
        self.key = key;
        self
    }

    /// The same, not before a task of another client is over.
    #[must_use]
    pub fn after(mut self, client: u8, step: u8) -> Self {
        self.after = Some(Op { client, step });
        self
    }

    /// The same; it may be tried again at these nodes while it is in flight.
    #[must_use]
    pub fn retry_at(mut self, at: &[u8]) -> Self {
        self.retry_at = at.to_vec();
        self
    }
}

impl What {
    /// Whether its context is forged.
    pub(crate) fn is_foreign(self) -> bool {
        match self {
            Self::PutForeign | Self::AddForeign => true,
            Self::Get
            | Self::Put
            | Self::Delete
            | Self::Add
            | Self::CancelShown
            | Self::Cancel(_)
            | Self::Change
            | Self::AcceptLoss => false,
        }
    }

    /// Whether it writes a value or makes an addition.
    pub(crate) fn is_entry(self) -> bool {
        match self {
            Self::Put | Self::PutForeign | Self::Add | Self::AddForeign | Self::Change => true,
            Self::Get | Self::Delete | Self::CancelShown | Self::Cancel(_) | Self::AcceptLoss => {
                false
            }
        }
    }

    /// Whether it uses what the last read handed out.
    pub(crate) fn uses_context(self) -> bool {
        match self {
            Self::Put | Self::Delete | Self::Add | Self::CancelShown | Self::Change => true,
            Self::Get
            | Self::PutForeign
            | Self::AddForeign
            | Self::Cancel(_)
            | Self::AcceptLoss => false,
        }
    }
}

impl Op {
    /// Its place in a bit set.
    pub(crate) fn bit(self) -> u64 {
        1 << (self.client * 8 + self.step)
    }

    /// The id of the entry that it writes, the same in every attempt: `11` is client 1's first.
    pub(crate) fn id(self) -> u128 {
        u128::from((self.client + 1) * 16 + self.step + 1)
    }

    /// The task that writes the entry with this id.
    pub(crate) fn of(id: u128) -> Option<Self> {
        let (client, step) = (u8::try_from(id / 16).ok()?, (id % 16) as u8);
        Some(Self { client: client.checked_sub(1)?, step: step.checked_sub(1)? })
    }

    pub(crate) fn put_id(self) -> PutId {
        PutId(self.id())
    }

    pub(crate) fn add_id(self) -> AddId {
        AddId(self.id())
    }
}

impl fmt::Display for Op {
    /// `c1.2`: client 1's second task.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.client + 1, self.step + 1)
    }
}
