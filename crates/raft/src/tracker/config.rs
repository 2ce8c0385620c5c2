//! The members of a group by role.

use std::collections::BTreeSet;
use std::fmt;

use raftpb::ConfState;

use crate::quorum::{JointConfig, write_ids};

/// The active configuration.
///
/// Invariants, checked by `confchange`: no learner is a voter in either half; whoever is in
/// `learners_next` is an outgoing voter; `learners_next` is empty and `auto_leave` false outside
/// of a joint change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The voters, in two halves during a joint change.
    pub voters: JointConfig,
    /// Whether the leader leaves the joint configuration by itself once it is applied.
    pub auto_leave: bool,
    /// Members that receive the log and do not vote.
    pub learners: BTreeSet<u64>,
    /// Outgoing voters that become learners when the joint change ends. They cannot be learners
    /// earlier: until then they vote.
    pub learners_next: BTreeSet<u64>,
}

impl Config {
    /// The configuration as stored in snapshots, ids ascending.
    pub fn conf_state(&self) -> ConfState {
        ConfState {
            voters: self.voters.incoming.iter().collect(),
            voters_outgoing: self.voters.outgoing.iter().collect(),
            learners: self.learners.iter().copied().collect(),
            learners_next: self.learners_next.iter().copied().collect(),
            auto_leave: Some(self.auto_leave),
        }
    }
}

/// `voters=(1 2)&&(1 3) learners=(4) learners_next=(3) autoleave`, absent parts left out.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "voters={}", self.voters)?;
        for (name, ids) in [("learners", &self.learners), ("learners_next", &self.learners_next)] {
            if !ids.is_empty() {
                write!(f, " {name}=")?;
                write_ids(f, ids)?;
            }
        }
        if self.auto_leave {
            f.write_str(" autoleave")?;
        }
        Ok(())
    }
}
