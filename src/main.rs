//! The `cartwheel` command.
fn main() {}
