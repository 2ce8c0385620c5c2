//! What the transport needs of the member it works for.

use bytes::Bytes;
use futures_util::Stream;
use raftpb::Message;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

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

/// What goes to and comes from a peer, for whoever counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named as what they hold")]
pub enum Traffic {
    /// Messages were handed over to the connection.
    Sent { bytes: u64 },
    /// Messages came, whole or in part.
    Received { bytes: u64 },
    /// Messages were dropped.
    SendFailed { messages: u64 },
    /// A message came for which there was no room.
    ReceiveFailed,
    /// The peer stopped to answer.
    Lost,
    /// The peer answered a probe.
    RoundTrip { took: Duration },
    /// A snapshot's bytes begin to go out.
    SnapshotSending,
    /// They have gone out, or not.
    SnapshotSent { took: Duration, good: bool },
    /// A snapshot's bytes begin to come.
    SnapshotReceiving,
    /// They have come, or not.
    SnapshotReceived { took: Duration, good: bool },
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

    /// Something went to `peer` or came from it. Nothing depends on it.
    fn note(&self, peer: u64, traffic: Traffic) {
        let _ = (peer, traffic);
    }
}
