//! Presets: small clusters with few faults, each explored to the end.

mod changes;
mod damages;
mod lost;
mod plans;
mod reaps;
mod three;

use crate::{setup::Plan, witness::Witness};

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
    pub const ALL: &'static [Self] = &joined::<{ count(Self::LISTS) }>(Self::LISTS);

    const LISTS: &'static [&'static [Self]] =
        &[Self::OTHERS, &lost::PRESETS, &damages::PRESETS, &three::PRESETS, &reaps::PRESETS];

    const OTHERS: &'static [Self] = &[
        Self {
            name: "owners-crash",
            why: "Two writes at three owners and a crash: what is acknowledged was synced on w disks.",
            plan: plans::owners_crash,
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
            plan: plans::restart,
            needs: &[Witness::Acknowledged, Witness::CrashLost, Witness::Restarted],
            is_quick: true,
        },
        Self {
            name: "duplicates",
            why: "Every message may arrive twice: nothing counts twice.",
            plan: plans::duplicates,
            needs: &[Witness::Acknowledged, Witness::Duplicated, Witness::CrashLost],
            is_quick: true,
        },
        Self {
            name: "siblings",
            why: "Writes that know nothing of each other at one node and at two: all are kept and shown.",
            plan: plans::siblings,
            needs: &[Witness::Siblings, Witness::SlotsAll, Witness::Quiet],
            is_quick: true,
        },
        Self {
            name: "repair",
            why: "A read finds a stale owner while it is written to: its repair merges.",
            plan: plans::repair,
            needs: &[Witness::Acknowledged, Witness::Quiet],
            is_quick: true,
        },
        Self {
            name: "read-write",
            why: "Two clients read, then write over what they saw, strictly: who read first keeps its value.",
            plan: plans::read_write,
            needs: &[Witness::StrictReadAfterWrite, Witness::Replaced, Witness::Siblings],
            is_quick: false,
        },
        Self {
            name: "read-write-three",
            why: "The same at three owners, where strict quorums overlap in one node only.",
            plan: plans::read_write_three,
            needs: &[Witness::StrictReadAfterWrite, Witness::Replaced],
            is_quick: false,
        },
        Self {
            name: "forward",
            why: "A forwarded put stays unanswered while others replace its value: it does not come back.",
            plan: plans::forward,
            needs: &[Witness::StrictReadAfterWrite, Witness::Replaced, Witness::Acknowledged],
            is_quick: true,
        },
        Self {
            name: "foreign",
            why: "Forged contexts that cover what is yet to be written are refused.",
            plan: plans::foreign,
            needs: &[Witness::ForeignRefused, Witness::Acknowledged],
            is_quick: true,
        },
        Self {
            name: "strict-read",
            why: "A strict read while an owner is suspected: a fallback's absence proves nothing.",
            plan: plans::strict_read,
            needs: &[Witness::StrictReadAfterWrite],
            is_quick: true,
        },
        Self {
            name: "hints",
            why: "A suspected owner, a fallback, two writes: a hint goes only for what it is.",
            plan: plans::hints,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered],
            is_quick: true,
        },
        Self {
            name: "late-owner",
            why: "An owner answers late, after its fallback: together they are one copy.",
            plan: plans::late_owner,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered, Witness::CrashLost],
            is_quick: true,
        },
        Self {
            name: "fallback-crash",
            why: "Two owners and a fallback with suspicion, hints and a crash: what was counted stays.",
            plan: plans::fallback_crash,
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
            why: "The same with one disk lost in place of the crash: w − 1 copies are left of whatever was acknowledged.",
            plan: plans::fallback_wipe,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered, Witness::DiskLost],
            is_quick: false,
        },
        Self {
            name: "suspect-differently",
            why: "Two owners that suspect each other and one fallback for both: it owes whatever it counted for.",
            plan: plans::suspect_differently,
            needs: &[Witness::RetriedTwice, Witness::FallbackCounted, Witness::HintDelivered],
            is_quick: false,
        },
        Self {
            name: "forgetful",
            why: "A node that owns nothing coordinates, hands off, forgets and coordinates again: its dots are new.",
            plan: plans::forgetful,
            needs: &[Witness::HintDelivered, Witness::FreshActor],
            is_quick: false,
        },
        Self {
            name: "old-copy",
            why: "A node that owns nothing hands off what it coordinated, is sent an old copy of it and coordinates again.",
            plan: plans::old_copy,
            needs: &[Witness::HintDelivered, Witness::FreshActor, Witness::FallbackCounted],
            is_quick: false,
        },
        Self {
            name: "cart-retry",
            why: "An addition is retried elsewhere while the first attempt is in flight, then cancelled.",
            plan: plans::cart_retry,
            needs: &[Witness::RetriedTwice, Witness::TwoDots, Witness::Cancelled],
            is_quick: false,
        },
        Self {
            name: "cart-context",
            why: "A cart operation with a context at a node that is behind removes nothing.",
            plan: plans::cart_context,
            needs: &[Witness::Acknowledged, Witness::Quiet],
            is_quick: true,
        },
        Self {
            name: "cart-bound",
            why: "More cancellations than a cart remembers: what was cancelled at every owner stays away.",
            plan: plans::cart_bound,
            needs: &[Witness::CancelledBound, Witness::Cancelled, Witness::StrictReadAfterWrite],
            is_quick: true,
        },
        Self {
            name: "overload",
            why: "A node takes one request at a time: what it refuses leaves no trace.",
            plan: plans::overload,
            needs: &[Witness::Overloaded, Witness::Acknowledged],
            is_quick: true,
        },
        Self {
            name: "owners-storm",
            why: "Two writes at three owners with two crashes, a message that arrives twice and a deadline.",
            plan: plans::owners_storm,
            needs: &[
                Witness::Acknowledged,
                Witness::CrashLost,
                Witness::Restarted,
                Witness::Duplicated,
                Witness::Unavailable,
                Witness::Quiet,
            ],
            is_quick: false,
        },
        Self {
            name: "three-and-fallback",
            why: "Three owners, a fallback, two coordinators that suspect different owners, and a crash.",
            plan: plans::three_and_fallback,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered, Witness::CrashLost],
            is_quick: false,
        },
        Self {
            name: "mend",
            why: "A crash leaves owners unequal, then a read of all of them mends that.",
            plan: plans::mend,
            needs: &[Witness::CrashLost, Witness::Mended, Witness::Quiet],
            is_quick: true,
        },
        Self {
            name: "anti-entropy",
            why: "Two owners write apart and one crashes: they compare trees, built anew after the crash, and become equal.",
            plan: plans::anti_entropy,
            needs: &[
                Witness::TreesMended,
                Witness::CrashLost,
                Witness::CrashHushed,
                Witness::Restarted,
                Witness::Quiet,
            ],
            is_quick: true,
        },
        Self {
            name: "anti-entropy-fallback",
            why: "Owners compare trees while a fallback holds a hint: it is handed over, and no owner takes it for an owner's copy.",
            plan: plans::anti_entropy_fallback,
            needs: &[Witness::TreesMended, Witness::FallbackCounted, Witness::HintDelivered],
            is_quick: true,
        },
        Self {
            name: "delete",
            why: "A value is deleted while another is written beside it: only what was seen goes.",
            plan: plans::delete,
            needs: &[Witness::Replaced, Witness::StrictReadAfterWrite, Witness::Quiet],
            is_quick: true,
        },
        Self {
            name: "cart-clients",
            why: "Two clients add, look and cancel or change what they saw, with a crash.",
            plan: plans::cart_clients,
            needs: &[Witness::Cancelled, Witness::CrashLost, Witness::StrictReadAfterWrite],
            is_quick: false,
        },
        Self {
            name: "foreign-cart",
            why: "A cart operation with a forged context is refused.",
            plan: plans::foreign_cart,
            needs: &[Witness::ForeignRefused, Witness::Acknowledged],
            is_quick: true,
        },
        Self {
            name: "replace",
            why: "One owner is replaced and a node crashes meanwhile: every strict read sees the strict write before it.",
            plan: changes::replace,
            needs: &[
                Witness::JointRead,
                Witness::JointWrite,
                Witness::CaughtUp,
                Witness::Changed,
                Witness::CrashLost,
                Witness::Restarted,
            ],
            is_quick: true,
        },
        Self {
            name: "leave",
            why: "The only owner leaves its keys to another member: what it took before it knew of that is not missed.",
            plan: changes::leave,
            needs: &[
                Witness::JointRead,
                Witness::JointWrite,
                Witness::CaughtUp,
                Witness::Changed,
                Witness::CrashLost,
            ],
            is_quick: true,
        },
        Self {
            name: "behind",
            why: "A node that owns nothing is behind by a view: what it is told by those who went on does not count.",
            plan: changes::behind,
            needs: &[Witness::Changed, Witness::JointRead, Witness::StrictReadAfterWrite],
            is_quick: false,
        },
        Self {
            name: "unseen",
            why: "Strict reads ask one owner: no change ends before every old owner has seen it.",
            plan: changes::unseen,
            needs: &[Witness::Changed, Witness::JointRead, Witness::StrictReadAfterWrite],
            is_quick: false,
        },
        Self {
            name: "shrink-and-grow",
            why: "An owner leaves and later another comes: the one that stayed had to catch up as well.",
            plan: changes::shrink_and_grow,
            needs: &[Witness::Changed, Witness::CaughtUp, Witness::StrictReadAfterWrite],
            is_quick: true,
        },
        Self {
            name: "amend",
            why: "A change is given up and begun again: what was caught up with before counts no more.",
            plan: changes::amend,
            needs: &[Witness::Amended, Witness::Changed, Witness::CaughtUp, Witness::JointRead],
            is_quick: false,
        },
        Self {
            name: "dead-owner",
            why: "An owner's disk is lost and its loss accepted: all others are merged from, and its id never comes back.",
            plan: changes::dead_owner,
            needs: &[
                Witness::DiskLost,
                Witness::Changed,
                Witness::CaughtUp,
                Witness::StrictReadAfterWrite,
            ],
            is_quick: true,
        },
        Self {
            name: "change-crash",
            why: "One of two owners is replaced, with a strict write, a strict read and a crash.",
            plan: changes::change_crash,
            needs: &[
                Witness::JointRead,
                Witness::JointWrite,
                Witness::CaughtUp,
                Witness::Changed,
                Witness::CrashLost,
                Witness::Restarted,
            ],
            is_quick: false,
        },
        Self {
            name: "drain",
            why: "A removed owner hands all off before it is forgotten, also when it comes back with its old view.",
            plan: changes::drain,
            needs: &[Witness::Drained, Witness::Changed, Witness::RemovedReturns, Witness::Quiet],
            is_quick: false,
        },
        Self {
            name: "hint-across",
            why: "The owner of a hint is replaced while it waits: it goes to all owners there are now.",
            plan: changes::hint_across,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered, Witness::Changed],
            is_quick: false,
        },
        Self {
            name: "stale-settlement",
            why: "A hint is handed over while the view changes: only an answer in the holder's view settles it.",
            plan: changes::stale_settlement,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered, Witness::Changed],
            is_quick: false,
        },
        Self {
            name: "moved-owner",
            why: "A node stays a member and owns the key no more: what addresses it as owner, it owes.",
            plan: changes::moved_owner,
            needs: &[Witness::Changed, Witness::HintDelivered, Witness::Quiet],
            is_quick: false,
        },
        Self {
            name: "leave-with-hints",
            why: "A node leaves that holds a hint: it is forgotten when it has handed it over.",
            plan: changes::leave_with_hints,
            needs: &[
                Witness::FallbackCounted,
                Witness::HintDelivered,
                Witness::Drained,
                Witness::Changed,
            ],
            is_quick: false,
        },
        Self {
            name: "owes-all",
            why: "A node that owns nothing coordinates and holds a slot: its copy goes when all owners have one.",
            plan: changes::owes_all,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered],
            is_quick: true,
        },
        Self {
            name: "zones",
            why: "Copies are spread over zones: two in one zone count once.",
            plan: changes::zones,
            needs: &[Witness::Unavailable, Witness::Acknowledged],
            is_quick: true,
        },
        Self {
            name: "zone-hint",
            why: "A hint waits in another zone than its owner's: all owners get it before it goes.",
            plan: changes::zone_hint,
            needs: &[Witness::FallbackCounted, Witness::HintDelivered],
            is_quick: true,
        },
        Self {
            name: "forward-change",
            why: "A forwarded put, a silence and a change of the only owner: it is not coordinated twice.",
            plan: changes::forward_change,
            needs: &[Witness::Changed, Witness::Replaced, Witness::CaughtUp],
            is_quick: false,
        },
        Self {
            name: "grow-and-shrink",
            why: "From one node to three and back to two, with a strict write at the start and a strict read at the end.",
            plan: changes::grow_and_shrink,
            needs: &[Witness::Changed, Witness::CaughtUp, Witness::StrictReadAfterWrite],
            is_quick: false,
        },
        Self {
            name: "grow-to-four",
            why: "Three nodes join one at once, then two leave at once: nobody who owned the key at the start is left.",
            plan: changes::grow_to_four,
            needs: &[Witness::Changed, Witness::CaughtUp, Witness::StrictReadAfterWrite],
            is_quick: false,
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

const fn count(lists: &[&[Preset]]) -> usize {
    let (mut all, mut at) = (0, 0);
    while at < lists.len() {
        all += lists[at].len();
        at += 1;
    }
    all
}

/// All of these lists, one after the other: `ALL` presets.
const fn joined<const ALL: usize>(lists: &[&[Preset]]) -> [Preset; ALL] {
    let mut all = [lists[0][0]; ALL];
    let (mut list, mut within, mut at) = (0, 0, 0);
    while at < ALL {
        if within == lists[list].len() {
            (list, within) = (list + 1, 0);
        } else {
            all[at] = lists[list][within];
            (within, at) = (within + 1, at + 1);
        }
    }
    all
}
