//! Anti-entropy: owners compare their trees and mend what differs (paper §4.7).
//!
//! Every tree is compared with every partner in rotation, and there is a rest after each. Who begins sends the sums of some roots,
//! with a pause between one batch and the next. Where the partner's is the same, a small answer ends it. Trees whose roots differ
//! are gone through one at a time: the sums of the children come back, those that differ are compared in
//! turn, and what lies under leaves that differ is gone through in the order of the keys, page by page: who began tells
//! what it holds by digests, and gets the objects that it lacks and the names of what the partner lacks. Both sides
//! merge (V5), so it is safe between any views; only owners take part, for what a fallback holds is hints.
//!
//! The partner keeps nothing of an exchange. Trees that differ where no key does are wrong, here or there: the own ones are built
//! again, and the partner finds the same when it begins. An answer names the sums that it is about, and a tree that was written to
//! meanwhile was not found equal: whoever waits for quiet relies on that.

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
    paging,
    record::{Storage, Stored},
    rules::Mutant,
    step::{Compared, Effect, Fact, Timer},
    trees::{Branch, Here, Sum, Tree, TreeId, Trees},
};

/// A tree and with whom it is compared.
type Pair = (TreeId, NodeId);

/// What a shard compares.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct AntiEntropy {
    /// The pair that had its turn last in this rotation.
    last: Option<Pair>,
    /// The roots that were sent and are not answered.
    asked: BTreeMap<Pair, Sum>,
    /// Those whose roots differed, and whose turn has not come.
    differing: BTreeSet<Pair>,
    /// The tree that is gone through.
    open: Option<Exchange>,
}

/// A tree that is gone through with a partner.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Exchange {
    pair: Pair,
    /// The own root when it began.
    root: Sum,
    /// How many keys were found to differ.
    found: u32,
    stage: Stage,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Stage {
    /// Sums of branches of this depth were sent, which come to this together. Leaves that differ so far.
    Descending { depth: u8, asked: Sum, leaves: Vec<Branch> },
    /// The keys under these leaves after this one, or all: asked for, or to be asked for after a pause.
    Keys { leaves: Arc<[Branch]>, after: Option<Key>, asked: bool },
    /// No key differs. The roots are compared once more: they may have been compared in the middle of a write. This one was
    /// sent.
    Confirming(Sum),
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

/// How many sums of one message are compared: no sound exchange has more.
const MAX_SUMS: usize = 1 << 8;

impl AntiEntropy {
    /// A view was adopted: there may be other partners.
    pub(crate) fn adopt<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        *self = Self { last: self.last, ..Self::default() };
        let every_ms = env.config.anti_entropy_every_ms;
        if every_ms > 0 {
            env.rest(Timer::AntiEntropy, every_ms);
        }
    }

    /// Time for the next page, the next exchange or the next roots; or partners have been silent.
    pub(crate) fn fire<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        if let Some(Exchange { stage: Stage::Keys { leaves, after, asked: false }, .. }) =
            &self.open
        {
            let (leaves, after) = (leaves.clone(), after.clone());
            return self.ask(env, leaves, after);
        }
        let silent = core::mem::take(&mut self.asked).into_keys();
        let silent = silent.chain(self.open.take().map(|exchange| exchange.pair));
        silent.for_each(|pair| report(env, pair, Compared::Missed));
        match self.differing.pop_first() {
            Some(pair) => self.send_root(env, pair),
            None => self.send_roots(env),
        }
        self.pause(env, 0);
    }

    /// Sends the next roots of the rotation.
    fn send_roots<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        let mut next = self.next(env);
        for _ in 0..env.config.anti_entropy_batch {
            let Some(pair) = next else { break };
            self.send_root(env, pair);
            self.last = Some(pair);
            next = self.next(env);
        }
        if next.is_none() {
            // What comes next is another rotation.
            self.last = None;
        }
    }

    fn send_root<S: Storage>(&mut self, env: &mut Env<'_, S>, (id, partner): Pair) {
        let tree = env.trees.tree(id).filter(|_| !env.is_suspected(partner));
        let Some(root) = tree.map(|tree| tree.sum(Branch::ROOT, env.config.tree_depth)) else {
            return report(env, (id, partner), Compared::Missed);
        };
        self.asked.insert((id, partner), root);
        let body = Body::Compare { n: id.1, sums: [(Branch::ROOT, root)].into() };
        env.send(partner, id.0, body);
    }

    /// The pair whose turn it is: the next partner for the same tree, or the first for a later one; nothing at the end of the
    /// rotation.
    fn next<S: Storage>(&self, env: &Env<'_, S>) -> Option<Pair> {
        let partners = |id| Here::of(env).partners(id);
        let same = self.last.filter(|(id, _)| env.trees.tree(*id).is_some());
        let next = same.and_then(|(id, last)| {
            let later = partners(id).into_iter().find(|partner| *partner > last);
            later.map(|partner| (id, partner))
        });
        let mut later = env.trees.after(self.last.map(|(id, _)| id));
        next.or_else(|| later.find_map(|id| Some((id, *partners(id).first()?))))
    }

    /// Sets the timer: for how long answers are waited for, or until what is next, after so many bytes of objects were moved.
    fn pause<S: Storage>(&self, env: &mut Env<'_, S>, moved: usize) {
        let config = env.config;
        let has_page =
            matches!(&self.open, Some(Exchange { stage: Stage::Keys { asked: false, .. }, .. }));
        // Roots that are not answered yet hold up no page: their time is over when the exchange is.
        if has_page {
            paging::pause(env, Timer::AntiEntropy, config.anti_entropy_every_ms, moved);
        } else if !self.asked.is_empty() || self.open.is_some() {
            if env.keeps(Mutant::ExchangeWaitsForEver) {
                env.set_timer(Timer::AntiEntropy, config.anti_entropy_timeout_ms);
            }
        } else if self.open.is_none() && self.differing.is_empty() && self.last.is_none() {
            paging::pause(env, Timer::AntiEntropy, config.anti_entropy_rest_ms, moved);
        } else {
            paging::pause(env, Timer::AntiEntropy, config.anti_entropy_every_ms, moved);
        }
    }

    /// The open exchange is over, after so many bytes of objects were moved.
    fn end<S: Storage>(&mut self, env: &mut Env<'_, S>, outcome: Compared, moved: usize) {
        if let Some(exchange) = self.open.take() {
            report(env, exchange.pair, outcome);
        }
        self.pause(env, moved);
    }

    /// The open exchange, if the message is of its partner and its tree.
    fn open_with(&mut self, from: NodeId, id: TreeId) -> Option<&mut Exchange> {
        self.open.as_mut().filter(|exchange| exchange.pair == (id, from))
    }

    /// The partner has compared sums that come to `of` together.
    pub(crate) fn compared<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        from: NodeId,
        id: TreeId,
        of: Sum,
        differing: Option<&[Differing]>,
    ) {
        if self.asked.get(&(id, from)) == Some(&of) {
            self.asked.remove(&(id, from));
            return self.compared_roots(env, (id, from), of, differing);
        }
        let Some(exchange) = self.open_with(from, id) else { return };
        match &mut exchange.stage {
            Stage::Descending { asked, .. } if *asked == of => self.descend(env, differing),
            Stage::Confirming(root) if *root == of => self.confirmed(env, differing),
            Stage::Descending { .. } | Stage::Confirming(_) | Stage::Keys { .. } => {}
        }
    }

    /// The partner has compared a root.
    fn compared_roots<S: Storage>(
        &mut self,
        env: &mut Env<'_, S>,
        pair: Pair,
        root: Sum,
        differing: Option<&[Differing]>,
    ) {
        match differing {
            None => report(env, pair, Compared::Missed),
            Some([]) => {
                let outcome = equal_unless_written(env, pair, root);
                report(env, pair, outcome);
            }
            Some(_) if self.open.is_some() => drop(self.differing.insert(pair)),
            Some(_) => {
                let stage = Stage::Descending { depth: 0, asked: root, leaves: Vec::new() };
                self.open = Some(Exchange { pair, root, found: 0, stage });
                return self.descend(env, differing);
            }
        }
        if self.asked.is_empty() && self.open.is_none() {
            self.pause(env, 0);
        }
    }

    /// The partner says which branches differ: their children are compared, or their keys.
    fn descend<S: Storage>(&mut self, env: &mut Env<'_, S>, differing: Option<&[Differing]>) {
        let Some(exchange) = &mut self.open else { return };
        let Stage::Descending { depth, leaves, .. } = &mut exchange.stage else { return };
        let (depth, mut leaves) = (*depth, core::mem::take(leaves));
        let ((partition, n), partner) = exchange.pair;
        let full = env.config.tree_depth;
        let (Some(differing), Some(tree)) = (differing, env.trees.tree((partition, n))) else {
            return self.end(env, Compared::Missed, 0);
        };
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
        let sums: Arc<[_]> =
            deeper.iter().map(|branch| (*branch, tree.sum(*branch, full))).collect();
        exchange.stage = Stage::Descending { depth: depth + 1, asked: Sum::of_all(&sums), leaves };
        env.send(partner, partition, Body::Compare { n, sums });
        self.pause(env, 0);
    }

    /// The partner has compared the root again.
    fn confirmed<S: Storage>(&mut self, env: &mut Env<'_, S>, differing: Option<&[Differing]>) {
        let Some(Exchange { pair, root, found, stage: Stage::Confirming(sent) }) = &self.open
        else {
            return;
        };
        let (pair, began, found, sent) = (*pair, *root, *found, *sent);
        if differing.is_some_and(<[_]>::is_empty) {
            let outcome = equal_unless_written(env, pair, sent);
            return self.end(env, outcome, 0);
        }
        if root_of(env, pair.0) == Some(began) {
            Trees::rebuild(env, pair.0.0);
        }
        self.end(env, Compared::Differed(found), 0);
    }

    /// Asks what the partner holds in the next page of keys. Where nothing differs any more the roots are compared again.
    fn ask<S: Storage>(&mut self, env: &mut Env<'_, S>, leaves: Arc<[Branch]>, after: Option<Key>) {
        if leaves.is_empty() {
            return self.confirm(env, 0);
        }
        let Some(exchange) = &mut self.open else { return };
        let ((partition, n), partner) = exchange.pair;
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
        env.send(partner, partition, body);
        self.pause(env, 0);
    }

    /// All keys were gone through, the last page moved so many bytes.
    fn confirm<S: Storage>(&mut self, env: &mut Env<'_, S>, moved: usize) {
        let Some(exchange) = &mut self.open else { return };
        let (id, partner) = exchange.pair;
        let Some(root) = root_of(env, id).filter(|_| exchange.found == 0) else {
            let found = exchange.found;
            return self.end(env, Compared::Differed(found), moved);
        };
        exchange.stage = Stage::Confirming(root);
        let body = Body::Compare { n: id.1, sums: [(Branch::ROOT, root)].into() };
        env.send(partner, id.0, body);
        self.pause(env, 0);
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
        let mut moved = 0;
        for (key, object) in reply.objects.iter() {
            if env.view.partitions().of(key) != partition {
                // A peer's fault: no reader would look for it here.
                return;
            }
            moved += object.size_hint();
            let key = RecordKey { partition, key: key.clone() };
            match hints::absorb(env, &key, object, None) {
                Absorbed::Held { .. } | Absorbed::UnknownBucket => {}
            }
        }
        for key in reply.wanted.iter() {
            let key = RecordKey { partition, key: key.clone() };
            if let Stored::Found(record) = env.storage.read(&key) {
                moved += record.object.size_hint();
                let body = Body::Repair { key: key.key, object: record.object };
                env.send(from, partition, body);
            }
        }
        if reply.next.is_none() {
            return self.confirm(env, moved);
        }
        if let Some(exchange) = &mut self.open {
            exchange.stage = Stage::Keys { leaves, after: reply.next, asked: false };
        }
        self.pause(env, moved);
    }
}

/// The own root now.
fn root_of<S: Storage>(env: &Env<'_, S>, id: TreeId) -> Option<Sum> {
    env.trees.tree(id).map(|tree| tree.sum(Branch::ROOT, env.config.tree_depth))
}

/// What an answer says that the partner's root is the same as this one, which was sent.
fn equal_unless_written<S: Storage>(env: &Env<'_, S>, (id, _): Pair, root: Sum) -> Compared {
    if root_of(env, id) == Some(root) { Compared::Equal } else { Compared::Missed }
}

fn report<S: Storage>(env: &mut Env<'_, S>, ((partition, n), with): Pair, outcome: Compared) {
    env.effects.push(Effect::Report(Fact::Compared { partition, n, with, outcome }));
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
    let leaves: BTreeSet<Branch> = leaves.iter().copied().collect();
    paging::scan(env.storage, partition, after, env.config.tree_page, |key| {
        let of_size = env.view.bucket(&key.bucket).is_some_and(|bucket| bucket.n == n);
        of_size && Branch::all_of(key).any(|branch| leaves.contains(&branch))
    })
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
    env.send(from, partition, Body::CompareOk { n, of: Sum::of_all(sums), differing });
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
