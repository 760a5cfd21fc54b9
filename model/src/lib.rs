//! World: replicas, disks, network and clients as one value, and every way in which it can go on.
//!
//! The core is a pure state machine, so a whole cluster is a value: [`world::World`]. From each world a number
//! of [`action::Action`]s lead on: a message arrives, a batch becomes durable, a timer fires, a process crashes. A
//! [`presets::Preset`] is a small cluster with few clients and few faults; all worlds that it can reach are
//! visited by stateright and judged by the [`property::Property`]s. Each rule of the core has a mutant that
//! breaks it; [`mutants::CAUGHT`] says where each is caught and by what, [`table`] shows them by rule: a mutant that
//! survives means that the model is too weak.
//!
//! # What is left out, and why nothing is missed
//!
//! * A message is dropped only within the budget `drop` (`presets/lost.rs`, `--set drop=N`): for safety one that is not delivered
//!   is lost as well, and properties about it hold in the worlds on the way; what must end at rest needs a real loss.
//! * Two identical messages in flight are one.
//! * Time does not pass: any timer that is set may fire next, within a budget.
//! * Failure detection is an action: a node suspects another within a budget, rightly or not.
//! * A disk with nothing to write answers its barrier at once; and when no crash can happen any more every disk
//!   does, because nothing can be lost and a late acknowledgement is a late message.
//! * Decrees are not voted on in a world: a plan lists them, and each may come about whenever the core says that it may. How
//!   members vote is explored apart ([`decrees`]). A node comes to go by a decreed view at any later moment, and starts again with the one that it had ([`change`]).
//! * A reap round's view is raised like any other; a decree that comes later knows of it, as the core sees to.
//! * Client k begins after client k − 1, which breaks the symmetry between them.

pub mod action;
mod asking;
pub mod change;
mod chart;
pub mod cli;
pub mod client;
pub mod decrees;
pub mod disk;
mod enabled;
pub mod explore;
mod ghost;
pub mod hashed;
pub mod host;
mod judge;
mod memory;
pub mod model;
pub mod mutants;
pub mod network;
pub mod place;
pub mod presets;
pub mod property;
mod reap;
pub mod replay;
mod report;
pub mod setup;
pub mod table;
pub mod tally;
pub mod trace;
pub mod witness;
pub mod world;
