//! The leader's view of the members: who they are, how far each is, who voted for it.

mod inflights;
mod progress;

pub use inflights::Inflights;
pub use progress::{Progress, ProgressMap, ProgressState};

use crate::quorum::{JointConfig, MajorityConfig, VoteResult};
use raftpb::ConfState;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Who the members are.
///
/// Invariants, checked by every change: no id is both voter and learner; `learners_next` is a
/// subset of the outgoing voters, and it, the outgoing voters and `auto_leave` are empty unless
/// the configuration is joint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The voters.
    pub voters: JointConfig,
    /// Whether the leader leaves a joint configuration by itself once it is in force.
    pub auto_leave: bool,
    /// Members that receive the log and have no vote.
    pub learners: BTreeSet<u64>,
    /// Outgoing voters that become learners when the joint configuration is left. They cannot be
    /// learners before: they still vote.
    pub learners_next: BTreeSet<u64>,
}

impl Config {
    /// Whether a change of voters is under way.
    pub fn is_joint(&self) -> bool {
        !self.voters.outgoing.is_empty()
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |ids: &BTreeSet<u64>| ids.iter().copied().collect::<MajorityConfig>();
        write!(f, "voters={}", self.voters)?;
        if !self.learners.is_empty() {
            write!(f, " learners={}", set(&self.learners))?;
        }
        if !self.learners_next.is_empty() {
            write!(f, " learners_next={}", set(&self.learners_next))?;
        }
        if self.auto_leave {
            f.write_str(" autoleave")?;
        }
        Ok(())
    }
}

/// The members with their progress and votes.
#[derive(Debug, Clone)]
pub struct ProgressTracker {
    /// Who the members are.
    pub config: Config,
    /// How far each member is.
    pub progress: ProgressMap,
    /// Who answered the current election, and how.
    pub votes: BTreeMap<u64, bool>,
    /// In-flight appends per member, at most.
    pub inflight_count_max: usize,
    /// In-flight bytes per member, at most; 0 is no limit.
    pub inflight_bytes_max: u64,
}

impl ProgressTracker {
    /// No members yet.
    pub fn new(inflight_count_max: usize, inflight_bytes_max: u64) -> ProgressTracker {
        ProgressTracker {
            config: Config::default(),
            progress: ProgressMap::new(),
            votes: BTreeMap::new(),
            inflight_count_max,
            inflight_bytes_max,
        }
    }

    /// An empty in-flight window of the configured size.
    pub fn new_inflights(&self) -> Inflights {
        Inflights::new(self.inflight_count_max, self.inflight_bytes_max)
    }

    /// The configuration as a message, ids ascending.
    pub fn conf_state(&self) -> ConfState {
        ConfState {
            voters: self.config.voters.incoming.iter().collect(),
            learners: self.config.learners.iter().copied().collect(),
            voters_outgoing: self.config.voters.outgoing.iter().collect(),
            learners_next: self.config.learners_next.iter().copied().collect(),
            auto_leave: Some(self.config.auto_leave),
        }
    }

    /// Whether there is one voter only, so that it decides alone.
    pub fn is_singleton(&self) -> bool {
        self.config.voters.incoming.len() == 1 && !self.config.is_joint()
    }

    /// The highest index that a quorum has in its log.
    pub fn committed(&self) -> u64 {
        self.config.voters.committed_index(|id| self.progress.get(&id).map(|pr| pr.matched))
    }

    /// The same with learners taken for voters, for [`crate::planted`].
    pub(crate) fn committed_with_learners(&self) -> u64 {
        let quorum = self.config.voters.incoming.len() / 2;
        let mut matched: Vec<u64> = self.progress.values().map(|member| member.matched).collect();
        matched.sort_unstable_by(|one, other| other.cmp(one));
        matched.get(quorum).copied().unwrap_or_default()
    }

    /// The first member whose id is above `id`. Walking the members with this borrows nothing in
    /// between; ids start at 1, so a walk starts at 0.
    pub(crate) fn member_after(&self, id: u64) -> Option<u64> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.progress.range((Excluded(id), Unbounded)).next().map(|(id, _)| *id)
    }

    /// Whether a quorum was heard since the last check.
    pub fn is_quorum_active(&self) -> bool {
        let active =
            |id| self.progress.get(&id).filter(|pr| !pr.is_learner).map(|pr| pr.recent_active);
        self.config.voters.vote_result(active) == VoteResult::Won
    }

    /// Forgets all votes.
    pub fn reset_votes(&mut self) {
        self.votes.clear();
    }

    /// Notes a vote; the first one of a member counts.
    pub fn record_vote(&mut self, id: u64, granted: bool) {
        self.votes.entry(id).or_insert(granted);
    }

    /// The outcome of the election so far.
    pub fn vote_result(&self) -> VoteResult {
        self.config.voters.vote_result(|id| self.votes.get(&id).copied())
    }
}
