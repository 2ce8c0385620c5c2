//! The receiver's disk: what it starts from, and the thread that makes raft's work durable.
//!
//! Order of durable steps (etcd server/etcdserver/raft.go): a received database lies there before
//! its message is processed; then the `.snap` file, its record in the log, entries and hard state,
//! a sync; then the database takes its place as `db`, and the answers may leave.

use super::{member_dirs, open_snapshotter};
use anyhow::{Context, Result, anyhow};
use prost::Message as _;
use raft::MemoryStorage;
use raftpb::wal::Metadata;
use raftpb::{HardState, Message, Snapshot};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::warn;
use vfs::{Fs, OsFs};
use wal::snap::Snapshotter;
use wal::stage::{Append, WalStage};
use wal::{Options, Wal};

/// What a directory holds, and the means to add to it.
pub(super) struct Disk {
    pub(super) stage: WalStage,
    pub(super) storage: MemoryStorage,
    pub(super) snapshotter: Snapshotter,
    pub(super) metadata: Metadata,
}

impl Disk {
    /// Opens a directory; a new one gets a log with the metadata that `create` gives.
    pub(super) fn open(data_dir: &Path, create: impl FnOnce() -> Result<Metadata>) -> Result<Disk> {
        let (wal_dir, snap_dir) = member_dirs(data_dir);
        let fs: Arc<dyn Fs> = Arc::new(OsFs);
        let snapshotter = open_snapshotter(&snap_dir)?;
        let options = Options::default();
        if !wal::exists(&*fs, &wal_dir)? {
            let metadata = create()?.encode_to_vec();
            Wal::create(fs.clone(), &wal_dir, &metadata, options)?.close()?;
        }
        let records = wal::valid_snapshot_entries(&*fs, &wal_dir)?;
        let start = records.last().cloned().unwrap_or_default();
        let opened = match Wal::open(fs.clone(), &wal_dir, &start, options) {
            Err(error @ wal::Error::Torn { .. }) => {
                warn!(%error, "repairing the end of the log");
                wal::repair(&*fs, &wal_dir)?;
                Wal::open(fs.clone(), &wal_dir, &start, options)
            }
            opened => opened,
        };
        let (wal, contents) = opened.context("reading the log")?;
        let mut storage = MemoryStorage::new();
        if start.index() > 0 {
            let snapshot = snapshotter.load_newest_available(&records)?;
            anyhow::ensure!(snapshot.index() == start.index(), "the newest record has no file");
            install_db(&*fs, &snapshotter, &snap_dir, start.index())?;
            storage.apply_snapshot(snapshot)?;
        }
        storage.set_hard_state(contents.hard_state);
        storage.append(&contents.entries);
        let metadata = Metadata::decode(contents.metadata.clone())?;
        Ok(Disk { stage: WalStage::new(wal), storage, snapshotter, metadata })
    }
}

/// Does raft's storage work, in order, and gives each message back once it is durable. Ends when
/// the driver does.
pub(super) fn run(
    mut stage: WalStage,
    snapshotter: &Snapshotter,
    snap_dir: &Path,
    mut requests: mpsc::Receiver<Message>,
    done: &mpsc::Sender<Message>,
) -> Result<()> {
    let mut group = Vec::new();
    let mut finished = Vec::new();
    while let Some(first) = requests.blocking_recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            if let Some(snapshot) = &message.snapshot {
                stage.step(&mut group, &mut finished)?;
                save_snapshot(&mut stage, snapshotter, snapshot)?;
                // Its record counts only with a hard state that commits it.
                group.push(Append { must_sync: true, ..append(message) });
            } else {
                group.push(append(message));
            }
            next = requests.try_recv().ok();
        }
        stage.step(&mut group, &mut finished)?;
        for message in finished.drain(..) {
            if let Some(snapshot) = &message.snapshot {
                install_db(&OsFs, snapshotter, snap_dir, snapshot.index())?;
            }
            if done.blocking_send(message).is_err() {
                break;
            }
        }
        stage.idle()?;
    }
    Ok(stage.into_wal().close()?)
}

fn append(message: Message) -> Append<Message> {
    let hard_state = HardState { term: message.term, vote: message.vote, commit: message.commit };
    let entries = message.entries.clone();
    Append { hard_state, entries, must_sync: false, token: message }
}

/// Gives the database received for the snapshot at `index` the name under which a real member
/// looks for it; ours goes on from there by the log alone. If it is there no more, that was done
/// before.
fn install_db(fs: &dyn Fs, snapshotter: &Snapshotter, snap_dir: &Path, index: u64) -> Result<()> {
    let db = snap_dir.join("db");
    match snapshotter.db_file_path(index) {
        Ok(received) => fs.rename(&received, &db)?,
        Err(wal::snap::Error::NoDatabase { .. }) if fs.exists(&db)? => {}
        Err(error) => return Err(error).context("a snapshot without its database"),
    }
    Ok(snapshotter.release_snap_dbs(index)?)
}

/// The file first: a record without its file cannot be started from.
fn save_snapshot(
    stage: &mut WalStage,
    snapshotter: &Snapshotter,
    snapshot: &Snapshot,
) -> Result<()> {
    let metadata = snapshot.metadata.clone().ok_or_else(|| anyhow!("a snapshot of nothing"))?;
    snapshotter.db_file_path(metadata.index()).context("a snapshot without its database")?;
    snapshotter.save_snap(snapshot)?;
    let record = raftpb::wal::Snapshot {
        index: metadata.index,
        term: metadata.term,
        conf_state: metadata.conf_state,
    };
    stage.wal_mut().save_snapshot(&record)?;
    stage.wal_mut().release_lock_to(snapshot.index());
    Ok(())
}
