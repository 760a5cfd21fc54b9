//! Layouts against the targets that they were designed for.

mod clusters;
mod commands;
mod histories;
mod measure;
mod poor_rings;
mod sweep;
