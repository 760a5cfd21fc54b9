//! The end game: heal, wait for quiet, read everything.
//!
//! Quiet is what the cluster itself must reach; until then two copies may rightly differ. It is
//! seen from outside: every cart is read with r = n (which also repairs), then each node's own copy.
//! A cart is quiet when all owners' copies are equal, cancellations included, no other node holds one
//! and no node owes one. Only then are the final reads taken that the checker holds against the cluster.
//!
//! Before the first of these reads each node's own copy is looked at once: how many acknowledged
//! additions had fewer copies than they were acknowledged for is reported. What reads with r = n mend is seen
//! nowhere else.

use std::time::Duration;

use cartwheel_checker::cart::{CartValue, Item};
use futures::stream::{self, StreamExt};

use super::drive::Plan;
use super::stop::Stop;
use crate::fault::{Fault, NodeNumber};
use crate::ground::{Action, Ground, OwnCopy};
use crate::history::{Asked, Kept, Recorder};
use crate::workload::{Manner, Shown};

/// How many owners a key has: all buckets of campaigns have n = 3.
pub(super) const N: u8 = 3;
/// The majority of them, which strict writes need, and what sloppy ones need by default.
pub(super) const MAJORITY: u8 = 2;
/// The time between two looks at carts that are not quiet yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a final read that fails is tried again.
const FINAL_TRIES: usize = 5;
/// How often a cart is looked at before an addition counts as thin: a copy may be on its way from a
/// node that was looked at last to one that was looked at first.
const THIN_LOOKS: usize = 3;
/// How many carts a complaint names.
const MOST_NAMED: usize = 5;

/// How the cluster ended.
#[derive(Debug)]
pub struct Finale {
    /// Why the history cannot tell whether the promise was kept; empty if it can.
    pub missing: Vec<String>,
    /// How long the cluster took to become quiet.
    pub quiet_after: Option<Duration>,
    /// How many acknowledged additions were on fewer nodes than their quorum before any read with r = n;
    /// `None` if that is not known.
    pub thin: Option<u64>,
}

impl Finale {
    /// An end that shows nothing, for these reasons.
    pub fn unknown(missing: Vec<String>) -> Self {
        Self { missing, quiet_after: None, thin: None }
    }
}

/// Heals the cluster, waits for quiet, takes the final reads. `processes` are the clients' last.
pub(super) async fn run<G: Ground>(
    ground: &G,
    plan: &Plan,
    recorder: &Recorder,
    stop: &Stop,
    processes: &[u64],
) -> Finale {
    let interrupted = || Finale::unknown(vec!["interrupted before the final reads".to_owned()]);
    recorder.nemesis(ground.now(), "heal", "everything");
    if let Err(error) = ground.heal().await {
        return Finale::unknown(vec![format!("the cluster does not heal: {error:#}")]);
    }
    recorder.nemesis(ground.now(), "heal", "everything");
    let healed = ground.now();
    match stop.unless(ground.ready()).await {
        None => return interrupted(),
        Some(Err(error)) => return Finale::unknown(vec![format!("{error:#}")]),
        Some(Ok(())) => {}
    }
    let end = End { ground, plan, recorder };
    let deadline = healed + plan.quiet_within;
    // Before hints are handed over and owners made equal.
    let Some(thin) = stop.unless(end.count_thin()).await else { return interrupted() };
    let Some(restless) = stop.unless(end.wait_for_rest(deadline)).await else {
        return interrupted();
    };
    if !restless.is_empty() {
        return Finale { thin, ..Finale::unknown(restless) };
    }
    let quiet = end.wait_for_quiet(deadline);
    let Some(missing) = stop.unless(quiet).await else { return interrupted() };
    if !missing.is_empty() {
        return Finale { thin, ..Finale::unknown(missing) };
    }
    let quiet_after = Some(ground.now().saturating_sub(healed));
    match stop.unless(end.read_everything(processes)).await {
        None => interrupted(),
        Some(missing) => Finale { missing, quiet_after, thin },
    }
}

/// A quiet point: waits until every cart is quiet and the members are at rest, while no client works and no fault is
/// active. What is missing if that takes too long.
pub(super) async fn quiet_point<G: Ground>(
    ground: &G,
    plan: &Plan,
    recorder: &Recorder,
) -> Vec<String> {
    let deadline = ground.now() + plan.quiet_within;
    if let Err(error) = ground.ready().await {
        return vec![format!("{error:#}")];
    }
    let end = End { ground, plan, recorder };
    let restless = end.wait_for_rest(deadline).await;
    if !restless.is_empty() {
        return restless;
    }
    end.wait_for_quiet(deadline).await
}

struct End<'a, G> {
    ground: &'a G,
    plan: &'a Plan,
    recorder: &'a Recorder,
}

impl<G: Ground> End<'_, G> {
    /// Waits until the members are at rest; what moves still if that takes too long.
    async fn wait_for_rest(&self, deadline: Duration) -> Vec<String> {
        let mut said = Vec::new();
        let mut tell = |waits_for: &[String]| {
            if waits_for != said {
                self.recorder.nemesis(self.ground.now(), "waits-for", waits_for.join("; "));
                said = waits_for.to_vec();
            }
        };
        loop {
            let left = deadline.saturating_sub(self.ground.now());
            let mut restless = self.ground.restless(left, &mut tell).await;
            if restless.is_empty() {
                return restless;
            }
            tell(&restless);
            if self.ground.now() >= deadline {
                let seconds = self.plan.quiet_within.as_secs();
                restless.truncate(MOST_NAMED);
                restless.insert(0, format!("members not at rest within {seconds} s"));
                return restless;
            }
            self.ground.sleep_until(self.ground.now() + LOOK_EVERY).await;
        }
    }

    /// How many acknowledged additions are on fewer nodes than they were acknowledged for; `None` if some
    /// node's own copy cannot be read, or where disks were lost or members changed: copies are moved then, and mended.
    async fn count_thin(&self) -> Option<u64> {
        let keeps = |fault: &Fault| {
            fault.losses() == 0 && fault.fresh().is_none() && fault.gone().is_none()
        };
        if !self.plan.schedule.faults.iter().all(|planned| keeps(&planned.fault)) {
            return None;
        }
        let looks = self.recorder.carts().into_iter().map(|cart| async move {
            let mut thin = self.recorder.kept(&cart);
            for look in 0..THIN_LOOKS {
                if thin.is_empty() {
                    break;
                }
                if look > 0 {
                    self.ground.sleep_until(self.ground.now() + LOOK_EVERY).await;
                }
                thin = self.thinner(&cart, thin).await?;
            }
            Some(thin.len() as u64)
        });
        let counts: Vec<Option<u64>> =
            stream::iter(looks).buffer_unordered(self.plan.concurrency as usize).collect().await;
        counts.into_iter().sum()
    }

    /// Those of a cart's additions that are on too few nodes now.
    async fn thinner(&self, cart: &str, mut kept: Vec<Kept>) -> Option<Vec<Kept>> {
        let mut copies = Vec::new();
        for node in self.ground.members() {
            copies.push(self.own_copy(cart, node).await.ok()?.0.items);
        }
        kept.retain(|addition| {
            let shows = |items: &&Vec<Item>| items.iter().any(|i| i.add_id == addition.add_id);
            let sloppy = self.plan.w.unwrap_or(MAJORITY);
            let needed = if addition.strict { MAJORITY } else { sloppy };
            copies.iter().filter(shows).count() < usize::from(needed)
        });
        Some(kept)
    }

    /// What a node itself stores for a cart.
    async fn own_copy(&self, cart: &str, node: NodeNumber) -> Result<(Shown, OwnCopy), String> {
        let manner = self.manner(Some(node));
        let shown = self.plan.workload.show(self.ground, cart, Action::ReadLocal, manner).await;
        let mut shown = shown.map_err(|error| format!("own copy of {node}: {error}"))?;
        let copy = shown.copy.take();
        Ok((shown, copy.ok_or_else(|| format!("{node} does not say what it stores"))?))
    }

    /// Waits until every cart is quiet; what is missing if that takes too long.
    async fn wait_for_quiet(&self, deadline: Duration) -> Vec<String> {
        // Whatever a client gave up may still be under way for as long as it would have waited.
        self.ground.sleep_until(self.ground.now() + self.plan.timeout).await;
        let mut restless = self.recorder.carts();
        loop {
            let looks = restless.into_iter().map(|cart| async {
                let complaint = self.look(&cart).await.err();
                complaint.map(|complaint| (cart, complaint))
            });
            let complaints: Vec<_> = stream::iter(looks)
                .buffer_unordered(self.plan.concurrency as usize)
                .filter_map(std::future::ready)
                .collect()
                .await;
            if complaints.is_empty() {
                return Vec::new();
            }
            if self.ground.now() >= deadline {
                return not_quiet(&complaints, self.plan.quiet_within);
            }
            restless = complaints.into_iter().map(|(cart, _)| cart).collect();
            self.ground.sleep_until(self.ground.now() + LOOK_EVERY).await;
        }
    }

    /// Whether a cart is quiet.
    async fn look(&self, cart: &str) -> Result<(), String> {
        let mut call = self.manner(None).call(self.plan.workload.bucket(), cart, Action::Read);
        call.strict = true;
        call.quorum = Some(N.min(u8::try_from(self.ground.members().len()).unwrap_or(N)));
        self.ground.call(call).await.map_err(|error| format!("r=n: {error}"))?;
        let owners = self.owners(cart).await?;
        let mut first: Option<(NodeNumber, String)> = None;
        for node in self.ground.members() {
            let (_, copy) = self.own_copy(cart, node).await?;
            if copy.owes > 0 {
                return Err(format!("{node} still owes its copy to {} owners", copy.owes));
            }
            if !owners.contains(&node) {
                if copy.is_stored {
                    return Err(format!("{node}, no owner, still holds a copy"));
                }
                continue;
            }
            match &first {
                None => first = Some((node, copy.digest)),
                Some((other, digest)) if *digest != copy.digest => {
                    return Err(format!("the copies of {other} and {node} differ"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Reads every cart from every owner's own copy and, strictly, through every node.
    async fn read_everything(&self, processes: &[u64]) -> Vec<String> {
        let mut reads = Vec::new();
        let mut missing = Vec::new();
        for cart in self.recorder.carts() {
            match self.owners(&cart).await {
                Ok(owners) => reads.extend(owners.into_iter().map(|o| (cart.clone(), o, true))),
                Err(error) => missing.push(format!("{cart}: {error}")),
            }
            let through = self.ground.members().into_iter();
            reads.extend(through.map(|node| (cart.clone(), node, false)));
        }
        let shares: Vec<Vec<_>> = (0..processes.len())
            .map(|share| reads.iter().skip(share).step_by(processes.len()).collect())
            .collect();
        let readers = processes.iter().zip(shares).map(|(process, share)| async move {
            let mut failed = Vec::new();
            for (cart, node, local) in share {
                if let Err(error) = self.read_finally(*process, cart, *node, *local).await {
                    failed.push(format!("no final read of {cart} from {node}: {error}"));
                }
            }
            failed
        });
        missing.extend(futures::future::join_all(readers).await.into_iter().flatten());
        missing.truncate(MOST_NAMED);
        missing
    }

    async fn read_finally(
        &self,
        process: u64,
        cart: &str,
        node: NodeNumber,
        local: bool,
    ) -> Result<(), String> {
        let name = Some(node.to_string());
        let asked =
            Asked { node: name, strict: !local, final_read: true, local, ..Asked::by(process) };
        let manner = Manner { strict: !local, ..self.manner(Some(node)) };
        let value = |items| CartValue::Read { cart: cart.to_owned(), items };
        let mut last = String::new();
        for _ in 0..FINAL_TRIES {
            let action = if local { Action::ReadLocal } else { Action::Read };
            self.recorder.invoke(self.ground.now(), &asked, value(None));
            let shown = self.plan.workload.show(self.ground, cart, action, manner).await;
            let now = self.ground.now();
            match shown {
                Ok(shown) => {
                    let asked = Asked { digest: shown.copy.map(|copy| copy.digest), ..asked };
                    self.recorder.ok(now, &asked, value(Some(shown.items)));
                    return Ok(());
                }
                Err(error) => {
                    self.recorder.failed(now, &asked, value(None), &error.message, true);
                    last = error.message;
                }
            }
            self.ground.sleep_until(now + LOOK_EVERY).await;
        }
        Err(last)
    }

    async fn owners(&self, cart: &str) -> Result<Vec<NodeNumber>, String> {
        let owners = self.ground.owners(self.plan.workload.bucket(), cart).await;
        owners.map_err(|error| format!("its owners are not known: {error:#}"))
    }

    fn manner(&self, node: Option<NodeNumber>) -> Manner {
        Manner { node, only: true, strict: false, r: None, w: None, timeout: self.plan.timeout }
    }
}

fn not_quiet(complaints: &[(String, String)], within: Duration) -> Vec<String> {
    let seconds = within.as_secs();
    let mut missing = vec![format!("{} carts not quiet within {seconds} s", complaints.len())];
    let named = complaints.iter().take(MOST_NAMED);
    missing.extend(named.map(|(cart, complaint)| format!("{cart}: {complaint}")));
    missing
}
