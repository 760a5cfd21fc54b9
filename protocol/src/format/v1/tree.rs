//! Parts of trees, as messages carry them.

use alloc::{sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    DecodeError,
    key::{self, Key},
    primitive::Id128,
};
use crate::{
    anti_entropy::Differing as LiveDiffering,
    key::Key as LiveKey,
    object::Digest,
    trees::{Branch as LiveBranch, Sum},
};

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Branch {
    depth: u8,
    digits: u16,
}

/// A branch and the sums of its children.
pub(super) type Differing = (Branch, Vec<(u8, Id128)>);

pub(super) fn branch(branch: LiveBranch) -> Branch {
    Branch { depth: branch.depth, digits: branch.digits }
}

fn into_branch(branch: Branch) -> Result<LiveBranch, DecodeError> {
    LiveBranch::new(branch.depth, branch.digits)
        .ok_or(DecodeError::Invalid("a tree has no such branch"))
}

pub(super) fn into_branches(branches: Vec<Branch>) -> Result<Arc<[LiveBranch]>, DecodeError> {
    branches.into_iter().map(into_branch).collect()
}

pub(super) fn sums(sums: &[(LiveBranch, Sum)]) -> Vec<(Branch, Id128)> {
    sums.iter().map(|(at, sum)| (branch(*at), Id128(sum.0))).collect()
}

pub(super) fn into_sums(
    sums: Vec<(Branch, Id128)>,
) -> Result<Arc<[(LiveBranch, Sum)]>, DecodeError> {
    sums.into_iter().map(|(at, sum)| Ok((into_branch(at)?, Sum(sum.0)))).collect()
}

pub(super) fn differing(differing: &[LiveDiffering]) -> Vec<Differing> {
    let children = |sums: &[(u8, Sum)]| {
        sums.iter().map(|(digit, sum)| (*digit, Id128(sum.0))).collect::<Vec<_>>()
    };
    differing.iter().map(|(at, sums)| (branch(*at), children(sums))).collect()
}

pub(super) fn into_differing(
    differing: Vec<Differing>,
) -> Result<Arc<[LiveDiffering]>, DecodeError> {
    let children = |sums: Vec<(u8, Id128)>| {
        sums.into_iter().map(|(digit, sum)| (digit, Sum(sum.0))).collect::<Arc<[_]>>()
    };
    differing.into_iter().map(|(at, sums)| Ok((into_branch(at)?, children(sums)))).collect()
}

pub(super) fn keys(keys: &[(LiveKey, Digest)]) -> Vec<(Key<'_>, Id128)> {
    keys.iter().map(|(key, digest)| (key::key(key), Id128(digest.0))).collect()
}

pub(super) fn into_keys(
    keys: &[(Key<'_>, Id128)],
) -> Result<Arc<[(LiveKey, Digest)]>, DecodeError> {
    keys.iter().map(|(key, digest)| Ok((key::into_key(key)?, Digest(digest.0)))).collect()
}
