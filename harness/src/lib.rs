//! Workloads, nemeses, schedules and campaigns against live clusters.
//!
//! A [`campaign`] puts clients to work on a cluster ([`workload`]), disturbs it by a seeded
//! [`schedule`] of [`fault`]s, heals it, waits for quiet, reads everything, and has the history
//! judged by the checker. What it stands on is a [`ground`]: real processes today, whose links run
//! through a faulty [`proxy`].

pub mod bench;
pub mod campaign;
pub mod dev;
pub mod fault;
pub mod ground;
pub mod history;
mod options;
pub mod progress;
pub mod proxy;
pub mod rng;
pub mod runtime;
pub mod schedule;
pub mod workload;
