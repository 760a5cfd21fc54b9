//! A plan of decrees as a stateright model: thin, all that matters is in [`Cluster`].

use cartwheel_protocol::rules::Rules;
use stateright::{Model, Property as Always};

use super::{Cluster, DecreePlan, Event};
use crate::{explore::Explored, property::Property, tally::Tally, trace::Lines};

/// What stateright explores.
#[derive(Debug)]
pub struct DecreeModel {
    start: Cluster,
    tally: Tally,
}

impl DecreeModel {
    /// A model of a plan under these rules.
    pub fn new(plan: &DecreePlan, rules: Rules) -> Self {
        Self { start: Cluster::new(plan, rules), tally: Tally::default() }
    }
}

impl Explored for DecreeModel {
    const PROPERTIES: &'static [Property] = &Property::OF_DECREES;

    fn start(&self) -> &Cluster {
        &self.start
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn violation(&self, cluster: &Cluster) -> Option<Property> {
        cluster.violation()
    }
}

impl Model for DecreeModel {
    type State = Cluster;
    type Action = Event;

    fn init_states(&self) -> Vec<Cluster> {
        vec![self.start.clone()]
    }

    fn actions(&self, cluster: &Cluster, events: &mut Vec<Event>) {
        if !self.tally.was_stopped() {
            cluster.list(events);
        }
    }

    fn next_state(&self, before: &Cluster, event: Event) -> Option<Cluster> {
        let mut cluster = before.clone();
        cluster.apply(event, &mut &self.tally.witnesses);
        Some(cluster)
    }

    fn format_step(&self, before: &Cluster, event: Event) -> Option<String> {
        let mut cluster = before.clone();
        let mut lines = Lines::default();
        cluster.apply(event, &mut lines);
        Some(format!("{}\n{cluster}", lines.text()))
    }

    fn properties(&self) -> Vec<Always<Self>> {
        let conditions: [fn(&Self, &Cluster) -> bool; Property::OF_DECREES.len()] =
            [holds::<0>, holds::<1>, holds::<2>, holds::<3>];
        let named = Property::OF_DECREES.iter().zip(conditions);
        named.map(|(property, holds)| Always::always(property.name(), holds)).collect()
    }
}

/// Stateright's properties are plain functions: one for each of ours, made from its number.
fn holds<const NUMBER: usize>(model: &DecreeModel, cluster: &Cluster) -> bool {
    if NUMBER == 0 {
        // The first property is asked once for each unique state.
        model.tally.judge_one();
    }
    cluster.violation() != Some(Property::OF_DECREES[NUMBER])
}
