//! The only way to a file, for everything that must survive a crash.
//!
//! Floor 0. [`Fs`] and [`File`] are what the write-ahead log, snapshots and the backend need of
//! a disk and no more; [`OsFs`] is the real one, [`MemFs`] one in memory that remembers what was
//! synced, can lose power and can fail. Start at [`Fs`].
//!
//! Both traits are used as objects (`Arc<dyn Fs>`, `Box<dyn File>`): each call costs a system
//! call, beside which a virtual call is nothing, and the layers above stay free of a type
//! parameter that would reach into every signature up to the server.
//!
//! What it is not: a cache, asynchronous, or a place for retries. A failed write or sync is
//! reported once with operation and path; whether the process may go on is the caller's matter.

mod error;
mod mem;
mod os;

pub use error::{Error, Operation, Result};
pub use mem::{MemFs, SECTOR_BYTES};
pub use os::OsFs;

use std::path::Path;

/// How a file is opened. Files are always opened for positioned access; new ones get mode 0600.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// An existing or a new file, for reading and writing.
    Create,
    /// An existing file emptied or a new one, for reading and writing.
    Truncate,
    /// A new file, for reading and writing; one that exists is an error.
    CreateNew,
}

/// A file system. Names of directory entries are UTF-8; entries that are not are left out.
pub trait Fs: Send + Sync + std::fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// The system's, e.g. [`Error::is_not_found`].
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn File>>;

    /// Makes a directory and its missing parents with mode 0700, durably.
    ///
    /// # Errors
    /// The system's.
    fn create_dir_all(&self, path: &Path) -> Result<()>;

    /// The names in a directory, ascending.
    ///
    /// # Errors
    /// The system's.
    fn read_dir(&self, path: &Path) -> Result<Vec<String>>;

    /// Renames a file or directory, replacing a file, and syncs the directories that hold the
    /// old and the new name: when it returns, the rename survives a crash.
    ///
    /// # Errors
    /// The system's. After an error either name may be the durable one.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Not durable before its directory is synced.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Removes a directory with all it holds. Not durable before its parent is synced.
    ///
    /// # Errors
    /// The system's.
    fn remove_dir_all(&self, path: &Path) -> Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// Whether there is a file or directory of this name.
    ///
    /// # Errors
    /// The system's, if it cannot tell.
    fn exists(&self, path: &Path) -> Result<bool>;

    /// The whole content of a file.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?).expect("files fit the address space");
        let mut content = vec![0; len];
        let read = file.read_at(&mut content, 0)?;
        content.truncate(read);
        Ok(content)
    }
}

/// An open file. All access is positioned, so that a handle carries no cursor; one writer at a
/// time is the caller's duty. Dropping it releases its lock.
pub trait File: Send + Sync + std::fmt::Debug {
    /// Bytes in the file.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> Result<u64>;

    /// Whether the file holds no byte.
    ///
    /// # Errors
    /// The system's.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads from `offset` until `buffer` is full or the file ends; returns the bytes read.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `bytes` at `offset`, extending the file where needed.
    ///
    /// # Errors
    /// The system's; part of the bytes may then have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Writes all of `parts`, one behind the other, at `offset`, as one write where the system
    /// can.
    ///
    /// # Errors
    /// As [`File::write_at`].
    fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> Result<()> {
        self.write_at(&parts.concat(), offset)
    }

    /// Writes all of `bytes` at the end of the file and returns where that was.
    ///
    /// # Errors
    /// As [`File::write_at`].
    fn append(&self, bytes: &[u8]) -> Result<u64> {
        let end = self.len()?;
        self.write_at(bytes, end)?;
        Ok(end)
    }

    /// Cuts the file, or extends it with a hole that reads as zeros.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Reserves room for `len` bytes: a shorter file is extended to `len` with bytes that read
    /// as zeros and whose blocks are taken, so that writing them cannot find the disk full.
    ///
    /// # Errors
    /// The system's, e.g. no space.
    fn allocate(&self, len: u64) -> Result<()>;

    /// Makes the content and the length durable.
    ///
    /// # Errors
    /// The system's. What is on disk is then unknown and must not be written again.
    fn sync_data(&self) -> Result<()>;

    /// Makes content and all attributes durable.
    ///
    /// # Errors
    /// As [`File::sync_data`].
    fn sync_all(&self) -> Result<()>;

    /// Takes the exclusive lock of the file until the handle is dropped, without waiting.
    ///
    /// # Errors
    /// [`Error::is_locked`] if another handle, here or in another process, holds it.
    fn try_lock(&self) -> Result<()>;
}
