//! Merkle trees over what an owner holds, in memory and current with every write (paper §4.7).
//!
//! There is one for each partition and each size of bucket for which the node is an owner in some layout of its view. A leaf
//! is all keys whose hashes begin with the same digits. Its hash is the wrapping sum of their digests, and an inner
//! node's that of its children: so a write takes the old digest away and puts the new one in, and no
//! digest is kept. A sum says as much as a hash of hashes as long as nobody makes up digests on purpose. What is new and
//! empty, absent or damaged counts nothing. Nothing that is private to a node enters.
//!
//! After a start, and for what the node newly owns, trees are built by a scan with a cursor, one page a step: a write
//! to what the scan has passed enters the unfinished trees, any other is found later. A tree that may disagree with its data is
//! built again in the same way, while the old one goes on; and so is each in turn, for what a disk lost silently.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::{fmt, ops::Bound};

use crate::{
    env::{Env, Shard},
    hints,
    id::NodeId,
    key::{Key, Partition, RecordKey},
    mending,
    object::Object,
    paging,
    record::{Storage, Stored},
    rules::{Mutant, Rules},
    step::Timer,
    view::View,
};

/// The most levels below the root: 4,096 leaves.
pub const MAX_DEPTH: u8 = 3;
/// How many bits of a key's hash choose the child.
const DIGIT: u32 = 4;

/// The sum of the digests below a node of a tree; zero where there is nothing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sum(pub(crate) u128);

/// A node of a tree: the keys whose hashes begin with these digits, below those that chose the partition.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Branch {
    pub(crate) depth: u8,
    /// The digits, the first one highest: below 16 to the power of `depth`.
    pub(crate) digits: u16,
}

/// A tree's partition, and the size of the buckets whose keys it is over.
pub type TreeId = (Partition, u8);

/// One tree: the leaves that hold anything.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Tree {
    leaves: BTreeMap<u16, Sum>,
}

/// The trees of a shard.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Trees {
    /// Those that are whole.
    whole: BTreeMap<TreeId, Tree>,
    /// The partitions that are to be scanned.
    waiting: BTreeSet<Partition>,
    /// The one that is being scanned.
    scan: Option<Scan>,
    /// The last one that was scanned for no other reason than that it was its turn.
    turn: Option<Partition>,
}

/// A scan under way.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Scan {
    partition: Partition,
    /// All up to and with this key is in the trees.
    passed: Option<Key>,
    /// By size.
    trees: BTreeMap<u8, Tree>,
}

impl Branch {
    pub(crate) const ROOT: Self = Self { depth: 0, digits: 0 };

    /// How many children one has that is no leaf.
    pub(crate) const CHILDREN: u8 = 1 << DIGIT;

    /// The branch of so many digits that a key lies under.
    fn of(key: &Key, depth: u8) -> Self {
        Self::at(key.hash128(), depth)
    }

    /// All branches that a key lies under, the root first.
    pub(crate) fn all_of(key: &Key) -> impl Iterator<Item = Self> {
        let hash = key.hash128();
        (0..=MAX_DEPTH).map(move |depth| Self::at(hash, depth))
    }

    fn at(hash: u128, depth: u8) -> Self {
        // The partition is chosen by the upper half of the hash.
        let lower = u128::from(hash as u64);
        Self { depth, digits: (lower >> (u64::BITS - DIGIT * u32::from(depth))) as u16 }
    }

    /// The branch of these digits, if any tree can have it.
    pub(crate) fn new(depth: u8, digits: u16) -> Option<Self> {
        let exists = depth <= MAX_DEPTH && u32::from(digits) < 1 << (DIGIT * u32::from(depth));
        exists.then_some(Self { depth, digits })
    }

    pub(crate) fn child(self, digit: u8) -> Self {
        Self { depth: self.depth + 1, digits: self.digits << DIGIT | u16::from(digit) }
    }

    /// The leaves below, in a tree of this depth.
    fn leaves(self, depth: u8) -> core::ops::RangeInclusive<u16> {
        let below = DIGIT * u32::from(depth.saturating_sub(self.depth));
        let first = u32::from(self.digits) << below;
        let last = first + ((1 << below) - 1);
        first as u16..=last as u16
    }
}

impl Sum {
    fn replace(self, before: Self, after: Self) -> Self {
        Self(self.0.wrapping_sub(before.0).wrapping_add(after.0))
    }

    /// What several branches come to: an answer names it, so that it is known what was compared.
    pub(crate) fn of_all(sums: &[(Branch, Self)]) -> Self {
        sums.iter().fold(Self::default(), |all, (_, sum)| all.replace(Self::default(), *sum))
    }

    /// What an object adds: nothing if it is as good as absent.
    fn of(key: &Key, object: &Object) -> Self {
        if object.is_new() { Self::default() } else { Self(object.digest(key).0) }
    }
}

impl Tree {
    fn replace(&mut self, leaf: u16, before: Sum, after: Sum) {
        let sum = self.leaves.get(&leaf).copied().unwrap_or_default().replace(before, after);
        if sum == Sum::default() {
            self.leaves.remove(&leaf);
        } else {
            self.leaves.insert(leaf, sum);
        }
    }

    /// The sum of a branch of a tree of this depth, at most the tree's.
    pub(crate) fn sum(&self, branch: Branch, depth: u8) -> Sum {
        let below = self.leaves.range(branch.leaves(depth));
        below.fold(Sum::default(), |all, (_, sum)| all.replace(Sum::default(), *sum))
    }

    /// The children of a branch that hold anything; none below a leaf.
    pub(crate) fn children(&self, branch: Branch, depth: u8) -> Vec<(u8, Sum)> {
        if branch.depth >= depth {
            return Vec::new();
        }
        let sums = (0..Branch::CHILDREN).map(|digit| (digit, self.sum(branch.child(digit), depth)));
        sums.filter(|(_, sum)| *sum != Sum::default()).collect()
    }
}

/// What decides which trees there are.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    pub(crate) view: &'a View,
    pub(crate) me: NodeId,
    pub(crate) rules: Rules,
}

impl<'a> Here<'a> {
    pub(crate) fn of<S>(env: &Env<'a, S>) -> Self {
        Self { view: env.view, me: env.me, rules: env.config.rules }
    }

    /// Whether a node has a tree of a partition, and is asked for it: owners are. A fallback's copies are hints.
    fn has_tree(self, node: NodeId, (partition, n): TreeId) -> bool {
        self.view.owns(node, partition, n) || !self.rules.keeps(Mutant::TreesWithFallbacks)
    }

    /// The trees that this node has of a partition.
    fn owned(self, partition: Partition) -> impl Iterator<Item = TreeId> + 'a {
        let sizes = self.view.layout().sizes().into_iter();
        let ids = sizes.map(move |n| (partition, n));
        ids.filter(move |id| self.has_tree(self.me, *id))
    }

    /// The trees that a shard has.
    pub(crate) fn trees_of(self, shard: Shard) -> impl Iterator<Item = TreeId> + 'a {
        let mine = self.view.partitions().iter().filter(move |p| shard.holds(*p));
        mine.flat_map(move |partition| self.owned(partition))
    }

    /// With whom a tree is compared, in the order of their ids. Who catches up merges all that others hold anyway, and is
    /// compared with when the change is done.
    pub(crate) fn partners(self, id: TreeId) -> Vec<NodeId> {
        let (partition, n) = id;
        let catches_up = |node: NodeId| self.view.must_catch_up(node, partition, n);
        let all = self.view.all_owners(partition, n).chain(self.view.fallbacks(partition, n));
        let others = all.filter(|node| *node != self.me && !catches_up(self.me));
        let others = others.filter(|node| self.has_tree(*node, id) && !catches_up(*node));
        let mut partners: Vec<NodeId> = others.collect();
        partners.sort_unstable();
        partners.dedup();
        partners
    }
}

impl Trees {
    /// A view was adopted, perhaps the first. A tree belongs to its partition and not to a view: it stays as long as the node owns
    /// it, and so does what is built or to be built.
    pub(crate) fn adopt<S: Storage>(env: &mut Env<'_, S>, is_first: bool) {
        if env.config.anti_entropy_every_ms == 0 {
            return;
        }
        let owned: BTreeSet<TreeId> = Here::of(env).trees_of(env.shard).collect();
        let sizes = |partition| owned.range((partition, 0)..=(partition, u8::MAX)).map(|id| id.1);
        let trees = &mut *env.trees;
        trees.whole.retain(|id, _| owned.contains(id));
        trees.waiting.retain(|partition| sizes(*partition).next().is_some());
        let goes_on = |scan: &Scan| scan.trees.keys().copied().eq(sizes(scan.partition));
        trees.scan = trees.scan.take().filter(goes_on);
        let at = trees.scan.as_ref().map(|scan| scan.partition);
        let missing = owned.iter().filter(|id| !trees.whole.contains_key(id) && Some(id.0) != at);
        trees.waiting.extend(missing.map(|(partition, _)| *partition));
        if !env.trees.is_done() {
            env.set_timer(Timer::Trees, 0);
        } else if is_first {
            rest(env);
        }
    }

    /// Has the trees of a partition built again, where there are trees.
    pub(crate) fn rebuild<S: Storage>(env: &mut Env<'_, S>, partition: Partition) {
        let has_trees = env.config.anti_entropy_every_ms > 0;
        if has_trees && env.trees.waiting.insert(partition) {
            env.set_timer(Timer::Trees, 0);
        }
    }

    /// Looks at one page of records, and arms the timer for the next.
    pub(crate) fn page<S: Storage>(env: &mut Env<'_, S>) {
        let here = Here::of(env);
        if env.trees.is_done() && env.config.tree_rescan_every_ms > 0 {
            env.trees.next_turn();
        }
        let Some(from) = env.trees.next_scan(here) else { return rest(env) };
        let page = paging::read(env.storage, from, env.config.tree_page);
        for (key, stored) in page.records {
            let stored = mending::judge(env, &key, stored);
            env.trees.pass_below(here, key.partition);
            let Some(scan) = env.trees.scan.as_mut().filter(|scan| scan.partition == key.partition)
            else {
                // The next partition that waits lies further on.
                break;
            };
            if let Stored::Found(record) = stored
                && let Some(n) = env.view.bucket(&key.key.bucket).map(|bucket| bucket.n)
                && let Some(tree) = scan.trees.get_mut(&n)
            {
                let leaf = Branch::of(&key.key, env.config.tree_depth).digits;
                tree.replace(leaf, Sum::default(), Sum::of(&key.key, &record.object));
            }
            scan.passed = Some(key.key);
        }
        if page.last.is_none() {
            let end = Partition(env.view.partitions().count());
            env.trees.pass_below(here, end);
        }
        if env.trees.is_done() {
            rest(env);
        } else {
            env.rest(Timer::Trees, PAGE_GAP_MS);
        }
    }

    /// A record is about to be written: what it adds to its tree changes.
    pub(crate) fn update(
        &mut self,
        (key, n): (&RecordKey, u8),
        depth: u8,
        before: &Object,
        after: Option<&Object>,
    ) {
        let whole = self.whole.get_mut(&(key.partition, n));
        let scan = self.scan.as_mut().filter(|scan| scan.partition == key.partition);
        let scan =
            scan.filter(|scan| scan.passed.as_ref().is_some_and(|passed| key.key <= *passed));
        let scan = scan.and_then(|scan| scan.trees.get_mut(&n));
        if (whole.is_none() && scan.is_none()) || after == Some(before) {
            return;
        }
        let leaf = Branch::of(&key.key, depth).digits;
        let before = Sum::of(&key.key, before);
        let after = after.map_or_else(Sum::default, |after| Sum::of(&key.key, after));
        for tree in whole.into_iter().chain(scan) {
            tree.replace(leaf, before, after);
        }
    }

    /// A tree, once it is whole.
    pub(crate) fn tree(&self, id: TreeId) -> Option<&Tree> {
        self.whole.get(&id)
    }

    /// The whole trees after this one, or all.
    pub(crate) fn after(&self, id: Option<TreeId>) -> impl Iterator<Item = TreeId> + '_ {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.whole.range((from, Bound::Unbounded)).map(|(id, _)| *id)
    }

    /// The whole trees with their roots.
    pub(crate) fn roots(&self, depth: u8) -> impl Iterator<Item = (TreeId, Sum)> + '_ {
        self.whole.iter().map(move |(id, tree)| (*id, tree.sum(Branch::ROOT, depth)))
    }

    /// How many partitions are still to be scanned.
    pub(crate) fn left(&self) -> usize {
        self.waiting.len() + usize::from(self.scan.is_some())
    }

    fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// Has the next partition in turn scanned.
    fn next_turn(&mut self) {
        let next = self.after(self.turn.map(|turn| (turn, u8::MAX))).next();
        self.turn = next.or_else(|| self.after(None).next()).map(|(partition, _)| partition);
        self.waiting.extend(self.turn);
    }

    /// Where the scan goes on; it begins with the first partition that waits.
    fn next_scan(&mut self, here: Here<'_>) -> Option<RecordKey> {
        if self.scan.is_none() {
            let partition = self.waiting.pop_first()?;
            self.begin(here, partition);
        }
        let scan = self.scan.as_ref()?;
        let partition = scan.partition;
        Some(match &scan.passed {
            None => RecordKey::start_of(partition),
            Some(key) => hints::after(RecordKey { partition, key: key.clone() }),
        })
    }

    fn begin(&mut self, here: Here<'_>, partition: Partition) {
        let trees = here.owned(partition).map(|(_, n)| (n, Tree::default())).collect();
        self.scan = Some(Scan { partition, passed: None, trees });
    }

    /// The scan has come to a partition: those before it have no more records.
    fn pass_below(&mut self, here: Here<'_>, below: Partition) {
        while let Some(Scan { partition, .. }) = self.scan
            && partition < below
        {
            let done = self.scan.take().into_iter().flat_map(|scan| scan.trees);
            self.whole.extend(done.map(|(n, tree)| ((partition, n), tree)));
            let after = (Bound::Excluded(partition), Bound::Included(below));
            let next = self.waiting.range(after).next().copied();
            if let Some(next) = next {
                self.waiting.remove(&next);
                self.begin(here, next);
            }
        }
    }
}

/// All trees are whole: the next is scanned in its turn, after a while.
fn rest<S: Storage>(env: &mut Env<'_, S>) {
    if env.config.tree_rescan_every_ms > 0 {
        env.set_timer(Timer::Trees, env.config.tree_rescan_every_ms);
    }
}

/// The pause between two pages of a scan, in milliseconds: foreground requests come in between.
const PAGE_GAP_MS: u32 = 1;

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:08x}", self.0 >> 96)
    }
}

impl fmt::Display for Branch {
    /// The digits, `/` for the root.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = usize::from(self.depth);
        if width == 0 { f.write_str("/") } else { write!(f, "/{:0width$x}", self.digits) }
    }
}
