//! Changes of the layout: what is decreed, one decree after the other, and who goes by which view when.
//!
//! Decrees are not voted on here: a plan lists them, and each may come about at any moment at which the core
//! says that it may. Membership is not in these worlds either. What it does for the shards is an action: a view is on disk, and
//! then the shards go by it. What the shards report is believed from then on, whatever becomes of the node that said it.

use std::{fmt, sync::Arc};

use cartwheel_protocol::{
    Compared, Fact, Input,
    id::{NodeId, Zone},
    layout::{Command, Layout, Member},
    membership::{Decree, Progress, Staged, Wish, may_finish, outcome, who_must_catch_up},
    view::{View, ViewId},
};

use crate::{
    action::Action,
    client::Op,
    reap::Wanted,
    setup::{Budget, Setup},
    witness::{Observer, Witness},
    world::World,
};

/// A command of a plan. Nodes are named by their number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Order {
    /// A node becomes a member.
    Join(u8),
    /// A living member goes.
    Leave(u8),
    /// One node takes the seats of another.
    Replace {
        /// Who goes.
        old: u8,
        /// Who comes.
        new: u8,
    },
    /// The same when the one that goes is dead and the operator gives up what only it holds.
    ReplaceLost {
        /// Who goes.
        old: u8,
        /// Who comes.
        new: u8,
    },
    /// A former member is forgotten, once it has said that it is drained.
    Forget(u8),
    /// A node's address: nobody's seats change.
    Address(u8),
}

/// A decree of a plan.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Turn {
    /// The commands of a joint view; `None` for the end of the change. In a joint view they amend it.
    pub(crate) orders: Option<Vec<Order>>,
    /// Who owns the keys in the layout that comes next, in any order; nobody for whoever it may be.
    owners: Vec<u8>,
    /// Not before this task is over.
    pub(crate) after: Option<Op>,
}

impl Turn {
    /// A change that makes these nodes the owners; in a joint view an amendment.
    pub fn change(orders: impl IntoIterator<Item = Order>, owners: &[u8]) -> Self {
        Self { orders: Some(Vec::from_iter(orders)), owners: owners.to_vec(), after: None }
    }

    /// The end of the change under way, as soon as it may.
    pub fn finish() -> Self {
        Self { orders: None, owners: Vec::new(), after: None }
    }

    /// The same, not before a task of a client is over.
    #[must_use]
    pub fn after(mut self, client: u8, step: u8) -> Self {
        self.after = Some(Op { client, step });
        self
    }
}

/// A member as plans make them; its zone by number.
pub(crate) fn member(id: NodeId, zone: u8) -> Member {
    let name: Arc<str> = id.to_string().into();
    Member { id, name: name.clone(), address: name, zone: zone_of(zone), weight: 1 }
}

fn zone_of(zone: u8) -> Zone {
    Zone(Arc::from(format!("z{zone}")))
}

impl Order {
    /// The command that it stands for, and whether a loss is accepted.
    fn command(self, nodes: &[NodeId], zones: &[u8]) -> (Command, bool) {
        let id = |node: u8| nodes[usize::from(node)];
        let member =
            |node: u8| member(id(node), zones.get(usize::from(node)).copied().unwrap_or(0));
        let replace = |old, new| Command::Replace { old: id(old), new: member(new) };
        match self {
            Self::Join(node) => (Command::Join(member(node)), false),
            Self::Leave(node) => (Command::Leave(id(node)), false),
            Self::Replace { old, new } => (replace(old, new), false),
            Self::ReplaceLost { old, new } => (replace(old, new), true),
            Self::Forget(node) => (Command::Forget(id(node)), false),
            Self::Address(node) => (Command::Address(id(node), Arc::from("elsewhere")), false),
        }
    }
}

/// The views that a plan's decrees lead to, the first one first; `None` if these nodes do not get the seats that the plan
/// expects.
pub(crate) fn views(
    first: Arc<View>,
    turns: &[Turn],
    nodes: &[NodeId],
    (zones, n): (&[u8], u8),
) -> Option<Vec<Arc<View>>> {
    let mut views = vec![first];
    for (number, turn) in turns.iter().enumerate() {
        let before = &views[number];
        let Some(orders) = &turn.orders else {
            views.push(Arc::new(outcome(before, &Decree::Finish)?));
            continue;
        };
        let stage = |(order, place): (&Order, usize)| {
            let (command, accept_loss) = order.command(nodes, zones);
            let wish = Wish::Change { command, accept_loss };
            Staged { id: (number * 16 + place) as u128, base: before.layout().number(), wish }
        };
        let commands = orders.iter().zip(0..).map(stage).collect();
        let decree = Decree::Joint { commands, withdrawn: Arc::from([]), reaped: before.reaped() };
        let after = outcome(before, &decree)?;
        let next: &Layout = after.next()?;
        let partition = next.partitions().iter().next()?;
        let mut owners: Vec<NodeId> = next.owners(partition).take(usize::from(n)).collect();
        owners.sort_unstable();
        let mut expected: Vec<NodeId> =
            turn.owners.iter().map(|node| nodes[usize::from(*node)]).collect();
        expected.sort_unstable();
        if !expected.is_empty() && owners != expected {
            return None;
        }
        views.push(Arc::new(after));
    }
    Some(views)
}

impl Setup {
    /// The view with this number.
    pub(crate) fn view(&self, number: u8) -> &Arc<View> {
        &self.views[usize::from(number)]
    }

    /// The number of the view with this id.
    pub(crate) fn number_of(&self, id: ViewId) -> Option<u8> {
        self.views.iter().position(|view| view.id() == id).map(|at| at as u8)
    }

    /// Whether a node owns the keys in some layout of a view.
    pub(crate) fn owns_in(&self, at: usize, view: &View) -> bool {
        let partition = self.keys[0].partition;
        view.owns(self.nodes[at], partition, self.bucket.n)
    }
}

impl World {
    /// The newest view that there is: decreed, or raised since.
    pub(crate) fn newest(&self) -> &Arc<View> {
        self.view(self.newest_number())
    }

    fn newest_number(&self) -> u8 {
        let decreed = self.setup.decrees[usize::from(self.decreed)];
        self.raised.last().map_or(decreed, |raised| decreed.max(*raised))
    }

    /// Whether the view with this number has come about.
    fn exists(&self, view: u8) -> bool {
        let decrees = &self.setup.decrees[..=usize::from(self.decreed)];
        decrees.contains(&view) || self.raised.contains(&view)
    }

    /// The view that a node goes by.
    pub(crate) fn view_of(&self, at: usize) -> Option<&Arc<View>> {
        Some(self.view(self.hosts[at].view?))
    }

    /// Whether every node that is not lost goes by the newest view, if it is in it at all.
    pub(crate) fn all_are_up_to_date(&self) -> bool {
        let newest = self.newest();
        let mut nodes = self.setup.nodes.iter().zip(&self.hosts);
        nodes.all(|(id, host)| {
            host.out
                || host.view == Some(self.newest_number())
                || (host.view.is_none() && !newest.lists(*id))
        })
    }

    pub(crate) fn list_changes(&self, actions: &mut Vec<Action>) {
        if self.may_decree() {
            actions.push(Action::Decree(self.decreed + 1));
        }
        for (at, host) in self.hosts.iter().enumerate().filter(|(_, host)| host.is_up()) {
            let lists = |view: &u8| self.setup.view(*view).lists(self.setup.nodes[at]);
            let newest = self.newest_number();
            let first = match host.view {
                Some(view) => Some(view + 1),
                None => (0..=newest).filter(|view| self.exists(*view)).find(lists),
            };
            let newer = first.into_iter().flat_map(|first| first..=newest);
            let newer = newer.filter(|view| self.exists(*view));
            actions.extend(newer.map(|view| Action::Adopt { node: at as u8, view }));
            if self.left(Budget::Raise) > 0 && self.raised_by(at).is_some() {
                actions.push(Action::Raise(at as u8));
            }
        }
    }

    /// The number of the view that a node would raise its own to, if a shard of it wants that.
    pub(crate) fn raised_by(&self, at: usize) -> Option<u8> {
        let host = &self.hosts[at];
        let wants = host.wants_above.is_some() && host.wants_above == host.view;
        let wants = wants || self.reap_view(at).is_some();
        let view = self.view_of(at).filter(|_| wants)?;
        let raised = self.setup.number_of(view.raised(self.setup.nodes[at]).id())?;
        (!self.exists(raised)).then_some(raised)
    }

    /// Membership raises the view and has that on disk; the shards of the node go by it.
    pub(crate) fn raise(&mut self, at: usize, observer: &mut impl Observer) {
        let raised = self.raised_by(at).expect("a shard wants a newer view");
        match self.reap_view(at) {
            Some(view) => {
                self.made.make_mut().push((raised, Arc::new(view)));
                // What was sent in a lower view is refused, and its sender may die before it sends it again.
                self.stir();
            }
            None => {
                let reaped = self.view_of(at).map(|view| view.reaped()).unwrap_or_default();
                self.make(raised, reaped);
            }
        }
        let place = self.raised.partition_point(|known| *known < raised);
        self.raised.insert(place, raised);
        observer.note(Witness::Raised);
        self.adopt(at, raised, observer);
    }

    fn may_decree(&self) -> bool {
        let Some(turn) = self.setup.turns.get(usize::from(self.decreed)) else { return false };
        let view = self.newest();
        let in_time = turn.after.is_none_or(|op| self.is_over(op));
        in_time
            && match &turn.orders {
                Some(orders) => orders.iter().all(|order| self.is_ready(*order)),
                None => {
                    let must = &self.setup.musts[usize::from(self.newest_number())];
                    let progress = |node| self.hosts[self.setup.index(node)].progress;
                    may_finish(view, must, progress, self.setup.config.rules)
                }
            }
    }

    /// A node is forgotten when it has said that it is drained; one whose disk is lost is by the operator, who names none
    /// as lost that may come back.
    fn is_ready(&self, order: Order) -> bool {
        match order {
            Order::Forget(node) => {
                let host = &self.hosts[usize::from(node)];
                let era = self.newest().id().era();
                host.out || host.drained.is_some_and(|drained| drained.era() == era)
            }
            Order::ReplaceLost { old, .. } => self.hosts[usize::from(old)].out,
            Order::Join(_) | Order::Leave(_) | Order::Replace { .. } | Order::Address(_) => true,
        }
    }

    pub(crate) fn decree(&mut self, observer: &mut impl Observer) {
        let was_joint = self.newest().next().is_some();
        // The core sees to it that a decree knows of the rounds that came to their end.
        let reaped = self.newest().reaped();
        self.decreed += 1;
        self.make(self.setup.decrees[usize::from(self.decreed)], reaped);
        match (was_joint, self.newest().next().is_some()) {
            (true, true) => observer.note(Witness::Amended),
            (true, false) => observer.note(Witness::Changed),
            (false, _) => {}
        }
        // The owners are others from now on: what some of them hold others may lack.
        self.stir();
    }

    /// Membership has a newer view on disk and hands it to the shards.
    pub(crate) fn adopt(&mut self, at: usize, number: u8, observer: &mut impl Observer) {
        let saves = self.setup.config.rules.saves_views();
        let view = self.view(number).clone();
        let host = self.hosts[at].make_mut();
        if saves || host.saved.is_none() {
            host.saved = Some(number);
        }
        self.go_by(at, view, observer);
    }

    /// The shards are handed a view.
    pub(crate) fn go_by(&mut self, at: usize, view: Arc<View>, observer: &mut impl Observer) {
        self.hosts[at].make_mut().view = self.setup.number_of(view.id());
        self.step(at, Input::View(view), observer);
    }

    /// What a shard reports and everybody may hear of.
    pub(crate) fn report(&mut self, at: usize, fact: Fact, observer: &mut impl Observer) {
        let known = self.hosts[at].progress;
        match fact {
            Fact::Adopted(view) => {
                let progress = Progress { view: known.view.max(Some(view)), ..known };
                self.hosts[at].make_mut().progress = progress;
            }
            Fact::CaughtUp(view) => {
                let must =
                    self.setup.number_of(view).map(|view| &self.setup.musts[usize::from(view)]);
                if must.is_some_and(|must| must.contains(&self.setup.nodes[at])) {
                    observer.note(Witness::CaughtUp);
                }
                let progress = Progress { caught_up: known.caught_up.max(Some(view)), ..known };
                self.hosts[at].make_mut().progress = progress;
            }
            Fact::Drained(view) => {
                observer.note(Witness::Drained);
                let host = self.hosts[at].make_mut();
                host.drained = host.drained.max(Some(view));
            }
            Fact::Damaged(view) => {
                let wanted = self.setup.number_of(view);
                let host = self.hosts[at].make_mut();
                host.wants_above = host.wants_above.max(wanted);
            }
            Fact::Compared { outcome: Compared::Differed(keys), .. } if keys > 0 => {
                observer.note(Witness::TreesMended);
            }
            Fact::Reap { view: above, page, floor } => {
                self.hosts[at].make_mut().wants_reap = Some(Wanted { above, page, floor });
            }
            Fact::Judged { fit: false } => observer.note(Witness::Unfit),
            Fact::Reaped(_) => {
                observer.note(Witness::Reaped);
                // Owners drop it one after the other.
                self.stir();
            }
            Fact::Judged { fit: true } | Fact::ReapEnded { .. } => {}
            // Suspicion and asking for a view are actions of their own here.
            Fact::Answered(_) | Fact::Silent(_) | Fact::Newer(_) | Fact::Compared { .. } => {}
        }
    }
}

/// Who must have caught up before the change of each view may finish.
pub(crate) fn musts(views: &[Arc<View>]) -> Vec<Vec<NodeId>> {
    views.iter().map(|view| who_must_catch_up(view)).collect()
}

impl fmt::Display for Turn {
    /// `change (n1 is replaced by n3)` with the nodes' numbers from zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.orders {
            None => f.write_str("finish"),
            Some(orders) if orders.is_empty() => f.write_str("abort"),
            Some(orders) => orders
                .iter()
                .enumerate()
                .try_for_each(|(at, order)| write!(f, "{}{order}", if at > 0 { ", " } else { "" })),
        }
    }
}

impl fmt::Display for Order {
    /// In a plan's numbers: `join 2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(node) => write!(f, "join {node}"),
            Self::Leave(node) => write!(f, "leave {node}"),
            Self::Replace { old, new } => write!(f, "replace {old} by {new}"),
            Self::ReplaceLost { old, new } => write!(f, "replace lost {old} by {new}"),
            Self::Forget(node) => write!(f, "forget {node}"),
            Self::Address(node) => write!(f, "address {node}"),
        }
    }
}
