//! The plans in which the layout changes.

use cartwheel_protocol::bucket::{Kind, Spread};

use super::plans::{get, put};
use crate::{
    change::{Order, Turn},
    client::{Script, Task, What},
    setup::{Budget, Plan},
};

/// One owner, who is replaced while it is written and read strictly.
fn replace_one() -> Plan {
    let mut plan = Plan::new(1, 0, Kind::Register)
        .turn(Turn::change([Order::Replace { old: 0, new: 1 }], &[1]))
        .turn(Turn::finish());
    plan.outsiders = 1;
    plan
}

/// Two owners, of whom the second is replaced.
fn replace_second() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .turn(Turn::change([Order::Replace { old: 1, new: 2 }], &[0, 2]))
        .turn(Turn::finish());
    plan.outsiders = 1;
    plan
}

fn strictly(what: What, at: &[u8]) -> Task {
    Task::new(what, at).strict()
}

pub(super) fn replace() -> Plan {
    replace_one()
        .client(Script::new([strictly(What::Put, &[0, 1])]))
        .client(Script::new([strictly(What::Get, &[0, 1])]))
        .may(Budget::Crash, 1)
}

pub(super) fn leave() -> Plan {
    Plan::new(1, 1, Kind::Register)
        .turn(Turn::change([Order::Leave(0)], &[1]))
        .turn(Turn::finish())
        .client(Script::new([strictly(What::Put, &[0])]))
        .client(Script::new([strictly(What::Get, &[0, 1])]))
        .may(Budget::Crash, 1)
}

pub(super) fn behind() -> Plan {
    let mut plan = Plan::new(1, 1, Kind::Register)
        .turn(Turn::change([Order::Replace { old: 0, new: 2 }], &[2]))
        .turn(Turn::finish())
        .client(Script::new([strictly(What::Put, &[1])]))
        .client(Script::new([strictly(What::Get, &[1, 2])]));
    plan.outsiders = 1;
    plan.suspected = vec![(1, 0)];
    plan
}

pub(super) fn unseen() -> Plan {
    let mut plan = replace_second()
        .client(Script::new([strictly(What::Put, &[0, 2])]))
        .client(Script::new([strictly(What::Get, &[1])]));
    (plan.strict, plan.quorums) = ((1, 2), (1, 2));
    plan
}

pub(super) fn shrink_and_grow() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .turn(Turn::change([Order::Leave(1)], &[0]))
        .turn(Turn::finish())
        .turn(Turn::change([Order::Join(2)], &[0, 2]).after(0, 0))
        .turn(Turn::finish())
        .client(Script::new([strictly(What::Put, &[1])]))
        .client(Script::new([strictly(What::Get, &[0]).after(0, 0)]));
    (plan.strict, plan.quorums) = ((2, 1), (2, 1));
    plan.outsiders = 1;
    plan
}

pub(super) fn amend() -> Plan {
    let replace = || Turn::change([Order::Replace { old: 0, new: 1 }], &[1]);
    let mut plan = Plan::new(1, 0, Kind::Register)
        .turn(replace())
        .turn(Turn::change([], &[0]))
        .turn(replace())
        .turn(Turn::finish())
        .client(Script::new([strictly(What::Put, &[0])]))
        .client(Script::new([strictly(What::Get, &[0, 1])]));
    plan.outsiders = 1;
    plan
}

pub(super) fn dead_owner() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .turn(Turn::change([Order::ReplaceLost { old: 1, new: 2 }], &[0, 2]))
        .turn(Turn::finish())
        .client(Script::new([strictly(What::Put, &[0])]))
        .client(Script::new([strictly(What::Get, &[0, 1, 2])]))
        .may(Budget::Wipe, 1);
    (plan.strict, plan.quorums) = ((1, 2), (1, 2));
    plan.outsiders = 1;
    plan.losing = vec![1];
    plan
}

pub(super) fn change_crash() -> Plan {
    replace_second()
        .client(Script::new([strictly(What::Put, &[0, 1])]))
        .client(Script::new([strictly(What::Get, &[0, 2]).after(0, 0)]))
        .may(Budget::Crash, 1)
}

pub(super) fn drain() -> Plan {
    let mut plan = replace_second()
        .turn(Turn::change([Order::Forget(1)], &[0, 2]))
        .turn(Turn::finish())
        .client(Script::new([Task::new(What::Put, &[0, 1])]))
        .may(Budget::Handoff, 2)
        .may(Budget::Crash, 1);
    plan.crashing = vec![1];
    plan
}

pub(super) fn hint_across() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .turn(Turn::change([Order::Replace { old: 1, new: 3 }], &[0, 3]).after(0, 0))
        .turn(Turn::finish())
        .client(Script::new([put(0)]))
        .may(Budget::Handoff, 2);
    plan.outsiders = 1;
    plan.suspected = vec![(0, 1)];
    plan
}

pub(super) fn stale_settlement() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .turn(Turn::change([Order::Address(0)], &[0, 1]))
        .turn(Turn::finish())
        .client(Script::new([put(0)]))
        .may(Budget::Handoff, 1);
    plan.suspected = vec![(0, 1)];
    plan
}

pub(super) fn moved_owner() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .turn(Turn::change([Order::Join(2)], &[0, 2]))
        .turn(Turn::finish())
        .client(Script::new([Task::new(What::Put, &[0, 1])]))
        .may(Budget::Handoff, 2);
    plan.outsiders = 1;
    plan.zones = vec![0, 0, 1];
    plan
}

pub(super) fn leave_with_hints() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .turn(Turn::change([Order::Leave(2)], &[0, 1]).after(0, 0))
        .turn(Turn::finish())
        .turn(Turn::change([Order::Forget(2)], &[0, 1]))
        .turn(Turn::finish())
        .client(Script::new([put(0)]))
        .may(Budget::Handoff, 3);
    plan.suspected = vec![(0, 1)];
    plan
}

pub(super) fn owes_all() -> Plan {
    let mut plan =
        Plan::new(2, 1, Kind::Register).client(Script::new([put(2)])).may(Budget::Handoff, 2);
    plan.suspected = vec![(2, 0), (2, 1)];
    plan
}

pub(super) fn zones() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(1)]))
        .may(Budget::Silence, 1)
        .may(Budget::Deadline, 1)
        .may(Budget::Handoff, 2);
    plan.zones = vec![0, 1, 1];
    plan.spread = Spread::Zone;
    plan
}

pub(super) fn zone_hint() -> Plan {
    let mut plan =
        Plan::new(3, 1, Kind::Register).client(Script::new([put(0)])).may(Budget::Handoff, 1);
    plan.zones = vec![0, 1, 0, 1];
    plan.spread = Spread::Zone;
    plan.suspected = vec![(0, 2)];
    plan
}

pub(super) fn forward_change() -> Plan {
    let mut plan = Plan::new(1, 1, Kind::Register)
        .turn(Turn::change([Order::Replace { old: 0, new: 2 }], &[2]))
        .turn(Turn::finish())
        .client(Script::new([put(1)]))
        .client(Script::new([get(2).strict(), put(2).strict(), get(2).strict()]))
        .may(Budget::Silence, 1)
        .may(Budget::Handoff, 1);
    plan.outsiders = 1;
    plan
}

pub(super) fn grow_and_shrink() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .turn(Turn::change([Order::Join(1)], &[0, 1]))
        .turn(Turn::finish())
        .turn(Turn::change([Order::Join(2)], &[0, 2]).after(0, 0))
        .turn(Turn::finish())
        .turn(Turn::change([Order::Leave(0)], &[1, 2]))
        .turn(Turn::finish())
        .client(Script::new([strictly(What::Put, &[0])]))
        .client(Script::new([strictly(What::Get, &[2]).after(0, 0)]));
    (plan.strict, plan.quorums) = ((2, 1), (2, 1));
    plan.members = 1;
    plan.outsiders = 2;
    plan.zones = vec![0, 0, 1];
    plan
}

pub(super) fn grow_to_four() -> Plan {
    let joins = [Order::Join(1), Order::Join(2), Order::Join(3)];
    let mut plan = Plan::new(2, 0, Kind::Register)
        .turn(Turn::change(joins, &[]))
        .turn(Turn::finish())
        .turn(Turn::change([Order::Leave(0), Order::Leave(1)], &[2, 3]).after(0, 0))
        .turn(Turn::finish())
        .client(Script::new([strictly(What::Put, &[0])]))
        .client(Script::new([strictly(What::Get, &[2]).after(0, 0)]));
    (plan.strict, plan.quorums) = ((2, 1), (2, 1));
    plan.members = 1;
    plan.outsiders = 3;
    plan
}
