//! Wishes: what is staged, what becomes of it, and what a list of wishes would do (rule L0).
//!
//! A wish ends in one of three ways. A decree *settles* it: it is carried out or given up, and the view
//! remembers its id. The layout makes it *moot*: what it asks for is so already, or can never be. Or it
//! grows [too old](Staged::TOO_OLD) while so much was settled that its own id may have been forgotten. A wish that the layout refuses for now, or that a dead owner blocks,
//! is none of these: it stays, is shown with the reason, and is tried again in every layout until somebody
//! takes it back.

use alloc::{string::ToString, sync::Arc, vec::Vec};
use core::fmt;

use xxhash_rust::xxh3::xxh3_128;

use super::{
    Membership,
    change::{names_loss_only, next_layout, taken_out, with_last},
    message::{Decree, Staged, Wish},
};
use crate::{
    id::NodeId,
    layout::{Command, Layout, LayoutError, Member, Plan},
    view::{Change, View},
};

/// How many commands one change carries out at most.
const MAX_COMMANDS: usize = 8;

/// What becomes of a wish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The next layout carries it out.
    Next,
    /// The next layout is full: it is the one after that.
    Later,
    /// So many partitions, for each of these `n`, have too few living owners to change (L3): it waits for them, or for
    /// an operator who accepts the loss.
    Blocked(Vec<(u8, usize)>),
    /// A node wishes by itself for the place of this one, which is not suspected any more: that evicts nobody.
    Lives(NodeId),
    /// The layout refuses it for now.
    Refused(LayoutError),
    /// It is settled, moot or taken back.
    Done,
}

/// What a list of wishes would do to the layout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outlook {
    /// The wishes in the order in which they are tried, each with what becomes of it.
    pub fates: Vec<(Staged, Fate)>,
    /// The layout that comes out; the present one, if nothing applies.
    pub next: Arc<Layout>,
    /// What moves, and where zones fall short.
    pub plan: Plan,
    /// For each `n` how many partitions would keep no owner that lives now: nobody could bring the new ones up to date.
    pub orphaned: Vec<(u8, usize)>,
    /// For each `n` how many partitions have too few living owners for their owners to change (L3).
    pub thin: Vec<(u8, usize)>,
}

/// The commands that are carried out next, and what becomes of every wish.
struct Selection {
    commands: Vec<Staged>,
    withdrawn: Vec<u128>,
    fates: Vec<(Staged, Fate)>,
    next: Option<Layout>,
}

impl Membership {
    /// The owner that a wish names as lost (L3) and that this node has no reason to think dead.
    ///
    /// To name one that lives gives up what it was promised: a strict read that it answers by itself may be stale.
    pub fn names_a_living_owner(&self, wish: &Wish) -> Option<NodeId> {
        let Wish::Change { command, accept_loss: true } = wish else { return None };
        taken_out(command).filter(|node| !self.detector.suspects(*node))
    }

    /// What these wishes would do to the layout that follows the change under way. `None` before there is a view.
    ///
    /// Whether owners live is this node's opinion.
    pub fn outlook(&self, wishes: &[Staged]) -> Option<Outlook> {
        let view = self.view()?;
        let suspected = self.suspected();
        let present = view.next().unwrap_or(view.layout());
        let Selection { fates, next, .. } = select(view, present, wishes, &suspected);
        let next = next.map_or_else(|| present.clone(), Arc::new);
        let plan = Plan::new(present, &next);
        let orphaned = orphaned(present, &next, &suspected);
        let thin = Plan::thin(present, &suspected);
        Some(Outlook { fates, next, plan, orphaned, thin })
    }
}

/// For each size how many partitions keep none of their living owners.
fn orphaned(before: &Layout, after: &Layout, dead: &[NodeId]) -> Vec<(u8, usize)> {
    let count = |n: u8| {
        let stays = |node: NodeId, partition| after.owns(node, partition, n);
        let is_orphan = |partition: &_| {
            let owners = before.owners(*partition).take(usize::from(n));
            let mut living = owners.filter(|owner| !dead.contains(owner));
            !living.any(|owner| stays(owner, *partition))
        };
        (n, before.partitions().iter().filter(is_orphan).count())
    };
    before.sizes().into_iter().map(count).filter(|(_, count)| *count > 0).collect()
}

/// The decree that the staged wishes call for in a single view: all commands that apply, one after the other. `None` if
/// nothing is to be done now.
///
/// A command that takes out a dead owner waits while too few owners of some partition live, unless its loss is
/// accepted. A wish that is taken back before it was carried out is settled by a decree too, so that nobody
/// carries it out later.
pub(crate) fn next_change(view: &View, staged: &[Staged], suspected: &[NodeId]) -> Option<Decree> {
    if staged.is_empty() {
        return None;
    }
    let Selection { commands, withdrawn, .. } = select(view, view.layout(), staged, suspected);
    let is_due = !commands.is_empty() || !withdrawn.is_empty();
    let reaped = view.reaped();
    is_due.then(|| Decree::Joint { commands: commands.into(), withdrawn: withdrawn.into(), reaped })
}

/// Tries wishes, the older first, on a layout.
fn select(view: &View, layout: &Layout, staged: &[Staged], suspected: &[NodeId]) -> Selection {
    let mut staged = staged.to_vec();
    staged.sort_unstable_by_key(|staged| (staged.base, staged.id));
    let ids: Vec<u128> = staged.iter().map(|staged| staged.id).collect();
    let back = staged.iter().filter(|staged| !is_settled(view, staged)).filter_map(|staged| {
        withdraws(staged).filter(|id| ids.contains(id)).map(|id| [staged.id, id])
    });
    let withdrawn: Vec<u128> = back.flatten().collect();
    let thin = Plan::thin(layout, suspected);
    let mut selection =
        Selection { commands: Vec::new(), withdrawn, fates: Vec::new(), next: None };
    for staged in staged {
        let amends = names_leaver(view, &staged, suspected);
        let fate = if amends && !selection.withdrawn.contains(&staged.id) {
            Fate::Next
        } else {
            selection.take(view, layout, &staged, (&thin, suspected))
        };
        selection.fates.push((staged, fate));
    }
    selection
}

impl Selection {
    fn take(
        &mut self,
        view: &View,
        on: &Layout,
        staged: &Staged,
        (thin, suspected): (&[(u8, usize)], &[NodeId]),
    ) -> Fate {
        let Wish::Change { command, accept_loss } = &staged.wish else { return Fate::Done };
        if is_settled(view, staged) || is_moot(on, command) || self.withdrawn.contains(&staged.id) {
            return Fate::Done;
        }
        let evicts = own_replacement(staged).filter(|old| !suspected.contains(old));
        if let Some(old) = evicts {
            return Fate::Lives(old);
        }
        if !accept_loss && !thin.is_empty() && taken_out(command).is_some() {
            return Fate::Blocked(thin.to_vec());
        }
        if self.commands.len() == MAX_COMMANDS {
            return Fate::Later;
        }
        let mut commands: Vec<Command> = self.commands.iter().filter_map(command_of).collect();
        commands.push(command.clone());
        match with_last(on, &commands, self.next.as_ref().unwrap_or(on), *accept_loss) {
            Ok(next) => {
                self.commands.push(staged.clone());
                self.next = Some(next);
                Fate::Next
            }
            Err(why) => Fate::Refused(why),
        }
    }
}

/// Whether a wish names as lost a node that the change under way takes out already (L3): it died as an owner of the older
/// layout, and the change may be unable to finish without it.
fn names_leaver(view: &View, staged: &Staged, suspected: &[NodeId]) -> bool {
    let change = view.change();
    let named = names_loss_only(&change.commands, staged);
    named.is_some_and(|node| suspected.contains(&node) && !view.names_lost(node))
        && !is_settled(view, staged)
}

/// The decree that amends the change under way (L3): one of its commands is taken back, a node that it counts on is
/// to be taken out because it is dead, or one that it takes out is named as lost.
///
/// A node that the change would have made a member drains: see [`View::joint`].
pub(crate) fn amendment(view: &View, staged: &[Staged], suspected: &[NodeId]) -> Option<Decree> {
    let next = view.next()?;
    let fresh = || staged.iter().filter(|staged| !is_settled(view, staged));
    let carried_out = &view.change().commands;
    let is_under_way = |id| carried_out.iter().any(|staged| staged.id == id);
    // What is taken back before it was carried out is settled in the next single view.
    let is_taken_back = |id| fresh().any(|staged| withdraws(staged) == Some(id));
    let withdrawals = fresh()
        .filter_map(|staged| Some((staged.id, withdraws(staged)?)))
        .filter(|(_, id)| is_under_way(*id));
    let (settled, taken_back): (Vec<u128>, Vec<u128>) = withdrawals.unzip();
    let thin = Plan::thin(view.layout(), suspected);
    let additions = fresh().filter(|staged| {
        let Wish::Change { command, accept_loss } = &staged.wish else { return false };
        let dead = |node: &NodeId| suspected.contains(node) && next.member(*node).is_some();
        let removes =
            taken_out(command).filter(dead).is_some() && (*accept_loss || thin.is_empty());
        (removes || names_leaver(view, staged, suspected)) && !is_taken_back(staged.id)
    });
    let additions: Vec<&Staged> = additions.collect();
    if taken_back.is_empty() && additions.is_empty() {
        return None;
    }
    let mut commands: Vec<Staged> = Vec::new();
    for staged in carried_out.iter().filter(|staged| !taken_back.contains(&staged.id)) {
        push_if_it_applies(view.layout(), &mut commands, staged);
    }
    let kept = commands.len();
    for staged in additions {
        push_if_it_applies(view.layout(), &mut commands, staged);
    }
    let changes_something = !taken_back.is_empty() || commands.len() > kept;
    changes_something.then(|| Decree::Joint {
        commands: commands.into(),
        withdrawn: settled.into(),
        reaped: view.reaped(),
    })
}

/// Appends a command if the layout takes it after those before it.
fn push_if_it_applies(layout: &Layout, commands: &mut Vec<Staged>, staged: &Staged) {
    commands.push(staged.clone());
    if next_layout(layout, commands).is_err() {
        commands.pop();
    }
}

/// The id of a wish of a node's own: always the same for the same command.
pub(crate) fn own_id(command: &Command) -> u128 {
    xxh3_128(command.to_string().as_bytes())
}

/// Whom a node wishes to replace by itself: it found that one suspected when it wished so.
fn own_replacement(staged: &Staged) -> Option<NodeId> {
    let Wish::Change { command, .. } = &staged.wish else { return None };
    let Command::Replace { old, .. } = command else { return None };
    (own_id(command) == staged.id).then_some(*old)
}

/// The nodes that a wish is about.
pub(crate) fn names(staged: &Staged) -> [Option<NodeId>; 2] {
    let Wish::Change { command, .. } = &staged.wish else { return [None; 2] };
    match command {
        Command::Join(member) => [Some(member.id), None],
        Command::Replace { old, new } => [Some(*old), Some(new.id)],
        Command::Leave(id)
        | Command::Remove(id)
        | Command::Forget(id)
        | Command::Weight(id, _)
        | Command::Zone(id, _)
        | Command::Address(id, _) => [Some(*id), None],
        Command::BucketCreate(_) | Command::BucketSet { .. } => [None; 2],
    }
}

/// Whether nothing is to be done for a wish any more: a decree settled it in this view or before, it is moot, or it is too
/// old to know. All nodes that go by a view agree on this, so gossip does not bring back what one of them drops.
pub(crate) fn is_settled(view: &View, staged: &Staged) -> bool {
    let settled = &view.change().settled;
    let is_old = staged.base.saturating_add(Staged::TOO_OLD) <= view.layout().number();
    // As long as all that was settled is remembered, it is known that this was not.
    let too_old = is_old && settled.len() >= Change::MAX_SETTLED;
    let is_over = match &staged.wish {
        Wish::Change { command, .. } => is_moot(view.layout(), command),
        Wish::Withdraw(id) => {
            let mut under_way = view.change().commands.iter();
            settled.contains(id) && !under_way.any(|staged| staged.id == *id)
        }
    };
    too_old || is_over || settled.contains(&staged.id)
}

/// Whether the layout makes a command pointless: what it asks for is so, or can never be, since a node that went does
/// not return.
fn is_moot(layout: &Layout, command: &Command) -> bool {
    let has_gone = |id: NodeId| layout.lists(id) && layout.member(id).is_none();
    let is = |id: NodeId, has: &dyn Fn(&Member) -> bool| {
        has_gone(id) || layout.member(id).is_some_and(has)
    };
    match command {
        Command::Join(member) => layout.lists(member.id),
        Command::Leave(id) | Command::Remove(id) => has_gone(*id),
        Command::Replace { old, new } => has_gone(*old) || layout.lists(new.id),
        Command::Forget(id) => !layout.lists(*id),
        Command::Weight(id, weight) => is(*id, &|member| member.weight == *weight),
        Command::Zone(id, zone) => is(*id, &|member| member.zone == *zone),
        Command::Address(id, address) => is(*id, &|member| member.address == *address),
        Command::BucketCreate(bucket) => layout.bucket(&bucket.name) == Some(bucket),
        Command::BucketSet { name, r, w } => {
            layout.bucket(name).is_some_and(|bucket| (bucket.r, bucket.w) == (*r, *w))
        }
    }
}

fn command_of(staged: &Staged) -> Option<Command> {
    match &staged.wish {
        Wish::Change { command, .. } => Some(command.clone()),
        Wish::Withdraw(_) => None,
    }
}

fn withdraws(staged: &Staged) -> Option<u128> {
    match staged.wish {
        Wish::Withdraw(id) => Some(id),
        Wish::Change { .. } => None,
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next => f.write_str("is carried out next"),
            Self::Later => f.write_str("waits for the next change"),
            Self::Blocked(thin) => {
                f.write_str("blocked: too few living owners of")?;
                for (at, (n, count)) in thin.iter().enumerate() {
                    let and = if at > 0 { " and" } else { "" };
                    write!(f, "{and} {count} partitions with n={n}")?;
                }
                Ok(())
            }
            Self::Lives(old) => write!(f, "waits: {old} is not suspected any more"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Done => f.write_str("done"),
        }
    }
}
