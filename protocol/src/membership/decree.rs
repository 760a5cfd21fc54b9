//! Decrees: which change is next is decided by single-decree Paxos among the members of the present layout.
//!
//! There is one decree at a time: the one that follows the view that a node goes by, however often it was raised. A node votes only on that one;
//! it answers a message about an earlier decree with its view, which is that decree's outcome or a later one, and only
//! then has it forgotten its votes on it. So nobody can be brought to vote twice on one decree. Promises and votes are on disk before
//! they are told. Only layout changes need a majority: the side of a partition that lacks one goes on
//! taking every read and write.

use alloc::collections::BTreeMap;

use crate::{
    id::NodeId,
    membership::message::{Ballot, Decree},
    rules::{Mutant, Rules},
};

/// What an acceptor has promised and voted for on the decree that follows its view.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Acceptor {
    pub(crate) promised: Ballot,
    pub(crate) accepted: Option<(Ballot, Decree)>,
}

impl Acceptor {
    /// Asked for a promise: whether it is given. It must be on disk before it is told.
    pub(crate) fn prepare(&mut self, ballot: Ballot, rules: Rules) -> bool {
        if !rules.keeps(Mutant::TwoDecrees) {
            // The vote is forgotten with every new ballot.
            self.accepted = None;
            self.promised = Ballot::default();
        }
        let gives = ballot >= self.promised;
        if gives {
            self.promised = ballot;
        }
        gives
    }

    /// Asked for a vote: whether it is given. It must be on disk before it is told.
    pub(crate) fn accept(&mut self, ballot: Ballot, decree: Decree) -> bool {
        let gives = ballot >= self.promised;
        if gives {
            self.promised = ballot;
            self.accepted = Some((ballot, decree));
        }
        gives
    }
}

/// One attempt to have a decree decided.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Proposer {
    pub(crate) ballot: Ballot,
    wish: Decree,
    /// Who promised, and what each voted for last.
    promises: BTreeMap<NodeId, Option<(Ballot, Decree)>>,
    /// What is put to the vote, once a majority has promised.
    pub(crate) proposed: Option<Decree>,
    votes: BTreeMap<NodeId, ()>,
}

impl Proposer {
    /// An attempt to have `wish` decided, which may end with what another proposer wished.
    pub(crate) fn new(ballot: Ballot, wish: Decree) -> Self {
        let (promises, votes) = (BTreeMap::new(), BTreeMap::new());
        Self { ballot, wish, promises, proposed: None, votes }
    }

    /// A promise: what to put to the vote, when it makes the majority. It is what was voted for in the highest
    /// ballot that the promises tell of, to which the attempt is bound then, or else what is wished.
    pub(crate) fn promised(
        &mut self,
        from: NodeId,
        last_vote: Option<(Ballot, Decree)>,
        majority: usize,
    ) -> Option<(Decree, bool)> {
        self.promises.insert(from, last_vote);
        if self.proposed.is_some() || self.promises.len() < majority {
            return None;
        }
        let votes = self.promises.values().flatten();
        let newest = votes.max_by_key(|(ballot, _)| *ballot).map(|(_, decree)| decree.clone());
        let bound = newest.is_some();
        let decree = newest.unwrap_or_else(|| self.wish.clone());
        self.proposed = Some(decree.clone());
        Some((decree, bound))
    }

    /// How many voted.
    pub(crate) fn votes(&self) -> usize {
        self.votes.len()
    }

    /// A vote: what is decided, when it makes the majority.
    pub(crate) fn voted(&mut self, from: NodeId, majority: usize) -> Option<Decree> {
        self.votes.insert(from, ());
        if self.votes.len() == majority { self.proposed.clone() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reap_page::Reaped;

    fn ballot(round: u64, proposer: u64) -> Ballot {
        Ballot { round, proposer }
    }

    #[test]
    fn an_acceptor_votes_in_no_ballot_below_its_promise() {
        let mut acceptor = Acceptor::default();
        let sound = Rules::sound();
        assert!(acceptor.prepare(ballot(2, 1), sound));
        assert!(!acceptor.prepare(ballot(1, 9), sound));
        assert!(!acceptor.accept(ballot(1, 9), Decree::Finish));
        assert!(acceptor.accept(ballot(2, 1), Decree::Finish));
        assert_eq!(acceptor.accepted, Some((ballot(2, 1), Decree::Finish)));
    }

    #[test]
    fn a_proposer_takes_up_the_newest_vote_that_it_hears_of() {
        let abort =
            Decree::Joint { commands: [].into(), withdrawn: [].into(), reaped: Reaped::default() };
        let mut proposer = Proposer::new(ballot(3, 1), Decree::Finish);
        assert_eq!(proposer.promised(NodeId(1), None, 2), None);
        let vote = Some((ballot(1, 2), abort.clone()));
        assert_eq!(proposer.promised(NodeId(2), vote, 2), Some((abort.clone(), true)));
        assert_eq!(proposer.promised(NodeId(3), None, 2), None, "it is put to the vote once");
        assert_eq!(proposer.voted(NodeId(1), 2), None);
        assert_eq!(proposer.voted(NodeId(1), 2), None, "a vote counts once");
        assert_eq!(proposer.votes(), 1);
        assert_eq!(proposer.voted(NodeId(3), 2), Some(abort));
    }
}
