//! Segment files: their names, and which of them a reader needs.
//!
//! `<seq>-<index>.wal`, both as 16 hex digits: `seq` starts at 0 and rises by one, `index` is the
//! first raft index the segment may hold. Files of other names are not ours and are left alone.

use crate::scan::Source;
use crate::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use vfs::{File, Fs};

/// The name of a segment. Sorts as the log runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// Position of the segment in the log, from 0.
    pub seq: u64,
    /// First raft index the segment may hold.
    pub index: u64,
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let (seq, index) = name.strip_suffix(".wal")?.split_once('-')?;
        let number = |digits: &str| {
            let sixteen = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            sixteen.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        Some(Self { seq: number(seq)?, index: number(index)? })
    }

    pub(crate) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.seq, self.index)
    }
}

/// A segment whose file is open.
#[derive(Debug)]
pub(crate) struct Segment {
    pub name: Name,
    pub file: Box<dyn File>,
}

/// What a scan of these segments walks over.
pub(crate) fn sources<'a>(dir: &Path, segments: &'a [Segment]) -> Vec<Source<'a>> {
    let source = |segment: &'a Segment| Source {
        path: segment.name.path(dir),
        seq: segment.name.seq,
        file: &*segment.file,
    };
    segments.iter().map(source).collect()
}

/// The segments in a directory, ascending; none if there is no directory.
pub(crate) fn list(fs: &dyn Fs, dir: &Path) -> Result<Vec<Name>> {
    let names = match fs.read_dir(dir) {
        Ok(names) => names,
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut names: Vec<Name> = names.iter().filter_map(|name| Name::parse(name)).collect();
    names.sort_unstable();
    Ok(names)
}

/// All segments, which must follow one another without a gap.
pub(crate) fn all(fs: &dyn Fs, dir: &Path) -> Result<Vec<Name>> {
    let names = list(fs, dir)?;
    if names.is_empty() {
        return Err(Error::NoSegment { dir: dir.to_owned(), index: 0 });
    }
    without_gap(dir, names)
}

/// The segments to read for what follows `index`: from the last whose name allows it.
pub(crate) fn from_index(fs: &dyn Fs, dir: &Path, index: u64) -> Result<Vec<Name>> {
    let mut names = list(fs, dir)?;
    let first = names.iter().rposition(|name| name.index <= index);
    let first = first.ok_or_else(|| Error::NoSegment { dir: dir.to_owned(), index })?;
    without_gap(dir, names.split_off(first))
}

fn without_gap(dir: &Path, names: Vec<Name>) -> Result<Vec<Name>> {
    for pair in names.windows(2) {
        if pair[1].seq != pair[0].seq + 1 {
            let (expected, found) = (pair[0].seq + 1, pair[1].seq);
            return Err(Error::MissingSegment { dir: dir.to_owned(), expected, found });
        }
    }
    Ok(names)
}
