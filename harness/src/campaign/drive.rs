//! The part of a campaign that is the same on every ground: clients and nemesis at work, then the
//! end game.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cartwheel_checker::Value;
use futures::future::{Either, join, join_all, select};

use super::finale::{self, Finale, MAJORITY, N};
use super::gate::Gate;
use super::stop::Stop;
use crate::fault::{Fault, FaultKind, NodeNumber};
use crate::ground::Ground;
use crate::history::{Asked, Recorder};
use crate::rng::Rng;
use crate::schedule::{Act, Schedule, Turn};
use crate::workload::{Carts, Generator, Manner, Mix, Workload};

/// What is done to a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything random follows from.
    pub seed: u64,
    /// What clients do.
    pub workload: Workload,
    /// How many clients there are.
    pub concurrency: u64,
    /// Operations that all clients together begin in a second.
    pub rate: f64,
    /// How long they do it.
    pub time_limit: Duration,
    /// Which operations.
    pub mix: Mix,
    /// How many of the clients ask their own node and no other.
    pub stubborn: u64,
    /// How many carts are in use at a time.
    pub carts: usize,
    /// How many additions a cart takes before it is left alone.
    pub cart_size: u64,
    /// The quorum of sloppy reads, if not the bucket's.
    pub r: Option<u8>,
    /// The quorum of sloppy writes, if not the bucket's.
    pub w: Option<u8>,
    /// How long a client waits for one operation.
    pub timeout: Duration,
    /// How long the cluster may take to become quiet.
    pub quiet_within: Duration,
    /// The faults.
    pub schedule: Schedule,
}

impl Plan {
    /// How many of a key's three owners may be missing when both a sloppy and a strict write still have their quorum; `None` where
    /// writes are not judged by that: a register's put is not made again when its outcome is unknown (rule F1), and a client
    /// that waits for less than a second gives up before a cluster under load has answered.
    pub(super) fn may_miss(&self) -> Option<usize> {
        let is_judged = self.workload == Workload::Cart && self.timeout >= Duration::from_secs(1);
        let quorum = self.w.unwrap_or(MAJORITY).max(MAJORITY);
        let owners = self.schedule.nodes.min(N.into());
        // Where there are fewer, no strict write has its quorum.
        let spare = owners.checked_sub(quorum.into())?;
        is_judged.then_some(spare)
    }

    /// Whether disks are to be full, for which each node needs one of its own.
    pub fn needs_own_disks(&self) -> bool {
        self.schedule.faults.iter().any(|planned| planned.fault.kind() == FaultKind::DiskFull)
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Driven {
    /// How many faults of each kind changed something.
    pub faults: BTreeMap<FaultKind, u64>,
    /// How many changes of the members were completed, by name.
    pub completed: BTreeMap<&'static str, u64>,
    /// How many quiet points were reached.
    pub quiet_points: u64,
    /// How the cluster ended.
    pub finale: Finale,
}

impl Driven {
    /// Nothing was done.
    pub(super) fn nothing(finale: Finale) -> Self {
        Self { faults: BTreeMap::new(), completed: BTreeMap::new(), quiet_points: 0, finale }
    }
}

/// What the nemesis did.
#[derive(Debug, Default)]
struct Done {
    faults: BTreeMap<FaultKind, u64>,
    quiet_points: u64,
    /// What was not quiet at quiet points.
    restless: Vec<String>,
    /// Why it could not go on.
    failed: Option<String>,
}

/// How often what takes its time is looked after.
const TEND_EVERY: Duration = Duration::from_millis(200);

/// The streams of the seed that clients draw from: one each, from here on.
const CLIENTS: u64 = 0x0c11_e275;

/// Works on the cluster as planned and reads it at the end. `epoch` is the wall clock at the
/// ground's time 0.
pub async fn drive<G: Ground>(
    ground: &G,
    plan: &Plan,
    recorder: &Recorder,
    stop: &Stop,
    gate: &Gate,
    epoch: Duration,
) -> Driven {
    let driven = std::pin::pin!(work(ground, plan, recorder, stop, gate, epoch));
    let tended = std::pin::pin!(tend(ground));
    match select(driven, tended).await {
        Either::Left((driven, _)) => driven,
        Either::Right((error, driven)) => {
            stop.request();
            let mut driven = driven.await;
            driven.finale.missing.push(format!("the nemesis failed: {error:#}"));
            driven
        }
    }
}

async fn work<G: Ground>(
    ground: &G,
    plan: &Plan,
    recorder: &Recorder,
    stop: &Stop,
    gate: &Gate,
    epoch: Duration,
) -> Driven {
    let began = ground.now();
    let carts = Arc::new(Carts::new(plan.carts, plan.cart_size));
    let clients = (0..plan.concurrency).map(|thread| {
        let rng = Rng::of(plan.seed, CLIENTS + thread);
        let generator = Generator::new(rng, plan.mix, Arc::clone(&carts), epoch);
        Client { ground, plan, recorder, gate, thread, process: thread, began, generator }.run(stop)
    });
    let nemesis = Nemesis { ground, plan, recorder, gate, began, done: Done::default() };
    let (processes, done) = join(join_all(clients), nemesis.run(&plan.schedule, stop)).await;
    let mut finale = if let Some(failed) = done.failed {
        Finale::unknown(vec![failed])
    } else {
        finale::run(ground, plan, recorder, stop, &processes).await
    };
    finale.missing.extend(done.restless);
    let (faults, quiet_points) = (done.faults, done.quiet_points);
    Driven { faults, completed: ground.completed(), quiet_points, finale }
}

/// Looks after what takes its time until that fails.
async fn tend<G: Ground>(ground: &G) -> anyhow::Error {
    loop {
        if let Err(error) = ground.tend().await {
            return error;
        }
        ground.sleep_until(ground.now() + TEND_EVERY).await;
    }
}

/// One client: a thread that goes on, as another process, when an outcome is unknown.
struct Client<'a, G> {
    ground: &'a G,
    plan: &'a Plan,
    recorder: &'a Recorder,
    gate: &'a Gate,
    thread: u64,
    process: u64,
    began: Duration,
    generator: Generator,
}

impl<G: Ground> Client<'_, G> {
    /// Works until the time limit; gives the process that it has become.
    async fn run(mut self, stop: &Stop) -> u64 {
        let interval = self.plan.concurrency as f64 / self.plan.rate.max(0.001);
        let mut pace = Rng::of(self.plan.seed, !(CLIENTS + self.thread));
        let mut at = self.began + Duration::from_secs_f64(interval * pace.unit());
        loop {
            let due = at;
            let turn = async {
                self.ground.sleep_until(due).await;
                self.gate.opened().await;
            };
            let end = || self.began + self.plan.time_limit + self.gate.stood_still();
            let is_over = at >= end() || stop.unless(turn).await.is_none();
            // While the gate was shut the end moved as well.
            at = at.max(self.ground.now());
            if is_over || at >= end() {
                return self.process;
            }
            self.gate.enter();
            self.operate().await;
            self.gate.leave();
            // Who was held up does not catch up: clients wait for their answers.
            at = (at + Duration::from_secs_f64(interval * (0.5 + pace.unit())))
                .max(self.ground.now());
        }
    }

    async fn operate(&mut self) {
        let operation = self.generator.next(self.ground.now());
        let (node, only) = self.node();
        let asked = Asked {
            node: node.map(|node| node.to_string()),
            strict: operation.strict,
            ..Asked::by(self.process)
        };
        let (r, w, timeout) = (self.plan.r, self.plan.w, self.plan.timeout);
        let manner = Manner { node, only, strict: operation.strict, r, w, timeout };
        self.recorder.invoke(self.ground.now(), &asked, operation.value.clone());
        let done = self.plan.workload.execute(self.ground, &operation.value, manner).await;
        let now = self.ground.now();
        match done {
            Ok(answer) => {
                self.recorder.ok(now, &asked, answer.clone());
                self.generator.answered(now, Some(&answer));
            }
            Err(error) => {
                let value = operation.value;
                self.recorder.failed(now, &asked, value, &error.message, error.definite);
                if error.definite {
                    self.generator.answered(now, None);
                } else {
                    self.process += self.plan.concurrency;
                    self.generator.forget();
                }
            }
        }
    }

    /// Half of the clients go where the client library leads them, to an owner; the others each
    /// turn to a node of their own first, which for most keys is none. The last are stubborn: they
    /// ask it and no other, so that they see failures and unknown outcomes.
    fn node(&self) -> (Option<NodeNumber>, bool) {
        let members = self.ground.members();
        let own = members.get((self.thread / 2) as usize % members.len().max(1)).copied();
        let stubborn = self.thread + self.plan.stubborn >= self.plan.concurrency;
        (own.filter(|_| stubborn || self.thread % 2 == 1), stubborn)
    }
}

/// Who injects the faults.
struct Nemesis<'a, G> {
    ground: &'a G,
    plan: &'a Plan,
    recorder: &'a Recorder,
    gate: &'a Gate,
    began: Duration,
    done: Done,
}

impl<G: Ground> Nemesis<'_, G> {
    /// Goes through the schedule. Gives what was applied, and why it could not go on.
    async fn run(mut self, schedule: &Schedule, stop: &Stop) -> Done {
        for turn in schedule.turns() {
            let at = self.began + Duration::from_millis(turn.at_ms) + self.gate.stood_still();
            if stop.unless(self.ground.sleep_until(at)).await.is_none() {
                break;
            }
            if let Err((what, error)) = self.turn(schedule, turn, stop).await {
                stop.request();
                self.done.failed = Some(format!("the nemesis failed at {what}: {error:#}"));
                break;
            }
        }
        self.done
    }

    async fn turn(
        &mut self,
        schedule: &Schedule,
        turn: Turn,
        stop: &Stop,
    ) -> Result<(), (String, anyhow::Error)> {
        let (id, begins) = match turn.act {
            Act::Quiet => {
                // Where one was not reached the next would not be either, and all is unknown already.
                if self.done.restless.is_empty() {
                    self.quiet(stop).await;
                }
                return Ok(());
            }
            Act::Begin(id) => (id, true),
            Act::End(id) => (id, false),
        };
        let fault = &schedule.faults[id].fault;
        // Where no quiet point was reached no more disks may be lost.
        if fault.losses() > 0 && !self.done.restless.is_empty() {
            return Ok(());
        }
        self.fault(id, fault, begins).await.map_err(|error| (fault.to_string(), error))
    }

    async fn fault(&mut self, id: usize, fault: &Fault, begins: bool) -> anyhow::Result<()> {
        let (begin, end) = fault.names();
        let f = if begins { begin } else { end };
        let value = nemesis_value(fault);
        self.recorder.nemesis(self.ground.now(), f, value.clone());
        if begins {
            let applied = self.ground.begin(id, fault).await?;
            if applied {
                self.recorder.applied();
                *self.done.faults.entry(fault.kind()).or_default() += 1;
            }
        } else {
            self.ground.end(id).await?;
        }
        self.recorder.nemesis(self.ground.now(), f, value);
        Ok(())
    }

    /// Lets the clients rest until the cluster is quiet.
    async fn quiet(&mut self, stop: &Stop) {
        let began = self.ground.now();
        self.recorder.nemesis(began, "quiet", "begins");
        let quiet = async {
            self.gate.shut().await;
            finale::quiet_point(self.ground, self.plan, self.recorder).await
        };
        let restless = stop.unless(quiet).await;
        let now = self.ground.now();
        let reached = restless.as_ref().is_some_and(Vec::is_empty);
        self.recorder.nemesis(now, "quiet", if reached { "reached" } else { "not reached" });
        self.done.quiet_points += u64::from(reached);
        let first = restless.unwrap_or_default();
        let at = now.saturating_sub(self.began).as_secs();
        self.done
            .restless
            .extend(first.into_iter().map(|why| format!("quiet point at {at} s: {why}")));
        self.gate.open(now.saturating_sub(began));
    }
}

/// What a history says of a fault: the nodes, or the shape and who no longer hears whom.
fn nemesis_value(fault: &Fault) -> Value {
    let texts = |nodes: &[NodeNumber]| {
        Value::Vector(nodes.iter().map(|node| node.to_string().into()).collect())
    };
    match fault {
        Fault::Kill { node }
        | Fault::Pause { node }
        | Fault::Join { node, .. }
        | Fault::Leave { node }
        | Fault::Remove { node, .. }
        | Fault::Wipe { node, .. }
        | Fault::DiskFull { node } => Value::Text(node.to_string()),
        Fault::Corrupt { node, damage } => {
            Value::Vector(vec![node.to_string().into(), damage.to_string().into()])
        }
        Fault::Weight { node, weight } => {
            Value::Vector(vec![node.to_string().into(), weight.to_string().into()])
        }
        Fault::Replace { old, new } => texts(&[*old, *new]),
        Fault::RollingRestart { nodes } | Fault::Reap { nodes, .. } => texts(nodes),
        Fault::ZoneKill { zone, nodes } | Fault::ZoneDestroy { zone, nodes } => {
            Value::Vector(vec![zone.to_string().into(), texts(nodes)])
        }
        Fault::Partition { shape, cut, .. } => divided(shape.name(), cut),
        Fault::ZoneCut { zone, cut, .. } => divided(&zone.to_string(), cut),
        Fault::Slow { links, .. } => divided("slow", links),
    }
}

/// Who no longer hears whom, or late.
fn divided(how: &str, cut: &[(NodeNumber, NodeNumber)]) -> Value {
    let mut deaf = BTreeMap::<_, Vec<Value>>::new();
    for (from, to) in cut {
        deaf.entry(Value::Text(to.to_string())).or_default().push(from.to_string().into());
    }
    let deaf = deaf.into_iter().map(|(node, from)| (node, Value::Vector(from))).collect();
    Value::Vector(vec![how.into(), Value::Map(deaf)])
}
