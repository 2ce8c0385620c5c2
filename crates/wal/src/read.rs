//! Looking at a log without appending: reading, verifying, choosing a start, purging.
//!
//! Nothing here locks what it reads, so that a member may run on the log meanwhile; a torn tail
//! is taken for the end, as etcd does when reading only. Only [`purge`] changes anything.

use crate::planted::{self, Bug};
use crate::replay::Replay;
use crate::scan::{Item, Scan};
use crate::segment::{self, Name, Segment};
use crate::{Contents, Error, Result};
use raftpb::HardState;
use raftpb::wal::Snapshot;
use std::path::{Path, PathBuf};
use vfs::{Fs, OpenMode};

/// Reads the log in `dir` after the snapshot `start` without locking or changing it, e.g. while
/// a member runs on it. A torn tail is taken for the end, as etcd does when reading only.
///
/// # Errors
/// As [`crate::Wal::open`], but never [`Error::Torn`] and [`Error::Locked`].
pub fn read_all(fs: &dyn Fs, dir: &Path, start: &Snapshot) -> Result<Contents> {
    let segments = open_for_read(fs, dir, segment::from_index(fs, dir, start.index())?)?;
    let mut replay = Replay::new(start);
    to_torn_end(replay.read(&mut scan(dir, &segments)?))?;
    replay.finish()
}

/// Checks each record of the log in `dir` from the snapshot `start` on, and that the log knows
/// it; gives the last hard state (etcd `wal.go: Verify`). Which entries follow or replace which
/// is not judged: after a snapshot from a leader they may leave a gap that only a later start
/// skips.
///
/// # Errors
/// As [`read_all`].
pub fn verify(fs: &dyn Fs, dir: &Path, start: &Snapshot) -> Result<HardState> {
    let segments = open_for_read(fs, dir, segment::from_index(fs, dir, start.index())?)?;
    let mut replay = Replay::new(start);
    to_torn_end(replay.read_without_entries(&mut scan(dir, &segments)?))?;
    Ok(replay.finish()?.hard_state)
}

/// The snapshot records of the log that are not ahead of what was committed, oldest first. A
/// member starts from the last: a snapshot received just before a crash, whose hard state did
/// not reach the disk, must not count (etcd `wal.go: ValidSnapshotEntries`).
///
/// # Errors
/// As [`read_all`].
pub fn valid_snapshot_entries(fs: &dyn Fs, dir: &Path) -> Result<Vec<Snapshot>> {
    let segments = open_for_read(fs, dir, segment::all(fs, dir)?)?;
    let mut scan = scan(dir, &segments)?;
    let mut snapshots = Vec::new();
    let mut commit = 0;
    let mut read = || -> Result<()> {
        while let Some(item) = scan.next_item()? {
            match item {
                Item::Snapshot(snapshot) => snapshots.push(snapshot),
                Item::State(state) => commit = state.commit(),
                Item::Metadata(_) | Item::Entry(_) => {}
            }
        }
        Ok(())
    };
    to_torn_end(read())?;
    snapshots.retain(|snapshot| snapshot.index() <= commit);
    Ok(snapshots)
}

/// Whether there is a log in `dir`.
///
/// # Errors
/// [`Error::Disk`].
pub fn exists(fs: &dyn Fs, dir: &Path) -> Result<bool> {
    Ok(!segment::list(fs, dir)?.is_empty())
}

/// Deletes the oldest segments in `dir` while there are more than `max`, up to the first that is
/// locked; gives the paths deleted (etcd `fileutil/purge.go`).
///
/// # Errors
/// [`Error::Disk`].
pub fn purge(fs: &dyn Fs, dir: &Path, max: usize) -> Result<Vec<PathBuf>> {
    let names = segment::list(fs, dir)?;
    let mut purged = Vec::new();
    for name in &names[..names.len().saturating_sub(max)] {
        let path = name.path(dir);
        let file = fs.open(&path, OpenMode::Write)?;
        match file.try_lock() {
            Ok(()) => fs.remove(&path)?,
            Err(e) if e.is_locked() && planted::is(Bug::PurgesTooMuch) => fs.remove(&path)?,
            Err(e) if e.is_locked() => break,
            Err(e) => return Err(e.into()),
        }
        tracing::info!(path = %path.display(), "purged log segment");
        purged.push(path);
    }
    if !purged.is_empty() {
        fs.sync_dir(dir)?;
    }
    Ok(purged)
}

fn open_for_read(fs: &dyn Fs, dir: &Path, names: Vec<Name>) -> Result<Vec<Segment>> {
    let open = |name: Name| Ok(Segment { name, file: fs.open(&name.path(dir), OpenMode::Read)? });
    names.into_iter().map(open).collect()
}

fn scan<'a>(dir: &Path, segments: &'a [Segment]) -> Result<Scan<'a>> {
    Scan::new(segment::sources(dir, segments))
}

/// Takes a torn tail for the end.
fn to_torn_end(read: Result<()>) -> Result<()> {
    match read {
        Err(Error::Torn { .. }) => Ok(()),
        read => read,
    }
}
