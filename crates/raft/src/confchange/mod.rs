//! Changes of a group's members: from one configuration to the next one that is safe.
//!
//! A simple change moves at most one voter; every other change passes through a joint
//! configuration, in which the old and the new voters must both agree (Raft thesis, chapter 4).
//! Nothing here changes a tracker: the [`Changer`] reads one and returns what it would become.

mod changer;
mod restore;

pub use changer::{Changer, Error};
pub use restore::restore;

use raftpb::ConfChangeSingle;

/// The changes for humans, as `ConfChangeAddNode(1) ConfChangeRemoveNode(2)`.
pub fn describe(changes: &[ConfChangeSingle]) -> String {
    let one = |change: &ConfChangeSingle| {
        format!("{}({})", change.r#type().as_str_name(), change.node_id())
    };
    changes.iter().map(one).collect::<Vec<_>>().join(" ")
}
