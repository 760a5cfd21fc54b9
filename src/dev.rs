//! `cartwheel dev`: a local cluster without faults.

use cartwheel_harness::dev::{self, DevArgs, DevError};

use crate::{
    exit::{Exit, Failure},
    program, serve,
};

/// What to type once the cluster serves.
const NEXT: &str = "Now, in another terminal (put cargo run --release -- before it, or install it):
  cartwheel cart add ann milk 2
  cartwheel cart show ann
  cartwheel put colour red
  cartwheel get colour
  cartwheel ring ann --bucket carts
  cartwheel status
One node more (and `cartwheel member leave n4` lets it go):
  cartwheel serve --data n4 --name n4 --listen 127.0.0.1:7410 --seed 127.0.0.1:7400 --join
  cartwheel member list
Ctrl-c ends the cluster.";

/// Runs the cluster until ctrl-c.
pub(crate) fn run(args: &DevArgs) -> Result<Exit, Failure> {
    serve::check_node_options(&args.node_option)?;
    let ended = dev::run(args, &program::path()?, NEXT);
    ended.map(|()| Exit::Done).map_err(|error| match error {
        DevError::PortTaken { .. } => Failure::arguments(error),
        DevError::Failed(_) => Failure::crashed(error),
    })
}
