//! Nodes with damaged stores: what becomes of them.
//!
//! A store from which bits are missing may open and be mended by its node, or be set aside, so that the node comes up as
//! another, or be refused. Which of them is seen when the node answers or has ended; one that is not what it was is a
//! lost disk, and is replaced as after a wipe.

use std::time::Duration;

use anyhow::Context as _;
use cartwheel_client::{Connecting, Connection, NodeId};

use super::{Duty, Origin, Prepared, ProcessGround};
use crate::fault::{Damage, NodeNumber, WayBack};

/// How long a node may take to say who it is.
const SAY_WITHIN: Duration = Duration::from_millis(500);

impl ProcessGround {
    /// Damages the store of a node that is down.
    pub(super) async fn damage(&self, number: NodeNumber, damage: &Damage) -> anyhow::Result<bool> {
        let mut places = self.places.lock().await;
        let place = places.get_mut(&number).context("there is no such place")?;
        let done = damage.apply(&place.data).with_context(|| place.data.display().to_string())?;
        done.iter().for_each(|done| tracing::info!("{number}: {done}"));
        place.damaged = !done.is_empty();
        Ok(place.damaged)
    }

    /// Lets the node at a place find the cluster also with a new store.
    pub(super) async fn expect_a_new_node(&self, number: NodeNumber) -> anyhow::Result<()> {
        let (seeds, id) = (self.seeds(number).await, self.roster.node(number));
        let mut places = self.places.lock().await;
        let Some(place) = places.get_mut(&number) else { return Ok(()) };
        let (Some(id), Duty::Serves) = (id, place.duty) else { return Ok(()) };
        let node = Prepared {
            number,
            zone: place.zone,
            id: NodeId(id).to_string(),
            listen: place.listen,
            data: place.data.clone(),
            disk: None,
            reserved: None,
        };
        let origin = Origin::Seeds { addresses: &seeds, joins: false };
        place.process = self.spec.process(&node, place.address, origin);
        Ok(())
    }

    /// Looks what has become of nodes with damaged stores, and replaces those that are not what they were.
    pub(super) async fn tend_damaged(&self) -> anyhow::Result<()> {
        let mut looks = Vec::new();
        for place in self.places.lock().await.values_mut() {
            if !place.damaged || !place.is_in_use() {
                continue;
            }
            let refused = place.process.maybe_mishap()?;
            // One that is down has its fault still to end.
            if refused.is_some() || (place.process.is_up() && !place.process.is_paused()) {
                looks.push((place.number, place.address.to_string(), refused));
            }
        }
        for (number, address, refused) in looks {
            match refused {
                Some(why) => {
                    tracing::info!("the damaged store of {number} is refused: {why}");
                    self.wipe(number, WayBack::Replace).await?;
                }
                None => self.look_at_damaged(number, &address).await?,
            }
        }
        Ok(())
    }

    async fn look_at_damaged(&self, number: NodeNumber, address: &str) -> anyhow::Result<()> {
        let asked = async {
            let connection = Connection::open(address, &Connecting::default()).await?;
            connection.status(SAY_WITHIN).await
        };
        // It is not there yet, or does not hear us: it is looked at again.
        let Ok(status) = asked.await else { return Ok(()) };
        let before = self.member(number)?;
        if let Some(place) = self.places.lock().await.get_mut(&number) {
            place.damaged = false;
        }
        if status.node == before {
            tracing::info!("{number} serves with its damaged store");
            return Ok(());
        }
        tracing::info!("the damaged store of {number} was set aside");
        let now = NodeId(status.node).to_string();
        self.roster.maybe_move_in(number, &now).context("a node without an id")?;
        self.replace(before, number).await
    }
}
