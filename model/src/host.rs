//! One node of a world.

use std::{collections::BTreeSet, sync::Arc};

use cartwheel_protocol::{
    Config, Replica, Timer,
    id::{Incarnation, NodeId},
    membership::Progress,
    view::ViewId,
};

use crate::{disk::Disk, reap::Wanted};

/// A node: its process, which a crash loses, and its disk.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Host {
    /// The process; `None` while it is down.
    pub(crate) replica: Option<Replica>,
    /// The disk.
    pub(crate) disk: Disk,
    /// The timers that are set.
    pub(crate) timers: BTreeSet<Timer>,
    /// Whom it suspects, by number.
    pub(crate) suspects: u16,
    /// How often it was started.
    starts: u8,
    /// How many requests clients brought to this run.
    pub(crate) asked: u64,
    /// Its disk was wiped: it stays out.
    pub(crate) out: bool,
    /// The view that it goes by, by its number.
    pub(crate) view: Option<u8>,
    /// The view that it starts with.
    pub(crate) saved: Option<u8>,
    /// What it has ever told of its views. That is true for good.
    pub(crate) progress: Progress,
    /// The view that a shard of it wants one above, by its number.
    pub(crate) wants_above: Option<u8>,
    /// What a shard of it wants to begin a reap round with.
    pub(crate) wants_reap: Option<Wanted>,
    /// The view in which it has told that it holds nothing any more.
    pub(crate) drained: Option<ViewId>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            replica: None,
            disk: Disk::default(),
            timers: BTreeSet::new(),
            suspects: 0,
            starts: 0,
            asked: 0,
            out: false,
            view: None,
            saved: None,
            progress: Progress::default(),
            wants_above: None,
            wants_reap: None,
            drained: None,
        }
    }

    /// Starts a new run of the process.
    pub(crate) fn start(&mut self, id: NodeId, config: &Arc<Config>) {
        self.starts += 1;
        let incarnation = Incarnation(id.0 * 16 + u64::from(self.starts));
        self.replica = Some(Replica::new(id, incarnation, Arc::clone(config)));
    }

    /// The process dies: the first `keep` batches of the tail survive, nothing else that is not durable.
    pub(crate) fn crash(&mut self, keep: usize) {
        self.disk.crash(keep);
        self.replica = None;
        self.timers.clear();
        self.suspects = 0;
        self.asked = 0;
        self.view = None;
        self.wants_above = None;
        self.wants_reap = None;
    }

    /// The disk is lost: the node stays out.
    pub(crate) fn wipe(&mut self) {
        self.crash(0);
        self.disk = Disk::default();
        self.saved = None;
        self.out = true;
    }

    /// Whether the process runs.
    pub fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// The disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(crate) fn does_suspect(&self, other: u8) -> bool {
        self.suspects >> other & 1 == 1
    }
}
