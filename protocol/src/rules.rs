//! Rules, and the mutants that break one each.
//!
//! The core asks `Rules::keeps` at the one place that a mutant breaks. In a normal build the answer is a
//! constant `true` that costs nothing; with the cargo feature `mutants` it is a look into the configuration,
//! and each call counts towards the coverage of that rule, outside all state.

use core::fmt;
#[cfg(feature = "mutants")]
use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal of $rule:literal,)+) => {
        /// One rule left out, by the name of what goes wrong then. A mutant that no model kills means that
        /// the model is too weak.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Mutant { $($(#[doc = $doc])+ $variant,)+ }

        impl Mutant {
            /// Every mutant, in the order of the rules.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The rule that it breaks, by its name in `docs/rules.md`.
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$variant => $rule,)+ }
            }
        }
    };
}

mutants! {
    /// A coordinator that holds no record counts its one actor from one again (Riak's kv679).
    CounterPerKey = "counter-per-key" of "V1",
    /// A coordinator extends an actor of the run before.
    ExtendAfterRestart = "extend-after-restart" of "V1",
    /// A merge brings `own` along with the object.
    ExtendOwnFromMerge = "extend-own-from-merge" of "V1",
    /// One counter for all keys of a node: version vectors get gaps.
    NodeWideCounter = "node-wide-counter" of "V2",
    /// Owners are sent the new entry alone.
    ReplicateOnlyNewEntry = "replicate-only-new-entry" of "V3",
    /// A put drops every local entry, whatever its context covers.
    PutOverwritesLocal = "put-overwrites-local" of "V4",
    /// A cart operation joins the client's context into `seen`.
    CartJoinsContext = "cart-joins-context" of "V4",
    /// Read repair overwrites what arrived meanwhile.
    RepairOverwrites = "repair-overwrites" of "V5",
    /// A merge keeps the later of two objects whole.
    LastWriteWins = "last-write-wins" of "V5",
    /// A coordinator's own write leaves the tree as it was.
    TreeMissesAnUpdate = "tree-misses-an-update" of "V5",
    /// Who compares trees waits for an answer for ever.
    ExchangeWaitsForEver = "exchange-waits-for-ever" of "V5",
    /// Clock entries beyond a number are dropped, the first actors in their order, as the paper drops the oldest.
    TruncateOldest = "truncate-oldest" of "V6",
    /// An owner is fit for a round that prunes entries of a clock if its own clock has them too, whatever else it holds.
    PruneWhenCovered = "prune-when-covered" of "V6",
    /// A context of another cluster, bucket or key is taken.
    AcceptForeignContext = "accept-foreign-context" of "V7",
    /// A cancellation removes what is there and is not remembered.
    ForgetCancelled = "forget-cancelled" of "C1",
    /// The bound of `cancelled` is applied before the entries that it names are dropped.
    CutBeforeDrop = "cut-before-drop" of "C1",
    /// Acknowledgements leave before the barrier.
    AckBeforeSync = "ack-before-sync" of "D1",
    /// What changes nothing is acknowledged at once.
    AckUnchangedAtOnce = "ack-unchanged-at-once" of "D1",
    /// A duplicated answer counts twice.
    CountDuplicateAcks = "count-duplicate-acks" of "Q1",
    /// An owner and the fallback that stands in for it both count.
    CountOwnerAndFallback = "count-owner-and-fallback" of "Q1",
    /// Request ids start again after a restart.
    ReuseRequestIds = "reuse-request-ids" of "Q1",
    /// A fallback's "not found" counts in a strict read.
    FallbackNotfoundCounts = "fallback-notfound-counts" of "Q2",
    /// Any acknowledgement deletes a hint, whatever it was for.
    DeleteHintUnconditionally = "delete-hint-unconditionally" of "H1",
    /// What changes nothing is not owed again.
    OwedLeftWhenUnchanged = "owed-left-when-unchanged" of "H1",
    /// The answer of a node that owns no copy, or goes by another view, settles a hint.
    AnySettles = "any-ack-settles" of "H1",
    /// What addresses a former owner as owner is owed to nobody.
    OwnerAddressOwesNobody = "owner-address-owes-nobody" of "H1",
    /// What was owed in another view is taken as owed in this one.
    OwedWithoutView = "owed-without-view" of "H1",
    /// A hint is dropped when it could not be delivered for a while.
    ExpireHints = "expire-hints" of "H2",
    /// A hint is sent once, and not again when nobody answers.
    HintSentOnce = "hint-sent-once" of "H2",
    /// A copy is dropped when the first of those that it is owed to has it.
    DropAfterFirstOwnerAcks = "drop-after-first-owner-acks" of "H3",
    /// Owners compare trees with fallbacks too, which get copies that nobody owes.
    TreesWithFallbacks = "trees-with-fallbacks" of "H3",
    /// A removed node drops what it holds.
    RemovedNodeDiscards = "removed-node-discards" of "H3",
    /// A forwarded register put is coordinated again by the forwarder after a silence.
    RecoordinateOnForward = "recoordinate-on-forward" of "F1",
    /// A reap round asks the owners alone.
    ReapWhenAllHoldIt = "reap-when-all-hold-it" of "T1",
    /// A node judges when it is asked, and not when it comes to the view of a reap round.
    ReapFitWhenAsked = "reap-fit-when-asked" of "T1",
    /// Reads go on with what was answered before a reap round.
    ReapKeepsReadsInMemory = "reap-keeps-reads-in-memory" of "T1",
    /// Writes go on sending what they began with before a reap round.
    ReapKeepsWritesInMemory = "reap-keeps-writes-in-memory" of "T1",
    /// A reap round does not ask who drains.
    ReapForgetsDraining = "reap-forgets-draining" of "T1",
    /// Additions are taken however old their ids are.
    ReapWithoutFloor = "reap-without-floor" of "T1",
    /// Objects are taken that were sent before a reap round.
    ReapTakesOlderObjects = "reap-takes-older-objects" of "T1",
    /// A verdict leaves before what was judged is on disk.
    VerdictBeforeSync = "verdict-before-sync" of "T1",
    /// A node judges again when it starts in the view of a reap round.
    RestartJudges = "restart-judges" of "T1",
    /// A node that has voted on the next decree takes part in a reap round.
    VoterIsFit = "voter-is-fit" of "T1",
    /// An acceptor votes for a decree that does not know of a reap round.
    DecreeForgetsRound = "decree-forgets-round" of "T1",
    /// An owner drops what a round named, whatever it holds by then.
    ReapsWhatChanged = "reaps-what-changed" of "T1",
    /// Two answers from nodes of one zone count for a bucket spread over zones.
    CountAcksInOneZone = "count-acks-in-one-zone" of "Q3",
    /// A hint of another zone owes one owner, whose answer leaves both copies in one zone.
    CrossZoneHintOwesOne = "cross-zone-hint-owes-one" of "Q3",
    /// A wiped disk serves under its old id.
    WipedDiskKeepsIdentity = "wiped-disk-keeps-identity" of "W1",
    /// A damaged record is mended from what fallbacks hold as if they were owners.
    RepairFromFallback = "repair-from-fallback" of "W1",
    /// A damaged record answers "not found".
    DamagedAnswersNotfound = "damaged-answers-notfound" of "W1",
    /// A damaged record is mended in the view in which it was found.
    MendWithoutRaise = "mend-without-raise" of "W1",
    /// It is mended from owners that have not come to the raised view.
    MendCountsOlderView = "mend-counts-older-view" of "W1",
    /// It is mended from one other owner, however many a write needs.
    MendFromOne = "mend-from-one" of "W1",
    /// An owner whose own copy is damaged counts among those that it is mended from.
    DamagedSourceCounts = "damaged-source-counts" of "W1",
    /// A page of catching up leaves damaged records out.
    PageSkipsDamaged = "page-skips-damaged" of "W1",
    /// What is written to a damaged record takes its mark away.
    WriteClearsMark = "write-clears-mark" of "W1",
    /// The other owners are asked once what mends a mark.
    MarkAskedOnce = "mark-asked-once" of "W1",
    /// Marks that are on disk at a start are not looked for.
    RestartForgetsMarks = "restart-forgets-marks" of "W1",
    /// A mark waits for an owner that the operator has named as lost.
    MendAwaitsTheLost = "mend-awaits-the-lost" of "W1",
    /// The loss of a record is accepted before the other owners have told what they hold.
    LossAcceptedUnread = "loss-accepted-unread" of "W1",
    /// What gossip brings overwrites what is newer.
    GossipOverwritesNewer = "gossip-overwrites-newer" of "L0",
    /// A node goes by a view before it is on disk.
    ViewNotPersisted = "view-not-persisted" of "L1",
    /// Strict requests count answers from whatever view.
    NoViewMatch = "no-view-match" of "L2",
    /// A strict write counts answers given in a view older than its own.
    StrictWriteCountsOlderView = "strict-write-counts-older-view" of "L2",
    /// The own copy of the coordinator of a strict write counts on when the view changes.
    OwnCopyCountsOn = "own-copy-counts-on" of "L2",
    /// A strict request counts owners of the older layout alone.
    ReadOneLayout = "read-one-layout" of "L2",
    /// Pages of owners that are not in the joint view yet count.
    UnfencedSync = "unfenced-sync" of "L3",
    /// A change finishes while owners may not have seen it.
    FinishUnseen = "finish-unseen" of "L3",
    /// The claim to have caught up leaves before the merged pages are durable.
    ClaimBeforeDurable = "claim-before-durable" of "L3",
    /// Where a partition gets fewer owners, those that stay need not catch up.
    ClampWithoutShrinkSync = "clamp-without-shrink-sync" of "L3",
    /// What was caught up before an amendment counts after it.
    AmendKeepsProgress = "amend-keeps-progress" of "L3",
    /// An owner whose loss is accepted counts as one that was merged from.
    AcceptLossCountsAsEmpty = "accept-loss-counts-as-empty" of "L3",
    /// An acceptor forgets its promise and its vote.
    TwoDecrees = "two-decrees" of "L3",
    /// A raised view comes without the promises and votes on the decree that follows it.
    RaiseForgetsVotes = "raise-forgets-votes" of "L3",
    /// A node that went on votes again on an earlier decree.
    ForgetDecree = "forget-decree" of "L3",
}

impl Mutant {
    /// The mutant of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which rules hold: all of them, but for the one that a mutant breaks.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rules {
    #[cfg(feature = "mutants")]
    broken: Option<Mutant>,
}

impl Rules {
    /// All rules.
    pub const fn sound() -> Self {
        Self {
            #[cfg(feature = "mutants")]
            broken: None,
        }
    }

    /// All rules but the one that `mutant` breaks.
    #[cfg(feature = "mutants")]
    pub const fn without(mutant: Mutant) -> Self {
        Self { broken: Some(mutant) }
    }

    /// The rules with a mutant, if this build has mutants at all: only then can it break anything.
    pub fn with_mutant(mutant: Option<Mutant>) -> Result<Self, NoMutants> {
        match mutant {
            None => Ok(Self::sound()),
            #[cfg(feature = "mutants")]
            Some(mutant) => Ok(Self::without(mutant)),
            #[cfg(not(feature = "mutants"))]
            Some(_) => Err(NoMutants),
        }
    }

    /// The mutant that these rules run, if any.
    pub const fn mutant(self) -> Option<Mutant> {
        #[cfg(feature = "mutants")]
        return self.broken;
        #[cfg(not(feature = "mutants"))]
        None
    }

    /// Whether a wiped disk is a new node, and its old id never comes back (W1): asked by drivers, which start nodes.
    pub fn wiped_disk_is_new(self) -> bool {
        self.keeps(Mutant::WipedDiskKeepsIdentity)
    }

    /// Whether a view is on disk before shards go by it (L1): asked by [`crate::membership`], and by drivers that stand in
    /// for it.
    pub fn saves_views(self) -> bool {
        self.keeps(Mutant::ViewNotPersisted)
    }

    /// Whether the rule that `mutant` breaks holds. Asked at the place where it would be broken.
    #[inline(always)]
    pub(crate) fn keeps(self, mutant: Mutant) -> bool {
        #[cfg(feature = "mutants")]
        {
            COVERAGE[mutant as usize].fetch_add(1, Ordering::Relaxed);
            self.broken != Some(mutant)
        }
        #[cfg(not(feature = "mutants"))]
        {
            let _ = mutant;
            true
        }
    }
}

/// A mutant was asked for in a build without the feature `mutants`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoMutants;

impl fmt::Display for NoMutants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this build has no mutants; run cargo run --release --features mutants -- …")
    }
}

impl core::error::Error for NoMutants {}

/// Whether this build has mutants: such a build says so in its version and its status.
pub const HAS_MUTANTS: bool = cfg!(feature = "mutants");

#[cfg(feature = "mutants")]
static COVERAGE: [AtomicU64; Mutant::ALL.len()] = [const { AtomicU64::new(0) }; Mutant::ALL.len()];

/// How often each rule was asked for since the process started; `None` in a build without mutants.
pub fn coverage(mutant: Mutant) -> Option<u64> {
    #[cfg(feature = "mutants")]
    return Some(COVERAGE[mutant as usize].load(Ordering::Relaxed));
    #[cfg(not(feature = "mutants"))]
    {
        let _ = mutant;
        None
    }
}
