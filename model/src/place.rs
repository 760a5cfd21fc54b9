//! Where something is explored: a preset of worlds or one of decrees.

use cartwheel_protocol::rules::{Mutant, NoMutants, Rules};

use crate::{
    decrees::DecreePreset, presets::Preset, replay::Scenario, setup::Setting, witness::Witness,
};

/// A preset of either kind.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Of worlds.
    Worlds(&'static Preset),
    /// Of decrees.
    Decrees(&'static DecreePreset),
}

/// What is explored: a preset, what was set on the command line, and the rule that is broken.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The preset.
    pub place: Place,
    /// What was set differently.
    pub settings: Vec<Setting>,
    /// The rule that is broken.
    pub mutant: Option<Mutant>,
}

impl Place {
    /// All presets, those of worlds first.
    pub fn all() -> impl Iterator<Item = Self> {
        let worlds = Preset::ALL.iter().map(Self::Worlds);
        worlds.chain(DecreePreset::ALL.iter().map(Self::Decrees))
    }

    /// The preset of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|place| place.name() == name)
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worlds(preset) => preset.name,
            Self::Decrees(preset) => preset.name,
        }
    }

    /// Why it is explored, in one sentence.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Worlds(preset) => preset.why,
            Self::Decrees(preset) => preset.why,
        }
    }

    /// What must happen at least once, or the exploration shows nothing.
    pub const fn needs(self) -> &'static [Witness] {
        match self {
            Self::Worlds(preset) => preset.needs,
            Self::Decrees(preset) => preset.needs,
        }
    }

    /// Whether it is small enough for every test run.
    pub const fn is_quick(self) -> bool {
        match self {
            Self::Worlds(preset) => preset.is_quick,
            Self::Decrees(preset) => preset.is_quick,
        }
    }
}

impl Asked {
    /// The rules that nodes go by; fails for a mutant in a build without mutants.
    pub fn rules(&self) -> Result<Rules, NoMutants> {
        Rules::with_mutant(self.mutant)
    }

    /// What the replay of a trace starts from, where it is one of worlds.
    pub(crate) fn scenario(&self, preset: &'static Preset) -> Scenario {
        Scenario { preset, settings: self.settings.clone(), mutant: self.mutant }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_found_by_its_name() {
        for place in Place::all() {
            let found = Place::named(place.name()).expect("it is there");
            assert_eq!(found.why(), place.why(), "two presets are named {}", place.name());
        }
    }
}
