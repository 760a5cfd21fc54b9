//! Seeds: addresses of the configuration, of which nobody knows yet who answers there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cartwheel_client::{Connecting, Connection};
use cartwheel_protocol::format::Formats;
use cartwheel_protocol::id::{ClusterId, NodeId};
use tokio::time::Instant;

use super::{ControlInbox, Delivery};

/// How long after seeds did not answer they are asked again.
const PAUSE: Duration = Duration::from_millis(250);
/// Where the cluster is known each round in vain doubles that, up to this, until all are asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long after all seeds answered they are asked again: others may answer there by then.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Every so many rounds in vain the log says that this node waits.
const SAY_EVERY: u32 = 20;

/// Asks the seeds until one says which cluster it is of. A node with a new store must know that before it can
/// serve.
pub(crate) async fn find_cluster(seeds: &[String], me: NodeId, formats: Formats) -> ClusterId {
    for round in 0_u32.. {
        for seed in seeds {
            match who_is(seed, None, formats).await {
                Ok((node, cluster)) if node != me => return cluster,
                Ok(_) => {}
                Err(why) if round.is_multiple_of(SAY_EVERY) => {
                    tracing::warn!(seed, why, "waiting for a seed to tell the cluster");
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    unreachable!("rounds go on until a seed answers");
}

/// Tells the control thread who answers at the seeds' addresses, again and again.
pub(crate) async fn resolve(
    seeds: Vec<String>,
    cluster: ClusterId,
    formats: Formats,
    control: ControlInbox,
) {
    let (mut asked, mut pause) = (seeds.clone(), PAUSE);
    // Of whom the log has said that they do not answer.
    let mut silent: BTreeSet<String> = BTreeSet::new();
    let mut all_again = Instant::now() + LOOK_AGAIN;
    loop {
        let mut in_vain = Vec::new();
        for seed in asked {
            match who_is(&seed, Some(cluster), formats).await {
                Ok((node, _)) => {
                    silent.remove(&seed);
                    let address: Arc<str> = seed.into();
                    control.control(Delivery::Seed { node, address });
                }
                Err(why) => {
                    if silent.insert(seed.clone()) {
                        tracing::info!(seed, why, "a seed does not answer");
                    }
                    in_vain.push(seed);
                }
            }
        }
        if !in_vain.is_empty() && Instant::now() + pause < all_again {
            tokio::time::sleep(pause).await;
            (asked, pause) = (in_vain, LONGEST_PAUSE.min(pause * 2));
        } else {
            tokio::time::sleep_until(all_again).await;
            (asked, pause) = (seeds.clone(), PAUSE);
            all_again = Instant::now() + LOOK_AGAIN;
        }
    }
}

async fn who_is(
    address: &str,
    cluster: Option<ClusterId>,
    formats: Formats,
) -> Result<(NodeId, ClusterId), String> {
    let how = Connecting { cluster, formats, ..Connecting::default() };
    let connection = Connection::open(address, &how).await.map_err(|closed| closed.to_string())?;
    Ok((connection.node(), connection.cluster()))
}
