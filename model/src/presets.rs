//! Presets: small clusters with few faults, each explored to the end.

use cartwheel_protocol::bucket::Kind;

use crate::{
    client::{Op, Script, Task, What},
    setup::{Budget, Plan},
    witness::Witness,
};

/// One small cluster, what its clients do and what may go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name on the command line.
    pub name: &'static str,
    /// Why it is explored, in one sentence.
    pub why: &'static str,
    plan: fn() -> Plan,
    /// What must happen at least once, or the exploration shows nothing.
    pub needs: &'static [Witness],
    /// Whether it is small enough for every test run.
    pub is_quick: bool,
}

impl Preset {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "owners-crash",
            why: "Two writes at three owners and a crash: what is acknowledged was synced on w disks.",
            plan: owners_crash,
            needs: &[
                Witness::Acknowledged,
                Witness::CrashLost,
                Witness::CrashKept,
                Witness::Restarted,
                Witness::Quiet,
            ],
            is_quick: true,
        },
        Self {
            name: "restart",
            why: "One client writes thrice at a node that crashes between: no dot and no request id comes back.",
            plan: restart,
            needs: &[Witness::Acknowledged, Witness::CrashLost, Witness::Restarted],
            is_quick: true,
        },
        Self {
            name: "duplicates",
            why: "Every message may arrive twice: nothing counts twice.",
            plan: duplicates,
            needs: &[Witness::Acknowledged, Witness::Duplicated, Witness::CrashLost],
            is_quick: true,
        },
        Self {
            name: "siblings",
            why: "Writes that know nothing of each other at one node and at two: all are kept and shown.",
            plan: siblings,
            needs: &[Witness::Siblings, Witness::SlotsAll, Witness::Quiet],
            is_quick: true,
        },
        Self {
            name: "repair",
            why: "A read finds a stale owner while it is written to: its repair merges.",
            plan: repair,
            needs: &[Witness::Acknowledged, Witness::Quiet],
            is_quick: true,
        },
        Self {
            name: "read-write",
            why: "Two clients read, then write over what they saw, strictly: who read first keeps its value.",
            plan: read_write,
            needs: &[Witness::StrictReadAfterWrite, Witness::Replaced, Witness::Siblings],
            is_quick: false,
        },
        Self {
            name: "forward",
            why: "A forwarded put stays unanswered while others replace its value: it does not come back.",
            plan: forward,
            needs: &[Witness::StrictReadAfterWrite, Witness::Replaced, Witness::Acknowledged],
            is_quick: true,
        },
        Self {
            name: "foreign",
            why: "Forged contexts that cover what is yet to be written are refused.",
            plan: foreign,
            needs: &[Witness::ForeignRefused, Witness::Acknowledged],
            is_quick: true,
        },
        Self {
            name: "strict-read",
            why: "A strict read while an owner is suspected: a fallback's absence proves nothing.",
            plan: strict_read,
            needs: &[Witness::StrictReadAfterWrite],
            is_quick: true,
        },
        Self {
            name: "hints",
            why: "A suspected owner, a fallback, two writes: a hint goes only for what it is.",
            plan: hints,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered],
            is_quick: true,
        },
        Self {
            name: "late-owner",
            why: "An owner answers late, after its fallback: together they are one copy.",
            plan: late_owner,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered, Witness::CrashLost],
            is_quick: true,
        },
        Self {
            name: "fallback-crash",
            why: "Two owners and a fallback with suspicion, hints and a crash: what was counted stays.",
            plan: fallback_crash,
            needs: &[
                Witness::FallbackCounted,
                Witness::HintDelivered,
                Witness::CrashLost,
                Witness::Restarted,
            ],
            is_quick: false,
        },
        Self {
            name: "fallback-wipe",
            why: "The same with one disk lost: w − 1 copies are left of whatever was acknowledged.",
            plan: fallback_wipe,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered, Witness::DiskLost],
            is_quick: false,
        },
        Self {
            name: "damage",
            why: "A record is damaged between a write and a read: it is never taken for absent.",
            plan: damage,
            needs: &[Witness::Damaged, Witness::StrictReadAfterWrite],
            is_quick: true,
        },
        Self {
            name: "suspect-differently",
            why: "Two owners that suspect each other and one fallback for both: it owes whatever it counted for.",
            plan: suspect_differently,
            needs: &[Witness::RetriedTwice, Witness::FallbackCounted, Witness::HintDelivered],
            is_quick: false,
        },
        Self {
            name: "forgetful",
            why: "A node that owns nothing coordinates, hands off, forgets and coordinates again: its dots are new.",
            plan: forgetful,
            needs: &[Witness::HintDelivered, Witness::FreshActor],
            is_quick: false,
        },
        Self {
            name: "old-copy",
            why: "A node that owns nothing hands off what it coordinated, is sent an old copy of it and coordinates again.",
            plan: old_copy,
            needs: &[Witness::HintDelivered, Witness::FreshActor, Witness::FallbackCounted],
            is_quick: false,
        },
        Self {
            name: "cart-retry",
            why: "An addition is retried elsewhere while the first attempt is in flight, then cancelled.",
            plan: cart_retry,
            needs: &[Witness::RetriedTwice, Witness::TwoDots, Witness::Cancelled],
            is_quick: false,
        },
        Self {
            name: "cart-context",
            why: "A cart operation with a context at a node that is behind removes nothing.",
            plan: cart_context,
            needs: &[Witness::Acknowledged, Witness::Quiet],
            is_quick: true,
        },
        Self {
            name: "cart-bound",
            why: "More cancellations than a cart remembers: what was cancelled at every owner stays away.",
            plan: cart_bound,
            needs: &[Witness::CancelledBound, Witness::Cancelled, Witness::StrictReadAfterWrite],
            is_quick: true,
        },
        Self {
            name: "overload",
            why: "A node takes one request at a time: what it refuses leaves no trace.",
            plan: overload,
            needs: &[Witness::Overloaded, Witness::Acknowledged],
            is_quick: true,
        },
    ];

    /// The preset of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|preset| preset.name == name)
    }

    /// Its plan.
    pub fn plan(&self) -> Plan {
        (self.plan)()
    }
}

fn task(what: What, at: u8) -> Task {
    Task::new(what, &[at])
}

fn put(at: u8) -> Task {
    task(What::Put, at)
}

fn get(at: u8) -> Task {
    task(What::Get, at)
}

fn add(at: u8) -> Task {
    task(What::Add, at)
}

fn owners_crash() -> Plan {
    Plan::new(3, 0, Kind::Register)
        .client(Script::new([put(0)]))
        .client(Script::new([Task::new(What::Put, &[0, 1])]))
        .may(Budget::Crash, 1)
}

fn restart() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0), put(0), put(0)]).whatever_happens())
        .may(Budget::Crash, 1);
    plan.crashing = vec![0];
    plan
}

fn duplicates() -> Plan {
    Plan::new(3, 0, Kind::Register)
        .client(Script::new([put(0)]))
        .may(Budget::Crash, 1)
        .may(Budget::Duplicate, 1)
}

fn siblings() -> Plan {
    Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0)]))
        .client(Script::new([Task::new(What::Put, &[0, 1]), get(1).quorum(2)]))
}

fn repair() -> Plan {
    Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0).quorum(1), get(0).quorum(2), put(0).quorum(2)]))
        .client(Script::new([get(1).quorum(1)]))
}

fn read_write() -> Plan {
    let script = |at| Script::new([get(at).strict(), put(at).strict(), get(at).strict()]);
    Plan::new(2, 0, Kind::Register).client(script(0)).client(script(1))
}

fn forward() -> Plan {
    Plan::new(1, 1, Kind::Register)
        .client(Script::new([put(1)]))
        .client(Script::new([get(0).strict(), put(0).strict(), get(0).strict()]))
        .may(Budget::Silence, 1)
        .may(Budget::Handoff, 1)
}

fn foreign() -> Plan {
    Plan::new(2, 0, Kind::Register)
        .client(Script::new([task(What::PutForeign, 0), put(0)]).whatever_happens())
        .client(Script::new([put(1)]))
}

fn strict_read() -> Plan {
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

fn hints() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0), put(0)]))
        .may(Budget::Handoff, 2);
    plan.suspected = vec![(0, 1), (2, 1)];
    plan.suspicions = vec![(2, 1)];
    plan
}

fn late_owner() -> Plan {
    Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0)]))
        .may(Budget::Silence, 1)
        .may(Budget::Handoff, 1)
        .may(Budget::Crash, 1)
}

fn fallback_crash() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Register)
        .client(Script::new([put(0), put(0)]))
        .may(Budget::Suspect, 1)
        .may(Budget::Handoff, 1)
        .may(Budget::Crash, 1);
    plan.suspicions = vec![(0, 1)];
    plan
}

fn fallback_wipe() -> Plan {
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

fn damage() -> Plan {
    let mut plan = Plan::new(3, 0, Kind::Register)
        .client(Script::new([put(0).strict()]))
        .client(Script::new([Task::new(What::Get, &[0, 1, 2]).strict()]))
        .may(Budget::Damage, 1);
    plan.losing = vec![0, 1];
    plan
}

fn suspect_differently() -> Plan {
    let mut plan = Plan::new(2, 1, Kind::Cart)
        .client(Script::new([add(0).retry_at(&[1])]))
        .may(Budget::Retry, 1)
        .may(Budget::Handoff, 1)
        .may(Budget::Crash, 1);
    plan.suspected = vec![(0, 1), (1, 0)];
    plan
}

fn forgetful() -> Plan {
    let mut plan = Plan::new(1, 2, Kind::Register)
        .client(Script::new([put(1), put(1), put(2), put(1)]))
        .may(Budget::Silence, 1)
        .may(Budget::Handoff, 1);
    plan.suspected = vec![(1, 0), (2, 0)];
    plan
}

fn old_copy() -> Plan {
    // A second fallback can be asked before the first copy is durable and counts.
    let mut plan = forgetful();
    plan.slow_disks = true;
    plan
}

fn cart_retry() -> Plan {
    let cancel = task(What::Cancel(Op { client: 0, step: 0 }), 0);
    Plan::new(2, 0, Kind::Cart)
        .client(Script::new([add(0).retry_at(&[1]), cancel.strict(), get(1).strict()]))
        .may(Budget::Retry, 1)
        .may(Budget::Crash, 1)
}

fn cart_context() -> Plan {
    Plan::new(2, 0, Kind::Cart)
        .client(Script::new([add(0).quorum(1)]))
        .client(Script::new([get(0).quorum(1), add(1).quorum(1)]))
}

fn cart_bound() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Cart)
        .client(Script::new([
            add(1).quorum(1),
            task(What::Cancel(Op { client: 0, step: 0 }), 0).strict(),
            get(0).strict(),
        ]))
        .client(Script::new([task(What::Cancel(Op { client: 1, step: 5 }), 1).quorum(1)]));
    plan.cancelled_bound = 1;
    plan
}

fn overload() -> Plan {
    let mut plan = Plan::new(2, 0, Kind::Register)
        .client(Script::new([put(0), put(0)]).whatever_happens())
        .client(Script::new([put(0)]));
    plan.max_pending = 1;
    plan
}
