//! The nemesis' vocabulary: what can be done to a cluster, as data. The same words serve every
//! ground, schedules on disk and histories.
//!
//! A node stands at a *place*: a name, an address, a folder. What is at a place changes: a wiped disk is
//! another node under the old name, and new places are taken by nodes that join.

mod damage;
mod number;
mod shape;
mod text;

use serde::{Deserialize, Serialize};

pub use damage::Damage;
pub use number::{NodeNumber, ZoneNumber};
pub use shape::{Connections, Shape};

/// A kind of fault, as `--nemesis` names it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// See [`Fault::Kill`].
    Kill,
    /// See [`Fault::Pause`].
    Pause,
    /// See [`Fault::Partition`].
    Partition,
    /// [`Fault::Join`], [`Fault::Leave`], [`Fault::Remove`], [`Fault::Replace`] and [`Fault::Weight`].
    Membership,
    /// See [`Fault::Wipe`].
    Wipe,
    /// See [`Fault::RollingRestart`].
    RollingRestart,
    /// [`Fault::ZoneCut`] and [`Fault::ZoneKill`].
    Zone,
    /// See [`Fault::ZoneDestroy`].
    ZoneDestroy,
    /// See [`Fault::DiskFull`].
    DiskFull,
    /// See [`Fault::Corrupt`].
    Corrupt,
    /// See [`Fault::Reap`].
    Reap,
    /// See [`Fault::Slow`].
    Slow,
}

/// One thing done to the cluster for a while, and undone afterwards, unless it lasts.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Fault {
    /// The process is ended with SIGKILL, and started again at the end.
    Kill {
        /// Whose process.
        node: NodeNumber,
    },
    /// The process is stopped with SIGSTOP, and goes on at the end.
    Pause {
        /// Whose process.
        node: NodeNumber,
    },
    /// Some links carry nothing.
    Partition {
        /// How the links were chosen. For people: only `cut` counts.
        shape: Shape,
        /// What becomes of the connections that exist.
        connections: Connections,
        /// The directed links (from, to) that carry nothing.
        cut: Vec<(NodeNumber, NodeNumber)>,
    },
    /// A fresh node joins. It is up to the cluster when it is a member; the end undoes nothing.
    Join {
        /// Its place: a new one.
        node: NodeNumber,
        /// Its zone.
        zone: ZoneNumber,
    },
    /// A living member leaves; its process ends in order when it has drained. The end undoes nothing.
    Leave {
        /// The member.
        node: NodeNumber,
    },
    /// A member is killed and removed without being drained.
    Remove {
        /// The member.
        node: NodeNumber,
        /// Whether its process starts again at the end, with its old disk: it is told that it was removed, and
        /// drains. If not, its disk is erased at the end and the cluster forgets it.
        returns: bool,
    },
    /// A member is killed and a fresh node takes its seats. At the end the old disk is erased and the
    /// cluster forgets it.
    Replace {
        /// The member.
        old: NodeNumber,
        /// The fresh node's place: a new one.
        new: NodeNumber,
    },
    /// A member gets another weight, for good.
    Weight {
        /// The member.
        node: NodeNumber,
        /// Its weight.
        weight: u32,
    },
    /// The process is killed and its disk erased; a store formatted anew starts under the old name and
    /// address, and takes its way into the cluster. The end undoes nothing.
    Wipe {
        /// Whose disk.
        node: NodeNumber,
        /// How the new node becomes a member.
        way: WayBack,
    },
    /// One node after the other is stopped in order and started again, each when the one before serves.
    RollingRestart {
        /// The nodes, in this order.
        nodes: Vec<NodeNumber>,
    },
    /// A zone hears nobody else and nobody else hears it.
    ZoneCut {
        /// The zone. For people: only `cut` counts.
        zone: ZoneNumber,
        /// What becomes of the connections that exist.
        connections: Connections,
        /// The directed links (from, to) that carry nothing.
        cut: Vec<(NodeNumber, NodeNumber)>,
    },
    /// The processes of a zone are ended with SIGKILL, and started again at the end.
    ZoneKill {
        /// The zone. For people: only `nodes` count.
        zone: ZoneNumber,
        /// Its nodes.
        nodes: Vec<NodeNumber>,
    },
    /// Every node of a zone is wiped and replaced.
    ZoneDestroy {
        /// The zone. For people: only `nodes` count.
        zone: ZoneNumber,
        /// Its nodes.
        nodes: Vec<NodeNumber>,
    },
    /// A disk has less free space than its node keeps in reserve, and has it back at the end.
    DiskFull {
        /// Whose disk.
        node: NodeNumber,
    },
    /// The process is killed and a data file damaged; it is started again at the end. What is on the disk then may be
    /// mended, set aside or refused: a node that comes up as another, or not at all, is replaced.
    Corrupt {
        /// Whose disk.
        node: NodeNumber,
        /// What is done to it.
        damage: Damage,
    },
    /// One node after the other carries through its reap rounds, as `cartwheel reap` has them do. No node that has not
    /// begun by the end does; a run that has begun goes on.
    Reap {
        /// The nodes, in this order.
        nodes: Vec<NodeNumber>,
        /// How old cancelled additions must be to go, in seconds.
        older_than_s: u32,
    },
    /// Some links take their time.
    Slow {
        /// How long every byte is under way besides, in milliseconds.
        delay_ms: u32,
        /// How many bytes get through in a second, over each connection; all that come if missing.
        bytes_per_s: Option<u64>,
        /// The directed links (from, to) that do.
        links: Vec<(NodeNumber, NodeNumber)>,
    },
}

/// How a node with an empty disk becomes a member.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayBack {
    /// Somebody has it replace the node that was on the disk.
    Replace,
    /// It replaces the node that was on the disk by itself, when that one has been silent for long enough.
    ByItself,
    /// The node that was on the disk is removed and forgotten, and the new one joins.
    Join,
}

impl FaultKind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::Pause,
        Self::Partition,
        Self::Membership,
        Self::Wipe,
        Self::RollingRestart,
        Self::Zone,
        Self::ZoneDestroy,
        Self::DiskFull,
        Self::Corrupt,
        Self::Reap,
        Self::Slow,
    ];

    /// The kinds that `--nemesis` has by default.
    pub const DEFAULT: [Self; 3] = [Self::Kill, Self::Pause, Self::Partition];

    /// The name in flags, schedules and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Membership => "membership",
            Self::Wipe => "wipe",
            Self::RollingRestart => "rolling-restart",
            Self::Zone => "zone",
            Self::ZoneDestroy => "zone-destroy",
            Self::DiskFull => "disk-full",
            Self::Corrupt => "corrupt",
            Self::Reap => "reap",
            Self::Slow => "slow",
        }
    }

    /// Whether it makes sense only in a cluster of several zones.
    pub fn needs_zones(self) -> bool {
        matches!(self, Self::Zone | Self::ZoneDestroy)
    }
}

impl Fault {
    /// Its kind.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Kill { .. } => FaultKind::Kill,
            Self::Pause { .. } => FaultKind::Pause,
            Self::Partition { .. } => FaultKind::Partition,
            Self::Join { .. }
            | Self::Leave { .. }
            | Self::Remove { .. }
            | Self::Replace { .. }
            | Self::Weight { .. } => FaultKind::Membership,
            Self::Wipe { .. } => FaultKind::Wipe,
            Self::RollingRestart { .. } => FaultKind::RollingRestart,
            Self::ZoneCut { .. } | Self::ZoneKill { .. } => FaultKind::Zone,
            Self::ZoneDestroy { .. } => FaultKind::ZoneDestroy,
            Self::DiskFull { .. } => FaultKind::DiskFull,
            Self::Corrupt { .. } => FaultKind::Corrupt,
            Self::Reap { .. } => FaultKind::Reap,
            Self::Slow { .. } => FaultKind::Slow,
        }
    }

    /// The nodes that it takes out of service: while it lasts or, if it lasts for good, about so long.
    pub fn downs(&self) -> &[NodeNumber] {
        match self {
            Self::Kill { node }
            | Self::Pause { node }
            | Self::Remove { node, .. }
            | Self::Replace { old: node, .. }
            | Self::Wipe { node, .. }
            | Self::Corrupt { node, .. } => std::slice::from_ref(node),
            Self::ZoneKill { nodes, .. } | Self::ZoneDestroy { nodes, .. } => nodes,
            Self::Partition { .. }
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Weight { .. }
            | Self::RollingRestart { .. }
            | Self::ZoneCut { .. }
            | Self::DiskFull { .. }
            | Self::Reap { .. }
            | Self::Slow { .. } => &[],
        }
    }

    /// How many nodes are out of service at one moment while it lasts.
    pub fn down_count(&self) -> usize {
        self.downs().len() + usize::from(matches!(self, Self::RollingRestart { .. }))
    }

    /// Whether its end brings back all that it took away, so that it may end at any moment.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Kill { .. }
            | Self::Pause { .. }
            | Self::Partition { .. }
            | Self::RollingRestart { .. }
            | Self::ZoneCut { .. }
            | Self::ZoneKill { .. }
            | Self::DiskFull { .. }
            | Self::Reap { .. }
            | Self::Slow { .. } => true,
            Self::Join { .. }
            | Self::Leave { .. }
            | Self::Remove { .. }
            | Self::Replace { .. }
            | Self::Weight { .. }
            | Self::Wipe { .. }
            | Self::ZoneDestroy { .. }
            | Self::Corrupt { .. } => false,
        }
    }

    /// How many disks, or zones, are lost by it as far as the promise goes: wiped ones, damaged ones, and those of
    /// nodes that the cluster stops asking before they have drained.
    pub fn losses(&self) -> usize {
        match self {
            Self::Remove { .. }
            | Self::Replace { .. }
            | Self::Wipe { .. }
            | Self::ZoneDestroy { .. }
            | Self::Corrupt { .. } => 1,
            Self::Kill { .. }
            | Self::Pause { .. }
            | Self::Partition { .. }
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Weight { .. }
            | Self::RollingRestart { .. }
            | Self::ZoneCut { .. }
            | Self::ZoneKill { .. }
            | Self::DiskFull { .. }
            | Self::Reap { .. }
            | Self::Slow { .. } => 0,
        }
    }

    /// The place that a fresh node takes.
    pub fn fresh(&self) -> Option<NodeNumber> {
        match self {
            Self::Join { node, .. } | Self::Replace { new: node, .. } => Some(*node),
            Self::Kill { .. }
            | Self::Pause { .. }
            | Self::Partition { .. }
            | Self::Leave { .. }
            | Self::Remove { .. }
            | Self::Weight { .. }
            | Self::Wipe { .. }
            | Self::RollingRestart { .. }
            | Self::ZoneCut { .. }
            | Self::ZoneKill { .. }
            | Self::ZoneDestroy { .. }
            | Self::DiskFull { .. }
            | Self::Corrupt { .. }
            | Self::Reap { .. }
            | Self::Slow { .. } => None,
        }
    }

    /// The node that is no member any more when it is carried out.
    pub fn gone(&self) -> Option<NodeNumber> {
        match self {
            Self::Leave { node } | Self::Remove { node, .. } | Self::Replace { old: node, .. } => {
                Some(*node)
            }
            Self::Kill { .. }
            | Self::Pause { .. }
            | Self::Partition { .. }
            | Self::Join { .. }
            | Self::Weight { .. }
            | Self::Wipe { .. }
            | Self::RollingRestart { .. }
            | Self::ZoneCut { .. }
            | Self::ZoneKill { .. }
            | Self::ZoneDestroy { .. }
            | Self::DiskFull { .. }
            | Self::Corrupt { .. }
            | Self::Reap { .. }
            | Self::Slow { .. } => None,
        }
    }

    /// Every node that it names and that must be there.
    pub fn nodes(&self) -> Vec<NodeNumber> {
        match self {
            Self::Kill { node }
            | Self::Pause { node }
            | Self::Leave { node }
            | Self::Remove { node, .. }
            | Self::Replace { old: node, .. }
            | Self::Weight { node, .. }
            | Self::Wipe { node, .. }
            | Self::DiskFull { node }
            | Self::Corrupt { node, .. } => vec![*node],
            Self::Partition { cut: links, .. }
            | Self::ZoneCut { cut: links, .. }
            | Self::Slow { links, .. } => {
                links.iter().flat_map(|(from, to)| [*from, *to]).collect()
            }
            Self::Join { .. } => Vec::new(),
            Self::RollingRestart { nodes }
            | Self::ZoneKill { nodes, .. }
            | Self::ZoneDestroy { nodes, .. }
            | Self::Reap { nodes, .. } => nodes.clone(),
        }
    }

    /// The links that carry nothing while it lasts, and what becomes of their connections.
    pub fn cut(&self) -> Option<(Connections, &[(NodeNumber, NodeNumber)])> {
        match self {
            Self::Partition { connections, cut, .. } | Self::ZoneCut { connections, cut, .. } => {
                Some((*connections, cut))
            }
            Self::Kill { .. }
            | Self::Pause { .. }
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Remove { .. }
            | Self::Replace { .. }
            | Self::Weight { .. }
            | Self::Wipe { .. }
            | Self::RollingRestart { .. }
            | Self::ZoneKill { .. }
            | Self::ZoneDestroy { .. }
            | Self::DiskFull { .. }
            | Self::Corrupt { .. }
            | Self::Reap { .. }
            | Self::Slow { .. } => None,
        }
    }

    /// The links that it changes.
    pub fn links(&self) -> Option<&[(NodeNumber, NodeNumber)]> {
        if let Self::Slow { links, .. } = self {
            return Some(links);
        }
        self.cut().map(|(_, cut)| cut)
    }

    /// What histories call its beginning and its end.
    pub fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Kill { .. } => ("kill", "start"),
            Self::Pause { .. } => ("pause", "resume"),
            Self::Partition { .. } => ("start-partition", "stop-partition"),
            Self::Join { .. } => ("join", "after-join"),
            Self::Leave { .. } => ("leave", "after-leave"),
            Self::Remove { .. } => ("remove", "after-remove"),
            Self::Replace { .. } => ("replace", "after-replace"),
            Self::Weight { .. } => ("weight", "after-weight"),
            Self::Wipe { .. } => ("wipe", "after-wipe"),
            Self::RollingRestart { .. } => ("start-rolling-restart", "stop-rolling-restart"),
            Self::ZoneCut { .. } => ("start-zone-cut", "stop-zone-cut"),
            Self::ZoneKill { .. } => ("zone-kill", "zone-start"),
            Self::ZoneDestroy { .. } => ("zone-destroy", "after-zone-destroy"),
            Self::DiskFull { .. } => ("fill-disk", "free-disk"),
            Self::Corrupt { .. } => ("corrupt", "start-corrupted"),
            Self::Reap { .. } => ("reap", "after-reap"),
            Self::Slow { .. } => ("slow-links", "restore-links"),
        }
    }
}

#[cfg(test)]
mod tests;
