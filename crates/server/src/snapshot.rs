//! Snapshots of the log: the store has what a part of the log says, so that part can go.
//!
//! Order of durable steps: the store is synced beyond the index; the `.snap` file is written;
//! the log records it; then segments of the log, entries in memory and older files may go.

use crate::Fatal;
use crate::apply_loop::{ApplyInput, SnapshotState};
use crate::driver::Input;
use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::store_loop::StoreRequest;
use crate::threads::WalSnapshot;
use crossbeam_channel::Sender;
use raftpb::{Snapshot, SnapshotMetadata};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wal::snap::Snapshotter;

/// How long to wait for the store to catch up before asking it again.
const RETRY: Duration = Duration::from_millis(50);

/// The steps of making one, without waiting.
#[derive(Clone)]
pub(crate) struct Maker {
    pub shared: Arc<Shared>,
    pub snapshotter: Snapshotter,
    /// Index of the last one.
    pub last: u64,
}

/// A snapshot whose file is written.
#[derive(Debug)]
pub(crate) struct Saved {
    snapshot: Snapshot,
    /// What the log is to record.
    pub record: raftpb::wal::Snapshot,
    /// Segments of the log with nothing after this index may go then.
    pub lock_to: u64,
}

impl Maker {
    /// The next one is due once an index above this is applied. One that a leader sent counts as
    /// made: made again, its file would be torn for a moment, while the log begins with it.
    pub(crate) fn due(&self) -> u64 {
        let installed = self.shared.installed.load(Ordering::Acquire);
        self.last.max(installed) + self.shared.config.snapshot_count
    }

    /// Writes the file, once the store has all of it durably: it is synced up to `synced`. After a
    /// start the store may also be ahead of raft, which has yet to apply what is to go.
    pub(crate) fn save(&self, state: &SnapshotState, synced: u64) -> Result<Option<Saved>, Fatal> {
        if synced < state.index || self.shared.applied_index() < state.index {
            return Ok(None);
        }
        let conf_state = Some(state.conf_state.clone());
        let (index, term) = (Some(state.index), Some(state.term));
        let metadata = SnapshotMetadata { conf_state: conf_state.clone(), index, term };
        let snapshot = Snapshot { data: Some(state.data.clone()), metadata: Some(metadata) };
        save_snap(&self.shared.metrics, &self.snapshotter, &snapshot)?;
        let record = raftpb::wal::Snapshot { index, term, conf_state };
        let keep = self.shared.config.snapshot_catch_up_entries;
        Ok(Some(Saved { snapshot, record, lock_to: state.index.saturating_sub(keep) }))
    }

    /// The log has it: older entries may go, from memory too.
    pub(crate) fn recorded(&mut self, saved: Saved) {
        let (index, keep) = (saved.snapshot.index(), self.shared.config.snapshot_catch_up_entries);
        self.last = index;
        let compact = Input::Compact { snapshot: Box::new(saved.snapshot), keep };
        if self.shared.inbox.try_send(compact).is_err() {
            // Entries stay in memory until the next one.
            tracing::warn!("raft is too busy to drop entries");
        }
        tracing::info!(snapshot_index = index, "saved snapshot to disk");
    }

    /// Removes the files that nobody needs any more.
    pub(crate) fn purge(&self) -> Result<(), Fatal> {
        let (dirs, config) = (&self.shared.dirs, &self.shared.config);
        self.snapshotter.purge(config.max_snapshots)?;
        // What is applied here needs no database any more.
        self.snapshotter.release_snap_dbs(self.last)?;
        wal::purge(&*dirs.fs, &dirs.wal, config.max_wals)?;
        Ok(())
    }
}

/// The task that makes them.
pub(crate) struct Snapshots {
    pub maker: Maker,
    pub store: Sender<StoreRequest>,
    pub wal: Sender<WalSnapshot>,
}

/// Saves a snapshot of raft, and how long that took.
pub(crate) fn save_snap(
    metrics: &Metrics,
    snapshotter: &Snapshotter,
    snapshot: &Snapshot,
) -> wal::snap::Result<()> {
    let began = Instant::now();
    let bytes = wal::snap::encode(snapshot);
    metrics.snapshot_encodes.took(began.elapsed());
    snapshotter.save_encoded(snapshot, &bytes)?;
    metrics.snapshot_saves.took(began.elapsed());
    Ok(())
}

impl Snapshots {
    /// Runs until the member stops.
    pub(crate) async fn run(mut self) {
        let mut applied = self.maker.shared.applied.subscribe();
        // A member may have ended between writing one and removing those before it.
        self.purge().await;
        loop {
            let due = self.maker.due();
            if applied.wait_for(|applied| *applied > due).await.is_err() {
                return;
            }
            if let Err(error) = self.make().await {
                // The log stays longer than it need be; that is all.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "failed to make a snapshot"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn purge(&self) {
        let maker = self.maker.clone();
        if let Err(error) = off_thread(move || maker.purge()).await {
            // They are in the way of nothing.
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "failed to remove files that nobody needs");
        }
    }

    async fn make(&mut self) -> Result<(), Fatal> {
        let ended = |stage| move |_| Fatal::Ended { stage };
        let (answer, state) = oneshot::channel();
        let sent = self.maker.shared.apply.try_send(ApplyInput::Snapshot { answer });
        sent.map_err(|_| Fatal::Ended { stage: "apply" })?;
        let state: SnapshotState = state.await.map_err(ended("apply"))?;
        let saved = loop {
            let (answer, synced) = oneshot::channel();
            let sent = self.store.try_send(StoreRequest::Sync(answer));
            sent.map_err(|_| Fatal::Ended { stage: "store" })?;
            let synced = synced.await.map_err(ended("store"))?;
            let (maker, state) = (self.maker.clone(), state.clone());
            if let Some(saved) = off_thread(move || maker.save(&state, synced)).await? {
                break saved;
            }
            tokio::time::sleep(RETRY).await;
        };
        let (done, recorded) = oneshot::channel();
        let request = WalSnapshot { record: saved.record.clone(), lock_to: saved.lock_to, done };
        self.wal.try_send(request).map_err(|_| Fatal::Ended { stage: "wal" })?;
        recorded.await.map_err(ended("wal"))?;
        self.maker.recorded(saved);
        let maker = self.maker.clone();
        off_thread(move || maker.purge()).await
    }
}

/// Runs what waits for a disk where waiting holds up nobody.
async fn off_thread<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Fatal> + Send + 'static,
) -> Result<T, Fatal> {
    let ran = tokio::task::spawn_blocking(run).await;
    ran.map_err(|_| Fatal::Ended { stage: "snapshot" })?
}
