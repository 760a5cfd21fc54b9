//! Each command, and what is refused.
