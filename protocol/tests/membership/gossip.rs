//! How fast gossip spreads, and what it costs: a loop over memberships that share a clock, without loss.
//!
//! | nodes | periods until all know (worst of some seeds) | bytes sent by each node in each period |
//! | ----- | -------------------------------------------- | -------------------------------------- |
//! | 10    | 3                                            | 459                                    |
//! | 100   | 5                                            | 4,033                                  |
//! | 1,000 | 7                                            | 39,837                                 |

use std::{collections::VecDeque, sync::Arc};

use cartwheel_protocol::{
    format::v1,
    id::{NodeId, Zone},
    key::Partitions,
    layout::{Command, Layout, Member},
    membership::{
        Choice, MemberConfig, MemberEffect, MemberEffects, MemberInput, MemberMessage, MemberTimer,
        Membership, Saved,
    },
    view::View,
};

use crate::{
    cluster::{bucket, change},
    random::Random,
};

/// What came of one run.
struct Spread {
    /// After how many periods all nodes knew of the wish that one had been told.
    periods: u32,
    /// Sent by each node in each period, on average over some periods in which nothing but heartbeats is new.
    bytes: u64,
}

struct Nodes {
    nodes: Vec<Membership>,
    random: Random,
    bytes: u64,
    on_the_way: VecDeque<(usize, MemberInput)>,
}

impl Nodes {
    fn new(count: u64, seed: u64) -> Self {
        let member = |node: u64| Member {
            id: NodeId(node),
            name: format!("n{node}").into(),
            address: format!("10.0.0.{node}:7400").into(),
            zone: Zone("z".into()),
            weight: 1,
        };
        let partitions = Partitions::new(1).expect("a power of two");
        let layout = Layout::form((0..count).map(member), partitions, [bucket(2, 2)]);
        let view = Arc::new(View::new(Arc::new(layout.expect("it forms"))));
        let saved = Arc::new(Saved::new(view));
        let start = |node: u64| {
            let config = MemberConfig::new(&member(node).name, &member(node).address);
            let mut membership = Membership::new(NodeId(node), config);
            membership.step(MemberInput::Start(Some(saved.clone())), &mut MemberEffects::new());
            membership
        };
        let nodes = (0..count).map(start).collect();
        Self { nodes, random: Random::new(seed), bytes: 0, on_the_way: VecDeque::new() }
    }

    fn step(&mut self, at: usize, input: MemberInput) {
        let mut effects = MemberEffects::new();
        self.nodes[at].step(input, &mut effects);
        for effect in effects {
            match effect {
                MemberEffect::Send { to, message } => {
                    self.bytes += v1::encode_member_message(&message).len() as u64;
                    let from = NodeId(at as u64);
                    let input = MemberInput::Message { from, message };
                    self.on_the_way.push_back((to.0 as usize, input));
                }
                MemberEffect::Choose { choice: Choice::Partner, among } => {
                    let number = self.random.below(among);
                    let input = MemberInput::Chosen(Choice::Partner, number);
                    self.on_the_way.push_back((at, input));
                }
                // Nobody proposes anything: this is about gossip.
                MemberEffect::Choose { choice: Choice::Backoff, .. }
                | MemberEffect::SetTimer { .. }
                | MemberEffect::Save { .. }
                | MemberEffect::View(_)
                | MemberEffect::Suspect { .. }
                | MemberEffect::Addresses
                | MemberEffect::Disagrees { .. } => {}
            }
        }
    }

    fn period(&mut self) {
        let first = self.random.below(self.nodes.len() as u64) as usize;
        for at in 0..self.nodes.len() {
            let at = (first + at) % self.nodes.len();
            self.step(at, MemberInput::Timeout(MemberTimer::Gossip));
            while let Some((to, input)) = self.on_the_way.pop_front() {
                self.step(to, input);
            }
        }
    }

    fn all_know(&self) -> bool {
        self.nodes.iter().all(|node| node.staged().next().is_some())
    }
}

fn spread(count: u64, seed: u64) -> Spread {
    const WARM: u32 = 5;
    let mut nodes = Nodes::new(count, seed);
    (0..WARM).for_each(|_| nodes.period());
    nodes.step(0, MemberInput::Stage(change(1, 1, Command::Leave(NodeId(1)))));
    let mut periods = 0;
    while !nodes.all_know() {
        assert!(periods < 100, "{count} nodes, seed {seed}: gossip does not spread");
        nodes.period();
        periods += 1;
    }
    nodes.bytes = 0;
    (0..WARM).for_each(|_| nodes.period());
    Spread { periods, bytes: nodes.bytes / u64::from(WARM) / count }
}

/// The most periods and the average of bytes over some seeds.
fn worst(count: u64, seeds: u64) -> Spread {
    let runs: Vec<Spread> = (0..seeds).map(|seed| spread(count, seed)).collect();
    let bytes = runs.iter().map(|run| run.bytes).sum::<u64>() / seeds;
    Spread { periods: runs.iter().map(|run| run.periods).max().expect("a run"), bytes }
}

/// Pushing and pulling with one random partner, news needs about log2 n + ln ln n periods at most; within one period
/// a message may travel on, so it takes fewer here.
#[test]
fn gossip_reaches_ten_and_a_hundred_nodes_in_logarithmic_time() {
    let (ten, hundred) = (worst(10, 20), worst(100, 5));
    assert!(ten.periods <= 5, "10 nodes: {} periods", ten.periods);
    assert!(hundred.periods <= 8, "100 nodes: {} periods", hundred.periods);
    assert!(ten.bytes < 600, "10 nodes: {} bytes", ten.bytes);
    assert!(hundred.bytes < 5_000, "100 nodes: {} bytes", hundred.bytes);
}

/// `cargo test --release -p cartwheel-protocol --test membership -- --ignored --nocapture table`
#[test]
#[ignore = "draws the table of docs/evidence.md, half a minute; ten and a hundred nodes are tested above"]
#[expect(clippy::print_stdout, reason = "the table is what this is for")]
fn table_of_periods_and_bytes() {
    println!("nodes | periods until all know | bytes per node and period");
    for (count, seeds) in [(10, 20), (100, 10), (1_000, 2)] {
        let Spread { periods, bytes } = worst(count, seeds);
        println!("{count:>5} | {periods:>22} | {bytes:>25}");
        assert!(f64::from(periods) <= 2.0 * (count as f64).log2(), "not logarithmic");
    }
}

#[test]
fn news_does_not_spread_where_nobody_answers() {
    let mut nodes = Nodes::new(10, 1);
    nodes.step(0, MemberInput::Stage(change(1, 1, Command::Leave(NodeId(1)))));
    for at in 0..10 {
        nodes.step(at, MemberInput::Timeout(MemberTimer::Gossip));
        nodes.on_the_way.retain(|(_, input)| {
            !matches!(input, MemberInput::Message { message: MemberMessage::GossipOk { .. }, .. })
        });
    }
    assert!(!nodes.all_know());
}
