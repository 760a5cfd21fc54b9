//! Layouts: who owns what.
