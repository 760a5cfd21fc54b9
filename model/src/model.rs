//! A preset as a stateright model: thin, all that matters is in [`World`].

use cartwheel_protocol::rules::Rules;
use stateright::{Model, Path, Property as Always};

use crate::{
    action::Action, chart, explore::Explored, property::Property, setup::Plan, tally::Tally,
    trace::Lines, witness::Witness, world::World,
};

/// What stateright explores.
#[derive(Debug)]
pub struct WorldModel {
    start: World,
    tally: Tally,
}

impl WorldModel {
    /// A model of a plan under these rules.
    pub fn new(plan: &Plan, rules: Rules) -> Self {
        Self { start: World::new(plan, rules), tally: Tally::default() }
    }
}

impl Explored for WorldModel {
    const PROPERTIES: &'static [Property] = &Property::ALL;

    fn start(&self) -> &World {
        &self.start
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn violation(&self, world: &World) -> Option<Property> {
        world.violation()
    }
}

impl Model for WorldModel {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.start.clone()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if !self.tally.was_stopped() {
            world.list(actions);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        world.apply(action, &mut &self.tally.witnesses);
        Some(world)
    }

    fn format_step(&self, before: &World, action: Action) -> Option<String> {
        let mut world = before.clone();
        let mut lines = Lines::default();
        world.apply(action, &mut lines);
        Some(format!("{}\n{world}", lines.text()))
    }

    fn as_svg(&self, path: Path<World, Action>) -> Option<String> {
        Some(chart::draw(&self.start, &path.into_actions()))
    }

    fn properties(&self) -> Vec<Always<Self>> {
        let conditions: [fn(&Self, &World) -> bool; Property::ALL.len()] = [
            holds::<0>,
            holds::<1>,
            holds::<2>,
            holds::<3>,
            holds::<4>,
            holds::<5>,
            holds::<6>,
            holds::<7>,
            holds::<8>,
            holds::<9>,
            holds::<10>,
            holds::<11>,
            holds::<12>,
            holds::<13>,
            holds::<14>,
        ];
        let named = Property::ALL.iter().zip(conditions);
        named.map(|(property, holds)| Always::always(property.name(), holds)).collect()
    }
}

/// Stateright's properties are plain functions: one for each of ours, made from its number.
fn holds<const NUMBER: usize>(model: &WorldModel, world: &World) -> bool {
    if NUMBER == 0 {
        // The first property is asked once for each unique world.
        model.tally.judge_one();
        if world.is_quiet() && world.is_finished() {
            model.tally.witnesses.add(Witness::Quiet);
        }
    }
    !world.breaks(Property::ALL[NUMBER])
}
