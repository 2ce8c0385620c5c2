//! Two majorities that must both agree, as while the members of a group change.

use std::fmt;

use super::{MajorityConfig, VoteResult};

/// The voters of a group: those to come and, during a joint change, those that leave.
///
/// A decision needs the majority of both halves (Raft thesis, section 4.3). Outside of a joint
/// change `outgoing` is empty and decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JointConfig {
    /// The voters that stay or arrive; the only ones outside of a joint change.
    pub incoming: MajorityConfig,
    /// The voters as they were before the joint change; empty outside of one.
    pub outgoing: MajorityConfig,
}

impl JointConfig {
    /// Whether a joint change is under way.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `id` votes in either half.
    pub fn contains(&self, id: u64) -> bool {
        self.incoming.contains(id) || self.outgoing.contains(id)
    }

    /// The voters of both halves as one set.
    pub fn ids(&self) -> MajorityConfig {
        self.incoming.iter().chain(self.outgoing.iter()).collect()
    }

    /// The largest index committed in both halves. See [`MajorityConfig::committed_index`].
    pub fn committed_index(&self, acked: impl Fn(u64) -> Option<u64>) -> u64 {
        let incoming = self.incoming.committed_index(&acked);
        incoming.min(self.outgoing.committed_index(&acked))
    }

    /// The outcome of an election that needs both halves.
    pub fn vote_result(&self, vote: impl Fn(u64) -> Option<bool>) -> VoteResult {
        match (self.incoming.vote_result(&vote), self.outgoing.vote_result(&vote)) {
            (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
            (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
            _ => VoteResult::Pending,
        }
    }

    /// A chart of all voters. See [`MajorityConfig::describe`].
    pub fn describe(&self, acked: impl Fn(u64) -> Option<u64>) -> String {
        self.ids().describe(acked)
    }
}

/// `(1 2 3)`, or `(1 2 3)&&(1 2 4)` during a joint change.
impl fmt::Display for JointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.incoming)?;
        if self.is_joint() {
            write!(f, "&&{}", self.outgoing)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint(incoming: &[u64], outgoing: &[u64]) -> JointConfig {
        let half = |ids: &[u64]| ids.iter().copied().collect();
        JointConfig { incoming: half(incoming), outgoing: half(outgoing) }
    }

    #[test]
    fn the_slower_half_decides_the_committed_index() {
        let voters = joint(&[1, 2, 3], &[3, 4, 5]);
        // 1, 2 and 3 are far ahead, 4 and 5 are not.
        let acked = |id| Some(if id <= 3 { 20 } else { id });
        assert_eq!(voters.committed_index(acked), 5);
        assert_eq!(joint(&[1, 2, 3], &[]).committed_index(acked), 20);
    }

    #[test]
    fn one_lost_half_loses_an_election_that_the_other_half_still_awaits() {
        let voters = joint(&[1, 2], &[3, 4]);
        assert_eq!(voters.vote_result(|id| (id == 1).then_some(false)), VoteResult::Lost);
        assert_eq!(voters.vote_result(|id| (id <= 2).then_some(true)), VoteResult::Pending);
        assert_eq!(voters.vote_result(|_| Some(true)), VoteResult::Won);
    }

    #[test]
    fn prints_the_outgoing_half_only_when_there_is_one() {
        assert_eq!(joint(&[1, 2], &[]).to_string(), "(1 2)");
        assert_eq!(joint(&[1, 2], &[1, 3]).to_string(), "(1 2)&&(1 3)");
    }
}
