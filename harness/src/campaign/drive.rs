//! The part of a campaign that is the same on every ground: clients and nemesis at work, then the
//! end game.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cartwheel_checker::Value;
use futures::future::{join, join_all};

use super::finale::{self, Finale};
use super::stop::Stop;
use crate::fault::{Fault, FaultKind, NodeNumber};
use crate::ground::Ground;
use crate::history::{Asked, Recorder};
use crate::rng::Rng;
use crate::schedule::Schedule;
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

/// What came of it.
#[derive(Debug)]
pub struct Driven {
    /// How many faults of each kind changed something.
    pub faults: BTreeMap<FaultKind, u64>,
    /// How the cluster ended.
    pub finale: Finale,
}

/// The streams of the seed that clients draw from: one each, from here on.
const CLIENTS: u64 = 0x0c11_e275;

/// Works on the cluster as planned and reads it at the end. `epoch` is the wall clock at the
/// ground's time 0.
pub async fn drive<G: Ground>(
    ground: &G,
    plan: &Plan,
    recorder: &Recorder,
    stop: &Stop,
    epoch: Duration,
) -> Driven {
    let began = ground.now();
    let carts = Arc::new(Carts::new(plan.carts, plan.cart_size));
    let clients = (0..plan.concurrency).map(|thread| {
        let rng = Rng::of(plan.seed, CLIENTS + thread);
        let generator = Generator::new(rng, plan.mix, Arc::clone(&carts), epoch);
        Client { ground, plan, recorder, thread, process: thread, began, generator }.run(stop)
    });
    let nemesis = Nemesis { ground, recorder, began, faults: BTreeMap::new() };
    let (processes, (faults, failed)) =
        join(join_all(clients), nemesis.run(&plan.schedule, stop)).await;
    let finale = if let Some(failed) = failed {
        Finale::unknown(vec![failed])
    } else {
        finale::run(ground, plan, recorder, stop, &processes).await
    };
    Driven { faults, finale }
}

/// One client: a thread that goes on, as another process, when an outcome is unknown.
struct Client<'a, G> {
    ground: &'a G,
    plan: &'a Plan,
    recorder: &'a Recorder,
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
        let end = self.began + self.plan.time_limit;
        let mut at = self.began + Duration::from_secs_f64(interval * pace.unit());
        loop {
            if at >= end || stop.unless(self.ground.sleep_until(at)).await.is_none() {
                return self.process;
            }
            self.operate().await;
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
        let own = NodeNumber((self.thread / 2) as usize % self.ground.nodes());
        let stubborn = self.thread + self.plan.stubborn >= self.plan.concurrency;
        ((stubborn || self.thread % 2 == 1).then_some(own), stubborn)
    }
}

/// Who injects the faults.
struct Nemesis<'a, G> {
    ground: &'a G,
    recorder: &'a Recorder,
    began: Duration,
    faults: BTreeMap<FaultKind, u64>,
}

impl<G: Ground> Nemesis<'_, G> {
    /// Goes through the schedule. Gives what was applied, and why it could not go on.
    async fn run(
        mut self,
        schedule: &Schedule,
        stop: &Stop,
    ) -> (BTreeMap<FaultKind, u64>, Option<String>) {
        for turn in schedule.turns() {
            let at = self.began + Duration::from_millis(turn.at_ms);
            if stop.unless(self.ground.sleep_until(at)).await.is_none() {
                break;
            }
            let fault = &schedule.faults[turn.fault].fault;
            if let Err(error) = self.turn(turn.fault, fault, turn.begins).await {
                stop.request();
                return (self.faults, Some(format!("the nemesis failed at {fault}: {error:#}")));
            }
        }
        (self.faults, None)
    }

    async fn turn(&mut self, id: usize, fault: &Fault, begins: bool) -> anyhow::Result<()> {
        let (begin, end) = fault.names();
        let f = if begins { begin } else { end };
        let value = nemesis_value(fault);
        self.recorder.nemesis(self.ground.now(), f, value.clone());
        if begins {
            let applied = self.ground.begin(id, fault).await?;
            if applied {
                self.recorder.applied();
                *self.faults.entry(fault.kind()).or_default() += 1;
            }
        } else {
            self.ground.end(id).await?;
        }
        self.recorder.nemesis(self.ground.now(), f, value);
        Ok(())
    }
}

/// What a history says of a fault: the node, or the shape and who no longer hears whom.
fn nemesis_value(fault: &Fault) -> Value {
    match fault {
        Fault::Kill { node } | Fault::Pause { node } => Value::Text(node.to_string()),
        Fault::Partition { shape, cut, .. } => {
            let mut deaf = BTreeMap::<_, Vec<Value>>::new();
            for (from, to) in cut {
                deaf.entry(Value::Text(to.to_string())).or_default().push(from.to_string().into());
            }
            let deaf = deaf.into_iter().map(|(node, from)| (node, Value::Vector(from))).collect();
            Value::Vector(vec![shape.name().into(), Value::Map(deaf)])
        }
    }
}
