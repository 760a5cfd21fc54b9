//! Decrees: memberships, their disks and what they say to each other as one value, and every way in which it can go on.
//!
//! The world ([`crate::world::World`]) takes from a plan what the members decide. Here they decide it: the very
//! [`cartwheel_protocol::membership::Membership`] of a node, of which two or three vote, crash, raise the view and
//! finish a change, while their shards are stubs that say how far they are.
//!
//! # What is left out, and why nothing is missed
//!
//! * A message is never dropped: one that is not delivered is lost as well. Two identical messages in flight are one, and one that a
//!   running node could only ignore from now on is gone.
//! * Time does not pass: a proposal may follow any other event, within a budget, whatever pause was chosen.
//! * The timer of gossip does not fire, so heartbeats stand still and nobody is suspected. What gossip must bring
//!   for a decree, views and progress, members tell each other directly.
//! * A node that cannot crash any more saves at once: nothing can be lost, and a late promise, vote or view is a late message.

mod cluster;
mod event;
mod ghost;
mod model;
mod plan;
mod presets;

pub use self::{
    cluster::{Cluster, Host, Packet},
    event::Event,
    model::DecreeModel,
    plan::DecreePlan,
    presets::DecreePreset,
};
