//! Messages that came from one peer, on their way into raft.
//!
//! Proposals have a queue of their own: taking one may wait for a leader, and the messages that
//! elect one must not wait behind it. A full queue drops; raft sends again.

use crate::member::Member;
use crate::seam::{Raft, Traffic};
use crate::stream::MESSAGES_MAX;
use raftpb::{Message, MessageType};
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// The near end of both queues.
#[derive(Clone)]
pub(crate) struct Receiver {
    local_id: u64,
    peer: u64,
    raft: Arc<dyn Raft>,
    messages: mpsc::Sender<Message>,
    proposals: mpsc::Sender<Message>,
}

impl Receiver {
    /// Queues a message, unless it is one that no peer may send.
    pub(crate) fn take(&self, message: Message) {
        if let Some(reason) = refuse(&message, self.local_id) {
            warn!(peer = self.peer, reason, "ignored a message");
            return;
        }
        let queue = match message.r#type() {
            MessageType::MsgProp => &self.proposals,
            _ => &self.messages,
        };
        if queue.try_send(message).is_err() {
            warn!(peer = self.peer, "dropped a message: raft is behind");
            self.raft.note(self.peer, Traffic::ReceiveFailed);
        }
    }
}

/// Why a message from the network must not reach raft, if so.
pub(crate) fn refuse(message: &Message, local_id: u64) -> Option<&'static str> {
    /// Ids that raft gives to its storage threads; as a sender they would make it trust anything.
    const PSEUDO_IDS: [u64; 2] = [u64::MAX, u64::MAX - 1];
    let known = MessageType::try_from(message.r#type.unwrap_or_default());
    match known {
        Err(_) => Some("its type is unknown"),
        Ok(kind) if kind.is_local() => Some("its type is not for the network"),
        Ok(_) if PSEUDO_IDS.contains(&message.from()) => Some("its sender is no member"),
        Ok(_) if message.to() != local_id => Some("it is for another member"),
        Ok(_) => None,
    }
}

/// Both queues, and the tasks that empty them into raft.
pub(crate) fn receiver(
    member: &Arc<Member>,
) -> (Receiver, impl Future<Output = ()> + Send + use<>, impl Future<Output = ()> + Send + use<>) {
    let (messages, message_rx) = mpsc::channel(MESSAGES_MAX);
    let (proposals, proposal_rx) = mpsc::channel(MESSAGES_MAX);
    let raft = || member.raft.clone();
    let (local_id, peer) = (member.local.id, member.id);
    let receiver = Receiver { local_id, peer, raft: raft(), messages, proposals };
    (receiver, process(raft(), message_rx), process(raft(), proposal_rx))
}

async fn process(raft: Arc<dyn Raft>, mut queue: mpsc::Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        if let Err(error) = raft.process(message).await {
            debug!(%error, "raft refused a message");
        }
    }
}
