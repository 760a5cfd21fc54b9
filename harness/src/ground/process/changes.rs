//! Changes of the members on their way: staged until a node takes them, followed until they are completed.
//!
//! A wish that a node has taken is the cluster's business. It is staged again only where the cluster may rightly have
//! lost it, and that is counted: were it staged again whenever it is slow to show, a cluster that drops wishes would
//! look like one that carries them out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cartwheel_client::members::{Members, NewWish, Wish};
use uuid::Uuid;

use crate::fault::NodeNumber;

/// How long after an attempt to stage a wish that no node took there is another.
const STAGE_EVERY: Duration = Duration::from_secs(1);
/// How long a wish may be settled without being carried out before it is staged anew.
const ANEW_AFTER: Duration = Duration::from_secs(5);

/// All changes that were begun and are not completed.
#[derive(Debug, Default)]
pub struct Changes {
    pending: Vec<Change>,
    completed: BTreeMap<&'static str, u64>,
    staged_again: u64,
    wished_anew: u64,
}

/// The run of a node that took a wish: while it goes on, the node knows the wish and tells others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Taker {
    /// The node.
    pub place: NodeNumber,
    /// The number of its process.
    pub pid: u32,
}

/// One change of the members.
#[derive(Debug)]
struct Change {
    wish: Wish,
    id: u128,
    /// What its completion counts as.
    counts_as: Option<&'static str>,
    /// Whether the node that the change makes a member stages it by itself.
    is_of_node: bool,
    /// When it was last tried to stage it.
    tried: Option<Instant>,
    /// Who took it; nothing until somebody did.
    taker: Option<Taker>,
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
        self.0.lists(node)
    }

    /// Whether the node was a member and is waited for.
    pub fn drains(self, node: u64) -> bool {
        self.0.drains(node)
    }

    /// Whether no change is under way.
    pub fn is_single(self) -> bool {
        self.0.view.as_ref().is_some_and(|view| view.next.is_none())
    }

    fn is_on_its_way(self, id: u128) -> bool {
        let under_way = self.0.view.as_ref().is_some_and(|view| view.under_way.contains(&id));
        under_way || self.0.staged.iter().any(|staged| staged.id == id)
    }

    fn is_settled(self, id: u128) -> bool {
        self.0.view.as_ref().is_some_and(|view| view.settled.contains(&id))
    }

    /// Whether nobody has to wait for a wish any more: it is fulfilled, or it is about a member that went.
    fn is_over(self, wish: &NewWish) -> bool {
        let has_gone = match &wish.wish {
            Wish::Weight(node, _) | Wish::Zone(node, _) | Wish::Address(node, _) => {
                self.is_single() && !self.lists(*node)
            }
            Wish::Join(_)
            | Wish::Leave(_)
            | Wish::Remove(_)
            | Wish::Replace { .. }
            | Wish::Forget(_)
            | Wish::BucketCreate(_)
            | Wish::BucketSet { .. }
            | Wish::Withdraw(_) => false,
        };
        has_gone || self.0.fulfils(wish, &[])
    }
}

impl Changes {
    /// Begins a change; its completion counts as `counts_as`, if that says so.
    pub fn begin(&mut self, wish: Wish, counts_as: Option<&'static str>) {
        self.follow(wish, counts_as, false);
    }

    /// Follows a change that the node which it makes a member stages by itself.
    pub fn expect(&mut self, wish: Wish, counts_as: &'static str) {
        self.follow(wish, Some(counts_as), true);
    }

    fn follow(&mut self, wish: Wish, counts_as: Option<&'static str>, is_of_node: bool) {
        self.pending.push(Change {
            wish,
            id: Uuid::new_v4().as_u128(),
            counts_as,
            is_of_node,
            tried: None,
            taker: None,
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

    /// How many of each kind are completed, how many wishes were staged again because the node that had taken them ended
    /// before anybody else knew them, and how many were wished for anew because an amended change gave them up.
    pub fn completed(&self) -> BTreeMap<&'static str, u64> {
        let again = [("wishes-staged-again", self.staged_again), ("wished-anew", self.wished_anew)];
        self.completed.clone().into_iter().chain(again).collect()
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

    /// Strikes off what is completed, and gives what is to be staged now. `runs` tells whether a run still goes on.
    pub fn look(
        &mut self,
        truth: Truth<'_>,
        now: Instant,
        runs: impl Fn(Taker) -> bool,
    ) -> Vec<NewWish> {
        let completed = &mut self.completed;
        self.pending.retain(|change| {
            let is_completed = truth.is_over(&change.new_wish());
            if let (true, Some(name)) = (is_completed, change.counts_as) {
                *completed.entry(name).or_default() += 1;
            }
            !is_completed
        });
        let mut wishes = Vec::new();
        for change in &mut self.pending {
            match change.next(truth, now, &runs) {
                Next::Wait => continue,
                Next::Stage => {}
                Next::StageAgain => self.staged_again += 1,
                Next::WishAnew => self.wished_anew += 1,
            }
            (change.tried, change.taker) = (Some(now), None);
            wishes.push(change.new_wish());
        }
        wishes
    }

    /// Who took a wish, or what was said against it.
    pub fn said(&mut self, id: u128, said: Result<Taker, String>) {
        if let Some(change) = self.pending.iter_mut().find(|change| change.id == id) {
            (change.taker, change.refused) = match said {
                Ok(taker) => (Some(taker), None),
                Err(why) => (None, Some(why)),
            };
        }
    }
}

/// What is to be done for a change now.
enum Next {
    /// It is on its way, or it is too early.
    Wait,
    /// Nobody has taken it yet.
    Stage,
    /// Who took it ended before anybody else knew of it.
    StageAgain,
    /// The cluster gave it up.
    WishAnew,
}

impl Change {
    fn next(&mut self, truth: Truth<'_>, now: Instant, runs: impl Fn(Taker) -> bool) -> Next {
        // Only a former member can be forgotten: it is one when it was removed or replaced.
        let is_early = matches!(self.wish, Wish::Forget(node) if !truth.drains(node));
        let is_late = matches!(self.wish, Wish::Leave(node) if truth.drains(node));
        if self.is_of_node || truth.is_on_its_way(self.id) || is_early || is_late {
            return Next::Wait;
        }
        if truth.is_settled(self.id) {
            let since = *self.given_up.get_or_insert(now);
            if now.duration_since(since) < ANEW_AFTER {
                return Next::Wait;
            }
            (self.id, self.given_up) = (Uuid::new_v4().as_u128(), None);
            return Next::WishAnew;
        }
        match (self.taker, self.tried) {
            (Some(taker), _) if runs(taker) => Next::Wait,
            (Some(_), _) => Next::StageAgain,
            (None, Some(last)) if now.duration_since(last) < STAGE_EVERY => Next::Wait,
            (None, _) => Next::Stage,
        }
    }

    fn new_wish(&self) -> NewWish {
        NewWish { id: self.id, wish: self.wish.clone(), accept_loss: false }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use cartwheel_client::members::{Members, RowSeen, ViewSeen, Wish};
    use cartwheel_client::service::Seat;

    use super::{ANEW_AFTER, Changes, STAGE_EVERY, Taker, Truth};
    use crate::fault::NodeNumber;

    /// Layout `layout` with these members, and those that drain.
    fn opinion(layout: u64, members: &[u64], draining: &[u64]) -> Members {
        let row = |node: &u64| RowSeen { node: *node, weight: Some(1), ..RowSeen::default() };
        let view = ViewSeen { layout, draining: draining.to_vec(), ..ViewSeen::default() };
        Members { rows: members.iter().map(row).collect(), view: Some(view), ..Members::default() }
    }

    /// A run that goes on, and one that has ended.
    const RUNS: Taker = Taker { place: NodeNumber(0), pid: 10 };
    const ENDED: Taker = Taker { place: NodeNumber(0), pid: 9 };

    fn look(changes: &mut Changes, members: &Members, now: Instant) -> Vec<Wish> {
        let opinions = [Members::default(), members.clone()];
        let truth = Truth::newest(&opinions).expect("one has a view");
        changes.look(truth, now, |taker| taker == RUNS).into_iter().map(|new| new.wish).collect()
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
        assert_eq!(look(&mut changes, &before, now), [], "it was just tried");
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
    fn what_a_node_took_is_staged_again_only_when_it_ended_before_anybody_knew() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        let (before, later) = (opinion(1, &[1, 2], &[]), now + 2 * STAGE_EVERY);
        changes.begin(Wish::Leave(2), Some("leaves-completed"));
        assert_eq!(look(&mut changes, &before, now), [Wish::Leave(2)]);
        let id = changes.pending[0].id;
        changes.said(id, Err("nobody answers".into()));
        assert_eq!(look(&mut changes, &before, later), [Wish::Leave(2)], "nobody took it");
        changes.said(id, Ok(RUNS));
        assert_eq!(look(&mut changes, &before, later + 2 * STAGE_EVERY), [], "it was taken");
        assert_eq!(changes.completed()["wishes-staged-again"], 0);
        changes.said(id, Ok(ENDED));
        assert_eq!(look(&mut changes, &before, later), [Wish::Leave(2)]);
        assert_eq!((changes.completed()["wishes-staged-again"], changes.pending[0].id), (1, id));
    }

    #[test]
    fn what_a_node_stages_by_itself_is_only_followed() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        changes.expect(Wish::Remove(2), "removals-completed");
        assert_eq!(look(&mut changes, &opinion(1, &[1, 2], &[]), now), []);
        assert_eq!(changes.waits_for().len(), 1);
        assert_eq!(look(&mut changes, &opinion(2, &[1], &[]), now), []);
        assert_eq!(changes.completed()["removals-completed"], 1);
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
        assert_eq!(changes.completed()["wished-anew"], 1);
        assert_eq!(look(&mut changes, &opinion(2, &[1], &[2]), later), [], "it drains");
        assert_eq!(look(&mut changes, &opinion(3, &[1], &[]), later), []);
        assert_eq!(changes.completed()["leaves-completed"], 1);
    }
}
