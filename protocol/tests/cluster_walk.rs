//! Whatever happens on a random walk over a small cluster (messages lost, duplicated and reordered, crashes that lose
//! the unsynced tail, timers at any time, suspicion right or wrong), a request gets at most one reply (the cluster
//! refuses a second one), what was acknowledged is durable on w disks at any time, and after healing it is there.

mod support;

use std::collections::BTreeSet;

use cartwheel_protocol::{
    id::{AddId, NodeId, PutId},
    key::Key,
    object::Object,
    record::Stored,
    request::Response,
    rules::Rules,
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{TestCaseResult, TestRunner},
};

use support::walk::{Action, NODES, Walk, action, cart, register};

/// The bucket's default: slots that hold what is acknowledged.
const W: usize = 2;

/// What is checked of a walk.
struct Checked<'a>(&'a Walk);

impl Checked<'_> {
    fn object(&self, owner: u64, key: &Key) -> Object {
        let key = self.0.cluster.place(key.clone());
        match self.0.cluster.stored(NodeId(owner), &key) {
            Stored::Absent => Object::new(),
            Stored::Found(record) => record.object,
            Stored::Damaged => panic!("nothing damages records here"),
        }
    }

    /// How many disks hold durably what `holds` looks for.
    fn disks(&self, key: &Key, holds: impl Fn(&Object) -> bool) -> usize {
        let place = self.0.cluster.place(key.clone());
        let held = |id: &NodeId| match self.0.cluster.nodes[id].disk.durable(&place) {
            Stored::Found(record) => holds(&record.object),
            Stored::Absent | Stored::Damaged => false,
        };
        self.0.cluster.ids().iter().filter(|id| held(id)).count()
    }

    /// Asking whether some copy is left would miss whoever loses copies one at a time.
    fn check_copies(&self) -> TestCaseResult {
        let attempted: BTreeSet<&(Key, AddId)> = self.0.clients.cancels.values().collect();
        for (number, addition) in &self.0.clients.additions {
            if self.0.was_written(*number) && !attempted.contains(addition) {
                let (cart, add_id) = addition;
                let shows = |object: &Object| {
                    object.additions().iter().any(|addition| addition.add_id == *add_id)
                };
                let disks = self.disks(cart, shows);
                prop_assert!(disks >= W, "{} of r{} is on {} disks", add_id, number, disks);
            }
        }
        for (number, put_id) in &self.0.clients.puts {
            if self.0.was_written(*number) && !self.0.clients.replaced.contains(put_id) {
                let shows =
                    |object: &Object| object.values().iter().any(|value| value.put_id == *put_id);
                let disks = self.disks(&register(), shows);
                prop_assert!(disks >= W, "{} of r{} is on {} disks", put_id, number, disks);
            }
        }
        Ok(())
    }

    fn check(&self) -> TestCaseResult {
        for node in self.0.cluster.nodes.values() {
            prop_assert!(node.waiting.is_empty(), "no reply to {:?}", node.waiting);
        }
        for key in [register(), cart(0), cart(1)] {
            let first = self.object(1, &key);
            for owner in 2..=3 {
                prop_assert_eq!(&self.object(owner, &key), &first, "owners differ in {}", key);
            }
            for fallback in 4..=NODES {
                let left =
                    self.0.cluster.stored(NodeId(fallback), &self.0.cluster.place(key.clone()));
                prop_assert_eq!(left, Stored::Absent, "n{} still holds {}", fallback, key);
            }
        }
        self.check_carts()?;
        self.check_strict_reads()?;
        self.check_register()
    }

    fn check_carts(&self) -> TestCaseResult {
        let attempted: BTreeSet<&(Key, AddId)> = self.0.clients.cancels.values().collect();
        let shown = |cart: &Key| -> BTreeSet<AddId> {
            self.object(1, cart).additions().iter().map(|addition| addition.add_id).collect()
        };
        for (number, addition) in &self.0.clients.additions {
            let (cart, add_id) = addition;
            let kept = shown(cart).contains(add_id) || attempted.contains(addition);
            prop_assert!(kept || !self.0.was_written(*number), "lost {} of r{}", add_id, number);
        }
        for (number, (cart, add_id)) in &self.0.clients.cancels {
            let gone = !shown(cart).contains(add_id);
            prop_assert!(gone || !self.0.was_written(*number), "{} came back", add_id);
        }
        for number in 0..2 {
            for add_id in shown(&cart(number)) {
                let asked = self.0.clients.known.contains(&(cart(number), add_id));
                prop_assert!(asked, "{} comes from nowhere", add_id);
            }
        }
        Ok(())
    }

    fn check_strict_reads(&self) -> TestCaseResult {
        let attempted: BTreeSet<&(Key, AddId)> = self.0.clients.cancels.values().collect();
        for (number, due) in &self.0.clients.due {
            if let Some(Response::Found { object, .. }) = self.0.cluster.replies.get(number) {
                for addition in due.iter().filter(|addition| !attempted.contains(addition)) {
                    prop_assert!(object.knows(addition.1), "r{} misses {}", number, addition.1);
                }
            }
        }
        Ok(())
    }

    fn check_register(&self) -> TestCaseResult {
        let object = self.object(1, &register());
        let shown: BTreeSet<PutId> = object.values().iter().map(|value| value.put_id).collect();
        for (number, put_id) in &self.0.clients.puts {
            let kept = shown.contains(put_id) || self.0.clients.replaced.contains(put_id);
            prop_assert!(kept || !self.0.was_written(*number), "lost {} of r{}", put_id, number);
        }
        Ok(())
    }
}

fn test(rules: Rules, mut runner: TestRunner) -> Result<(), String> {
    let run = |actions: Vec<Action>| {
        let mut walk = Walk::new(rules);
        actions.iter().for_each(|action| walk.act(action));
        Checked(&walk).check_copies()?;
        walk.heal();
        Checked(&walk).check()
    };
    runner.run(&vec(action(), 20..200), run).map_err(|error| error.to_string())
}

fn settings(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

#[test]
fn nothing_acknowledged_is_lost_on_any_walk() {
    if let Err(why) = test(Rules::sound(), TestRunner::new(settings(1_000))) {
        panic!("{why}");
    }
}

/// The bad cases: walks that accept a broken core would prove nothing.
#[cfg(feature = "mutants")]
mod mutants {
    use cartwheel_protocol::rules::Mutant;
    use proptest::test_runner::TestRng;

    use super::*;

    /// Walks until one breaks a promise: always the same walks, so that what is caught once is caught again.
    fn rejects(mutant: Mutant) {
        let config = ProptestConfig { max_shrink_iters: 0, ..settings(5_000) };
        let seeded = TestRng::deterministic_rng(config.rng_algorithm);
        let runner = TestRunner::new_with_rng(config, seeded);
        assert!(test(Rules::without(mutant), runner).is_err(), "{mutant} passes");
    }

    #[test]
    fn fallback_notfound_counts_is_rejected() {
        rejects(Mutant::FallbackNotfoundCounts);
    }

    #[test]
    fn counter_per_key_is_rejected() {
        rejects(Mutant::CounterPerKey);
    }

    #[test]
    fn extend_after_restart_is_rejected() {
        rejects(Mutant::ExtendAfterRestart);
    }

    #[test]
    fn node_wide_counter_is_rejected() {
        rejects(Mutant::NodeWideCounter);
    }

    #[test]
    fn put_overwrites_local_is_rejected() {
        rejects(Mutant::PutOverwritesLocal);
    }

    #[test]
    fn repair_overwrites_is_rejected() {
        rejects(Mutant::RepairOverwrites);
    }

    #[test]
    fn last_write_wins_is_rejected() {
        rejects(Mutant::LastWriteWins);
    }

    #[test]
    fn forget_cancelled_is_rejected() {
        rejects(Mutant::ForgetCancelled);
    }

    #[test]
    fn replicate_only_new_entry_is_rejected() {
        rejects(Mutant::ReplicateOnlyNewEntry);
    }

    #[test]
    fn ack_before_sync_is_rejected() {
        rejects(Mutant::AckBeforeSync);
    }

    #[test]
    fn expire_hints_is_rejected() {
        rejects(Mutant::ExpireHints);
    }

    #[test]
    fn count_duplicate_acks_is_rejected() {
        rejects(Mutant::CountDuplicateAcks);
    }
}
