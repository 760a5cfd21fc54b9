//! What operators wish for, as the core takes it: names, addresses and numbers are checked here.

use std::sync::Arc;

use cartwheel_protocol::{
    bucket::{Bucket, BucketName, Conflict, Kind, Spread},
    id::{NodeId, Zone},
    layout::{Command, Member},
    membership,
};

use super::{NewWish, Wish};
use crate::{
    service::{BucketEntry, Seat},
    values::new_wish_id,
};

impl NewWish {
    /// A wish under a new id.
    pub fn new(wish: Wish, accept_loss: bool) -> Self {
        Self { id: new_wish_id(), wish, accept_loss }
    }
}

impl Wish {
    /// The same for the core.
    ///
    /// # Errors
    /// What makes no sense, and what is allowed.
    pub fn to_core(&self, accept_loss: bool) -> Result<membership::Wish, String> {
        let command = match self {
            Self::Withdraw(id) => return Ok(membership::Wish::Withdraw(*id)),
            Self::Join(seat) => Command::Join(member(seat)?),
            Self::Leave(node) => Command::Leave(NodeId(*node)),
            Self::Remove(node) => Command::Remove(NodeId(*node)),
            Self::Replace { old, new } => Command::Replace { old: NodeId(*old), new: member(new)? },
            Self::Forget(node) => Command::Forget(NodeId(*node)),
            Self::Weight(node, weight) => Command::Weight(NodeId(*node), *weight),
            Self::Zone(node, zone) => Command::Zone(NodeId(*node), self::zone(zone)?),
            Self::Address(node, address) => {
                Command::Address(NodeId(*node), self::address(address)?)
            }
            Self::BucketCreate(entry) => Command::BucketCreate(bucket(entry)?),
            Self::BucketSet { name, r, w } => {
                Command::BucketSet { name: bucket_name(name)?, r: *r, w: *w }
            }
        };
        Ok(membership::Wish::Change { command, accept_loss })
    }
}

fn member(seat: &Seat) -> Result<Member, String> {
    let is_name = |name: &str| (1..=64).contains(&name.len()) && !name.contains(char::is_control);
    if !is_name(&seat.name) {
        return Err(format!("{:?} is no node's name: 1 to 64 bytes", seat.name));
    }
    Ok(Member {
        id: NodeId(seat.node),
        name: seat.name.as_str().into(),
        address: address(&seat.address)?,
        zone: zone(&seat.zone)?,
        weight: seat.weight,
    })
}

fn address(text: &str) -> Result<Arc<str>, String> {
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(_) if text.len() <= 255 => Ok(text.into()),
        Some(_) | None => Err(format!("{text:?} is no address; allowed is HOST:PORT")),
    }
}

fn zone(text: &str) -> Result<Zone, String> {
    if (1..=64).contains(&text.len()) {
        Ok(Zone(text.into()))
    } else {
        Err(format!("{text:?} is no zone's name: 1 to 64 bytes"))
    }
}

fn bucket_name(name: &str) -> Result<BucketName, String> {
    BucketName::new(name)
        .ok_or_else(|| format!("{name:?} is no bucket's name: 1 to 64 of a-z, 0-9, - and _"))
}

fn bucket(entry: &BucketEntry) -> Result<Bucket, String> {
    let bucket = Bucket {
        name: bucket_name(&entry.name)?,
        n: entry.n,
        kind: if entry.is_cart { Kind::Cart } else { Kind::Register },
        conflict: if entry.is_last_write_wins {
            Conflict::LastWriteWins
        } else {
            Conflict::Siblings
        },
        spread: if entry.is_spread_over_zones { Spread::Zone } else { Spread::Node },
        strict_r: entry.strict_r,
        strict_w: entry.strict_w,
        cancelled_bound: entry.cancelled_bound,
        r: entry.r,
        w: entry.w,
    };
    bucket.check().map_err(|error| format!("bucket {}: {error}", entry.name))?;
    Ok(bucket)
}
