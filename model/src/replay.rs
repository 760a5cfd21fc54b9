//! Replay files: a header, then one line for each action. A line that no longer applies fails.

use std::{fmt, fmt::Write as _};

use cartwheel_protocol::rules::{Mutant, NoMutants, Rules};

use crate::{
    presets::Preset,
    property::Property,
    setup::{Plan, Setting},
    trace::{Lines, Trace},
    world::World,
};

/// A preset with what was set on the command line: what an exploration and its replay start from.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The preset.
    pub preset: &'static Preset,
    /// What was set differently.
    pub settings: Vec<Setting>,
    /// The rule that is broken.
    pub mutant: Option<Mutant>,
}

/// A replay file, read.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Where it starts.
    pub scenario: Scenario,
    /// What does not hold at its end; `None` if all properties hold on the whole way.
    pub expected: Option<Property>,
    /// The build that wrote it.
    pub commit: String,
    /// Its actions, with their line numbers in the file.
    pub actions: Vec<(usize, String)>,
}

/// Why a replay failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReplayError {
    /// A line of the header is not understood: its number and why.
    Header(usize, String),
    /// A line names no action that is enabled where it stands: its number, the line, what is enabled instead.
    DoesNotApply(usize, String, Vec<String>),
    /// It ended otherwise than it says: what it expects and what was found.
    Otherwise(Option<Property>, Option<Property>),
    /// It runs a mutant, and this build has none.
    NoMutants,
}

impl Scenario {
    /// A preset as it is.
    pub fn of(preset: &'static Preset) -> Self {
        Self { preset, settings: Vec::new(), mutant: None }
    }

    /// The plan with its settings.
    pub fn plan(&self) -> Plan {
        let set = |plan: Plan, setting: &Setting| plan.may(setting.budget, setting.count);
        self.settings.iter().fold(self.preset.plan(), set)
    }

    /// The rules that its replicas go by; fails for a mutant in a build without mutants.
    pub fn rules(&self) -> Result<Rules, NoMutants> {
        Rules::with_mutant(self.mutant)
    }
}

const TITLE: &str = "cartwheel model replay 1";

/// The text of a replay file.
pub fn write(scenario: &Scenario, rules: Rules, trace: &Trace, commit: &str) -> String {
    let mut text = format!("{TITLE}\npreset: {}\n", scenario.preset.name);
    for setting in &scenario.settings {
        writeln!(text, "set: {setting}").expect("a String takes all");
    }
    if let Some(mutant) = scenario.mutant {
        writeln!(text, "mutant: {mutant}").expect("a String takes all");
    }
    write!(text, "commit: {commit}\nviolates: {}\n\n", trace.property).expect("a String takes all");
    for line in trace.lines(&World::new(&scenario.plan(), rules)) {
        writeln!(text, "{line}").expect("a String takes all");
    }
    text
}

impl Replay {
    /// Reads a replay file. Empty lines and those that begin with `#` say nothing.
    pub fn read(text: &str) -> Result<Self, ReplayError> {
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end()));
        let wrong = |at: usize, why: String| ReplayError::Header(at, why);
        if lines.next().map(|(_, line)| line) != Some(TITLE) {
            return Err(wrong(1, format!("a replay file begins with `{TITLE}`")));
        }
        let (mut preset, mut settings, mut mutant) = (None, Vec::new(), None);
        let (mut expected, mut commit) = (None, String::new());
        for (at, line) in lines.by_ref().take_while(|(_, line)| !line.is_empty()) {
            match line.split_once(": ") {
                _ if line.starts_with('#') => {}
                Some(("preset", name)) => preset = Preset::named(name),
                Some(("set", text)) => {
                    settings.push(text.parse().map_err(|why| wrong(at, why))?);
                }
                Some(("mutant", name)) => {
                    let named = Mutant::named(name);
                    mutant = Some(named.ok_or_else(|| wrong(at, format!("no mutant `{name}`")))?);
                }
                Some(("commit", id)) => id.clone_into(&mut commit),
                Some(("violates", "nothing")) => expected = None,
                Some(("violates", name)) => {
                    let named = Property::named(name);
                    expected =
                        Some(named.ok_or_else(|| wrong(at, format!("no property `{name}`")))?);
                }
                Some(_) | None => return Err(wrong(at, format!("`{line}` is not understood"))),
            }
        }
        let preset = preset.ok_or_else(|| wrong(2, "it names no preset that exists".into()))?;
        let says_something = |(_, line): &(usize, &str)| !line.is_empty() && !line.starts_with('#');
        let actions =
            lines.filter(says_something).map(|(at, line)| (at, line.to_owned())).collect();
        let scenario = Scenario { preset, settings, mutant };
        Ok(Self { scenario, expected, commit, actions })
    }

    /// Runs it step by step. `tell` hears each action, then what it made the replicas do.
    pub fn run(&self, tell: &mut dyn FnMut(&str)) -> Result<World, ReplayError> {
        let rules = self.scenario.rules().map_err(|NoMutants| ReplayError::NoMutants)?;
        let mut world = World::new(&self.scenario.plan(), rules);
        let mut found = world.violation();
        for (at, line) in &self.actions {
            let Some(action) = world.named(line) else {
                let enabled = world.enabled().into_iter().map(|action| world.line(action));
                return Err(ReplayError::DoesNotApply(*at, line.clone(), enabled.collect()));
            };
            let mut lines = Lines::default();
            world.apply(action, &mut lines);
            tell(line);
            tell(&lines.text());
            found = found.or_else(|| world.violation());
        }
        if found != self.expected {
            return Err(ReplayError::Otherwise(self.expected, found));
        }
        Ok(world)
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |property: &Option<Property>| property.map_or("nothing", Property::name);
        match self {
            Self::Header(at, why) => write!(f, "line {at}: {why}"),
            Self::DoesNotApply(at, line, enabled) => {
                write!(f, "line {at} no longer applies: `{line}`; here one of these may happen:")?;
                enabled.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Self::Otherwise(expected, found) => {
                write!(f, "it should violate `{}`, it violates `{}`", name(expected), name(found))
            }
            Self::NoMutants => NoMutants.fmt(f),
        }
    }
}

impl std::error::Error for ReplayError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(actions: &str) -> Result<Replay, ReplayError> {
        Replay::read(&format!("{TITLE}\npreset: restart\ncommit: x\n\n{actions}"))
    }

    #[test]
    fn a_line_that_no_longer_applies_fails_and_says_what_would() {
        let replay = with("# a comment\nc9 asks n1: nonsense\n").expect("a valid file");
        match replay.run(&mut |_| {}).map(drop) {
            Err(ReplayError::DoesNotApply(6, line, enabled)) => {
                assert_eq!(line, "c9 asks n1: nonsense");
                assert!(enabled.iter().any(|line| line.starts_with("c1 asks")), "{enabled:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_replay_that_ends_otherwise_fails() {
        let text = format!("{TITLE}\npreset: restart\nviolates: limits hold\n\n");
        let replay = Replay::read(&text).expect("a valid file");
        let otherwise = ReplayError::Otherwise(Some(Property::LimitsHold), None);
        assert_eq!(replay.run(&mut |_| {}).map(drop), Err(otherwise));
    }

    #[test]
    fn headers_are_checked() {
        for header in ["preset: none", "preset: restart\nset: crush=1", "preset: restart\nbroken"] {
            let read = Replay::read(&format!("{TITLE}\n{header}\n\n"));
            assert!(matches!(read, Err(ReplayError::Header(..))), "{header}");
        }
    }

    #[test]
    fn every_line_names_one_enabled_action() {
        for preset in Preset::ALL {
            let mut world = World::new(&preset.plan(), Rules::sound());
            for step in 0..30_usize {
                let enabled = world.enabled();
                let mut lines: Vec<String> = enabled.iter().map(|a| world.line(*a)).collect();
                for (action, line) in enabled.iter().zip(&lines) {
                    assert_eq!(world.named(line), Some(*action), "{}: {line}", preset.name);
                }
                lines.sort_unstable();
                lines.dedup();
                assert_eq!(lines.len(), enabled.len());
                let Some(action) = enabled.get(step % enabled.len().max(1)) else { break };
                world.apply(*action, &mut ());
            }
        }
    }
}
