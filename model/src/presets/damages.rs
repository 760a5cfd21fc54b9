//! The plans in which records are damaged, and views raised to mend them, and their presets.

use cartwheel_protocol::bucket::Kind;

use super::{
    Preset,
    plans::{get, put},
};
use crate::{
    change::{Order, Turn},
    client::{Script, Task, What},
    setup::{Budget, Plan},
    witness::Witness,
};

/// What a preset with damage shows.
const DAMAGE: &[Witness] =
    &[Witness::Damaged, Witness::Raised, Witness::DamageMended, Witness::StrictReadAfterWrite];

/// The presets of this file.
pub(super) const PRESETS: [Preset; 9] = [
    Preset {
        name: "damage",
        why: "A record is damaged between a write and a read: it is never taken for absent, and mended by a quorum.",
        plan: damage,
        needs: DAMAGE,
        is_quick: false,
    },
    Preset {
        name: "damage-and-write",
        why: "A record is damaged while one that owns nothing writes: what it had acknowledged counts no more.",
        plan: damage_and_write,
        needs: DAMAGE,
        is_quick: false,
    },
    Preset {
        name: "damage-then-write",
        why: "A damaged record is written to by one that knows nothing of it: that does not mend it.",
        plan: damage_then_write,
        needs: DAMAGE,
        is_quick: false,
    },
    Preset {
        name: "damage-twice",
        why: "Two of three owners lose one record: the third mends them, not they each other.",
        plan: damage_twice,
        needs: DAMAGE,
        is_quick: false,
    },
    Preset {
        name: "damage-crash",
        why: "A record is damaged and its node crashes before, while or after it is mended.",
        plan: damage_crash,
        needs: &[
            Witness::Damaged,
            Witness::Raised,
            Witness::DamageMended,
            Witness::CrashLost,
            Witness::Restarted,
        ],
        is_quick: false,
    },
    Preset {
        name: "damage-change",
        why: "One of two owners is replaced while the record of the other is damaged.",
        plan: damage_change,
        needs: &[
            Witness::Damaged,
            Witness::Raised,
            Witness::DamageMended,
            Witness::CaughtUp,
            Witness::Changed,
        ],
        is_quick: false,
    },
    Preset {
        name: "damage-dead-owner",
        why: "A dead owner of three is named as lost and replaced while the record of another is damaged.",
        plan: damage_dead_owner,
        needs: &[
            Witness::Damaged,
            Witness::Raised,
            Witness::MendedDespiteLoss,
            Witness::DiskLost,
            Witness::CaughtUp,
            Witness::Changed,
        ],
        is_quick: false,
    },
    Preset {
        name: "damage-dead-owner-read",
        why: "The same where writes need all three owners: what is read afterwards has what was acknowledged.",
        plan: damage_dead_owner_read,
        needs: &[
            Witness::Damaged,
            Witness::DiskLost,
            Witness::MendedDespiteLoss,
            Witness::StrictReadAfterWrite,
        ],
        is_quick: false,
    },
    Preset {
        name: "accept-loss",
        why: "Owners lose one record, and an operator accepts that: what some owner still holds is kept.",
        plan: accept_loss,
        needs: &[
            Witness::Damaged,
            Witness::Raised,
            Witness::LossAccepted,
            Witness::StrictReadAfterWrite,
        ],
        is_quick: false,
    },
];

/// One record is damaged, found by a look, and mended in a view that is raised once.
fn damaged_once(mut plan: Plan, losing: &[u8]) -> Plan {
    plan.losing = losing.to_vec();
    plan.raises = 1;
    plan.may(Budget::Damage, 1).may(Budget::Mend, 2).may(Budget::Raise, 1)
}

/// Two owners, of whom strict writes need both and strict reads one.
fn two_owners(others: u8) -> Plan {
    let mut plan = Plan::new(2, others, Kind::Register);
    (plan.strict, plan.quorums) = ((1, 2), (1, 2));
    plan
}

fn damage() -> Plan {
    let plan = Plan::new(3, 0, Kind::Register)
        .client(Script::new([put(1).strict()]))
        .client(Script::new([get(0).strict().after(0, 0)]));
    damaged_once(plan, &[0])
}

fn damage_and_write() -> Plan {
    let mut plan =
        two_owners(1).client(Script::new([put(2).strict()])).client(Script::new([get(0).strict()]));
    plan.suspected = vec![(2, 0), (2, 1)];
    damaged_once(plan, &[0])
}

fn damage_then_write() -> Plan {
    let mut plan = two_owners(1)
        .client(Script::new([put(1).strict(), put(2)]))
        .client(Script::new([get(0).strict().after(0, 0)]));
    plan.suspected = vec![(2, 0), (2, 1)];
    damaged_once(plan, &[0])
}

fn damage_twice() -> Plan {
    let mut plan = Plan::new(3, 0, Kind::Register)
        .client(Script::new([put(2).strict()]))
        .client(Script::new([get(0).strict().after(0, 0)]));
    (plan.strict, plan.quorums) = ((1, 3), (1, 3));
    damaged_once(plan, &[0, 1]).may(Budget::Damage, 2)
}

fn damage_crash() -> Plan {
    let mut plan = two_owners(0)
        .client(Script::new([Task::new(What::Put, &[0, 1]).strict()]))
        .client(Script::new([get(0).strict()]))
        .may(Budget::Crash, 1);
    plan.crashing = vec![0];
    damaged_once(plan, &[0])
}

fn damage_change() -> Plan {
    let mut plan = two_owners(0)
        .turn(Turn::change([Order::Replace { old: 1, new: 2 }], &[0, 2]).after(0, 0))
        .turn(Turn::finish())
        .client(Script::new([put(0).strict()]))
        .client(Script::new([get(2).strict().after(0, 0)]));
    plan.outsiders = 1;
    damaged_once(plan, &[0])
}

fn damage_dead_owner() -> Plan {
    let plan = Plan::new(3, 0, Kind::Register)
        .turn(Turn::change([Order::ReplaceLost { old: 2, new: 3 }], &[0, 1, 3]).after(0, 0))
        .turn(Turn::finish())
        .client(Script::new([put(1).strict()]));
    let mut plan = damaged_once(plan, &[0, 2]).may(Budget::Wipe, 1);
    plan.outsiders = 1;
    plan
}

fn damage_dead_owner_read() -> Plan {
    let mut plan = damage_dead_owner().client(Script::new([get(3).strict().after(0, 0)]));
    (plan.strict, plan.quorums) = ((1, 3), (1, 3));
    plan
}

fn accept_loss() -> Plan {
    let accept = Task::new(What::AcceptLoss, &[0]);
    let plan = two_owners(0)
        .client(Script::new([put(0).strict()]))
        .client(Script::new([accept, put(0).strict()]).whatever_happens())
        .client(Script::new([get(0).strict().after(1, 1)]));
    damaged_once(plan, &[0, 1]).may(Budget::Damage, 2)
}
