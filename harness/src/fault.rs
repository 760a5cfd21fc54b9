//! The nemesis' vocabulary: what can be done to a cluster, as data. The same words serve every
//! ground, schedules on disk and histories.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// A node of the cluster by its place, counted from zero; written as its name, `n1` for the first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeNumber(pub usize);

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
}

/// One thing done to the cluster for a while, and undone afterwards.
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
}

/// How a partition divides the nodes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Two groups of (nearly) equal size that do not hear of each other.
    Halves,
    /// The nodes stand in a circle and hear only their neighbours. Needs four nodes.
    Ring,
    /// Two halves and one node that hears both. Needs three nodes.
    Bridge,
    /// One node alone.
    Isolate,
    /// One group hears the other, but not the other way round.
    OneWay,
}

/// What becomes of the connections over a link that is cut.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connections {
    /// They stay half-open and silent, as when packets are dropped; what was sent arrives when the
    /// link heals.
    Stall,
    /// They are closed at both ends, and new ones are refused.
    Reset,
}

impl FaultKind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Pause, Self::Partition];

    /// The name in flags, schedules and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Partition => "partition",
        }
    }
}

impl Fault {
    /// Its kind.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Kill { .. } => FaultKind::Kill,
            Self::Pause { .. } => FaultKind::Pause,
            Self::Partition { .. } => FaultKind::Partition,
        }
    }

    /// The node whose process it disturbs.
    pub fn node(&self) -> Option<NodeNumber> {
        match self {
            Self::Kill { node } | Self::Pause { node } => Some(*node),
            Self::Partition { .. } => None,
        }
    }

    /// Every node that it names.
    pub fn nodes(&self) -> Vec<NodeNumber> {
        match self {
            Self::Kill { node } | Self::Pause { node } => vec![*node],
            Self::Partition { cut, .. } => cut.iter().flat_map(|(from, to)| [*from, *to]).collect(),
        }
    }

    /// What histories call its beginning and its end.
    pub fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Kill { .. } => ("kill", "start"),
            Self::Pause { .. } => ("pause", "resume"),
            Self::Partition { .. } => ("start-partition", "stop-partition"),
        }
    }
}

impl Shape {
    /// The shapes that can divide so many nodes.
    pub fn possible(nodes: usize) -> Vec<Self> {
        let least = [
            (Self::Halves, 2),
            (Self::Ring, 4),
            (Self::Bridge, 3),
            (Self::Isolate, 2),
            (Self::OneWay, 2),
        ];
        least.into_iter().filter(|(_, least)| nodes >= *least).map(|(shape, _)| shape).collect()
    }

    /// The directed links that it cuts among `nodes` nodes in a random order.
    pub fn cut(self, nodes: usize, rng: &mut Rng) -> Vec<(NodeNumber, NodeNumber)> {
        let mut order: Vec<_> = (0..nodes).collect();
        rng.shuffle(&mut order);
        let half = nodes / 2;
        let apart = |from: usize, to: usize| match self {
            Self::Halves => (from < half) != (to < half),
            Self::Ring => {
                let steps = from.abs_diff(to);
                steps.min(nodes - steps) > (nodes / 2).div_ceil(2)
            }
            // The last in the order is the bridge.
            Self::Bridge => from.max(to) < nodes - 1 && (from < half) != (to < half),
            Self::Isolate => (from == 0) != (to == 0),
            Self::OneWay => from < half && to >= half,
        };
        let mut cut: Vec<_> = (0..nodes)
            .flat_map(|from| (0..nodes).map(move |to| (from, to)))
            .filter(|(from, to)| from != to && apart(*from, *to))
            .map(|(from, to)| (NodeNumber(order[from]), NodeNumber(order[to])))
            .collect();
        cut.sort_unstable();
        cut
    }

    /// The name in schedules and histories.
    pub fn name(self) -> &'static str {
        match self {
            Self::Halves => "halves",
            Self::Ring => "ring",
            Self::Bridge => "bridge",
            Self::Isolate => "isolate",
            Self::OneWay => "one-way",
        }
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0 + 1)
    }
}

impl From<NodeNumber> for String {
    fn from(node: NodeNumber) -> Self {
        node.to_string()
    }
}

impl TryFrom<String> for NodeNumber {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl FromStr for NodeNumber {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let number = name.strip_prefix('n').and_then(|digits| digits.parse::<usize>().ok());
        number
            .and_then(|number| number.checked_sub(1))
            .map(Self)
            .ok_or_else(|| format!("{name} is no node: they are called n1, n2, …"))
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            format!("{name} is no fault; allowed are kill, pause, partition, or none alone")
        })
    }
}

impl fmt::Display for Fault {
    /// `kill n2`, `partition halves n1→n3 n3→n1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { node } => write!(f, "kill {node}"),
            Self::Pause { node } => write!(f, "pause {node}"),
            Self::Partition { shape, cut, .. } => {
                write!(f, "partition {}", shape.name())?;
                cut.iter().try_for_each(|(from, to)| write!(f, " {from}→{to}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Connections, Fault, NodeNumber, Shape};
    use crate::rng::Rng;

    fn cut(shape: Shape, nodes: usize) -> BTreeSet<(usize, usize)> {
        let cut = shape.cut(nodes, &mut Rng::new(3));
        cut.into_iter().map(|(from, to)| (from.0, to.0)).collect()
    }

    fn heard(cut: &BTreeSet<(usize, usize)>, nodes: usize, by: usize) -> usize {
        (0..nodes).filter(|from| !cut.contains(&(*from, by))).count()
    }

    #[test]
    fn every_shape_cuts_what_its_name_says() {
        for nodes in 4..8 {
            let all: BTreeSet<_> = (0..nodes).collect();
            let halves = cut(Shape::Halves, nodes);
            assert_eq!(halves.len(), 2 * (nodes / 2) * (nodes - nodes / 2));
            let one_way = cut(Shape::OneWay, nodes);
            assert!(one_way.iter().all(|(from, to)| !one_way.contains(&(*to, *from))));
            assert!(!one_way.is_empty());
            assert_eq!(cut(Shape::Isolate, nodes).len(), 2 * (nodes - 1));
            let bridge = cut(Shape::Bridge, nodes);
            let bridges = all.iter().filter(|node| heard(&bridge, nodes, **node) == nodes);
            assert_eq!(bridges.count(), 1, "{nodes} nodes: {bridge:?}");
            let ring = cut(Shape::Ring, nodes);
            for node in all {
                let hears = heard(&ring, nodes, node);
                assert!(hears > nodes / 2 && hears < nodes, "{nodes} nodes: {node} hears {hears}");
            }
        }
    }

    #[test]
    fn only_shapes_that_cut_something_are_possible() {
        assert_eq!(Shape::possible(1), []);
        for nodes in 2..10 {
            for shape in Shape::possible(nodes) {
                assert!(!cut(shape, nodes).is_empty(), "{shape:?} of {nodes}");
            }
        }
        assert!(cut(Shape::Ring, 3).is_empty(), "three in a circle are all neighbours");
    }

    #[test]
    fn faults_are_written_with_the_nodes_names() {
        let kill = Fault::Kill { node: NodeNumber(1) };
        let text = serde_json::to_string(&kill).expect("json");
        assert_eq!(text, r#"{"kind":"kill","node":"n2"}"#);
        assert_eq!(serde_json::from_str::<Fault>(&text).expect("fault"), kill);
        let partition = Fault::Partition {
            shape: Shape::OneWay,
            connections: Connections::Stall,
            cut: vec![(NodeNumber(0), NodeNumber(2))],
        };
        assert_eq!(partition.to_string(), "partition one-way n1→n3");
    }

    #[test]
    fn a_fault_that_names_no_node_is_refused() {
        for bad in [
            r#"{"kind":"kill","node":"n0"}"#,
            r#"{"kind":"kill","node":"2"}"#,
            r#"{"kind":"kill"}"#,
            r#"{"kind":"kill","node":"n1","for":3}"#,
            r#"{"kind":"melt","node":"n1"}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(bad).is_err(), "{bad}");
        }
    }
}
