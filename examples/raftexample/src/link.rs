//! The way from the peers' tasks into the event loop.

use peer::{BoxFuture, ProcessError, SnapshotBody, SnapshotOutcome};
use raftpb::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Notify, mpsc};

/// What the transport calls, from its own tasks. It hands over to the event loop and never
/// blocks: messages through a bounded channel, reports merged by member.
pub struct Link {
    inbox: mpsc::Sender<Message>,
    /// What is to be told to raft.
    pub reports: Mutex<Reports>,
    /// Told when there are reports.
    pub reported: Notify,
    /// Members that were removed.
    pub removed_ids: Mutex<BTreeSet<u64>>,
    /// Told when a peer says that this node was removed.
    pub removed: Notify,
}

/// Reports since they were last taken, one a member at most.
#[derive(Default)]
pub struct Reports {
    /// Members to whom a message was lost.
    pub unreachable: BTreeSet<u64>,
    /// How the last snapshot to each member ended.
    pub snapshots: BTreeMap<u64, SnapshotOutcome>,
}

impl Link {
    /// Hands messages over through `inbox`.
    pub fn new(inbox: mpsc::Sender<Message>) -> Link {
        Link {
            inbox,
            reports: Mutex::default(),
            reported: Notify::new(),
            removed_ids: Mutex::default(),
            removed: Notify::new(),
        }
    }
}

impl peer::Raft for Link {
    fn process(&self, message: Message) -> BoxFuture<'_, Result<(), ProcessError>> {
        Box::pin(async move {
            let stopping = |_| ProcessError { reason: "the node is shutting down".to_owned() };
            self.inbox.send(message).await.map_err(stopping)
        })
    }

    fn save_snapshot(&self, _: &Message, _: SnapshotBody) -> BoxFuture<'_, io::Result<()>> {
        let refusal = io::Error::new(
            io::ErrorKind::Unsupported,
            "this store's snapshots come inside their messages",
        );
        Box::pin(std::future::ready(Err(refusal)))
    }

    fn is_id_removed(&self, id: u64) -> bool {
        lock(&self.removed_ids).contains(&id)
    }

    fn report_unreachable(&self, id: u64) {
        lock(&self.reports).unreachable.insert(id);
        self.reported.notify_one();
    }

    fn report_snapshot(&self, id: u64, outcome: SnapshotOutcome) {
        lock(&self.reports).snapshots.insert(id, outcome);
        self.reported.notify_one();
    }

    fn removed(&self) {
        self.removed.notify_one();
    }
}

/// Locks, whatever became of the last holder: what is guarded here is whole between any two
/// instructions.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
