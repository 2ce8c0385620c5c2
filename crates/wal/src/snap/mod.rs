//! The snapshot directory: `.snap` files, received databases, leftovers.
//!
//! ```text
//! <term>-<index>.snap          a raft snapshot in its envelope (see `envelope`)
//! <term>-<index>.snap.broken   one that could not be read
//! <index>.snap.db              a database received from a leader
//! tmp*, db.tmp*                leftovers of interrupted work
//! db                           the database; not ours
//! ```
//! Numbers are 16 hex digits. Order of durable steps: a `.snap` file and its name are synced
//! before its record goes into the log, so a record without its file cannot occur, a file without
//! a record can. That is why [`Snapshotter::load_newest_available`] asks for the log's records.
//!
//! Stricter than etcd: files whose names are not of these shapes are left alone rather than
//! tried, a file must hold the snapshot its name tells, the envelope is read strictly, and a
//! failing disk is reported rather than taken for a broken file.

mod db;
mod envelope;

pub use envelope::encode;

use crate::planted::{self, Bug};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vfs::{Fs, OpenMode};

/// What an operation on snapshots gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation on snapshots.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] vfs::Error),

    /// No readable snapshot fits.
    #[error("no available snapshot in {}", dir.display())]
    NoSnapshot {
        /// The directory.
        dir: PathBuf,
    },

    /// The file is not what was written.
    #[error("corrupt snapshot {} at {offset}: expected {expected}, found {found}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },

    /// No database was received for this index.
    #[error("snapshot database for index {index} does not exist in {}", dir.display())]
    NoDatabase {
        /// The directory.
        dir: PathBuf,
        /// Index of the snapshot.
        index: u64,
    },

    /// The sender of a database failed before its end.
    #[error("cannot receive the snapshot database for index {index}: {reason}")]
    Receive {
        /// Index of the snapshot.
        index: u64,
        /// What the sender's side said.
        reason: String,
    },
}

/// The snapshots of one directory, which must exist.
#[derive(Clone, Debug)]
pub struct Snapshotter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

impl Snapshotter {
    /// The snapshots in `dir`.
    pub fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self { fs, dir: dir.to_owned() }
    }

    /// Writes a snapshot into its file, durably; an empty one (index 0) is none. Written in
    /// place as etcd does: nothing refers to the file before this returns.
    ///
    /// # Errors
    /// [`Error::Disk`]; the file is then removed if the disk allows.
    pub fn save_snap(&self, snapshot: &raftpb::Snapshot) -> Result<()> {
        self.save_encoded(snapshot, &encode(snapshot))
    }

    /// The same for one that [`encode`] put into bytes.
    ///
    /// # Errors
    /// As [`Snapshotter::save_snap`].
    pub fn save_encoded(&self, snapshot: &raftpb::Snapshot, bytes: &[u8]) -> Result<()> {
        let metadata = snapshot.metadata.clone().unwrap_or_default();
        if metadata.index() == 0 {
            return Ok(());
        }
        let path = self.dir.join(snap_name(metadata.term(), metadata.index()));
        let written = self.write(&path, bytes);
        if written.is_err()
            && let Err(error) = self.fs.remove(&path)
        {
            tracing::warn!(%error, "a snapshot written in part is left behind");
        }
        written
    }

    /// The newest snapshot.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] or [`Error::Disk`]; unreadable files get the name `.broken` and the
    /// next newest is tried.
    pub fn load(&self) -> Result<raftpb::Snapshot> {
        self.load_matching(|_, _| true)
    }

    /// The newest snapshot that has a record among `records`, those of the log.
    ///
    /// # Errors
    /// As [`Snapshotter::load`].
    pub fn load_newest_available(
        &self,
        records: &[raftpb::wal::Snapshot],
    ) -> Result<raftpb::Snapshot> {
        self.load_matching(|term, index| {
            records.iter().any(|record| record.term() == term && record.index() == index)
        })
    }

    /// Deletes the oldest `.snap` files while there are more than `max`. Databases are not counted:
    /// one of several may be yet to be taken in ([`Snapshotter::release_snap_dbs`]).
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn purge(&self, max: usize) -> Result<()> {
        let names = self.fs.read_dir(&self.dir)?;
        let snaps: Vec<_> = names.iter().filter(|name| parse_snap_name(name).is_some()).collect();
        for name in &snaps[..snaps.len().saturating_sub(max)] {
            self.fs.remove(&self.dir.join(name))?;
            tracing::info!(%name, "purged snapshot");
        }
        Ok(())
    }

    /// Deletes what interrupted work left behind; to be called before the directory is used.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn remove_leftovers(&self) -> Result<()> {
        for name in self.fs.read_dir(&self.dir)? {
            if name.starts_with("tmp") || name.starts_with("db.tmp") {
                tracing::info!(%name, "removed leftover");
                self.fs.remove(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let file = self.fs.open(path, OpenMode::Truncate)?;
        file.write_at(bytes, 0)?;
        if !planted::is(Bug::SnapshotNotSynced) {
            file.sync_all()?;
        }
        if !planted::is(Bug::SnapshotNameNotSynced) {
            self.fs.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    fn load_matching(&self, matches: impl Fn(u64, u64) -> bool) -> Result<raftpb::Snapshot> {
        let names = self.fs.read_dir(&self.dir)?;
        let mut snaps: Vec<_> =
            names.iter().filter_map(|name| Some((parse_snap_name(name)?, name))).collect();
        snaps.sort_unstable();
        for ((term, index), name) in snaps.into_iter().rev() {
            let path = self.dir.join(name);
            match read(&*self.fs, &path) {
                Ok(snapshot) if matches(term, index) => return Ok(snapshot),
                Ok(_) => {}
                Err(error @ Error::Corrupt { .. }) => {
                    tracing::warn!(%error, "set aside an unreadable snapshot");
                    self.fs.rename(&path, &self.dir.join(format!("{name}.broken")))?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::NoSnapshot { dir: self.dir.clone() })
    }
}

/// Reads one `.snap` file, changing nothing.
///
/// # Errors
/// [`Error::Corrupt`] or [`Error::Disk`].
pub fn read(fs: &dyn Fs, path: &Path) -> Result<raftpb::Snapshot> {
    let snapshot = envelope::decode(path, &fs.read(path)?)?;
    let name = path.file_name().and_then(|name| name.to_str());
    if let Some((term, index)) = name.and_then(parse_snap_name) {
        let metadata = snapshot.metadata.clone().unwrap_or_default();
        if (metadata.term(), metadata.index()) != (term, index) {
            return Err(Error::Corrupt {
                path: path.to_owned(),
                offset: 0,
                expected: format!("the snapshot at index {index}, term {term}"),
                found: format!("index {}, term {}", metadata.index(), metadata.term()),
            });
        }
    }
    Ok(snapshot)
}

fn snap_name(term: u64, index: u64) -> String {
    format!("{term:016x}-{index:016x}.snap")
}

/// Term and index of a `.snap` file, from its name.
fn parse_snap_name(name: &str) -> Option<(u64, u64)> {
    let (term, index) = name.strip_suffix(".snap")?.split_once('-')?;
    Some((hex16(term)?, hex16(index)?))
}

/// A number of exactly 16 hex digits.
fn hex16(digits: &str) -> Option<u64> {
    let sixteen = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    sixteen.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests;
