//! What nodes are asked and tell of membership: wishes for change, what they would do, and how far things are.
//!
//! Values of their own, encoded by position like those in [`crate::service`]: new fields need a new method.

mod wish;

use std::fmt;

use cartwheel_protocol::{layout::Layout, membership};
use serde::{Deserialize, Serialize};

use crate::service::{BucketEntry, Seat};

/// A change that an operator wishes for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Wish {
    /// A new member.
    Join(Seat),
    /// A living member goes; done when it has drained.
    Leave(u64),
    /// A dead member is taken out.
    Remove(u64),
    /// A new node of the same zone takes a member's seats.
    Replace {
        /// The member that goes.
        old: u64,
        /// The node that takes its seats.
        new: Seat,
    },
    /// Nobody waits any more for a former member that drains.
    Forget(u64),
    /// A member's weight.
    Weight(u64, u32),
    /// A member's zone.
    Zone(u64, String),
    /// A member's address.
    Address(u64, String),
    /// A new bucket.
    BucketCreate(BucketEntry),
    /// The changeable defaults of a bucket.
    BucketSet {
        /// The bucket.
        name: String,
        /// How many nodes must answer a read that does not say.
        r: u8,
        /// How many slots must hold a write that does not say.
        w: u8,
    },
    /// The staged wish with this id is taken back.
    Withdraw(u128),
}

/// A wish under an id: the same wish staged again, through whichever node, is one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NewWish {
    /// Random.
    pub id: u128,
    /// What is wished for.
    pub wish: Wish,
    /// Whether what only dead owners hold is given up, and fewer zones are accepted.
    pub accept_loss: bool,
}

/// Why nothing was staged.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum StageError {
    /// The node has no view yet, so it does not know what it would change.
    #[error("the node has no view yet: it waits for its seeds")]
    NoView,
    /// The node was removed from the cluster.
    #[error("the node was removed from the cluster: ask another")]
    Removed,
    /// The wish makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The layout refuses it now, or a dead owner blocks it.
    #[error("{why}")]
    Refused {
        /// In a sentence.
        why: String,
        /// What it would have done.
        outlook: Box<Outlook>,
    },
    /// As many wishes wait as may.
    #[error("{0} wishes are staged already, and no more are taken")]
    Full(u32),
    /// The node is going down, or does not answer just now.
    #[error("the node does not take it now; ask again or ask another")]
    Busy,
}

impl RowSeen {
    /// Whether a layout lists it.
    pub fn is_member(&self) -> bool {
        self.zone.is_some()
    }
}

impl StageError {
    /// Whether another node may well take what this one did not.
    pub fn is_of_node(&self) -> bool {
        match self {
            Self::NoView | Self::Removed | Self::Busy => true,
            Self::Invalid(_) | Self::Refused { .. } | Self::Full(_) => false,
        }
    }
}

/// What staged wishes would do to the layout.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outlook {
    /// The layout before.
    pub from: u64,
    /// The layout after.
    pub to: u64,
    /// How many partitions the cluster has.
    pub partitions: u32,
    /// The wishes in the order in which they are tried.
    pub wishes: Vec<StagedWish>,
    /// For each size in use what moves.
    pub sizes: Vec<SizeChange>,
}

/// What moves, for buckets of one size.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SizeChange {
    /// The size: how many owners a key has.
    pub n: u8,
    /// How many slots get another owner.
    pub moves: u32,
    /// The nodes of either layout.
    pub loads: Vec<LoadChange>,
    /// The partitions that would span too few zones, each with how many it would span.
    pub zones_short: Vec<(u32, u8)>,
    /// How many partitions would keep no owner that is thought to live.
    pub orphaned: u32,
    /// How many partitions have too few owners that are thought to live for their owners to change.
    pub thin: u32,
}

/// How many slots a node has before and after.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LoadChange {
    /// The node.
    pub node: u64,
    /// Slots before.
    pub before: u32,
    /// Slots after.
    pub after: u32,
    /// The partitions that it gets and did not have, in order: they are copied to it.
    pub gets: Vec<u32>,
}

/// A wish that waits, and what becomes of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct StagedWish {
    /// Its id.
    pub id: u128,
    /// What is wished for, as text.
    pub text: String,
    /// What becomes of it.
    pub fate: Fate,
    /// The same in a sentence.
    pub why: String,
}

/// What becomes of a wish.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Fate {
    /// The next layout carries it out.
    #[default]
    Next,
    /// The next layout is full: it is the one after that.
    Later,
    /// A dead owner blocks it.
    Blocked,
    /// The layout refuses it for now.
    Refused,
    /// There is nothing to do for it.
    Done,
}

/// Where a node stands, as it knows itself.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Standing {
    /// It has no view yet.
    #[default]
    NoView,
    /// It knows the cluster and is no member yet.
    Joining,
    /// It is a member.
    Member,
    /// It was one, and hands off what it holds.
    Draining,
    /// It was one, and the cluster waits for it no more.
    Removed,
}

/// One moment of a node's membership.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Members {
    /// The node.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub standing: Standing,
    /// What it goes by; nothing before it has a view.
    pub view: Option<ViewSeen>,
    /// What it knows of every node.
    pub rows: Vec<RowSeen>,
    /// The wishes that no decree has settled yet.
    pub staged: Vec<StagedWish>,
    /// Its shards.
    pub shards: Vec<ShardSeen>,
    /// Its trees, by ranges of partitions in order.
    pub trees: Vec<TreeRange>,
    /// Whether it carries through a run of reap rounds.
    pub reaps: bool,
}

/// What a node's exchanges of trees came to in a range of partitions, since it started.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TreeRange {
    /// The first partition.
    pub first: u32,
    /// The last partition, included.
    pub last: u32,
    /// How many trees the node has there: one for each partition that it owns and each size of bucket.
    pub trees: u32,
    /// How many of them had a full exchange with another owner.
    pub compared: u32,
    /// How long ago the last full exchange was of the tree that waits longest among these, in milliseconds.
    pub oldest_ms: u64,
    /// How many keys were found to differ, and were repaired.
    pub repaired: u64,
}

/// A view.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ViewSeen {
    /// Its number as text: `v3`, or `v3.1` while the cluster changes from layout 3 to 4.
    pub id: String,
    /// The number of the older layout.
    pub layout: u64,
    /// Its hash.
    pub hash: u128,
    /// The number of the newer layout, while the cluster changes.
    pub next: Option<u64>,
    /// The ids of the wishes that the newer layout carries out.
    pub under_way: Vec<u128>,
    /// The ids of the wishes that were settled of late: carried out, under way or given up.
    pub settled: Vec<u128>,
    /// Former members that still drain.
    pub draining: Vec<u64>,
    /// How many zones hold the partitions: ranges of partitions, in order.
    pub zones: Vec<ZoneRange>,
}

/// So many zones hold each of these partitions.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ZoneRange {
    /// The size: how many owners a key has.
    pub n: u8,
    /// The first partition.
    pub first: u32,
    /// The last partition, included.
    pub last: u32,
    /// How many distinct zones their owners lie in.
    pub zones: u8,
}

/// What a node knows of another, or of itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RowSeen {
    /// The node.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// Where it can be reached.
    pub address: String,
    /// Its zone, if a layout lists it.
    pub zone: Option<String>,
    /// Its weight, if a layout lists it.
    pub weight: Option<u32>,
    /// `joining`, `up`, `leaving` or `removed`.
    pub status: String,
    /// The view that it goes by, as text.
    pub view: Option<String>,
    /// Whether it has to catch up before the change under way may finish.
    pub must_catch_up: bool,
    /// Whether it has.
    pub has_caught_up: bool,
    /// Whether it is suspected.
    pub is_suspected: bool,
}

/// One shard.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ShardSeen {
    /// Requests under way.
    pub pending: u64,
    /// Steps that are not on disk yet.
    pub unsynced: u64,
    /// Partitions that it still has to catch up with, for each size apart.
    pub catching_up: u64,
    /// How many passes over what it holds for others it has ended.
    pub passes: u64,
    /// How many hints it handed over in the last of them: none if it holds nothing for others.
    pub handed_over: u64,
    /// Partitions that it still has to scan before all of its trees are whole.
    pub trees_left: u64,
    /// How many exchanges of trees a rotation has: none where anti-entropy is off.
    pub exchanges: u64,
    /// How many trees were found equal to another owner's, where the shard has not written to the partition since: at
    /// most a rotation.
    pub equal: u64,
    /// Records that were damaged and are not mended yet.
    pub unmended: u64,
    /// Whether it has not looked at all its records since it started: some may be damaged.
    pub looks_for_damage: bool,
}

impl Outlook {
    /// What the core says, for the wire.
    pub fn new(outlook: &membership::Outlook) -> Self {
        let plan = &outlook.plan;
        let count = |counts: &[(u8, usize)], n: u8| {
            counts.iter().find(|(size, _)| *size == n).map_or(0, |(_, count)| *count as u32)
        };
        let sizes = plan.sizes.iter().map(|size| {
            let gets = |node| {
                let moves = size.moves.iter().filter(|moved| moved.to == Some(node));
                let mut gets: Vec<u32> = moves.map(|moved| moved.partition.0).collect();
                gets.sort_unstable();
                gets
            };
            let short = size.zones_short.iter().map(|(p, zones)| (p.0, *zones as u8));
            let loads = size.loads.iter().map(|load| LoadChange {
                node: load.node.0,
                before: load.before,
                after: load.after,
                gets: gets(load.node),
            });
            SizeChange {
                n: size.n,
                moves: size.moves.len() as u32,
                loads: loads.collect(),
                zones_short: short.collect(),
                orphaned: count(&outlook.orphaned, size.n),
                thin: count(&outlook.thin, size.n),
            }
        });
        Self {
            from: plan.from,
            to: plan.to,
            partitions: plan.partitions.count(),
            wishes: outlook.fates.iter().map(StagedWish::new).collect(),
            sizes: sizes.collect(),
        }
    }

    /// The wish with this id.
    pub fn wish(&self, id: u128) -> Option<&StagedWish> {
        self.wishes.iter().find(|wish| wish.id == id)
    }
}

impl StagedWish {
    /// What the core says, for the wire.
    pub fn new((staged, fate): &(membership::Staged, membership::Fate)) -> Self {
        let why = fate.to_string();
        let fate = match fate {
            membership::Fate::Next => Fate::Next,
            membership::Fate::Later => Fate::Later,
            membership::Fate::Blocked(_) | membership::Fate::Lives(_) => Fate::Blocked,
            membership::Fate::Refused(_) => Fate::Refused,
            membership::Fate::Done => Fate::Done,
        };
        Self { id: staged.id, text: staged.wish.to_string(), fate, why }
    }
}

impl ZoneRange {
    /// For each size the partitions in ranges of equal spread.
    pub fn of(layout: &Layout) -> Vec<Self> {
        let mut ranges: Vec<Self> = Vec::new();
        for n in layout.sizes() {
            for partition in layout.partitions().iter() {
                let (at, zones) = (partition.0, layout.zones_spanned(partition, n) as u8);
                match ranges.last_mut() {
                    Some(last) if (last.n, last.zones, last.last + 1) == (n, zones, at) => {
                        last.last = at;
                    }
                    Some(_) | None => ranges.push(Self { n, first: at, last: at, zones }),
                }
            }
        }
        ranges
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoView => "has no view yet",
            Self::Joining => "no member yet",
            Self::Member => "member",
            Self::Draining => "draining",
            Self::Removed => "removed",
        })
    }
}
