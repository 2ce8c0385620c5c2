//! Reading records: one, or many at once.
//!
//! A reader takes the shared lock to find the file, gives it back, and reads: it never waits for
//! a sync, a compaction or another reader. A file that is replaced meanwhile stays readable for
//! whoever found it.

use crate::frame::usize_of;
use crate::pin::Pin;
use crate::record::{self, HEAD_BYTES, RecordRef};
use crate::records::Records;
use crate::segment::Segment;
use crate::shared::{Pending, Place, Shared};
use crate::store::ENCODED_HERE;
use crate::{Error, Location, Result, Usage};
use bytes::{Buf, Bytes};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Two records no further apart than this are read in one go: copying so many bytes costs no
/// more than another system call.
pub(crate) const GAP_BYTES: u64 = 2048;

/// Bytes read in one go at most.
const RUN_BYTES: u64 = 1 << 20;

/// The reading side. Clones are cheap and read the same store.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// A revision as stored, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    bytes: Vec<u8>,
    key_len: usize,
}

impl Record {
    /// The revision's key, see [`crate::RevisionKey`].
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.bytes[HEAD_BYTES..HEAD_BYTES + self.key_len]
    }

    /// The encoded `mvccpb.KeyValue`.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.bytes[HEAD_BYTES + self.key_len..]
    }

    /// The same for keeping, without a copy.
    #[must_use]
    pub fn into_value(self) -> Bytes {
        let mut bytes = Bytes::from(self.bytes);
        bytes.advance(HEAD_BYTES + self.key_len);
        bytes
    }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The record at `location`.
    ///
    /// # Errors
    /// [`Error::Gone`] if a compaction dropped it, [`Error::Corrupt`] if its CRC is wrong, and
    /// the disk's.
    pub fn get(&self, location: Location) -> Result<Record> {
        let len = location.len as usize;
        let bytes = match self.shared.find(location)? {
            Place::Overlay(frame, from) => frame.bytes[from..from + len].to_vec(),
            Place::File(segment, offset) => {
                let mut bytes = vec![0; len];
                let read = segment.file.read_at(&mut bytes, u64::from(offset))?;
                check(&segment, offset, &bytes[..read], len)?;
                bytes
            }
        };
        let key_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        Ok(Record { bytes, key_len })
    }

    /// Reads all of `locations` and gives each value to `take` with its place in `locations`.
    /// They come in the order that costs least: those in memory first, then as they lie on disk.
    ///
    /// # Errors
    /// As [`Reader::get`]; some values may have been given then.
    pub fn gather(&self, locations: &[Location], mut take: impl FnMut(usize, &[u8])) -> Result<()> {
        let mut plan = self.plan(locations)?;
        for (frame, from, place) in plan.in_memory.drain(..) {
            let record = record::decode_trusted(&frame.bytes[from..]).expect(ENCODED_HERE);
            take(place, record.value);
        }
        plan.in_files.sort_unstable_by_key(|item| (item.file, item.offset));
        let mut rest = &plan.in_files[..];
        let mut buffer = Vec::new();
        while let Some(first) = rest.first() {
            let (count, len) = run(rest);
            let segment = &plan.files[&first.file];
            buffer.resize(len, 0);
            let read = segment.file.read_at(&mut buffer, u64::from(first.offset))?;
            for item in &rest[..count] {
                let from = usize_of(u64::from(item.offset - first.offset)).min(read);
                let to = read.min(from + item.len as usize);
                let bytes = &buffer[from..to];
                let record = check(segment, item.offset, bytes, item.len as usize)?;
                take(item.place, record.value);
            }
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Finds records of puts, to be read a few at a time, however long that takes.
    ///
    /// # Errors
    /// [`Error::Gone`] if a compaction dropped one.
    pub fn find(&self, locations: Vec<Location>) -> Result<Records> {
        Records::find(&self.shared, locations)
    }

    /// Finds all files, without keeping writers waiting meanwhile.
    fn plan(&self, locations: &[Location]) -> Result<Plan> {
        let state = self.shared.snapshot();
        let mut plan = Plan::default();
        for (place, location) in locations.iter().enumerate() {
            match state.find(*location)? {
                Place::Overlay(frame, from) => plan.in_memory.push((frame, from, place)),
                Place::File(segment, offset) => {
                    let file = segment.name.first;
                    plan.in_files.push(Item { file, offset, len: location.len, place });
                    plan.files.entry(file).or_insert(segment);
                }
            }
        }
        Ok(plan)
    }

    /// The revision at `location` is dead: no reader will ask for it once the compaction that
    /// found it is done. Counts only; see [`crate::Compactor`].
    pub fn mark_dead(&self, location: Location) {
        self.shared.add_dead(location);
    }

    /// Everything the store holds now, kept as it is until the pin is dropped.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin::new(&self.shared)
    }

    /// As [`Usage::file_bytes`], at no cost.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.shared.file_bytes()
    }

    /// How much the store takes.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shared.usage()
    }
}

#[derive(Debug, Default)]
struct Plan {
    in_memory: Vec<(Arc<Pending>, usize, usize)>,
    /// By the first segment in each.
    files: BTreeMap<u32, Arc<Segment>>,
    in_files: Vec<Item>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    file: u32,
    offset: u32,
    len: u32,
    place: usize,
}

/// How many of the first items are read in one go, and how many bytes that takes.
fn run(items: &[Item]) -> (usize, usize) {
    let first = items[0];
    let start = u64::from(first.offset);
    let mut end = start + u64::from(first.len);
    let mut count = 1;
    for item in &items[1..] {
        let item_end = u64::from(item.offset) + u64::from(item.len);
        let near = item.file == first.file && u64::from(item.offset) <= end + GAP_BYTES;
        if !near || item_end - start > RUN_BYTES {
            break;
        }
        end = end.max(item_end);
        count += 1;
    }
    (count, usize_of(end - start))
}

pub(crate) fn check<'a>(
    segment: &Segment,
    offset: u32,
    bytes: &'a [u8],
    len: usize,
) -> Result<RecordRef<'a>> {
    let corrupt = |found: &str| segment.corrupt(u64::from(offset), "a record", found);
    let record = record::decode(bytes).map_err(corrupt)?;
    if record.len != len {
        return Err(corrupt("a record of another length"));
    }
    Ok(record)
}

impl Error {
    /// Whether a compaction dropped the record meanwhile.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}
