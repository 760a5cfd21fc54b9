//! The alphabet of a replica: what goes in, what comes out.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    id::{AddId, ClusterId, NodeId, RequestId},
    key::{Key, Partition},
    message::Message,
    object::Object,
    reap_page::ReapPage,
    request::{Request, Response},
    rules::Rules,
    view::{View, ViewId},
};

/// Everything that can happen to a replica.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Input {
    /// A client asks for something. The caller numbers requests; [`Effect::Reply`] repeats the number.
    Request {
        /// Unique within the run of this process.
        number: u64,
        /// What is asked.
        request: Request,
    },
    /// A peer says something.
    Message {
        /// Who, as the transport knows it.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// A timer that was set and not cancelled has run out.
    Timeout(Timer),
    /// All writes of the step that asked for this barrier, and of those before it, are on disk.
    Synced(Ticket),
    /// Go by this view. The first input after a start; Membership has persisted it.
    View(Arc<View>),
    /// A peer is, or is no longer, thought to be down. A local opinion that only chooses fallbacks.
    Suspect {
        /// The peer.
        node: NodeId,
        /// Whether it is suspected.
        suspected: bool,
    },
    /// The driver has measured its disk: free space is, or is no longer, below the reserve (H2). Until it is told
    /// otherwise a replica takes it that there is space.
    Space {
        /// Whether clients' writes are to be refused.
        short: bool,
    },
    /// Reap what may go of the partitions of which this node is the first owner (T1). Nothing happens while the shard is at
    /// it already; [`Fact::ReapEnded`] tells the end.
    Reap {
        /// Cancelled add_ids up to this one may go; without it none. Additions that are made under such an id from
        /// then on are refused, so it is to be older than any that a client may still send.
        bound: Option<AddId>,
    },
}

/// What a replica wants done, in order.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Effect {
    /// Tell the client. Each request gets exactly one reply, unless the process ends first.
    Reply {
        /// The caller's number of the request.
        number: u64,
        /// What became of it.
        response: Response,
    },
    /// Send to a peer, at most once, without waiting for the step's writes.
    Send {
        /// The receiver, never this node.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// When all writes up to and including this step's are on disk, hand the ticket back.
    Sync(Ticket),
    /// Fire after so many milliseconds; replaces the same timer if it is set.
    SetTimer {
        /// Its name.
        timer: Timer,
        /// From now, in milliseconds.
        after_ms: u32,
        /// Whether it may fire later: it is the pause before the next page of background work, and a driver makes it longer
        /// while foreground requests suffer (paper §6.5). So set are [`Timer::Handoff`] and [`Timer::Mend`] within a pass,
        /// [`Timer::CatchUp`] between two pages, [`Timer::Trees`] within a scan and [`Timer::AntiEntropy`] between two
        /// exchanges or pages.
        yields: bool,
    },
    /// Forget the timer if it is set.
    CancelTimer(Timer),
    /// Tell Membership.
    Report(Fact),
}

/// The continuation of a step after its barrier. It is a value of its own and no number, so nothing has to
/// be remembered; a crash loses it together with the writes that it waits for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Ticket {
    /// The coordinator's own copy is durable, as it was written when the request counted in this view.
    Coordinated(RequestId, ViewId),
    /// All that a source held of a partition, for buckets of this size, is merged and durable.
    Merged {
        /// The partition.
        partition: Partition,
        /// The size.
        n: u8,
        /// Whose pages they were.
        source: NodeId,
        /// The joint view in which they were read.
        view: ViewId,
    },
    /// In this view, in which the node is no member, nothing is left that it holds.
    Drained(ViewId),
    /// The mark of a damaged record is gone, as this request asked.
    LossAccepted(RequestId),
    /// In this view, with which this node began a reap round, it is fit itself (T1).
    Judged(ViewId),
    /// An acknowledgement that may leave now.
    Acknowledge {
        /// Who waits for it.
        to: NodeId,
        /// What it is told.
        message: Message,
    },
}

/// The named timers of a replica. One that fires after it lost its meaning does nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Timer {
    /// An owner has been silent for so long that a fallback is asked.
    Fallback(RequestId),
    /// The client waits no longer.
    Deadline(RequestId),
    /// Time to hand off one page of hints.
    Handoff,
    /// Time to ask for the next page of catching up; or pages that were asked for did not come.
    CatchUp,
    /// Time to look at one page of records for the trees.
    Trees,
    /// Time to compare trees with a partner, or one has been silent.
    AntiEntropy,
    /// Time to look for damaged records, and to ask about those that are known.
    Mend,
    /// Time to go on with a run of reaping, or somebody has been silent.
    Reap,
}

/// What a replica tells its node.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Fact {
    /// A suspected peer has answered.
    Answered(NodeId),
    /// A peer has not answered in time.
    Silent(NodeId),
    /// A peer goes by a newer view.
    Newer(NodeId),
    /// The shard goes by this view.
    Adopted(ViewId),
    /// In this joint view the shard has merged, durably, all that it must before the change may finish (L3).
    CaughtUp(ViewId),
    /// In this view, which does not count the node as a member, the shard holds nothing any more (H3).
    Drained(ViewId),
    /// In this view, or before it, the shard has found damage that is mended in a newer one only (W1).
    Damaged(ViewId),
    /// In this view the shard wants to begin a reap round (T1).
    Reap {
        /// The view, which is to be raised.
        view: ViewId,
        /// What the round is to name.
        page: Arc<ReapPage>,
        /// The newest cancelled add_id among it.
        floor: Option<AddId>,
    },
    /// The shard has judged in a reap round. It is for those who watch, like all that follows.
    Judged {
        /// Whether it was fit.
        fit: bool,
    },
    /// A round has freed this here.
    Reaped(Freed),
    /// The run of reaping that the shard was asked for is over.
    ReapEnded {
        /// Why.
        end: ReapEnd,
        /// How many rounds have come to their end.
        rounds: u32,
        /// How many pages came to nothing: a node was not fit, or silent, or the view changed, again and again.
        given_up: u32,
    },
    /// An exchange of trees has ended. It is for those who watch: Membership does not need it.
    Compared {
        /// The partition.
        partition: Partition,
        /// The size of the buckets that the tree is over.
        n: u8,
        /// The partner.
        with: NodeId,
        /// How it ended.
        outcome: Compared,
    },
}

/// How an exchange of trees ended.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Compared {
    /// The roots were equal.
    Equal,
    /// They were not. So many keys differed, and were merged here and sent to the partner; with none, trees were wrong.
    Differed(u32),
    /// Nothing can be said: the partner is suspected, silent, or has no whole tree.
    Missed,
}

/// Why a run of reaping is over.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ReapEnd {
    /// All partitions were looked at.
    Done,
    /// This node is away. It cannot say that it holds nothing which would come back.
    Away(NodeId),
    /// A change of the layout is under way.
    Changing,
    /// The view was not raised: the node is no member any more, or has voted on a change.
    NotRaised,
}

/// What reaping has freed at one owner.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Freed {
    /// Records that are gone whole.
    pub records: u64,
    /// Cancelled add_ids, those of the records included.
    pub cancelled: u64,
    /// Entries of version vectors, those of the records included.
    pub clock_entries: u64,
    /// About how many bytes that were, encoded.
    pub bytes: u64,
}

impl Freed {
    pub(crate) fn add(&mut self, key: &Key, before: &Object, after: Option<&Object>) {
        let count = |of: fn(&Object) -> usize| (of(before) - after.map_or(0, of)) as u64;
        self.records += u64::from(after.is_none());
        self.cancelled += count(|object| object.cancelled().len());
        self.clock_entries += count(|object| object.seen().len());
        let name = if after.is_none() { key.name.len() } else { 0 };
        self.bytes += name as u64 + count(Object::size_hint);
    }
}

/// What varies between replicas and does not change while one runs.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Config {
    /// The cluster, for contexts.
    pub cluster: ClusterId,
    /// How long an owner may be silent before a fallback is asked, in milliseconds.
    pub fallback_after_ms: u32,
    /// Whether fallbacks stand in for owners. Without them only owners fill slots and coordinate writes, nobody is
    /// owed what it missed, and a write fails where too few owners answer: for campaigns in which nothing but
    /// repair may bring the owners together.
    pub fallbacks: bool,
    /// The longest that any request may take, in milliseconds; a longer timeout is cut to this.
    pub max_timeout_ms: u32,
    /// How many entries of a version vector a coordinator leaves, as the paper truncates its clocks (§4.4); `None`, the
    /// default, keeps all. What was replaced may come back with it: see `Object::truncated`.
    pub clock_entries: Option<usize>,
    /// How long a replica waits between two passes over its hints, in milliseconds.
    pub handoff_every_ms: u32,
    /// How many hints are handed over in one step, and how many records are looked at.
    pub handoff_page: usize,
    /// How many partitions of a shard catch up at a time.
    pub catch_up_parallel: usize,
    /// After how many milliseconds without any page those that were asked for are asked of others, or again.
    pub catch_up_retry_ms: u32,
    /// The most that one kind of a replica's background work moves, in bytes a second: catching up, and handing off.
    pub move_bytes_per_s: u32,
    /// The pause between two batches of exchanges of trees, and between two pages of one exchange, in milliseconds. With 0
    /// there are neither exchanges nor trees.
    pub anti_entropy_every_ms: u32,
    /// How many roots are compared at a time.
    pub anti_entropy_batch: usize,
    /// The rest when every tree was compared with every partner, in milliseconds.
    pub anti_entropy_rest_ms: u32,
    /// After how many milliseconds of a partner's silence an exchange is given up.
    pub anti_entropy_timeout_ms: u32,
    /// How many levels a tree has below its root, each node with 16 children: 0 to [`crate::MAX_TREE_DEPTH`]. Nodes may differ in it.
    pub tree_depth: u8,
    /// How many records are looked at in one step, when trees are built and when keys are compared.
    pub tree_page: usize,
    /// When all trees are whole: after how many milliseconds the next partition's are built again, for what a
    /// disk lost silently. 0 for never.
    pub tree_rescan_every_ms: u32,
    /// How many damaged records of a shard are asked about at a time.
    pub mend_parallel: usize,
    /// After how many milliseconds the next are, or the same again.
    pub mend_retry_ms: u32,
    /// After how many milliseconds a view is asked for again with which a reap round is to begin, and so are verdicts.
    pub reap_retry_ms: u32,
    /// How many requests may wait for their reply at once; more are refused.
    pub max_pending: usize,
    /// How many requests may go on after their reply, until all owners have answered or their time is over
    /// (paper §4.5); beyond that the oldest ends early. It bounds memory and refuses nobody: what was
    /// acknowledged is durable on its quorum, and read repair brings it to whom it did not reach.
    pub max_replied: usize,
    /// Which rules hold.
    pub rules: Rules,
}

impl Config {
    /// Numbers to start from, for a cluster on one site.
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            fallback_after_ms: 50,
            fallbacks: true,
            max_timeout_ms: 10_000,
            clock_entries: None,
            handoff_every_ms: 500,
            handoff_page: 64,
            catch_up_parallel: 8,
            catch_up_retry_ms: 500,
            move_bytes_per_s: 64 << 20,
            anti_entropy_every_ms: 5,
            anti_entropy_batch: 64,
            anti_entropy_rest_ms: 2_000,
            anti_entropy_timeout_ms: 1_000,
            tree_depth: 2,
            tree_page: 64,
            tree_rescan_every_ms: 60_000,
            mend_parallel: 64,
            mend_retry_ms: 500,
            reap_retry_ms: 500,
            max_pending: 4_096,
            max_replied: 4_096,
            rules: Rules::sound(),
        }
    }
}

/// The effects of one step, in order.
pub type Effects = Vec<Effect>;

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { number, request } => write!(f, "request r{number} {request}"),
            Self::Message { from, message } => write!(f, "{from}: {message}"),
            Self::Timeout(timer) => write!(f, "timeout {timer}"),
            Self::Synced(ticket) => write!(f, "synced {ticket}"),
            Self::View(view) => write!(f, "view {}", view.id()),
            Self::Suspect { node, suspected: true } => write!(f, "suspect {node}"),
            Self::Suspect { node, suspected: false } => write!(f, "trust {node}"),
            Self::Space { short: true } => f.write_str("space short"),
            Self::Space { short: false } => f.write_str("space free"),
            Self::Reap { bound: Some(bound) } => write!(f, "reap up to {bound}"),
            Self::Reap { bound: None } => f.write_str("reap"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply { number, response } => write!(f, "reply r{number} {response}"),
            Self::Send { to, message } => write!(f, "→ {to} {message}"),
            Self::Sync(ticket) => write!(f, "sync {ticket}"),
            Self::SetTimer { timer, after_ms, yields } => {
                write!(f, "set {timer} {after_ms} ms{}", if *yields { " or later" } else { "" })
            }
            Self::CancelTimer(timer) => write!(f, "cancel {timer}"),
            Self::Report(fact) => write!(f, "report {fact}"),
        }
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinated(request, _) => write!(f, "coordinated {request}"),
            Self::Merged { partition, n, source, view } => {
                write!(f, "merged {partition} n={n} of {source} in {view}")
            }
            Self::Drained(view) => write!(f, "drained in {view}"),
            Self::LossAccepted(request) => write!(f, "loss accepted {request}"),
            Self::Judged(view) => write!(f, "judged in {view}"),
            Self::Acknowledge { to, message } => write!(f, "→ {to} {message}"),
        }
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fallback(request) => write!(f, "fallback {request}"),
            Self::Deadline(request) => write!(f, "deadline {request}"),
            Self::Handoff => f.write_str("handoff"),
            Self::CatchUp => f.write_str("catch-up"),
            Self::Trees => f.write_str("trees"),
            Self::AntiEntropy => f.write_str("anti-entropy"),
            Self::Mend => f.write_str("mend"),
            Self::Reap => f.write_str("reap"),
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(node) => write!(f, "{node} answered"),
            Self::Silent(node) => write!(f, "{node} silent"),
            Self::Newer(node) => write!(f, "{node} has a newer view"),
            Self::Adopted(view) => write!(f, "adopted {view}"),
            Self::CaughtUp(view) => write!(f, "caught up in {view}"),
            Self::Drained(view) => write!(f, "drained in {view}"),
            Self::Damaged(view) => write!(f, "damage found in {view}"),
            Self::Reap { view, page, floor: None } => write!(f, "reap {page} above {view}"),
            Self::Reap { view, page, floor: Some(floor) } => {
                write!(f, "reap {page} above {view}, up to {floor}")
            }
            Self::Judged { fit } => write!(f, "{}fit", if *fit { "" } else { "not " }),
            Self::Reaped(freed) => write!(f, "reaped {freed}"),
            Self::ReapEnded { end, rounds, given_up } => {
                write!(f, "reaping ended: {end}, {rounds} rounds, {given_up} pages given up")
            }
            Self::Compared { partition, n, with, outcome } => {
                write!(f, "{partition} n={n} compared with {with}: ")?;
                match outcome {
                    Compared::Equal => f.write_str("equal"),
                    Compared::Differed(keys) => write!(f, "{keys} keys differed"),
                    Compared::Missed => f.write_str("missed"),
                }
            }
        }
    }
}

impl fmt::Display for ReapEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Away(node) => write!(f, "{node} is away"),
            Self::Changing => f.write_str("a change is under way"),
            Self::NotRaised => f.write_str("the view was not raised"),
        }
    }
}

impl fmt::Display for Freed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, cancelled, clock_entries, bytes } = self;
        write!(f, "{records} records, {cancelled} cancelled ids, {clock_entries} clock entries, ")?;
        write!(f, "about {bytes} bytes")
    }
}
