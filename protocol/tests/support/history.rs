//! Random histories of one key: what some copies of it can come to hold, and no more.
//!
//! Objects are only made as replicas make them: dots are new and without gaps (V1, V2), contexts come from states
//! that somebody read, an addition that is known makes no dot (C1), and a copy may forget who it was or lose its
//! latest states. Laws of the merge are asked of these states; on others some of them do not hold.

use std::{collections::BTreeSet, sync::Arc};

use cartwheel_protocol::{
    bucket::{Bucket, BucketName, Conflict, Kind},
    id::{AddId, Incarnation, PutId},
    object::{Addition, Merging, Object, Value},
    rules::Rules,
    version::{Actor, Dot, VersionVector},
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// How many copies a history has.
pub(crate) const COPIES: usize = 4;

/// One event at one copy.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A put whose client has read the state `context`, or nothing.
    Put { at: usize, context: Option<Index>, put_id: u8, time_us: u8 },
    /// A delete of what the state `context` showed.
    Delete { at: usize, context: Index },
    /// A cart operation.
    Change { at: usize, cancel: Vec<u8>, add: Option<u8> },
    /// The copy takes in some earlier state of any copy.
    Merge { into: usize, from: Index },
    /// The copy forgets its actor.
    Forget { at: usize },
    /// The copy falls back to an earlier state of its own and forgets its actor.
    Lose { at: usize, to: Index },
}

/// What kind of history.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// Puts and deletes with contexts.
    Register,
    /// Additions and cancellations, with this bound of `cancelled`.
    Cart(u32),
    /// Puts without contexts in a last-write-wins bucket.
    Latest,
}

/// One copy.
#[derive(Clone, Debug, Default)]
struct Copy {
    object: Object,
    own: Option<Dot>,
    past: Vec<Object>,
}

/// What became of a history.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) merging: Merging,
    copies: Vec<Copy>,
    /// Every state of every copy, oldest first.
    pub(crate) states: Vec<Object>,
    opened: u64,
    /// The dots that were made.
    pub(crate) made: BTreeSet<Dot>,
    /// The contexts that were used.
    pub(crate) used: VersionVector,
    /// Every add_id that was added, and that was cancelled.
    pub(crate) added: BTreeSet<AddId>,
    pub(crate) cancelled: BTreeSet<AddId>,
    /// Every put by what a last-write-wins bucket orders by.
    pub(crate) puts: BTreeSet<(u64, PutId)>,
}

impl Shape {
    /// Histories of this shape; `losses` if copies may lose states.
    pub(crate) fn histories(self, losses: bool) -> impl Strategy<Value = Vec<Step>> {
        vec(self.step(losses), 1..40)
    }

    fn step(self, losses: bool) -> BoxedStrategy<Step> {
        let at = 0..COPIES;
        let merge =
            (at.clone(), any::<Index>()).prop_map(|(into, from)| Step::Merge { into, from });
        let forget = at.clone().prop_map(|at| Step::Forget { at });
        let lose = (at.clone(), any::<Index>()).prop_map(|(at, to)| Step::Lose { at, to });
        let losing = if losses { 1 } else { 0 };
        let write = match self {
            Self::Register => {
                let put = (at.clone(), any::<Option<Index>>(), 0..12_u8, 0..9_u8);
                let put = put.prop_map(|(at, context, put_id, time_us)| Step::Put {
                    at,
                    context,
                    put_id,
                    time_us,
                });
                let delete = (at, any::<Index>());
                let delete = delete.prop_map(|(at, context)| Step::Delete { at, context });
                prop_oneof![3 => put, 1 => delete].boxed()
            }
            Self::Latest => (at, 0..12_u8, 0..9_u8)
                .prop_map(|(at, put_id, time_us)| Step::Put { at, context: None, put_id, time_us })
                .boxed(),
            Self::Cart(_) => (at, vec(0..12_u8, 0..3), prop::option::weighted(0.7, 0..12_u8))
                .prop_map(|(at, cancel, add)| Step::Change { at, cancel, add })
                .boxed(),
        };
        prop_oneof![4 => write, 4 => merge, 1 => forget, losing => lose].boxed()
    }

    fn merging(self, rules: Rules) -> Merging {
        let name = BucketName::new("history").expect("a valid name");
        let (kind, conflict, cancelled_bound) = match self {
            Self::Register => (Kind::Register, Conflict::Siblings, 64),
            Self::Latest => (Kind::Register, Conflict::LastWriteWins, 64),
            Self::Cart(bound) => (Kind::Cart, Conflict::Siblings, bound),
        };
        Merging::of(&Bucket { conflict, cancelled_bound, ..Bucket::new(name, kind, 3) }, rules)
    }
}

impl World {
    /// Plays a history.
    pub(crate) fn after(shape: Shape, rules: Rules, history: &[Step]) -> Self {
        let mut world = Self {
            merging: shape.merging(rules),
            copies: vec![Copy::default(); COPIES],
            states: vec![Object::new()],
            opened: 0,
            made: BTreeSet::new(),
            used: VersionVector::default(),
            added: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            puts: BTreeSet::new(),
        };
        for step in history {
            world.play(step);
        }
        world
    }

    /// What all copies hold.
    pub(crate) fn copies(&self) -> Vec<Object> {
        self.copies.iter().map(|copy| copy.object.clone()).collect()
    }

    /// What all copies hold together.
    pub(crate) fn merged(&self) -> Object {
        let merge = |all: Object, copy: &Copy| all.merge(&copy.object, self.merging);
        self.copies.iter().fold(Object::new(), merge)
    }

    fn play(&mut self, step: &Step) {
        let merging = self.merging;
        let (at, object) = match step {
            Step::Put { at, context, put_id, time_us } => {
                let seen = context.map_or_else(VersionVector::default, |at| self.read(at));
                self.used = self.used.join(&seen);
                let dot = self.next_dot(*at);
                let value = value(*put_id, *time_us);
                self.puts.insert((value.time_us, value.put_id));
                (*at, self.copies[*at].object.put(merging, &seen, dot, value))
            }
            Step::Delete { at, context } => {
                let seen = self.read(*context);
                self.used = self.used.join(&seen);
                (*at, self.copies[*at].object.delete(&seen))
            }
            Step::Change { at, cancel, add } => (*at, self.change(*at, cancel, *add)),
            Step::Merge { into, from } => {
                (*into, self.copies[*into].object.merge(from.get(&self.states), merging))
            }
            Step::Forget { at } => {
                self.copies[*at].own = None;
                return;
            }
            Step::Lose { at, to } => {
                let copy = &mut self.copies[*at];
                if !copy.past.is_empty() {
                    copy.past.truncate(to.index(copy.past.len()) + 1);
                    copy.object = copy.past.pop().unwrap_or_default();
                    copy.own = None;
                }
                return;
            }
        };
        let copy = &mut self.copies[at];
        copy.past.push(std::mem::replace(&mut copy.object, object.clone()));
        self.states.push(object);
    }

    fn change(&mut self, at: usize, cancel: &[u8], add: Option<u8>) -> Object {
        let merging = self.merging;
        let cancel: Vec<AddId> = cancel.iter().map(|id| AddId((*id).into())).collect();
        self.cancelled.extend(&cancel);
        let object = self.copies[at].object.change(merging, &cancel, None);
        let Some(add_id) = add.map(|id| AddId(id.into())) else { return object };
        self.added.insert(add_id);
        if object.knows(add_id) {
            return object;
        }
        let dot = self.next_dot(at);
        let sku = format!("sku{add_id}");
        let added = Addition { add_id, sku: sku.into(), quantity: 1 };
        object.change(merging, &[], Some((dot, added)))
    }

    fn read(&self, context: Index) -> VersionVector {
        context.get(&self.states).seen().clone()
    }

    /// V1 and V2: the copy's own actor if it remembers it, else a new one.
    fn next_dot(&mut self, at: usize) -> Dot {
        let dot = match self.copies[at].own {
            Some(own) => Dot { counter: own.counter + 1, ..own },
            None => {
                self.opened += 1;
                let actor = Actor { incarnation: Incarnation(at as u64 + 1), n: self.opened };
                Dot { actor, counter: 1 }
            }
        };
        self.copies[at].own = Some(dot);
        self.made.insert(dot);
        dot
    }
}

/// A put_id names one value and one time.
fn value(put_id: u8, time_us: u8) -> Value {
    let bytes = Arc::from([put_id]);
    Value {
        put_id: PutId(u128::from(put_id) << 8 | u128::from(time_us)),
        time_us: time_us.into(),
        bytes,
    }
}
