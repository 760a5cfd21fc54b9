//! Anti-entropy: owners compare their trees and mend what differs (paper §4.7).
//!
//! One partition and one partner at a time, in rotation, with a pause in between. Who begins sends the root's sum. Where the
//! partner's is the same, a small answer ends it. Else the sums of the children come back, those that differ are compared in
//! turn, and what lies under leaves that differ is gone through in the order of the keys, page by page: who began tells
//! what it holds by digests, and gets the objects that it lacks and the names of what the partner lacks. Both sides
//! merge (V5), so it is safe between any views; only owners take part, for what a fallback holds is hints.
//!
//! The partner keeps nothing of an exchange. Trees that differ where no key does are wrong, here or there: the own ones are built
//! again, and the partner finds the same when it begins.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use crate::{
    env::Env,
    hints::{self, Absorbed},
    id::NodeId,
    key::{Key, Partition, RecordKey},
    message::Body,
    object::{Digest, Object},
    record::{Storage, Stored},
    step::{Compared, Effect, Fact, Timer},
    trees::{Branch, Here, Sum, Tree, TreeId, Trees},
};

/// What a shard compares: one exchange at a time.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct AntiEntropy {
    /// The tree and the partner that had their turn last.
    last: Option<(TreeId, NodeId)>,
    open: Option<Exchange>,
}

/// An exchange under way, with the last pair.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Exchange {
    /// The own root when it began.
    root: Sum,
    /// How many keys were found to differ.
    found: u32,
    stage: Stage,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Stage {
    /// The sums of branches of this depth were sent. Leaves that differ so far.
    Descending { depth: u8, leaves: Vec<Branch> },
    /// The keys under these leaves after this one, or all: asked for, or to be asked for after a pause.
    Keys { leaves: Arc<[Branch]>, after: Option<Key>, asked: bool },
    /// No key differs. The roots are compared once more: they may have been compared in the middle of a write.
    Confirming,
}

/// A branch whose sums differ, and the sums of its children at who answers; none below a leaf, or where it has no keys.
pub(crate) type Differing = (Branch, Arc<[(u8, Sum)]>);

/// What one side holds of a partition under some leaves, in the order of the keys.
pub(crate) struct Page {
    pub(crate) n: u8,
    pub(crate) leaves: Arc<[Branch]>,
    /// It begins after this key.
    pub(crate) after: Option<Key>,
    /// It ends with this key; nothing if it goes to the end.
    pub(crate) until: Option<Key>,
    pub(crate) keys: Arc<[(Key, Digest)]>,
}

/// What the other side says to a page.
pub(crate) struct Reply {
    pub(crate) n: u8,
    pub(crate) after: Option<Key>,
    /// It goes on after this key; nothing if that was all.
    pub(crate) next: Option<Key>,
    /// What it holds that the page has not, or not so.
    pub(crate) objects: Arc<[(Key, Object)]>,
    /// What the page has that it holds not, or not so.
    pub(crate) wanted: Arc<[Key]>,
}

/// A page ends when its objects take about so many bytes.
const PAGE_BYTES: usize = 1 << 18;
/// How many sums of one message are compared: no sound exchange has more.
const MAX_SUMS: usize = 1 << 8;

impl AntiEntropy {
    /// A view was adopted: there may be other partners.
    pub(crate) fn adopt<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        self.open = None;
        let every_ms = env.config.anti_entropy_every_ms;
        if every_ms > 0 {
            env.set_timer(Timer::AntiEntropy, every_ms);
        }
    }

    /// Time for the next page or the next exchange; or the partner has been silent.
    pub(crate) fn fire<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        if let Some(Exchange { stage: Stage::Keys { leaves, after, asked: false }, .. }) =
            &self.open
        {
            let (leaves, after) = (leaves.clone(), after.clone());
            return self.ask(env, leaves, after);
        }
        if self.open.is_some() {
            self.end(env, Compared::Missed);
        }
        self.begin(env);
    }

    fn begin<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        let Some((id, partner)) = self.next(env) else {
            return env.set_timer(Timer::AntiEntropy, env.config.anti_entropy_every_ms);
        };
        self.last = Some((id, partner));
        let tree = env.trees.tree(id).filter(|_| !env.is_suspected(partner));
        let Some(root) = tree.map(|tree| tree.sum(Branch::ROOT, env.config.tree_depth)) else {
            return self.end(env, Compared::Missed);
        };
        let stage = Stage::Descending { depth: 0, leaves: Vec::new() };
        self.open = Some(Exchange { root, found: 0, stage });
        self.send(env, Body::Compare { n: id.1, sums: [(Branch::ROOT, root)].into() });
    }

    /// The pair whose turn it is: the next partner for the same tree, or the first for a later one.
    fn next<S: Storage>(&self, env: &Env<'_, S>) -> Option<(TreeId, NodeId)> {
        let partners = |id| Here::of(env).partners(id);
        let same = self.last.filter(|(id, _)| env.trees.tree(*id).is_some());
        let next = same.and_then(|(id, last)| {
            let later = partners(id).into_iter().find(|partner| *partner > last);
            later.map(|partner| (id, partner))
        });
        let last = self.last.map(|(id, _)| id);
        let rotation = || env.trees.after(last).chain(env.trees.after(None));
        next.or_else(|| rotation().find_map(|id| Some((id, *partners(id).first()?))))
    }

    /// Sends to the partner, and waits for it.
    fn send<S: Storage>(&self, env: &mut Env<'_, S>, body: Body) {
        let Some(((partition, _), partner)) = self.last else { return };
        env.send(partner, partition, body);
        env.set_timer(Timer::AntiEntropy, env.config.anti_entropy_timeout_ms);
    }

    /// The exchange is over. The next follows after a pause.
    fn end<S: Storage>(&mut self, env: &mut Env<'_, S>, outcome: Compared) {
        self.open = None;
        if let Some(((partition, n), with)) = self.last {
            let fact = Fact::Compared { partition, n, with, outcome };
            env.effects.push(Effect::Report(fact));
        }
        env.set_timer(Timer::AntiEntropy, env.config.anti_entropy_every_ms);
    }

    /// The open exchange, if the message is of its partner and its tree.
    fn open_with(&mut self, from: NodeId, id: TreeId) -> Option<&mut Exchange> {
        self.open.as_mut().filter(|_| self.last == Some((id, from)))
    }

    /// The partner has compared sums: `None` if it has no whole tree.
    pub(crate) fn compared<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        from: NodeId,
        id: TreeId,
        differing: Option<&[Differing]>,
    ) {
        let Some(exchange) = self.open_with(from, id) else { return };
        let (root, found) = (exchange.root, exchange.found);
        let full = env.config.tree_depth;
        let (depth, mut leaves) = match &mut exchange.stage {
            Stage::Descending { depth, leaves } => (*depth, core::mem::take(leaves)),
            Stage::Confirming if differing.is_some_and(<[_]>::is_empty) => {
                return self.end(env, Compared::Equal);
            }
            Stage::Confirming => {
                if env.trees.tree(id).is_some_and(|tree| tree.sum(Branch::ROOT, full) == root) {
                    Trees::rebuild(env, id.0);
                }
                return self.end(env, Compared::Differed(found));
            }
            Stage::Keys { .. } => return,
        };
        let (Some(differing), Some(tree)) = (differing, env.trees.tree(id)) else {
            return self.end(env, Compared::Missed);
        };
        if differing.is_empty() && depth == 0 {
            return self.end(env, Compared::Equal);
        }
        let mut deeper = Vec::new();
        for (branch, theirs) in differing.iter().filter(|(branch, _)| branch.depth == depth) {
            if depth == full || theirs.is_empty() {
                leaves.push(*branch);
                continue;
            }
            let differs = differing_children(tree, *branch, theirs, full);
            if depth + 1 == full { leaves.extend(differs) } else { deeper.extend(differs) }
        }
        if deeper.is_empty() {
            return self.ask(env, leaves.into(), None);
        }
        let sums = deeper.iter().map(|branch| (*branch, tree.sum(*branch, full))).collect();
        exchange.stage = Stage::Descending { depth: depth + 1, leaves };
        self.send(env, Body::Compare { n: id.1, sums });
    }

    /// Asks what the partner holds in the next page of keys. Where nothing differs any more the roots are compared again.
    fn ask<S: Storage>(&mut self, env: &mut Env<'_, S>, leaves: Arc<[Branch]>, after: Option<Key>) {
        let (Some(((partition, n), _)), Some(exchange)) = (self.last, &mut self.open) else {
            return;
        };
        if leaves.is_empty() {
            return self.confirm(env);
        }
        let (found, until) = scan(env, (partition, n), &leaves, after.as_ref());
        let keys = found.into_iter().filter_map(|(key, stored)| match stored {
            Stored::Found(record) => {
                let digest = record.object.digest(&key);
                Some((key, digest))
            }
            Stored::Absent | Stored::Damaged => None,
        });
        let body = Body::Keys {
            n,
            leaves: leaves.clone(),
            after: after.clone(),
            until,
            keys: keys.collect(),
        };
        exchange.stage = Stage::Keys { leaves, after, asked: true };
        self.send(env, body);
    }

    fn confirm<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        let (Some((id, _)), Some(exchange)) = (self.last, &mut self.open) else { return };
        let Some(tree) = env.trees.tree(id).filter(|_| exchange.found == 0) else {
            let found = exchange.found;
            return self.end(env, Compared::Differed(found));
        };
        exchange.stage = Stage::Confirming;
        let root = tree.sum(Branch::ROOT, env.config.tree_depth);
        self.send(env, Body::Compare { n: id.1, sums: [(Branch::ROOT, root)].into() });
    }

    /// The partner has answered a page of keys.
    pub(crate) fn replied<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        from: NodeId,
        partition: Partition,
        reply: Reply,
    ) {
        let id = (partition, reply.n);
        let Some(exchange) = self.open_with(from, id) else { return };
        let Stage::Keys { leaves, after, asked: true } = &exchange.stage else { return };
        if *after != reply.after
            || reply.next.as_ref().is_some_and(|next| Some(next) <= after.as_ref())
        {
            return;
        }
        let leaves = leaves.clone();
        let is_new = |key: &&Key| reply.objects.iter().all(|(known, _)| known != *key);
        let differ = reply.objects.len() + reply.wanted.iter().filter(is_new).count();
        exchange.found = exchange.found.saturating_add(differ as u32);
        for (key, object) in reply.objects.iter() {
            if env.view.partitions().of(key) != partition {
                // A peer's fault: no reader would look for it here.
                return;
            }
            let key = RecordKey { partition, key: key.clone() };
            match hints::absorb(env, &key, object, None) {
                Absorbed::Held { .. } | Absorbed::UnknownBucket => {}
            }
        }
        for key in reply.wanted.iter() {
            let key = RecordKey { partition, key: key.clone() };
            if let Stored::Found(record) = env.storage.read(&key) {
                let body = Body::Repair { key: key.key, object: record.object };
                env.send(from, partition, body);
            }
        }
        if reply.next.is_none() {
            return self.confirm(env);
        }
        if let Some(exchange) = &mut self.open {
            exchange.stage = Stage::Keys { leaves, after: reply.next, asked: false };
        }
        env.set_timer(Timer::AntiEntropy, env.config.anti_entropy_every_ms);
    }
}

/// The children of a branch whose sums are not those that the partner gave.
fn differing_children(tree: &Tree, branch: Branch, theirs: &[(u8, Sum)], full: u8) -> Vec<Branch> {
    let mut sums: BTreeMap<u8, (Sum, Sum)> = BTreeMap::new();
    for (digit, sum) in tree.children(branch, full) {
        sums.entry(digit).or_default().0 = sum;
    }
    for (digit, sum) in theirs.iter().filter(|(digit, _)| *digit < Branch::CHILDREN) {
        sums.entry(*digit).or_default().1 = *sum;
    }
    let differs = sums.into_iter().filter(|(_, (mine, theirs))| mine != theirs);
    differs.map(|(digit, _)| branch.child(digit)).collect()
}

/// One page of what is stored of a partition under some leaves, and where it ends: nothing at the end of the partition.
fn scan<S: Storage>(
    env: &Env<'_, S>,
    (partition, n): TreeId,
    leaves: &[Branch],
    after: Option<&Key>,
) -> (Vec<(Key, Stored)>, Option<Key>) {
    let start = match after {
        Some(key) => hints::after(RecordKey { partition, key: key.clone() }),
        None => RecordKey::start_of(partition),
    };
    let limit = env.config.tree_page;
    let stored = env.storage.scan(&start, limit);
    let goes_on = stored.len() == limit;
    let last = stored.last().filter(|(key, _)| goes_on && key.partition == partition);
    let mut end = last.map(|(key, _)| key.key.clone());
    let leaves: BTreeSet<Branch> = leaves.iter().copied().collect();
    let (mut found, mut bytes) = (Vec::new(), 0);
    for (RecordKey { key, .. }, stored) in
        stored.into_iter().take_while(|(key, _)| key.partition == partition)
    {
        let of_size = env.view.bucket(&key.bucket).is_some_and(|bucket| bucket.n == n);
        if !of_size || !Branch::all_of(&key).any(|branch| leaves.contains(&branch)) {
            continue;
        }
        if let Stored::Found(record) = &stored {
            bytes += record.object.size_hint();
        }
        if bytes >= PAGE_BYTES {
            end = Some(key.clone());
        }
        found.push((key, stored));
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    (found, end)
}

/// Somebody compares sums with this node's tree.
pub(crate) fn compare<S: Storage>(
    env: &mut Env<'_, S>,
    from: NodeId,
    (partition, n): TreeId,
    sums: &[(Branch, Sum)],
) {
    let depth = env.config.tree_depth;
    let differing = env.trees.tree((partition, n)).map(|tree| {
        let differs = |(branch, sum): &&(Branch, Sum)| {
            branch.depth > depth || tree.sum(*branch, depth) != *sum
        };
        let differing = sums.iter().take(MAX_SUMS).filter(differs);
        differing.map(|(branch, _)| (*branch, tree.children(*branch, depth).into())).collect()
    });
    env.send(from, partition, Body::CompareOk { n, differing });
}

/// Somebody tells what it holds in a page of keys. Who owns no copy says nothing.
pub(crate) fn answer<S: Storage>(
    env: &mut Env<'_, S>,
    from: NodeId,
    partition: Partition,
    page: &Page,
) {
    let Page { n, leaves, after, until, keys } = page;
    if env.trees.tree((partition, *n)).is_none() {
        return;
    }
    let mut theirs: BTreeMap<&Key, Digest> =
        keys.iter().map(|(key, digest)| (key, *digest)).collect();
    let (found, mut next) = scan(env, (partition, *n), leaves, after.as_ref());
    if next.is_none() || (until.is_some() && *until < next) {
        next.clone_from(until);
    }
    let (mut objects, mut wanted) = (Vec::new(), Vec::new());
    for (key, stored) in found {
        if next.as_ref().is_some_and(|next| key > *next) {
            break;
        }
        let digest = theirs.remove(&key);
        let Stored::Found(record) = stored else {
            // It is damaged: whatever the other holds is welcome.
            wanted.extend(digest.map(|_| key));
            continue;
        };
        if digest == Some(record.object.digest(&key)) {
            continue;
        }
        if digest.is_some() {
            wanted.push(key.clone());
        }
        objects.push((key, record.object));
    }
    let covered = |key: &&Key| next.as_ref().is_none_or(|next| *key <= next);
    wanted.extend(theirs.into_keys().filter(covered).cloned());
    let (after, objects) = (after.clone(), objects.into());
    let body = Body::KeysOk { n: *n, after, next, objects, wanted: wanted.into() };
    env.send(from, partition, body);
}
