//! What must hold in every world.

use std::fmt;

/// A property by its name. The last ones are about decrees, the others about worlds. Those about replies are judged when the reply is heard, those about records when
/// they are written, the others in every world.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Property {
    /// Every acknowledged write is durable on at least w distinct disks, less those lost since its invocation:
    /// as an entry, or gone after a client that had seen it asked for that.
    AcknowledgedIsDurable,
    /// What is stored or shown was asked for by a client and not refused.
    NothingFromNowhere,
    /// No dot ever names two entries.
    DotNamesOneValue,
    /// A read shows an addition once, as it was made.
    AddShownOnce,
    /// An addition that an acknowledged strict cancel named is in no later strict read, and one that any
    /// acknowledged cancel named is at no owner when quiet (within the bound of `cancelled`).
    CancelledStaysCancelled,
    /// A value that an acknowledged strict put replaced is in no later strict read, and what any acknowledged write removed is
    /// live again on no more disks than leave it on w, less those lost since its invocation.
    NoResurrectedSibling,
    /// What a reap round has made certain is nowhere is in no record that is written afterwards.
    ReapedStaysReaped,
    /// A strict read accounts for every strict write that was acknowledged before it began.
    StrictReadsSeeStrictWrites,
    /// When quiet, all owners hold the same.
    OwnersAreEqualWhenQuiet,
    /// At rest every hint can be handed over, so that in the end nobody owes anybody anything.
    HintsCanEnd,
    /// At rest owners that compare their trees become equal.
    OwnersCanMend,
    /// At rest every damaged record that was found is mended in the end, if enough other owners hold an undamaged copy.
    MendingCanEnd,
    /// No record, reply or table outgrows its limit.
    LimitsHold,
    /// A request with another key's context is refused.
    ForeignContextsAreRefused,
    /// Each request gets one reply, at the latest when quiet.
    OneReplyPerRequest,
    /// All views of one number are the same, and all of one era go by the same layouts: a decree has one outcome.
    OneViewANumber,
    /// No node's shards are ever given an older view than before, over all its runs.
    NobodyGoesBack,
    /// What a node knows of another only grows while it runs.
    KnowledgeGrows,
    /// Every later view carries what a reap round has left behind that all were fit for.
    RoundsAreKept,
}

impl Property {
    /// Those of worlds, in the order in which they are reported.
    pub const ALL: [Self; 15] = [
        Self::AcknowledgedIsDurable,
        Self::NothingFromNowhere,
        Self::DotNamesOneValue,
        Self::AddShownOnce,
        Self::CancelledStaysCancelled,
        Self::NoResurrectedSibling,
        Self::ReapedStaysReaped,
        Self::StrictReadsSeeStrictWrites,
        Self::OwnersAreEqualWhenQuiet,
        Self::HintsCanEnd,
        Self::OwnersCanMend,
        Self::MendingCanEnd,
        Self::LimitsHold,
        Self::ForeignContextsAreRefused,
        Self::OneReplyPerRequest,
    ];

    /// Those of decrees, in the order in which they are reported.
    pub const OF_DECREES: [Self; 4] =
        [Self::OneViewANumber, Self::NobodyGoesBack, Self::KnowledgeGrows, Self::RoundsAreKept];

    /// Its name in reports and replay files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcknowledgedIsDurable => "acknowledged is durable",
            Self::NothingFromNowhere => "nothing from nowhere",
            Self::DotNamesOneValue => "a dot names one value",
            Self::AddShownOnce => "an add_id is shown once",
            Self::CancelledStaysCancelled => "cancelled stays cancelled",
            Self::NoResurrectedSibling => "no resurrected sibling",
            Self::ReapedStaysReaped => "reaped stays reaped",
            Self::StrictReadsSeeStrictWrites => "strict reads see strict writes",
            Self::OwnersAreEqualWhenQuiet => "when quiet, owners are equal",
            Self::HintsCanEnd => "hints can end",
            Self::OwnersCanMend => "owners can become equal",
            Self::MendingCanEnd => "mending can end",
            Self::LimitsHold => "limits hold",
            Self::ForeignContextsAreRefused => "foreign contexts are refused",
            Self::OneReplyPerRequest => "one reply per request",
            Self::OneViewANumber => "one number means one view",
            Self::NobodyGoesBack => "nobody goes back",
            Self::KnowledgeGrows => "what is known of a node grows",
            Self::RoundsAreKept => "no view forgets a reap round",
        }
    }

    /// The property of that name.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter().chain(Self::OF_DECREES);
        all.find(|property| property.name() == name)
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
