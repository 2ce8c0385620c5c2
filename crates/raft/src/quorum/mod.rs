//! Quorums: when is an index committed, when is an election won.
//!
//! A [`MajorityConfig`] decides by more than half of its voters; a [`JointConfig`] (raft section
//! 6) by both of its halves. Nothing here knows of logs or elections: acknowledged indexes and
//! votes come in as look-ups.

mod joint;
mod majority;

pub use joint::JointConfig;
pub use majority::MajorityConfig;

use std::fmt;

/// The outcome of a vote so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoteResult {
    /// Neither side has its quorum; votes are missing.
    Pending,
    /// Not even all missing votes could win it.
    Lost,
    /// A quorum said yes.
    Won,
}

impl fmt::Display for VoteResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VoteResult::Pending => "VotePending",
            VoteResult::Lost => "VoteLost",
            VoteResult::Won => "VoteWon",
        })
    }
}
