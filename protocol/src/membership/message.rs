//! What nodes say to each other about membership, and what goes in and out of [`super::Membership`].

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    id::NodeId,
    layout::{Command, LayoutHash},
    membership::roster::{Glimpse, Row},
    reap_page::Reaped,
    step::Fact,
    view::{Era, View, ViewId},
};

/// A ballot of one decree: rounds are compared first, then who proposes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ballot {
    /// Counts attempts; zero is before the first.
    pub round: u64,
    /// The proposer's id.
    pub proposer: u64,
}

/// What is wished for: it waits in gossip until a decree settles it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Staged {
    /// Random, or derived where a node stages for itself: the same wish staged twice is one.
    pub id: u128,
    /// The layout that the stager went by. A wish that is [`Staged::TOO_OLD`] layouts old is dropped where its id may
    /// have been settled and forgotten.
    pub base: u64,
    /// What is wished for.
    pub wish: Wish,
}

/// A wish of an operator, or of a node for itself.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Wish {
    /// A command for the next layout. `accept_loss` gives up what only the dead node that it takes out holds.
    Change {
        /// The command.
        command: Command,
        /// Whether the operator accepts the loss (L3).
        accept_loss: bool,
    },
    /// The staged command with this id is taken back. If the change under way carries it out, that change is amended.
    Withdraw(u128),
}

/// What the members of the present layout decide on, one decree after the other.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Decree {
    /// Go by the present layout and the one that these commands make of it. As a later decree it amends the
    /// change under way; without commands it is an abort.
    Joint {
        /// In the order in which they apply.
        commands: Arc<[Staged]>,
        /// Ids of wishes that are settled with it and not carried out.
        withdrawn: Arc<[u128]>,
        /// What reap rounds up to the proposer's view have left behind. It is in the decree because those who carry it
        /// out may go by views that were raised differently, and all are to make the same view of it.
        reaped: Reaped,
    },
    /// Go by the next layout alone.
    Finish,
}

/// What a node knows, in brief.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Brief {
    /// Every node that it knows of, ascending.
    pub glimpses: Arc<[Glimpse]>,
    /// The ids of the staged wishes that it knows, ascending.
    pub staged: Arc<[u128]>,
}

/// What nodes send each other. Any may be lost, delayed or duplicated.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MemberMessage {
    /// What I know, in brief.
    Gossip {
        /// What I know.
        brief: Brief,
        /// The view that I go by, and the hash of its newest layout; nothing if I have none.
        view: Option<(ViewId, LayoutHash)>,
    },
    /// What you seem to lack. With `wants` what I seem to lack, which is answered by another of these without.
    GossipOk {
        /// The heartbeats of nodes of which nothing else is new.
        beats: Arc<[(NodeId, u64)]>,
        /// Rows newer than the glimpses.
        rows: Arc<[Row]>,
        /// Staged wishes that the other did not name.
        staged: Arc<[Staged]>,
        /// What I know in brief, once: the answer carries what I lack.
        wants: Option<Brief>,
    },
    /// Which view do you go by?
    AskView,
    /// This one.
    View(Arc<View>),
    /// Promise me to vote in no lower ballot on the decree that follows this view.
    Prepare(ViewId, Ballot),
    /// I promise; this is the vote that I gave last.
    Promise(ViewId, Ballot, Option<(Ballot, Decree)>),
    /// Vote for this. `true` says that it is not what I wished for, but what the promises told me that somebody has voted
    /// for.
    Accept(ViewId, Ballot, Decree, bool),
    /// I did.
    Accepted(ViewId, Ballot),
    /// I have promised this higher ballot.
    Rejected(ViewId, Ballot),
}

/// Everything that can happen to a node's membership.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MemberInput {
    /// The first input after a start: what is on disk; nothing on a store that never had a view.
    Start(Option<Arc<Saved>>),
    /// A peer says something.
    Message {
        /// Who, as the transport knows it.
        from: NodeId,
        /// What.
        message: MemberMessage,
    },
    /// A timer that was set and not cancelled has run out.
    Timeout(MemberTimer),
    /// What was to be saved with this ticket is on disk.
    Synced(MemberTicket),
    /// A connection came or went.
    Evidence(super::Evidence),
    /// A shard reports.
    Report {
        /// Which shard, from zero.
        shard: u16,
        /// What.
        fact: Fact,
    },
    /// Somebody wishes for a change; the wish goes round in gossip.
    Stage(Staged),
    /// A node that answers under a seed's address.
    Seed(NodeId),
    /// The outcome of [`MemberEffect::Choose`], below its `among`.
    Chosen(Choice, u64),
}

/// What membership wants done, in order.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MemberEffect {
    /// Send to a node, at most once.
    Send {
        /// The receiver, never this node.
        to: NodeId,
        /// The message.
        message: MemberMessage,
    },
    /// Make this durable in place of what was saved before, then hand the ticket back.
    Save {
        /// What must survive a crash.
        saved: Arc<Saved>,
        /// Its continuation.
        ticket: MemberTicket,
    },
    /// Give this to every shard.
    View(Arc<View>),
    /// Tell every shard of an opinion.
    Suspect {
        /// The peer.
        node: NodeId,
        /// Whether it is suspected.
        suspected: bool,
    },
    /// Who can be reached where has changed: see [`super::Membership::addresses`].
    Addresses,
    /// A peer goes by another layout under the number of this node's. Both carried out one decree, so their programs differ
    /// in how a layout follows from the one before: nothing that counts on owners holds between them. For those who watch.
    Disagrees {
        /// The peer.
        node: NodeId,
        /// The number of both, however often it was raised.
        era: Era,
    },
    /// Fire after so many milliseconds; replaces the same timer if it is set.
    SetTimer {
        /// Its name.
        timer: MemberTimer,
        /// From now, in milliseconds.
        after_ms: u32,
    },
    /// Choose a number below `among` at random and hand it back.
    Choose {
        /// What for.
        choice: Choice,
        /// At least one.
        among: u64,
    },
}

/// What a random number is for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Choice {
    /// Whom to gossip with.
    Partner,
    /// How long to wait before a proposal, so that two proposers do not outbid each other for ever.
    Backoff,
}

/// The named timers of membership.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MemberTimer {
    /// Time to gossip.
    Gossip,
    /// Time to propose what is due, or to propose it again.
    Propose,
}

/// What must survive a crash: the view, and on the decree that follows it the promise and the vote.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Saved {
    /// The view that the node goes by.
    pub view: Arc<View>,
    /// No vote is given in a lower ballot.
    pub promised: Ballot,
    /// The vote given last.
    pub accepted: Option<(Ballot, Decree)>,
    /// Whether a layout that the node went by listed it: its id does not join again.
    pub was_member: bool,
}

/// The continuation of a step after what it saved is durable.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MemberTicket {
    /// Go by the view that was saved.
    Adopt(Arc<View>),
    /// A promise or vote may leave now.
    Send {
        /// To whom; this node itself for its own proposal.
        to: NodeId,
        /// The message.
        message: MemberMessage,
    },
}

impl Saved {
    /// What the first member of a new cluster saves.
    pub fn new(view: Arc<View>) -> Self {
        Self { view, promised: Ballot::default(), accepted: None, was_member: true }
    }
}

impl Staged {
    /// How many a node keeps; it takes no more.
    pub const MAX: usize = 256;
    /// So many layouts after it was staged a wish is dropped: nobody remembers for longer what was settled.
    pub const TOO_OLD: u64 = 16;
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}/n{:x}", self.round, self.proposer)
    }
}

impl fmt::Display for Staged {
    /// `#1f join n4 …`, with the low digits of the id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:x} {}", self.id as u32, self.wish)
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change { command, accept_loss: false } => command.fmt(f),
            Self::Change { command, accept_loss: true } => {
                write!(f, "{command}, accepting the loss")
            }
            Self::Withdraw(id) => write!(f, "withdraw #{:x}", *id as u32),
        }
    }
}

impl fmt::Display for Decree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joint { commands, withdrawn, reaped: _ } => {
                f.write_str("change")?;
                commands.iter().try_for_each(|staged| write!(f, " ({staged})"))?;
                withdrawn.iter().try_for_each(|id| write!(f, " without #{:x}", *id as u32))
            }
            Self::Finish => f.write_str("finish"),
        }
    }
}

impl fmt::Display for MemberMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gossip { brief: Brief { glimpses, staged }, view } => {
                write!(f, "Gossip {} rows, {} staged", glimpses.len(), staged.len())?;
                view.iter().try_for_each(|(view, _)| write!(f, ", {view}"))
            }
            Self::GossipOk { beats, rows, staged, wants } => {
                f.write_str("GossipOk")?;
                beats.iter().try_for_each(|(node, beat)| write!(f, " {node}+{beat}"))?;
                rows.iter().try_for_each(|row| write!(f, " [{row}]"))?;
                staged.iter().try_for_each(|staged| write!(f, " ({staged})"))?;
                if wants.is_some() { f.write_str(" and what do you know?") } else { Ok(()) }
            }
            Self::AskView => f.write_str("AskView"),
            Self::View(view) => write!(f, "View {}", view.id()),
            Self::Prepare(after, ballot) => write!(f, "Prepare {after} {ballot}"),
            Self::Promise(after, ballot, None) => write!(f, "Promise {after} {ballot}"),
            Self::Promise(after, ballot, Some((voted, decree))) => {
                write!(f, "Promise {after} {ballot}, voted in {voted} to {decree}")
            }
            Self::Accept(after, ballot, decree, bound) => {
                let again = if *bound { " again" } else { "" };
                write!(f, "Accept{again} {after} {ballot} {decree}")
            }
            Self::Accepted(after, ballot) => write!(f, "Accepted {after} {ballot}"),
            Self::Rejected(after, ballot) => write!(f, "Rejected {after} by {ballot}"),
        }
    }
}

impl fmt::Display for MemberTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gossip => "gossip",
            Self::Propose => "propose",
        })
    }
}

/// The effects of one step of membership, in order.
pub type MemberEffects = Vec<MemberEffect>;
