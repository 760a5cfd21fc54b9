//! What operators do through the client: look at the members, stage wishes, follow them, wait until all is quiet.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cartwheel_protocol::id::NodeId;
use tokio::time::sleep;

use crate::{
    client::Client,
    connection::Connection,
    error::Error,
    members::{Fate, Members, NewWish, Outlook, RowSeen, ShardSeen, StageError, Standing},
    peers::Closed,
};

/// So long one node is waited for while there are others to ask.
const ONE_NODE: Duration = Duration::from_secs(5);
/// The pause between two looks at the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So many passes over what a shard holds for others must end after everything else is quiet, the last without
/// a hint: the first of them may have begun before.
const QUIET_PASSES: u64 = 2;

/// What one node of the cluster says of it.
#[derive(Clone, Debug)]
pub struct Look {
    /// The node, as the others know it.
    pub row: RowSeen,
    /// What it says; or why it says nothing.
    pub says: Result<Members, String>,
}

/// What is waited for until the cluster is quiet, in sentences.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not quiet within {within:?}: {}", waits_for.join("; "))]
pub struct NotQuiet {
    /// How long was waited.
    pub within: Duration,
    /// What for.
    pub waits_for: Vec<String>,
}

impl Client {
    /// How the cluster is, as the first node that answers knows it. A node that was removed or knows nothing yet
    /// is asked last.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none answers.
    pub async fn members(&self, within: Duration) -> Result<Members, Error> {
        let deadline = Instant::now() + within;
        let mut second = Err(Error::Unreachable("no node is known".into()));
        for address in self.addresses() {
            match self.members_at(&address, left(deadline).min(ONE_NODE)).await {
                Ok(members) if is_in(members.standing) => return Ok(members),
                Ok(members) => second = Ok(members),
                Err(error) => second = second.or(Err(error)),
            }
        }
        second
    }

    /// How the cluster is, as the node at this address knows it.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn members_at(&self, address: &str, within: Duration) -> Result<Members, Error> {
        self.asked_at(address, within, async |connection| connection.members(within).await).await
    }

    /// What the node at this address says.
    pub(crate) async fn asked_at<T>(
        &self,
        address: &str,
        within: Duration,
        ask: impl AsyncFnOnce(&Connection) -> Result<T, Closed>,
    ) -> Result<T, Error> {
        let asking = async {
            let connection = self.routes().connection(address).await?;
            ask(&connection).await.map_err(|closed| closed.to_string())
        };
        let said = tokio::time::timeout(within, asking).await;
        let said = said.unwrap_or_else(|_| {
            let why = format!("no answer within {within:?}");
            self.routes().doubt(address, &why);
            Err(why)
        });
        said.map_err(|why| Error::Unreachable(format!("{address}: {why}")))
    }

    /// Asks every node that the layouts list, and those that drain, how it is.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no node tells who there is.
    pub async fn look(&self, within: Duration) -> Result<Vec<Look>, Error> {
        let deadline = Instant::now() + within;
        let members = self.members(within).await?;
        let draining = members.view.map(|view| view.draining).unwrap_or_default();
        let is_listed = |row: &RowSeen| row.is_member() || draining.contains(&row.node);
        let rows: Vec<RowSeen> = members.rows.into_iter().filter(is_listed).collect();
        let asking = rows.into_iter().map(|row| async {
            let says = self.members_at(&row.address, left(deadline)).await;
            let says = says.map_err(|error| error.to_string());
            let says = says.and_then(|members| {
                let answers = NodeId(members.node);
                let is_it = members.node == row.node;
                if is_it { Ok(members) } else { Err(format!("{answers} answers there")) }
            });
            Look { row, says }
        });
        Ok(futures::future::join_all(asking).await)
    }

    /// Stages wishes through the first node that takes them: all or none. Tells what they do to the layout,
    /// together with those that wait already. With `only_plan` nothing is staged.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no node answers: then they may be staged. Inside, why they were refused.
    pub async fn stage(
        &self,
        wishes: Vec<NewWish>,
        only_plan: bool,
        within: Duration,
    ) -> Result<Result<Outlook, StageError>, Error> {
        let deadline = Instant::now() + within;
        let mut last = Err(Error::Unreachable("no node is known".into()));
        for address in self.addresses() {
            let within = left(deadline).min(ONE_NODE);
            match self.stage_at(&address, wishes.clone(), only_plan, within).await {
                Ok(Err(why)) if why.is_of_node() => last = Ok(Err(why)),
                Ok(said) => return Ok(said),
                Err(error) => last = last.or(Err(error)),
            }
        }
        last
    }

    /// The same through the node at this address.
    ///
    /// # Errors
    /// As [`Client::stage`].
    pub async fn stage_at(
        &self,
        address: &str,
        wishes: Vec<NewWish>,
        only_plan: bool,
        within: Duration,
    ) -> Result<Result<Outlook, StageError>, Error> {
        let stage =
            async |connection: &Connection| connection.stage(wishes, only_plan, within).await;
        self.asked_at(address, within, stage).await
    }

    /// Waits until the cluster is quiet: one layout everywhere, nothing staged, nobody draining, catching up or reaping, no
    /// request under way, no step that is not on disk, no hint owed, no damaged record to mend, and no tree differs: since
    /// it last wrote, each shard has found every other owner's tree equal (where anti-entropy is on). `tell` is given what is waited for whenever that changes.
    ///
    /// # Errors
    /// [`NotQuiet`] when the time is over.
    pub async fn quiet(
        &self,
        within: Duration,
        mut tell: impl FnMut(&[String]),
    ) -> Result<(), NotQuiet> {
        let deadline = Instant::now() + within;
        let mut passes = BTreeMap::new();
        let mut told = Vec::new();
        loop {
            let waits_for = match self.look(left(deadline).min(Duration::from_secs(5))).await {
                Ok(looks) => waits_for(&looks, &mut passes),
                Err(error) => vec![error.to_string()],
            };
            if waits_for.is_empty() {
                return Ok(());
            }
            if waits_for != told {
                tell(&waits_for);
                told = waits_for;
            }
            sleep(LOOK_EVERY.min(left(deadline))).await;
            if left(deadline).is_zero() {
                // No look without time to answer: it would only say that nobody did.
                return Err(NotQuiet { within, waits_for: told });
            }
        }
    }
}

impl Members {
    /// A node's name, or its id where nobody knows of it.
    pub fn name_of(&self, node: u64) -> String {
        let row = self.rows.iter().find(|row| row.node == node);
        row.map_or_else(|| NodeId(node).to_string(), |row| row.name.clone())
    }

    /// The node of that name or id: among the members first.
    pub fn node(&self, text: &str) -> Option<&RowSeen> {
        let named = |row: &&RowSeen| row.name == text && row.status != "removed";
        let by_name = self.rows.iter().filter(named).find(|row| row.is_member());
        by_name.or_else(|| self.rows.iter().find(named)).or_else(|| {
            let id = crate::values::parse_node_id(text)?;
            self.rows.iter().find(|row| row.node == id.0)
        })
    }
}

fn is_in(standing: Standing) -> bool {
    matches!(standing, Standing::Member | Standing::Draining)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// What is waited for. `passes` remembers, for each shard, how many passes it had ended when everything else was
/// quiet for the first time.
fn waits_for(looks: &[Look], passes: &mut BTreeMap<(u64, usize), u64>) -> Vec<String> {
    let mut waits = Vec::new();
    let mut views: Vec<&str> = Vec::new();
    for Look { row, says } in looks {
        let name = &row.name;
        let members = match says {
            Ok(members) => members,
            Err(why) => {
                waits.push(format!("{name} does not answer ({why})"));
                continue;
            }
        };
        let Some(view) = &members.view else {
            waits.push(format!("{name} has no view"));
            continue;
        };
        views.push(&view.id);
        if let Some(next) = view.next {
            let must = members.rows.iter().filter(|row| row.must_catch_up).count();
            let has = members.rows.iter().filter(|row| row.has_caught_up).count();
            waits.push(format!("change to layout {next}: {has} of {must} nodes have caught up"));
        }
        for node in &view.draining {
            waits.push(format!("{} drains", members.name_of(*node)));
        }
        for wish in members.staged.iter().filter(|wish| wish.fate != Fate::Done) {
            waits.push(format!("staged: {} ({})", wish.text, wish.why));
        }
        let own = members.rows.iter().find(|row| row.node == members.node);
        if own.is_some_and(|own| own.view.as_ref() != Some(&view.id)) {
            waits.push(format!("a shard of {name} does not go by {} yet", view.id));
        }
        if members.reaps {
            waits.push(format!("{name} carries through its reap rounds"));
        }
        waits.extend(busy(name, &members.shards));
    }
    views.sort_unstable();
    views.dedup();
    if views.len() > 1 {
        waits.push(format!("nodes go by {}", views.join(" and ")));
    }
    waits.sort_unstable();
    waits.dedup();
    if !waits.is_empty() {
        passes.clear();
        return waits;
    }
    waits = hints(looks, passes);
    waits.extend(trees(looks));
    waits
}

/// What the shards of a node are busy with. What a peer sent is in flight until it is on disk and acknowledged.
fn busy(name: &str, shards: &[ShardSeen]) -> Vec<String> {
    let sum = |of: fn(&ShardSeen) -> u64| shards.iter().map(of).sum::<u64>();
    let counts = [
        (sum(|shard| shard.pending), "has", "requests under way"),
        (sum(|shard| shard.unsynced), "has", "steps that are not on disk"),
        (sum(|shard| shard.catching_up), "catches up with", "partitions"),
        (sum(|shard| shard.unmended), "has", "damaged records to mend"),
    ];
    let counts = counts.into_iter().filter(|(count, ..)| *count > 0);
    let mut waits: Vec<_> =
        counts.map(|(count, has, what)| format!("{name} {has} {count} {what}")).collect();
    if shards.iter().any(|shard| shard.looks_for_damage) {
        waits.push(format!("{name} looks for damaged records"));
    }
    waits
}

/// The nodes whose trees are not known to be the same as those of all other owners.
fn trees(looks: &[Look]) -> Vec<String> {
    let mut waits = Vec::new();
    for Look { row, says } in looks {
        let Ok(members) = says else { continue };
        let sum = |of: fn(&ShardSeen) -> u64| members.shards.iter().map(of).sum::<u64>();
        let (left, equal) = (sum(|shard| shard.trees_left), sum(|shard| shard.equal));
        let exchanges = sum(|shard| shard.exchanges);
        if left > 0 {
            waits.push(format!("{} builds the trees of {left} partitions", row.name));
        } else if equal < exchanges {
            waits.push(format!("{} compares trees: {equal} of {exchanges} are equal", row.name));
        }
    }
    waits
}

/// The shards that may hold something for others.
fn hints(looks: &[Look], passes: &mut BTreeMap<(u64, usize), u64>) -> Vec<String> {
    let mut waits = Vec::new();
    for Look { row, says } in looks {
        let Ok(members) = says else { continue };
        let mut looks_through = false;
        let mut hints = 0;
        for (at, shard) in members.shards.iter().enumerate() {
            let begun = passes.entry((row.node, at)).or_insert(shard.passes);
            *begun = shard.passes.min(*begun);
            hints += shard.handed_over;
            looks_through |= shard.passes - *begun < QUIET_PASSES;
        }
        if hints > 0 {
            waits.push(format!("{} holds {hints} hints for others", row.name));
        } else if looks_through {
            waits.push(format!("{} looks through what it holds", row.name));
        }
    }
    waits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::ViewSeen;

    fn quiet(node: u64) -> Look {
        let view = ViewSeen { id: "v3".into(), layout: 3, ..ViewSeen::default() };
        let row = RowSeen {
            node,
            name: format!("n{node}"),
            zone: Some("z1".into()),
            view: Some("v3".into()),
            ..RowSeen::default()
        };
        let says = Members {
            node,
            standing: Standing::Member,
            view: Some(view),
            rows: vec![row.clone()],
            shards: vec![ShardSeen { passes: 7, ..ShardSeen::default() }; 2],
            ..Members::default()
        };
        Look { row, says: Ok(says) }
    }

    fn said(look: &mut Look) -> &mut Members {
        look.says.as_mut().expect("it answers")
    }

    #[test]
    fn a_cluster_is_quiet_after_two_passes_without_a_hint() {
        let mut passes = BTreeMap::new();
        let mut looks = [quiet(1), quiet(2)];
        let looks_through = ["n1 looks through what it holds", "n2 looks through what it holds"];
        assert_eq!(waits_for(&looks, &mut passes), looks_through);
        for look in &mut looks {
            said(look).shards.iter_mut().for_each(|shard| shard.passes += QUIET_PASSES);
        }
        said(&mut looks[1]).shards[1].handed_over = 4;
        assert_eq!(waits_for(&looks, &mut passes), ["n2 holds 4 hints for others"]);
        said(&mut looks[1]).shards[1].handed_over = 0;
        assert_eq!(waits_for(&looks, &mut passes), Vec::<String>::new());
    }

    #[test]
    fn a_cluster_is_not_quiet_while_trees_may_differ() {
        let mut passes = BTreeMap::from([((1, 0), 0), ((1, 1), 0)]);
        let mut looks = [quiet(1)];
        let with = |trees_left, equal| ShardSeen {
            passes: 7,
            trees_left,
            exchanges: 6,
            equal,
            ..ShardSeen::default()
        };
        said(&mut looks[0]).shards = vec![with(2, 0), with(1, 6)];
        let builds = ["n1 builds the trees of 3 partitions"];
        assert_eq!(waits_for(&looks, &mut passes), builds);
        said(&mut looks[0]).shards = vec![with(0, 5), with(0, 6)];
        assert_eq!(waits_for(&looks, &mut passes), ["n1 compares trees: 11 of 12 are equal"]);
        said(&mut looks[0]).shards = vec![with(0, 6), with(0, 6)];
        assert_eq!(waits_for(&looks, &mut passes), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_is_not_quiet_is_named_and_begins_the_passes_again() {
        type Break = fn(&mut Look);
        let cases: [(Break, &str); 11] = [
            (|look| look.says = Err("gone".into()), "n1 does not answer (gone)"),
            (|look| said(look).view = None, "n1 has no view"),
            (|look| said(look).shards[0].pending = 2, "n1 has 2 requests under way"),
            (|look| said(look).shards[1].unsynced = 5, "n1 has 5 steps that are not on disk"),
            (|look| said(look).shards[1].catching_up = 9, "n1 catches up with 9 partitions"),
            (|look| said(look).shards[0].unmended = 3, "n1 has 3 damaged records to mend"),
            (|look| said(look).shards[1].looks_for_damage = true, "n1 looks for damaged records"),
            (|look| said(look).view.as_mut().expect("a view").draining.push(7), "n7 drains"),
            (
                |look| said(look).view.as_mut().expect("a view").next = Some(4),
                "change to layout 4: 0 of 0 nodes have caught up",
            ),
            (|look| said(look).reaps = true, "n1 carries through its reap rounds"),
            (|look| said(look).rows[0].view = None, "a shard of n1 does not go by v3 yet"),
        ];
        for (spoil, expected) in cases {
            let mut passes = BTreeMap::from([((1, 0), 0), ((1, 1), 0)]);
            assert!(waits_for(&[quiet(1)], &mut passes).is_empty(), "it is quiet before");
            let mut look = quiet(1);
            spoil(&mut look);
            assert_eq!(waits_for(&[look], &mut passes), [expected]);
            assert!(passes.is_empty());
        }
        let mut other = quiet(2);
        said(&mut other).view.as_mut().expect("a view").id = "v2".into();
        said(&mut other).rows[0].view = Some("v2".into());
        let waits = waits_for(&[quiet(1), other], &mut BTreeMap::new());
        assert_eq!(waits, ["nodes go by v2 and v3"]);
    }
}
