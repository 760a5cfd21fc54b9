//! The plans in which one of three owners is replaced, and their presets.

use cartwheel_protocol::bucket::Kind;

use super::{Preset, plans::put};
use crate::{
    change::{Order, Turn},
    client::{Script, Task, What},
    setup::{Budget, Plan},
    witness::Witness,
};

/// The presets of this file.
pub(super) const PRESETS: [Preset; 3] = [
    Preset {
        name: "replace-of-three",
        why: "One of three owners is being replaced: two of three are a quorum in both layouts, and enough to catch up from.",
        plan: replace,
        needs: &[
            Witness::JointRead,
            Witness::JointWrite,
            Witness::CaughtUp,
            Witness::Changed,
            Witness::StrictReadAfterWrite,
        ],
        is_quick: false,
    },
    Preset {
        name: "unseen-of-three",
        why: "The same when writes need all three and reads one, which has not seen the change.",
        plan: unseen,
        needs: &[Witness::CaughtUp, Witness::Changed, Witness::StrictReadAfterWrite],
        is_quick: false,
    },
    Preset {
        name: "settle-three",
        why: "The owner of a hint is replaced while all three copies count: only one that owns the key settles it.",
        plan: settle,
        needs: &[Witness::FallbackCounted, Witness::HintDelivered, Witness::Changed],
        is_quick: false,
    },
];

fn strictly(what: What, at: &[u8]) -> Task {
    Task::new(what, at).strict()
}

/// Three owners, of whom the last is replaced: that is decreed, and those beside `behind` go by it.
fn replace_third(behind: &[u8]) -> Plan {
    let mut plan = Plan::new(3, 0, Kind::Register)
        .turn(Turn::change([Order::Replace { old: 2, new: 3 }], &[0, 1, 3]))
        .turn(Turn::finish());
    plan.outsiders = 1;
    plan.begun = 1;
    plan.behind = behind.to_vec();
    plan
}

fn replace() -> Plan {
    replace_third(&[])
        .client(Script::new([strictly(What::Put, &[0])]))
        .client(Script::new([strictly(What::Get, &[3]).after(0, 0)]))
}

fn unseen() -> Plan {
    let mut plan = replace_third(&[2])
        .client(Script::new([strictly(What::Put, &[0])]))
        .client(Script::new([strictly(What::Get, &[2]).after(0, 0)]));
    (plan.strict, plan.quorums) = ((1, 3), (1, 3));
    plan
}

fn settle() -> Plan {
    let mut plan = Plan::new(3, 1, Kind::Register)
        .turn(Turn::change([Order::Replace { old: 2, new: 4 }], &[0, 1, 4]).after(0, 0))
        .turn(Turn::finish())
        .client(Script::new([put(0).quorum(3)]))
        .may(Budget::Handoff, 1);
    plan.outsiders = 1;
    plan.suspected = vec![(0, 2)];
    plan
}
