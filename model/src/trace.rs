//! Traces: what happened, one line an effect.

use std::fmt::Write as _;

use cartwheel_protocol::{Effect, Input, id::NodeId};

use crate::{
    action::Action,
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

    fn note(&mut self, witness: Witness) {
        self.0.push(format!("    * {witness}"));
    }
}

/// A path through a model and what is wrong at its end.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What was done, from the start.
    pub actions: Vec<Action>,
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

    /// The whole story: each action, then what it made the replicas do, then the world at the end.
    pub fn story(&self, start: &World) -> String {
        let mut world = start.clone();
        let mut text = String::new();
        for (number, action) in self.actions.iter().enumerate() {
            let mut lines = Lines::default();
            let line = world.line(*action);
            world.apply(*action, &mut lines);
            writeln!(text, "{:>3}. {line}", number + 1).expect("a String takes all");
            if !lines.text().is_empty() {
                writeln!(text, "{}", lines.text()).expect("a String takes all");
            }
        }
        write!(text, "{world}").expect("a String takes all");
        text
    }
}
