//! What goes on after a fault has begun: changes of the members, rolling restarts, runs of reap rounds.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::bail;
use cartwheel_client::members::{Members, NewWish};
use cartwheel_client::reaping::made_before;
use futures::future::join_all;

use super::changes::{Taker, Truth};
use super::turns::{Job, Next, Turns};
use super::{Duty, Place, ProcessGround, STOP_WITHIN};
use crate::fault::{Fault, NodeNumber};

/// The time between two looks at a change that is carried through.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a node may take to say what it knows of the members.
const SAY_WITHIN: Duration = Duration::from_millis(500);
/// How long a wish may take to be staged.
const STAGE_WITHIN: Duration = Duration::from_secs(1);

/// What became of a turn.
enum Turn {
    /// A node has begun.
    Begun,
    /// A node that cannot begin now was passed over.
    Skipped,
    /// The one that has begun is not done, or was not until now.
    Waits,
    /// None is left.
    Over,
}

impl ProcessGround {
    /// Gives the next node of each rolling restart and of each run of reap rounds its turn, when the one before is done.
    pub(super) async fn tend_turns(&self) -> anyhow::Result<()> {
        let ids: Vec<usize> = self.turns().keys().copied().collect();
        for id in ids {
            self.tend_turn(id).await?;
        }
        Ok(())
    }

    /// Has the first of these nodes begin that can. Whether there is one.
    pub(super) async fn begin_turns(
        &self,
        id: usize,
        job: Job,
        nodes: &[NodeNumber],
    ) -> anyhow::Result<bool> {
        self.turns().insert(id, Turns::new(job, nodes));
        loop {
            match self.tend_turn(id).await? {
                Turn::Begun => return Ok(true),
                Turn::Skipped => {}
                Turn::Waits | Turn::Over => return Ok(false),
            }
        }
    }

    async fn tend_turn(&self, id: usize) -> anyhow::Result<Turn> {
        let next = self.turns().get_mut(&id).map(|turns| (turns.job(), turns.next(Instant::now())));
        let Some((job, next)) = next else { return Ok(Turn::Over) };
        match next {
            Next::Nothing => Ok(Turn::Over),
            Next::Ask(node) => {
                if self.is_done(node, job).await
                    && let Some(turns) = self.turns().get_mut(&id)
                {
                    turns.done(node);
                }
                Ok(Turn::Waits)
            }
            Next::Begin(node) => {
                let begun = match job {
                    Job::Restart => self.restart(node).await?,
                    Job::Reap { older_than } => self.reap(node, older_than).await,
                };
                if !begun {
                    return Ok(Turn::Skipped);
                }
                if let Some(turns) = self.turns().get_mut(&id) {
                    turns.begun(node, Instant::now());
                }
                Ok(Turn::Begun)
            }
        }
    }

    /// Whether a node whose turn it was is done with it.
    async fn is_done(&self, node: NodeNumber, job: Job) -> bool {
        let address = self.places.lock().await.get(&node).map(|place| place.address);
        let Some(address) = address else { return true };
        match job {
            Job::Restart => self.answers(node, address).await.is_ok(),
            // A run ends with its process.
            Job::Reap { .. } if !self.runs(node).await => true,
            Job::Reap { .. } => {
                let Ok(client) = self.connection.client().await else { return false };
                let seen = client.reaping_at(&address.to_string(), SAY_WITHIN).await.ok();
                let over = seen.filter(|seen| seen.permille.is_none());
                let rounds = over.as_ref().map_or(0, |seen| seen.rounds);
                self.reap_rounds.fetch_add(rounds, Ordering::Relaxed);
                over.is_some()
            }
        }
    }

    /// Whether the process at a place runs and is not paused.
    async fn runs(&self, node: NodeNumber) -> bool {
        self.running().await.iter().any(|(taker, _)| taker.place == node)
    }

    /// Has a node begin a run of reap rounds. Nothing is asked of one that is down or paused.
    async fn reap(&self, node: NodeNumber, older_than: Duration) -> bool {
        let running = self.running().await;
        let Some((_, address)) = running.iter().find(|(taker, _)| taker.place == node) else {
            return false;
        };
        let Ok(client) = self.connection.client().await else { return false };
        let up_to = made_before(SystemTime::now(), older_than);
        matches!(client.reap_at(address, Some(up_to), SAY_WITHIN).await, Ok(Ok(())))
    }

    /// Ends a node in order and starts it again. Nothing is done to one that is down or paused.
    async fn restart(&self, node: NodeNumber) -> anyhow::Result<bool> {
        let mut places = self.places.lock().await;
        let Some(place) = places.get_mut(&node).filter(|place| place.is_in_use()) else {
            return Ok(false);
        };
        if !place.process.is_up() || place.process.is_paused() {
            return Ok(false);
        }
        if place.damaged {
            return Ok(false);
        }
        if let Some(mishap) = place.process.stop(STOP_WITHIN).await? {
            self.note(mishap);
        }
        place.process.start()?;
        Ok(true)
    }

    /// Learns who is a member, stages what is wished for, and ends the nodes that have drained.
    pub(super) async fn tend_members(&self) -> anyhow::Result<()> {
        let opinions = self.opinions().await;
        let Some(truth) = Truth::newest(&opinions) else { return Ok(()) };
        self.roster.set_members(|node| truth.lists(node));
        let running = self.running().await;
        let runs = |taker: Taker| running.iter().any(|(known, _)| *known == taker);
        let wishes = self.changes().look(truth, Instant::now(), runs);
        for wish in wishes {
            let (id, said) = (wish.id, self.stage(wish, &running).await?);
            self.changes().said(id, said);
        }
        self.end_drained(truth).await
    }

    /// Stages a wish through the first node that takes it: which that is, or what was said against it.
    async fn stage(
        &self,
        wish: NewWish,
        running: &[(Taker, String)],
    ) -> anyhow::Result<Result<Taker, String>> {
        let client = self.connection.client().await?;
        let mut said = Err("no node runs".to_owned());
        for (taker, address) in running {
            said = match client.stage_at(address, vec![wish.clone()], false, STAGE_WITHIN).await {
                Ok(Ok(_)) => return Ok(Ok(*taker)),
                // The others would say the same.
                Ok(Err(why)) if !why.is_of_node() => return Ok(Err(why.to_string())),
                Ok(Err(why)) => Err(why.to_string()),
                Err(error) => Err(error.to_string()),
            };
        }
        Ok(said)
    }

    /// The runs of all nodes that can answer, with their addresses.
    async fn running(&self) -> Vec<(Taker, String)> {
        let places = self.places.lock().await;
        let run = |place: &Place| {
            let is_well = place.is_in_use() && !place.process.is_paused();
            let pid = place.process.pid().filter(|_| is_well)?;
            Some((Taker { place: place.number, pid }, place.address.to_string()))
        };
        places.values().filter_map(run).collect()
    }

    async fn end_drained(&self, truth: Truth<'_>) -> anyhow::Result<()> {
        let mut places = self.places.lock().await;
        for place in places.values_mut().filter(|place| place.duty == Duty::Drains) {
            let node = self.roster.node(place.number);
            // One that was removed while it was down drains only when it is back.
            let is_awaited = node.is_some_and(|node| truth.lists(node) || truth.drains(node));
            if is_awaited || !truth.is_single() {
                continue;
            }
            if let Some(mishap) = place.process.stop(STOP_WITHIN).await? {
                self.note(mishap);
            }
            place.duty = Duty::Over;
            self.roster.move_out(place.number);
        }
        Ok(())
    }

    /// What every node that runs says of the members.
    async fn opinions(&self) -> Vec<Members> {
        let running = self.running().await;
        let Ok(client) = self.connection.client().await else { return Vec::new() };
        let asking = running.iter().map(|(_, address)| client.members_at(address, SAY_WITHIN));
        join_all(asking).await.into_iter().flatten().collect()
    }

    /// The changes of the members that are not completed, in sentences, and the nodes of which nobody knows yet what a
    /// damaged store made of them.
    pub async fn moving(&self) -> Vec<String> {
        let mut moves = self.changes().waits_for();
        let places = self.places.lock().await;
        let drains = places.values().filter(|place| place.duty == Duty::Drains);
        moves.extend(drains.map(|place| format!("{} has not drained", place.number)));
        let damaged = places.values().filter(|place| place.damaged && place.is_in_use());
        moves.extend(damaged.map(|place| format!("{} has a damaged store", place.number)));
        moves
    }

    /// Begins a change of the members and looks after it until it is completed.
    ///
    /// # Errors
    /// It changes nothing, the cluster could not be looked after, or it is not completed within that time.
    pub async fn carry_through(
        &self,
        id: usize,
        fault: &Fault,
        within: Duration,
    ) -> anyhow::Result<()> {
        if !self.begin_fault(id, fault).await? {
            bail!("{fault:?} changed nothing");
        }
        let deadline = Instant::now() + within;
        loop {
            self.tend_members().await?;
            let moves = self.moving().await;
            if moves.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{fault:?}: not within {} s: {}", within.as_secs(), moves.join("; "));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What keeps the members from being at rest, after a wait.
    pub(super) async fn what_moves(
        &self,
        within: Duration,
        tell: &mut dyn FnMut(&[String]),
    ) -> Vec<String> {
        let moves = self.moving().await;
        if !moves.is_empty() {
            return moves;
        }
        let quiet = async {
            let client = self.connection.client().await.map_err(|error| vec![error.to_string()])?;
            client.quiet(within, tell).await.map_err(|not_quiet| not_quiet.waits_for)?;
            // Everybody who asks for owners from here on is to know the layout.
            client.refresh().await.map_err(|error| vec![error.to_string()])
        };
        quiet.await.map_or_else(|waits| waits, |_| Vec::new())
    }
}
