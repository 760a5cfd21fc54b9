//! Seeds: addresses of the configuration, of which nobody knows yet who answers there.

use std::sync::Arc;
use std::time::Duration;

use cartwheel_client::{Connecting, Connection};
use cartwheel_protocol::format::Formats;
use cartwheel_protocol::id::{ClusterId, NodeId};

use super::{ControlInbox, Delivery};

/// How long after a round in which a seed did not answer it is asked again.
const PAUSE: Duration = Duration::from_millis(250);
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
    let mut round = 0_u32;
    loop {
        let mut all_answered = true;
        for seed in &seeds {
            match who_is(seed, Some(cluster), formats).await {
                Ok((node, _)) => {
                    let address: Arc<str> = seed.as_str().into();
                    control.control(Delivery::Seed { node, address });
                }
                Err(why) => {
                    all_answered = false;
                    if round.is_multiple_of(SAY_EVERY) {
                        tracing::info!(seed, why, "a seed does not answer");
                    }
                }
            }
        }
        round = round.wrapping_add(1);
        tokio::time::sleep(if all_answered { LOOK_AGAIN } else { PAUSE }).await;
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
