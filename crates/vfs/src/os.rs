//! The real disk.
//!
//! Invariants:
//! - locks are open-file-description locks, as a Go member takes them, so that two members of
//!   either kind exclude each other on one data directory, and within one process too;
//! - nothing is retried except what the system interrupted or cut short.

use crate::{Error, File, Fs, OpenMode, Operation, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file system of the machine. Has no state.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

impl Fs for OsFs {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => _ = options.write(true),
            OpenMode::Create => _ = options.write(true).create(true),
            OpenMode::Truncate => _ = options.write(true).create(true).truncate(true),
            OpenMode::CreateNew => _ = options.write(true).create_new(true),
        }
        let file = options.open(path).map_err(|e| Error::new(Operation::Open, path, e))?;
        Ok(Box::new(OsFile { file, path: path.to_owned() }))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
        for dir in missing.into_iter().rev().filter(|dir| !dir.as_os_str().is_empty()) {
            match fs::DirBuilder::new().mode(0o700).create(dir) {
                Ok(()) => self.sync_dir(parent(dir))?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::new(Operation::CreateDir, dir, e)),
            }
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<String>> {
        let failed = |e| Error::new(Operation::ReadDir, path, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the durable rename the ban points to")]
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|e| Error::new(Operation::Rename, from, e))?;
        self.sync_dir(parent(to))?;
        if parent(from) != parent(to) {
            self.sync_dir(parent(from))?;
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|e| Error::new(Operation::Remove, path, e))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        fs::remove_dir_all(path).map_err(|e| Error::new(Operation::Remove, path, e))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        fs::File::open(path)
            .and_then(|dir| dir.sync_all())
            .map_err(|e| Error::new(Operation::SyncDir, path, e))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        path.try_exists().map_err(|e| Error::new(Operation::Stat, path, e))
    }
}

/// Parts that one system call takes, Linux's `IOV_MAX`.
const PARTS_MAX: usize = 1024;

/// The directory that holds `path`; "." for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// The constants of lock requests are declared wider than the fields they go into.
fn small(constant: libc::c_int) -> libc::c_short {
    constant.try_into().expect("constants of lock requests are small")
}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    /// The name it was opened by; only for errors, it may have been renamed since.
    path: PathBuf,
}

impl OsFile {
    fn failed(&self, operation: Operation, source: impl Into<io::Error>) -> Error {
        Error::new(operation, &self.path, source.into())
    }

    /// Takes the room by writing zeros, where the file system cannot reserve it.
    fn allocate_by_writing(&self, len: u64) -> Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut end = self.len()?;
        while end < len {
            let step = usize::try_from(len - end).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.write_at(&zeros[..step], end)?;
            end += step as u64;
        }
        Ok(())
    }
}

impl File for OsFile {
    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| self.failed(Operation::Stat, e))?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(Operation::Read, e)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| self.failed(Operation::Write, e))
    }

    fn write_parts_at(&self, parts: &[&[u8]], mut offset: u64) -> Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let group = &rest[..rest.len().min(PARTS_MAX)];
            match rustix::io::pwritev(&self.file, group, offset) {
                Ok(0) => return Err(self.failed(Operation::Write, io::ErrorKind::WriteZero)),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(self.failed(Operation::Write, e)),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|e| self.failed(Operation::SetLen, e))
    }

    fn allocate(&self, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    return self.allocate_by_writing(len);
                }
                Err(e) => return Err(self.failed(Operation::Allocate, e)),
            }
        }
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| self.failed(Operation::Sync, e))
    }

    fn sync_all(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| self.failed(Operation::Sync, e))
    }

    fn try_lock(&self) -> Result<()> {
        let whole_file = libc::flock {
            l_type: small(libc::F_WRLCK),
            l_whence: small(libc::SEEK_SET),
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        let locked = match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file)) {
            Ok(_) => return Ok(()),
            // A kernel or file system without such locks: the older kind, as a Go member does.
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {
                rustix::fs::flock(&self.file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
                    .map_err(io::Error::from)
            }
            Err(e) => Err(io::Error::from(e)),
        };
        locked.map_err(|e| match e.kind() {
            // Systems may say "permission denied" (EACCES) for a lock held by another.
            io::ErrorKind::PermissionDenied => {
                self.failed(Operation::Lock, io::ErrorKind::WouldBlock)
            }
            _ => self.failed(Operation::Lock, e),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_another_handle_and_ends_with_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let first = OsFs.open(&path, OpenMode::CreateNew).unwrap();
        first.try_lock().unwrap();
        let second = OsFs.open(&path, OpenMode::Write).unwrap();
        assert!(second.try_lock().unwrap_err().is_locked());
        drop(first);
        second.try_lock().unwrap();
    }

    #[test]
    fn an_allocated_file_shows_its_size_and_reads_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let file = OsFs.open(&dir.path().join("f"), OpenMode::Truncate).unwrap();
        file.allocate(10_000).unwrap();
        assert_eq!(file.len().unwrap(), 10_000);
        let mut bytes = vec![1; 10_000];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 10_000);
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert_eq!(file.append(b"x").unwrap(), 10_000);
    }

    #[test]
    fn parts_are_written_behind_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = OsFs.open(&path, OpenMode::CreateNew).unwrap();
        let numbers: Vec<Vec<u8>> = (0..3000_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let mut parts: Vec<&[u8]> = numbers.iter().map(Vec::as_slice).collect();
        parts.insert(7, b"");
        parts.push(b"");
        file.write_parts_at(&parts, 5).unwrap();
        file.write_parts_at(&[], 0).unwrap();
        let content = OsFs.read(&path).unwrap();
        assert_eq!(content[..5], [0; 5]);
        assert_eq!(content[5..], parts.concat());
    }

    #[test]
    fn directories_are_made_listed_and_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        OsFs.create_dir_all(&deep).unwrap();
        OsFs.open(&deep.join("z"), OpenMode::CreateNew).unwrap();
        OsFs.rename(&deep.join("z"), &deep.join("y")).unwrap();
        assert_eq!(OsFs.read_dir(&deep).unwrap(), ["y"]);
        assert!(OsFs.open(&deep.join("z"), OpenMode::Write).unwrap_err().is_not_found());
        OsFs.remove_dir_all(&dir.path().join("a")).unwrap();
        assert!(!OsFs.exists(&deep).unwrap());
    }
}
