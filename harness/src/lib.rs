//! Workloads, nemeses, schedules and campaigns against live clusters.

pub mod fault;
pub mod proxy;
pub mod rng;
pub mod schedule;
