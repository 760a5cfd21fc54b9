//! What a campaign stands on: a cluster, its clients, its faults and its time.
//!
//! There is one ground so far, real processes ([`process`]). Whatever a campaign does goes through
//! [`Ground`], time included, so that a simulated cluster can take the processes' place: nothing
//! above this trait starts threads or tasks, reads a clock or sleeps by itself.

#[cfg(test)]
pub(crate) mod fake;
pub mod process;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use cartwheel_checker::cart::Item;

use crate::fault::{Fault, NodeNumber};

/// A cluster that can be asked, disturbed and mended.
pub trait Ground {
    /// Who is a member now, as far as is known here: the nodes that clients talk to. In order.
    fn members(&self) -> Vec<NodeNumber>;

    /// The time since the campaign began, on a clock that only goes forward.
    fn now(&self) -> Duration;

    /// Waits until [`Ground::now`] is `at`.
    fn sleep_until(&self, at: Duration) -> impl Future<Output = ()>;

    /// Carries out one operation for a client. Takes no longer than its timeout and a little.
    fn call(&self, call: Call) -> impl Future<Output = Result<Answer, CallError>>;

    /// Begins a fault, known by `id` until it ends. Says whether it changed anything.
    ///
    /// # Errors
    /// The cluster could not be disturbed in this way: the campaign cannot go on.
    fn begin(&self, id: usize, fault: &Fault) -> impl Future<Output = anyhow::Result<bool>>;

    /// Ends the fault that was begun with this `id`, if it was.
    ///
    /// # Errors
    /// The cluster could not be mended.
    fn end(&self, id: usize) -> impl Future<Output = anyhow::Result<()>>;

    /// Looks after what was begun and takes its time: stages wishes until they are taken, ends nodes that have
    /// drained, restarts one node after the other. To be called again and again.
    ///
    /// # Errors
    /// The cluster could not be looked after: the campaign cannot go on.
    fn tend(&self) -> impl Future<Output = anyhow::Result<()>>;

    /// Waits until the members are at rest: no change under way or wished for, no node that drains, one opinion on the
    /// layout, nothing owed, no tree that differs. `tell` is given what is waited for whenever that changes. What keeps
    /// them from it after `within`; nothing if they are at rest.
    fn restless(
        &self,
        within: Duration,
        tell: &mut dyn FnMut(&[String]),
    ) -> impl Future<Output = Vec<String>>;

    /// How many changes of the members are completed, by name: `joins-completed` and so on.
    fn completed(&self) -> BTreeMap<&'static str, u64>;

    /// Ends all faults that pass.
    ///
    /// # Errors
    /// The cluster could not be mended.
    fn heal(&self) -> impl Future<Output = anyhow::Result<()>>;

    /// Waits until every node that is to run answers.
    ///
    /// # Errors
    /// One does not.
    fn ready(&self) -> impl Future<Output = anyhow::Result<()>>;

    /// The owners of a key.
    ///
    /// # Errors
    /// Nobody knows.
    fn owners(
        &self,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = anyhow::Result<Vec<NodeNumber>>>;

    /// What has gone wrong with the cluster by itself, since the campaign began: nodes that ended
    /// although nobody killed them.
    fn mishaps(&self) -> Vec<String>;
}

/// One operation of a client.
#[derive(Clone, Debug)]
pub struct Call {
    /// The node that is asked first; `None` leaves it to the client library, which goes to an owner.
    pub node: Option<NodeNumber>,
    /// Whether no other node is asked should that one fail.
    pub only: bool,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// What to do with it.
    pub action: Action,
    /// Whether only owners count.
    pub strict: bool,
    /// How many must answer or hold it; `None` is the bucket's default.
    pub quorum: Option<u8>,
    /// How long the client waits.
    pub timeout: Duration,
}

/// What a client does with a key.
#[derive(Clone, Debug)]
pub enum Action {
    /// Read from a quorum.
    Read,
    /// Read what the asked node itself stores.
    ReadLocal,
    /// Cancel additions of a cart and make one.
    Change {
        /// The add_ids that go.
        cancel: Vec<String>,
        /// What comes.
        add: Option<Item>,
    },
    /// Replace what the context covers.
    Put {
        /// From the read that this put follows.
        context: Option<Vec<u8>>,
        /// The new value.
        value: Vec<u8>,
    },
}

/// What a client is told when its operation happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// What a cart shows.
    Cart {
        /// Its additions.
        items: Vec<Item>,
        /// What lies beneath, if one node's own copy was read.
        copy: Option<OwnCopy>,
    },
    /// What a register holds.
    Register {
        /// One value, or siblings.
        values: Vec<Vec<u8>>,
        /// What a put of their resolution hands back.
        context: Option<Vec<u8>>,
        /// What lies beneath, if one node's own copy was read.
        copy: Option<OwnCopy>,
    },
    /// The write is acknowledged.
    Written,
}

/// What a node itself stores for a key, beside what that shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnCopy {
    /// The hash of all that nodes exchange of it, cancellations included.
    pub digest: String,
    /// Whether anything is stored at all.
    pub is_stored: bool,
    /// How many owners lack it as far as the node knows.
    pub owes: u8,
}

/// Why an operation did not happen, or is not known to have happened.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// Whether it is certain that nothing happened and nothing will.
    pub definite: bool,
    /// In words.
    pub message: String,
}
