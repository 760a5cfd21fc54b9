//! What may happen next in a world.

use cartwheel_protocol::Timer;

use crate::{action::Action, setup::Budget, world::World};

impl World {
    /// All that may happen next, in a fixed order: clients, messages, disks, timers, opinions, faults.
    pub fn enabled(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.list(&mut actions);
        actions
    }

    /// Appends what [`World::enabled`] gives.
    pub fn list(&self, actions: &mut Vec<Action>) {
        self.list_clients(actions);
        self.list_messages(actions);
        for (at, host) in self.hosts.iter().enumerate() {
            if host.is_up() && !host.disk.tail().is_empty() {
                actions.push(Action::Sync(at as u8));
            }
        }
        self.list_timers(actions);
        self.list_opinions(actions);
        self.list_changes(actions);
        self.list_reaping(actions);
        for at in 0..self.hosts.len() {
            self.list_faults(at as u8, actions);
        }
    }

    fn list_reaping(&self, actions: &mut Vec<Action>) {
        let Some(at) = self.setup.reaper.filter(|_| self.left(Budget::Reap) > 0) else { return };
        let replica = self.hosts[usize::from(at)].replica.as_ref();
        let is_idle = replica.is_some_and(|replica| replica.reaps_at().is_none());
        if is_idle && self.setup.reap_after.is_none_or(|op| self.is_over(op)) {
            actions.push(Action::Reap(at));
        }
    }

    fn list_messages(&self, actions: &mut Vec<Action>) {
        let can_double = self.left(Budget::Duplicate) > 0;
        let can_drop = self.left(Budget::Drop) > 0;
        for (index, packet) in self.network.packets().iter().enumerate() {
            if can_drop {
                actions.push(Action::Drop(index as u16));
            }
            if !self.hosts[self.setup.index(packet.to)].is_up() {
                continue;
            }
            actions.push(Action::Deliver(index as u16));
            if can_double && packet.message.may_be_duplicated() {
                actions.push(Action::Duplicate(index as u16));
            }
        }
    }

    fn list_timers(&self, actions: &mut Vec<Action>) {
        for (at, host) in self.hosts.iter().enumerate() {
            for timer in &host.timers {
                let may_fire = match timer {
                    Timer::Fallback(_) => self.left(Budget::Silence) > 0,
                    Timer::Deadline(_) => self.left(Budget::Deadline) > 0,
                    Timer::CatchUp => self.left(Budget::CatchUp) > 0,
                    Timer::Mend => self.left(Budget::Mend) > 0 && host.disk.has_damage(),
                    Timer::Handoff => self.left(Budget::Handoff) > 0 && self.may_hand_off(at),
                    Timer::AntiEntropy => self.left(Budget::AntiEntropy) > 0,
                    Timer::Trees => true,
                    Timer::Reap => self.left(Budget::Reap) > 0,
                };
                if may_fire {
                    actions.push(Action::Fire(at as u8, *timer));
                }
            }
        }
    }

    /// Owners hold no hints, and there is nothing to hand over on an empty disk, but to be said that it is so.
    fn may_hand_off(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        self.view_of(at).is_some_and(|view| {
            let reports = !self.setup.turns.is_empty() && !view.is_member(self.setup.nodes[at]);
            !self.setup.owns_in(at, view) && (!host.disk.is_empty() || reports)
        })
    }

    fn list_opinions(&self, actions: &mut Vec<Action>) {
        for (node, other) in &self.setup.suspicions {
            let (node, other) = (*node, *other);
            let host = &self.hosts[usize::from(node)];
            if host.is_up() && host.does_suspect(other) {
                actions.push(Action::Trust { node, other });
            } else if host.is_up() && self.left(Budget::Suspect) > 0 {
                actions.push(Action::Suspect { node, other });
            }
        }
    }

    fn list_faults(&self, node: u8, actions: &mut Vec<Action>) {
        let host = &self.hosts[usize::from(node)];
        let among = |nodes: &[u8]| nodes.is_empty() || nodes.contains(&node);
        if host.is_up() && self.left(Budget::Crash) > 0 && among(&self.setup.crashing) {
            actions.push(Action::Crash { node, keep: 0 });
            let tail = host.disk.tail().iter().enumerate();
            // Keeping a batch that writes nothing is the same as not keeping it.
            actions.extend(
                tail.filter(|(_, batch)| !batch.is_empty())
                    .map(|(keep, _)| Action::Crash { node, keep: keep as u8 + 1 }),
            );
        }
        // Of its messages those that arrive may do so before. That some arrive after its restart while others of the same run are
        // lost takes the budget of drops.
        if !host.is_up() && self.network.packets().iter().any(|p| p.from == self.node(node)) {
            actions.push(Action::Hush(node));
        }
        let comes_back = !host.out || !self.setup.config.rules.wiped_disk_is_new();
        if !host.is_up() && comes_back {
            actions.push(Action::Restart(node));
        }
        let may_lose = !host.out && among(&self.setup.losing);
        if may_lose && self.left(Budget::Wipe) > 0 {
            actions.push(Action::Wipe(node));
        }
        if may_lose && self.left(Budget::Damage) > 0 {
            for (key, place) in self.setup.keys.iter().enumerate() {
                if host.disk.durable_cell(place).is_some_and(|cell| cell.record().is_some()) {
                    actions.push(Action::Damage { node, key: key as u8 });
                }
            }
        }
    }
}
