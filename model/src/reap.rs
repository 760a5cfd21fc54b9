//! Reap rounds in a world: the views that they make, and what is watched of them.

use std::sync::Arc;

use cartwheel_protocol::{
    id::AddId,
    object::Object,
    reap_page::{ReapPage, Reaped},
    version::VersionVector,
    view::{View, ViewId},
};

use crate::world::World;

/// What a shard wants to begin a round with.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) above: ViewId,
    pub(crate) page: Arc<ReapPage>,
    pub(crate) floor: Option<AddId>,
}

/// What rounds have taken away, anywhere.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Gone {
    /// The entries of version vectors: whatever they cover was not live any more.
    pub(crate) seen: VersionVector,
    /// The cancelled add_ids, sorted.
    pub(crate) cancelled: Vec<AddId>,
}

impl Gone {
    /// An object was replaced by what is left of it.
    pub(crate) fn add(&mut self, before: &Object, after: &Object) {
        let kept = |actor| after.seen().dots().iter().any(|dot| dot.actor == actor);
        let dots = before.seen().dots().iter().copied().filter(|dot| !kept(dot.actor));
        self.seen = self.seen.join(&VersionVector::from_dots(dots));
        let stays = |add_id: &AddId| after.cancelled().binary_search(add_id).is_ok();
        self.cancelled.extend(before.cancelled().iter().copied().filter(|id| !stays(id)));
        self.cancelled.sort_unstable();
        self.cancelled.dedup();
    }
}

impl World {
    /// The view with this number, as it has come about.
    pub(crate) fn view(&self, number: u8) -> &Arc<View> {
        let made = self.made.iter().find(|(known, _)| *known == number);
        made.map_or_else(|| self.setup.view(number), |(_, view)| view)
    }

    /// A view comes about that carries what earlier rounds have left behind.
    pub(crate) fn make(&mut self, number: u8, reaped: Reaped) {
        if reaped != Reaped::default() {
            let view = Arc::new(self.setup.view(number).carrying(reaped));
            self.made.make_mut().push((number, view));
        }
    }

    /// The view that a node would raise its own to in order to begin a round, if a shard of it wants that.
    pub(crate) fn reap_view(&self, at: usize) -> Option<View> {
        let view = self.view_of(at)?;
        let wanted = self.hosts[at].wants_reap.as_ref()?;
        let may = wanted.above == view.id() && view.next().is_none();
        may.then(|| view.reaping(self.setup.nodes[at], wanted.page.clone(), wanted.floor))
    }
}
