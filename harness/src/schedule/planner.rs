//! Makes a schedule from a seed.

use super::members::Members;
use super::{FEWEST_MEMBERS, Pace, Planned, most_disturbed};
use crate::fault::{Connections, Damage, Fault, FaultKind, NodeNumber, Shape, WayBack, ZoneNumber};
use crate::rng::Rng;

/// The stream of the seed that schedules are drawn from.
const STREAM: u64 = 0x5c4e_d01e;
/// Milliseconds at the beginning of a campaign without faults.
const CALM_MS: u64 = 500;
/// The shortest fault worth planning, in milliseconds.
const SHORTEST_MS: u64 = 100;
/// The least time between two quiet points, in milliseconds: in between faults are to pile up.
const QUIET_EVERY_MS: u64 = 12_000;
/// The least time from the loss of a disk to a quiet point, in milliseconds: the changes that it calls for
/// happen under load and further faults.
const LOSS_FOR_MS: u64 = 7_000;
/// How long a node is silent, with the defaults of `serve`, before one that was wiped takes its place by itself, and a
/// little, in milliseconds.
const SILENT_FOR_MS: u64 = 12_000;
/// The calm after a quiet point, in milliseconds.
const AFTER_QUIET_MS: u64 = 200;
/// By how many members a cluster grows at most.
const MOST_GROWTH: usize = 2;
/// How many bits of a damaged disk are flipped at most.
const MOST_FLIPS: u64 = 32;
/// How old cancelled additions must be to be reaped, in seconds: a client that holds on to an addition for so long is
/// refused it (rule T1), and clients give up much sooner.
const REAP_OLDER_THAN_S: u32 = 10;
/// The longest that bytes are under way besides over a slow link, in milliseconds: more than a node waits before it asks a fallback.
const LONGEST_DELAY_MS: u64 = 300;
/// How much a slow link carries at least, in bytes a second: less than nodes send each other under load.
const LEAST_BYTES_PER_S: u64 = 64 << 10;
/// The greatest weight that a member gets.
const MOST_WEIGHT: u64 = 3;

/// A schedule being made.
pub(super) struct Planner<'a> {
    rng: Rng,
    pace: &'a Pace,
    /// Kinds still to come before every kind has had its turn again.
    bag: Vec<FaultKind>,
    /// The same for changes of the members.
    changes: Vec<Change>,
    faults: Vec<Planned>,
    quiet_at_ms: Vec<u64>,
    members: Members,
    /// Disks lost since the last quiet point.
    lost: usize,
    lost_at_ms: u64,
    /// The kind that lost the last disk: the next is another's turn.
    last_to_lose: Option<FaultKind>,
    /// Nothing is planned before.
    calm_until_ms: u64,
}

/// A change of the members, to be planned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    Join,
    Leave,
    Remove,
    Replace,
    Weight,
}

impl<'a> Planner<'a> {
    pub(super) fn new(seed: u64, pace: &'a Pace) -> Self {
        Self {
            rng: Rng::of(seed, STREAM),
            pace,
            bag: Vec::new(),
            changes: Vec::new(),
            faults: Vec::new(),
            quiet_at_ms: Vec::new(),
            members: Members::new(pace.nodes, pace.zones),
            lost: 0,
            lost_at_ms: 0,
            last_to_lose: None,
            calm_until_ms: 0,
        }
    }

    /// The faults, and the quiet points.
    pub(super) fn run(mut self) -> (Vec<Planned>, Vec<u64>) {
        let every = self.pace.fault_every_ms.max(SHORTEST_MS);
        let room = self.pace.time_limit_ms.saturating_sub(CALM_MS);
        let slots = if self.pace.kinds.is_empty() { 0 } else { room / every };
        for slot in 0..slots {
            let at_ms = CALM_MS + slot * every + self.rng.below(every / 2);
            if at_ms < self.calm_until_ms {
                continue;
            }
            for _ in 0..self.pace.kinds.len() {
                let kind = self.next_kind();
                let planned = self.maybe_plan(kind, at_ms);
                // A slot of one of these is not given to another kind: where one finds no room, mostly none does.
                let is_over = planned.is_some() || FaultKind::DEFAULT.contains(&kind);
                self.faults.extend(planned);
                if is_over {
                    break;
                }
            }
        }
        (self.faults, self.quiet_at_ms)
    }

    /// Every kind comes up once before any comes up again.
    fn next_kind(&mut self) -> FaultKind {
        if self.bag.is_empty() {
            self.bag.clone_from(&self.pace.kinds);
            self.rng.shuffle(&mut self.bag);
        }
        self.bag.pop().unwrap_or(FaultKind::Kill)
    }

    fn maybe_plan(&mut self, kind: FaultKind, at_ms: u64) -> Option<Planned> {
        if at_ms + 1 + SHORTEST_MS > self.pace.time_limit_ms {
            return None;
        }
        let at = |at_ms, fault| Some((at_ms, fault));
        let (at_ms, fault) = match kind {
            FaultKind::Kill => at(at_ms, Fault::Kill { node: self.maybe_node(at_ms)? })?,
            FaultKind::Pause => at(at_ms, Fault::Pause { node: self.maybe_node(at_ms)? })?,
            FaultKind::Partition => at(at_ms, self.maybe_partition()?)?,
            FaultKind::Membership => self.maybe_change(at_ms)?,
            FaultKind::Wipe => self.maybe_wipe(at_ms)?,
            FaultKind::RollingRestart => at(at_ms, self.maybe_rolling_restart(at_ms)?)?,
            FaultKind::Zone => at(at_ms, self.maybe_zone(at_ms)?)?,
            FaultKind::ZoneDestroy => self.maybe_zone_destroy(at_ms)?,
            FaultKind::DiskFull => at(at_ms, self.maybe_disk_full(at_ms)?)?,
            FaultKind::Corrupt => self.maybe_corrupt(at_ms)?,
            FaultKind::Reap => at(at_ms, self.maybe_reap(at_ms)?)?,
            FaultKind::Slow => at(at_ms, self.maybe_slow()?)?,
        };
        // Mostly short, sometimes long enough for fallbacks to take over for good.
        let (shortest, longest) = match kind {
            FaultKind::Kill | FaultKind::Zone => (300, 4_000),
            FaultKind::Pause => (300, 5_000),
            FaultKind::Partition | FaultKind::Slow => (300, 8_000),
            FaultKind::Membership | FaultKind::Wipe | FaultKind::ZoneDestroy => (3_000, 8_000),
            FaultKind::RollingRestart => (8_000, 15_000),
            // Nodes look at their disks once a second.
            FaultKind::DiskFull => (2_000, 8_000),
            FaultKind::Corrupt => (300, 4_000),
            FaultKind::Reap => (4_000, 10_000),
        };
        let left = self.pace.time_limit_ms.saturating_sub(at_ms + 1);
        let for_ms = self.rng.between(shortest, longest).min(left);
        (for_ms >= SHORTEST_MS).then_some(Planned { at_ms, for_ms, fault })
    }

    /// A node that is neither down nor paused. If as many are as may be, the one that has been for
    /// the longest comes back first.
    fn maybe_node(&mut self, at_ms: u64) -> Option<NodeNumber> {
        self.maybe_room(1, at_ms)?;
        let free = self.free(self.members.all(), at_ms);
        self.rng.pick(&free).copied()
    }

    /// Makes room for so many more nodes that are down.
    fn maybe_room(&mut self, more: usize, at_ms: u64) -> Option<()> {
        self.maybe_room_among(self.members.count(), more, at_ms)
    }

    /// The same, if there are so many members.
    fn maybe_room_among(&mut self, members: usize, more: usize, at_ms: u64) -> Option<()> {
        let disturbs =
            |planned: &Planned| planned.fault.down_count() > 0 && is_active(planned, at_ms);
        let most = most_disturbed(members);
        let down = |faults: &[Planned]| -> usize {
            faults.iter().filter(|p| disturbs(p)).map(|p| p.fault.down_count()).sum()
        };
        while down(&self.faults) + more > most {
            let mut ends = self.faults.iter_mut();
            let oldest = ends.find(|p| disturbs(p) && p.fault.is_passing())?;
            let for_ms = at_ms.checked_sub(oldest.at_ms + SHORTEST_MS / 2)?;
            if for_ms < SHORTEST_MS {
                return None;
            }
            oldest.for_ms = for_ms;
        }
        Some(())
    }

    /// Those of these nodes that are neither down nor paused.
    fn free(&self, nodes: Vec<NodeNumber>, at_ms: u64) -> Vec<NodeNumber> {
        let active = || self.faults.iter().filter(|planned| is_active(planned, at_ms));
        let is_free = |node: &NodeNumber| !active().any(|p| p.fault.downs().contains(node));
        nodes.into_iter().filter(is_free).collect()
    }

    fn maybe_partition(&mut self) -> Option<Fault> {
        let members = self.members.all();
        let shape = *self.rng.pick(&Shape::possible(members.len()))?;
        // To refuse connections takes both directions.
        let stalls = self.rng.chance(0.5) || shape == Shape::OneWay;
        let connections = if stalls { Connections::Stall } else { Connections::Reset };
        let cut = shape.cut(&members, &mut self.rng);
        Some(Fault::Partition { shape, connections, cut })
    }

    fn maybe_slow(&mut self) -> Option<Fault> {
        let members = self.members.all();
        let shapes = [Shape::Halves, Shape::Isolate, Shape::OneWay];
        let shape = *self.rng.pick(&shapes).filter(|_| members.len() > 1)?;
        let links = shape.cut(&members, &mut self.rng);
        let delay_ms = self.rng.between(1, LONGEST_DELAY_MS) as u32;
        let is_narrow = self.rng.chance(0.5);
        let bytes_per_s = is_narrow.then(|| self.rng.between(LEAST_BYTES_PER_S, 1 << 20));
        Some(Fault::Slow { delay_ms, bytes_per_s, links })
    }

    /// Makes sure that one more disk may be lost, by a quiet point if need be. Gives the moment from which on.
    fn maybe_lose(&mut self, kind: FaultKind, at_ms: u64) -> Option<u64> {
        if self.pace.may_lose == 0 || self.members.count() < FEWEST_MEMBERS {
            return None;
        }
        let loses = |kind: &&FaultKind| {
            matches!(
                kind,
                FaultKind::Membership
                    | FaultKind::Wipe
                    | FaultKind::ZoneDestroy
                    | FaultKind::Corrupt
            )
        };
        let takes_turns = self.pace.kinds.iter().filter(loses).count() > 1;
        if takes_turns && self.last_to_lose == Some(kind) {
            return None;
        }
        let at_ms = if self.lost < self.pace.may_lose { at_ms } else { self.maybe_quiet(at_ms)? };
        // The last one too is to be followed by some work.
        (at_ms + SHORTEST_MS < self.pace.time_limit_ms).then_some(at_ms)
    }

    /// Plans a quiet point as soon as every fault can have ended. Gives the moment from which on more happens.
    fn maybe_quiet(&mut self, at_ms: u64) -> Option<u64> {
        let last = self.quiet_at_ms.last().copied().unwrap_or(0);
        let ripe = (last + QUIET_EVERY_MS).max(self.lost_at_ms + LOSS_FOR_MS);
        let begun = self.faults.last().map_or(0, |planned| planned.at_ms + SHORTEST_MS);
        let quiet_ms = at_ms.max(begun);
        let after_ms = quiet_ms + AFTER_QUIET_MS;
        if at_ms < ripe || after_ms + SHORTEST_MS >= self.pace.time_limit_ms {
            return None;
        }
        for planned in &mut self.faults {
            planned.for_ms = planned.for_ms.min(quiet_ms - planned.at_ms);
        }
        self.quiet_at_ms.push(quiet_ms);
        self.lost = 0;
        self.calm_until_ms = after_ms + 1;
        Some(after_ms)
    }

    fn lose(&mut self, kind: FaultKind, at_ms: u64) {
        self.lost += 1;
        self.lost_at_ms = at_ms;
        self.last_to_lose = Some(kind);
    }

    /// A member that can be counted on, and is neither down nor paused nor the last but one of its zone.
    fn maybe_member(&mut self, at_ms: u64) -> Option<NodeNumber> {
        let settled = self.members.in_full_zones(self.members.settled(at_ms));
        let free = self.free(settled, at_ms);
        self.rng.pick(&free).copied()
    }

    fn maybe_change(&mut self, at_ms: u64) -> Option<(u64, Fault)> {
        if self.changes.is_empty() {
            self.changes = vec![Change::Remove, Change::Weight];
            self.rng.shuffle(&mut self.changes);
            // At the end, so that even a short campaign has these.
            let mut first = [Change::Join, Change::Leave, Change::Replace];
            self.rng.shuffle(&mut first);
            self.changes.extend(first);
        }
        let inits = (0..self.changes.len()).rev();
        for place in inits.collect::<Vec<_>>() {
            if let Some(planned) = self.maybe_this_change(self.changes[place], at_ms) {
                self.changes.remove(place);
                return Some(planned);
            }
        }
        // What is left in the bag waits for its time.
        let fill = *self.rng.pick(&[Change::Join, Change::Leave, Change::Weight])?;
        self.maybe_this_change(fill, at_ms)
    }

    fn maybe_this_change(&mut self, change: Change, at_ms: u64) -> Option<(u64, Fault)> {
        let few = FEWEST_MEMBERS.max(self.pace.nodes.saturating_sub(1).min(FEWEST_MEMBERS + 1));
        let may_shrink = self.members.count() > few;
        let kind = FaultKind::Membership;
        match change {
            Change::Join => {
                let zone = self.members.emptiest();
                let most = self.pace.nodes + MOST_GROWTH;
                (self.members.count() < most)
                    .then(|| (at_ms, Fault::Join { node: self.members.join(zone, at_ms), zone }))
            }
            Change::Leave => {
                let node = self.maybe_member(at_ms).filter(|_| may_shrink)?;
                self.maybe_room_among(self.members.count() - 1, 0, at_ms)?;
                self.members.leave(node);
                Some((at_ms, Fault::Leave { node }))
            }
            Change::Weight => {
                let node = self.maybe_member(at_ms)?;
                let present = self.members.weight(node)?;
                // One of the others: the same again would change nothing.
                let drawn = self.rng.between(1, MOST_WEIGHT - 1) as u32;
                let weight = drawn + u32::from(drawn >= *present);
                *present = weight;
                Some((at_ms, Fault::Weight { node, weight }))
            }
            Change::Remove => {
                let node = self.maybe_member(at_ms).filter(|_| may_shrink)?;
                self.maybe_room_among(self.members.count() - 1, 1, at_ms)?;
                let at_ms = self.maybe_lose(kind, at_ms)?;
                self.lose(kind, at_ms);
                self.members.leave(node);
                Some((at_ms, Fault::Remove { node, returns: self.rng.chance(0.5) }))
            }
            Change::Replace => {
                let old = self.maybe_member(at_ms)?;
                self.maybe_room(1, at_ms)?;
                let at_ms = self.maybe_lose(kind, at_ms)?;
                self.lose(kind, at_ms);
                let new = self.members.replace(old, at_ms);
                Some((at_ms, Fault::Replace { old, new }))
            }
        }
    }

    fn maybe_wipe(&mut self, at_ms: u64) -> Option<(u64, Fault)> {
        let node = self.maybe_member(at_ms)?;
        self.maybe_room(1, at_ms)?;
        let at_ms = self.maybe_lose(FaultKind::Wipe, at_ms)?;
        self.lose(FaultKind::Wipe, at_ms);
        // With as few members as owners none can be missed while another joins.
        let can_join = self.members.count() > FEWEST_MEMBERS && self.rng.chance(0.4);
        let way = match (can_join, self.rng.chance(0.5)) {
            (true, _) => WayBack::Join,
            (false, true) => WayBack::ByItself,
            (false, false) => WayBack::Replace,
        };
        let waits_ms = if way == WayBack::ByItself { SILENT_FOR_MS } else { 0 };
        self.members.unsettle(node, at_ms + waits_ms);
        Some((at_ms, Fault::Wipe { node, way }))
    }

    /// As a wiped disk, since a damaged one may be set aside.
    fn maybe_corrupt(&mut self, at_ms: u64) -> Option<(u64, Fault)> {
        let node = self.maybe_member(at_ms)?;
        self.maybe_room(1, at_ms)?;
        let at_ms = self.maybe_lose(FaultKind::Corrupt, at_ms)?;
        self.lose(FaultKind::Corrupt, at_ms);
        self.members.unsettle(node, at_ms);
        let damage = if self.rng.chance(0.75) {
            let flips = self.rng.between(1, MOST_FLIPS);
            let at_ppm = (0..flips).map(|_| self.rng.below(1_000_000) as u32).collect();
            Damage::Flip { at_ppm, bit: self.rng.below(8) as u8 }
        } else {
            Damage::Truncate { at_ppm: self.rng.below(1_000_000) as u32 }
        };
        Some((at_ms, Fault::Corrupt { node, damage }))
    }

    /// A member whose disk is not full. Fewer than half are at one moment: somebody is to take writes.
    fn maybe_disk_full(&mut self, at_ms: u64) -> Option<Fault> {
        let active = self.faults.iter().filter(|planned| is_active(planned, at_ms));
        let fills = active.filter(|planned| planned.fault.kind() == FaultKind::DiskFull);
        let full: Vec<NodeNumber> = fills.flat_map(|planned| planned.fault.nodes()).collect();
        let mut members = self.members.all();
        members.retain(|member| !full.contains(member));
        let has_room = full.len() < most_disturbed(self.members.count());
        let node = *self.rng.pick(&members).filter(|_| has_room)?;
        Some(Fault::DiskFull { node })
    }

    /// All members, in some order.
    fn maybe_rolling_restart(&mut self, at_ms: u64) -> Option<Fault> {
        if self.is_under_way(FaultKind::RollingRestart, at_ms) {
            return None;
        }
        self.maybe_room(1, at_ms)?;
        Some(Fault::RollingRestart { nodes: self.shuffled() })
    }

    /// The same: runs at two nodes end each other's rounds.
    fn maybe_reap(&mut self, at_ms: u64) -> Option<Fault> {
        if self.is_under_way(FaultKind::Reap, at_ms) {
            return None;
        }
        Some(Fault::Reap { nodes: self.shuffled(), older_than_s: REAP_OLDER_THAN_S })
    }

    fn is_under_way(&self, kind: FaultKind, at_ms: u64) -> bool {
        self.faults.iter().any(|planned| planned.fault.kind() == kind && is_active(planned, at_ms))
    }

    fn shuffled(&mut self) -> Vec<NodeNumber> {
        let mut nodes = self.members.all();
        self.rng.shuffle(&mut nodes);
        nodes
    }

    /// A zone beside which there is another, none of whose nodes is down.
    fn maybe_zone_to_lose(&mut self, at_ms: u64) -> Option<(ZoneNumber, Vec<NodeNumber>)> {
        let zones = self.members.zones();
        let most = most_disturbed(self.members.count());
        let fits = |nodes: &Vec<NodeNumber>| {
            (1..=most).contains(&nodes.len()) && nodes.len() < self.members.count()
        };
        let settled = self.members.settled(at_ms);
        let free = self.free(settled, at_ms);
        let is_free = |nodes: &Vec<NodeNumber>| nodes.iter().all(|node| free.contains(node));
        let zones: Vec<_> =
            zones.into_iter().filter(|(_, nodes)| fits(nodes) && is_free(nodes)).collect();
        let (zone, nodes) = self.rng.pick(&zones)?.clone();
        self.maybe_room(nodes.len(), at_ms)?;
        Some((zone, nodes))
    }

    fn maybe_zone(&mut self, at_ms: u64) -> Option<Fault> {
        if self.rng.chance(0.5) {
            let (zone, nodes) = self.maybe_zone_to_lose(at_ms)?;
            return Some(Fault::ZoneKill { zone, nodes });
        }
        let zones: Vec<_> =
            self.members.zones().into_iter().filter(|(_, nodes)| !nodes.is_empty()).collect();
        let (zone, inside) = self.rng.pick(&zones)?.clone();
        let connections =
            if self.rng.chance(0.5) { Connections::Stall } else { Connections::Reset };
        let others = || self.members.all().into_iter().filter(|node| !inside.contains(node));
        let links = inside.iter().flat_map(|node| others().map(|other| (*node, other)));
        let mut cut: Vec<_> = links.flat_map(|(a, b)| [(a, b), (b, a)]).collect();
        cut.sort_unstable();
        (!cut.is_empty()).then_some(Fault::ZoneCut { zone, connections, cut })
    }

    fn maybe_zone_destroy(&mut self, at_ms: u64) -> Option<(u64, Fault)> {
        let (zone, nodes) = self.maybe_zone_to_lose(at_ms)?;
        let at_ms = self.maybe_lose(FaultKind::ZoneDestroy, at_ms)?;
        self.lose(FaultKind::ZoneDestroy, at_ms);
        nodes.iter().for_each(|node| self.members.unsettle(*node, at_ms));
        Some((at_ms, Fault::ZoneDestroy { zone, nodes }))
    }
}

/// Whether a fault is active at a moment or ends just then.
fn is_active(planned: &Planned, at_ms: u64) -> bool {
    planned.at_ms + planned.for_ms >= at_ms
}
