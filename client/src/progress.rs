//! How far a wish is, as one node of the cluster knows it.
//!
//! That a decree has *settled* a wish says only that nobody will carry it out any more: it was carried out, or taken
//! back, or an amendment of the change that held it has given it up. Which of them, the layout shows.

use std::{fmt, time::Duration};

use crate::client::Client;
use crate::error::Error;
use crate::members::{Members, NewWish, RowSeen, Wish};
use crate::service::BucketEntry;

/// How far a wish is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The asked node does not know of it: it has not heard of it yet, or nothing is to be done for it any more.
    Unknown,
    /// It waits, and why.
    Staged(String),
    /// The cluster changes to the layout that carries it out.
    UnderWay {
        /// That layout's number.
        next: u64,
        /// How many nodes have caught up.
        caught_up: usize,
        /// How many have to.
        must: usize,
    },
    /// It is settled, and while the cluster changes nobody can say how.
    Settled {
        /// The number of the layout that the cluster changes to.
        next: u64,
    },
    /// The layout is there; the node that leaves hands off what it holds.
    Draining,
    /// It is done.
    Done {
        /// The number of the layout now.
        layout: u64,
    },
    /// It is settled, and the layout is not as was wished.
    GivenUp {
        /// The number of the layout now.
        layout: u64,
    },
}

impl Client {
    /// How far a wish is, as the first node that answers knows it.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none answers.
    pub async fn progress(&self, wish: &NewWish, within: Duration) -> Result<Progress, Error> {
        let members = self.members(within).await?;
        let progress = members.progress(wish, &[]);
        let Progress::GivenUp { layout } = progress else { return Ok(progress) };
        if !wish.wish.is_of_a_bucket() {
            return Ok(progress);
        }
        // What nodes say of the members has no buckets.
        let directory = self.refresh().await?;
        let is_older = directory.layout < layout;
        let settled = Progress::Settled { next: layout };
        Ok(if is_older { settled } else { members.progress(wish, &directory.buckets) })
    }

    /// Whether the cluster is as is wished for, as the first node that answers knows it.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none answers.
    pub async fn fulfils(&self, wish: &NewWish, within: Duration) -> Result<bool, Error> {
        let members = self.members(within).await?;
        if !wish.wish.is_of_a_bucket() {
            return Ok(members.fulfils(wish, &[]));
        }
        Ok(members.fulfils(wish, &self.refresh().await?.buckets))
    }
}

impl Wish {
    fn is_of_a_bucket(&self) -> bool {
        matches!(self, Self::BucketCreate(_) | Self::BucketSet { .. })
    }
}

impl Members {
    /// How far a wish is. That a member leaves is done when it has drained; a dead one that is taken out is waited
    /// for by nobody here. `buckets` are those of the layout, or of a later one.
    pub fn progress(&self, wish: &NewWish, buckets: &[BucketEntry]) -> Progress {
        let id = wish.id;
        let Some(view) = &self.view else { return Progress::Unknown };
        if let (Some(next), true) = (view.next, view.under_way.contains(&id)) {
            let must = self.rows.iter().filter(|row| row.must_catch_up);
            let caught_up = must.clone().filter(|row| row.has_caught_up).count();
            return Progress::UnderWay { next, caught_up, must: must.count() };
        }
        let drains = matches!(wish.wish, Wish::Leave(node) if self.drains(node));
        let takes_back = withdraws(&wish.wish);
        // What is under way is among the settled, and can be taken back.
        let is_late = takes_back.is_some_and(|target| {
            view.settled.contains(&target) && !view.under_way.contains(&target)
        });
        if view.settled.contains(&id) || is_late {
            if let Some(next) = view.next.filter(|_| takes_back.is_none()) {
                return Progress::Settled { next };
            }
            return match (drains, self.fulfils(wish, buckets)) {
                (true, _) => Progress::Draining,
                (false, true) => Progress::Done { layout: view.layout },
                (false, false) => Progress::GivenUp { layout: view.layout },
            };
        }
        match self.staged.iter().find(|wish| wish.id == id) {
            Some(wish) => Progress::Staged(wish.why.clone()),
            None => Progress::Unknown,
        }
    }

    /// Whether the cluster is as is wished for: never while it changes. A node that was a member and went again has joined:
    /// one change may follow another before anybody looks.
    pub fn fulfils(&self, wish: &NewWish, buckets: &[BucketEntry]) -> bool {
        let Some(view) = self.view.as_ref() else { return false };
        if view.next.is_some() && withdraws(&wish.wish).is_none() {
            return false;
        }
        let is_gone = |node: &u64| !self.lists(*node);
        let seat = |node: &u64| self.row(*node).filter(|_| self.lists(*node));
        let bucket = |name: &str| buckets.iter().find(|bucket| bucket.name == name);
        match &wish.wish {
            // The decree that takes a wish back settles both; that also holds while the cluster changes.
            Wish::Withdraw(_) => view.settled.contains(&wish.id),
            Wish::Join(seat) => self.has_listed(seat.node),
            Wish::Remove(node) => is_gone(node),
            Wish::Leave(node) | Wish::Forget(node) => is_gone(node) && !self.drains(*node),
            Wish::Replace { old, new } => self.has_listed(new.node) && is_gone(old),
            Wish::Weight(node, weight) => seat(node).is_some_and(|row| row.weight == Some(*weight)),
            Wish::Zone(node, zone) => seat(node).is_some_and(|row| row.zone.as_ref() == Some(zone)),
            Wish::Address(node, address) => seat(node).is_some_and(|row| row.address == *address),
            Wish::BucketCreate(entry) => bucket(&entry.name)
                .is_some_and(|is| *is == BucketEntry { r: is.r, w: is.w, ..entry.clone() }),
            Wish::BucketSet { name, r, w } => {
                bucket(name).is_some_and(|bucket| (bucket.r, bucket.w) == (*r, *w))
            }
        }
    }

    /// What is known of a node.
    pub fn row(&self, node: u64) -> Option<&RowSeen> {
        self.rows.iter().find(|row| row.node == node)
    }

    /// Whether a layout of the view lists this node as a member.
    pub fn lists(&self, node: u64) -> bool {
        self.row(node).is_some_and(|row| row.weight.is_some()) && !self.drains(node)
    }

    /// Whether the node was a member and is waited for.
    pub fn drains(&self, node: u64) -> bool {
        self.view.as_ref().is_some_and(|view| view.draining.contains(&node))
    }

    /// Whether the node is a member or was one.
    fn has_listed(&self, node: u64) -> bool {
        let has_gone = |status: &str| ["leaving", "removed"].contains(&status);
        let was_there = self.row(node).is_some_and(|row| has_gone(&row.status));
        self.lists(node) || self.drains(node) || was_there
    }
}

/// The wish that this one takes back.
fn withdraws(wish: &Wish) -> Option<u128> {
    if let Wish::Withdraw(target) = wish { Some(*target) } else { None }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not known there"),
            Self::Staged(why) => write!(f, "staged: {why}"),
            Self::UnderWay { next, caught_up, must } => {
                write!(f, "changing to layout {next}: {caught_up} of {must} nodes have caught up")
            }
            Self::Settled { next } => {
                write!(f, "settled; how, shows when the change to layout {next} is over")
            }
            Self::Draining => {
                f.write_str("the layout is there, and the node hands off what it holds")
            }
            Self::Done { layout } => write!(f, "done: layout {layout}"),
            Self::GivenUp { layout } => write!(
                f,
                "not carried out: layout {layout} is not as wished; it was taken back, given up by an amended change, \
                 or undone by a later one"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::{StagedWish, ViewSeen};
    use crate::service::Seat;

    fn wish(wish: Wish) -> NewWish {
        NewWish { id: 5, wish, accept_loss: false }
    }

    /// Layout 3 of n1 with weight 2, in zone a.
    fn members() -> Members {
        let view = ViewSeen { id: "v3".into(), layout: 3, ..ViewSeen::default() };
        let row = RowSeen {
            node: 1,
            zone: Some("a".into()),
            weight: Some(2),
            status: "up".into(),
            ..RowSeen::default()
        };
        Members { view: Some(view), rows: vec![row], ..Members::default() }
    }

    fn view(members: &mut Members) -> &mut ViewSeen {
        members.view.as_mut().expect("a view")
    }

    #[test]
    fn a_wish_is_staged_then_under_way_then_drained_then_done() {
        let mut members = members();
        let mut leaver = members.rows[0].clone();
        leaver.node = 7;
        members.rows.push(leaver);
        let (leaves, removes) = (wish(Wish::Leave(7)), wish(Wish::Remove(7)));
        let progress = |members: &Members, wish| members.progress(wish, &[]);
        assert_eq!(progress(&members, &leaves), Progress::Unknown);
        let why = String::from("is carried out next");
        members.staged.push(StagedWish { id: 5, why: why.clone(), ..Default::default() });
        assert_eq!(progress(&members, &leaves), Progress::Staged(why));
        let seen = view(&mut members);
        (seen.next, seen.under_way, seen.settled) = (Some(4), vec![5], vec![5]);
        members.rows[0].must_catch_up = true;
        let under_way = Progress::UnderWay { next: 4, caught_up: 0, must: 1 };
        assert_eq!(progress(&members, &leaves), under_way);
        let seen = view(&mut members);
        (seen.next, seen.under_way, seen.draining) = (None, vec![], vec![7]);
        assert_eq!(progress(&members, &leaves), Progress::Draining);
        assert_eq!(progress(&members, &removes), Progress::Done { layout: 3 }, "it is dead");
        view(&mut members).draining.clear();
        members.rows.pop();
        assert_eq!(progress(&members, &leaves), Progress::Done { layout: 3 });
    }

    #[test]
    fn what_is_settled_is_done_only_where_the_layout_is_as_wished() {
        let seat = |node| Seat {
            node,
            name: "n".into(),
            address: "127.0.0.1:1".into(),
            zone: "a".into(),
            weight: 1,
        };
        let bucket = BucketEntry {
            name: "orders".into(),
            n: 3,
            is_cart: true,
            is_last_write_wins: false,
            is_spread_over_zones: false,
            strict_r: 2,
            strict_w: 2,
            cancelled_bound: 9,
            r: 1,
            w: 3,
        };
        let set = |w| Wish::BucketSet { name: "orders".into(), r: 1, w };
        let other = BucketEntry { n: 2, ..bucket.clone() };
        let cases = [
            (Wish::Join(seat(1)), true),
            (Wish::Join(seat(9)), false),
            (Wish::Leave(9), true),
            (Wish::Leave(1), false),
            (Wish::Remove(1), false),
            (Wish::Replace { old: 9, new: seat(1) }, true),
            (Wish::Replace { old: 1, new: seat(9) }, false),
            (Wish::Replace { old: 8, new: seat(9) }, false),
            (Wish::Forget(9), true),
            (Wish::Weight(1, 2), true),
            (Wish::Weight(1, 3), false),
            (Wish::Weight(9, 2), false),
            (Wish::Zone(1, "a".into()), true),
            (Wish::Zone(1, "b".into()), false),
            (Wish::BucketCreate(BucketEntry { w: 2, ..bucket.clone() }), true),
            (Wish::BucketCreate(other), false),
            (set(3), true),
            (set(2), false),
        ];
        let mut members = members();
        for (wished, is_so) in cases {
            let wished = wish(wished);
            let progress =
                |members: &Members| members.progress(&wished, std::slice::from_ref(&bucket));
            view(&mut members).settled = vec![];
            assert_eq!(progress(&members), Progress::Unknown, "{wished:?}");
            assert_eq!(
                members.fulfils(&wished, std::slice::from_ref(&bucket)),
                is_so,
                "{wished:?}"
            );
            view(&mut members).settled = vec![5];
            let (done, given_up) = (Progress::Done { layout: 3 }, Progress::GivenUp { layout: 3 });
            assert_eq!(progress(&members), if is_so { done } else { given_up }, "{wished:?}");
            view(&mut members).next = Some(4);
            assert_eq!(progress(&members), Progress::Settled { next: 4 }, "{wished:?}");
            view(&mut members).next = None;
        }
    }

    #[test]
    fn a_wish_is_taken_back_only_where_it_was_not_carried_out_before() {
        let mut members = members();
        let takes_back = wish(Wish::Withdraw(6));
        assert_eq!(members.progress(&takes_back, &[]), Progress::Unknown);
        view(&mut members).settled = vec![6];
        let late = Progress::GivenUp { layout: 3 };
        assert_eq!(members.progress(&takes_back, &[]), late, "another decree settled it");
        let seen = view(&mut members);
        (seen.next, seen.under_way) = (Some(4), vec![8]);
        view(&mut members).settled = vec![6, 5];
        assert_eq!(members.progress(&takes_back, &[]), Progress::Done { layout: 3 });
    }
}
