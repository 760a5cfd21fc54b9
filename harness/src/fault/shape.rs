//! How partitions divide the nodes, and what becomes of the connections that they cut.

use serde::{Deserialize, Serialize};

use super::NodeNumber;
use crate::rng::Rng;

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

    /// The directed links that it cuts among these nodes in a random order.
    pub fn cut(self, among: &[NodeNumber], rng: &mut Rng) -> Vec<(NodeNumber, NodeNumber)> {
        let (mut order, nodes) = (among.to_vec(), among.len());
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
            .map(|(from, to)| (order[from], order[to]))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Shape;
    use crate::fault::NodeNumber;
    use crate::rng::Rng;

    fn cut(shape: Shape, nodes: usize) -> BTreeSet<(usize, usize)> {
        let among: Vec<_> = (0..nodes).map(NodeNumber).collect();
        let cut = shape.cut(&among, &mut Rng::new(3));
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
}
