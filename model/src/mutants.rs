//! Which property catches which mutant, and where: one table.

use cartwheel_protocol::rules::Mutant;

use crate::{place::Place, presets::Preset, property::Property};

/// Where a mutant is caught, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Caught {
    /// The rule that is broken.
    pub mutant: Mutant,
    /// The preset, which runs clean without it.
    pub preset: &'static str,
    /// The property that does not hold at the end of the shortest trace.
    pub property: Property,
}

/// Every mutant that a preset catches, in the order of the rules, the first time where it is caught soonest.
pub const CAUGHT: &[Caught] = &[
    caught(Mutant::CounterPerKey, "forgetful", Property::DotNamesOneValue),
    caught(Mutant::ExtendAfterRestart, "restart", Property::DotNamesOneValue),
    caught(Mutant::ExtendOwnFromMerge, "old-copy", Property::DotNamesOneValue),
    caught(Mutant::NodeWideCounter, "forgetful", Property::AcknowledgedIsDurable),
    caught(Mutant::ReplicateOnlyNewEntry, "siblings", Property::AcknowledgedIsDurable),
    caught(Mutant::PutOverwritesLocal, "siblings", Property::AcknowledgedIsDurable),
    caught(Mutant::CartJoinsContext, "cart-context", Property::AcknowledgedIsDurable),
    caught(Mutant::RepairOverwrites, "repair", Property::AcknowledgedIsDurable),
    caught(Mutant::LastWriteWins, "siblings", Property::AcknowledgedIsDurable),
    caught(Mutant::TreeMissesAnUpdate, "anti-entropy", Property::OwnersCanMend),
    caught(Mutant::ExchangeWaitsForEver, "anti-entropy-lost", Property::OwnersCanMend),
    caught(Mutant::TruncateOldest, "replaced", Property::NoResurrectedSibling),
    caught(Mutant::PruneWhenCovered, "reap-clock", Property::ReapedStaysReaped),
    caught(Mutant::AcceptForeignContext, "foreign", Property::ForeignContextsAreRefused),
    caught(Mutant::ForgetCancelled, "cart-retry", Property::AcknowledgedIsDurable),
    caught(Mutant::CutBeforeDrop, "cart-bound", Property::CancelledStaysCancelled),
    caught(Mutant::AckBeforeSync, "owners-crash", Property::AcknowledgedIsDurable),
    caught(Mutant::AckUnchangedAtOnce, "cart-retry", Property::AcknowledgedIsDurable),
    caught(Mutant::CountDuplicateAcks, "duplicates", Property::AcknowledgedIsDurable),
    caught(Mutant::CountOwnerAndFallback, "late-owner", Property::AcknowledgedIsDurable),
    caught(Mutant::ReuseRequestIds, "restart", Property::AcknowledgedIsDurable),
    caught(Mutant::FallbackNotfoundCounts, "strict-read", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::DeleteHintUnconditionally, "hints", Property::AcknowledgedIsDurable),
    caught(Mutant::OwedLeftWhenUnchanged, "suspect-differently", Property::AcknowledgedIsDurable),
    caught(Mutant::ExpireHints, "hints", Property::AcknowledgedIsDurable),
    caught(Mutant::HintSentOnce, "hint-lost", Property::HintsCanEnd),
    caught(Mutant::RecoordinateOnForward, "forward", Property::NoResurrectedSibling),
    caught(Mutant::AnySettles, "stale-settlement", Property::AcknowledgedIsDurable),
    caught(Mutant::AnySettles, "settle-three", Property::AcknowledgedIsDurable),
    caught(Mutant::OwnerAddressOwesNobody, "moved-owner", Property::AcknowledgedIsDurable),
    caught(Mutant::OwedWithoutView, "hint-across", Property::HintsCanEnd),
    caught(Mutant::DropAfterFirstOwnerAcks, "owes-all", Property::AcknowledgedIsDurable),
    caught(Mutant::TreesWithFallbacks, "anti-entropy-fallback", Property::HintsCanEnd),
    caught(Mutant::RemovedNodeDiscards, "drain", Property::AcknowledgedIsDurable),
    caught(Mutant::RecoordinateOnForward, "forward-change", Property::NoResurrectedSibling),
    caught(Mutant::ReapWhenAllHoldIt, "reap", Property::ReapedStaysReaped),
    caught(Mutant::ReapFitWhenAsked, "reap-late-verdict", Property::ReapedStaysReaped),
    caught(Mutant::ReapKeepsReadsInMemory, "reap-memory", Property::ReapedStaysReaped),
    caught(Mutant::ReapKeepsWritesInMemory, "reap-memory", Property::ReapedStaysReaped),
    caught(Mutant::ReapForgetsDraining, "reap-drain", Property::ReapedStaysReaped),
    caught(Mutant::ReapWithoutFloor, "reap-cart", Property::ReapedStaysReaped),
    caught(Mutant::ReapTakesOlderObjects, "reap-memory", Property::ReapedStaysReaped),
    caught(Mutant::VerdictBeforeSync, "reap-crash", Property::ReapedStaysReaped),
    caught(Mutant::RestartJudges, "reap-restart", Property::ReapedStaysReaped),
    caught(Mutant::ReapsWhatChanged, "reap-crash", Property::AcknowledgedIsDurable),
    caught(Mutant::CountAcksInOneZone, "zones", Property::AcknowledgedIsDurable),
    caught(Mutant::CrossZoneHintOwesOne, "zone-hint", Property::AcknowledgedIsDurable),
    caught(Mutant::WipedDiskKeepsIdentity, "dead-owner", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::RepairFromFallback, "damage-then-write", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::DamagedAnswersNotfound, "damage", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::MendWithoutRaise, "damage-and-write", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::MendCountsOlderView, "damage-and-write", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::MendFromOne, "damage", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::DamagedSourceCounts, "damage-twice", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::PageSkipsDamaged, "damage-change", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::WriteClearsMark, "damage-then-write", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::MarkAskedOnce, "damage", Property::MendingCanEnd),
    caught(Mutant::RestartForgetsMarks, "damage-crash", Property::MendingCanEnd),
    caught(Mutant::MendAwaitsTheLost, "damage-dead-owner", Property::MendingCanEnd),
    caught(Mutant::LossAcceptedUnread, "accept-loss", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::ViewNotPersisted, "replace", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::NoViewMatch, "behind", Property::StrictReadsSeeStrictWrites),
    caught(
        Mutant::StrictWriteCountsOlderView,
        "damage-and-write",
        Property::StrictReadsSeeStrictWrites,
    ),
    caught(Mutant::OwnCopyCountsOn, "damage-crash", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::ReadOneLayout, "replace", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::ReadOneLayout, "replace-of-three", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::UnfencedSync, "leave", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::FinishUnseen, "unseen", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::FinishUnseen, "unseen-of-three", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::ClaimBeforeDurable, "replace", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::ClampWithoutShrinkSync, "shrink-and-grow", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::AmendKeepsProgress, "amend", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::AcceptLossCountsAsEmpty, "dead-owner", Property::StrictReadsSeeStrictWrites),
];

/// Every mutant that a preset of decrees catches.
pub const DECREED: &[Caught] = &[
    caught(Mutant::VoterIsFit, "reap-vote", Property::RoundsAreKept),
    caught(Mutant::DecreeForgetsRound, "reap-vote", Property::RoundsAreKept),
    caught(Mutant::GossipOverwritesNewer, "one-change", Property::KnowledgeGrows),
    caught(Mutant::ViewNotPersisted, "one-change", Property::NobodyGoesBack),
    caught(Mutant::TwoDecrees, "two-proposers", Property::OneViewANumber),
    caught(Mutant::RaiseForgetsVotes, "raised-vote", Property::OneViewANumber),
    caught(Mutant::ForgetDecree, "two-proposers", Property::OneViewANumber),
];

const fn caught(mutant: Mutant, preset: &'static str, property: Property) -> Caught {
    Caught { mutant, preset, property }
}

impl Caught {
    /// Both tables: what presets of worlds catch, then what those of decrees do.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        CAUGHT.iter().chain(DECREED)
    }

    /// Where this mutant is caught soonest.
    pub fn of(mutant: Mutant) -> Option<&'static Self> {
        Self::all().find(|caught| caught.mutant == mutant)
    }

    /// What is declared of this mutant in that preset.
    pub fn within(mutant: Mutant, place: Place) -> Option<&'static Self> {
        Self::all().find(|caught| caught.mutant == mutant && caught.preset == place.name())
    }

    /// The preset in which it is caught.
    ///
    /// # Panics
    ///
    /// If the table names a preset that does not exist.
    pub fn place(&self) -> Place {
        Place::named(self.preset).expect("the table names presets that exist")
    }

    /// The preset of worlds in which it is caught.
    ///
    /// # Panics
    ///
    /// If the table names a preset that does not exist, or one of decrees.
    pub fn preset(&self) -> &'static Preset {
        Preset::named(self.preset).expect("the table names presets that exist")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_is_in_one_of_the_tables_and_every_preset_exists() {
        let mut named: Vec<Mutant> = Caught::all().map(|caught| caught.mutant).collect();
        named.sort_unstable();
        named.dedup();
        assert_eq!(named, Mutant::ALL);
        for caught in CAUGHT {
            assert_eq!(caught.preset().name, caught.preset);
        }
        for caught in DECREED {
            assert!(matches!(caught.place(), Place::Decrees(_)), "{}", caught.preset);
        }
    }
}
