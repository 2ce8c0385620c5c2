//! The one reader of segments: frames, checksums, order of records, in file after file.
//!
//! Every use of a log (reading, verifying, repairing) walks it with a [`Scan`], so that all judge
//! the same bytes the same way. Invariants of what it yields:
//! - the CRC chain holds from the first segment's head on;
//! - each segment begins with a crc record and a metadata record, the metadata equal everywhere;
//! - hard states never fall back in term.
//!
//! Where a clean end, a torn tail and corruption part (`docs/formats/wal.md` has the reasons):
//! ```text
//! length field 0, rest of its sector 0, last segment       clean end
//! file ends on a record boundary                           clean end
//! record cut by the end of the file, or bad with an
//!   all-zero sector in it, in the last segment             torn
//! anything else                                            corrupt
//! ```
//! What it is not: a judge of which entries replace which; see `replay`.

use crate::record::{self, FrameSize, Header, HeaderError, Kind, LENGTH_BYTES};
use crate::{Error, Result};
use bytes::Bytes;
use raftpb::{Entry, HardState};
use std::path::PathBuf;
use vfs::{File, SECTOR_BYTES};

/// A segment open for reading.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub path: PathBuf,
    /// Position of the segment in the whole log, from its name.
    pub seq: u64,
    pub file: &'a dyn File,
}

/// What a record says. Crc records are the scan's own business.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Metadata(Bytes),
    Entry(Entry),
    State(HardState),
    Snapshot(raftpb::wal::Snapshot),
}

/// A walk over consecutive segments.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    sources: Vec<Source<'a>>,
    /// Position in `sources`; stays on the last one at the end.
    current: usize,
    window: Window,
    /// Where the next frame begins, which is the end of the last good record.
    offset: u64,
    /// Where the record yielded last begins.
    item_offset: u64,
    /// Records read from the current segment.
    records: u64,
    /// Unknown before the first head, unless the log is read from its beginning.
    crc: Option<u32>,
    metadata: Option<Bytes>,
    term: u64,
}

impl<'a> Scan<'a> {
    /// A walk over `sources`, of which the last must be the last of the log.
    pub(crate) fn new(sources: Vec<Source<'a>>) -> Result<Self> {
        let first = sources.first().expect("a log has a segment");
        let window = Window::new(first.file)?;
        let crc = (first.seq == 0).then_some(0);
        Ok(Self {
            sources,
            current: 0,
            window,
            offset: 0,
            item_offset: 0,
            records: 0,
            crc,
            metadata: None,
            term: 0,
        })
    }

    /// The next record's content, or `None` at a clean end of the log.
    pub(crate) fn next_item(&mut self) -> Result<Option<Item>> {
        loop {
            let Some((header, data, frame_bytes)) = self.next_record()? else {
                if self.records < 2 {
                    return Err(self.corrupt("a crc and a metadata record", "end of segment"));
                }
                if self.is_last() {
                    return Ok(None);
                }
                self.current += 1;
                self.window = Window::new(self.source().file)?;
                self.offset = 0;
                self.records = 0;
                continue;
            };
            self.records += 1;
            self.item_offset = self.offset;
            let item = self.interpret(&header, data)?;
            self.offset += frame_bytes;
            if let Some(item) = item {
                return Ok(Some(item));
            }
        }
    }

    /// End of the last good record in the current segment.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The running CRC, known once a record was read.
    pub(crate) fn crc(&self) -> u32 {
        self.crc.expect("a log that was read has a head")
    }

    /// A corruption error at the record yielded last.
    pub(crate) fn corrupt_item(
        &self,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        let path = self.source().path.clone();
        let (expected, found) = (expected.into(), found.into());
        Error::Corrupt { path, offset: self.item_offset, expected, found }
    }

    fn corrupt(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let path = self.source().path.clone();
        let (expected, found) = (expected.into(), found.into());
        Error::Corrupt { path, offset: self.offset, expected, found }
    }

    fn torn(&self, found: &str) -> Error {
        let path = self.source().path.clone();
        Error::Torn { path, offset: self.offset, found: found.to_owned() }
    }

    fn source(&self) -> &Source<'a> {
        &self.sources[self.current]
    }

    fn is_last(&self) -> bool {
        self.current + 1 == self.sources.len()
    }

    /// Whether an incomplete record here can come from a crash. A segment gets its name only
    /// after its head was synced, so a head is never torn, and the next segment begins only
    /// after this one was synced as a whole.
    fn may_be_torn(&self) -> bool {
        self.is_last() && self.records >= 2
    }

    /// The frame at `offset`: header, data and its size, or `None` at the end of the segment.
    fn next_record(&mut self) -> Result<Option<(Header, Bytes, u64)>> {
        let rest = self.window.len - self.offset;
        if rest == 0 {
            return Ok(None);
        }
        let file = self.sources[self.current].file;
        if rest < LENGTH_BYTES as u64 {
            return Err(if self.may_be_torn() {
                self.torn("file ends inside a length field")
            } else {
                self.corrupt("a length field", "end of file inside it")
            });
        }
        let field = self.window.read(file, self.offset, LENGTH_BYTES as u64)?;
        let field = u64::from_le_bytes(field.try_into().expect("eight bytes were asked for"));
        if field == 0 {
            return self.end_of_records(rest).map(|()| None);
        }
        let Some(size) = FrameSize::decode(field) else {
            let found = format!("length field {field:#018x}");
            return Err(self.corrupt("padding that goes with the length", found));
        };
        let frame = size.record + size.padding;
        let available = frame.min(rest - LENGTH_BYTES as u64);
        let (may_be_torn, running, offset) = (self.may_be_torn(), self.crc, self.offset);
        let bytes = self.window.read(file, offset + LENGTH_BYTES as u64, available)?;
        match judge(bytes, offset, size, running) {
            Verdict::Sound(header, data) => Ok(Some((header, data, LENGTH_BYTES as u64 + frame))),
            Verdict::Incomplete(what) if may_be_torn => Err(self.torn(what)),
            Verdict::Incomplete(what) => Err(self.corrupt("a whole record", what)),
            Verdict::Wrong { expected, found } => Err(self.corrupt(expected, found)),
        }
    }

    /// Checks that a zero length field can be where writing ended.
    fn end_of_records(&mut self, rest: u64) -> Result<()> {
        if !self.is_last() {
            return Err(self.corrupt("the end of a segment that was cut", "a zero length field"));
        }
        let file = self.sources[self.current].file;
        let sector = SECTOR_BYTES as u64;
        let rest_of_sector = (sector - self.offset % sector).min(rest);
        let bytes = self.window.read(file, self.offset, rest_of_sector)?;
        if bytes.iter().any(|byte| *byte != 0) {
            let found = "bytes behind it in its sector";
            return Err(self.corrupt("nothing after a zero length field", found));
        }
        Ok(())
    }

    /// Checks a record's place in the segment and reads its message.
    fn interpret(&mut self, header: &Header, data: Bytes) -> Result<Option<Item>> {
        let found = || format!("{:?} record", header.kind);
        match (self.records, header.kind) {
            (1, Kind::Crc) => {
                if header.data.is_some() {
                    return Err(self.corrupt_item("a crc record without data", "data"));
                }
                if let Some(crc) = self.crc.filter(|crc| *crc != header.crc) {
                    let found = format!("crc {:08x}", header.crc);
                    return Err(self.corrupt_item(format!("crc {crc:08x}"), found));
                }
                self.crc = Some(header.crc);
                return Ok(None);
            }
            (1, _) => return Err(self.corrupt_item("a crc record", found())),
            (2, Kind::Metadata) => {}
            (2, _) => return Err(self.corrupt_item("a metadata record", found())),
            (_, Kind::Metadata | Kind::Crc) => {
                return Err(self.corrupt_item("an entry, state or snapshot record", found()));
            }
            (_, Kind::Entry | Kind::State | Kind::Snapshot) => {}
        }
        // Just compared with the CRC computed over the data.
        self.crc = Some(header.crc);
        self.message(header, data).map(Some)
    }

    fn message(&mut self, header: &Header, data: Bytes) -> Result<Item> {
        match header.kind {
            Kind::Metadata => {
                if self.metadata.as_ref().is_some_and(|metadata| *metadata != data) {
                    return Err(self.corrupt_item("the metadata of the segment before", "other"));
                }
                self.metadata = Some(data.clone());
                Ok(Item::Metadata(data))
            }
            Kind::Entry => record::read_entry(&data)
                .map(Item::Entry)
                .map_err(|what| self.corrupt_item("an entry", what)),
            Kind::State => {
                let state = record::read_state(&data)
                    .map_err(|what| self.corrupt_item("a hard state", what))?;
                if state.term() < self.term {
                    let found = format!("term {}", state.term());
                    return Err(self.corrupt_item(format!("term {} or later", self.term), found));
                }
                self.term = state.term();
                Ok(Item::State(state))
            }
            Kind::Snapshot => {
                if header.data.is_none() {
                    return Err(self.corrupt_item("a snapshot", "no data"));
                }
                prost::Message::decode(data)
                    .map(Item::Snapshot)
                    .map_err(|e| self.corrupt_item("a snapshot", e.to_string()))
            }
            Kind::Crc => unreachable!("answered by the caller"),
        }
    }
}

/// What a frame's bytes are worth.
enum Verdict {
    Sound(Header, Bytes),
    /// Part of a record; the rest is missing or was never written.
    Incomplete(&'static str),
    /// No part of any record.
    Wrong {
        expected: String,
        found: String,
    },
}

/// Judges the bytes of a frame after its length field, which may end before it does.
fn judge(bytes: &[u8], offset: u64, size: FrameSize, running: Option<u32>) -> Verdict {
    let wrong = |expected: &str, found: &str| Verdict::Wrong {
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    let whole = bytes.len() as u64 == size.record + size.padding;
    let empty_sector = zero_sector(bytes, offset);
    let fault = match record::read_header(bytes, size.record) {
        Err(HeaderError::Incomplete) => "part of a record",
        Err(HeaderError::Bad(what)) => what,
        Ok(_) if !whole => "record longer than the rest of the file",
        Ok(header) => {
            let record = bytes.len() - usize::try_from(size.padding).expect("at most seven");
            if bytes[record..].iter().any(|byte| *byte != 0) {
                return wrong("padding of zeros", "other bytes");
            }
            let data = header.data.clone().map_or(&[][..], |range| &bytes[range]);
            let crc = crc32c::crc32c_append(running.unwrap_or_default(), data);
            if header.kind == Kind::Crc || crc == header.crc {
                return Verdict::Sound(header, Bytes::copy_from_slice(data));
            }
            if empty_sector.is_some() {
                return Verdict::Incomplete("checksum mismatch and an empty sector");
            }
            return wrong(&format!("crc {crc:08x}"), &format!("crc {:08x}", header.crc));
        }
    };
    // What stands before the first empty sector was written; if no record of this length begins
    // so, no crash explains the bytes.
    let written = &bytes[..empty_sector.unwrap_or(bytes.len())];
    match record::read_header(written, size.record) {
        Err(HeaderError::Bad(what)) => wrong("a record", what),
        _ if whole && empty_sector.is_none() => wrong("a record", fault),
        _ => Verdict::Incomplete(fault),
    }
}

/// Where in a frame's bytes the first all-zero sector begins, if there is one; the first and the
/// last sector count with the part the frame has of them (etcd `decoder.go: isTornEntry`).
fn zero_sector(bytes: &[u8], frame_offset: u64) -> Option<usize> {
    let within = (frame_offset + LENGTH_BYTES as u64) % SECTOR_BYTES as u64;
    let first = SECTOR_BYTES - usize::try_from(within).expect("less than a sector");
    let mut at = 0;
    let mut step = first.min(bytes.len());
    while at < bytes.len() {
        if bytes[at..at + step].iter().all(|byte| *byte == 0) {
            return Some(at);
        }
        at += step;
        step = SECTOR_BYTES.min(bytes.len() - at);
    }
    None
}

/// Bytes read ahead, so that small records cost no system call each.
#[derive(Debug)]
struct Window {
    /// Length of the file when the scan reached it.
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

/// Bytes fetched at once.
const READ_AHEAD_BYTES: u64 = 256 * 1024;

impl Window {
    fn new(file: &dyn File) -> Result<Self> {
        Ok(Self { len: file.len()?, start: 0, bytes: Vec::new() })
    }

    /// The `len` bytes at `offset`, which lie within the file.
    fn read(&mut self, file: &dyn File, offset: u64, len: u64) -> Result<&[u8]> {
        assert!(offset + len <= self.len, "the caller stays within the file");
        if offset < self.start || offset + len > self.start + self.bytes.len() as u64 {
            let fetch = len.max(READ_AHEAD_BYTES).min(self.len - offset);
            self.bytes.resize(usize::try_from(fetch).expect("files fit the address space"), 0);
            let read = file.read_at(&mut self.bytes, offset)?;
            // Somebody cut the file meanwhile: what is gone reads as zeros and fails its checks.
            self.bytes[read..].fill(0);
            self.start = offset;
        }
        let from = usize::try_from(offset - self.start).expect("within the window");
        let to = from + usize::try_from(len).expect("within the window");
        Ok(&self.bytes[from..to])
    }
}
