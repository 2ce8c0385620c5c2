//! A frame: the records of one commit, all or nothing.
//!
//! ```text
//!  0        4        5      8          12        16          20           24
//! +--------+--------+------+----------+---------+-----------+------------+---------+---------+
//! | "QFRM" | kind u8| 0 x3 | body len | records | durable   | head crc   | records | trailer |
//! |        |        |      |   u32    |   u32   |   u32     |    u32     |  (body) |         |
//! +--------+--------+------+----------+---------+-----------+------------+---------+---------+
//!  trailer: consistent index u64, its term u64, crc u32
//! ```
//! The head's CRC covers what is before it and starts from the segment's number and the frame's
//! offset, so that a frame of another place, or bytes of a value that look like one, are none. The trailer's covers the head, the CRC of each record
//! in order, index and term. `durable` is how many bytes of this segment were synced when the
//! frame was made: damage before that offset cannot be a write that the power cut.

use crate::record::{self, Kind, RecordRef};
use crate::{Location, Result};
use vfs::File;

pub(crate) const HEAD_BYTES: usize = 24;
pub(crate) const TRAILER_BYTES: usize = 20;
pub(crate) const MAGIC: &[u8; 4] = b"QFRM";

/// Bytes read at a time by a scan.
const WINDOW_BYTES: usize = 1 << 20;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// A commit.
    Commit = 0,
    /// All entries of the small buckets, the first frame of a segment.
    Checkpoint = 1,
    /// Live revisions that a compaction copied.
    Copied = 2,
}

/// What stands at the end of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The raft index up to which the store holds what was applied.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// A frame being filled.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    records: u32,
    /// The CRCs of the records, which the trailer's covers. Taken in at the end at once: a CRC of
    /// four bytes costs nearly as much as one of four hundred.
    crcs: Vec<u8>,
}

impl FrameBuilder {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; HEAD_BYTES], records: 0, crcs: Vec::new() }
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// Bytes so far, without the trailer.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a record; returns where in the frame it begins, and its bytes.
    pub(crate) fn push(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> (usize, usize) {
        let at = self.bytes.len();
        let crc = record::encode(&mut self.bytes, kind, key, value);
        self.crcs.extend_from_slice(&crc.to_le_bytes());
        self.records += 1;
        (at, self.bytes.len() - at)
    }

    /// The bytes from `at` on.
    pub(crate) fn bytes_at(&self, at: usize) -> &[u8] {
        self.bytes.get(at..).unwrap_or_default()
    }

    /// Ends the frame and gives its bytes; the builder is empty again.
    pub(crate) fn finish(
        &mut self,
        kind: FrameKind,
        (segment, offset): (u32, u32),
        durable: u32,
        mark: Mark,
    ) -> Vec<u8> {
        let body = self.bytes.len() - HEAD_BYTES;
        // The next frame will probably be about as large, and gets a trailer too.
        let expected = self.bytes.len() + self.bytes.len() / 8 + TRAILER_BYTES;
        let next = Vec::with_capacity(expected.min(WINDOW_BYTES));
        let mut bytes = std::mem::replace(&mut self.bytes, next);
        self.bytes.resize(HEAD_BYTES, 0);
        let body = u32::try_from(body).expect("a commit is smaller than 4 GiB");
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = kind as u8;
        bytes[8..12].copy_from_slice(&body.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.records.to_le_bytes());
        bytes[16..20].copy_from_slice(&durable.to_le_bytes());
        let head_crc = head_crc(segment, u64::from(offset), &bytes[..20]);
        bytes[20..HEAD_BYTES].copy_from_slice(&head_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.crcs), &bytes[..HEAD_BYTES]);
        let from = bytes.len();
        bytes.extend_from_slice(&mark.index.to_le_bytes());
        bytes.extend_from_slice(&mark.term.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &bytes[from..]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        self.records = 0;
        self.crcs.clear();
        bytes
    }
}

/// A frame in place, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameRef<'a> {
    pub kind: FrameKind,
    pub mark: Mark,
    pub durable: u32,
    /// Where in the file the frame begins.
    pub offset: u64,
    body: &'a [u8],
}

impl<'a> FrameRef<'a> {
    /// A frame that was encoded by this process, to lie at `offset`.
    pub(crate) fn encoded(bytes: &'a [u8], kind: FrameKind, mark: Mark, offset: u32) -> Self {
        let body = &bytes[HEAD_BYTES..bytes.len() - TRAILER_BYTES];
        Self { kind, mark, durable: 0, offset: u64::from(offset), body }
    }

    /// The records and where each lies in the file.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, RecordRef<'a>)> + use<'a> {
        let (body, start) = (self.body, self.offset + HEAD_BYTES as u64);
        let mut at = 0;
        std::iter::from_fn(move || {
            if at == body.len() {
                return None;
            }
            let record = record::decode_trusted(&body[at..]).expect("checked with the frame");
            let offset = start + at as u64;
            at += record.len;
            Some((offset, record))
        })
    }

    /// As [`FrameRef::records`], the revisions alone, with their locations in `segment`.
    pub(crate) fn revisions(
        &self,
        segment: u32,
    ) -> impl Iterator<Item = (Location, RecordRef<'a>)> + use<'a> {
        let revisions = self.records().filter(|(_, record)| record.kind == Kind::Revision);
        revisions.map(move |(offset, record)| (location(segment, offset, record.len), record))
    }
}

pub(crate) fn location(segment: u32, offset: u64, len: usize) -> Location {
    let offset = u32::try_from(offset).expect("segments are smaller than 4 GiB");
    let len = u32::try_from(len).expect("records are smaller than segments");
    Location { segment, offset, len }
}

/// What a scan meets.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Frame(FrameRef<'a>),
    /// The end of the frames: of the file, or the footer.
    End,
    /// Something that is no frame.
    Damage(&'static str),
}

/// Walks over the frames of a file.
#[derive(Debug)]
pub(crate) struct FrameScan<'a> {
    file: &'a dyn File,
    segment: u32,
    /// Where the next frame begins.
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> FrameScan<'a> {
    /// Over the bytes from `from` up to `end` of the file whose first segment is `segment`.
    pub(crate) fn new(file: &'a dyn File, segment: u32, from: u64, end: u64) -> Self {
        Self { file, segment, at: from, end, window: Vec::new(), window_at: 0 }
    }

    /// Where the next frame would begin.
    pub(crate) fn offset(&self) -> u64 {
        self.at
    }

    /// Goes on at `offset`, for the search of frames behind damage.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.at = offset;
    }

    /// The next frame. Stays where it is at anything else.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn next(&mut self) -> Result<Found<'_>> {
        if self.at == self.end {
            return Ok(Found::End);
        }
        let (at, segment) = (self.at, self.segment);
        let Some(head) = self.bytes(at, HEAD_BYTES)? else {
            return Ok(Found::Damage("a cut frame head"));
        };
        let head: [u8; HEAD_BYTES] = head.try_into().expect("as long as asked for");
        if head[..4] == *crate::footer::MAGIC {
            return Ok(Found::End);
        }
        let number = |from: usize| {
            u32::from_le_bytes(head[from..from + 4].try_into().expect("four bytes were cut"))
        };
        if head[..4] != *MAGIC || head_crc(segment, at, &head[..20]) != number(20) {
            return Ok(Found::Damage("no frame head"));
        }
        let kind = match head[4..8] {
            [0, 0, 0, 0] => FrameKind::Commit,
            [1, 0, 0, 0] => FrameKind::Checkpoint,
            [2, 0, 0, 0] => FrameKind::Copied,
            _ => return Ok(Found::Damage("a frame of an unknown kind")),
        };
        let body_len = usize::try_from(number(8)).expect("memory is larger than 4 GiB");
        let len = HEAD_BYTES + body_len + TRAILER_BYTES;
        let Some(bytes) = self.bytes(at, len)? else {
            return Ok(Found::Damage("a cut frame"));
        };
        let (body, trailer) = bytes[HEAD_BYTES..].split_at(body_len);
        let mut crc = 0;
        let (mut from, mut records) = (0, 0);
        while from < body.len() {
            let record = match record::decode(&body[from..]) {
                Ok(record) => record,
                Err(found) => return Ok(Found::Damage(found)),
            };
            crc = crc32c::crc32c_append(crc, &record.crc.to_le_bytes());
            from += record.len;
            records += 1;
        }
        crc = crc32c::crc32c_append(crc, &head);
        crc = crc32c::crc32c_append(crc, &trailer[..16]);
        if records != number(12) || trailer[16..] != crc.to_le_bytes() {
            return Ok(Found::Damage("a frame trailer with another CRC"));
        }
        let half = |from: usize| {
            u64::from_le_bytes(trailer[from..from + 8].try_into().expect("eight bytes were cut"))
        };
        let mark = Mark { index: half(0), term: half(8) };
        self.at = at + len as u64;
        // Taken from the window once more: the borrow above ended with the new position.
        let body = &self.window[usize_of(at - self.window_at) + HEAD_BYTES..][..body_len];
        Ok(Found::Frame(FrameRef { kind, mark, durable: number(16), offset: at, body }))
    }

    /// The offset of the next place at or behind the present one that could begin a frame.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn search(&mut self) -> Result<Option<u64>> {
        while self.at + HEAD_BYTES as u64 <= self.end {
            let (at, left) = (self.at, self.end - self.at);
            let len = usize::try_from(left).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            let Some(bytes) = self.bytes(at, len)? else { return Ok(None) };
            if let Some(place) = bytes.windows(MAGIC.len()).position(|four| four == MAGIC) {
                self.at += place as u64;
                return Ok(Some(self.at));
            }
            // The magic may lie across two windows.
            self.at += (len - MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }

    /// `len` bytes at `at`, or nothing if they reach beyond the end.
    fn bytes(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>> {
        if at + len as u64 > self.end {
            return Ok(None);
        }
        let has = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + len as u64 > has {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            self.window.resize(len.max(WINDOW_BYTES.min(left)), 0);
            self.window_at = at;
            let read = self.file.read_at(&mut self.window, at)?;
            self.window.truncate(read);
            if read < len {
                return Ok(None);
            }
        }
        let from = usize_of(at - self.window_at);
        Ok(Some(&self.window[from..from + len]))
    }
}

fn head_crc(segment: u32, offset: u64, head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(segment, &offset.to_le_bytes()), head)
}

pub(crate) fn usize_of(offset: u64) -> usize {
    usize::try_from(offset).expect("offsets of segments fit into memory")
}
