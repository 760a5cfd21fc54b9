//! The command line of the model: `list`, `check`, `replay`, `explore`. The root command and the small binary of
//! this crate call the same [`run`].

use std::{
    io::{self, Write},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use cartwheel_protocol::rules::{HAS_MUTANTS, Mutant};
use clap::{Args as ClapArgs, Subcommand};
use stateright::Model as _;

use crate::{
    decrees::{Cluster, DecreeModel, DecreePlan},
    explore::{Explored, Limits, Report, Verdict, exhaust_model, shortest_in},
    model::WorldModel,
    mutants::Caught,
    place::{Asked, Place},
    replay::{self, Replay},
    report,
    setup::Setting,
    table::{self, Figures},
    world::World,
};

/// What is asked of the model.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub task: Task,
}

/// What the model can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// List the presets and the mutants.
    List,
    /// Explore presets to the end and judge every world.
    Check(Check),
    /// Run a saved trace step by step, one line an effect.
    Replay(ReplayArgs),
    /// Explore a preset in the browser (loopback only).
    Explore(Explore),
}

/// What to run again.
#[derive(ClapArgs, Clone, Debug)]
pub struct ReplayArgs {
    /// A file that `check --save` wrote.
    pub file: PathBuf,
}

/// What to check.
#[derive(ClapArgs, Clone, Debug)]
pub struct Check {
    /// Presets by name; all of them if none is named. With `--mutant`, the one in which it is caught.
    pub presets: Vec<String>,
    /// Break one rule, and expect to be told.
    #[arg(long, value_name = "NAME")]
    pub mutant: Option<String>,
    /// Break every rule in turn, and fill the table of rules with what was found.
    #[arg(long, conflicts_with_all = ["presets", "mutant", "settings", "save"])]
    pub mutants: bool,
    /// Let something happen more or less often than the preset says, such as `crash=2`.
    #[arg(long = "set", value_name = "WHAT=COUNT")]
    pub settings: Vec<String>,
    /// Where to write the trace of what is wrong.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// How many threads explore.
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// Give up after so many unique worlds.
    #[arg(long, default_value_t = 100_000_000, value_name = "COUNT")]
    pub max_states: u64,
    /// Give up when the process uses so much memory.
    #[arg(long, default_value_t = 8_192, value_name = "MIB")]
    pub max_memory_mib: u64,
    /// Give up after so long for each preset.
    #[arg(long, default_value_t = 1_800, value_name = "SECONDS")]
    pub max_time_s: u64,
}

/// What to explore.
#[derive(ClapArgs, Clone, Debug)]
pub struct Explore {
    /// A preset by name.
    pub preset: String,
    /// The port on 127.0.0.1.
    #[arg(long, default_value_t = 3000)]
    pub port: u16,
    /// Break one rule.
    #[arg(long, value_name = "NAME")]
    pub mutant: Option<String>,
}

/// How a command ended, worst last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// All properties hold; with a mutant: it was caught.
    Holds,
    /// Some exploration was cut short, and nothing was found until then.
    Incomplete,
    /// Some property does not hold, or an exploration shows nothing; with a mutant: it was not caught.
    Violated,
    /// What was asked makes no sense; nothing was done.
    BadArguments,
}

impl Outcome {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Holds => 0,
            Self::Violated => 1,
            Self::Incomplete => 2,
            Self::BadArguments => 254,
        }
    }
}

/// Does what is asked and writes what there is to say.
///
/// Errors: only those of `out`.
pub fn run(args: &Args, out: &mut dyn Write) -> io::Result<Outcome> {
    match &args.task {
        Task::List => list(out),
        Task::Check(check) if check.mutants => check_mutants(check, out),
        Task::Check(check) => check_all(check, out),
        Task::Replay(args) => rerun(args, out),
        Task::Explore(explore) => serve(explore, out),
    }
}

fn list(out: &mut dyn Write) -> io::Result<Outcome> {
    writeln!(out, "Presets:")?;
    for place in Place::all() {
        writeln!(out, "  {:20} {}", place.name(), place.why())?;
    }
    writeln!(out, "\nMutants, where each is caught and by which property:")?;
    table::write(None, out)?;
    Ok(Outcome::Holds)
}

/// What is wrong with the arguments, in a sentence.
type Complaint = String;

impl Check {
    fn asked(&self) -> Result<Vec<Asked>, Complaint> {
        let mutant = self.mutant.as_deref().map(mutant_named).transpose()?;
        let settings: Vec<Setting> =
            self.settings.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let places: Vec<Place> = match mutant.and_then(Caught::of) {
            _ if !self.presets.is_empty() => {
                self.presets.iter().map(|name| place_named(name)).collect::<Result<_, _>>()?
            }
            Some(caught) => vec![caught.place()],
            None => Place::all().collect(),
        };
        if let (Some(_), Some(Place::Decrees(preset))) = (&self.save, places.first()) {
            return Err(format!("a trace of `{}` is told, and cannot be saved", preset.name));
        }
        let asked = |place| Asked { place, settings: settings.clone(), mutant };
        let asked: Vec<Asked> = places.into_iter().map(asked).collect();
        match asked.first().map(Asked::rules) {
            Some(Err(no_mutants)) => Err(no_mutants.to_string()),
            Some(Ok(_)) | None => Ok(asked),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            states: self.max_states,
            memory_bytes: self.max_memory_mib << 20,
            time: Duration::from_secs(self.max_time_s),
        }
    }
}

fn place_named(name: &str) -> Result<Place, Complaint> {
    let names = || Place::all().map(Place::name).collect::<Vec<_>>().join(", ");
    Place::named(name).ok_or_else(|| format!("there is no preset `{name}`; there are {}", names()))
}

fn mutant_named(name: &str) -> Result<Mutant, Complaint> {
    let names = || Mutant::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
    Mutant::named(name).ok_or_else(|| format!("there is no mutant `{name}`; there are {}", names()))
}

/// Said where a build with mutants shows how often each rule was asked for.
const UNCOUNTED: &str = "Which rules were asked for is not shown: only builds with mutants count that \
    (--features mutants).";

fn check_all(check: &Check, out: &mut dyn Write) -> io::Result<Outcome> {
    let all = match check.asked() {
        Ok(all) => all,
        Err(complaint) => return refuse(&complaint, out),
    };
    if HAS_MUTANTS {
        writeln!(out, "MUTANT BUILD")?;
    }
    let mut worst = Outcome::Holds;
    let mut counts = Vec::new();
    for asked in &all {
        let covered = report::Coverage::now();
        let (outcome, count) = check_one(check, asked, out)?;
        covered.write(out)?;
        worst = worst.max(outcome);
        counts.push(count);
        out.flush()?;
    }
    if !HAS_MUTANTS {
        writeln!(out, "{UNCOUNTED}")?;
    }
    let total: Duration = counts.iter().map(|count| count.elapsed).sum();
    let verdict = match worst {
        Outcome::Holds if check.mutant.is_some() => "the mutant is caught",
        Outcome::Holds => "all properties hold",
        Outcome::Violated if check.mutant.is_some() => "the mutant is not caught as declared",
        Outcome::Violated => "NOT all properties hold",
        Outcome::Incomplete => "incomplete",
        Outcome::BadArguments => "nothing was done",
    };
    if check.presets.is_empty() && check.mutant.is_none() {
        table::write(None, out)?;
        writeln!(out)?;
    }
    report::counts(&counts, out)?;
    writeln!(out, "\n{} presets, {total:.1?}: {verdict}", all.len())?;
    Ok(worst)
}

/// Runs every row of the table, one after the other, and prints it.
fn check_mutants(check: &Check, out: &mut dyn Write) -> io::Result<Outcome> {
    let begun = Instant::now();
    let mut worst = Outcome::Holds;
    let mut figures = Vec::new();
    for caught in Caught::all() {
        let (place, mutant) = (caught.place(), Some(caught.mutant));
        let asked = Asked { place, settings: Vec::new(), mutant };
        let rules = match asked.rules() {
            Ok(rules) => rules,
            Err(no_mutants) => return refuse(&no_mutants.to_string(), out),
        };
        let row = match place {
            Place::Worlds(preset) => {
                check_mutant(caught, &asked, &WorldModel::new(&preset.plan(), rules), check, out)?
            }
            Place::Decrees(preset) => {
                check_mutant(caught, &asked, &DecreeModel::new(&preset.plan(), rules), check, out)?
            }
        };
        worst = worst.max(row.0);
        figures.push(row.1);
    }
    writeln!(out)?;
    table::write(Some(&figures), out)?;
    let missed = figures.iter().filter(|figures| figures.steps.is_none()).count();
    let (count, elapsed) = (figures.len(), begun.elapsed());
    writeln!(out, "\n{count} rows at {}, {elapsed:.1?}: {missed} not caught", commit())?;
    Ok(worst)
}

/// Runs one row of the table.
fn check_mutant<M: Explored>(
    caught: &Caught,
    asked: &Asked,
    model: &M,
    check: &Check,
    out: &mut dyn Write,
) -> io::Result<(Outcome, Figures)> {
    let report = shortest_in(model, check.limits());
    let outcome = judge(asked, &report);
    let Report { states, elapsed, .. } = &report;
    let found = if outcome == Outcome::Holds { "caught" } else { "NOT CAUGHT" };
    writeln!(
        out,
        "{} in {}: {found}, {states} states, {elapsed:.2?}",
        caught.mutant, caught.preset
    )?;
    out.flush()?;
    Ok((outcome, Figures::of(caught, &report)))
}

fn check_one(
    check: &Check,
    asked: &Asked,
    out: &mut dyn Write,
) -> io::Result<(Outcome, report::Count)> {
    let rules = asked.rules().expect("the arguments were checked");
    report::title(asked, out)?;
    match asked.place {
        Place::Worlds(preset) => {
            let scenario = asked.scenario(preset);
            let plan = scenario.plan();
            let report = look(check, asked, || WorldModel::new(&plan, rules), out);
            report::summary(asked, &report, |trace| trace.story(&World::new(&plan, rules)), out)?;
            if let (Some(file), Verdict::Violated(trace)) = (&check.save, &report.verdict) {
                std::fs::write(file, replay::write(&scenario, rules, trace, &commit()))?;
                writeln!(out, "saved to {}", file.display())?;
            }
            Ok((judge(asked, &report), report::Count::of(asked, &report)))
        }
        Place::Decrees(preset) => {
            let set = |plan: DecreePlan, s: &Setting| plan.may(s.budget, s.count);
            let plan = asked.settings.iter().fold(preset.plan(), set);
            let report = look(check, asked, || DecreeModel::new(&plan, rules), out);
            report::summary(asked, &report, |trace| trace.story(&Cluster::new(&plan, rules)), out)?;
            Ok((judge(asked, &report), report::Count::of(asked, &report)))
        }
    }
}

/// Explores a model to the end, or looks for the nearest state in which a mutant shows.
fn look<M: Explored>(
    check: &Check,
    asked: &Asked,
    model: impl Fn() -> M,
    out: &mut dyn Write,
) -> Report<M::Action> {
    let limits = check.limits();
    if asked.mutant.is_some() {
        return shortest_in(&model(), limits);
    }
    let mut told = Duration::ZERO;
    let mut report =
        exhaust_model(model(), check.threads.max(1), limits, &mut |states, elapsed| {
            if elapsed >= told + report::EVERY {
                told = elapsed;
                report::progress(states, elapsed, out);
            }
        });
    if matches!(report.verdict, Verdict::Violated(_)) {
        // Depth-first traces are long: look for the nearest.
        let nearest = shortest_in(&model(), limits);
        if matches!(nearest.verdict, Verdict::Violated(_)) {
            report.verdict = nearest.verdict;
        }
    }
    report
}

/// The commit that the working folder is at, or this build's version where git cannot tell.
fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let told = asked.ok().filter(|output| output.status.success());
    let id = told.and_then(|output| String::from_utf8(output.stdout).ok());
    id.map_or_else(|| env!("CARGO_PKG_VERSION").into(), |id| id.trim().into())
}

/// What a report means: for a mutant it is good news that the declared property does not hold.
fn judge<A>(asked: &Asked, report: &Report<A>) -> Outcome {
    let vacuous = || !report::missing(asked, report).is_empty();
    match (&report.verdict, asked.mutant) {
        (Verdict::Violated(trace), Some(mutant)) => {
            let declared = Caught::within(mutant, asked.place);
            let as_declared = declared.is_none_or(|caught| caught.property == trace.property);
            if as_declared { Outcome::Holds } else { Outcome::Violated }
        }
        (Verdict::Violated(_), None) | (Verdict::Complete, Some(_)) => Outcome::Violated,
        (Verdict::Incomplete(_), _) => Outcome::Incomplete,
        (Verdict::Complete, None) if vacuous() => Outcome::Violated,
        (Verdict::Complete, None) => Outcome::Holds,
    }
}

fn rerun(args: &ReplayArgs, out: &mut dyn Write) -> io::Result<Outcome> {
    let text = match std::fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(error) => return refuse(&format!("{}: {error}", args.file.display()), out),
    };
    let replay = match Replay::read(&text) {
        Ok(replay) => replay,
        Err(error) => return refuse(&format!("{}: {error}", args.file.display()), out),
    };
    if let Err(no_mutants) = replay.scenario.rules() {
        return refuse(&no_mutants.to_string(), out);
    }
    let mut lines = Vec::new();
    let ended = replay.run(&mut |line| lines.push(line.to_owned()));
    for line in lines.iter().filter(|line| !line.is_empty()) {
        writeln!(out, "{line}")?;
    }
    match ended {
        Ok(world) => {
            writeln!(out, "{world}")?;
            let found = replay.expected.map_or("all properties hold", |property| property.name());
            writeln!(out, "as expected: {found}")?;
            Ok(if replay.expected.is_some() { Outcome::Violated } else { Outcome::Holds })
        }
        Err(error) => refuse(&error.to_string(), out),
    }
}

fn serve(explore: &Explore, out: &mut dyn Write) -> io::Result<Outcome> {
    let asked = place_named(&explore.preset).and_then(|place| {
        let mutant = explore.mutant.as_deref().map(mutant_named).transpose()?;
        Ok(Asked { place, settings: Vec::new(), mutant })
    });
    let (place, rules) = match asked.map(|asked| (asked.rules(), asked.place)) {
        Ok((Ok(rules), place)) => (place, rules),
        Ok((Err(no_mutants), _)) => return refuse(&no_mutants.to_string(), out),
        Err(complaint) => return refuse(&complaint, out),
    };
    let address = ("127.0.0.1", explore.port);
    if let Err(error) = TcpListener::bind(address) {
        let port = explore.port;
        return refuse(&format!("port {port}: {error}; name another with --port"), out);
    }
    writeln!(out, "http://127.0.0.1:{}/ shows {}; end with ctrl-c", explore.port, explore.preset)?;
    out.flush()?;
    // It serves until the process ends.
    match place {
        Place::Worlds(preset) => {
            drop(WorldModel::new(&preset.plan(), rules).checker().serve(address));
        }
        Place::Decrees(preset) => {
            drop(DecreeModel::new(&preset.plan(), rules).checker().serve(address));
        }
    }
    Ok(Outcome::Holds)
}

fn refuse(complaint: &str, out: &mut dyn Write) -> io::Result<Outcome> {
    writeln!(out, "{complaint}")?;
    Ok(Outcome::BadArguments)
}
