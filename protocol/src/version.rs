//! Dots and version vectors (paper §4.4; *Dotted Version Vectors*, Preguiça et al. 2010).

use alloc::{sync::Arc, vec::Vec};
use core::{cmp::Ordering, fmt};

use crate::id::Incarnation;

/// Who numbers writes to one key: the `n`-th actor that one shard of one run of a process opened.
///
/// Vector clocks of the paper name a node. A node forgets (a hand-off, a reap, a lost tail), so here an
/// actor is never taken up again once its counter may have been forgotten (rule V1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Actor {
    /// The run of the process.
    pub incarnation: Incarnation,
    /// Counts the actors that the shard opened in this run, from one.
    pub n: u64,
}

/// One write: the `counter`-th that `actor` coordinated for the key, from one. Never reused (V1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dot {
    /// Who coordinated the write.
    pub actor: Actor,
    /// Its number among the actor's writes to the key.
    pub counter: u64,
}

/// For each actor the number of its writes that were seen. It has no gaps: `counter` covers all dots of
/// the actor up to it (V2). 24 bytes an actor, sorted, immutable and shared.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VersionVector(Arc<[Dot]>);

impl VersionVector {
    /// Builds one from pairs of actor and counter, in any order; the highest counter of an actor counts.
    pub fn from_dots(dots: impl IntoIterator<Item = Dot>) -> Self {
        let mut dots: Vec<Dot> = dots.into_iter().filter(|dot| dot.counter > 0).collect();
        dots.sort_unstable_by(|a, b| a.actor.cmp(&b.actor).then(b.counter.cmp(&a.counter)));
        dots.dedup_by_key(|dot| dot.actor);
        Self(dots.into())
    }

    /// The last dot of each actor, sorted by actor.
    pub fn dots(&self) -> &[Dot] {
        &self.0
    }

    /// How many actors it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it covers nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of the actor's writes that are covered; zero if none.
    pub fn counter(&self, actor: Actor) -> u64 {
        self.0.binary_search_by_key(&actor, |dot| dot.actor).map_or(0, |at| self.0[at].counter)
    }

    /// Whether the write is covered.
    pub fn covers(&self, dot: Dot) -> bool {
        dot.counter <= self.counter(dot.actor)
    }

    /// Whether every write that `other` covers is covered here: all counters are at least as high.
    pub fn includes(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || other.0.iter().all(|dot| self.covers(*dot))
    }

    /// The least vector that includes both.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        if self.includes(other) {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        let mut joined = Vec::with_capacity(self.len() + other.len());
        let (mut left, mut right) = (&self.0[..], &other.0[..]);
        while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
            let order = a.actor.cmp(&b.actor);
            joined.push(match order {
                Ordering::Less => *a,
                Ordering::Greater => *b,
                Ordering::Equal => *a.max(b),
            });
            left = if order.is_le() { left_rest } else { left };
            right = if order.is_ge() { right_rest } else { right };
        }
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        Self(joined.into())
    }

    /// The vector that also covers `dot`.
    #[must_use]
    pub fn with(&self, dot: Dot) -> Self {
        match self.0.binary_search_by_key(&dot.actor, |covered| covered.actor) {
            Ok(at) if self.0[at].counter >= dot.counter => self.clone(),
            Ok(at) => {
                let mut dots = self.0.to_vec();
                dots[at] = dot;
                Self(dots.into())
            }
            Err(at) => {
                let mut dots = Vec::with_capacity(self.len() + 1);
                dots.extend_from_slice(&self.0[..at]);
                dots.push(dot);
                dots.extend_from_slice(&self.0[at..]);
                Self(dots.into())
            }
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.n)
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.actor, self.counter)
    }
}

impl fmt::Display for VersionVector {
    /// `[i1.1:2 i2.1:1]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, dot) in self.0.iter().enumerate() {
            write!(f, "{}{dot}", if at == 0 { "" } else { " " })?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(incarnation: u64, counter: u64) -> Dot {
        Dot { actor: Actor { incarnation: Incarnation(incarnation), n: 1 }, counter }
    }

    #[test]
    fn join_takes_the_higher_counter_of_each_actor() {
        let a = VersionVector::from_dots([dot(1, 3), dot(2, 1)]);
        let b = VersionVector::from_dots([dot(2, 4), dot(5, 1)]);
        let joined = VersionVector::from_dots([dot(1, 3), dot(2, 4), dot(5, 1)]);
        assert_eq!(a.join(&b), joined);
        assert_eq!(b.join(&a), joined);
        assert!(joined.includes(&a) && joined.includes(&b) && !a.includes(&b));
    }

    #[test]
    fn with_covers_one_more_write() {
        let a = VersionVector::from_dots([dot(1, 3), dot(4, 1)]);
        assert_eq!(a.with(dot(1, 2)), a);
        assert_eq!(a.with(dot(2, 1)), VersionVector::from_dots([dot(1, 3), dot(2, 1), dot(4, 1)]));
        assert!(a.with(dot(1, 4)).covers(dot(1, 4)) && !a.covers(dot(1, 4)));
    }
}
