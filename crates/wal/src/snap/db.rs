//! Databases received from a leader: `<index>.snap.db`.
//!
//! Invariant: a file of that name is whole and durable; it is received under a temporary name.

use super::{Error, Result, Snapshotter, hex16};
use std::io::Read;
use std::path::{Path, PathBuf};
use vfs::OpenMode;

impl Snapshotter {
    /// Receives the database of the snapshot at `index` from `reader`; gives its bytes. One that
    /// is there already is kept.
    ///
    /// # Errors
    /// [`Error::Receive`] if the reader fails, [`Error::Disk`]; nothing is left behind if the
    /// disk allows.
    pub fn save_db_from(&self, reader: &mut dyn Read, index: u64) -> Result<u64> {
        let temporary = self.dir.join(format!("tmp.{index:016x}.snap.db"));
        let path = self.dir.join(name(index));
        let received = self.receive(reader, &temporary, index);
        match received {
            Ok(bytes) if !self.fs.exists(&path)? => {
                self.fs.rename(&temporary, &path)?;
                tracing::info!(path = %path.display(), bytes, "saved received database");
            }
            _ => {
                if let Err(error) = self.fs.remove(&temporary) {
                    tracing::warn!(%error, "a temporary database is left behind");
                }
            }
        }
        received
    }

    /// Where the received database of the snapshot at `index` is.
    ///
    /// # Errors
    /// [`Error::NoDatabase`] or [`Error::Disk`].
    pub fn db_file_path(&self, index: u64) -> Result<PathBuf> {
        let path = self.dir.join(name(index));
        if self.fs.exists(&path)? {
            return Ok(path);
        }
        Err(Error::NoDatabase { dir: self.dir.clone(), index })
    }

    /// Deletes received databases of snapshots before `index`.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn release_snap_dbs(&self, index: u64) -> Result<()> {
        for file in self.fs.read_dir(&self.dir)? {
            if parse_name(&file).is_some_and(|of| of < index) {
                tracing::info!(name = %file, "deleted a received database that was overtaken");
                self.fs.remove(&self.dir.join(file))?;
            }
        }
        Ok(())
    }

    fn receive(&self, reader: &mut dyn Read, temporary: &Path, index: u64) -> Result<u64> {
        let file = self.fs.open(temporary, OpenMode::Truncate)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::Receive { index, reason: e.to_string() }),
            };
            file.write_at(&buffer[..read], at)?;
            at += read as u64;
        }
        file.sync_all()?;
        Ok(at)
    }
}

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

fn name(index: u64) -> String {
    format!("{index:016x}.snap.db")
}

/// The index in the name of a received database.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    hex16(name.strip_suffix(".snap.db")?)
}
