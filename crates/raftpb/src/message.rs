//! What messages, snapshots and hard states tell about themselves.

use crate::{HardState, MessageType, Snapshot};

impl MessageType {
    /// Whether only the node itself makes such messages, so that one from the network is refused.
    pub fn is_local(self) -> bool {
        matches!(
            self,
            MessageType::MsgHup
                | MessageType::MsgBeat
                | MessageType::MsgUnreachable
                | MessageType::MsgSnapStatus
                | MessageType::MsgCheckQuorum
                | MessageType::MsgStorageAppend
                | MessageType::MsgStorageAppendResp
                | MessageType::MsgStorageApply
                | MessageType::MsgStorageApplyResp
        )
    }

    /// Whether such a message answers another one.
    pub fn is_response(self) -> bool {
        matches!(
            self,
            MessageType::MsgAppResp
                | MessageType::MsgVoteResp
                | MessageType::MsgHeartbeatResp
                | MessageType::MsgUnreachable
                | MessageType::MsgReadIndexResp
                | MessageType::MsgPreVoteResp
                | MessageType::MsgStorageAppendResp
                | MessageType::MsgStorageApplyResp
        )
    }
}

impl HardState {
    /// Whether nothing was ever set: no term, no vote, nothing committed.
    pub fn is_empty(&self) -> bool {
        self.term() == 0 && self.vote() == 0 && self.commit() == 0
    }
}

impl Snapshot {
    /// The index of the last entry the snapshot covers; 0 when it covers none.
    pub fn index(&self) -> u64 {
        self.metadata.as_ref().map_or(0, |metadata| metadata.index())
    }

    /// The term of the last entry the snapshot covers.
    pub fn term(&self) -> u64 {
        self.metadata.as_ref().map_or(0, |metadata| metadata.term())
    }

    /// Whether the snapshot covers nothing.
    pub fn is_empty(&self) -> bool {
        self.index() == 0
    }
}
