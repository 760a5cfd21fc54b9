//! Whether background work would end, if it went on alone from here.

use cartwheel_protocol::{Input, Timer, id::NodeId, key::RecordKey};

use crate::{action::Action, disk::Cell, host::Host, world::World};

/// How often hints may have to be handed on: a copy goes from a node to an owner, and no further. So often each owner
/// compares its tree, in turn with each of two others.
const ROUNDS: usize = 3;

impl World {
    /// Whether hand-off would end, if from here on nothing else happened but that owners compare their trees. Hints wait for whom is lost or
    /// damaged, and for who is behind: there nothing is asked.
    pub(super) fn hints_can_end(&self) -> bool {
        let owes = |world: &Self| (0..world.hosts.len()).any(|at| world.holds_a_hint(at));
        let may_owe = owes(self) || self.setup.has_trees();
        !may_owe || !self.is_at_rest() || !self.is_whole() || !owes(&self.after_background())
    }

    /// Whether owners would become equal, if from here on nothing else happened but hand-off and that they compare their trees. Who
    /// suspects another does not compare with it: there nothing is asked.
    pub(super) fn owners_can_mend(&self) -> bool {
        let trusts = |host: &Host| host.suspects == 0;
        let asked = self.setup.has_trees() && self.is_at_rest() && self.is_whole();
        !asked || !self.hosts().all(trusts) || self.after_background().owners_are_equal()
    }

    /// Whether no disk and no record is lost.
    fn is_whole(&self) -> bool {
        let is_sound =
            |host: &Host| !host.out && host.disk.durable().all(|(_, cell)| cell.record().is_some());
        self.hosts().all(is_sound)
    }

    /// What the background work leads to when it goes on alone.
    fn after_background(&self) -> Self {
        let mut world = self.clone();
        for _ in 0..ROUNDS {
            world.run_all(Timer::Handoff);
            // Last, so that what it leaves with others than owners is seen.
            world.run_all(Timer::AntiEntropy);
        }
        world
    }

    /// The timer runs out at every node where it is set, and all that follows is done.
    fn run_all(&mut self, timer: Timer) {
        for at in 0..self.hosts.len() {
            if self.hosts[at].make_mut().timers.remove(&timer) {
                self.step(at, Input::Timeout(timer), &mut ());
            }
        }
        self.run_down();
    }

    /// All that is under way is done.
    fn run_down(&mut self) {
        let may_run = |action: &Action| {
            matches!(action, Action::Deliver(_) | Action::Sync(_) | Action::Fire(_, Timer::Trees))
        };
        while let Some(action) = self.enabled().into_iter().find(may_run) {
            self.apply(action, &mut ());
        }
    }

    /// Whether every mark would go of which enough other owners hold an undamaged copy, if from here on nothing else happened but
    /// that nodes ask about their marks, catch up, and raise views; and whether those that catch up with such a record would come to an
    /// end.
    pub(super) fn mending_can_end(&self) -> bool {
        let marked: Vec<(usize, &RecordKey)> = self.mendable().collect();
        if marked.is_empty() || !self.waits_for_background() {
            return true;
        }
        let after = self.after_mending();
        let is_mended = |(at, key): &(usize, &RecordKey)| {
            after.hosts[*at].disk.durable_cell(key).is_none_or(Cell::is_whole)
        };
        let ends = marked.iter().all(is_mended) && !after.waits_for_a_living_source();
        after.lacks_a_view() || ends
    }

    /// Whether a node has still to catch up though every owner whose copy it may need is whole.
    fn waits_for_a_living_source(&self) -> bool {
        let (newest, bucket) = (self.newest(), &self.setup.bucket);
        let serves = |node: &NodeId| {
            let host = &self.hosts[self.setup.index(*node)];
            !host.out && host.disk.durable().all(|(_, cell)| cell.is_whole())
        };
        let partition = self.setup.keys[0].partition;
        let mut sources = newest.owners(partition, bucket.n).iter();
        sources.all(|owner| newest.names_lost(*owner) || serves(owner))
            && self.hosts().any(|host| !host.out && host.timers.contains(&Timer::CatchUp))
    }

    /// The marked records that can be mended, each with the number of its node.
    fn mendable(&self) -> impl Iterator<Item = (usize, &RecordKey)> {
        let (newest, bucket) = (self.newest(), &self.setup.bucket);
        let can_be = move |at: usize, key: &RecordKey| {
            let owners = newest.owners(key.partition, bucket.n);
            let counts =
                |owner: &&NodeId| **owner != self.setup.nodes[at] && !newest.names_lost(**owner);
            let others = owners.iter().filter(counts);
            let others: Vec<usize> = others.map(|owner| self.setup.index(*owner)).collect();
            let need = (owners.len() + 1).saturating_sub(bucket.strict_w.into()).max(1);
            let is_sound = |other: &&usize| {
                let host = &self.hosts[**other];
                !host.out && host.disk.durable_cell(key).is_none_or(Cell::is_whole)
            };
            let sound = others.iter().filter(is_sound).count();
            let owns = self.setup.owns_in(at, newest);
            owns && sound > 0 && sound >= need.min(others.len())
        };
        let hosts = self.hosts().enumerate();
        hosts.flat_map(move |(at, host)| {
            let is_marked = |cell: &Cell| cell.record().is_some_and(|r| r.damaged.is_some());
            let marked = host.disk.durable().filter(move |(_, cell)| is_marked(cell));
            marked.map(|(key, _)| key).filter(move |key| can_be(at, key)).map(move |key| (at, key))
        })
    }

    /// What asking about marks leads to when it goes on alone.
    fn after_mending(&self) -> Self {
        let mut world = self.clone();
        for _ in 0..ROUNDS {
            world.run_all(Timer::Mend);
            world.run_all(Timer::CatchUp);
            if let Some(at) = (0..world.hosts.len()).find(|at| world.raised_by(*at).is_some()) {
                world.raise(at, &mut ());
                world.run_down();
            }
            while let Some(action) = world.enabled().into_iter().find(Self::follows) {
                world.apply(action, &mut ());
                world.run_down();
            }
        }
        world
    }

    /// Whether a node comes to go by a view that there is.
    fn follows(action: &Action) -> bool {
        matches!(action, Action::Adopt { .. })
    }

    /// Whether a node wants a view above its own that the plan does not have.
    fn lacks_a_view(&self) -> bool {
        (0..self.hosts.len()).any(|at| {
            let host = &self.hosts[at];
            let raised = |at| Some(self.view_of(at)?.raised(self.setup.nodes[at]).id());
            host.wants_above.is_some()
                && host.wants_above == host.view
                && raised(at).is_some_and(|id| self.setup.number_of(id).is_none())
        })
    }
}
