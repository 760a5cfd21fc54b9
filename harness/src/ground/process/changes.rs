//! Changes of the members on their way: staged until the cluster takes them, followed until they are completed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cartwheel_client::members::{Members, NewWish, RowSeen, Wish};
use uuid::Uuid;

/// How long a wish may be unknown before it is staged again.
const STAGE_EVERY: Duration = Duration::from_secs(1);
/// How long a wish may be settled without being carried out before it is staged anew.
const ANEW_AFTER: Duration = Duration::from_secs(5);

/// All changes that were begun and are not completed.
#[derive(Debug, Default)]
pub struct Changes {
    pending: Vec<Change>,
    completed: BTreeMap<&'static str, u64>,
}

/// One change of the members.
#[derive(Debug)]
struct Change {
    wish: Wish,
    id: u128,
    /// What its completion counts as.
    counts_as: Option<&'static str>,
    /// When it was last staged.
    staged: Option<Instant>,
    /// Since when it has been settled without being carried out.
    given_up: Option<Instant>,
    /// What was said against it.
    refused: Option<String>,
}

/// The cluster as the node with the newest view knows it.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a>(&'a Members);

impl<'a> Truth<'a> {
    /// The newest of these opinions; `None` if none has a view.
    pub fn newest(opinions: &'a [Members]) -> Option<Self> {
        let age = |members: &&Members| {
            members.view.as_ref().map(|view| (view.layout, view.next.is_some()))
        };
        opinions.iter().filter(|members| members.view.is_some()).max_by_key(age).map(Self)
    }

    /// Whether a layout of the view lists this node as a member.
    pub fn lists(self, node: u64) -> bool {
        self.row(node).is_some_and(|row| row.weight.is_some()) && !self.drains(node)
    }

    /// Whether the node was a member and is waited for.
    pub fn drains(self, node: u64) -> bool {
        self.0.view.as_ref().is_some_and(|view| view.draining.contains(&node))
    }

    /// Whether no change is under way.
    pub fn is_single(self) -> bool {
        self.0.view.as_ref().is_some_and(|view| view.next.is_none())
    }

    fn row(self, node: u64) -> Option<&'a RowSeen> {
        self.0.rows.iter().find(|row| row.node == node)
    }

    fn is_on_its_way(self, id: u128) -> bool {
        let under_way = self.0.view.as_ref().is_some_and(|view| view.under_way.contains(&id));
        under_way || self.0.staged.iter().any(|staged| staged.id == id)
    }

    fn is_settled(self, id: u128) -> bool {
        self.0.view.as_ref().is_some_and(|view| view.settled.contains(&id))
    }

    /// Whether the node is a member or was one: a change may follow another before anybody looks.
    fn has_listed(self, node: u64) -> bool {
        let has_gone = |row: &RowSeen| ["leaving", "removed"].contains(&row.status.as_str());
        self.lists(node) || self.drains(node) || self.row(node).is_some_and(has_gone)
    }

    /// Whether a wish is fulfilled.
    fn fulfils(self, wish: &Wish) -> bool {
        let is_gone = |node: &u64| !self.lists(*node);
        self.is_single()
            && match wish {
                Wish::Join(seat) => self.has_listed(seat.node),
                Wish::Remove(node) => is_gone(node),
                Wish::Leave(node) | Wish::Forget(node) => is_gone(node) && !self.drains(*node),
                Wish::Replace { old, new } => self.has_listed(new.node) && is_gone(old),
                Wish::Weight(node, weight) => {
                    is_gone(node) || self.row(*node).and_then(|row| row.weight) == Some(*weight)
                }
                Wish::Zone(..)
                | Wish::Address(..)
                | Wish::BucketCreate(_)
                | Wish::BucketSet { .. }
                | Wish::Withdraw(_) => true,
            }
    }
}

impl Changes {
    /// Begins a change; its completion counts as `counts_as`, if that says so.
    pub fn begin(&mut self, wish: Wish, counts_as: Option<&'static str>) {
        self.pending.push(Change {
            wish,
            id: Uuid::new_v4().as_u128(),
            counts_as,
            staged: None,
            given_up: None,
            refused: None,
        });
    }

    /// Whether there is nothing to follow.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether this is on its way.
    pub fn has(&self, wish: &Wish) -> bool {
        self.pending.iter().any(|change| change.wish == *wish)
    }

    /// How many are begun that take a member away.
    pub fn shrinking(&self) -> usize {
        let shrinks = |change: &&Change| matches!(change.wish, Wish::Leave(_) | Wish::Remove(_));
        self.pending.iter().filter(shrinks).count()
    }

    /// How many of each kind are completed.
    pub fn completed(&self) -> &BTreeMap<&'static str, u64> {
        &self.completed
    }

    /// What is not completed yet, in sentences.
    pub fn waits_for(&self) -> Vec<String> {
        let said = |change: &Change| {
            let why = change.refused.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            let what = change.counts_as.unwrap_or("forgotten");
            format!("not yet {what}: {:?}{why}", change.wish)
        };
        self.pending.iter().map(said).collect()
    }

    /// Strikes off what is completed, and gives what is to be staged now.
    pub fn look(&mut self, truth: Truth<'_>, now: Instant) -> Vec<NewWish> {
        let completed = &mut self.completed;
        self.pending.retain(|change| {
            let is_completed = truth.fulfils(&change.wish);
            if let (true, Some(name)) = (is_completed, change.counts_as) {
                *completed.entry(name).or_default() += 1;
            }
            !is_completed
        });
        self.pending.iter_mut().filter_map(|change| change.maybe_stage(truth, now)).collect()
    }

    /// What was said against a wish; nothing if it was taken.
    pub fn said(&mut self, id: u128, refused: Option<String>) {
        if let Some(change) = self.pending.iter_mut().find(|change| change.id == id) {
            change.refused = refused;
        }
    }
}

impl Change {
    fn maybe_stage(&mut self, truth: Truth<'_>, now: Instant) -> Option<NewWish> {
        // Only a former member can be forgotten: it is one when it was removed or replaced.
        let is_early = matches!(self.wish, Wish::Forget(node) if !truth.drains(node));
        let is_late = matches!(self.wish, Wish::Leave(node) if truth.drains(node));
        if truth.is_on_its_way(self.id) || is_early || is_late {
            return None;
        }
        if truth.is_settled(self.id) {
            let since = *self.given_up.get_or_insert(now);
            if now.duration_since(since) < ANEW_AFTER {
                return None;
            }
            (self.id, self.given_up, self.staged) = (Uuid::new_v4().as_u128(), None, None);
        }
        if self.staged.is_some_and(|last| now.duration_since(last) < STAGE_EVERY) {
            return None;
        }
        self.staged = Some(now);
        Some(NewWish { id: self.id, wish: self.wish.clone(), accept_loss: false })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use cartwheel_client::members::{Members, RowSeen, ViewSeen, Wish};
    use cartwheel_client::service::Seat;

    use super::{ANEW_AFTER, Changes, STAGE_EVERY, Truth};

    /// Layout `layout` with these members, and those that drain.
    fn opinion(layout: u64, members: &[u64], draining: &[u64]) -> Members {
        let row = |node: &u64| RowSeen { node: *node, weight: Some(1), ..RowSeen::default() };
        let view = ViewSeen { layout, draining: draining.to_vec(), ..ViewSeen::default() };
        Members { rows: members.iter().map(row).collect(), view: Some(view), ..Members::default() }
    }

    fn look(changes: &mut Changes, members: &Members, now: Instant) -> Vec<Wish> {
        let opinions = [Members::default(), members.clone()];
        let truth = Truth::newest(&opinions).expect("one has a view");
        changes.look(truth, now).into_iter().map(|new| new.wish).collect()
    }

    #[test]
    fn the_newest_view_is_believed() {
        let mut joint = opinion(3, &[1], &[]);
        joint.view.as_mut().expect("a view").next = Some(4);
        let opinions = [opinion(3, &[1, 2], &[]), joint, Members::default()];
        let truth = Truth::newest(&opinions).expect("two have views");
        assert!(!truth.is_single() && truth.lists(1) && !truth.lists(2));
        assert!(Truth::newest(&[Members::default()]).is_none());
    }

    #[test]
    fn a_removed_node_is_forgotten_only_after_it_was_removed() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        changes.begin(Wish::Remove(2), Some("removals-completed"));
        changes.begin(Wish::Forget(2), None);
        let before = opinion(1, &[1, 2], &[]);
        assert_eq!(look(&mut changes, &before, now), [Wish::Remove(2)]);
        assert_eq!(look(&mut changes, &before, now), [], "it was just staged");
        assert_eq!(look(&mut changes, &before, now + STAGE_EVERY), [Wish::Remove(2)]);
        let after = opinion(2, &[1, 2], &[2]);
        assert_eq!(look(&mut changes, &after, now), [Wish::Forget(2)]);
        assert_eq!(changes.completed()["removals-completed"], 1);
        assert_eq!(changes.waits_for().len(), 1);
        assert_eq!(look(&mut changes, &opinion(3, &[1], &[]), now), []);
        assert!(changes.is_empty());
    }

    #[test]
    fn a_node_that_went_again_before_anybody_looked_has_joined() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        let seat = |node| Seat {
            node,
            name: "n3".to_owned(),
            address: "127.0.0.1:9".to_owned(),
            zone: "z1".to_owned(),
            weight: 1,
        };
        changes.begin(Wish::Replace { old: 2, new: seat(3) }, Some("replaces-completed"));
        changes.begin(Wish::Join(seat(4)), Some("joins-completed"));
        let mut members = opinion(3, &[1, 3], &[3]);
        assert_eq!(look(&mut changes, &members, now).len(), 1, "the join is yet to come");
        members.rows.push(RowSeen { node: 4, status: "removed".to_owned(), ..RowSeen::default() });
        look(&mut changes, &members, now);
        assert!(changes.is_empty());
        assert_eq!(changes.completed().values().sum::<u64>(), 2);
    }

    #[test]
    fn what_is_staged_or_under_way_is_waited_for_and_what_was_given_up_is_wished_anew() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        changes.begin(Wish::Leave(2), Some("leaves-completed"));
        assert_eq!(changes.shrinking(), 1);
        let id = changes.pending[0].id;
        let mut members = opinion(1, &[1, 2], &[]);
        members.view.as_mut().expect("a view").under_way = vec![id];
        members.view.as_mut().expect("a view").next = Some(2);
        assert_eq!(look(&mut changes, &members, now), []);
        let view = members.view.as_mut().expect("a view");
        (view.next, view.under_way, view.settled) = (None, vec![], vec![id]);
        assert_eq!(look(&mut changes, &members, now), [], "it may be draining next");
        let later = now + ANEW_AFTER + Duration::from_millis(1);
        assert_eq!(look(&mut changes, &members, later), [Wish::Leave(2)]);
        assert_ne!(changes.pending[0].id, id);
        assert_eq!(look(&mut changes, &opinion(2, &[1], &[2]), later), [], "it drains");
        assert_eq!(look(&mut changes, &opinion(3, &[1], &[]), later), []);
        assert_eq!(changes.completed()["leaves-completed"], 1);
    }
}
