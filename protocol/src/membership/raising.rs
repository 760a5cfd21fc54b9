//! The part of membership that raises views: the same layouts under the next number, without a decree.
//!
//! Whoever goes by the raised view has heard of it after it was raised. That is what the mending of damaged records waits
//! for (W1): an answer from such a node was given after the damage was found. Raising settles nothing,
//! so one node does it alone; two that raise at once make two views, of which all come to go by the
//! newer one. A node raises once a period at most, for all of its shards that wait.

use alloc::sync::Arc;

use super::{MemberEffects, Membership};
use crate::view::ViewId;

impl Membership {
    /// A shard wants a view that is newer than this one.
    pub(super) fn want_above(&mut self, view: ViewId, effects: &mut MemberEffects) {
        self.wants_above = self.wants_above.max(Some(view));
        self.maybe_raise(effects);
    }

    /// Raises the view, unless there is a newer one than was asked for, or this period has had its raise.
    pub(super) fn maybe_raise(&mut self, effects: &mut MemberEffects) {
        let Some(newest) = self.newest().cloned() else { return };
        if self.wants_above < Some(newest.id()) {
            self.wants_above = None;
        } else if !self.raised && newest.is_member(self.me) {
            self.raised = true;
            self.wants_above = None;
            self.adopt(Arc::new(newest.raised(self.me)), effects);
        }
    }
}
