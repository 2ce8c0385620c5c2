//! Cutting off the torn end of a log, so that it can be opened for appending.
//!
//! Tried once, only when opening said [`Error::Torn`]. What is cut was never synced and so never
//! promised to anybody; the whole segment is kept beside as `<name>.broken` all the same.

use crate::planted::{self, Bug};
use crate::scan::{Scan, Source};
use crate::{Error, Result, segment};
use std::path::{Path, PathBuf};
use vfs::{File, Fs, OpenMode};

/// What a repair found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The last segment ends cleanly.
    Clean,
    /// The last segment was cut at the end of its last good record.
    Cut {
        /// The segment.
        path: PathBuf,
        /// Its length now.
        len: u64,
    },
}

/// Cuts a torn end off the last segment in `dir` (etcd `repair.go`).
///
/// # Errors
/// [`Error::Corrupt`] if the last segment is more than torn, then nothing was changed;
/// [`Error::Locked`] if a member runs on it; [`Error::Disk`].
pub fn repair(fs: &dyn Fs, dir: &Path) -> Result<Repair> {
    let names = segment::list(fs, dir)?;
    let none = || Error::NoSegment { dir: dir.to_owned(), index: 0 };
    let name = *names.last().ok_or_else(none)?;
    let path = name.path(dir);
    let file = fs.open(&path, OpenMode::Write)?;
    file.try_lock()
        .map_err(|e| if e.is_locked() { Error::Locked { path: path.clone() } } else { e.into() })?;
    let source = Source { path: path.clone(), seq: name.seq, file: &*file };
    let mut scan = Scan::new(vec![source])?;
    let torn = loop {
        match scan.next_item() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(Repair::Clean),
            Err(e @ Error::Torn { .. }) => break e,
            Err(e) => return Err(e),
        }
    };
    let len = scan.offset();
    keep_copy(fs, dir, &path, &*file)?;
    if !planted::is(Bug::RepairLost) {
        file.set_len(len)?;
    }
    file.sync_all()?;
    tracing::warn!(error = %torn, len, "cut the torn end off the log");
    Ok(Repair::Cut { path, len })
}

fn keep_copy(fs: &dyn Fs, dir: &Path, path: &Path, file: &dyn File) -> Result<()> {
    let mut broken = path.as_os_str().to_owned();
    broken.push(".broken");
    let copy = fs.open(Path::new(&broken), OpenMode::Truncate)?;
    let mut bytes = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut bytes, at)?;
        if read == 0 {
            break;
        }
        copy.write_at(&bytes[..read], at)?;
        at += read as u64;
    }
    copy.sync_all()?;
    fs.sync_dir(dir)?;
    Ok(())
}

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;
