//! What the checker has seen, as results.

use std::collections::BTreeMap;

use super::batch::Name;
use super::checker::Checker;
use super::results::{Anomaly, Class, Diverged, Results};
use super::rules::Found;
use super::state::{Addition, Cart};
use super::timeline::Moment;
use crate::Verdict;

/// How many anomalies of one class are described one by one. All are named and counted.
const MAX_DESCRIBED: usize = 100;
/// How many of the stalest additions are described.
const WORST_STALE: usize = 8;
/// How many unread carts the error names.
const MAX_NAMED: usize = 5;

/// Ends the check.
pub(crate) fn report(mut checker: Checker) -> Results {
    checker.finish();
    let mut found = std::mem::take(&mut checker.found);
    let mut recovered = Vec::new();
    for (place, cart) in checker.carts.list.iter().enumerate() {
        for addition in 0..cart.additions.len() as u32 {
            let state = &cart.additions[addition as usize];
            let mut add = |class, promised, read| {
                found.push(Found { class, cart: place as u32, addition, promised, read });
            };
            if let Some(read) = cart.read_finally.filter(|read| is_lost(state, *read)) {
                add(Class::Lost, state.acknowledged, read);
            } else if let Some((promised, read)) = state.stale {
                add(Class::Stale, promised, read);
            }
            let failed = state.attempts > 0 && state.attempts == state.failed_attempts;
            if state.shown && failed {
                add(Class::Denied, Moment::NEVER, Moment::NEVER);
            } else if state.shown && state.attempts > 0 && !state.is_acknowledged() {
                recovered.push(cart.add_id(addition).to_owned());
            }
        }
    }
    fill(checker, &found, recovered)
}

/// Acknowledged before a final read, in no final read, and nobody can have cancelled it.
fn is_lost(state: &Addition, read_finally: Moment) -> bool {
    state.acknowledged < read_finally
        && !state.shown_finally
        && !state.maybe_cancelled
        && state.open_cancels == 0
}

fn fill(mut checker: Checker, found: &[Found], mut recovered: Vec<String>) -> Results {
    recovered.sort_unstable();
    let names = |class| names(&checker, found, class);
    let (lost, resurrected, phantom) =
        (names(Class::Lost), names(Class::Resurrected), names(Class::Phantom));
    let (duplicated, denied) = (names(Class::Duplicated), names(Class::Denied));
    let (stale_strict, stale) = (names(Class::StaleStrict), names(Class::Stale));
    let (read_your_writes, monotonic_reads) =
        (names(Class::ReadYourWrites), names(Class::MonotonicReads));
    let diverged = diverged(&checker);
    let unread = unread(&checker);
    let worst_stale = worst_stale(&checker, found);
    let acknowledged_count = count(&checker, Addition::is_acknowledged);
    let error = explain(&checker, acknowledged_count, &unread);
    let sound = [&lost, &resurrected, &phantom, &duplicated, &denied, &stale_strict]
        .into_iter()
        .all(Vec::is_empty)
        && diverged.is_empty();
    let conclusive = if error.is_none() { Verdict::Valid } else { Verdict::Unknown };
    Results {
        valid: Verdict::from_bool(sound).and(conclusive),
        error,
        attempt_count: count(&checker, |state| state.attempts > 0),
        acknowledged_count,
        lost_count: lost.len() as u64,
        lost,
        resurrected_count: resurrected.len() as u64,
        resurrected,
        phantom_count: phantom.len() as u64,
        phantom,
        duplicated_count: duplicated.len() as u64,
        duplicated,
        denied_count: denied.len() as u64,
        denied,
        recovered_count: recovered.len() as u64,
        recovered,
        diverged_count: diverged.len() as u64,
        diverged,
        stale_strict_count: stale_strict.len() as u64,
        stale_strict,
        stale_count: stale.len() as u64,
        stale,
        read_your_writes_count: read_your_writes.len() as u64,
        read_your_writes,
        monotonic_reads_count: monotonic_reads.len() as u64,
        monotonic_reads,
        worst_stale_latency_ms: worst_stale.iter().filter_map(|s| s.latency_ms).max().unwrap_or(0),
        worst_stale,
        anomalies: anomalies(&checker, found),
        ops: Name::ALL
            .into_iter()
            .map(|name| (name.as_str(), checker.counts[name as usize]))
            .collect(),
        cart_count: checker.carts.list.len() as u64,
        unread_count: unread.len() as u64,
        availability: std::mem::take(&mut checker.gaps).finish(),
    }
}

fn count(checker: &Checker, which: impl Fn(&Addition) -> bool) -> u64 {
    let additions = checker.carts.list.iter().flat_map(|cart| &cart.additions);
    additions.filter(|state| which(state)).count() as u64
}

fn names(checker: &Checker, found: &[Found], class: Class) -> Vec<String> {
    let mut names: Vec<_> = found
        .iter()
        .filter(|found| found.class == class)
        .map(|found| checker.carts.list[found.cart as usize].add_id(found.addition).to_owned())
        .collect();
    names.sort_unstable();
    names
}

/// Why the history cannot tell, if it cannot.
fn explain(checker: &Checker, acknowledged_count: u64, unread: &[u32]) -> Option<String> {
    if acknowledged_count == 0 {
        return Some("no addition was acknowledged".to_owned());
    }
    let failed = |cart: &&Cart| !cart.failed_finally.is_empty();
    let failed: Vec<&str> = checker.carts.list.iter().filter(failed).map(|c| &*c.name).collect();
    let unread: Vec<&str> =
        unread.iter().map(|cart| &*checker.carts.list[*cart as usize].name).collect();
    let (carts, what) = match (&unread[..], &failed[..]) {
        ([], []) => return None,
        ([], failed) => (failed, "have final reads that failed and were not made again"),
        (unread, _) => (unread, "have no final read after their last acknowledgement"),
    };
    let named = carts[..carts.len().min(MAX_NAMED)].join(", ");
    let more = if carts.len() > MAX_NAMED { ", …" } else { "" };
    Some(format!("{} carts {what}: {named}{more}", carts.len()))
}

/// The carts of which an acknowledged addition was never looked for.
fn unread(checker: &Checker) -> Vec<u32> {
    let unread = |cart: &Cart| {
        let looked_for = |state: &Addition| {
            state.shown_finally || cart.read_finally.is_some_and(|read| state.acknowledged < read)
        };
        cart.additions.iter().any(|state| state.is_acknowledged() && !looked_for(state))
    };
    let carts = checker.carts.list.iter().enumerate();
    carts.filter(|(_, cart)| unread(cart)).map(|(number, _)| number as u32).collect()
}

fn diverged(checker: &Checker) -> Vec<Diverged> {
    let mut diverged: Vec<_> =
        checker.carts.list.iter().filter_map(|cart| differing(checker, cart)).collect();
    diverged.sort_unstable_by(|a, b| a.cart.cmp(&b.cart));
    diverged
}

fn differing(checker: &Checker, cart: &Cart) -> Option<Diverged> {
    let mut holders: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for copy in &cart.copies {
        for addition in &copy.shown {
            let nodes = holders.entry(*addition).or_default();
            if nodes.last() != Some(&copy.node) {
                nodes.push(copy.node);
            }
        }
    }
    holders.retain(|_, nodes| nodes.len() < cart.copies.len());
    // What differs beneath what is shown comes up again with a later hint, retry or copy.
    let digests = cart.copies.iter().filter_map(|copy| Some((copy.node, copy.digest.as_deref()?)));
    let mut digests: BTreeMap<u32, &str> = digests.collect();
    if digests.values().all(|digest| digests.values().next() == Some(digest)) {
        digests.clear();
    }
    if holders.is_empty() && digests.is_empty() {
        return None;
    }
    let name = |node: &u32| checker.nodes[*node as usize].clone();
    let names = |nodes: Vec<u32>| {
        let mut names: Vec<_> = nodes.iter().map(name).collect();
        names.sort_unstable();
        names
    };
    Some(Diverged {
        cart: cart.name.to_string(),
        nodes: names(cart.copies.iter().map(|copy| copy.node).collect()),
        digests: digests.iter().map(|(node, digest)| (name(node), (*digest).to_owned())).collect(),
        differing: holders
            .into_iter()
            .map(|(addition, nodes)| (cart.add_id(addition).to_owned(), names(nodes)))
            .collect(),
    })
}

fn describe(checker: &Checker, found: &Found) -> Anomaly {
    let cart = &checker.carts.list[found.cart as usize];
    Anomaly {
        class: found.class,
        cart: cart.name.to_string(),
        add_id: cart.add_id(found.addition).to_owned(),
        promised_index: checker.timeline.index(found.promised),
        read_index: checker.timeline.index(found.read),
        latency_ms: checker.timeline.between(found.promised, found.read).map(|ns| ns / 1_000_000),
    }
}

fn anomalies(checker: &Checker, found: &[Found]) -> Vec<Anomaly> {
    let mut described: BTreeMap<Class, usize> = BTreeMap::new();
    let mut anomalies = Vec::new();
    for found in found.iter().filter(|found| found.class.is_fault()) {
        let already = described.entry(found.class).or_default();
        if *already < MAX_DESCRIBED {
            anomalies.push(describe(checker, found));
        }
        *already += 1;
    }
    anomalies.sort_by_key(|anomaly| (anomaly.class, anomaly.read_index));
    anomalies
}

fn worst_stale(checker: &Checker, found: &[Found]) -> Vec<Anomaly> {
    let latency = |found: &&Found| checker.timeline.between(found.promised, found.read);
    let mut stale: Vec<_> = found.iter().filter(|found| found.class == Class::Stale).collect();
    stale.sort_by_key(|found| std::cmp::Reverse(latency(found)));
    stale.into_iter().take(WORST_STALE).map(|found| describe(checker, found)).collect()
}
