//! A small cluster of replicas in one value, driven by hand: what scripts and random walks share.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod ask;
pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod history;
pub(crate) mod layouts;
pub(crate) mod listing;
pub(crate) mod metadata;
pub(crate) mod walk;
