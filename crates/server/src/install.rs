//! A database that a peer sent takes the store's place.
//!
//! ```text
//! <snap-dir>/<index>.snap.db    received, durable before raft hears of the snapshot
//! <member>/store.new/           filled from it, and synced
//! <member>/store/               the old one until the renames, then the new one
//! ```
//! Order of durable steps: the database; the `.snap` file and its record in the log; the new
//! store; the renames; the database goes. Whatever a crash cuts, the next start finds a store
//! behind the log's snapshot and the database still there, and does it again ([`finish`]).

use crate::Fatal;
use crate::bootstrap::Dirs;
use crate::metrics::Metrics;
use backend::Opened;
use bolt::ReadAt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use vfs::{File, Fs, OpenMode};
use wal::snap::Snapshotter;

/// Receives the database of the snapshot at `index`, and keeps it if it is sound.
pub(crate) fn receive(
    metrics: &Metrics,
    dirs: &Dirs,
    from: &mut dyn io::Read,
    index: u64,
) -> Result<(), Fatal> {
    let snapshotter = Snapshotter::new(Arc::clone(&dirs.snap_fs), &dirs.snap);
    let began = Instant::now();
    snapshotter.save_db_from(from, index)?;
    metrics.database_saves.took(began.elapsed());
    let path = snapshotter.db_file_path(index)?;
    let checked = open_database(&*dirs.fs, &path).and_then(|database| {
        let failed =
            |source: bolt::Error| Fatal::Image { path: path.clone(), source: source.into() };
        database.check().map(drop).map_err(failed)
    });
    if checked.is_err() {
        // The next one of the same index must not be taken for here already.
        dirs.fs.remove(&path).map_err(|source| Fatal::Disk { path: path.clone(), source })?;
    }
    checked
}

fn open_database(fs: &dyn Fs, path: &Path) -> Result<bolt::Reader<Database>, Fatal> {
    let file = fs.open(path, OpenMode::Read);
    let file = file.map_err(|source| Fatal::Disk { path: path.to_owned(), source })?;
    bolt::Reader::open(Database(file))
        .map_err(|error| Fatal::Image { path: path.to_owned(), source: error.into() })
}

/// Fills `store.new` from the database of the snapshot at `index`.
pub(crate) fn prepare(
    dirs: &Dirs,
    snapshotter: &Snapshotter,
    (index, term): (u64, u64),
) -> Result<(), Fatal> {
    remove_dir(&*dirs.fs, &dirs.new_store)?;
    let path = snapshotter.db_file_path(index)?;
    let failed = |source| Fatal::Image { path: path.clone(), source };
    let database = open_database(&*dirs.fs, &path)?;
    let mut store = backend::open(Arc::clone(&dirs.store_fs), &dirs.new_store, dirs.store_options)?;
    apply::import(&database, &mut store, (index, term)).map_err(failed)
}

/// Puts `store.new` into the place of the store, which nobody has open.
pub(crate) fn swap(dirs: &Dirs) -> Result<(), Fatal> {
    remove_dir(&*dirs.fs, &dirs.old_store)?;
    let rename = |from: &Path, to: &Path| {
        dirs.fs.rename(from, to).map_err(|source| Fatal::Disk { path: from.to_owned(), source })
    };
    rename(&dirs.store, &dirs.old_store)?;
    rename(&dirs.new_store, &dirs.store)?;
    remove_dir(&*dirs.fs, &dirs.old_store)
}

/// Opens the store.
pub(crate) fn open(dirs: &Dirs) -> Result<Opened, Fatal> {
    Ok(backend::open(Arc::clone(&dirs.store_fs), &dirs.store, dirs.store_options)?)
}

/// Removes a received database that is no longer needed, and those before it.
pub(crate) fn clean_up(snapshotter: &Snapshotter, index: u64) {
    if let Err(error) = snapshotter.release_snap_dbs(index + 1) {
        tracing::warn!(%error, "a received database is left behind");
    }
}

/// What a crash left of it: does the rest, if the store is behind the snapshot that the log
/// begins with.
pub(crate) fn finish(
    dirs: &Dirs,
    snapshotter: &Snapshotter,
    snapshot: (u64, u64),
) -> Result<Opened, Fatal> {
    let opened = open(dirs)?;
    if opened.store.consistent_index() >= snapshot.0 {
        remove_dir(&*dirs.fs, &dirs.new_store)?;
        remove_dir(&*dirs.fs, &dirs.old_store)?;
        clean_up(snapshotter, opened.store.consistent_index());
        return Ok(opened);
    }
    match snapshotter.db_file_path(snapshot.0) {
        Ok(path) => tracing::info!(path = %path.display(), "taking in a received database"),
        // Then it is for the caller to say what is lost.
        Err(wal::snap::Error::NoDatabase { .. }) => return Ok(opened),
        Err(error) => return Err(error.into()),
    }
    drop(opened);
    prepare(dirs, snapshotter, snapshot)?;
    swap(dirs)?;
    clean_up(snapshotter, snapshot.0);
    open(dirs)
}

fn remove_dir(fs: &dyn Fs, dir: &Path) -> Result<(), Fatal> {
    match fs.remove_dir_all(dir) {
        Err(error) if !error.is_not_found() => {
            Err(Fatal::Disk { path: dir.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// A file of ours, as a database's reader wants it.
struct Database(Box<dyn File>);

impl ReadAt for Database {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let read = self.0.read_at(&mut buffer[done..], offset + done as u64);
            match read.map_err(io::Error::other)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => done += read,
            }
        }
        Ok(())
    }

    fn byte_len(&self) -> io::Result<u64> {
        self.0.len().map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_not_sound_is_not_kept() {
        let home = tempfile::tempdir().unwrap();
        let config = crate::Config { data_dir: home.path().to_owned(), ..Default::default() };
        let dirs = Dirs::new(&config, &Arc::default());
        dirs.fs.create_dir_all(&dirs.snap).unwrap();
        for bytes in [&b"no database"[..], &[0; 16384]] {
            let refused = receive(&Metrics::default(), &dirs, &mut &*bytes, 7).unwrap_err();
            assert!(matches!(refused, Fatal::Image { .. }), "{refused:?}");
            assert_eq!(dirs.fs.read_dir(&dirs.snap).unwrap(), Vec::<String>::new());
        }
    }
}
