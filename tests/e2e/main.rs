//! End-to-end tests of the command: real processes on loopback, in folders of their own.

mod availability;
mod bench;
mod campaigns;
mod changing;
mod cluster;
mod command;
mod dev;
mod durability;
mod layouts;
mod members;
mod reaping;
mod refusals;
mod running;
