//! One campaign from its flags to its exit code.
//!
//! The seed is printed first. The history is on the disk before anything is judged. Whatever
//! happens (ctrl-c, a node that does not come back, a failure of our own), the nodes are stopped and
//! what is known is written.

mod args;
mod drive;
mod finale;
mod gate;
mod results;
mod stop;
mod store;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use cartwheel_checker::{Verdict, cart, writable};

pub use args::{BadArguments, CampaignArgs, Nemesis};
pub use drive::{Driven, Plan, drive};
pub use finale::Finale;
pub use gate::Gate;
pub use results::Results;
pub use stop::Stop;
pub use store::Folder;

use crate::ground::Ground;
use crate::ground::process::{ClusterSpec, ProcessGround, make_private};
use crate::history::Recorder;
use crate::progress::{Progress, say};
use crate::runtime;

/// Exit code: the arguments cannot be used.
const BAD_ARGUMENTS: u8 = 254;
/// Exit code: we failed, the cluster was not judged.
const CRASHED: u8 = 255;
/// How often progress is shown.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How a campaign ended.
#[derive(Debug)]
pub struct Outcome {
    /// 0 valid, 1 invalid, 2 unknown, 254 bad arguments, 255 crashed.
    pub exit_code: u8,
    /// Why there is no result.
    pub error: Option<String>,
    /// What was found.
    pub results: Option<Results>,
    /// Where everything is.
    pub folder: Option<PathBuf>,
}

/// Runs a campaign on nodes that are processes of `program`, prints progress and verdict, and gives
/// the exit code. It must be called from the main thread, outside any async runtime.
pub fn run(args: &CampaignArgs, program: &Path) -> Outcome {
    let failed = |exit_code, error: String| Outcome {
        exit_code,
        error: Some(error),
        results: None,
        folder: None,
    };
    let seed = args.seed();
    say(&format!("seed {seed}"));
    let plan = match args.plan(seed) {
        Ok(plan) => plan,
        Err(error) => return failed(BAD_ARGUMENTS, error.to_string()),
    };
    if plan.needs_own_disks()
        && let Err(why) = make_private()
    {
        let why = format!("--nemesis: disk-full needs a disk of its own for each node: {why:#}");
        return failed(BAD_ARGUMENTS, why);
    }
    let campaign = || {
        let runtime = runtime::new()?;
        let outcome = runtime.block_on(campaign(args, &plan, program));
        // Nothing of ours is left that would have to end.
        runtime.shutdown_background();
        outcome
    };
    match catch_unwind(AssertUnwindSafe(campaign)) {
        Ok(Ok((results, folder))) => Outcome {
            exit_code: results.check.valid.exit_code(),
            error: None,
            results: Some(results),
            folder: Some(folder),
        },
        Ok(Err(error)) => failed(CRASHED, format!("{error:#}")),
        Err(_) => failed(CRASHED, "the campaign panicked (see above)".to_owned()),
    }
}

async fn campaign(
    args: &CampaignArgs,
    plan: &Plan,
    program: &Path,
) -> anyhow::Result<(Results, PathBuf)> {
    let stop = Stop::default();
    let interrupts = tokio::spawn(runtime::request_on_interrupt(stop.clone()));
    let folder = Folder::create(&args.store, args.name())?;
    folder.write_json("schedule.json", &plan.schedule)?;
    let spec = ClusterSpec {
        program: program.to_owned(),
        nodes: usize::from(args.nodes),
        data: folder.join("data"),
        logs: folder.join("nodes"),
        first_port: None,
        first_http_port: None,
        options: args.options_on_disks(plan.needs_own_disks()),
        own_disks: plan.needs_own_disks(),
    };
    say(&format!(
        "{} nodes, {} faults, {} for {} s, in {}",
        spec.nodes,
        plan.schedule.faults.len(),
        plan.workload,
        args.time_limit,
        folder.path().display()
    ));
    let history = folder.join("history.jsonl");
    let recorder = Recorder::create(&history).with_context(|| history.display().to_string())?;
    let driven =
        match stop.unless(ProcessGround::start_in_zones(&spec, args.zones.into(), true)).await {
            None => {
                let finale =
                    Finale::unknown(vec!["interrupted before the nodes answered".to_owned()]);
                (Driven::nothing(finale), Vec::new())
            }
            Some(ground) => {
                let ground = ground?;
                let driven = with_progress(&ground, plan, &recorder, &stop).await;
                ground.stop().await;
                let kept = ground.keep_disks().await;
                let mut mishaps = ground.mishaps();
                mishaps.extend(kept.err().map(|error| format!("a disk was not kept: {error:#}")));
                (driven, mishaps)
            }
        };
    recorder.finish().with_context(|| history.display().to_string())?;
    interrupts.abort();
    let results = judge(args, plan, &folder, driven)?;
    if results.check.valid == Verdict::Valid && !args.keep_data {
        std::fs::remove_dir_all(&spec.data).context("the nodes' stores cannot be removed")?;
    }
    say(&results.table());
    say(&format!("  everything is in {}", folder.path().display()));
    Ok((results, folder.path().to_owned()))
}

/// Drives the cluster, and shows how far it has come.
async fn with_progress(
    ground: &ProcessGround,
    plan: &Plan,
    recorder: &Recorder,
    stop: &Stop,
) -> Driven {
    let mut progress = Progress::new(plan.time_limit);
    let began = ground.now();
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let gate = Gate::default();
    let driven = drive(ground, plan, recorder, stop, &gate, epoch.saturating_sub(began));
    tokio::pin!(driven);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut ending = false;
    let driven = loop {
        tokio::select! {
            driven = &mut driven => break driven,
            _ = looks.tick() => {
                let passed = ground.now().saturating_sub(began + gate.stood_still());
                if passed < plan.time_limit && !stop.is_requested() {
                    let tally = recorder.tally();
                    progress.at(passed, || format!(
                        "{} additions acknowledged, {} unknown outcomes, {} faults",
                        tally.acknowledged, tally.unknown, tally.faults,
                    ));
                } else if !ending {
                    ending = true;
                    progress.part("healing, waiting for quiet, reading everything");
                }
            }
        }
    };
    progress.finish();
    driven
}

/// Checks the history on the disk and writes what was found.
fn judge(
    args: &CampaignArgs,
    plan: &Plan,
    folder: &Folder,
    (driven, mishaps): (Driven, Vec<String>),
) -> anyhow::Result<Results> {
    let history = folder.join("history.jsonl");
    let check = cart::check_file(&history);
    let always_writable = plan.may_miss().map(|may_miss| writable::check_file(&history, may_miss));
    // The file that was given may be another by then (through store/latest): name our copy of it.
    let schedule = args.schedule.as_ref().map(|_| folder.join("schedule.json"));
    let command = CampaignArgs { schedule, ..args.clone() }.command(plan.seed);
    let results = Results::new(
        check,
        always_writable.transpose()?,
        plan,
        driven,
        mishaps,
        args.mutant(),
        command,
    );
    folder.write_json("results.json", &results)?;
    folder.write_edn()?;
    Ok(results)
}

#[cfg(test)]
mod tests;
