//! The plans in which what is spent goes in reap rounds, and their presets.

use cartwheel_protocol::bucket::Kind;

use super::{
    Preset,
    plans::{get, put},
};
use crate::{
    change::{Order, Turn},
    client::{Op, Script, Task, What},
    setup::{Budget, Plan},
    witness::Witness,
};

/// The presets of this file.
pub(super) const PRESETS: [Preset; 8] = [
    Preset {
        name: "reap",
        why: "A deleted value waits in a hint: the round waits for all who may hold it, and refuses what is late.",
        plan: hint,
        needs: &[Witness::Unfit, Witness::Reaped, Witness::HintDelivered],
        is_quick: false,
    },
    Preset {
        name: "reap-late-verdict",
        why: "The same when the hint was sent twice, the second time in the round's view: who held it then is not fit.",
        plan: late_verdict,
        needs: &[Witness::Unfit, Witness::Reaped, Witness::HintDelivered],
        is_quick: false,
    },
    Preset {
        name: "reap-restart",
        why: "The same when the holder of the hint starts again: it does not know what it has sent.",
        plan: restart,
        needs: &[Witness::Unfit, Witness::Reaped, Witness::Restarted],
        is_quick: false,
    },
    Preset {
        name: "reap-memory",
        why: "A read and a write are under way when a round begins: they forget what they hold.",
        plan: memory,
        needs: &[Witness::Reaped, Witness::Acknowledged],
        is_quick: false,
    },
    Preset {
        name: "reap-crash",
        why: "An owner that is fit dies: what it judged was on its disk. Another write comes before it reaps.",
        plan: crash,
        needs: &[Witness::Reaped, Witness::CrashLost, Witness::Restarted],
        is_quick: false,
    },
    Preset {
        name: "reap-drain",
        why: "A former owner still holds the deleted value: the round waits for it, too.",
        plan: drain,
        needs: &[Witness::Unfit, Witness::Reaped, Witness::Changed],
        is_quick: false,
    },
    Preset {
        name: "reap-cart",
        why: "An addition was cancelled and reaped while a second attempt is on its way: it is too old.",
        plan: cart,
        needs: &[Witness::Reaped, Witness::TooOld],
        is_quick: false,
    },
    Preset {
        name: "reap-clock",
        why: "A run has ended whose value was replaced at one owner: its entry of the clock waits for the other.",
        plan: clock,
        needs: &[Witness::Reaped, Witness::Restarted, Witness::Replaced],
        is_quick: false,
    },
];

fn task(what: What, at: u8) -> Task {
    Task::new(what, &[at])
}

/// A node reaps once, not before a client's task is over.
fn reaps(mut plan: Plan, at: u8, client: u8, step: u8) -> Plan {
    plan.raises = 1;
    plan.reaper = Some(at);
    plan.reap_after = Some(Op { client, step });
    plan.may(Budget::Reap, 1).may(Budget::Raise, 1)
}

fn hint() -> Plan {
    let delete = task(What::Delete, 0).strict();
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0), get(0).quorum(1), delete]))
        .may(Budget::Handoff, 1);
    plan.suspected = vec![(0, 1)];
    plan.suspicions = vec![(0, 1)];
    reaps(plan, 0, 0, 2)
}

fn late_verdict() -> Plan {
    hint().may(Budget::Handoff, 2).may(Budget::Reap, 2)
}

fn restart() -> Plan {
    let mut plan = hint().may(Budget::Handoff, 2).may(Budget::Crash, 1);
    plan.crashing = vec![2];
    plan
}

fn memory() -> Plan {
    let delete = task(What::Delete, 0).quorum(1);
    let plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0).quorum(1), get(0).quorum(1), delete]))
        .client(Script::new([get(1).quorum(2)]));
    reaps(plan, 0, 0, 2)
}

fn crash() -> Plan {
    let delete = task(What::Delete, 0).quorum(1);
    let mut plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0).quorum(2), get(0).quorum(1), delete]))
        .client(Script::new([put(1).quorum(1).after(0, 2)]))
        .may(Budget::Crash, 1);
    plan.crashing = vec![1];
    reaps(plan, 0, 0, 2)
}

fn drain() -> Plan {
    let mut plan = Plan::new(1, 0, Kind::Register)
        .turn(Turn::change([Order::Replace { old: 0, new: 1 }], &[1]).after(0, 0))
        .turn(Turn::finish())
        .client(Script::new([put(0)]))
        .client(Script::new([get(1).strict().after(0, 0), task(What::Delete, 1).strict()]))
        .may(Budget::Handoff, 1);
    plan.outsiders = 1;
    reaps(plan, 1, 1, 1)
}

fn cart() -> Plan {
    let cancel = task(What::Cancel(Op { client: 1, step: 0 }), 0).strict();
    let plan = Plan::new(2, 1, Kind::Cart)
        .client(Script::new([get(0).quorum(1), task(What::Add, 0).quorum(1).after(1, 1)]))
        .client(Script::new([task(What::Add, 0).retry_at(&[2]), cancel]))
        .may(Budget::Retry, 1);
    reaps(plan, 0, 1, 1)
}

fn clock() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0).quorum(2), get(0).quorum(1), put(0).quorum(1)]))
        .client(Script::new([get(0).quorum(2).after(0, 2)]))
        .may(Budget::Crash, 1);
    plan.crashing = vec![0];
    reaps(plan, 0, 0, 2)
}
