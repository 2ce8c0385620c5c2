//! The thread behind the store: it writes what was applied to the segment files, once the log
//! has it durably, and rewrites segments that are mostly dead.

use crate::Fatal;
use crate::shared::Shared;
use backend::{Compactor, Flusher, Step};
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// How often it looks while there is something to write, or to rewrite.
const PERIOD: Duration = Duration::from_millis(5);

/// How often it looks if there is something to write.
const IDLE_PERIOD: Duration = Duration::from_millis(50);

/// Bytes of old segments read in one step of a rewrite: at this period, 200 MB/s at most.
const REWRITE_BYTES: u64 = 1 << 20;

/// Requests waiting, at most.
pub(crate) const REQUESTS_MAX: usize = 64;

/// What the thread is asked.
pub(crate) enum StoreRequest {
    /// Write and sync all that may be written; the answer is the index the store is durable at.
    Sync(oneshot::Sender<u64>),
    /// Let go of the store and go on with another one.
    Replace(Replacing),
}

/// How one store takes another's place: nothing is written to the old one from `gone` on.
pub(crate) struct Replacing {
    /// Told once the old one is closed.
    pub gone: Sender<()>,
    /// Brings the new one; closed if there is none, and the member ends.
    pub next: Receiver<(Flusher, Compactor)>,
}

/// Runs until all senders of requests are gone; what can be written is durable then.
pub(crate) fn run(
    mut flusher: Flusher,
    mut compactor: Compactor,
    live: mvcc::Views,
    shared: &Arc<Shared>,
    durable: &AtomicU64,
    requests: &Receiver<StoreRequest>,
) -> Result<(), Fatal> {
    let pace = (shared.config.store_sync_period, shared.config.store_sync_records);
    flusher.set_pace(pace.0, pace.1);
    let mut rewriting = false;
    loop {
        let busy = rewriting || flusher.wake_at().is_some();
        let request = requests.recv_timeout(if busy { PERIOD } else { IDLE_PERIOD });
        flusher.step(shared.now(), durable.load(Ordering::Acquire))?;
        match request {
            Ok(StoreRequest::Sync(answer)) => {
                flusher.sync()?;
                // Whoever asked may have gone.
                let _ = answer.send(flusher.synced_index());
            }
            Ok(StoreRequest::Replace(Replacing { gone, next })) => {
                drop((flusher, compactor));
                // Whoever asked may have gone; then there is no next one either.
                let _ = gone.send(());
                let Ok(parts) = next.recv() else { return Ok(()) };
                (flusher, compactor) = parts;
                flusher.set_pace(pace.0, pace.1);
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                flusher.sync()?;
                return Ok(());
            }
        }
        // One step at a time, so that what was applied does not wait for a rewrite.
        let step = compactor.step(&live.judge(), REWRITE_BYTES)?;
        rewriting = matches!(step, Step::Working | Step::Done { .. });
    }
}
