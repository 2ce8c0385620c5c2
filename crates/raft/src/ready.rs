//! What a node wants done: state to store, messages to send, entries to apply.

use raftpb::{Entry, HardState, Message, Snapshot};
use std::fmt;

/// A node's part in the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum StateType {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Asks whether it would get the votes.
    PreCandidate,
}

impl fmt::Display for StateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateType::Follower => "StateFollower",
            StateType::Candidate => "StateCandidate",
            StateType::Leader => "StateLeader",
            StateType::PreCandidate => "StatePreCandidate",
        })
    }
}

/// State that need not survive a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SoftState {
    /// The leader's id; [`crate::NONE`] if none is known.
    pub lead: u64,
    /// This node's part.
    pub state: StateType,
}

/// The answer to a read request: once this node has applied `index`, its state is no older than
/// the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadState {
    /// The index to wait for.
    pub index: u64,
    /// The bytes the request was made with.
    pub request_ctx: bytes::Bytes,
}

/// Everything a node wants done at one moment.
///
/// Without asynchronous storage writes the order is: store `entries`, `hard_state` and `snapshot`
/// (durably if `must_sync`), then send `messages`, apply `snapshot` and `committed_entries`, then
/// call `advance`. With them, `messages` holds the same work as messages to the storage threads,
/// the fields are there to look at, and `advance` is not called.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ready {
    /// Set if it changed.
    pub soft_state: Option<SoftState>,
    /// Set if it changed: to be stored before messages are sent.
    pub hard_state: Option<HardState>,
    /// Reads that may be answered.
    pub read_states: Vec<ReadState>,
    /// To be stored before messages are sent.
    pub entries: Vec<Entry>,
    /// A received snapshot: to be stored before messages are sent.
    pub snapshot: Option<Snapshot>,
    /// To be applied.
    pub committed_entries: Vec<Entry>,
    /// To be sent.
    pub messages: Vec<Message>,
    /// Whether what is stored must be durable before messages are sent: there are entries, or
    /// term or vote changed. A changed commit index alone may be lost.
    pub must_sync: bool,
}

/// A member to start a cluster with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: u64,
    /// Bytes for the application, kept in the log.
    pub context: Option<bytes::Bytes>,
}

/// How the sending of a snapshot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotStatus {
    /// The follower has it.
    Finish,
    /// The follower has to be sent another.
    Failure,
}
