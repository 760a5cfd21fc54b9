//! How faults are begun and ended on processes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use cartwheel_client::members::Wish;
use cartwheel_client::service::Seat;

use super::{Duty, Job, Origin, Place, Prepared, ProcessGround, proxy, settle_links};
use crate::fault::{Fault, NodeNumber, WayBack, ZoneNumber};
use crate::schedule::FEWEST_MEMBERS;

/// How many addresses a fresh node is given.
const SEEDS: usize = 5;

impl ProcessGround {
    /// Begins a fault. Says whether it changed anything: nothing is done to nodes that are not there, and only
    /// members are taken from or replaced.
    pub(super) async fn begin_fault(&self, id: usize, fault: &Fault) -> anyhow::Result<bool> {
        if !self.can_begin(fault).await {
            return Ok(false);
        }
        self.active().insert(id, fault.clone());
        match fault {
            Fault::Kill { .. }
            | Fault::Pause { .. }
            | Fault::Partition { .. }
            | Fault::Slow { .. }
            | Fault::ZoneCut { .. }
            | Fault::ZoneKill { .. } => self.settle(fault).await,
            Fault::Join { node, zone } => {
                self.start_fresh(*node, *zone, true).await?;
                let seat = self.seat(*node).await?;
                self.changes().expect(Wish::Join(seat), "joins-completed");
                Ok(true)
            }
            Fault::Leave { node } => {
                let member = self.member(*node)?;
                self.set_duty(*node, Duty::Drains).await;
                self.changes().begin(Wish::Leave(member), Some("leaves-completed"));
                Ok(true)
            }
            Fault::Remove { node, .. } => {
                let member = self.member(*node)?;
                self.settle(fault).await?;
                self.changes().begin(Wish::Remove(member), Some("removals-completed"));
                Ok(true)
            }
            Fault::Replace { old, new } => {
                self.settle(fault).await?;
                let zone = self.places.lock().await.get(old).map(|place| place.zone);
                self.start_fresh(*new, zone.context("nobody to replace")?, false).await?;
                self.replace(self.member(*old)?, *new).await?;
                Ok(true)
            }
            Fault::Weight { node, weight } => {
                let wish = Wish::Weight(self.member(*node)?, *weight);
                self.changes().begin(wish, Some("weights-completed"));
                Ok(true)
            }
            Fault::Wipe { node, way } => {
                self.wipe(*node, *way).await?;
                Ok(true)
            }
            Fault::ZoneDestroy { nodes, .. } => {
                // All are gone before any comes back.
                for node in nodes {
                    self.kill(*node).await?;
                }
                for node in nodes {
                    self.wipe(*node, WayBack::Replace).await?;
                }
                Ok(true)
            }
            Fault::RollingRestart { nodes } => self.begin_turns(id, Job::Restart, nodes).await,
            Fault::Reap { nodes, older_than_s } => {
                let older_than = Duration::from_secs((*older_than_s).into());
                self.begin_turns(id, Job::Reap { older_than }, nodes).await
            }
            Fault::DiskFull { node } => self.settle_disk(*node).await,
            Fault::Corrupt { node, damage } => {
                self.settle(fault).await?;
                self.damage(*node, damage).await
            }
        }
    }

    /// Ends a fault, if it was begun.
    pub(super) async fn end_fault(&self, id: usize) -> anyhow::Result<()> {
        self.turns().remove(&id);
        let Some(fault) = self.active().remove(&id) else { return Ok(()) };
        match &fault {
            Fault::Kill { .. }
            | Fault::Pause { .. }
            | Fault::Partition { .. }
            | Fault::Slow { .. }
            | Fault::ZoneCut { .. }
            | Fault::ZoneKill { .. } => self.settle(&fault).await.map(|_| ()),
            Fault::Remove { node, returns: true } => {
                self.set_duty(*node, Duty::Drains).await;
                self.settle(&fault).await.map(|_| ())
            }
            Fault::Remove { node, returns: false } | Fault::Replace { old: node, .. } => {
                self.give_up(*node).await
            }
            Fault::DiskFull { node } => self.settle_disk(*node).await.map(|_| ()),
            Fault::Corrupt { node, .. } => {
                self.expect_a_new_node(*node).await?;
                self.settle(&fault).await.map(|_| ())
            }
            Fault::Join { .. }
            | Fault::Leave { .. }
            | Fault::Weight { .. }
            | Fault::Wipe { .. }
            | Fault::RollingRestart { .. }
            | Fault::ZoneDestroy { .. }
            | Fault::Reap { .. } => Ok(()),
        }
    }

    /// Whether what a fault needs is there.
    async fn can_begin(&self, fault: &Fault) -> bool {
        let members = self.roster.members();
        let is_member = |node: &NodeNumber| members.contains(node);
        let shrinking = self.changes().shrinking();
        let can_shrink = members.len() > FEWEST_MEMBERS + shrinking;
        let places = self.places.lock().await;
        let serves = |node: &NodeNumber| {
            let place = places.get(node);
            let is_sound = |p: &Place| p.duty == Duty::Serves && p.process.is_up() && !p.damaged;
            place.is_some_and(is_sound) && is_member(node)
        };
        match fault {
            Fault::Kill { node } | Fault::Pause { node } => {
                places.get(node).is_some_and(Place::is_in_use)
            }
            Fault::Leave { node } | Fault::Remove { node, .. } => can_shrink && serves(node),
            Fault::Replace { old: node, .. }
            | Fault::Weight { node, .. }
            | Fault::Wipe { node, .. }
            | Fault::Corrupt { node, .. } => serves(node),
            Fault::DiskFull { node } => {
                let is_full = self.active().values().any(|other| other == fault);
                let place = places.get(node).filter(|place| place.is_in_use());
                !is_full && place.is_some_and(|place| place.disk.is_some())
            }
            Fault::ZoneDestroy { nodes, .. } => nodes.iter().all(serves),
            Fault::ZoneKill { nodes, .. } => nodes.iter().any(serves),
            Fault::Partition { .. }
            | Fault::Slow { .. }
            | Fault::ZoneCut { .. }
            | Fault::Join { .. }
            | Fault::RollingRestart { .. }
            | Fault::Reap { .. } => true,
        }
    }

    /// Makes processes and links what the active faults say. Whether that changed anything.
    async fn settle(&self, changed: &Fault) -> anyhow::Result<bool> {
        if let Some(links) = changed.links() {
            return Ok(settle_links(&self.links, self.active().values(), links));
        }
        let mut any = false;
        for node in changed.downs() {
            any |= self.settle_node(*node).await?;
        }
        Ok(any)
    }

    async fn settle_node(&self, number: NodeNumber) -> anyhow::Result<bool> {
        let (down, paused) = {
            let active = self.active();
            let pauses = |fault: &Fault| *fault == Fault::Pause { node: number };
            let mut kills = active.values().filter(|fault| !pauses(fault));
            let down = kills.any(|fault| fault.downs().contains(&number) && !is_instant(fault));
            (down, active.values().any(pauses))
        };
        let mut places = self.places.lock().await;
        let Some(place) = places.get_mut(&number) else { return Ok(false) };
        if !place.is_in_use() {
            return Ok(false);
        }
        let mut changed = false;
        let has_ended = self.maybe_mishap(place)?.is_some();
        let node = &mut place.process;
        if has_ended {
            if !down {
                node.start()?;
            }
        } else if down && node.is_up() {
            node.kill().await?;
            changed = true;
        }
        if !down && !node.is_up() {
            node.start()?;
            changed = true;
        }
        if node.is_up() && paused != node.is_paused() {
            node.pause(paused)?;
            changed = true;
        }
        Ok(changed)
    }

    async fn kill(&self, node: NodeNumber) -> anyhow::Result<()> {
        let mut places = self.places.lock().await;
        let Some(place) = places.get_mut(&node) else { return Ok(()) };
        self.maybe_mishap(place)?;
        place.process.kill().await
    }

    /// Makes a disk full or not, as the active faults say.
    async fn settle_disk(&self, number: NodeNumber) -> anyhow::Result<bool> {
        let full = self.active().values().any(|fault| *fault == Fault::DiskFull { node: number });
        let places = self.places.lock().await;
        let Some(disk) = places.get(&number).and_then(|place| place.disk.as_ref()) else {
            return Ok(false);
        };
        disk.set_full(full)?;
        Ok(true)
    }

    /// Kills a node, erases its disk and starts another in its place.
    pub(super) async fn wipe(&self, number: NodeNumber, way: WayBack) -> anyhow::Result<()> {
        let old = self.member(number)?;
        self.kill(number).await?;
        let seeds = self.seeds(number).await;
        let mut places = self.places.lock().await;
        let place = places.get_mut(&number).context("there is no such place")?;
        erase(&place.data)?;
        let id = self.spec.format(&place.data, number).await?;
        self.roster.maybe_move_in(number, &id).context("a store without an id")?;
        let (zone, listen, data) = (place.zone, place.listen, place.data.clone());
        let node = Prepared { number, zone, id, listen, data, disk: None, reserved: None };
        let joins = way != WayBack::Replace;
        let origin = Origin::Seeds { addresses: &seeds, joins };
        place.process = self.spec.process(&node, place.address, origin);
        place.process.start()?;
        place.damaged = false;
        drop(places);
        match way {
            WayBack::Replace => self.replace(old, number).await?,
            WayBack::Join => {
                let seat = self.seat(number).await?;
                let mut changes = self.changes();
                changes.begin(Wish::Remove(old), Some("removals-completed"));
                changes.begin(Wish::Forget(old), None);
                changes.expect(Wish::Join(seat), "joins-completed");
            }
            WayBack::ByItself => {
                let seat = self.seat(number).await?;
                let mut changes = self.changes();
                changes.expect(Wish::Replace { old, new: seat }, "replaces-completed");
                changes.begin(Wish::Forget(old), None);
            }
        }
        Ok(())
    }

    /// Wishes that the node at a place takes another's seats.
    pub(super) async fn replace(&self, old: u64, new: NodeNumber) -> anyhow::Result<()> {
        let seat = self.seat(new).await?;
        let mut changes = self.changes();
        changes.begin(Wish::Replace { old, new: seat }, Some("replaces-completed"));
        changes.begin(Wish::Forget(old), None);
        Ok(())
    }

    /// A removed node does not come back: its disk is erased, and the cluster forgets it.
    async fn give_up(&self, number: NodeNumber) -> anyhow::Result<()> {
        let node = self.roster.node(number);
        self.roster.move_out(number);
        let mut places = self.places.lock().await;
        let place = places.get_mut(&number).context("there is no such place")?;
        place.process.kill().await?;
        place.duty = Duty::Over;
        erase(&place.data)?;
        // A replaced one is forgotten as soon as it was replaced.
        let forgets = Wish::Forget(node.context("nobody was at the place")?);
        let mut changes = self.changes();
        if !changes.has(&forgets) {
            changes.begin(forgets, None);
        }
        Ok(())
    }

    /// Starts a node at a place where nobody has been. It knows some members, and stages its own join with `joins`.
    ///
    /// # Errors
    /// Its store cannot be formatted, or it cannot be started.
    pub async fn start_fresh(
        &self,
        number: NodeNumber,
        zone: ZoneNumber,
        joins: bool,
    ) -> anyhow::Result<()> {
        let seeds = self.seeds(number).await;
        let node = self.spec.prepare_fresh(number, zone).await?;
        self.roster.maybe_move_in(number, &node.id).context("a store without an id")?;
        let proxy =
            if self.faulty { Some(proxy(&node, &self.links, &self.roster).await?) } else { None };
        let address = proxy.as_ref().map_or(node.listen, crate::proxy::Proxy::address);
        self.roster.is_reached_at(number, address);
        let origin = Origin::Seeds { addresses: &seeds, joins };
        let process = self.spec.process(&node, address, origin);
        let mut place = Place::new(node, process, proxy);
        place.process.start()?;
        self.places.lock().await.insert(number, place);
        Ok(())
    }

    /// Members that a fresh node asks, itself not among them.
    pub(super) async fn seeds(&self, fresh: NodeNumber) -> Vec<SocketAddr> {
        let members = self.roster.members();
        let places = self.places.lock().await;
        let others = members.iter().filter(|member| **member != fresh);
        others.filter_map(|member| Some(places.get(member)?.address)).take(SEEDS).collect()
    }

    /// How the node at a place is to be listed.
    async fn seat(&self, number: NodeNumber) -> anyhow::Result<Seat> {
        let places = self.places.lock().await;
        let place = places.get(&number).context("there is no such place")?;
        Ok(Seat {
            node: self.member(number)?,
            name: number.to_string(),
            address: place.address.to_string(),
            zone: place.zone.to_string(),
            weight: 1,
        })
    }

    async fn set_duty(&self, number: NodeNumber, duty: Duty) {
        if let Some(place) = self.places.lock().await.get_mut(&number) {
            place.duty = duty;
        }
    }

    pub(super) fn member(&self, number: NodeNumber) -> anyhow::Result<u64> {
        self.roster.node(number).with_context(|| format!("nobody is at {number}"))
    }
}

/// Whether the nodes that a fault takes down are back when it has begun.
fn is_instant(fault: &Fault) -> bool {
    matches!(fault, Fault::Wipe { .. } | Fault::ZoneDestroy { .. })
}

fn erase(folder: &std::path::Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be erased", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
