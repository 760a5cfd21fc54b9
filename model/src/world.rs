//! The world: replicas, disks, network, clients and facts as one value that is cheap to copy.

use std::{fmt, sync::Arc};

use cartwheel_protocol::{
    Effect, Fact, Input, Message, Ticket, Timer,
    id::{AddId, NodeId},
    rules::Rules,
    view::View,
};

use crate::{
    action::Action,
    client::{Client, Op},
    ghost::Ghost,
    hashed::Hashed,
    host::Host,
    network::{Network, Packet},
    setup::{Budget, Budgets, Plan, Setup},
    witness::{Observer, Witness},
};

/// Everything that there is. What a step does not touch is shared with the world before it.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct World {
    pub(crate) setup: Hashed<Setup>,
    pub(crate) hosts: Vec<Hashed<Host>>,
    pub(crate) network: Hashed<Network>,
    pub(crate) clients: Hashed<Vec<Client>>,
    pub(crate) ghost: Hashed<Ghost>,
    pub(crate) left: Budgets,
    /// How many decrees were made.
    pub(crate) decreed: u8,
    /// The views that came about without a decree, by their numbers, ascending.
    pub(crate) raised: Vec<u8>,
    /// What reap rounds have made of views: those that begin one, and those that came later.
    pub(crate) made: Hashed<Vec<(u8, Arc<View>)>>,
}

impl World {
    /// The world at the start: every node is up and has its view.
    pub fn new(plan: &Plan, rules: Rules) -> Self {
        let setup = Setup::new(plan, rules);
        let mut world = Self {
            hosts: setup.nodes.iter().map(|_| Hashed::new(Host::new())).collect(),
            network: Hashed::new(Network::default()),
            clients: Hashed::new(vec![Client::default(); setup.clients.len()]),
            ghost: Hashed::new(Ghost::default()),
            left: plan.budgets,
            decreed: plan.begun,
            raised: Vec::new(),
            made: Hashed::new(Vec::new()),
            setup: Hashed::new(setup),
        };
        for at in 0..world.hosts.len() {
            let is_behind = plan.behind.contains(&(at as u8));
            let saved = if is_behind { 0 } else { world.setup.decrees[usize::from(plan.begun)] };
            if world.setup.view(saved).lists(world.setup.nodes[at]) {
                world.hosts[at].make_mut().saved = Some(saved);
            }
            world.start(at, &mut ());
        }
        for (node, other) in world.setup.suspected.clone() {
            world.suspect(node, other, true, &mut ());
        }
        world
    }

    /// The cluster and its clients.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The nodes.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &Host> {
        self.hosts.iter().map(|host| &**host)
    }

    /// The messages in flight.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// How many faults of a kind may still happen.
    pub fn left(&self, kind: Budget) -> u8 {
        self.left.left(kind)
    }

    pub(crate) fn node(&self, at: u8) -> NodeId {
        self.setup.nodes[usize::from(at)]
    }

    /// Does one enabled action.
    ///
    /// # Panics
    ///
    /// If the action is not among [`World::enabled`], or if the core panics.
    pub fn apply(&mut self, action: Action, observer: &mut impl Observer) {
        match action {
            Action::Ask { client, at } => self.ask(client, at, observer),
            Action::Retry { client, at } => {
                self.spend(Budget::Retry);
                self.retry(client, at, observer);
            }
            Action::Deliver(index) => {
                let packet = self.network.make_mut().take(usize::from(index));
                self.deliver(&packet, observer);
            }
            Action::Duplicate(index) => {
                self.spend(Budget::Duplicate);
                let packet = self.network.packets()[usize::from(index)].clone();
                observer.note(Witness::Duplicated);
                self.deliver(&packet, observer);
            }
            Action::Drop(index) => {
                self.spend(Budget::Drop);
                observer.note(Witness::Dropped);
                self.network.make_mut().take(usize::from(index));
                // It may be what would have made owners equal.
                self.stir();
            }
            Action::Sync(at) => self.sync(usize::from(at), observer),
            Action::Fire(at, timer) => self.fire(usize::from(at), timer, observer),
            Action::Suspect { node, other } => {
                self.spend(Budget::Suspect);
                self.suspect(node, other, true, observer);
            }
            Action::Trust { node, other } => self.suspect(node, other, false, observer),
            Action::Crash { node, keep } => {
                self.spend(Budget::Crash);
                self.crash(usize::from(node), usize::from(keep), observer);
            }
            Action::Hush(at) => {
                observer.note(Witness::CrashHushed);
                let node = self.node(at);
                self.network.make_mut().forget_from(node);
                self.stir();
            }
            Action::Restart(at) => {
                observer.note(Witness::Restarted);
                self.start(usize::from(at), observer);
            }
            Action::Wipe(at) => {
                self.spend(Budget::Wipe);
                self.wipe(usize::from(at), observer);
            }
            Action::Decree(_) => self.decree(observer),
            Action::Adopt { node, view } => self.adopt(usize::from(node), view, observer),
            Action::Reap(at) => {
                self.spend(Budget::Reap);
                let bound = Some(AddId(u128::MAX));
                self.step(usize::from(at), Input::Reap { bound }, observer);
            }
            Action::Raise(at) => {
                self.spend(Budget::Raise);
                self.raise(usize::from(at), observer);
            }
            Action::Damage { node, key } => {
                self.spend(Budget::Damage);
                observer.note(Witness::Damaged);
                let place = self.setup.keys[usize::from(key)].clone();
                self.hosts[usize::from(node)].make_mut().disk.damage(&place);
                self.lose();
            }
        }
        self.settle(observer);
    }

    fn spend(&mut self, kind: Budget) {
        assert!(self.left.spend(kind), "the budget of {} is spent", kind.name());
    }

    fn deliver(&mut self, packet: &Packet, observer: &mut impl Observer) {
        let at = self.setup.index(packet.to);
        let input = Input::Message { from: packet.from, message: packet.message.clone() };
        self.step(at, input, observer);
    }

    fn fire(&mut self, at: usize, timer: Timer, observer: &mut impl Observer) {
        match timer {
            Timer::Fallback(_) => self.spend(Budget::Silence),
            Timer::Deadline(_) => self.spend(Budget::Deadline),
            Timer::Handoff => self.spend(Budget::Handoff),
            Timer::CatchUp => self.spend(Budget::CatchUp),
            Timer::AntiEntropy => self.spend(Budget::AntiEntropy),
            // It is set until the trees are whole, and no longer.
            Timer::Trees => {}
            Timer::Mend => self.spend(Budget::Mend),
            Timer::Reap => self.spend(Budget::Reap),
        }
        assert!(self.hosts[at].make_mut().timers.remove(&timer), "{timer} is not set");
        self.step(at, Input::Timeout(timer), observer);
    }

    fn start(&mut self, at: usize, observer: &mut impl Observer) {
        let id = self.setup.nodes[at];
        let config = self.setup.config.clone();
        let host = self.hosts[at].make_mut();
        host.out = false;
        host.start(id, &config);
        if let Some(saved) = host.saved {
            let view = self.view(saved).clone();
            if !self.newest().is_member(id) {
                observer.note(Witness::RemovedReturns);
            }
            self.go_by(at, view, observer);
        }
    }

    fn suspect(&mut self, node: u8, other: u8, suspected: bool, observer: &mut impl Observer) {
        let host = self.hosts[usize::from(node)].make_mut();
        host.suspects = (host.suspects & !(1 << other)) | (u16::from(suspected) << other);
        let input = Input::Suspect { node: self.node(other), suspected };
        self.step(usize::from(node), input, observer);
    }

    fn crash(&mut self, at: usize, keep: usize, observer: &mut impl Observer) {
        let tail = self.hosts[at].disk.tail();
        let loses = tail[keep..].iter().any(|batch| !batch.is_empty());
        if keep > 0 {
            observer.note(Witness::CrashKept);
        }
        self.hosts[at].make_mut().crash(keep);
        self.hang_up(at, observer);
        if loses {
            observer.note(Witness::CrashLost);
            self.stir();
        }
    }

    fn wipe(&mut self, at: usize, observer: &mut impl Observer) {
        if self.hosts[at].disk.durable().next().is_some() {
            observer.note(Witness::DiskLost);
        }
        self.hosts[at].make_mut().wipe();
        let node = self.setup.nodes[at];
        self.network.make_mut().forget(node);
        self.hang_up(at, observer);
        self.lose();
    }

    /// A disk, or a record of it, is lost.
    fn lose(&mut self) {
        self.ghost.make_mut().lost += 1;
        self.stir();
    }

    /// What some owner holds may be missing at another from now on.
    pub(crate) fn stir(&mut self) {
        if !self.ghost.stirred {
            self.ghost.make_mut().stirred = true;
        }
        if self.clients.iter().any(|client| client.current.as_ref().is_some_and(|c| c.calm)) {
            for client in self.clients.make_mut() {
                client.current.iter_mut().for_each(|current| current.calm = false);
            }
        }
    }

    /// The oldest batch of a node becomes durable.
    fn sync(&mut self, at: usize, observer: &mut impl Observer) {
        for ticket in self.hosts[at].make_mut().disk.sync() {
            self.step(at, Input::Synced(ticket), observer);
        }
    }

    /// A disk with nothing to write answers at once. When no crash can happen any more every disk does:
    /// nothing can be lost, and a late acknowledgement is a late message.
    fn settle(&mut self, observer: &mut impl Observer) {
        let at_once = self.left(Budget::Crash) == 0 && !self.setup.slow_disks;
        for at in 0..self.hosts.len() {
            while self.hosts[at].is_up()
                && self.hosts[at].disk.tail().first().is_some_and(|b| at_once || b.is_empty())
            {
                self.sync(at, observer);
            }
        }
    }

    /// One step of a replica and what it wants done.
    pub(crate) fn step(&mut self, at: usize, input: Input, observer: &mut impl Observer) {
        let id = self.setup.nodes[at];
        observer.input(id, &input);
        let mut effects = Vec::new();
        let host = self.hosts[at].make_mut();
        let Some(replica) = &mut host.replica else { return };
        replica.step(&mut host.disk, input, &mut effects);
        let mut tickets: Vec<Ticket> = Vec::new();
        let is_reap = |effect: &Effect| matches!(effect, Effect::Report(Fact::Reaped(_)));
        let reaps = effects.iter().any(is_reap);
        for effect in effects {
            observer.effect(id, &effect);
            match effect {
                Effect::Reply { number, response } => self.hear(at, number, &response, observer),
                Effect::Send { to, message } => self.send(id, to, message),
                Effect::Sync(ticket) => tickets.push(ticket),
                Effect::SetTimer { timer, after_ms: _, yields: _ } => {
                    self.hosts[at].make_mut().timers.insert(timer);
                }
                Effect::CancelTimer(timer) => {
                    self.hosts[at].make_mut().timers.remove(&timer);
                }
                Effect::Report(fact) => self.report(at, fact, observer),
            }
        }
        self.close(at, tickets, reaps, observer);
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if !self.hosts[self.setup.index(to)].out {
            self.network.make_mut().send(Packet { from, to, message });
        }
    }

    /// Whether a task is over, whatever became of it.
    pub(crate) fn is_over(&self, op: Op) -> bool {
        let client = &self.clients[usize::from(op.client)];
        let running = client.current.as_ref().is_some_and(|current| current.step == op.step);
        (client.begun > op.step && !running) || client.stopped
    }

    /// Whether every client has done what it was to do, or stopped.
    pub fn is_finished(&self) -> bool {
        let scripts = self.setup.clients.iter();
        let mut clients = self.clients.iter().zip(scripts);
        clients.all(|(client, script)| {
            let begun = usize::from(client.begun) == script.tasks.len();
            client.stopped || (begun && client.current.is_none())
        })
    }

    /// Whether nothing is under way or owed and no tree differs; where there are no trees, nothing was lost since every owner
    /// answered one read.
    pub fn is_quiet(&self) -> bool {
        let is_whole = |host: &Host| host.out || host.disk.is_whole();
        let newest = self.newest();
        let agree = if self.setup.has_trees() { self.trees_agree() } else { !self.ghost.stirred };
        agree
            && newest.next().is_none()
            && newest.layout().draining().is_empty()
            && self.is_at_rest()
            && self.hosts().all(is_whole)
            && !(0..self.hosts.len()).any(|at| self.holds_a_hint(at))
    }

    /// Whether the trees of all owners that are not lost are whole, and the same.
    fn trees_agree(&self) -> bool {
        let newest = self.newest();
        let hosts = self.hosts().enumerate();
        let owners = hosts.filter(|(at, host)| self.setup.owns_in(*at, newest) && !host.out);
        let mut trees = owners.map(|(_, host)| {
            let whole = host.replica.as_ref().filter(|replica| replica.trees_left() == 0);
            whole.map(|replica| replica.trees().collect::<Vec<_>>())
        });
        let first = trees.next().flatten();
        first.is_some() && trees.all(|other| other == first)
    }

    /// Whether a node holds a durable record that it does not own: it owes it to somebody, whatever the record says.
    pub(crate) fn holds_a_hint(&self, at: usize) -> bool {
        let owns = self.view_of(at).is_some_and(|view| self.setup.owns_in(at, view));
        !owns && self.hosts[at].disk.durable().next().is_some()
    }

    /// Whether nothing is under way: every node that is not lost is up and goes by the newest view, all is durable, no message is in flight and
    /// no request open.
    pub(crate) fn is_at_rest(&self) -> bool {
        let catches_up = |host: &Host| host.timers.contains(&Timer::CatchUp);
        self.waits_for_background() && !self.hosts().any(catches_up)
    }

    /// The same, but that nodes may still have to catch up.
    pub(crate) fn waits_for_background(&self) -> bool {
        let is_background = |timer: &Timer| {
            use Timer::{AntiEntropy, CatchUp, Handoff, Mend, Reap, Trees};
            matches!(timer, Handoff | Trees | AntiEntropy | Mend | Reap | CatchUp)
        };
        let only_background = |host: &Host| host.timers.iter().all(is_background);
        let rests = |host: &Host| {
            host.out || (host.is_up() && host.disk.tail().is_empty() && only_background(host))
        };
        self.network.packets().is_empty()
            && self.clients.iter().all(|client| client.current.is_none())
            && self.all_are_up_to_date()
            && self.hosts().all(rests)
    }
}

impl fmt::Display for World {
    /// One line for each node, message and client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, host) in self.setup.nodes.iter().zip(self.hosts()) {
            write!(f, "{node}")?;
            if !host.is_up() {
                f.write_str(if host.out { " lost" } else { " down" })?;
            }
            for key in &self.setup.keys {
                match host.disk.durable_cell(key) {
                    Some(crate::disk::Cell::Sound(record)) => write!(f, " {key} {record}")?,
                    Some(crate::disk::Cell::Damaged) => write!(f, " {key} damaged")?,
                    None => {}
                }
            }
            for batch in host.disk.tail() {
                f.write_str(" | unsynced")?;
                batch.records().try_for_each(|(key, record)| write!(f, " {key} {record}"))?;
                batch.removals().try_for_each(|key| write!(f, " {key} dropped"))?;
            }
            if let Some(view) = host.view.filter(|_| !self.setup.turns.is_empty()) {
                write!(f, " in {}", self.view(view).id())?;
            }
            host.timers.iter().try_for_each(|timer| write!(f, " [{timer}]"))?;
            for other in (0..self.hosts.len() as u8).filter(|other| host.does_suspect(*other)) {
                write!(f, " suspects {}", self.node(other))?;
            }
            writeln!(f)?;
        }
        for index in 0..self.network.packets().len() {
            writeln!(f, "in flight: {}", self.network.name(index))?;
        }
        for (op, fact) in self.ghost.facts() {
            writeln!(f, "{op} {:?}", fact.status)?;
        }
        self.violation().map_or(Ok(()), |property| writeln!(f, "violated: {property}"))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
