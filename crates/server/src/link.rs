//! The way from the peers' tasks into the member.

use crate::driver::Input;
use crate::install;
use crate::shared::Shared;
use bytes::Bytes;
use futures_util::StreamExt;
use peer::{BoxFuture, ProcessError, SnapshotBody, SnapshotOutcome, Traffic};
use raft::SnapshotStatus;
use raftpb::{Message, Snapshot};
use std::io;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;

/// What the transport calls. It does not keep the member alive.
pub(crate) struct Link {
    pub(crate) shared: Weak<Shared>,
}

impl Link {
    fn report(&self, input: Input) {
        if let Some(shared) = self.shared.upgrade() {
            // A report that finds no room is made again by the next failure.
            let _ = shared.inbox.try_send(input);
        }
    }
}

/// Parts of a snapshot on their way to the disk, at most.
const PARTS_MAX: usize = 16;

/// What a peer sends, for a thread that may wait.
struct Received {
    parts: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl io::Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.rest = part?,
                None => return Ok(0),
            }
        }
        let taken = self.rest.split_to(buffer.len().min(self.rest.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

impl peer::Raft for Link {
    fn process(&self, message: Message) -> BoxFuture<'_, Result<(), ProcessError>> {
        Box::pin(async move {
            let stopping = || ProcessError { reason: "the member is stopping".to_owned() };
            let shared: Arc<Shared> = self.shared.upgrade().ok_or_else(stopping)?;
            if shared.cluster().is_removed(message.from()) {
                return Err(ProcessError { reason: "the sender was removed".to_owned() });
            }
            let busy = |_| ProcessError { reason: "the member is busy".to_owned() };
            shared.inbox.try_send(Input::Step(Box::new(message))).map_err(busy)
        })
    }

    fn save_snapshot(
        &self,
        message: &Message,
        mut body: SnapshotBody,
    ) -> BoxFuture<'_, io::Result<()>> {
        let index = message.snapshot.as_ref().map_or(0, Snapshot::index);
        Box::pin(async move {
            let gone = || io::Error::other("the member is stopping");
            let shared = self.shared.upgrade().ok_or_else(gone)?;
            let dirs = shared.dirs.clone();
            let (parts, received) = mpsc::channel(PARTS_MAX);
            let metrics = Arc::clone(&shared.metrics);
            let saving = tokio::task::spawn_blocking(move || {
                install::receive(
                    &metrics,
                    &dirs,
                    &mut Received { parts: received, rest: Bytes::new() },
                    index,
                )
            });
            while let Some(part) = body.next().await {
                if parts.send(part).await.is_err() {
                    // It failed, and says why.
                    break;
                }
            }
            drop(parts);
            saving.await.map_err(|_| gone())?.map_err(io::Error::other)
        })
    }

    fn is_id_removed(&self, id: u64) -> bool {
        self.shared.upgrade().is_some_and(|shared| shared.cluster().is_removed(id))
    }

    fn report_unreachable(&self, id: u64) {
        self.report(Input::Unreachable(id));
    }

    fn report_snapshot(&self, id: u64, outcome: SnapshotOutcome) {
        let status = match outcome {
            SnapshotOutcome::Finished => SnapshotStatus::Finish,
            SnapshotOutcome::Failed => SnapshotStatus::Failure,
        };
        self.report(Input::SnapshotSent { to: id, status });
    }

    fn removed(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.stop();
        }
    }

    fn note(&self, peer: u64, traffic: Traffic) {
        if let Some(shared) = self.shared.upgrade() {
            shared.metrics.peers.note(peer, traffic);
        }
    }
}
