//! Which property catches which mutant, and where: one table.

use cartwheel_protocol::rules::Mutant;

use crate::{presets::Preset, property::Property};

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

/// Every mutant that a preset catches, in the order of the rules.
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
    caught(Mutant::RecoordinateOnForward, "forward", Property::NoResurrectedSibling),
];

/// Mutants that no preset catches yet: of the rules of changing layouts, whose presets are still to come.
pub const AWAITING: &[Mutant] = &[
    Mutant::AnySettles,
    Mutant::OwnerAddressOwesNobody,
    Mutant::OwedWithoutView,
    Mutant::DropAfterFirstOwnerAcks,
    Mutant::RemovedNodeDiscards,
    Mutant::CountAcksInOneZone,
    Mutant::CrossZoneHintOwesOne,
    Mutant::WipedDiskKeepsIdentity,
    Mutant::GossipOverwritesNewer,
    Mutant::ViewNotPersisted,
    Mutant::NoViewMatch,
    Mutant::ReadOneLayout,
    Mutant::UnfencedSync,
    Mutant::FinishUnseen,
    Mutant::ClaimBeforeDurable,
    Mutant::ClampWithoutShrinkSync,
    Mutant::AmendKeepsProgress,
    Mutant::AcceptLossCountsAsEmpty,
    Mutant::TwoDecrees,
    Mutant::ForgetDecree,
];

const fn caught(mutant: Mutant, preset: &'static str, property: Property) -> Caught {
    Caught { mutant, preset, property }
}

impl Caught {
    /// Where this mutant is caught.
    pub fn of(mutant: Mutant) -> Option<&'static Self> {
        CAUGHT.iter().find(|caught| caught.mutant == mutant)
    }

    /// The preset in which it is caught.
    ///
    /// # Panics
    ///
    /// If the table names a preset that does not exist.
    pub fn preset(&self) -> &'static Preset {
        Preset::named(self.preset).expect("the table names presets that exist")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_is_in_the_table_once_and_every_preset_exists() {
        let caught = CAUGHT.iter().map(|caught| caught.mutant);
        let mut named: Vec<Mutant> = caught.chain(AWAITING.iter().copied()).collect();
        named.sort_unstable();
        assert_eq!(named, Mutant::ALL);
        for caught in CAUGHT {
            assert_eq!(caught.preset().name, caught.preset);
        }
    }
}
