//! The order of owners within a level: who coordinates, and who when it is dead. No data moves.

use alloc::{collections::VecDeque, vec, vec::Vec};

use super::seats::Seats;

/// How often all partitions are looked at for a better second owner.
const SECOND_PASSES: usize = 8;

impl Seats {
    /// Orders the owners within each level.
    pub(super) fn settle_order(&mut self) {
        if self.width() > 1 {
            self.settle_first_owners();
            self.settle_second_owners();
        }
    }

    /// Every node becomes first owner in its part of the partitions that it has at the lowest level:
    /// with `end` ranks there, one in `end`, rounded up or down.
    fn settle_first_owners(&mut self) {
        let end = self.levels[0].end as u32;
        let least: Vec<u32> = self.levels[0].loads.iter().map(|load| load / end).collect();
        let most: Vec<u32> = self.levels[0].loads.iter().map(|load| load.div_ceil(end)).collect();
        let mut firsts = self.count_firsts();
        loop {
            let over = |firsts: &[u32]| nodes(firsts.len(), |node| firsts[node] > most[node]);
            let above = |firsts: &[u32]| nodes(firsts.len(), |node| firsts[node] > least[node]);
            let sources = over(&firsts);
            let settled = if sources.is_empty() {
                let short = nodes(firsts.len(), |node| firsts[node] < least[node]);
                let sources = if short.is_empty() { Vec::new() } else { above(&firsts) };
                !self.pass_first(&mut firsts, sources, |firsts, node| firsts[node] < least[node])
            } else {
                !self.pass_first(&mut firsts, sources, |firsts, node| firsts[node] < most[node])
            };
            if settled {
                return;
            }
        }
    }

    fn count_firsts(&self) -> Vec<u32> {
        let mut firsts = vec![0; self.node_count()];
        for partition in self.partitions() {
            firsts[usize::from(self.row(partition)[0])] += 1;
        }
        firsts
    }

    /// Passes one first place along the shortest chain from a source to a goal: each node of the chain
    /// makes way in a partition that the next one owns too. Whether there was one.
    fn pass_first(
        &mut self,
        firsts: &mut [u32],
        sources: Vec<u16>,
        goal: impl Fn(&[u32], usize) -> bool,
    ) -> bool {
        let mut found_by: Vec<Option<(u16, u32)>> = vec![None; self.node_count()];
        let mut seen = vec![false; self.node_count()];
        let mut queue: VecDeque<u16> = sources.into();
        for &source in &queue {
            seen[usize::from(source)] = true;
        }
        while let Some(from) = queue.pop_front() {
            for partition in self.partitions().filter(|&p| self.row(p)[0] == from) {
                for rank in self.ranks(0).skip(1) {
                    let node = self.row(partition)[rank];
                    if core::mem::replace(&mut seen[usize::from(node)], true) {
                        continue;
                    }
                    found_by[usize::from(node)] = Some((from, partition));
                    if !goal(firsts, usize::from(node)) {
                        queue.push_back(node);
                        continue;
                    }
                    let mut node = node;
                    firsts[usize::from(node)] += 1;
                    while let Some((from, partition)) = found_by[usize::from(node)] {
                        // Each partition is in the chain once: only its first owner passes it on.
                        let rank = self.rank_of(partition, node).unwrap_or(0);
                        self.reorder(partition, 0, rank);
                        node = from;
                    }
                    firsts[usize::from(node)] -= 1;
                    return true;
                }
            }
        }
        false
    }

    /// Chooses second owners so that the first places of a dead node go to many, and rather to those
    /// with few of their own.
    fn settle_second_owners(&mut self) {
        let firsts = self.count_firsts();
        let count = self.node_count();
        let mut seconds = vec![0_u32; count * count];
        let pair = |first: u16, second: u16| usize::from(first) * count + usize::from(second);
        for partition in self.partitions() {
            let row = self.row(partition);
            seconds[pair(row[0], row[1])] += 1;
        }
        let level = usize::from(self.levels[0].end == 1);
        let ranks = self.ranks(level);
        let choices = ranks.start.max(1)..ranks.end;
        for _ in 0..SECOND_PASSES {
            let mut changed = false;
            for partition in self.partitions() {
                let row = self.row(partition);
                let (first, second) = (row[0], row[1]);
                let burden = |node: u16, more: u32| {
                    let slots = u64::from(self.levels[level].loads[usize::from(node)]);
                    let carried = firsts[usize::from(node)] + seconds[pair(first, node)] + more;
                    (u64::from(carried) << 32) / slots.max(1)
                };
                let best = choices.clone().min_by_key(|&rank| (burden(row[rank], 1), rank));
                let Some(best) = best.filter(|&rank| burden(row[rank], 1) < burden(second, 0))
                else {
                    continue;
                };
                let node = row[best];
                seconds[pair(first, second)] -= 1;
                seconds[pair(first, node)] += 1;
                self.reorder(partition, 1, best);
                changed = true;
            }
            if !changed {
                break;
            }
        }
    }
}

fn nodes(count: usize, wanted: impl Fn(usize) -> bool) -> Vec<u16> {
    (0..count).filter(|&node| wanted(node)).map(|node| node as u16).collect()
}
