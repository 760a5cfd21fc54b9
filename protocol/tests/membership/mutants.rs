//! Each rule that membership keeps, left out, is noticed under some seed.

use cartwheel_protocol::rules::{Mutant, Rules};

use crate::{
    agreement::{walk, walk_amended, walk_read_one},
    raises::walk_raised,
    reaps::walk_reaped,
};

/// Asserts that some seed fails, and fails by that invariant.
fn is_noticed(mutant: Mutant, by: &str, story: impl Fn(u64, Rules) -> Result<(), String>) {
    const SEEDS: u64 = 1_000;
    let rules = Rules::without(mutant);
    let seen = (0..SEEDS).find_map(|seed| Some((seed, story(seed, rules).err()?)));
    let (seed, why) = seen.unwrap_or_else(|| panic!("{mutant} survives {SEEDS} seeds"));
    assert!(why.contains(by), "{mutant}, seed {seed}: {why}");
}

#[test]
fn two_decrees_are_noticed() {
    is_noticed(Mutant::TwoDecrees, "two views of one number", walk);
}

#[test]
fn a_forgotten_decree_is_noticed() {
    is_noticed(Mutant::ForgetDecree, "two views of one number", walk);
}

#[test]
fn a_raise_that_forgets_votes_is_noticed() {
    is_noticed(Mutant::RaiseForgetsVotes, "two views of one number", walk_raised);
}

#[test]
fn a_view_that_is_not_persisted_is_noticed() {
    is_noticed(Mutant::ViewNotPersisted, "went back", walk);
}

#[test]
fn gossip_that_overwrites_what_is_newer_is_noticed() {
    is_noticed(Mutant::GossipOverwritesNewer, "knew more of", walk);
}

#[test]
fn an_amendment_that_keeps_progress_is_noticed() {
    let story = |seed, rules| walk_amended(seed, rules).map(|_| ());
    is_noticed(Mutant::AmendKeepsProgress, "had not caught up", story);
}

#[test]
fn a_change_that_finishes_unseen_is_noticed() {
    is_noticed(Mutant::FinishUnseen, "finished unseen", walk_read_one);
}

#[test]
fn a_voter_that_takes_part_in_a_round_is_noticed() {
    let story = |seed, rules| walk_reaped(seed, rules).map(|_| ());
    is_noticed(Mutant::VoterIsFit, "forgets the round", story);
}

#[test]
fn a_decree_that_forgets_a_round_is_noticed() {
    let story = |seed, rules| walk_reaped(seed, rules).map(|_| ());
    is_noticed(Mutant::DecreeForgetsRound, "forgets the round", story);
}
