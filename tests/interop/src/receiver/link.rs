//! The way from the transport's tasks into the driver, and the receiver's peer port.

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use peer::{Accept, BoxFuture, Incoming, ProcessError, SnapshotBody, SnapshotOutcome};
use raftpb::{Message, MessageType};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use wal::snap::Snapshotter;

/// What the transport calls, from its own tasks.
pub(super) struct Link {
    inbox: mpsc::Sender<Message>,
    snapshotter: Snapshotter,
    /// Members that were removed.
    pub(super) removed_ids: Mutex<BTreeSet<u64>>,
    /// Told when a peer says that this member was removed.
    pub(super) removed: Notify,
}

/// Parts of a database between network and disk, at most.
const PARTS_MAX: usize = 16;

impl Link {
    pub(super) fn new(inbox: mpsc::Sender<Message>, snapshotter: Snapshotter) -> Link {
        Link { inbox, snapshotter, removed_ids: Mutex::default(), removed: Notify::new() }
    }
}

impl peer::Raft for Link {
    fn process(&self, message: Message) -> BoxFuture<'_, Result<(), ProcessError>> {
        Box::pin(async move {
            if message.r#type() == MessageType::MsgTimeoutNow {
                // A leader that hands over to this member would hand over to nobody.
                return Ok(());
            }
            let stopping = |_| ProcessError { reason: "the member is stopping".to_owned() };
            self.inbox.send(message).await.map_err(stopping)
        })
    }

    fn save_snapshot(
        &self,
        message: &Message,
        mut body: SnapshotBody,
    ) -> BoxFuture<'_, io::Result<()>> {
        let index = message.snapshot.as_ref().map_or(0, raftpb::Snapshot::index);
        let snapshotter = self.snapshotter.clone();
        Box::pin(async move {
            let (parts, received) = mpsc::channel(PARTS_MAX);
            let saving = tokio::task::spawn_blocking(move || {
                let mut reader = Parts { received, rest: Bytes::new(), ended: false };
                snapshotter.save_db_from(&mut reader, index)
            });
            // If the thread has failed it takes no more; it tells below.
            while let Some(part) = body.next().await {
                let failed = part.is_err();
                if parts.send(Part::Bytes(part)).await.is_err() || failed {
                    break;
                }
            }
            let _ = parts.send(Part::End).await;
            let saved = saving.await.map_err(io::Error::other)?;
            saved.map(drop).map_err(io::Error::other)
        })
    }

    fn is_id_removed(&self, id: u64) -> bool {
        lock(&self.removed_ids).contains(&id)
    }

    // A member that never leads waits for nobody's acknowledgement, and sends no snapshot.
    fn report_unreachable(&self, _: u64) {}
    fn report_snapshot(&self, _: u64, _: SnapshotOutcome) {}

    fn removed(&self) {
        self.removed.notify_one();
    }
}

/// A part of a body. That it is whole is said: a task that was dropped half way also ends its
/// channel, and must not look like the end of the database.
enum Part {
    Bytes(io::Result<Bytes>),
    End,
}

struct Parts {
    received: mpsc::Receiver<Part>,
    rest: Bytes,
    ended: bool,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.received.blocking_recv() {
                Some(Part::Bytes(part)) => self.rest = part?,
                Some(Part::End) => self.ended = true,
                None => return Err(io::Error::other("the transfer was given up")),
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Accepts peers until it is told to stop.
pub(super) struct Listener {
    pub(super) listener: TcpListener,
    pub(super) stop: watch::Receiver<bool>,
}

impl Accept for Listener {
    async fn accept(&mut self) -> io::Result<Option<Incoming>> {
        tokio::select! {
            accepted = self.listener.accept() => Ok(Some(accepted?.0.into())),
            _ = self.stop.wait_for(|stop| *stop) => Ok(None),
        }
    }
}

/// Locks, whatever became of the last holder: the set is whole between any two instructions.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
