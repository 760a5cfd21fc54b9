//! Traces: what happened, one line an effect.

use std::fmt::Write as _;

use cartwheel_protocol::{
    Effect, Input,
    id::NodeId,
    membership::{MemberEffect, Saved},
};

use crate::{
    action::Action,
    decrees::{Cluster, Event},
    property::Property,
    witness::{Observer, Witness},
    world::World,
};

/// An observer that writes down each input and effect.
#[derive(Clone, Debug, Default)]
pub struct Lines(Vec<String>);

impl Lines {
    /// What was written down, a line each.
    pub fn text(&self) -> String {
        self.0.join("\n")
    }
}

impl Observer for Lines {
    fn input(&mut self, at: NodeId, input: &Input) {
        self.0.push(format!("  {at} takes {input}"));
    }

    fn effect(&mut self, at: NodeId, effect: &Effect) {
        self.0.push(format!("    {at} {effect}"));
    }

    fn member_effect(&mut self, at: NodeId, effect: &MemberEffect) {
        let text = match effect {
            MemberEffect::Send { to, message } => format!("sends {to} {message}"),
            MemberEffect::Save { saved, ticket: _ } => {
                let Saved { view, promised, accepted, .. } = &**saved;
                let voted = accepted.as_ref();
                let voted =
                    voted.map(|(ballot, decree)| format!(", voted in {ballot} to {decree}"));
                format!("saves {} promised {promised}{}", view.id(), voted.unwrap_or_default())
            }
            MemberEffect::View(view) => format!("gives its shards {}", view.id()),
            // Nobody is suspected among members, and time does not pass.
            MemberEffect::Suspect { .. }
            | MemberEffect::Addresses
            | MemberEffect::Disagrees { .. }
            | MemberEffect::SetTimer { .. }
            | MemberEffect::Choose { .. } => return,
        };
        self.0.push(format!("    {at} {text}"));
    }

    fn note(&mut self, witness: Witness) {
        self.0.push(format!("    * {witness}"));
    }
}

/// A path through a model and what is wrong at its end.
#[derive(Clone, Debug)]
pub struct Trace<A = Action> {
    /// What was done, from the start.
    pub actions: Vec<A>,
    /// What does not hold after it.
    pub property: Property,
}

impl Trace {
    /// The lines that name its actions.
    pub fn lines(&self, start: &World) -> Vec<String> {
        let mut world = start.clone();
        let mut lines = Vec::new();
        for action in &self.actions {
            lines.push(world.line(*action));
            world.apply(*action, &mut ());
        }
        lines
    }

    /// The whole story of a path through worlds.
    pub fn story(&self, start: &World) -> String {
        let mut world = start.clone();
        self.told(|action, lines| {
            let line = world.line(action);
            world.apply(action, lines);
            (line, world.to_string())
        })
    }
}

impl Trace<Event> {
    /// The whole story of a path through clusters of members.
    pub fn story(&self, start: &Cluster) -> String {
        let mut cluster = start.clone();
        self.told(|event, lines| {
            let line = cluster.line(event);
            cluster.apply(event, lines);
            (line, cluster.to_string())
        })
    }
}

impl<A: Copy> Trace<A> {
    /// Each action, then what it made nodes do, then how all is at the end. `act` does an action and tells its name and
    /// how all is after it.
    fn told(&self, mut act: impl FnMut(A, &mut Lines) -> (String, String)) -> String {
        let (mut text, mut end) = (String::new(), String::new());
        for (number, action) in self.actions.iter().enumerate() {
            let mut lines = Lines::default();
            let (line, after) = act(*action, &mut lines);
            end = after;
            writeln!(text, "{:>3}. {line}", number + 1).expect("a String takes all");
            if !lines.text().is_empty() {
                writeln!(text, "{}", lines.text()).expect("a String takes all");
            }
        }
        text + &end
    }
}
