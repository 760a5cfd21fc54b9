//! The plans behind the presets: who asks for what where, and what may go wrong how often.

use cartwheel_protocol::bucket::Kind;

use crate::{
    client::{Op, Script, Task, What},
    setup::{Budget, Plan},
};

fn task(what: What, at: u8) -> Task {
    Task::new(what, &[at])
}

pub(super) fn put(at: u8) -> Task {
    task(What::Put, at)
}

pub(super) fn get(at: u8) -> Task {
    task(What::Get, at)
}

fn add(at: u8) -> Task {
    task(What::Add, at)
}

pub(super) fn owners_crash() -> Plan {
    Plan::new(3, 0, Kind::Register)
        .client(Script::new([put(0)]))
        .client(Script::new([Task::new(What::Put, &[0, 1])]))
        .may(Budget::Crash, 1)
}

pub(super) fn restart() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0), put(0), put(0)]).whatever_happens())
        .may(Budget::Crash, 1);
    plan.crashing = vec![0];
    plan
}

pub(super) fn duplicates() -> Plan {
    Plan::new(3, 0, Kind::Register)
        .client(Script::new([put(0)]))
        .may(Budget::Crash, 1)
        .may(Budget::Duplicate, 1)
}

pub(super) fn siblings() -> Plan {
    Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0)]))
        .client(Script::new([Task::new(What::Put, &[0, 1]), get(1).quorum(2)]))
}

pub(super) fn repair() -> Plan {
    Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0).quorum(1), get(0).quorum(2), put(0).quorum(2)]))
        .client(Script::new([get(1).quorum(1)]))
}

pub(super) fn read_write() -> Plan {
    let script = |at| Script::new([get(at).strict(), put(at).strict(), get(at).strict()]);
    Plan::new(2, 0, Kind::Register)
        .client(script(0))
        .client(script(1))
        .may(Budget::Crash, 1)
        .may(Budget::Duplicate, 1)
}

pub(super) fn read_write_three() -> Plan {
    Plan::new(3, 0, Kind::Register)
        .client(Script::new([get(0).strict(), put(0).strict()]))
        .client(Script::new([get(1).strict(), put(1).strict(), get(2).strict()]))
}

pub(super) fn forward() -> Plan {
    Plan::new(1, 1, Kind::Register)
        .client(Script::new([put(1)]))
        .client(Script::new([get(0).strict(), put(0).strict(), get(0).strict()]))
        .may(Budget::Silence, 1)
        .may(Budget::Handoff, 1)
}

pub(super) fn foreign() -> Plan {
    Plan::new(2, 0, Kind::Register)
        .client(Script::new([task(What::PutForeign, 0), put(0)]).whatever_happens())
        .client(Script::new([put(1)]))
}

pub(super) fn strict_read() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0).strict()]))
        .client(Script::new([get(1).strict()]))
        .may(Budget::Silence, 1)
        .may(Budget::Deadline, 1);
    plan.strict = (2, 1);
    plan.quorums = (2, 1);
    plan.suspected = vec![(1, 0)];
    plan
}

pub(super) fn hints() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0), put(0)]))
        .may(Budget::Handoff, 2);
    plan.suspected = vec![(0, 1), (2, 1)];
    plan.suspicions = vec![(2, 1)];
    plan
}

pub(super) fn late_owner() -> Plan {
    Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0)]))
        .may(Budget::Silence, 1)
        .may(Budget::Handoff, 1)
        .may(Budget::Crash, 1)
}

pub(super) fn fallback_crash() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0), put(0)]))
        .may(Budget::Suspect, 1)
        .may(Budget::Silence, 1)
        .may(Budget::Duplicate, 1)
        .may(Budget::Handoff, 1)
        .may(Budget::Crash, 1);
    plan.suspicions = vec![(0, 1)];
    plan
}

pub(super) fn fallback_wipe() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0), put(0)]))
        .client(Script::new([get(0)]))
        .may(Budget::Suspect, 1)
        .may(Budget::Silence, 1)
        .may(Budget::Handoff, 2)
        .may(Budget::Wipe, 1);
    plan.suspicions = vec![(0, 1)];
    plan
}

pub(super) fn suspect_differently() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Cart)
        .client(Script::new([add(0).retry_at(&[1])]))
        .may(Budget::Retry, 1)
        .may(Budget::Handoff, 1)
        .may(Budget::Crash, 1);
    plan.suspected = vec![(0, 1), (1, 0)];
    plan
}

pub(super) fn forgetful() -> Plan {
    let mut plan = Plan::new(1, 2, Kind::Register)
        .client(Script::new([put(1), put(1), put(2), put(1)]))
        .may(Budget::Silence, 1)
        .may(Budget::Handoff, 1);
    plan.suspected = vec![(1, 0), (2, 0)];
    plan
}

pub(super) fn old_copy() -> Plan {
    // A second fallback can be asked before the first copy is durable and counts.
    let mut plan = forgetful();
    plan.slow_disks = true;
    plan
}

pub(super) fn cart_retry() -> Plan {
    let cancel = task(What::Cancel(Op { client: 0, step: 0 }), 0);
    Plan::new(2, 0, Kind::Cart)
        .client(Script::new([add(0).retry_at(&[1]), cancel.strict(), get(1).strict()]))
        .may(Budget::Retry, 1)
        .may(Budget::Crash, 1)
        .may(Budget::Duplicate, 1)
        .may(Budget::Deadline, 1)
}

pub(super) fn cart_context() -> Plan {
    Plan::new(2, 0, Kind::Cart)
        .client(Script::new([add(0).quorum(1)]))
        .client(Script::new([get(0).quorum(1), add(1).quorum(1)]))
}

pub(super) fn cart_bound() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Cart)
        .client(Script::new([
            add(1).quorum(1),
            task(What::Cancel(Op { client: 0, step: 0 }), 0).strict(),
            get(0).strict(),
        ]))
        .client(Script::new([task(What::Cancel(Op { client: 1, step: 5 }), 1).quorum(1)]));
    plan.cancelled_bound = 1;
    plan.may(Budget::Crash, 1).may(Budget::Duplicate, 1)
}

pub(super) fn overload() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0), put(0)]).whatever_happens())
        .client(Script::new([put(0)]));
    plan.max_pending = 1;
    plan
}

pub(super) fn owners_storm() -> Plan {
    owners_crash().may(Budget::Crash, 2).may(Budget::Duplicate, 1).may(Budget::Deadline, 1)
}

pub(super) fn three_and_fallback() -> Plan {
    let mut plan = Plan::new(3, 1, Kind::Register)
        .client(Script::new([put(0)]))
        .client(Script::new([put(1)]))
        .may(Budget::Handoff, 1)
        .may(Budget::Crash, 1);
    plan.suspected = vec![(0, 1), (1, 0)];
    plan.crashing = vec![0, 3];
    plan
}

pub(super) fn mend() -> Plan {
    let read = get(1).quorum(2).after(0, 0);
    Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0).quorum(1)]).whatever_happens())
        .client(Script::new([read.clone(), read]).whatever_happens())
        .may(Budget::Crash, 1)
}

pub(super) fn anti_entropy() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0).quorum(1)]).whatever_happens())
        .client(Script::new([put(1).quorum(1)]).whatever_happens())
        .may(Budget::Crash, 1)
        .may(Budget::Deadline, 1)
        .may(Budget::AntiEntropy, 1);
    plan.trees = true;
    plan
}

pub(super) fn anti_entropy_fallback() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0)]))
        .may(Budget::Handoff, 1)
        .may(Budget::AntiEntropy, 1);
    plan.trees = true;
    plan.suspected = vec![(0, 1)];
    plan.suspicions = vec![(0, 1)];
    plan
}

pub(super) fn delete() -> Plan {
    let delete = task(What::Delete, 0).strict();
    Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0), get(0), delete, get(0).strict()]))
        .client(Script::new([put(1)]))
}

pub(super) fn cart_clients() -> Plan {
    let cancel = task(What::CancelShown, 0).strict();
    let change = task(What::Change, 1).strict();
    Plan::new(2, 0, Kind::Cart)
        .client(Script::new([add(0), get(0), cancel, get(0).strict()]))
        .client(Script::new([get(1).strict(), change, get(1).strict()]))
        .may(Budget::Crash, 1)
}

pub(super) fn foreign_cart() -> Plan {
    Plan::new(2, 0, Kind::Cart)
        .client(Script::new([task(What::AddForeign, 0), add(0)]).whatever_happens())
        .client(Script::new([add(1)]))
}
