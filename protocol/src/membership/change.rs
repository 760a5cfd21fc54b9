//! Changes: what a decree makes of a view, and when a change may finish (rules L0 and L3).

use alloc::{sync::Arc, vec::Vec};

use crate::{
    bucket::Bucket,
    id::NodeId,
    layout::{Command, Layout, LayoutError},
    membership::message::{Decree, Staged, Wish},
    rules::{Mutant, Rules},
    view::{Change, View, ViewId},
};

/// How far a node has said that it is: claims that stay true whatever becomes of it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Progress {
    /// The least view of its shards.
    pub view: Option<ViewId>,
    /// The newest joint view in which it had caught up with all that it must.
    pub caught_up: Option<ViewId>,
}

/// The view that a decree makes of the one that it follows; `None` if it makes none, which is a peer's fault.
pub fn outcome(view: &View, decree: &Decree) -> Option<View> {
    match decree {
        Decree::Finish => view.finished(),
        Decree::Joint { commands, withdrawn, reaped } => {
            let ids = commands.iter().map(|staged| staged.id).chain(withdrawn.iter().copied());
            let mut settled: Vec<u128> = view.change().settled.to_vec();
            settled.extend(ids);
            let too_many = settled.len().saturating_sub(Change::MAX_SETTLED);
            settled.drain(..too_many);
            let next = next_layout(view.layout(), commands).ok()?;
            let accepted_losses = losses(commands);
            let commands = commands.clone();
            let change = Change { accepted_losses, commands, settled: settled.into() };
            Some(view.joint(view.id().decree + 1, Arc::new(next), change, *reaped))
        }
    }
}

/// The layout that these wishes make of the present one. A wish that only names a loss makes none. Each other one must keep the zones that the layout had with those before it,
/// unless it accepts their loss itself: that an operator accepts what one command costs says nothing of the others.
pub(crate) fn next_layout(present: &Layout, staged: &[Staged]) -> Result<Layout, LayoutError> {
    let mut commands = Vec::new();
    let mut last: Option<Layout> = None;
    for (at, wish) in staged.iter().enumerate() {
        let Wish::Change { command, accept_loss } = &wish.wish else { continue };
        let accept_loss = *accept_loss;
        if names_loss_only(&staged[..at], wish).is_some() {
            continue;
        }
        commands.push(command.clone());
        let before = last.as_ref().unwrap_or(present);
        last = Some(with_last(present, &commands, before, accept_loss)?);
    }
    last.map_or_else(|| present.step(&[], true), Ok)
}

/// The layout with one command more; `before` is that without it.
pub(crate) fn with_last(
    present: &Layout,
    commands: &[Command],
    before: &Layout,
    accept_loss: bool,
) -> Result<Layout, LayoutError> {
    let next = present.step(commands, true)?;
    if !accept_loss {
        next.check_zones(before)?;
    }
    Ok(next)
}

/// The node that a wish does no more than name as lost (L3), after these wishes of the same change: they take it out already.
pub(crate) fn names_loss_only(before: &[Staged], wish: &Staged) -> Option<NodeId> {
    let Wish::Change { command, accept_loss: true } = &wish.wish else { return None };
    let node = taken_out(command)?;
    let mut before = before.iter().filter_map(|staged| match &staged.wish {
        Wish::Change { command, .. } => Some(command),
        Wish::Withdraw(_) => None,
    });
    let is_removal = *command == Command::Remove(node);
    let takes_it =
        |other: &Command| *other == Command::Leave(node) || taken_out(other) == Some(node);
    before.any(|other| other == command || is_removal && takes_it(other)).then_some(node)
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
pub(crate) fn taken_out(command: &Command) -> Option<NodeId> {
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

/// Who must have caught up before the change of a joint view may finish.
pub fn who_must_catch_up(view: &View) -> Vec<NodeId> {
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
/// counts by the older layout alone can be answered any more. Whether the view was raised meanwhile
/// does not matter: strict writes count in both layouts in every view of the era.
///
/// `must` is what [`who_must_catch_up`] gives, and `progress` what is known of a node.
pub fn may_finish(
    view: &View,
    must: &[NodeId],
    progress: impl Fn(NodeId) -> Progress,
    rules: Rules,
) -> bool {
    let era = view.id().era();
    let has_caught_up = |node: &NodeId| {
        let keeps = rules.keeps(Mutant::AmendKeepsProgress);
        let counts = |seen: ViewId| seen.era() >= era || (!keeps && seen.layout == era.layout);
        progress(*node).caught_up.is_some_and(counts)
    };
    if view.next().is_none() || !must.iter().all(has_caught_up) {
        return false;
    }
    let is_in = |node: &NodeId| {
        view.names_lost(*node) || progress(*node).view.is_some_and(|seen| seen.era() >= era)
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
