//! Faults as one line of text.

use std::fmt;
use std::str::FromStr;

use super::{Fault, FaultKind, NodeNumber, WayBack};

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let allowed = Self::ALL.map(Self::name).join(", ");
            format!("{name} is no fault; allowed are {allowed}, or none alone")
        })
    }
}

impl fmt::Display for Fault {
    /// `kill n2`, `partition halves n1→n3 n3→n1`, `replace n2 by n6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = |f: &mut fmt::Formatter<'_>, cut: &[(NodeNumber, NodeNumber)]| {
            cut.iter().try_for_each(|(from, to)| write!(f, " {from}→{to}"))
        };
        let list = |f: &mut fmt::Formatter<'_>, nodes: &[NodeNumber]| {
            nodes.iter().try_for_each(|node| write!(f, " {node}"))
        };
        match self {
            Self::Kill { node } => write!(f, "kill {node}"),
            Self::Pause { node } => write!(f, "pause {node}"),
            Self::Partition { shape, cut, .. } => {
                write!(f, "partition {}", shape.name())?;
                links(f, cut)
            }
            Self::Join { node, zone } => write!(f, "join {node} in {zone}"),
            Self::Leave { node } => write!(f, "leave {node}"),
            Self::Remove { node, returns: false } => write!(f, "remove {node}"),
            Self::Remove { node, returns: true } => write!(f, "remove {node}, which returns"),
            Self::Replace { old, new } => write!(f, "replace {old} by {new}"),
            Self::Weight { node, weight } => write!(f, "weight {node} {weight}"),
            Self::Wipe { node, way: WayBack::Replace } => write!(f, "wipe {node}, replaced"),
            Self::Wipe { node, way: WayBack::ByItself } => {
                write!(f, "wipe {node}, replaced by itself")
            }
            Self::Wipe { node, way: WayBack::Join } => write!(f, "wipe {node}, joining anew"),
            Self::RollingRestart { nodes } => {
                f.write_str("rolling-restart")?;
                list(f, nodes)
            }
            Self::ZoneCut { zone, cut, .. } => {
                write!(f, "zone-cut {zone}")?;
                links(f, cut)
            }
            Self::ZoneKill { zone, nodes } => {
                write!(f, "zone-kill {zone}")?;
                list(f, nodes)
            }
            Self::ZoneDestroy { zone, nodes } => {
                write!(f, "zone-destroy {zone}")?;
                list(f, nodes)
            }
            Self::DiskFull { node } => write!(f, "disk-full {node}"),
            Self::Corrupt { node, damage } => write!(f, "corrupt {node} {damage}"),
            Self::Reap { nodes, older_than_s } => {
                write!(f, "reap older than {older_than_s} s")?;
                list(f, nodes)
            }
            Self::Slow { delay_ms, bytes_per_s, links: slow } => {
                write!(f, "slow {delay_ms} ms")?;
                bytes_per_s.map_or(Ok(()), |rate| write!(f, " {rate} bytes/s"))?;
                links(f, slow)
            }
        }
    }
}
