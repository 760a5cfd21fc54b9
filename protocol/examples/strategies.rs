//! The paper's three partitioning strategies (§6.2, Figure 8) beside ours, as a table and a picture.
//!
//! `cargo run --release -p cartwheel-protocol --example strategies > docs/strategies.svg` draws; the table goes to
//! standard error. 30 nodes, n = 3; strategies 1 and 2 have T random tokens a node, strategies 2 and 3 and ours
//! Q = 1,024 equal partitions. Random placements are drawn ten times with fixed seeds, and the worst is shown.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the picture and the table are the output"
)]

use std::{collections::BTreeSet, fmt::Write as _};

use cartwheel_protocol::{
    bucket::Bucket,
    id::{NodeId, Zone},
    key::Partitions,
    layout::{Command, Layout, Member},
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const NODES: u64 = 30;
const N: usize = 3;
const Q: u32 = 1_024;
const TOKENS: u64 = 34;
const DRAWS: u64 = 10;

/// Ranges of the ring, each with its share of the keys and its preference list.
struct Ring(Vec<(f64, Vec<u64>)>);

/// What a strategy costs, each as a ratio to the best possible.
#[derive(Clone, Copy, Default)]
struct Costs {
    /// The most loaded node's share of the copies, in fair shares.
    load: f64,
    /// What one more node moves, in the joiner's fair shares.
    moved: f64,
    /// The most that a survivor carries of copies when one node is dead, in its share before.
    failover: f64,
    /// Bytes of the description of who owns what.
    metadata: f64,
}

fn random(seed: u64, node: u64, token: u64) -> u64 {
    xxh3_64_with_seed(&[node.to_le_bytes(), token.to_le_bytes()].concat(), seed)
}

/// The first distinct nodes clockwise from a place in the sorted tokens.
fn walk(tokens: &[(u64, u64)], from: usize) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let around = tokens.iter().cycle().skip(from).take(tokens.len());
    around.map(|(_, node)| *node).filter(|node| seen.insert(*node)).take(N + 1).collect()
}

fn tokens(seed: u64, nodes: u64, each: u64) -> Vec<(u64, u64)> {
    let all = (0..nodes).flat_map(|node| (0..each).map(move |t| (random(seed, node, t), node)));
    let mut all: Vec<(u64, u64)> = all.collect();
    all.sort_unstable();
    all
}

/// Strategy 1: ranges between random tokens.
fn first(seed: u64, nodes: u64) -> Ring {
    let tokens = tokens(seed, nodes, TOKENS);
    let before = |at: usize| tokens[(at + tokens.len() - 1) % tokens.len()].0;
    let share = |at: usize| tokens[at].0.wrapping_sub(before(at)) as f64 / 2_f64.powi(64);
    Ring((0..tokens.len()).map(|at| (share(at), walk(&tokens, at))).collect())
}

/// Strategy 2: equal partitions, owned by the next random tokens.
fn second(seed: u64, nodes: u64) -> Ring {
    let tokens = tokens(seed, nodes, TOKENS);
    let end = |partition: u32| (u64::from(partition) + 1).wrapping_mul(1 << 54);
    let at = |partition| tokens.partition_point(|token| token.0 < end(partition)) % tokens.len();
    Ring((0..Q).map(|partition| (1.0 / f64::from(Q), walk(&tokens, at(partition)))).collect())
}

/// Strategy 3: equal partitions, Q/S of them a node, dealt out at random; a joiner steals at random from all.
fn third(seed: u64, nodes: u64) -> Ring {
    let mut owner: Vec<u64> = (0..Q).map(|_| 0).collect();
    for joiner in 1..nodes {
        let fair = Q as usize / (joiner as usize + 1);
        let mut order: Vec<u32> = (0..Q).collect();
        order.sort_unstable_by_key(|p| random(seed, joiner, u64::from(*p)));
        for partition in order {
            let had = owner[partition as usize];
            let held = |node: u64| owner.iter().filter(|owner| **owner == node).count();
            if held(joiner) < fair && held(had) > fair {
                owner[partition as usize] = joiner;
            }
        }
    }
    let ring: Vec<(u64, u64)> = (0..).zip(owner).collect();
    Ring((0..Q as usize).map(|at| (1.0 / f64::from(Q), walk(&ring, at))).collect())
}

/// Ours: a layout that every join steps on from.
fn ours(_: u64, nodes: u64) -> Ring {
    let member = |id: u64| Member {
        id: NodeId(random(7, id, 0)),
        name: format!("n{id}").into(),
        address: "".into(),
        zone: Zone("z".into()),
        weight: 1,
    };
    let partitions = Partitions::new(Q).expect("a power of two");
    let mut layout = Layout::form([member(0)], partitions, Bucket::built_in()).expect("a layout");
    for id in 1..nodes {
        layout = layout.step(&[Command::Join(member(id))], false).expect("a joiner fits in");
    }
    let list = |p| layout.preference_list(p, N as u8).into_iter().take(N + 1).map(|id| id.0);
    Ring(partitions.iter().map(|p| (1.0 / f64::from(Q), list(p).collect())).collect())
}

impl Ring {
    fn owners(list: &[u64]) -> &[u64] {
        &list[..list.len().min(N)]
    }

    fn load(&self, node: u64) -> f64 {
        let owned = self.0.iter().filter(|(_, list)| Self::owners(list).contains(&node));
        owned.map(|(share, _)| share).sum()
    }

    fn nodes(&self) -> BTreeSet<u64> {
        self.0.iter().flat_map(|(_, list)| list.iter().copied()).collect()
    }

    fn worst_load(&self) -> f64 {
        let fair = N as f64 / NODES as f64;
        self.nodes().into_iter().map(|node| self.load(node) / fair).fold(0.0, f64::max)
    }

    fn worst_failover(&self) -> f64 {
        let nodes = self.nodes();
        let ratio = |dead: u64, node: u64| {
            let stands_in = |list: &[u64]| list.len() > N && list[N] == node;
            let taken = self.0.iter().filter(|(_, list)| Self::owners(list).contains(&dead));
            let more: f64 = taken.filter(|(_, l)| stands_in(l)).map(|(share, _)| share).sum();
            let load = self.load(node);
            (load + more) / load
        };
        let pairs = nodes.iter().flat_map(|dead| nodes.iter().map(move |node| (*dead, *node)));
        pairs.filter(|(dead, node)| dead != node).map(|(d, n)| ratio(d, n)).fold(0.0, f64::max)
    }

    /// How much of the copies changes owner from one ring to the next, over all keys.
    fn moved_to(&self, next: &Self) -> f64 {
        let mut ends = (0, 0);
        let (mut at, mut moved) = (0.0, 0.0);
        let (mut end, mut next_end) = (self.0[0].0, next.0[0].0);
        while ends.0 < self.0.len() && ends.1 < next.0.len() {
            let to = end.min(next_end);
            let (old, new) = (Self::owners(&self.0[ends.0].1), Self::owners(&next.0[ends.1].1));
            moved += (to - at) * new.iter().filter(|node| !old.contains(node)).count() as f64;
            at = to;
            if end <= to {
                ends.0 += 1;
                end += self.0.get(ends.0).map_or(1.0, |range| range.0);
            }
            if next_end <= to {
                ends.1 += 1;
                next_end += next.0.get(ends.1).map_or(1.0, |range| range.0);
            }
        }
        moved
    }
}

fn costs(ring: fn(u64, u64) -> Ring, metadata: f64) -> Costs {
    let fair_join = N as f64 / (NODES + 1) as f64;
    let drawn = (0..DRAWS).map(|seed| {
        let (now, next) = (ring(seed, NODES), ring(seed, NODES + 1));
        let moved = now.moved_to(&next) / fair_join;
        Costs { load: now.worst_load(), moved, failover: now.worst_failover(), metadata }
    });
    drawn.fold(Costs::default(), |worst, one| Costs {
        load: worst.load.max(one.load),
        moved: worst.moved.max(one.moved),
        failover: worst.failover.max(one.failover),
        metadata,
    })
}

fn main() {
    let random_tokens = (NODES * TOKENS * 16) as f64;
    let rows = [
        ("1: random tokens", costs(first, random_tokens)),
        ("2: tokens, equal partitions", costs(second, random_tokens)),
        ("3: Q/S tokens a node", costs(third, f64::from(Q) * 2.0)),
        ("Cartwheel: stepwise layout", costs(ours, f64::from(Q) * 2.0 * N as f64)),
    ];
    let titles =
        ["load, worst node", "moved by a join", "failover, worst survivor", "metadata, bytes"];
    let of = |costs: &Costs| [costs.load, costs.moved, costs.failover, costs.metadata];
    eprintln!("| strategy | {} |", titles.join(" | "));
    eprintln!("| --- | --- | --- | --- | --- |");
    for (name, row) in &rows {
        let [load, moved, failover, metadata] = of(row);
        eprintln!("| {name} | {load:.2} | {moved:.2} | {failover:.2} | {metadata:.0} |");
    }
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"330\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"900\" height=\"330\" fill=\"white\"/>\n",
    );
    for (panel, title) in titles.iter().enumerate() {
        let left = 20 + panel * 220;
        let most = rows.iter().map(|(_, row)| of(row)[panel]).fold(0.0, f64::max);
        writeln!(svg, "<text x=\"{left}\" y=\"20\" font-weight=\"bold\">{title}</text>")
            .expect("a string");
        for (bar, (name, row)) in rows.iter().enumerate() {
            let (value, top) = (of(row)[panel], 40 + bar * 70);
            let width = (value / most * 180.0).max(2.0);
            let colour = if bar == 3 { "#2a7f62" } else { "#9aa5b1" };
            let shown = if panel == 3 { format!("{value:.0}") } else { format!("{value:.2}") };
            writeln!(
                svg,
                "<text x=\"{left}\" y=\"{}\">{name}</text><rect x=\"{left}\" y=\"{}\" width=\"{width:.0}\" \
                 height=\"20\" fill=\"{colour}\"/><text x=\"{left}\" y=\"{}\" dx=\"4\">{shown}</text>",
                top + 12,
                top + 18,
                top + 52,
            )
            .expect("a string");
        }
    }
    svg.push_str("</svg>\n");
    print!("{svg}");
}
