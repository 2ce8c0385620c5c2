//! A look at a node from outside.

use crate::ready::SoftState;
use crate::tracker::{Config, ProgressMap};
use raftpb::HardState;

/// A node's state without its followers.
#[derive(Debug, Clone, PartialEq)]
pub struct BasicStatus {
    /// Its id.
    pub id: u64,
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// Leader and part.
    pub soft_state: SoftState,
    /// The last applied index.
    pub applied: u64,
    /// To whom leadership is being transferred, if it is.
    pub lead_transferee: Option<u64>,
}

/// A node's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// All but the members.
    pub basic: BasicStatus,
    /// The members.
    pub config: Config,
    /// How far each member is; empty unless this node leads.
    pub progress: ProgressMap,
}
