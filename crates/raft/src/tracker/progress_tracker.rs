//! The configuration together with what is known of each member in it.
//!
//! Invariant, kept by `confchange`: the members of the configuration are the keys of `progress`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use raftpb::ConfState;

use super::{Config, Progress};
use crate::quorum::VoteResult;

/// The progress of each member. Ordered, since the order of messages follows it.
pub type ProgressMap = BTreeMap<u64, Progress>;

/// A line per member: `2: StateProbe match=0 next=1 inactive`.
pub fn describe_progress(progress: &ProgressMap) -> String {
    progress.iter().fold(String::new(), |mut lines, (id, progress)| {
        writeln!(lines, "{id}: {progress}").expect("writing to a string cannot fail");
        lines
    })
}

/// The active configuration, the progress of its members, and their votes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressTracker {
    /// The members by role.
    pub config: Config,
    /// The progress of every member, voter or learner.
    pub progress: ProgressMap,
    /// The votes received in the election under way; the first of a member counts.
    pub votes: BTreeMap<u64, bool>,
    /// The limit of appends under way to each member, in messages.
    pub max_inflight: usize,
    /// The limit of appends under way to each member, in bytes; zero for none.
    pub max_inflight_bytes: u64,
}

impl ProgressTracker {
    /// Nobody yet, with the limits that members are to get.
    pub fn new(max_inflight: usize, max_inflight_bytes: u64) -> Self {
        Self { max_inflight, max_inflight_bytes, ..Self::default() }
    }

    /// The configuration as stored in snapshots.
    pub fn conf_state(&self) -> ConfState {
        self.config.conf_state()
    }

    /// Whether there is one voter only.
    pub fn is_singleton(&self) -> bool {
        self.config.voters.incoming.len() == 1 && !self.config.voters.is_joint()
    }

    /// The largest index that the voters are known to have acknowledged by quorum.
    pub fn committed(&self) -> u64 {
        let matched = |id| self.progress.get(&id).map(|progress| progress.matched);
        self.config.voters.committed_index(matched)
    }

    /// Whether a quorum of voters was heard of since `recent_active` was last cleared.
    pub fn quorum_active(&self) -> bool {
        let active = |id| {
            let progress = self.progress.get(&id).filter(|progress| !progress.is_learner)?;
            Some(progress.recent_active)
        };
        self.config.voters.vote_result(active) == VoteResult::Won
    }

    /// The voters of both halves in ascending order.
    pub fn voter_nodes(&self) -> Vec<u64> {
        self.config.voters.ids().iter().collect()
    }

    /// The learners in ascending order.
    pub fn learner_nodes(&self) -> Vec<u64> {
        self.config.learners.iter().copied().collect()
    }

    /// Forgets all votes, for a new election.
    pub fn reset_votes(&mut self) {
        self.votes.clear();
    }

    /// Notes the vote of a member, unless it has voted.
    pub fn record_vote(&mut self, id: u64, granted: bool) {
        self.votes.entry(id).or_insert(granted);
    }

    /// The number of votes granted and rejected, and what follows from them.
    ///
    /// The numbers are for logs: they leave out learners and members that are gone.
    pub fn tally_votes(&self) -> (usize, usize, VoteResult) {
        let (mut granted, mut rejected) = (0, 0);
        for (id, progress) in &self.progress {
            match self.votes.get(id) {
                Some(true) if !progress.is_learner => granted += 1,
                Some(false) if !progress.is_learner => rejected += 1,
                _ => {}
            }
        }
        let result = self.config.voters.vote_result(|id| self.votes.get(&id).copied());
        (granted, rejected, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Inflights;

    fn tracker(voters: &[u64], learners: &[u64]) -> ProgressTracker {
        let mut tracker = ProgressTracker::new(8, 0);
        tracker.config.voters.incoming = voters.iter().copied().collect();
        tracker.config.learners = learners.iter().copied().collect();
        for id in voters.iter().chain(learners) {
            let mut progress = Progress::new(id + 1, Inflights::new(8, 0));
            progress.maybe_update(*id);
            progress.is_learner = learners.contains(id);
            tracker.progress.insert(*id, progress);
        }
        tracker
    }

    #[test]
    fn learners_neither_commit_nor_vote_nor_keep_a_leader() {
        let mut tracker = tracker(&[1, 2, 3], &[4, 5]);
        assert_eq!(tracker.committed(), 2);
        for id in [1, 4, 5] {
            tracker.record_vote(id, true);
            tracker.progress.get_mut(&id).unwrap().recent_active = true;
        }
        assert_eq!(tracker.tally_votes(), (1, 0, VoteResult::Pending));
        assert!(!tracker.quorum_active());
        tracker.progress.get_mut(&2).unwrap().recent_active = true;
        assert!(tracker.quorum_active());
        assert_eq!((tracker.voter_nodes(), tracker.learner_nodes()), (vec![1, 2, 3], vec![4, 5]));
    }

    #[test]
    fn the_first_vote_of_a_member_counts() {
        let mut tracker = tracker(&[1], &[]);
        tracker.record_vote(1, false);
        tracker.record_vote(1, true);
        assert_eq!(tracker.tally_votes(), (0, 1, VoteResult::Lost));
        tracker.reset_votes();
        assert_eq!(tracker.tally_votes(), (0, 0, VoteResult::Pending));
        assert!(tracker.is_singleton());
    }

    #[test]
    fn a_joint_configuration_of_one_voter_is_no_singleton() {
        let mut tracker = tracker(&[1], &[]);
        tracker.config.voters.outgoing.insert(1);
        assert!(!tracker.is_singleton());
    }
}
