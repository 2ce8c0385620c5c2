//! A snapshot on its way, told to whoever counts: that it begins, and how it ended.
//!
//! Invariant: what began is told to have ended, also if its task is dropped meanwhile.

use crate::seam::{Raft, Traffic};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A snapshot to a peer or from it. One that is dropped has failed, unless it was called good.
pub(crate) struct Transfer {
    raft: Arc<dyn Raft>,
    peer: u64,
    began: Instant,
    ended: fn(Duration, bool) -> Traffic,
    good: bool,
}

impl Transfer {
    pub(crate) fn sending(raft: &Arc<dyn Raft>, peer: u64) -> Self {
        let ended = |took, good| Traffic::SnapshotSent { took, good };
        Self::begin(raft, peer, Traffic::SnapshotSending, ended)
    }

    pub(crate) fn receiving(raft: &Arc<dyn Raft>, peer: u64) -> Self {
        let ended = |took, good| Traffic::SnapshotReceived { took, good };
        Self::begin(raft, peer, Traffic::SnapshotReceiving, ended)
    }

    fn begin(
        raft: &Arc<dyn Raft>,
        peer: u64,
        begins: Traffic,
        ended: fn(Duration, bool) -> Traffic,
    ) -> Self {
        raft.note(peer, begins);
        Self { raft: Arc::clone(raft), peer, began: Instant::now(), ended, good: false }
    }

    /// It is over.
    pub(crate) fn end(mut self, good: bool) {
        self.good = good;
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.raft.note(self.peer, (self.ended)(self.began.elapsed(), self.good));
    }
}
