//! What must hold after every step, a file a property. Each keeps only what it needs to judge the
//! next step by, so that a check costs little however long the run; together they give the whole
//! property by induction over steps.

pub(crate) mod acknowledged;
pub(crate) mod append_only;
pub(crate) mod commits;
pub(crate) mod completeness;
pub(crate) mod elections;
pub(crate) mod log_matching;
pub(crate) mod membership;
pub(crate) mod promises;
pub(crate) mod reads;
pub(crate) mod restarts;
pub(crate) mod state_machine;
pub(crate) mod stores;
pub(crate) mod terms;

use raft::{MemoryStorage, RawNode, StateType};
use raftpb::ConfState;

/// A property holds, or in what way it does not.
pub(crate) type Verdict = Result<(), String>;

/// A node as the checks see it.
pub(crate) struct View<'a> {
    pub(crate) id: u64,
    pub(crate) term: u64,
    pub(crate) commit: u64,
    pub(crate) last: u64,
    pub(crate) state: StateType,
    pub(crate) raw: &'a RawNode<MemoryStorage>,
    /// The configuration as of the last entry applied.
    pub(crate) conf_state: &'a ConfState,
    /// Whether a snapshot is in force in raft and not stored yet.
    pub(crate) restoring: bool,
}

/// Fails with a text unless a condition holds.
macro_rules! hold {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}
pub(crate) use hold;
