//! The marks of damaged records that a shard remembers, and whose turn it is to be asked about.
//!
//! A bounded number is remembered: the others are on disk all the same. A *look* goes through all records and
//! remembers the marks that it meets; those of each page are asked about at once. When it ends, or the table is full, the marks are asked
//! about in *turn*, one after the other, as often as it takes. A look that waits for room goes on when every mark has had its turn:
//! those that are still not mended may wait for good, and make room; another look finds them again.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::Bound;

use crate::{
    id::NodeId,
    key::{Partition, RecordKey},
    view::Era,
};

/// How many marks a shard remembers, those apart whose loss is to be accepted.
const MAX_MARKS: usize = 4_096;

/// The table. In each era answers count anew.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Marks {
    /// Whose copies are merged into each marked record in this era, in the order in which they answered.
    known: BTreeMap<RecordKey, Vec<NodeId>>,
    era: Option<Era>,
    phase: Phase,
    /// The mark that was asked about last: the next one is after it.
    asked: Option<RecordKey>,
    /// Whether there are marks that the look has passed and that are not remembered: another one is to follow.
    more: bool,
    /// Whether a mark waits for a newer view than the present one.
    wants_view: bool,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Phase {
    /// The look goes on from this key.
    Looking(RecordKey),
    /// Marks have their turn. A look that waits for room goes on there.
    Asking(Option<RecordKey>),
}

impl Default for Phase {
    fn default() -> Self {
        Self::Asking(None)
    }
}

impl Marks {
    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn contains(&self, key: &RecordKey) -> bool {
        self.known.contains_key(key)
    }

    /// Whether there may be marks that are not remembered.
    pub(crate) fn has_more(&self) -> bool {
        self.more || self.phase != Phase::Asking(None)
    }

    /// Whether the next page of a look may follow at once.
    pub(crate) fn is_looking(&self) -> bool {
        matches!(self.phase, Phase::Looking(_))
    }

    fn is_full(&self) -> bool {
        self.known.len() >= MAX_MARKS
    }

    /// Remembers a mark if there is room, or whatever there is if somebody waits for it.
    pub(crate) fn remember(&mut self, key: &RecordKey, is_awaited: bool) {
        if !self.is_full() || is_awaited || self.contains(key) {
            self.known.entry(key.clone()).or_default();
        } else {
            self.more = true;
        }
    }

    /// The record is not marked any more.
    pub(crate) fn forget(&mut self, key: &RecordKey) {
        self.known.remove(key);
    }

    /// The owners whose copies are merged into a marked record in this era.
    pub(crate) fn merged(&self, key: &RecordKey) -> &[NodeId] {
        self.known.get(key).map_or(&[], |merged| merged)
    }

    /// An owner's copy is merged into a record that is remembered; gives how many are.
    pub(crate) fn merge(&mut self, key: &RecordKey, from: NodeId) -> Option<usize> {
        let merged = self.known.get_mut(key)?;
        if !merged.contains(&from) {
            merged.push(from);
        }
        Some(merged.len())
    }

    /// A mark that is met, or asked about, is to be mended in a newer view.
    pub(crate) fn want_view(&mut self) {
        self.wants_view = true;
    }

    /// A view of this era was adopted. Whoever waited for it is asked about soon; otherwise the turn goes on where it is, so that views
    /// that come all the time keep none of the last from having theirs.
    pub(crate) fn adopt(&mut self, era: Era) {
        if self.era != Some(era) {
            self.known.values_mut().for_each(Vec::clear);
        } else if !self.wants_view {
            return;
        }
        (self.era, self.wants_view, self.asked) = (Some(era), false, None);
    }

    /// Begins a look at all records.
    pub(crate) fn look(&mut self) {
        self.look_from(RecordKey::start_of(Partition(0)));
        self.more = false;
    }

    fn look_from(&mut self, key: RecordKey) {
        (self.phase, self.asked) = (Phase::Looking(key), None);
    }

    /// Where the next page of the look begins.
    pub(crate) fn page(&self) -> Option<RecordKey> {
        match &self.phase {
            Phase::Looking(from) => Some(from.clone()),
            Phase::Asking(_) => None,
        }
    }

    /// The page was looked at, and the next one begins there.
    pub(crate) fn looked(&mut self, next: Option<RecordKey>) {
        match next {
            Some(next) if !self.is_full() => self.phase = Phase::Looking(next),
            waits => (self.phase, self.asked) = (Phase::Asking(waits), None),
        }
    }

    /// The next marks to ask about, at most so many. When all had their turn the look goes on that waits, or is to follow, or the
    /// first have theirs again.
    pub(crate) fn next(&mut self, count: usize) -> Vec<RecordKey> {
        let mut next = self.after_asked(count);
        if next.is_empty() && self.turn_is_over() {
            next = self.after_asked(count);
        }
        if let Some(last) = next.last() {
            self.asked = Some(last.clone());
        }
        next
    }

    fn after_asked(&self, count: usize) -> Vec<RecordKey> {
        let start = self.asked.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let marks = self.known.range((start, Bound::Unbounded)).map(|(key, _)| key);
        // Those that lie before it are asked about as they are met, and others have their turn later.
        let is_met = |key: &&RecordKey| match &self.phase {
            Phase::Looking(at) => *key < at,
            Phase::Asking(_) => true,
        };
        marks.take_while(is_met).take(count).cloned().collect()
    }

    /// Every mark was asked about; whether the first of them are to be asked about again at once.
    fn turn_is_over(&mut self) -> bool {
        let Phase::Asking(waiting) = &mut self.phase else { return false };
        let waiting = waiting.take();
        self.asked = None;
        if waiting.is_none() && !self.more {
            return true;
        }
        if self.is_full() {
            self.known.clear();
            self.more = true;
        }
        match waiting {
            Some(key) => self.look_from(key),
            None => self.look(),
        }
        false
    }
}
