//! Witnesses: events that a preset must show at least once, so that no exploration is vacuous.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use cartwheel_protocol::{Effect, Input, id::NodeId, membership::MemberEffect};

/// Something that happened.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Witness {
    /// A write was acknowledged.
    Acknowledged,
    /// A write was acknowledged while fewer than w owners held it: fallbacks made up for them.
    FallbackCounted,
    /// A read showed more than one value.
    Siblings,
    /// A strict read began after a strict write was acknowledged, and was answered.
    StrictReadAfterWrite,
    /// A read that fallbacks answered too was answered.
    FallbackRead,
    /// A hint was delivered and dropped.
    HintDelivered,
    /// A crash lost something that was not synced.
    CrashLost,
    /// A crash kept something that was not synced.
    CrashKept,
    /// Messages of a dead node were lost with it.
    CrashHushed,
    /// A crashed node started again.
    Restarted,
    /// A disk was wiped that held something.
    DiskLost,
    /// A record was damaged.
    Damaged,
    /// A view was raised.
    Raised,
    /// A damaged record was mended.
    DamageMended,
    /// A damaged record is mended without an owner that is named as lost.
    MendedDespiteLoss,
    /// The loss of a record was accepted.
    LossAccepted,
    /// A message was delivered twice.
    Duplicated,
    /// A message was lost.
    Dropped,
    /// Two attempts of one operation were acknowledged.
    RetriedTwice,
    /// One entry was coordinated twice.
    TwoDots,
    /// A cancelled addition was missing from a later read.
    Cancelled,
    /// A value was missing from a read after a later put replaced it.
    Replaced,
    /// A node opened a second actor for a key within one run.
    FreshActor,
    /// A cart forgot the oldest of its cancelled add_ids.
    CancelledBound,
    /// A request with a foreign context was refused.
    ForeignRefused,
    /// A request was refused because too many were under way.
    Overloaded,
    /// A client was told that the outcome is unknown.
    Unavailable,
    /// A write was acknowledged when all of its slots were filled.
    SlotsAll,
    /// Every owner answered a read after something was lost.
    Mended,
    /// Owners compared their trees and mended what differed.
    TreesMended,
    /// An owner caught up that had to.
    CaughtUp,
    /// A change of the layout came to its end.
    Changed,
    /// A change of the layout was amended.
    Amended,
    /// A strict read was answered in a joint view after a strict write was acknowledged.
    JointRead,
    /// A write was acknowledged in a joint view.
    JointWrite,
    /// A node was not fit for a reap round.
    Unfit,
    /// An owner dropped what a reap round named.
    Reaped,
    /// An addition was refused because its id is too old.
    TooOld,
    /// A former member told that it holds nothing any more.
    Drained,
    /// A node started with its old view after it was removed.
    RemovedReturns,
    /// All was quiet after the last task.
    Quiet,
    /// Two decrees were put to the vote of which at most one could be made.
    Rivals,
    /// A proposer put to the vote what another had been voted for.
    VoteTakenUp,
    /// A node crashed after its promise and before its vote.
    VoterCrashed,
    /// A node raised the view between a promise or vote and the decree.
    RaisedAmidVote,
    /// All members were fit for a reap round.
    RoundCompleted,
}

impl Witness {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 46] = [
        Self::Acknowledged,
        Self::FallbackCounted,
        Self::Siblings,
        Self::StrictReadAfterWrite,
        Self::FallbackRead,
        Self::HintDelivered,
        Self::CrashLost,
        Self::CrashKept,
        Self::CrashHushed,
        Self::Restarted,
        Self::DiskLost,
        Self::Damaged,
        Self::Raised,
        Self::DamageMended,
        Self::MendedDespiteLoss,
        Self::LossAccepted,
        Self::Duplicated,
        Self::Dropped,
        Self::RetriedTwice,
        Self::TwoDots,
        Self::Cancelled,
        Self::Replaced,
        Self::FreshActor,
        Self::CancelledBound,
        Self::ForeignRefused,
        Self::Overloaded,
        Self::Unavailable,
        Self::SlotsAll,
        Self::Mended,
        Self::TreesMended,
        Self::CaughtUp,
        Self::Changed,
        Self::Amended,
        Self::JointRead,
        Self::JointWrite,
        Self::Unfit,
        Self::Reaped,
        Self::TooOld,
        Self::Drained,
        Self::RemovedReturns,
        Self::Quiet,
        Self::Rivals,
        Self::VoteTakenUp,
        Self::VoterCrashed,
        Self::RaisedAmidVote,
        Self::RoundCompleted,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "a write is acknowledged",
            Self::FallbackCounted => "w is met by a fallback",
            Self::Siblings => "siblings are shown",
            Self::StrictReadAfterWrite => "a strict read follows a strict write",
            Self::FallbackRead => "a fallback answers a read",
            Self::HintDelivered => "a hint is delivered",
            Self::CrashLost => "a crash loses a batch",
            Self::CrashKept => "a crash keeps a batch",
            Self::CrashHushed => "a crash takes sent messages with it",
            Self::Restarted => "a node restarts",
            Self::DiskLost => "a disk is lost",
            Self::Damaged => "a record is damaged",
            Self::Raised => "a view is raised",
            Self::DamageMended => "a damaged record is mended",
            Self::MendedDespiteLoss => {
                "a damaged record is mended without an owner that is named as lost"
            }
            Self::LossAccepted => "the loss of a record is accepted",
            Self::Duplicated => "a message arrives twice",
            Self::Dropped => "a message is lost",
            Self::RetriedTwice => "both attempts are acknowledged",
            Self::TwoDots => "an entry is coordinated twice",
            Self::Cancelled => "a cancelled addition is gone",
            Self::Replaced => "a replaced value is gone",
            Self::FreshActor => "a node opens a second actor",
            Self::CancelledBound => "a cart forgets a cancelled id",
            Self::ForeignRefused => "a foreign context is refused",
            Self::Overloaded => "a node is overloaded",
            Self::Unavailable => "an outcome is unknown",
            Self::SlotsAll => "all slots are filled at the reply",
            Self::Mended => "a read of every owner follows a loss",
            Self::TreesMended => "owners compare trees and mend a difference",
            Self::CaughtUp => "a new owner has caught up",
            Self::Changed => "a change is finished",
            Self::Amended => "a change is amended",
            Self::JointRead => "a joint view serves a strict read",
            Self::JointWrite => "a joint view serves a write",
            Self::Unfit => "a node is not fit for a reap round",
            Self::Reaped => "an owner reaps",
            Self::TooOld => "an addition is too old",
            Self::Drained => "a former member is drained",
            Self::RemovedReturns => "a removed node comes back",
            Self::Quiet => "all is quiet at the end",
            Self::Rivals => "two decrees are put to the vote",
            Self::VoteTakenUp => "a vote of a lower ballot is taken up",
            Self::VoterCrashed => "a node crashes between promise and vote",
            Self::RaisedAmidVote => "a node that has promised raises the view",
            Self::RoundCompleted => "all are fit for a reap round",
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who watches a world, or a cluster of members, change.
pub trait Observer {
    /// A replica is about to take an input.
    fn input(&mut self, _at: NodeId, _input: &Input) {}

    /// A replica wants something done.
    fn effect(&mut self, _at: NodeId, _effect: &Effect) {}

    /// A membership wants something done.
    fn member_effect(&mut self, _at: NodeId, _effect: &MemberEffect) {}

    /// Something worth counting happened.
    fn note(&mut self, _witness: Witness) {}
}

/// Nobody watches.
impl Observer for () {}

/// Counts witnesses, from any thread.
#[derive(Debug)]
pub struct Witnesses([AtomicU64; Witness::ALL.len()]);

impl Default for Witnesses {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Witness::ALL.len()])
    }
}

impl Witnesses {
    /// How often something happened.
    pub fn count(&self, witness: Witness) -> u64 {
        self.0[witness as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, witness: Witness) {
        self.0[witness as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Observer for &Witnesses {
    fn note(&mut self, witness: Witness) {
        self.add(witness);
    }
}
