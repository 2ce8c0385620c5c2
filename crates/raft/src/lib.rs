//! The raft consensus algorithm (Ongaro and Ousterhout 2014, Ongaro's thesis 2014) as a pure
//! state machine: etcd-io/raft v3.7, protocol and behaviour.
//!
//! Floor 1. It imports `raftpb` and nothing else of ours, and has no I/O, clock, thread, lock or
//! global randomness: time passes when [`RawNode::tick`] is called, the network is
//! [`RawNode::step`] and [`Ready::messages`], the disk is [`Storage`] and what a [`Ready`] holds.
//! Same seed and same calls make the same run.
//!
//! First function to read: [`RawNode::ready`], then `raft::Raft::step`.

pub mod confchange;
mod config;
mod describe;
mod log;
mod memory_storage;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
pub mod quorum;
mod raft;
mod rand;
mod raw_node;
mod read_only;
mod ready;
mod status;
mod storage;
pub mod tracker;

pub use config::{Config, ConfigError, ReadOnlyOption};
pub use describe::{
    describe_conf_state, describe_entries, describe_entry, describe_hard_state, describe_message,
    describe_ready, describe_snapshot, describe_soft_state, describe_target,
};
pub use memory_storage::MemoryStorage;
pub use raw_node::RawNode;
pub use ready::{Peer, ReadState, Ready, SnapshotStatus, SoftState, StateType};
pub use status::{BasicStatus, Status};
pub use storage::{Storage, StorageError};

/// No node.
pub const NONE: u64 = 0;

/// To whom storage work is addressed when storage writes are asynchronous.
pub const LOCAL_APPEND_THREAD: u64 = u64::MAX;

/// To whom apply work is addressed when storage writes are asynchronous.
pub const LOCAL_APPLY_THREAD: u64 = u64::MAX - 1;

/// Whether `id` is a storage thread's and so cannot be a node's.
pub fn is_local_target(id: u64) -> bool {
    id == LOCAL_APPEND_THREAD || id == LOCAL_APPLY_THREAD
}

/// Why a call or message was refused. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The proposal cannot be taken now: no leader, a transfer under way, too much uncommitted,
    /// or forwarding disabled. It may be proposed again.
    #[error("raft proposal dropped")]
    ProposalDropped,
    /// The message is of a kind that only the node itself makes.
    #[error("raft: cannot step raft local message")]
    StepLocalMsg,
    /// A response came from a node that is no member.
    #[error("raft: cannot step as peer not found")]
    StepPeerNotFound,
    /// The message lacks what its kind must have: its sender is faulty.
    #[error("raft: refused {what}")]
    Malformed {
        /// What it is.
        what: &'static str,
    },
    /// The configuration in force does not allow the change.
    #[error(transparent)]
    Change(#[from] confchange::ChangeError),
}
