//! Exploring a plan: to the end, or breadth-first until something is wrong.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt::Debug,
    hash::{BuildHasherDefault, Hash, Hasher},
    time::{Duration, Instant},
};

use cartwheel_protocol::rules::Rules;
use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    action::Action,
    hashed::Folding,
    memory::{Growth, resident_bytes},
    model::WorldModel,
    property::Property,
    setup::Plan,
    tally::Tally,
    trace::Trace,
    witness::Witness,
};

/// Where an exploration gives up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Unique worlds.
    pub states: u64,
    /// Resident memory of the process, in bytes.
    pub memory_bytes: u64,
    /// Time.
    pub time: Duration,
}

/// A model that is explored here.
pub trait Explored:
    Model<
        State: Clone + Debug + Hash + PartialEq + Send + Sync,
        Action: Copy + Debug + PartialEq + Send + Sync,
    > + Send
    + Sync
    + 'static
{
    /// What must hold, in the order in which it is reported. The model asks for the first once for each unique state, and counts
    /// that in its tally.
    const PROPERTIES: &'static [Property];

    /// Where every path begins.
    fn start(&self) -> &Self::State;

    /// What it counts.
    fn tally(&self) -> &Tally;

    /// The property that does not hold in a state, if there is one.
    fn violation(&self, state: &Self::State) -> Option<Property>;
}

/// How an exploration ended.
#[derive(Clone, Debug)]
pub enum Verdict<A = Action> {
    /// Every reachable world was judged and all is well.
    Complete,
    /// Something is wrong.
    Violated(Trace<A>),
    /// A limit was met first: this one.
    Incomplete(&'static str),
}

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Report<A = Action> {
    /// How it ended.
    pub verdict: Verdict<A>,
    /// How many unique worlds were judged.
    pub states: u64,
    /// How many were generated, repetitions included.
    pub generated: u64,
    /// The length of the longest path that was followed.
    pub depth: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// How much more of the heap was in use at the most, in bytes, looked at now and then and at the end; `None` where the
    /// allocator does not tell: only glibc's does.
    pub grown_bytes: Option<u64>,
    /// How often each witness was seen.
    pub witnesses: Vec<(Witness, u64)>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { states: 100_000_000, memory_bytes: 8 << 30, time: Duration::from_secs(1_800) }
    }
}

/// How often the limits are looked at.
const PULSE: Duration = Duration::from_millis(20);

/// Explores everything that can happen in a plan: see [`exhaust_model`].
pub fn exhaust(
    plan: &Plan,
    rules: Rules,
    threads: usize,
    limits: Limits,
    progress: &mut dyn FnMut(u64, Duration),
) -> Report {
    exhaust_model(WorldModel::new(plan, rules), threads, limits, progress)
}

/// Explores everything that can happen, depth-first, and judges every world once.
///
/// `progress` is told now and then how many worlds were judged.
pub fn exhaust_model<M: Explored>(
    model: M,
    threads: usize,
    limits: Limits,
    progress: &mut dyn FnMut(u64, Duration),
) -> Report<M::Action> {
    let mut growth = Growth::begun();
    let begun = Instant::now();
    let checker = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let mut checker = checker.spawn_dfs();
    let handles = checker.handles();
    let mut met = None;
    while !handles.iter().all(|handle| handle.is_finished()) {
        std::thread::park_timeout(PULSE);
        let (states, elapsed) = (checker.model().tally().judged(), begun.elapsed());
        growth.look();
        met = met.or_else(|| limits.met(states, elapsed, resident_bytes()));
        if met.is_some() {
            checker.model().tally().stop();
        }
        progress(states, elapsed);
    }
    for handle in handles {
        handle.join().expect("an explorer thread panicked");
    }
    let elapsed = begun.elapsed();
    let tally = checker.model().tally();
    let states = tally.judged();
    let generated = checker.unique_state_count() as u64;
    let found = M::PROPERTIES.iter().find_map(|property| {
        let actions = checker.discovery(property.name())?.into_actions();
        Some(Trace { actions, property: *property })
    });
    let verdict = match (found, met) {
        (Some(trace), _) => Verdict::Violated(trace),
        (None, Some(limit)) => Verdict::Incomplete(limit),
        // The checker says that it is done; our own count must say the same.
        (None, None) if states != generated || !checker.is_done() => {
            Verdict::Incomplete("not every world that was found was judged")
        }
        (None, None) => Verdict::Complete,
    };
    Report {
        verdict,
        states,
        generated: checker.state_count() as u64,
        depth: checker.max_depth(),
        elapsed,
        grown_bytes: growth.up_to_now(),
        witnesses: tally.seen(),
    }
}

impl Limits {
    fn met(&self, states: u64, elapsed: Duration, resident: Option<u64>) -> Option<&'static str> {
        if states >= self.states {
            Some("the limit of states")
        } else if resident.is_some_and(|bytes| bytes >= self.memory_bytes) {
            Some("the limit of memory")
        } else if elapsed >= self.time {
            Some("the limit of time")
        } else {
            None
        }
    }
}

/// How a world was first reached: from which (by number), by which of its actions.
type Origin = (u32, u16);

/// Looks breadth-first for what is wrong in a plan: see [`shortest_in`].
pub fn shortest(plan: &Plan, rules: Rules, limits: Limits) -> Report {
    shortest_in(&WorldModel::new(plan, rules), limits)
}

/// Looks breadth-first for the nearest world in which something is wrong: its trace is as short as any.
pub fn shortest_in<M: Explored>(model: &M, limits: Limits) -> Report<M::Action> {
    let begun = Instant::now();
    let mut growth = Growth::begun();
    let mut seen: HashMap<u64, (), BuildHasherDefault<Identity>> = HashMap::default();
    let mut origins: Vec<Origin> = vec![(0, 0)];
    let mut layer: Vec<(u32, M::State)> = vec![(0, model.start().clone())];
    seen.insert(fingerprint(model.start()), ());
    let (mut depth, mut generated) = (0, 1);
    let mut actions = Vec::new();
    let mut verdict = None;
    'search: while !layer.is_empty() {
        depth += 1;
        let mut next = Vec::new();
        for (number, world) in layer {
            actions.clear();
            model.actions(&world, &mut actions);
            for (choice, action) in actions.iter().enumerate() {
                let Some(after) = model.next_state(&world, *action) else { continue };
                generated += 1;
                let Entry::Vacant(vacant) = seen.entry(fingerprint(&after)) else { continue };
                vacant.insert(());
                let reached = origins.len() as u32;
                origins.push((number, choice as u16));
                if let Some(property) = model.violation(&after) {
                    let actions = way_to(model, &origins, reached);
                    verdict = Some(Verdict::Violated(Trace { actions, property }));
                    break 'search;
                }
                next.push((reached, after));
            }
        }
        growth.look();
        let states = origins.len() as u64;
        if let Some(limit) = limits.met(states, begun.elapsed(), resident_bytes()) {
            verdict = Some(Verdict::Incomplete(limit));
            break;
        }
        layer = next;
    }
    Report {
        verdict: verdict.unwrap_or(Verdict::Complete),
        states: origins.len() as u64,
        generated,
        depth,
        elapsed: begun.elapsed(),
        grown_bytes: growth.up_to_now(),
        witnesses: model.tally().seen(),
    }
}

/// The actions that lead from the start to a world.
fn way_to<M: Explored>(model: &M, origins: &[Origin], reached: u32) -> Vec<M::Action> {
    let mut choices = Vec::new();
    let mut at = reached;
    while at != 0 {
        let (before, choice) = origins[at as usize];
        choices.push(choice);
        at = before;
    }
    let mut world = model.start().clone();
    let mut way = Vec::new();
    for choice in choices.into_iter().rev() {
        let mut actions = Vec::new();
        model.actions(&world, &mut actions);
        let action = actions[usize::from(choice)];
        let after = model.next_state(&world, action);
        world = after.expect("it was taken on the way here");
        way.push(action);
    }
    way
}

fn fingerprint(world: &impl Hash) -> u64 {
    let mut hasher = Folding::default();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are looked up");
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
