//! Staged wishes and decrees.

use alloc::{sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    DecodeError, key,
    layout::{self, Bucket, Member},
    primitive::{Id128, Random64},
    reap::{self, Reaped},
};
use crate::{
    id::{NodeId, Zone},
    layout::Command as LiveCommand,
    membership::{
        Ballot as LiveBallot, Decree as LiveDecree, Staged as LiveStaged, Wish as LiveWish,
    },
};

#[derive(Deserialize, Serialize)]
enum Command<'a> {
    Join(#[serde(borrow)] Member<'a>),
    Leave(Random64),
    Remove(Random64),
    Replace {
        old: Random64,
        #[serde(borrow)]
        new: Member<'a>,
    },
    Forget(Random64),
    Weight(Random64, u32),
    Zone(Random64, &'a str),
    Address(Random64, &'a str),
    BucketCreate(#[serde(borrow)] Bucket<'a>),
    BucketSet {
        name: &'a str,
        r: u8,
        w: u8,
    },
}

#[derive(Deserialize, Serialize)]
enum Wish<'a> {
    Change {
        #[serde(borrow)]
        command: Command<'a>,
        accept_loss: bool,
    },
    Withdraw(Id128),
}

#[derive(Deserialize, Serialize)]
pub(super) struct Staged<'a> {
    id: Id128,
    base: u64,
    #[serde(borrow)]
    wish: Wish<'a>,
}

#[derive(Deserialize, Serialize)]
pub(super) enum Decree<'a> {
    Joint {
        #[serde(borrow)]
        commands: Vec<Staged<'a>>,
        withdrawn: Vec<Id128>,
        reaped: Reaped,
    },
    Finish,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Ballot {
    round: u64,
    proposer: Random64,
}

pub(super) fn ballot(ballot: LiveBallot) -> Ballot {
    Ballot { round: ballot.round, proposer: Random64(ballot.proposer) }
}

pub(super) fn into_ballot(ballot: Ballot) -> LiveBallot {
    LiveBallot { round: ballot.round, proposer: ballot.proposer.0 }
}

pub(super) fn staged(staged: &LiveStaged) -> Staged<'_> {
    let wish = match &staged.wish {
        LiveWish::Change { command: live, accept_loss } => {
            Wish::Change { command: command(live), accept_loss: *accept_loss }
        }
        LiveWish::Withdraw(id) => Wish::Withdraw(Id128(*id)),
    };
    Staged { id: Id128(staged.id), base: staged.base, wish }
}

pub(super) fn into_staged(staged: &Staged<'_>) -> Result<LiveStaged, DecodeError> {
    let wish = match &staged.wish {
        Wish::Change { command, accept_loss } => {
            LiveWish::Change { command: into_command(command)?, accept_loss: *accept_loss }
        }
        Wish::Withdraw(id) => LiveWish::Withdraw(id.0),
    };
    Ok(LiveStaged { id: staged.id.0, base: staged.base, wish })
}

pub(super) fn decree(decree: &LiveDecree) -> Decree<'_> {
    match decree {
        LiveDecree::Joint { commands, withdrawn, reaped } => Decree::Joint {
            commands: commands.iter().map(staged).collect(),
            withdrawn: withdrawn.iter().map(|id| Id128(*id)).collect(),
            reaped: reap::reaped(*reaped),
        },
        LiveDecree::Finish => Decree::Finish,
    }
}

pub(super) fn into_decree(decree: &Decree<'_>) -> Result<LiveDecree, DecodeError> {
    Ok(match decree {
        Decree::Joint { commands, withdrawn, reaped } => LiveDecree::Joint {
            commands: commands.iter().map(into_staged).collect::<Result<Arc<[_]>, _>>()?,
            withdrawn: withdrawn.iter().map(|id| id.0).collect(),
            reaped: reap::into_reaped(*reaped),
        },
        Decree::Finish => LiveDecree::Finish,
    })
}

fn command(command: &LiveCommand) -> Command<'_> {
    let id = |id: &NodeId| Random64(id.0);
    match command {
        LiveCommand::Join(member) => Command::Join(layout::member(member)),
        LiveCommand::Leave(node) => Command::Leave(id(node)),
        LiveCommand::Remove(node) => Command::Remove(id(node)),
        LiveCommand::Replace { old, new } => {
            Command::Replace { old: id(old), new: layout::member(new) }
        }
        LiveCommand::Forget(node) => Command::Forget(id(node)),
        LiveCommand::Weight(node, weight) => Command::Weight(id(node), *weight),
        LiveCommand::Zone(node, zone) => Command::Zone(id(node), &zone.0),
        LiveCommand::Address(node, address) => Command::Address(id(node), address),
        LiveCommand::BucketCreate(bucket) => Command::BucketCreate(layout::bucket(bucket)),
        LiveCommand::BucketSet { name, r, w } => {
            Command::BucketSet { name: name.as_str(), r: *r, w: *w }
        }
    }
}

fn into_command(command: &Command<'_>) -> Result<LiveCommand, DecodeError> {
    let id = |id: &Random64| NodeId(id.0);
    Ok(match command {
        Command::Join(member) => LiveCommand::Join(layout::into_member(member)),
        Command::Leave(node) => LiveCommand::Leave(id(node)),
        Command::Remove(node) => LiveCommand::Remove(id(node)),
        Command::Replace { old, new } => {
            LiveCommand::Replace { old: id(old), new: layout::into_member(new) }
        }
        Command::Forget(node) => LiveCommand::Forget(id(node)),
        Command::Weight(node, weight) => LiveCommand::Weight(id(node), *weight),
        Command::Zone(node, zone) => LiveCommand::Zone(id(node), Zone((*zone).into())),
        Command::Address(node, address) => LiveCommand::Address(id(node), (*address).into()),
        Command::BucketCreate(bucket) => LiveCommand::BucketCreate(layout::into_bucket(bucket)?),
        Command::BucketSet { name, r, w } => {
            LiveCommand::BucketSet { name: key::bucket_name(name)?, r: *r, w: *w }
        }
    })
}
