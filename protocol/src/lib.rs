//! The protocol core of Cartwheel: a Dynamo-style, always-writable key-value store as pure code.
//!
//! This is the essay to read before the code. It explains Dynamo (DeCandia et al., *Dynamo: Amazon's Highly
//! Available Key-value Store*, SOSP 2007) as it is built here, and says where it departs from the paper and why.
//! Rule names such as V1 or H3 are those of `docs/rules.md`, which says what each asks; the code names them where it keeps them.
//!
//! # The promise
//!
//! A shopping cart must take an addition whatever is broken, and an addition that was acknowledged must never be
//! lost. Both together rule out waiting for a majority, and so rule out agreement: two halves of a partitioned
//! cluster both go on writing the same cart. What is left is to *keep everything* that was written and to merge
//! it later, in such a way that no order of messages, crashes and retries can make a merge forget. Nearly all
//! rules below exist because some plausible shortcut forgets.
//!
//! # No I/O, no clock, no threads, no randomness
//!
//! [`Replica::step`] takes one [`Input`] and appends [`Effect`]s. The same state and input give the same effects. A
//! driver owns sockets, disks and timers; here there are two, an exhaustive model checker and the real node;
//! a simulator can be a third. What the checker explores is not a model *of* the code but the code.
//!
//! The contract between a replica and its driver:
//!
//! * Effects are carried out in order. A [`Effect::Send`] may leave before the step's writes are durable.
//! * [`Effect::Sync`] asks for a barrier. When all writes up to and including this step's are durable, the driver MUST
//!   hand the [`Ticket`] back as [`Input::Synced`]. Tickets are values, not numbers: a crash loses them together
//!   with the writes that they wait for, and nothing has to be remembered.
//! * The writes of one step reach the disk together or not at all, and in order. A crash loses the replica
//!   and a suffix of the unsynced steps, nothing else. The types are the crash model.
//! * A start draws a new [`id::Incarnation`] and gives [`Input::View`] first.
//!
//! # Where a key lives
//!
//! A key hashes into one of Q fixed [`key::Partition`]s (the paper's strategy 3, §6.2). A [`layout::Layout`] names
//! an ordered list of owners for each partition; the first n of a bucket hold the key. They are the head of
//! the *preference list* (§4.3); all other members follow as *fallbacks*, in an order that differs from partition
//! to partition, so that the load of a dead node spreads. A layout is not computed from the member set: it is
//! a step from the layout before, which moves as little as possible. A [`view::View`] is what a replica goes by, with a
//! number that every message carries: a layout, or two while the cluster changes.
//!
//! # When the layout changes
//!
//! In the paper a node that joins or leaves tells others by gossip, and for a while nodes disagree on who owns a key (§4.8.1, §4.9).
//! For sloppy requests that is good enough, and they never wait for a change. A strict read must see every strict write that was
//! acknowledged before, so here a change has a beginning and an end that everybody agrees on:
//!
//! * Wishes (join, leave, replace …) go round in gossip. The members of the present layout decide which of them make the
//!   next one, by single-decree Paxos ([`membership`]): the only thing in this store that needs a majority.
//! * The first decree makes a *joint view* of the present and the next layout. A strict request now needs its quorum in both,
//!   and counts a write's answer only from a shard that goes by exactly its own view (L2).
//! * The owners to be *catch up*: they merge each partition from enough owners that are in the joint view already (L3). What such
//!   an owner does not hold by then cannot become acknowledged without the owners to be.
//! * When all have caught up, and enough owners of the present layout are in the joint view, a second decree makes the
//!   next layout the only one. Until then the change can be amended: a joiner that died for good is taken out again.
//! * Those who own less than before hand their copies over like hints, and drop them when every owner has them (H3). A removed
//!   node drains in the same way when it comes back; until it has, or an operator gives it up, layouts list it.
//!
//! **What keeps two decrees from contradicting each other?** A node votes only on the decree that follows the view that it goes by, and
//! answers about any earlier one with its view. It has a view on disk before a shard goes by it, and a vote before it tells it.
//!
//! # Writing
//!
//! Any node takes any request. One that owns the key *coordinates* it: in one atomic step it reads its own record,
//! applies the operation under a fresh *dot*, writes the record, and sends the **whole merged object** to the
//! other owners (V3). The write succeeds when w *slots* hold it durably.
//!
//! A key has one slot for each owner. The slot is filled by its owner or, if that one is suspected or silent, by a
//! fallback: a *sloppy quorum* (§4.6). It is filled once, and all slots by different nodes (Q1). Counting nodes
//! instead of slots looks the same and is wrong: a late owner and its fallback hand the copy to each other, one of
//! them drops it, and two acknowledgements were one copy. A *strict* request counts owners only.
//!
//! Nothing is acknowledged before its barrier, also when nothing changed: the first copy may still be
//! unsynced (D1). The request goes on after its reply until every slot is filled.
//!
//! # Versions
//!
//! A *dot* names one write: (actor, counter). A *version vector* says for each actor up to which counter writes were
//! seen; it has no gaps (V2). An [`object::Object`] is `seen`, the live entries by dot and, for carts, the add_ids
//! that were cancelled. [`object::Object::merge`] keeps an entry if both copies hold it, or if one holds it and the
//! other has not seen it. What one has seen and no longer holds was replaced or removed there.
//!
//! **When exactly does one version cover another?** A vector covers another if all its counters are at least as
//! high; it *descends* from it if, besides, one is higher. If neither covers the other the versions are concurrent. The
//! paper's phrase ("less-than-or-equal to all of the nodes in the second clock") leaves out that equal clocks
//! are one version and that an actor missing from a clock counts as zero. With dots the question is asked
//! for each entry instead of for whole clocks: is this dot within that vector? So two values that were put with one
//! and the same context stay two siblings, and a put replaces exactly what its context covers (V4).
//!
//! The paper's actor is a node, and a node forgets: it hands a record off and drops it, or loses an unsynced tail.
//! If it then counts from one again, others have already seen "its" dot, and the new, acknowledged write vanishes in
//! the next merge (Riak's kv679). Here an actor is (incarnation, n), and a coordinator extends it only if the
//! record still says that it did the last coordination in this very run; else it opens a fresh one (V1). Nothing is
//! persisted, leased or read from a clock for that.
//!
//! # Carts
//!
//! A register's values are opaque; concurrent puts become siblings and the client resolves them (§4.4). The paper's
//! carts are such registers, which is why "deleted items may resurface". Here a cart is a kind of its own: each
//! addition carries a client-made add_id, the same in every retry, and a removal names the add_ids that the
//! client saw. So a retry adds nothing twice, a removal works on any copy, even one that has not got
//! the addition yet, and it never touches an addition that its client did not see (C1). A cart never joins a
//! client's context into `seen`: at a copy that lacks an entry this would delete it everywhere.
//!
//! # Reading
//!
//! The coordinator asks all owners, answers at r, merges what came, and afterwards repairs the owners that answered
//! with less (*read repair*, §5). A strict read counts owners only: a fallback's "not found" is no evidence of
//! absence (Q2). With Rs + Ws > n a strict read sees every strict write acknowledged before it began.
//!
//! # Hints
//!
//! What a node that owns no copy takes in, it *owes* to owners, and notes that in the same step. Such a record
//! is a *hint* (§4.6). It is handed over until the owner's durable acknowledgement names exactly what is held now
//! (H1); an older acknowledgement settles nothing, because the hint may have grown. Hints never expire (H2).
//!
//! **What happens to hints when their holder dies?** If it comes back with its disk, they come back with it: a hint is a
//! durable record like any other, and a scan finds it. If the disk is lost, the hint was one of the write's w
//! copies, and the promise covers the loss of w − 1 of them: the others are at owners, or are hints themselves.
//! Nothing replaces the lost copy at once; read repair and anti-entropy bring it back to its owner.
//!
//! # Damaged records
//!
//! A record whose checksum fails is not "not found". It is marked, answers readers with an error, takes writes beside
//! its mark, and is mended from other owners once the view has been raised: the same layouts under a new number, which
//! whoever answers must have come to (W1). Nothing in the paper corresponds to it.
//!
//! # What is spent
//!
//! A deleted value leaves its version vector behind, a cancelled addition its id, and every run of a node that ever coordinated a key
//! an entry in its clock. They hide what may still be somewhere: in a hint, in a message, in the memory of a read. So they are kept,
//! until a *reap round* has made certain that it is nowhere: every node, as it comes to a raised view, forgets what it holds
//! in memory, says whether it stores exactly the tombstone or nothing, and takes nothing that was sent in an older view (T1).
//!
//! # Forwarding
//!
//! A node that owns no copy passes the request on to an owner, once. A cart operation may be carried out anywhere any
//! number of times, its ids make it count once. A register put may not: if the forwarder coordinated it again after a
//! silence, a second dot of the same put could bring back what a later put had replaced. So its silence is
//! an *unknown outcome* (F1).
//!
//! # Comparing trees
//!
//! What no read and no hint brings together, anti-entropy does (§4.7): owners compare Merkle trees over a partition's keys, descend to where
//! they differ, and merge. Every write goes through one place, which changes the tree as well: an inner node is the
//! *sum* of the digests below it, so the old one is taken away and the new one put in. Two owners that hold the same tell each other
//! one sum and that it is the same.
//!
//! **What must a tree be rebuilt for?** In the paper's first two strategies a node's key ranges change whenever a member joins or leaves,
//! and all trees over changed ranges must be computed again. With fixed partitions a tree belongs to a
//! partition: it moves with it and is never cut anew. What remains: a restart, for trees
//! live in memory; a tree found to disagree with its data; and a partition that the node newly owns. It is a scan by pages in
//! the background, while requests are served.
//!
//! **Why not with fallbacks?** A fallback holds some of a partition's keys, for a while. Compared with it, an owner would hand it
//! all the others, and it would owe them.
//!
//! # Background work
//!
//! Handing off, catching up, looking for damage, building trees and comparing them go on in pages, bounded in records and in bytes, with
//! a pause in between that grows with what was moved. The core knows no time, so it cannot see that requests suffer: it marks
//! those pauses ([`Effect::SetTimer`]) and the messages that ask for a page ([`Haste::Page`]), and the driver's controller
//! makes both wait (§6.5). To the protocol that is nothing but a slow timer and a slow network.
//!
//! # Caveats: where this departs from the paper
//!
//! * §4.4: clocks are truncated to ten entries there. Dropping an entry brings back what was
//!   replaced, so they go in reap rounds only; [`Config::clock_entries`] truncates as the paper does.
//! * §4.5: the coordinator is "typically the first among the top N nodes". Here any owner may coordinate.
//! * §4.6: an acknowledged hint is deleted there. Here only if the acknowledgement is of exactly what is held.
//! * §4.8.3: failure detection is local opinion, as there; here it never bears on safety, only on the choice of fallbacks.
//! * §6.2: of the three strategies only the third, with owners from a stepwise layout instead of random tokens.
//! * A joiner that is amended away may hold counted copies, as a fallback: it drains like a former member.
//! * Strict requests, carts as a kind, contexts bound to their key, and zones are not in the paper.
//! * §4.8.1: an operator's command is staged at any node, as there, but takes effect by decree and not by gossip.
#![no_std]
extern crate alloc;

pub mod bucket;
pub mod id;
pub mod key;
pub mod version;

pub mod context;
pub mod object;
pub mod record;

pub mod layout;
pub mod reap_page;
pub mod view;

pub mod limits;
mod message;
pub mod request;
mod step;

mod accepting;
mod admitting;
mod anti_entropy;
mod catch_up;
mod coordinate;
mod env;
mod forward;
mod get;
mod hints;
mod marks;
mod mending;
mod paging;
mod put;
mod reaping;
mod replica;
mod requests;
mod trees;
mod waiter;

pub mod format;
pub mod membership;
pub mod rules;

pub use env::shard_of;
pub use message::{Haste, Message};
pub use replica::Replica;
pub use step::{Compared, Config, Effect, Effects, Fact, Freed, Input, ReapEnd, Ticket, Timer};
pub use trees::{MAX_DEPTH as MAX_TREE_DEPTH, Sum, TreeId};
