//! Changes: what the staged wishes make of a view, and when a change may finish (rules L0 and L3).

use alloc::{sync::Arc, vec::Vec};

use crate::{
    bucket::Bucket,
    id::NodeId,
    layout::{Command, Layout, Plan},
    membership::{
        message::{Decree, Staged, Wish},
        roster::Roster,
    },
    rules::{Mutant, Rules},
    view::{Change, View, ViewId},
};

/// The view that a decree makes of the one that it follows; `None` if it makes none, which is a peer's fault.
pub(crate) fn outcome(view: &View, decree: &Decree) -> Option<View> {
    match decree {
        Decree::Finish => view.finished(),
        Decree::Joint { commands, withdrawn } => {
            let ids = commands.iter().map(|staged| staged.id).chain(withdrawn.iter().copied());
            let mut settled: Vec<u128> = view.change().settled.to_vec();
            settled.extend(ids);
            let too_many = settled.len().saturating_sub(Change::MAX_SETTLED);
            settled.drain(..too_many);
            let (changes, accept_loss) = changes(commands);
            let next = view.layout().step(&changes, accept_loss).ok()?;
            let accepted_losses = losses(commands);
            let commands = commands.clone();
            let change = Change { accepted_losses, commands, settled: settled.into() };
            Some(view.joint(view.id().decree + 1, Arc::new(next), change))
        }
    }
}

/// The commands, and whether any loss is accepted.
fn changes(staged: &[Staged]) -> (Vec<Command>, bool) {
    let changes = staged.iter().filter_map(|staged| match &staged.wish {
        Wish::Change { command, accept_loss } => Some((command.clone(), *accept_loss)),
        Wish::Withdraw(_) => None,
    });
    let (commands, accepts): (Vec<Command>, Vec<bool>) = changes.unzip();
    (commands, accepts.contains(&true))
}

/// The owners that the operator named as lost.
fn losses(staged: &[Staged]) -> Arc<[NodeId]> {
    let lost = staged.iter().filter_map(|staged| match &staged.wish {
        Wish::Change { command, accept_loss: true } => taken_out(command),
        Wish::Change { .. } | Wish::Withdraw(_) => None,
    });
    let mut lost: Vec<NodeId> = lost.collect();
    lost.sort_unstable();
    lost.dedup();
    lost.into()
}

/// The dead node that a command takes out.
fn taken_out(command: &Command) -> Option<NodeId> {
    match command {
        Command::Remove(old) | Command::Replace { old, .. } => Some(*old),
        Command::Join(_)
        | Command::Leave(_)
        | Command::Forget(_)
        | Command::Weight(..)
        | Command::Zone(..)
        | Command::Address(..)
        | Command::BucketCreate(_)
        | Command::BucketSet { .. } => None,
    }
}

/// The decree that the staged wishes call for in a single view: all commands that apply, one after the other; those
/// that do not any more are settled without. `None` if nothing is to be done now.
///
/// A command that takes out a dead owner waits while too few owners of some partition live, unless its loss is accepted.
pub(crate) fn next_change(
    view: &View,
    staged: &[Staged],
    is_suspected: impl Fn(NodeId) -> bool,
) -> Option<Decree> {
    let fresh = || staged.iter().filter(|staged| !is_settled(view, staged));
    let mut withdrawn: Vec<u128> = fresh().filter_map(withdraws).collect();
    let taken_back = |staged: &Staged| withdrawn.contains(&staged.id);
    let mut commands: Vec<Staged> = Vec::new();
    let mut obsolete = Vec::new();
    for staged in fresh().filter(|staged| !taken_back(staged)) {
        let Wish::Change { command, accept_loss } = &staged.wish else {
            obsolete.push(staged.id);
            continue;
        };
        let dead = taken_out(command).filter(|_| !accept_loss);
        if dead.is_some_and(|_| is_blocked(view.layout(), &is_suspected)) {
            continue;
        }
        commands.push(staged.clone());
        let (changes, accept) = changes(&commands);
        if view.layout().step(&changes, accept).is_err() {
            commands.pop();
            obsolete.push(staged.id);
        }
        if commands.len() == MAX_COMMANDS {
            break;
        }
    }
    withdrawn.extend(obsolete);
    // What does not apply is settled together with what does; alone it is not worth a change.
    (!commands.is_empty())
        .then(|| Decree::Joint { commands: commands.into(), withdrawn: withdrawn.into() })
}

/// How many commands one change carries out at most.
const MAX_COMMANDS: usize = 8;

/// Whether the dead block every change of owners (L3): some partition has too few living owners.
pub(crate) fn is_blocked(layout: &Layout, is_suspected: impl Fn(NodeId) -> bool) -> bool {
    let members = layout.members().iter().map(|member| member.id);
    let dead: Vec<NodeId> = members.filter(|node| is_suspected(*node)).collect();
    !Plan::thin(layout, &dead).is_empty()
}

/// The decree that amends the change under way, if one of its commands is taken back.
pub(crate) fn amendment(view: &View, staged: &[Staged]) -> Option<Decree> {
    let wishes = staged.iter().filter(|staged| !is_settled(view, staged));
    let withdrawn: Vec<u128> = wishes.clone().filter_map(withdraws).collect();
    let carried_out = &view.change().commands;
    let left = carried_out.iter().filter(|staged| !withdrawn.contains(&staged.id));
    let left: Arc<[Staged]> = left.cloned().collect();
    let ids = wishes.filter(|staged| withdraws(staged).is_some()).map(|staged| staged.id);
    (left.len() < carried_out.len())
        .then(|| Decree::Joint { commands: left, withdrawn: ids.collect() })
}

/// Whether a wish was settled by this view or one before it, or is too old to know.
pub(crate) fn is_settled(view: &View, staged: &Staged) -> bool {
    let too_old = staged.base + Staged::TOO_OLD <= view.layout().number();
    too_old || view.change().settled.contains(&staged.id)
}

fn withdraws(staged: &Staged) -> Option<u128> {
    match staged.wish {
        Wish::Withdraw(id) => Some(id),
        Wish::Change { .. } => None,
    }
}

/// Who must have caught up before the change of a joint view may finish.
pub(crate) fn who_must_catch_up(view: &View) -> Vec<NodeId> {
    let Some(next) = view.next() else { return Vec::new() };
    let must = |node: &NodeId| {
        let sizes = view.layout().sizes();
        let mut places = sizes.iter().flat_map(|n| view.partitions().iter().map(move |p| (p, *n)));
        places.any(|(partition, n)| view.must_catch_up(*node, partition, n))
    };
    next.members().iter().map(|member| member.id).filter(must).collect()
}

/// Whether the change of a joint view may finish (L3): everybody has caught up who must, and of every
/// partition enough owners in the older layout go by the joint view, so that no strict read that
/// counts by the older layout alone can be answered any more.
pub(crate) fn may_finish(view: &View, must: &[NodeId], roster: &Roster, rules: Rules) -> bool {
    let has_caught_up = |node: &NodeId| {
        let keeps = rules.keeps(Mutant::AmendKeepsProgress);
        let counts =
            |seen: ViewId| seen >= view.id() || (!keeps && seen.layout == view.id().layout);
        roster.row(*node).is_some_and(|row| row.caught_up.is_some_and(counts))
    };
    if view.next().is_none() || !must.iter().all(has_caught_up) {
        return false;
    }
    let is_in = |node: &NodeId| {
        let named = view.change().accepted_losses.binary_search(node).is_ok();
        named || roster.row(*node).is_some_and(|row| row.view >= Some(view.id()))
    };
    !rules.keeps(Mutant::FinishUnseen)
        || view.layout().sizes().into_iter().all(|n| {
            let strict_r = least_quorum(view, n, |bucket| bucket.strict_r);
            view.partitions().iter().all(|partition| {
                let owners = view.owners(partition, n);
                let needed = (owners.len() + 1).saturating_sub(strict_r).max(1);
                owners.iter().filter(|owner| is_in(owner)).count() >= needed
            })
        })
}

/// The smallest quorum of the buckets of a size.
pub(crate) fn least_quorum(view: &View, n: u8, quorum: impl Fn(&Bucket) -> u8) -> usize {
    let buckets = view.layout().buckets().iter().filter(|bucket| bucket.n == n);
    buckets.map(quorum).min().unwrap_or(n).into()
}
