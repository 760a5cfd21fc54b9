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
    caught(Mutant::TruncateOldest, "read-write", Property::AcknowledgedIsDurable),
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
    caught(Mutant::RecoordinateOnForward, "forward", Property::NoResurrectedSibling),
    caught(Mutant::AnySettles, "stale-settlement", Property::AcknowledgedIsDurable),
    caught(Mutant::OwnerAddressOwesNobody, "moved-owner", Property::AcknowledgedIsDurable),
    caught(Mutant::OwedWithoutView, "hint-across", Property::HintsCanEnd),
    caught(Mutant::DropAfterFirstOwnerAcks, "owes-all", Property::AcknowledgedIsDurable),
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
    caught(Mutant::RepairFromFallback, "anti-entropy-fallback", Property::HintsCanEnd),
    caught(Mutant::DamagedAnswersNotfound, "damage", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::MendWithoutRaise, "damage-and-write", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::MendCountsOlderView, "damage-and-write", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::MendFromOne, "damage", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::DamagedSourceCounts, "damage-twice", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::PageSkipsDamaged, "damage-change", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::WriteClearsMark, "damage-then-write", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::MarkAskedOnce, "damage", Property::MendingCanEnd),
    caught(Mutant::RestartForgetsMarks, "damage-crash", Property::MendingCanEnd),
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
    caught(Mutant::UnfencedSync, "leave", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::FinishUnseen, "unseen", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::ClaimBeforeDurable, "replace", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::ClampWithoutShrinkSync, "shrink-and-grow", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::AmendKeepsProgress, "amend", Property::StrictReadsSeeStrictWrites),
    caught(Mutant::AcceptLossCountsAsEmpty, "dead-owner", Property::StrictReadsSeeStrictWrites),
];

/// A mutant that no world shows, and where it is caught instead.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// The rule that is broken.
    pub mutant: Mutant,
    /// The test, by its file in the repository.
    pub test: &'static str,
    /// What it notices.
    pub by: &'static str,
}

/// Mutants that no world shows: decrees and gossip are not in it. Seeded clusters of memberships catch them.
pub const ELSEWHERE: &[Elsewhere] = &[
    among_members(Mutant::VoterIsFit, "a view forgets a reap round"),
    among_members(Mutant::DecreeForgetsRound, "a view forgets a reap round"),
    among_members(Mutant::GossipOverwritesNewer, "a node knew more of another before"),
    among_members(Mutant::TwoDecrees, "two views of one number"),
    among_members(Mutant::RaiseForgetsVotes, "two views of one number"),
    among_members(Mutant::ForgetDecree, "two views of one number"),
];

const fn among_members(mutant: Mutant, by: &'static str) -> Elsewhere {
    Elsewhere { mutant, test: "protocol/tests/membership", by }
}

const fn caught(mutant: Mutant, preset: &'static str, property: Property) -> Caught {
    Caught { mutant, preset, property }
}

impl Elsewhere {
    /// Where this mutant is caught, if no world shows it.
    pub fn of(mutant: Mutant) -> Option<&'static Self> {
        ELSEWHERE.iter().find(|elsewhere| elsewhere.mutant == mutant)
    }

    /// The command that runs the test.
    pub fn command(&self) -> String {
        let (krate, target) = self.test.split_once("/tests/").unwrap_or(("", self.test));
        format!("cargo test -p cartwheel-{krate} --features mutants --test {target}")
    }
}

impl Caught {
    /// Where this mutant is caught soonest.
    pub fn of(mutant: Mutant) -> Option<&'static Self> {
        CAUGHT.iter().find(|caught| caught.mutant == mutant)
    }

    /// What is declared of this mutant in that preset.
    pub fn within(mutant: Mutant, preset: &Preset) -> Option<&'static Self> {
        CAUGHT.iter().find(|caught| caught.mutant == mutant && caught.preset == preset.name)
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
    fn every_mutant_is_in_one_of_the_tables_and_every_preset_exists() {
        let caught = CAUGHT.iter().map(|caught| caught.mutant);
        let elsewhere = ELSEWHERE.iter().map(|elsewhere| elsewhere.mutant);
        let mut named: Vec<Mutant> = caught.chain(elsewhere).collect();
        named.sort_unstable();
        named.dedup();
        assert_eq!(named, Mutant::ALL);
        assert!(ELSEWHERE.iter().all(|elsewhere| Caught::of(elsewhere.mutant).is_none()));
        for caught in CAUGHT {
            assert_eq!(caught.preset().name, caught.preset);
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for elsewhere in ELSEWHERE {
            let test = root.join(elsewhere.test);
            assert!(test.is_dir() || test.with_extension("rs").is_file(), "no {}", test.display());
        }
    }
}
