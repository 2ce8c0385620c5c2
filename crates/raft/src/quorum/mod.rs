//! What a group of voters has decided: the committed index and the outcome of an election.
//!
//! Pure arithmetic over sets of ids. Nothing here knows a log, a message or a peer's state; what
//! each voter acknowledged is asked of the caller through a closure.

mod joint;
mod majority;

pub use joint::JointConfig;
pub use majority::MajorityConfig;
pub(crate) use majority::write_ids;

use std::fmt;

/// The outcome of an election as far as the votes at hand tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// Neither a quorum of yes nor one of no is reached, votes are still out.
    Pending,
    /// A quorum of yes can no longer be reached.
    Lost,
    /// A quorum has voted yes.
    Won,
}

impl fmt::Display for VoteResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "VotePending",
            Self::Lost => "VoteLost",
            Self::Won => "VoteWon",
        })
    }
}
