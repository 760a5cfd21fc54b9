//! Bugs that were found, each with the steps that showed it.
