//! Decisions of two majorities at once (raft section 6): while the voters change from the
//! outgoing set to the incoming one, both must agree.

use super::{MajorityConfig, VoteResult};
use std::collections::BTreeSet;
use std::fmt;

/// Two sets of voters that decide together. Outside of a change the outgoing one is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JointConfig {
    /// The voters that there will be, or simply are.
    pub incoming: MajorityConfig,
    /// The voters that there were; empty unless the configuration is joint.
    pub outgoing: MajorityConfig,
}

impl JointConfig {
    /// Whether `id` is a voter in either half.
    pub fn contains(&self, id: u64) -> bool {
        self.incoming.contains(id) || self.outgoing.contains(id)
    }

    /// The voters of both halves, ascending.
    pub fn ids(&self) -> BTreeSet<u64> {
        self.incoming.iter().chain(self.outgoing.iter()).collect()
    }

    /// The highest index that both halves have committed.
    pub fn committed_index(&self, acked: impl Fn(u64) -> Option<u64>) -> u64 {
        self.incoming.committed_index(&acked).min(self.outgoing.committed_index(&acked))
    }

    /// The outcome of a vote: won if both halves won it, lost if either lost it.
    pub fn vote_result(&self, vote: impl Fn(u64) -> Option<bool>) -> VoteResult {
        let (incoming, outgoing) =
            (self.incoming.vote_result(&vote), self.outgoing.vote_result(&vote));
        if incoming == outgoing {
            incoming
        } else if incoming == VoteResult::Lost || outgoing == VoteResult::Lost {
            VoteResult::Lost
        } else {
            VoteResult::Pending
        }
    }

    /// Draws the acknowledged indexes of all voters as bars.
    pub fn describe(&self, acked: impl Fn(u64) -> Option<u64>) -> String {
        self.ids().into_iter().collect::<MajorityConfig>().describe(acked)
    }
}

impl fmt::Display for JointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.outgoing.is_empty() {
            write!(f, "{}", self.incoming)
        } else {
            write!(f, "{}&&{}", self.incoming, self.outgoing)
        }
    }
}
