//! The thread behind the store: it writes what was applied to the segment files, once the log
//! has it durably, and rewrites segments that are mostly dead.

use crate::Fatal;
use crate::shared::Shared;
use backend::{Compactor, Flusher, Step};
use crossbeam_channel::{Receiver, RecvError, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// How often it looks while there is something to write, or to rewrite.
const PERIOD: Duration = Duration::from_millis(5);

/// How often it looks if there is something to write.
const IDLE_PERIOD: Duration = Duration::from_millis(50);

/// Bytes of old segments read in one step of a rewrite: at this period, 50 MB/s at most. More would
/// fill the disk's queue, behind which the log's syncs would wait.
const REWRITE_BYTES: u64 = 256 << 10;

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

/// The stage: the sides of the store that write.
pub(crate) struct StoreStage {
    pub flusher: Flusher,
    pub compactor: Compactor,
    pub live: mvcc::Views,
    pub shared: Arc<Shared>,
    /// Index of the last entry that the log has durably.
    pub durable: Arc<AtomicU64>,
    pub rewriting: bool,
}

/// The stage without a store.
pub(crate) struct Closed {
    live: mvcc::Views,
    shared: Arc<Shared>,
    durable: Arc<AtomicU64>,
}

impl Closed {
    pub(crate) fn new(live: mvcc::Views, shared: Arc<Shared>, durable: Arc<AtomicU64>) -> Self {
        Self { live, shared, durable }
    }

    /// The stage of this store.
    pub(crate) fn reopen(self, mut flusher: Flusher, compactor: Compactor) -> StoreStage {
        let Self { live, shared, durable } = self;
        flusher.set_pace(shared.config.store_sync_period, shared.config.store_sync_records);
        StoreStage { flusher, compactor, live, shared, durable, rewriting: false }
    }
}

impl StoreStage {
    /// Lets go of the store.
    pub(crate) fn close(self) -> Closed {
        Closed { live: self.live, shared: self.shared, durable: self.durable }
    }

    /// Whether there is something to write, or to rewrite.
    pub(crate) fn is_busy(&self) -> bool {
        self.rewriting || self.flusher.wake_at().is_some()
    }

    /// Writes what is due.
    pub(crate) fn write(&mut self) -> Result<(), Fatal> {
        Ok(self.flusher.step(self.shared.now(), self.durable.load(Ordering::Acquire))?)
    }

    /// Writes and syncs all that may be written; the index the store is durable at.
    pub(crate) fn sync(&mut self) -> Result<u64, Fatal> {
        self.flusher.sync()?;
        Ok(self.flusher.synced_index())
    }

    /// Does a part of a rewrite.
    pub(crate) fn rewrite(&mut self) -> Result<Step, Fatal> {
        let step = self.compactor.step(&self.live.judge(), REWRITE_BYTES)?;
        self.rewriting = matches!(step, Step::Working | Step::Done { .. });
        Ok(step)
    }
}

/// Whoever owns the stage, to whoever has another store.
pub(crate) trait StoreOwner: Send {
    /// Lets go of the store, and goes on with the one that `next` opens.
    fn replace(&mut self, next: &mut OpenNext<'_>) -> Result<(), Fatal>;
}

/// Opens the next store once the old one is closed.
pub(crate) type OpenNext<'a> = dyn FnMut() -> Result<(Flusher, Compactor), Fatal> + 'a;

impl StoreOwner for Sender<StoreRequest> {
    fn replace(&mut self, open: &mut OpenNext<'_>) -> Result<(), Fatal> {
        let (gone_tx, gone) = bounded(1);
        let (next, next_rx) = bounded(1);
        let ended = |_| Fatal::Ended { stage: "store" };
        let replacing = Replacing { gone: gone_tx, next: next_rx };
        self.send(StoreRequest::Replace(replacing)).map_err(|_| ended(RecvError))?;
        gone.recv().map_err(ended)?;
        next.send(open()?).map_err(|_| ended(RecvError))
    }
}

/// Runs until all senders of requests are gone; what can be written is durable then.
pub(crate) fn run(mut stage: StoreStage, requests: &Receiver<StoreRequest>) -> Result<(), Fatal> {
    loop {
        let request = requests.recv_timeout(if stage.is_busy() { PERIOD } else { IDLE_PERIOD });
        stage.write()?;
        match request {
            Ok(StoreRequest::Sync(answer)) => {
                // Whoever asked may have gone.
                let _ = answer.send(stage.sync()?);
            }
            Ok(StoreRequest::Replace(Replacing { gone, next })) => {
                let rest = stage.close();
                // Whoever asked may have gone; then there is no next one either.
                let _ = gone.send(());
                let Ok((flusher, compactor)) = next.recv() else { return Ok(()) };
                stage = rest.reopen(flusher, compactor);
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                return stage.sync().map(drop);
            }
        }
        // One step at a time, so that what was applied does not wait for a rewrite.
        stage.rewrite()?;
    }
}
