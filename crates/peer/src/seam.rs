//! What the transport needs of the member it works for.

use bytes::Bytes;
use futures_util::Stream;
use raftpb::Message;
use std::future::Future;
use std::io;
use std::pin::Pin;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A snapshot's bytes, in order. An error means that there are no more, and that those so far are
/// not the whole.
pub type SnapshotBody = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// How the sending of a snapshot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// The peer has it.
    Finished,
    /// The peer does not have it.
    Failed,
}

/// The member could not take a message; its sender may try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot process raft message: {reason}")]
pub struct ProcessError {
    /// Why.
    pub reason: String,
}

/// The member. Reports must not block: they are made while messages are sent.
pub trait Raft: Send + Sync + 'static {
    /// Takes a message from a peer. May wait while the member is busy, or for a proposal while
    /// there is no leader.
    fn process(&self, message: Message) -> BoxFuture<'_, Result<(), ProcessError>>;

    /// Takes a snapshot's bytes before its message is processed. It must be durable when this
    /// returns, and leave nothing behind if the body fails.
    fn save_snapshot(&self, message: &Message, body: SnapshotBody)
    -> BoxFuture<'_, io::Result<()>>;

    /// Whether a member was removed from the cluster. Its id never comes back.
    fn is_id_removed(&self, id: u64) -> bool;

    /// A message to `id` was dropped or could not be sent.
    fn report_unreachable(&self, id: u64);

    /// The sending of a snapshot to `id` ended.
    fn report_snapshot(&self, id: u64, outcome: SnapshotOutcome);

    /// A peer says that this member was removed from the cluster.
    fn removed(&self);
}
