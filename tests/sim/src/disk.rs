//! A node's disk work over the production log and snapshot files: starting from what is there,
//! and the step of the thread that owns the log.
//!
//! Order of durable steps (etcd's): a snapshot's file, its record, the hard state that commits
//! it, then the entries that follow it. What was queued together is written and synced together.

use crate::durable::Work;
use raft::{MemoryStorage, Storage};
use raftpb::{HardState, Snapshot};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vfs::{Fs, MemFs};
use wal::snap::Snapshotter;
use wal::stage::{Append, WalStage};
use wal::{Contents, Options, Wal};

/// Why a disk does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error(transparent)]
    Log(#[from] wal::Error),
    #[error(transparent)]
    Snapshots(#[from] wal::snap::Error),
}

impl DiskError {
    /// Whether an operation failed, rather than what was read being wrong.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Log(wal::Error::Disk(_)) | Self::Snapshots(wal::snap::Error::Disk(_)))
    }
}

/// The thread that owns the log.
pub(crate) struct Disk {
    fs: Arc<dyn Fs>,
    stage: WalStage,
    snapshotter: Snapshotter,
    segments_kept: usize,
}

/// What a start found.
pub(crate) struct Found {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) contents: Contents,
    /// Whether the end of the log was torn.
    pub(crate) torn: bool,
}

/// What a step did beside its work.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) cuts: u64,
    pub(crate) purged: u64,
}

impl Disk {
    /// Opens log and snapshots, made first if there are none, at the newest snapshot that the
    /// log knows of.
    pub(crate) fn open(
        fs: &MemFs,
        segment_bytes: u64,
        segments_kept: usize,
    ) -> Result<(Self, Found), DiskError> {
        let fs: Arc<dyn Fs> = Arc::new(fs.clone());
        let (wal_dir, snap_dir) = (Path::new(WAL_DIR), Path::new(SNAP_DIR));
        let options = Options { segment_bytes, sync: true };
        fs.create_dir_all(snap_dir).map_err(wal::Error::from)?;
        let snapshotter = Snapshotter::new(Arc::clone(&fs), snap_dir);
        snapshotter.remove_leftovers()?;
        if !wal::exists(&*fs, wal_dir)? {
            Wal::create(Arc::clone(&fs), wal_dir, b"sim", options)?;
        }
        let records = wal::valid_snapshot_entries(&*fs, wal_dir)?;
        let snapshot = match snapshotter.load_newest_available(&records) {
            Ok(snapshot) => Some(snapshot),
            Err(wal::snap::Error::NoSnapshot { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let start = raftpb::wal::Snapshot {
            index: Some(snapshot.as_ref().map_or(0, Snapshot::index)),
            term: Some(snapshot.as_ref().map_or(0, Snapshot::term)),
            conf_state: None,
        };
        let mut opened = Wal::open(Arc::clone(&fs), wal_dir, &start, options);
        let torn = matches!(opened, Err(wal::Error::Torn { .. }));
        if torn {
            wal::repair(&*fs, wal_dir)?;
            opened = Wal::open(Arc::clone(&fs), wal_dir, &start, options);
        }
        let (wal, contents) = opened?;
        let disk = Self { fs, stage: WalStage::new(wal), snapshotter, segments_kept };
        Ok((disk, Found { snapshot, contents, torn }))
    }

    /// Does all of `works`, in order; they are durable when it returns.
    pub(crate) fn step(
        &mut self,
        works: &mut [Work],
        storage: &mut MemoryStorage,
    ) -> Result<Done, DiskError> {
        let mut done = Done::default();
        let before = self.segment();
        let mut inbox = Vec::new();
        for work in works {
            if work.snapshot.is_some() {
                self.append(&mut inbox)?;
                self.save_snapshot(work, storage, &mut done)?;
            }
            if !work.entries.is_empty() || !work.hard_state.is_empty() {
                inbox.push(append(work.hard_state, work.entries.clone(), false));
            }
            storage_keeps(storage, work);
        }
        self.append(&mut inbox)?;
        self.stage.idle()?;
        done.cuts = self.segment() - before;
        Ok(done)
    }

    fn append(&mut self, inbox: &mut Vec<Append<()>>) -> Result<(), DiskError> {
        Ok(self.stage.step(inbox, &mut Vec::new())?)
    }

    fn save_snapshot(
        &mut self,
        work: &mut Work,
        storage: &mut MemoryStorage,
        done: &mut Done,
    ) -> Result<(), DiskError> {
        if work.own {
            // One from a leader may have overtaken it.
            let made = work.snapshot.take().and_then(|own| make(storage, own));
            work.snapshot = made;
        }
        let Some(snapshot) = &work.snapshot else { return Ok(()) };
        self.snapshotter.save_snap(snapshot)?;
        let metadata = snapshot.metadata.clone().unwrap_or_default();
        self.stage.wal_mut().save_snapshot(&raftpb::wal::Snapshot {
            index: metadata.index,
            term: metadata.term,
            conf_state: metadata.conf_state,
        })?;
        if !work.own {
            // The record counts only with a hard state that commits it, so that goes first: were
            // it lost, entries behind the snapshot would follow a gap. What it says of those
            // entries comes with them.
            let commits_it = HardState { commit: Some(snapshot.index()), ..work.hard_state };
            self.append(&mut vec![append(commits_it, Vec::new(), true)])?;
        }
        self.stage.wal_mut().release_lock_to(snapshot.index());
        let purged = wal::purge(&*self.fs, Path::new(WAL_DIR), self.segments_kept)?;
        done.purged += purged.len() as u64;
        self.snapshotter.purge(SNAPSHOTS_KEPT)?;
        Ok(())
    }

    /// Number of the segment being written.
    fn segment(&mut self) -> u64 {
        let (path, _) = self.stage.wal_mut().position();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.get(..16).and_then(|seq| u64::from_str_radix(seq, 16).ok()).unwrap_or_default()
    }
}

const SNAPSHOTS_KEPT: usize = 2;
const WAL_DIR: &str = "/wal";
const SNAP_DIR: &str = "/snap";

/// Files that hold what a bit flip would hurt: the log's, and those of snapshots.
pub(crate) fn precious_files(fs: &MemFs) -> [Vec<PathBuf>; 2] {
    [(WAL_DIR, ".wal"), (SNAP_DIR, ".snap")].map(|(dir, end)| {
        let names = fs.read_dir(Path::new(dir)).unwrap_or_default();
        names.iter().filter(|n| n.ends_with(end)).map(|n| Path::new(dir).join(n)).collect()
    })
}

fn append(hard_state: HardState, entries: Vec<raftpb::Entry>, must_sync: bool) -> Append<()> {
    Append { hard_state, entries, must_sync, token: () }
}

/// Raft's storage in memory follows the log.
fn storage_keeps(storage: &mut MemoryStorage, work: &Work) {
    if let Some(snapshot) = work.snapshot.as_ref().filter(|_| !work.own) {
        storage.apply_snapshot(snapshot.clone()).expect("raft takes newer snapshots only");
    }
    storage.append(&work.entries);
}

/// The snapshot that stands for the log up to where `own` was taken, unless there is a newer one.
fn make(storage: &mut MemoryStorage, own: Snapshot) -> Option<Snapshot> {
    let newest = storage.snapshot().map_or(0, |snapshot| snapshot.index());
    let metadata = own.metadata.unwrap_or_default();
    if newest >= metadata.index() {
        return None;
    }
    let data = own.data.unwrap_or_default();
    storage.create_snapshot(metadata.index(), metadata.conf_state, data).ok()
}
