//! Presets of decrees: small clusters of members, each explored to the end.

use super::DecreePlan;
use crate::{setup::Budget, witness::Witness};

/// One small cluster of members, what is wished for and what may go wrong.
#[derive(Clone, Copy, Debug)]
pub struct DecreePreset {
    /// Its name on the command line.
    pub name: &'static str,
    /// Why it is explored, in one sentence.
    pub why: &'static str,
    plan: fn() -> DecreePlan,
    /// What must happen at least once, or the exploration shows nothing.
    pub needs: &'static [Witness],
    /// Whether it is small enough for every test run.
    pub is_quick: bool,
}

impl DecreePreset {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "two-proposers",
            why: "Two of three members propose different changes: one of them is decreed, whoever hears of what.",
            plan: two_proposers,
            needs: &[Witness::Rivals, Witness::VoteTakenUp],
            is_quick: true,
        },
        Self {
            name: "voter-crash",
            why: "Two of three members propose and the third crashes: what it promised and voted for holds on.",
            plan: voter_crash,
            needs: &[
                Witness::Rivals,
                Witness::VoteTakenUp,
                Witness::VoterCrashed,
                Witness::CrashLost,
                Witness::CrashKept,
                Witness::Restarted,
            ],
            is_quick: false,
        },
        Self {
            name: "raised-vote",
            why: "Two of three members propose while the view is raised: votes hold on, since the same decree follows it.",
            plan: raised_vote,
            needs: &[Witness::Rivals, Witness::VoteTakenUp, Witness::RaisedAmidVote],
            is_quick: false,
        },
        Self {
            name: "one-change",
            why: "Two members carry a change out while one of them crashes: nobody goes back, and news come in any order.",
            plan: one_change,
            needs: &[Witness::Changed, Witness::CrashLost, Witness::CrashKept],
            is_quick: true,
        },
        Self {
            name: "reap-vote",
            why: "A reap round while the next decree is voted on: one that all were fit for is in every later view.",
            plan: reap_vote,
            needs: &[Witness::RoundCompleted, Witness::Unfit, Witness::VoteTakenUp],
            is_quick: true,
        },
    ];

    /// The preset of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|preset| preset.name == name)
    }

    /// Its plan.
    pub fn plan(&self) -> DecreePlan {
        (self.plan)()
    }
}

/// One wish each at two of three members.
fn two_proposers() -> DecreePlan {
    DecreePlan::new(3).wish(0).wish(1).may(Budget::Propose, 2)
}

fn voter_crash() -> DecreePlan {
    let mut plan = two_proposers().may(Budget::Crash, 1);
    plan.crashing = vec![2];
    plan
}

fn raised_vote() -> DecreePlan {
    let mut plan = two_proposers().may(Budget::Raise, 1);
    plan.raising = vec![2];
    plan
}

fn one_change() -> DecreePlan {
    let mut plan = DecreePlan::new(2).wish(0).may(Budget::Propose, 2).may(Budget::Crash, 1);
    plan.reports = true;
    plan.crashing = vec![0, 1];
    plan
}

fn reap_vote() -> DecreePlan {
    let mut plan = DecreePlan::new(3).wish(1).may(Budget::Propose, 2).may(Budget::Reap, 1);
    plan.reaper = Some(0);
    plan
}
