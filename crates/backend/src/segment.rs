//! Segment files: their names, their heads, and what is known of an open one.
//!
//! `<first>-<last>-<generation>.seg`, all in hex: the segments whose records the file holds, more
//! than one where a compaction put neighbours together, and how often that happened. Of two files
//! for one segment the one of the higher generation counts: it was complete before it got its
//! name. The head, 32 bytes, says the same with a CRC.

use crate::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use vfs::{File, Fs, OpenMode};

pub(crate) const HEAD_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"quorseg1";

/// The name of a segment file. Sorts as the records run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub first: u32,
    pub last: u32,
    pub generation: u32,
}

impl Name {
    /// A segment as it is appended to.
    pub(crate) fn new(number: u32) -> Self {
        Self { first: number, last: number, generation: 0 }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".seg")?.split('-');
        let mut number = || {
            let digits = parts.next()?;
            let eight = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            eight.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        };
        let name = Self { first: number()?, last: number()?, generation: number()? };
        (parts.next().is_none() && name.first <= name.last).then_some(name)
    }

    /// Whether this file has all that `other` holds, and is the later one.
    pub(crate) fn replaces(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last && self.generation > other.generation
    }

    pub(crate) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }

    pub(crate) fn head(self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&self.first.to_le_bytes());
        head[12..16].copy_from_slice(&self.last.to_le_bytes());
        head[16..20].copy_from_slice(&self.generation.to_le_bytes());
        let crc = crc32c::crc32c(&head[..28]);
        head[28..].copy_from_slice(&crc.to_le_bytes());
        head
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}-{:08x}.seg", self.first, self.last, self.generation)
    }
}

/// What the head of a file says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadState {
    /// It is the head of this segment.
    Sound,
    /// The power went before the file had its head.
    Unborn,
}

/// An open segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub name: Name,
    pub path: PathBuf,
    pub file: Box<dyn File>,
    /// Where the frames end: the bytes written so far, or the begin of the footer.
    frames_end: AtomicU64,
    /// Bytes of all records of revisions.
    revision_bytes: AtomicU64,
    /// Bytes of those that are dead, but for the buried.
    dead_bytes: AtomicU64,
    /// Bytes of dead deletions that are kept for the sake of older files.
    buried_bytes: AtomicU64,
    /// Nothing is left here that a compaction at or below this revision found dead, but for the
    /// buried.
    cleaned_to: AtomicI64,
}

impl Segment {
    pub(crate) fn open(fs: &dyn Fs, dir: &Path, name: Name, mode: OpenMode) -> Result<Self> {
        let path = name.path(dir);
        let file = fs.open(&path, mode)?;
        Ok(Self::over(name, path, file))
    }

    pub(crate) fn over(name: Name, path: PathBuf, file: Box<dyn File>) -> Self {
        Self {
            name,
            path,
            file,
            frames_end: AtomicU64::new(HEAD_BYTES as u64),
            revision_bytes: AtomicU64::new(0),
            dead_bytes: AtomicU64::new(0),
            buried_bytes: AtomicU64::new(0),
            cleaned_to: AtomicI64::new(i64::MIN),
        }
    }

    /// Compares the head of the file with its name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is neither right nor missing.
    pub(crate) fn check_head(&self) -> Result<HeadState> {
        let mut head = [0; HEAD_BYTES];
        let read = self.file.read_at(&mut head, 0)?;
        if head == self.name.head() {
            return Ok(HeadState::Sound);
        }
        // The head is synced before anything else is written, within one sector.
        if self.file.len()? <= HEAD_BYTES as u64 && (read < HEAD_BYTES || head == [0; HEAD_BYTES]) {
            return Ok(HeadState::Unborn);
        }
        Err(self.corrupt(0, "the head of a segment", "other bytes"))
    }

    pub(crate) fn corrupt(&self, offset: u64, expected: &str, found: impl Into<String>) -> Error {
        Error::Corrupt {
            path: self.path.clone(),
            offset,
            expected: expected.to_owned(),
            found: found.into(),
        }
    }

    pub(crate) fn frames_end(&self) -> u64 {
        self.frames_end.load(Ordering::Acquire)
    }

    pub(crate) fn set_frames_end(&self, offset: u64) {
        self.frames_end.store(offset, Ordering::Release);
    }

    pub(crate) fn set_revision_bytes(&self, bytes: u64) {
        self.revision_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether its footer was written, or read.
    pub(crate) fn is_sealed(&self) -> bool {
        self.revision_bytes.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn add_dead(&self, bytes: u64) {
        self.dead_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn dead_bytes(&self) -> u64 {
        self.dead_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn buried_bytes(&self) -> u64 {
        self.buried_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_cleaned(&self, to: i64, buried: u64) {
        self.cleaned_to.store(to, Ordering::Relaxed);
        self.buried_bytes.store(buried, Ordering::Relaxed);
    }

    /// The last compaction of whose dead nothing is left here; `i64::MAX` if nothing dead is.
    pub(crate) fn cleaned_to(&self) -> i64 {
        if self.dead_bytes() == 0 { i64::MAX } else { self.cleaned_to.load(Ordering::Relaxed) }
    }

    /// Whether a sweep for the dead of compactions up to `revision` must come here.
    pub(crate) fn is_unswept(&self, revision: i64) -> bool {
        let garbage = self.dead_bytes() + self.buried_bytes() > 0;
        garbage && self.cleaned_to.load(Ordering::Relaxed) < revision
    }

    /// Bytes of the records of live revisions.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.revision_bytes.load(Ordering::Relaxed).saturating_sub(self.dead_bytes())
    }

    /// The share of the frames that is not live, in percent.
    pub(crate) fn waste_percent(&self) -> u64 {
        let all = self.frames_end();
        (all - self.live_bytes().min(all)) * 100 / all.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_others_are_not_ours() {
        let name = Name { first: 3, last: 0x1f, generation: 2 };
        assert_eq!(name.to_string(), "00000003-0000001f-00000002.seg");
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        for other in ["lock", "00000003-00000001-00000000.seg", "3-4-5.seg", "a.seg"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        assert!(name.replaces(Name::new(4)) && !name.replaces(Name::new(2)));
        assert!(!Name::new(4).replaces(Name::new(4)));
    }
}
