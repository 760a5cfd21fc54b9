//! Who gives which seat to whom.

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::cmp::Reverse;

use super::seats::{Seats, VACANT};

/// Among how many seats that would do a taker looks for the one with the fewest acquaintances.
const SEATS_COMPARED: usize = 32;

/// How many chains of moves one node of a level is worth.
const CHAINS_PER_NODE: usize = 8;

/// How many chains a level is worth with few nodes: each may have many slots too many, and a chain among few is found quickly.
const LEAST_CHAINS: usize = 512;

/// Whether in a partition a node can take the seat at a rank.
type Rule = fn(&Seats, usize, u32, usize, u16) -> bool;

impl Seats {
    /// Fills vacant seats and evens out all levels, from the lowest to the highest. Where nothing but new members makes the step,
    /// these are named: then little more than their shares is to move.
    pub(super) fn balance(&mut self, newcomers: &[u16]) {
        self.count_changes();
        for level in 0..self.levels.len() {
            self.spread(level);
            self.fill(level);
            self.take_all(level, Self::joins);
        }
        self.fill_rest();
        if !newcomers.is_empty() {
            self.limit_changes(newcomers);
        }
        // First with swaps, which leave higher levels as they are, then with what else there is.
        for level in 0..self.levels.len() {
            for rule in [Self::swaps, Self::takes] {
                self.take_all(level, rule);
                self.give_all(level, rule);
                self.make_chains(level, rule);
            }
        }
        // Now from the highest: its moves may use seats of lower levels, which then are evened out by
        // swaps with the next one.
        for level in (0..self.levels.len()).rev() {
            self.make_chains(level, Self::sinks);
        }
    }

    /// Makes every partition span its zones at a level.
    fn spread(&mut self, level: usize) {
        for partition in self.partitions() {
            while !self.is_spread(partition, level) {
                let Some((rank, node)) = self.spreading_move(partition, level) else { break };
                self.transfer(partition, rank, node);
            }
        }
    }

    /// A seat whose holder shares its zone with another owner, and a node of a missing zone.
    fn spreading_move(&self, partition: u32, level: usize) -> Option<(usize, u16)> {
        let owners = &self.row(partition)[..self.levels[level].end];
        let seated = |rank: &usize| owners[*rank] != VACANT;
        let is_double = |rank: &usize| {
            let alike = |&&owner: &&u16| owner != VACANT && self.neighbours(owner, owners[*rank]);
            owners.iter().filter(alike).count() > 1
        };
        // Levels below span their zones already, so that one of this level's own seats is a double.
        let rank = (self.ranks(level))
            .filter(seated)
            .filter(is_double)
            .min_by_key(|&rank| (self.spare(level, owners[rank]), Reverse(rank)))?;
        let is_missing =
            |&node: &u16| owners.iter().all(|&o| o == VACANT || !self.neighbours(o, node));
        let node = (0..self.node_count() as u16)
            .filter(is_missing)
            .min_by_key(|&node| (self.want(level, node), self.tie(partition, node)))?;
        Some((rank, node))
    }

    /// Gives each vacant seat of a level to the relatively least loaded node that can take it.
    fn fill(&mut self, level: usize) {
        for partition in self.partitions() {
            for rank in self.ranks(level) {
                if self.row(partition)[rank] != VACANT {
                    continue;
                }
                if let Some(node) = self.best_for(partition, rank, level) {
                    self.transfer(partition, rank, node);
                }
            }
        }
    }

    /// Fills what is vacant still. Where there are more zones than before a higher level did not span them yet when a lower one was
    /// filled, and may have let nobody in. Such a seat goes to whoever has none in that partition, of whom there is one,
    /// since there are no more seats than nodes; then zones are spanned, and loads evened out, as after any other move.
    fn fill_rest(&mut self) {
        for partition in self.partitions() {
            for rank in 0..self.width() {
                if self.row(partition)[rank] != VACANT {
                    continue;
                }
                let level = self.levels.len() - 1;
                let is_free = |&node: &u16| self.rank_of(partition, node).is_none();
                let free = (0..self.node_count() as u16).filter(is_free);
                let node =
                    free.min_by_key(|&node| (self.want(level, node), self.tie(partition, node)));
                if let Some(node) = node {
                    self.transfer(partition, rank, node);
                }
            }
        }
        for level in 0..self.levels.len() {
            self.spread(level);
        }
    }

    fn best_for(&self, partition: u32, rank: usize, level: usize) -> Option<u16> {
        let mut best: Option<(u16, _)> = None;
        let detail = |node| (self.acquaintance(partition, rank, node), self.tie(partition, node));
        for node in 0..self.node_count() as u16 {
            let want = self.want(level, node);
            if best.as_ref().is_some_and(|(_, most)| *most < want) {
                continue;
            }
            if !self.admits(partition, rank, node) {
                continue;
            }
            let better =
                best.as_ref().is_none_or(|(b, most)| want < *most || detail(node) < detail(*b));
            if better {
                best = Some((node, want));
            }
        }
        best.map(|(node, _)| node)
    }

    /// All nodes below their share of a level take seats that they can take by a rule.
    fn take_all(&mut self, level: usize, rule: Rule) {
        let mut takers = self.nodes(|seats, node| seats.is_short(level, node));
        takers.sort_by_key(|&node| (self.want(level, node), self.tie(u32::MAX, node)));
        for taker in takers {
            self.take(level, taker, rule);
        }
    }

    /// All nodes above their share of a level give seats away.
    fn give_all(&mut self, level: usize, rule: Rule) {
        let mut givers = self.nodes(|seats, node| seats.is_over(level, node));
        givers.sort_by_key(|&node| (self.spare(level, node), self.tie(u32::MAX, node)));
        for giver in givers {
            self.give(level, giver, rule);
        }
    }

    /// A node can take a seat of this level.
    fn takes(&self, level: usize, partition: u32, rank: usize, node: u16) -> bool {
        self.ranks(level).contains(&rank) && self.admits(partition, rank, node)
    }

    /// A node can take a seat of this level, and is below its share of all higher ones as well.
    fn joins(&self, level: usize, partition: u32, rank: usize, node: u16) -> bool {
        (level + 1..self.levels.len()).all(|upper| self.is_short(upper, node))
            && self.takes(level, partition, rank, node)
    }

    /// A node can take a seat of this level for its own of the next: only this level notices.
    fn swaps(&self, level: usize, partition: u32, rank: usize, node: u16) -> bool {
        self.ranks(level).contains(&rank) && self.sinks(level, partition, rank, node)
    }

    /// A node can take a seat of this or a lower level, and no higher level notices.
    fn sinks(&self, level: usize, partition: u32, rank: usize, node: u16) -> bool {
        let is_top = level + 1 == self.levels.len();
        let above = match self.rank_of(partition, node) {
            Some(seat) => !is_top && self.ranks(level + 1).contains(&seat),
            None => is_top,
        };
        above && rank < self.levels[level].end && self.admits(partition, rank, node)
    }

    /// Makes chains of moves until every node has its share of a level, or none helps any more.
    fn make_chains(&mut self, level: usize, rule: Rule) {
        for _ in 0..LEAST_CHAINS.max(CHAINS_PER_NODE * self.node_count()) {
            let over = self.nodes(|seats, node| seats.is_over(level, node));
            let short = self.nodes(|seats, node| seats.is_far_below(level, node));
            let moved = if !over.is_empty() {
                self.chain(level, rule, over, |seats, node| seats.has_room(level, node))
            } else if !short.is_empty() {
                let spare = self.nodes(|seats, node| seats.can_spare(level, node));
                self.chain(level, rule, spare, |seats, node| seats.is_far_below(level, node))
            } else {
                false
            };
            if !moved {
                break;
            }
        }
    }

    /// A node below its share takes seats from the relatively most loaded.
    fn take(&mut self, level: usize, taker: u16, rule: Rule) {
        let mut offers = self.offers(level, taker, rule);
        while self.is_short(level, taker) {
            let donor = (0..self.node_count() as u16)
                .filter(|&donor| {
                    !offers[usize::from(donor)].is_empty() && self.can_spare(level, donor)
                })
                .min_by_key(|&donor| (self.spare(level, donor), self.tie(u32::MAX, donor)));
            let Some(donor) = donor else { break };
            let seats = &mut offers[usize::from(donor)];
            let compared = seats.len().saturating_sub(SEATS_COMPARED)..seats.len();
            let chosen = compared
                .min_by_key(|&at| self.cost_of_taking(level, seats[at], donor, taker))
                .unwrap_or(0);
            let partition = seats.swap_remove(chosen);
            if let Some(rank) = self.seat_for(level, rule, partition, donor, taker) {
                self.transfer(partition, rank, taker);
                self.reseat(level, partition, donor);
            }
        }
    }

    /// How good it is to take a donor's seat in a partition, the least is best: a swap moves less data
    /// than a new owner; then somebody should be there who can spare a slot at each higher level, and at
    /// each lower one at which the taker is short; then those should be together who seldom are.
    fn cost_of_taking(
        &self,
        level: usize,
        partition: u32,
        donor: u16,
        taker: u16,
    ) -> (bool, u8, i64) {
        let is_new = self.rank_of(partition, taker).is_none();
        let easiest = |other: usize| {
            let owners = self.row(partition)[self.ranks(other)].iter().copied();
            let nodes = owners.chain([donor]).filter(|&node| node != VACANT);
            nodes.map(|node| self.spare(other, node).0).min().unwrap_or(0)
        };
        let helps = |other: &usize| *other > level || self.is_short(*other, taker);
        let others = (0..self.levels.len()).filter(|&other| other != level).filter(helps);
        let rank = self.rank_of(partition, donor).unwrap_or(0);
        let known = |node| i64::from(self.acquaintance(partition, rank, node));
        (is_new, others.map(easiest).sum(), known(taker) - known(donor))
    }

    /// A node that just lost its seats of a partition, from a level upwards, gets one back at a higher
    /// level where somebody else can better spare it. No data moves: it has it.
    fn reseat(&mut self, level: usize, partition: u32, mut node: u16) {
        for upper in level + 1..self.levels.len() {
            if self.rank_of(partition, node).is_some() {
                return;
            }
            let row = self.row(partition);
            let rank = self
                .ranks(upper)
                .filter(|&rank| row[rank] != VACANT)
                .min_by_key(|&rank| (self.spare(upper, row[rank]), self.tie(partition, row[rank])));
            let Some(rank) = rank else { continue };
            let holder = row[rank];
            let helps = self.is_short(upper, node) && self.can_spare(upper, holder)
                || self.is_over(upper, holder) && self.has_room(upper, node);
            if helps && self.admits(partition, rank, node) {
                self.transfer(partition, rank, node);
                node = holder;
            }
        }
    }

    /// For each donor, the partitions in which the taker can have its seat, in the order of their hash.
    fn offers(&self, level: usize, taker: u16, rule: Rule) -> Vec<Vec<u32>> {
        let mut offers = vec![Vec::new(); self.node_count()];
        for partition in self.partitions() {
            for rank in self.ranks(level) {
                let donor = self.row(partition)[rank];
                let wanted = donor != VACANT && self.can_spare(level, donor);
                if wanted && rule(self, level, partition, rank, taker) {
                    offers[usize::from(donor)].push(partition);
                }
            }
        }
        for list in &mut offers {
            list.sort_by_cached_key(|&partition| self.tie(partition, taker));
        }
        offers
    }

    /// The rank at which a node can take a donor's seat.
    fn seat_for(
        &self,
        level: usize,
        rule: Rule,
        partition: u32,
        donor: u16,
        node: u16,
    ) -> Option<usize> {
        self.rank_of(partition, donor).filter(|&rank| rule(self, level, partition, rank, node))
    }

    /// A node above its share gives seats to the relatively least loaded.
    fn give(&mut self, level: usize, giver: u16, rule: Rule) {
        let ranks = self.ranks(level);
        let mut seats: Vec<u32> =
            self.partitions().filter(|&p| self.row(p)[ranks.clone()].contains(&giver)).collect();
        seats.sort_by_cached_key(|&partition| self.tie(partition, giver));
        while self.is_over(level, giver) {
            let mut receivers = self.nodes(|seats, node| seats.has_room(level, node));
            receivers.sort_by_key(|&node| (self.want(level, node), self.tie(u32::MAX, node)));
            let found = receivers.iter().find_map(|&node| {
                let fits =
                    |&at: &usize| self.seat_for(level, rule, seats[at], giver, node).is_some();
                (0..seats.len()).rev().find(fits).map(|at| (at, node))
            });
            let Some((at, node)) = found else { break };
            let partition = seats.swap_remove(at);
            if let Some(rank) = self.seat_for(level, rule, partition, giver, node) {
                self.transfer(partition, rank, node);
            }
        }
    }

    /// Finds the shortest chain of moves from one of the sources to a goal, and makes it. Whether it
    /// changed anything.
    fn chain(
        &mut self,
        level: usize,
        rule: Rule,
        sources: Vec<u16>,
        goal: impl Fn(&Self, u16) -> bool,
    ) -> bool {
        let mut found_by: Vec<Option<(u16, u32)>> = vec![None; self.node_count()];
        let mut seen = vec![false; self.node_count()];
        let mut queue: VecDeque<u16> = sources.into();
        for &source in &queue {
            seen[usize::from(source)] = true;
        }
        while let Some(donor) = queue.pop_front() {
            for partition in self.partitions() {
                let Some(rank) = self.rank_of(partition, donor) else { continue };
                if rank >= self.levels[level].end {
                    continue;
                }
                for node in 0..self.node_count() as u16 {
                    if seen[usize::from(node)] || !rule(self, level, partition, rank, node) {
                        continue;
                    }
                    seen[usize::from(node)] = true;
                    found_by[usize::from(node)] = Some((donor, partition));
                    if goal(self, node) {
                        return self.make_chain(level, rule, node, &found_by);
                    }
                    queue.push_back(node);
                }
            }
        }
        false
    }

    /// Makes the moves of a chain from its end to its beginning. A move that another one of the chain
    /// made impossible ends it early.
    fn make_chain(
        &mut self,
        level: usize,
        rule: Rule,
        end: u16,
        found_by: &[Option<(u16, u32)>],
    ) -> bool {
        let mut node = end;
        let mut moved = false;
        while let Some((donor, partition)) = found_by[usize::from(node)] {
            let Some(rank) = self.seat_for(level, rule, partition, donor, node) else { break };
            self.transfer(partition, rank, node);
            moved = true;
            node = donor;
        }
        moved
    }

    fn nodes(&self, wanted: impl Fn(&Self, u16) -> bool) -> Vec<u16> {
        (0..self.node_count() as u16).filter(|&node| wanted(self, node)).collect()
    }

    fn is_short(&self, level: usize, node: u16) -> bool {
        let (of_level, node) = (&self.levels[level], usize::from(node));
        of_level.loads[node] < of_level.least[node] && self.may_even_out(level)
    }

    /// One slot below the share is not worth a chain.
    fn is_far_below(&self, level: usize, node: u16) -> bool {
        let (of_level, node) = (&self.levels[level], usize::from(node));
        of_level.loads[node] + 1 < of_level.least[node] && self.may_even_out(level)
    }

    fn is_over(&self, level: usize, node: u16) -> bool {
        let load = self.levels[level].loads[usize::from(node)];
        load > self.levels[level].most[usize::from(node)]
            && (self.may_even_out(level) || load > self.bearable(level, node))
    }

    fn has_room(&self, level: usize, node: u16) -> bool {
        let level = &self.levels[level];
        level.loads[usize::from(node)] < level.most[usize::from(node)]
    }

    fn can_spare(&self, level: usize, node: u16) -> bool {
        let level = &self.levels[level];
        level.loads[usize::from(node)] > level.least[usize::from(node)]
    }
}
