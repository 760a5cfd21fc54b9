//! What a reap round names, and what every later view carries of it (rules T1 and V6).

use alloc::sync::Arc;
use core::fmt;

use crate::{
    id::AddId,
    key::{Key, Partition},
    object::{Digest, Object},
    version::Actor,
    view::ViewId,
};

/// One page of a reap round: keys of one partition, so that one shard of every node judges it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReapPage {
    /// Whose keys they are.
    pub partition: Partition,
    /// In the order of the keys; at least one.
    pub items: Arc<[Reapable]>,
}

/// One key of a page.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Reapable {
    /// The key.
    pub key: Key,
    /// The hash of the object that its owners are to hold.
    pub digest: Digest,
    /// What of it goes.
    pub goes: Goes,
}

/// What of an object a reap round takes away.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Goes {
    /// All of it: nothing in it is live.
    Whole,
    /// The cancelled add_ids at or below the floor, and these actors' entries in `seen`, ascending, where nothing
    /// of theirs is live.
    Spent(Arc<[Actor]>),
}

/// What reap rounds leave behind: every later view carries it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Reaped {
    /// The view of the last round: objects that were sent in a lower one are refused from then on.
    pub fence: Option<ViewId>,
    /// Additions with this add_id or a lower one are refused: what cancelled them may have been reaped.
    pub floor: Option<AddId>,
}

impl Goes {
    /// What may go of an object, if anything, when add_ids up to `bound` may and an incarnation has ended where
    /// `has_ended` says so; and the newest cancelled add_id that goes with it.
    pub(crate) fn of(
        object: &Object,
        bound: Option<AddId>,
        has_ended: impl Fn(Actor) -> bool,
    ) -> Option<(Self, Option<AddId>)> {
        let within = |add_id: &&AddId| Some(**add_id) <= bound;
        let newest = object.cancelled().iter().rev().find(within).copied();
        if object.is_new() {
            return None;
        }
        if object.entries().is_empty() && newest == object.cancelled().last().copied() {
            return Some((Self::Whole, newest));
        }
        let dead = object.seen().dots().iter().map(|dot| dot.actor);
        let dead = dead.filter(|actor| has_ended(*actor) && !object.is_live(*actor));
        let actors: Arc<[Actor]> = dead.collect();
        (newest.is_some() || !actors.is_empty()).then_some((Self::Spent(actors), newest))
    }

    /// What is left of the object; `None` if that is nothing.
    pub(crate) fn leaves(&self, object: &Object, floor: Option<AddId>) -> Option<Object> {
        match self {
            Self::Whole => None,
            Self::Spent(actors) => Some(object.reaped(floor, actors)),
        }
    }
}

impl fmt::Display for ReapPage {
    /// `q0 b/k #12345678, b/l #12345678 but [i1.1]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.partition)?;
        self.items
            .iter()
            .enumerate()
            .try_for_each(|(at, item)| write!(f, "{} {item}", if at == 0 { "" } else { "," }))
    }
}

impl fmt::Display for Reapable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.digest)?;
        let Goes::Spent(actors) = &self.goes else { return Ok(()) };
        f.write_str(" spent [")?;
        for (at, actor) in actors.iter().enumerate() {
            write!(f, "{}{actor}", if at == 0 { "" } else { " " })?;
        }
        f.write_str("]")
    }
}
