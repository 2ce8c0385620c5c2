//! The way from the peers' tasks into the member.

use crate::driver::Input;
use crate::shared::Shared;
use peer::{BoxFuture, ProcessError, SnapshotBody, SnapshotOutcome};
use raft::SnapshotStatus;
use raftpb::Message;
use std::io;
use std::sync::{Arc, Weak};

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

impl peer::Raft for Link {
    fn process(&self, message: Message) -> BoxFuture<'_, Result<(), ProcessError>> {
        Box::pin(async move {
            let stopping = || ProcessError { reason: "the member is stopping".to_owned() };
            let shared: Arc<Shared> = self.shared.upgrade().ok_or_else(stopping)?;
            if shared.cluster().is_removed(message.from()) {
                return Err(ProcessError { reason: "the sender was removed".to_owned() });
            }
            let busy = |_| ProcessError { reason: "the member is busy".to_owned() };
            shared.inbox.try_send(Input::Step(message)).map_err(busy)
        })
    }

    fn save_snapshot(&self, _: &Message, _: SnapshotBody) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let text = "taking in a snapshot from a peer is not built yet";
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
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
            shared.stopping.send_replace(true);
        }
    }
}
