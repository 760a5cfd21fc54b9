//! This program as one that it starts itself: the nodes of campaigns, `dev` and `bench`.

use std::path::PathBuf;

use cartwheel_protocol::rules::{Mutant, Rules};

use crate::exit::Failure;

/// The path of this program.
pub(crate) fn path() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::crashed(format!("who am I? {error}")))
}

/// Whether the nodes could run the mutant: said before anything is started.
pub(crate) fn check_mutant(name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else { return Ok(()) };
    let mutant = Mutant::named(name).ok_or_else(|| {
        let names: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        Failure::arguments(format!("mutant is {name}; allowed is one of {}", names.join(", ")))
    })?;
    Rules::with_mutant(Some(mutant)).map(|_| ()).map_err(Failure::arguments)
}
