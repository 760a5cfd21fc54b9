//! `cartwheel reap`: has one node after the other carry through its reap rounds, and says what they freed.

use std::time::{Duration, Instant, SystemTime};

use cartwheel_client::{
    Client, Error,
    members::{Members, RowSeen},
    reaping::{Freed, ReapEnd, ReapSeen, made_before},
};
use serde_json::{Value, json};

use crate::{
    connect::{LONGEST_WAIT_S, Target, block_on, failure},
    exit::{Exit, Failure},
    member::find,
    output,
};

/// The pause between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The pause between two lines that say how far it is.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Arguments of `cartwheel reap`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cartwheel reap                              (all nodes in turn; cancelled additions older than a day)
  cartwheel reap --older-than 3600 --at n2    (of what n2 is the first owner, older than an hour)
  cartwheel reap --show                       (how far every node is, and what was freed since it started)

A deleted register, a cancelled addition and the clock entries of ended runs of nodes are kept until a reap round has made
certain that what they hide is nowhere: on no disk, in no message, in nobody's memory. For that every member must answer, and every
node that was removed and is not drained yet: one that is away may hold an old copy, and would bring back what was removed. So
a run ends where a node is away. Bring it back, or take it out: `member remove`, and `member forget` for one that drains.

An addition whose id is older than what was reaped is refused from then on: let --older-than be longer than any client may hold on to
an addition that it retries. `serve --reap-every-s` does the same on a schedule.

Exit codes: 0 every node has come through, 1 one has not, 2 it took too long.")]
pub(crate) struct ReapArgs {
    /// How old cancelled additions must be, in seconds
    #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
    older_than: u64,
    /// Only at this node, by name or id; may be repeated
    #[arg(long, value_name = "NODE")]
    at: Vec<String>,
    /// Begin nothing: say how far every node is
    #[arg(long)]
    show: bool,
    /// How long to wait until all is done, in seconds
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(..=LONGEST_WAIT_S))]
    wait: u64,
    #[command(flatten)]
    target: Target,
}

/// Runs `cartwheel reap`.
pub(crate) fn run(args: &ReapArgs) -> Result<Exit, Failure> {
    block_on(async {
        let client = args.target.connect().await?;
        let members = client.members(args.target.within()).await.map_err(failure)?;
        let rows = rows(&members, &args.at)?;
        let reaper = Reaper { client, members: &members, args };
        let before = reaper.look(members.rows.iter().filter(|row| row.is_member())).await;
        if args.show {
            return reaper.show(&before);
        }
        for (row, seen) in &before {
            if seen.as_ref().is_some_and(|seen| seen.permille.is_some()) {
                let name = &row.name;
                let why =
                    format!("{name} reaps already; `cartwheel reap --show` says how far it is");
                return Err(Failure::new(Exit::Failed, why));
            }
        }
        let deadline = Instant::now() + Duration::from_secs(args.wait);
        let mut runs = Vec::new();
        for row in rows {
            let seen = reaper.carry_through(row, deadline).await?;
            let is_done = seen.end == Some(ReapEnd::Done);
            runs.push((row, seen));
            if !is_done {
                break;
            }
        }
        let after = reaper.look(before.iter().map(|(row, _)| *row)).await;
        reaper.told(&runs, freed(&after).since(freed(&before)))
    })
}

/// The members that are to reap.
fn rows<'a>(members: &'a Members, at: &[String]) -> Result<Vec<&'a RowSeen>, Failure> {
    if at.is_empty() {
        return Ok(members.rows.iter().filter(|row| row.is_member()).collect());
    }
    at.iter().map(|node| find(members, node)).collect()
}

/// A node and what it says; nothing where it says nothing.
type Look<'a> = (&'a RowSeen, Option<ReapSeen>);

fn freed(looks: &[Look<'_>]) -> Freed {
    let seen = looks.iter().filter_map(|(_, seen)| seen.as_ref());
    seen.fold(Freed::default(), |sum, seen| sum.and(seen.freed))
}

struct Reaper<'a> {
    client: Client,
    members: &'a Members,
    args: &'a ReapArgs,
}

impl Reaper<'_> {
    async fn look<'b>(&self, rows: impl Iterator<Item = &'b RowSeen>) -> Vec<Look<'b>> {
        let mut looks = Vec::new();
        for row in rows {
            let seen = self.client.reaping_at(&row.address, self.args.target.within()).await;
            looks.push((row, seen.ok()));
        }
        looks
    }

    /// Has one node carry through all its rounds.
    async fn carry_through(&self, row: &RowSeen, deadline: Instant) -> Result<ReapSeen, Failure> {
        let (within, name) = (self.args.target.within(), &row.name);
        let older_than = Duration::from_secs(self.args.older_than);
        let up_to = made_before(SystemTime::now(), older_than);
        // The nodes before it may have had nothing to reap, and so have asked nobody whether all are there.
        let away = ReapSeen { end: Some(ReapEnd::Away(row.node)), ..ReapSeen::default() };
        match self.client.reap_at(&row.address, Some(up_to), within).await {
            Err(Error::Unreachable(_)) => return Ok(away),
            begun => begun.map_err(failure)?.map_err(|why| {
                Failure::new(Exit::Failed, format!("{name} did not begin to reap: {why}"))
            })?,
        }
        let mut said = Instant::now();
        let mut silent_since = None;
        loop {
            let seen = match self.client.reaping_at(&row.address, within).await {
                // One answer that is late says nothing yet.
                Err(Error::Unreachable(_)) => {
                    if silent_since.get_or_insert_with(Instant::now).elapsed() >= within {
                        return Ok(away);
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
                seen => seen.map_err(failure)?,
            };
            silent_since = None;
            let Some(permille) = seen.permille else {
                self.say(|| format!("{name}: {}", self.summary(&seen)));
                return Ok(seen);
            };
            if Instant::now() >= deadline {
                let why = format!(
                    "{name} has not come through within {} s; it goes on: `cartwheel reap --show`",
                    self.args.wait
                );
                return Err(Failure::new(Exit::Unknown, why));
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                self.say(|| format!("{name}: {} % of the partitions", permille / 10));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn say(&self, line: impl Fn() -> String) {
        if !self.args.target.json {
            output::line(line());
        }
    }

    fn summary(&self, seen: &ReapSeen) -> String {
        let ReapSeen { rounds, given_up, .. } = seen;
        let end = seen.end.map_or("not begun".to_owned(), |end| self.end_text(end));
        format!("{end}; {rounds} rounds, {given_up} pages given up")
    }

    fn end_text(&self, end: ReapEnd) -> String {
        let ReapEnd::Away(node) = end else { return end.to_string() };
        let row = self.members.rows.iter().find(|row| row.node == node);
        row.map_or_else(|| end.to_string(), |row| format!("{} is away", row.name))
    }

    /// How every node is.
    fn show(&self, looks: &[Look<'_>]) -> Result<Exit, Failure> {
        if self.args.target.json {
            let line = |(row, seen): &Look<'_>| json!({ "node": row.name, "reaping": seen });
            output::json(&looks.iter().map(line).collect::<Vec<_>>())?;
        }
        for (row, seen) in looks {
            self.say(|| match seen {
                None => format!("{}: does not answer", row.name),
                Some(seen) => {
                    let how = seen.permille.map_or_else(
                        || self.summary(seen),
                        |permille| format!("reaps, {} % of the partitions", permille / 10),
                    );
                    format!("{}: {how}; freed {}", row.name, seen.freed)
                }
            });
        }
        let all_answer = looks.iter().all(|(_, seen)| seen.is_some());
        Ok(if all_answer { Exit::Done } else { Exit::Failed })
    }

    /// What became of all.
    fn told(&self, runs: &[(&RowSeen, ReapSeen)], freed: Freed) -> Result<Exit, Failure> {
        let stopped = runs.iter().find(|(_, seen)| seen.end != Some(ReapEnd::Done));
        if self.args.target.json {
            let run = |(row, seen): &(&RowSeen, ReapSeen)| -> Value {
                let end = seen.end.map(|end| self.end_text(end));
                json!({ "node": row.name, "end": end, "rounds": seen.rounds, "given_up": seen.given_up })
            };
            let runs: Vec<Value> = runs.iter().map(run).collect();
            output::json(&json!({ "runs": runs, "freed": freed }))?;
        } else {
            output::line(format!("freed on all nodes: {freed}"));
            if runs.iter().any(|(_, seen)| seen.given_up > 0) {
                output::line(
                    "pages are given up where owners differ or somebody writes: try again after `cartwheel quiet`",
                );
            }
        }
        match stopped {
            None => Ok(Exit::Done),
            Some((row, seen)) => {
                let end = seen.end.map_or("not begun".to_owned(), |end| self.end_text(end));
                let why =
                    format!("stopped at {}: {end} (`cartwheel reap --help` says why)", row.name);
                Err(Failure::new(Exit::Failed, why))
            }
        }
    }
}
