//! The plans in which a message, a disk or a replaced value is to stay lost, and their presets.

use cartwheel_protocol::bucket::Kind;

use super::{
    Preset,
    plans::{get, put},
};
use crate::{
    client::Script,
    setup::{Budget, Plan},
    witness::Witness,
};

/// The presets of this file.
pub(super) const PRESETS: [Preset; 4] = [
    Preset {
        name: "replaced",
        why: "One owner takes what replaces a value while another still holds that: it does not come back.",
        plan: replaced,
        needs: &[Witness::StrictReadAfterWrite, Witness::Replaced],
        is_quick: true,
    },
    Preset {
        name: "hint-lost",
        why: "A message is lost while a hint is handed over: it is sent again.",
        plan: hint_lost,
        needs: &[Witness::Dropped, Witness::FallbackCounted, Witness::HintDelivered],
        is_quick: true,
    },
    Preset {
        name: "anti-entropy-lost",
        why: "A write reaches one owner only, and what owners ask each other is lost: they ask again and become equal.",
        plan: anti_entropy_lost,
        needs: &[Witness::Dropped, Witness::TreesMended, Witness::Quiet],
        is_quick: true,
    },
    Preset {
        name: "wipe-and-crash",
        why: "One disk is lost and a node crashes while copies are not synced; of one write, which keeps it small.",
        plan: wipe_and_crash,
        needs: &[
            Witness::FallbackCounted,
            Witness::HintDelivered,
            Witness::DiskLost,
            Witness::CrashLost,
        ],
        is_quick: false,
    },
];

fn replaced() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0)]))
        .client(Script::new([get(1).strict(), put(1).strict(), get(1).strict()]));
    (plan.strict, plan.quorums) = ((2, 1), (2, 1));
    plan
}

fn hint_lost() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0)]))
        .may(Budget::Deadline, 1)
        .may(Budget::Handoff, 2)
        .may(Budget::Drop, 1);
    plan.suspected = vec![(0, 1)];
    plan
}

fn anti_entropy_lost() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0).quorum(1)]))
        .may(Budget::Deadline, 1)
        .may(Budget::AntiEntropy, 2)
        .may(Budget::Drop, 3);
    plan.trees = true;
    plan
}

fn wipe_and_crash() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0)]))
        .may(Budget::Suspect, 1)
        .may(Budget::Silence, 1)
        .may(Budget::Handoff, 1)
        .may(Budget::Crash, 1)
        .may(Budget::Wipe, 1);
    plan.suspicions = vec![(0, 1)];
    plan
}
