//! The disk with a clock beside it: how long writes and syncs take, and how much is written.
//!
//! The log, the snapshots and the store need not know that they are measured. What it is not: a
//! layer that changes anything; every call goes through as it is.

use super::{Counter, Histogram, Metrics, from_millis};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use vfs::{File, Fs, OpenMode, OsFs, Result};

/// What one part of a member does to the disk.
#[derive(Debug)]
pub struct Disk {
    /// How long each write took.
    pub writes: Histogram,
    /// How long each sync took.
    pub syncs: Histogram,
    /// What was written.
    pub written_bytes: Counter,
}

impl Default for Disk {
    fn default() -> Self {
        Self { writes: from_millis(1), syncs: from_millis(1), written_bytes: Counter::default() }
    }
}

/// Whose files a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Log,
    /// Snapshots of raft and received databases, told apart by their names.
    Snapshots,
    Store,
}

/// The real disk for one part of a member.
pub(crate) fn measured(metrics: &Arc<Metrics>, part: Part) -> Arc<dyn Fs> {
    Arc::new(MeasuredFs { metrics: Arc::clone(metrics), part })
}

#[derive(Debug)]
struct MeasuredFs {
    metrics: Arc<Metrics>,
    part: Part,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Log,
    Snapshot,
    Database,
    Store,
}

#[derive(Debug)]
struct MeasuredFile {
    file: Box<dyn File>,
    metrics: Arc<Metrics>,
    kind: Kind,
}

impl MeasuredFile {
    fn disk(&self) -> &Disk {
        match self.kind {
            Kind::Log => &self.metrics.log,
            Kind::Snapshot => &self.metrics.snapshots,
            Kind::Database => &self.metrics.databases,
            Kind::Store => &self.metrics.store,
        }
    }

    fn write(&self, bytes: usize, write: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = Instant::now();
        write()?;
        let disk = self.disk();
        disk.writes.took(began.elapsed());
        disk.written_bytes.add(bytes as u64);
        Ok(())
    }

    fn sync(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = Instant::now();
        sync()?;
        self.disk().syncs.took(began.elapsed());
        Ok(())
    }
}

impl Fs for MeasuredFs {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn File>> {
        let database = path.as_os_str().as_encoded_bytes().ends_with(b".snap.db");
        let kind = match self.part {
            Part::Log => Kind::Log,
            Part::Snapshots if database => Kind::Database,
            Part::Snapshots => Kind::Snapshot,
            Part::Store => Kind::Store,
        };
        let file = OsFs.open(path, mode)?;
        Ok(Box::new(MeasuredFile { file, metrics: Arc::clone(&self.metrics), kind }))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        OsFs.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<String>> {
        OsFs.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        OsFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        OsFs.remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        OsFs.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        OsFs.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        OsFs.exists(path)
    }
}

impl File for MeasuredFile {
    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.write(bytes.len(), || self.file.write_at(bytes, offset))
    }

    fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> Result<()> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        self.write(bytes, || self.file.write_parts_at(parts, offset))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.file.allocate(len)
    }

    fn sync_data(&self) -> Result<()> {
        self.sync(|| self.file.sync_data())
    }

    fn sync_all(&self) -> Result<()> {
        self.sync(|| self.file.sync_all())
    }

    fn try_lock(&self) -> Result<()> {
        self.file.try_lock()
    }
}
