//! `cartwheel dev`: a local cluster without faults.

use std::net::SocketAddr;

use cartwheel_harness::dev::{self, DevArgs, DevError};

use crate::{
    connect::DEFAULT_NODE,
    exit::{Exit, Failure},
    program, serve,
};

/// What to type once the cluster serves.
fn next(addresses: &[SocketAddr]) -> String {
    let first = addresses.first().map_or_else(|| DEFAULT_NODE.to_owned(), ToString::to_string);
    let is_default = first == DEFAULT_NODE;
    let node = if is_default { String::new() } else { format!(" --node {first}") };
    let listen = if is_default { "127.0.0.1:7410" } else { "127.0.0.1:0" };
    let newcomer = format!("n{}", addresses.len() + 1);
    format!(
        "Now, in another terminal (put cargo run --release -- before it, or install it):
  cartwheel cart add ann milk 2{node}
  cartwheel cart show ann{node}
  cartwheel put colour red{node}
  cartwheel get colour{node}
  cartwheel ring ann --bucket carts{node}
  cartwheel status{node}
One node more (and `cartwheel member leave {newcomer}{node}` lets it go):
  cartwheel serve --data {newcomer} --name {newcomer} --listen {listen} --seed {first} --join
  cartwheel member list{node}
Ctrl-c ends the cluster."
    )
}

/// Runs the cluster until ctrl-c.
pub(crate) fn run(args: &DevArgs) -> Result<Exit, Failure> {
    serve::check_node_options(&args.node_option)?;
    let ended = dev::run(args, &program::path()?, &next);
    ended.map(|()| Exit::Done).map_err(|error| match error {
        DevError::PortTaken { .. } => Failure::arguments(error),
        DevError::Failed(_) => Failure::crashed(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_the_cluster_where_it_is_not_the_default_one() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let usual = next(&[at(7400), at(7401), at(7402)]);
        assert!(!usual.contains("--node") && usual.contains("--seed 127.0.0.1:7400"), "{usual}");
        let other = next(&[at(7500), at(7501), at(7502), at(7503)]);
        for line in other.lines().filter(|line| line.starts_with("  cartwheel ")) {
            assert!(line.contains(" 127.0.0.1:7500"), "{line} asks another cluster");
        }
        assert!(other.contains("--name n5"), "{other}");
    }
}
