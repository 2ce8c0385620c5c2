//! The one error of the file layer: which operation failed on which path, and why.
//!
//! It can be cloned, because a log that failed once must give the same answer ever after.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file operation gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed file operation.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct Error {
    /// What was tried.
    pub operation: Operation,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: Arc<io::Error>,
}

impl Error {
    /// An error of `operation` on `path`.
    pub fn new(operation: Operation, path: &Path, source: io::Error) -> Self {
        Self { operation, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether somebody else holds the lock of the file.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.operation == Operation::Lock && self.source.kind() == io::ErrorKind::WouldBlock
    }
}

/// The operations of [`crate::Fs`] and [`crate::File`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opening or creating a file.
    Open,
    /// Making a directory.
    CreateDir,
    /// Listing a directory.
    ReadDir,
    /// Renaming a file or directory.
    Rename,
    /// Removing a file or directory.
    Remove,
    /// Making a directory's entries durable.
    SyncDir,
    /// Asking for a file's length or whether it is there.
    Stat,
    /// Reading a file.
    Read,
    /// Writing a file.
    Write,
    /// Changing a file's length.
    SetLen,
    /// Reserving room.
    Allocate,
    /// Making a file durable.
    Sync,
    /// Taking the lock of a file.
    Lock,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::CreateDir => "make directory",
            Self::ReadDir => "list directory",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDir => "sync directory",
            Self::Stat => "stat",
            Self::Read => "read",
            Self::Write => "write",
            Self::SetLen => "set the length of",
            Self::Allocate => "allocate",
            Self::Sync => "sync",
            Self::Lock => "lock",
        })
    }
}
