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
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use vfs::OsFs;
use wal::snap::Snapshotter;

/// How long to wait for the store to catch up before asking it again.
const RETRY: Duration = Duration::from_millis(50);

/// The task that makes them.
pub(crate) struct Snapshots {
    pub shared: Arc<Shared>,
    pub snapshotter: Snapshotter,
    pub store: Sender<StoreRequest>,
    pub wal: Sender<WalSnapshot>,
    /// Index of the last one.
    pub last: u64,
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
        let mut applied = self.shared.applied.subscribe();
        loop {
            let due = self.last + self.shared.config.snapshot_count;
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

    async fn make(&mut self) -> Result<(), Fatal> {
        let ended = |stage| move |_| Fatal::Ended { stage };
        let (answer, state) = oneshot::channel();
        let sent = self.shared.apply.try_send(ApplyInput::Snapshot { answer });
        sent.map_err(|_| Fatal::Ended { stage: "apply" })?;
        let state: SnapshotState = state.await.map_err(ended("apply"))?;
        loop {
            let (answer, synced) = oneshot::channel();
            let sent = self.store.try_send(StoreRequest::Sync(answer));
            sent.map_err(|_| Fatal::Ended { stage: "store" })?;
            if synced.await.map_err(ended("store"))? >= state.index {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        let metadata = SnapshotMetadata {
            conf_state: Some(state.conf_state),
            index: Some(state.index),
            term: Some(state.term),
        };
        let snapshot = Snapshot { data: Some(state.data), metadata: Some(metadata.clone()) };
        let (config, snapshotter) = (self.shared.config.clone(), self.snapshotter.clone());
        let (saved, metrics) = (snapshot.clone(), Arc::clone(&self.shared.metrics));
        tokio::task::spawn_blocking(move || save_snap(&metrics, &snapshotter, &saved))
            .await
            .map_err(|_| Fatal::Ended { stage: "snapshot" })??;
        let record = raftpb::wal::Snapshot {
            index: metadata.index,
            term: metadata.term,
            conf_state: metadata.conf_state,
        };
        let keep = config.snapshot_catch_up_entries;
        let (done, recorded) = oneshot::channel();
        let lock_to = state.index.saturating_sub(keep);
        let request = WalSnapshot { record, lock_to, done };
        self.wal.try_send(request).map_err(|_| Fatal::Ended { stage: "wal" })?;
        recorded.await.map_err(ended("wal"))?;
        self.last = state.index;
        let compact = Input::Compact { snapshot, keep };
        if self.shared.inbox.try_send(compact).is_err() {
            // Entries stay in memory until the next one.
            tracing::warn!("raft is too busy to drop entries");
        }
        tracing::info!(snapshot_index = state.index, "saved snapshot to disk");
        let snapshotter = self.snapshotter.clone();
        let dir = crate::bootstrap::Dirs::new(&config).wal;
        tokio::task::spawn_blocking(move || -> Result<(), Fatal> {
            snapshotter.purge(config.max_snapshots)?;
            wal::purge(&OsFs, &dir, config.max_wals)?;
            Ok(())
        })
        .await
        .map_err(|_| Fatal::Ended { stage: "snapshot" })?
    }
}
