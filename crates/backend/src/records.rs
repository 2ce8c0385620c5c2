//! Chosen puts, found once and read a few at a time, for answers that take their time.
//!
//! What was found stays readable, whatever compactions do meanwhile: the files that held it are
//! kept open. They lose their names and take their place on the disk until this is dropped; no
//! writer and no compaction waits for it.
//!
//! - A record costs its location, and nothing of it is in memory before it is read.
//! - A record that was in no file yet is read from its file as soon as it is there. Frames are kept
//!   in memory only for a segment that had no file at all: those of the moment in which it begins.

use crate::frame::usize_of;
use crate::read::{GAP_BYTES, check};
use crate::record::{HEAD_BYTES, decode_trusted};
use crate::revision::PLAIN_BYTES;
use crate::segment::Segment;
use crate::shared::{Pending, Place, Shared, State};
use crate::store::ENCODED_HERE;
use crate::{Error, Location, Result};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that a record costs that was found and is not read yet.
pub const FOUND_BYTES: usize = size_of::<Location>();

/// Records of puts, in an order of the caller's.
#[derive(Debug)]
pub struct Records {
    shared: Arc<Shared>,
    sources: Vec<Source>,
    /// The segment of each is a place in the sources, the offset one in that source.
    found: Vec<Location>,
}

#[derive(Debug)]
enum Source {
    File(Arc<Segment>),
    Frame(Arc<Pending>),
}

impl Records {
    /// Finds all records, each of which is a put's.
    ///
    /// # Errors
    /// [`Error::Gone`] if a compaction dropped one.
    pub(crate) fn find(shared: &Arc<Shared>, mut found: Vec<Location>) -> Result<Self> {
        let state = shared.snapshot();
        let mut sources = Sources::default();
        for location in &mut found {
            *location = sources.find(&state, *location)?;
        }
        found.shrink_to_fit();
        Ok(Self { shared: Arc::clone(shared), sources: sources.list, found })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Bytes of the value of the record at `place`, which is an encoded `mvccpb.KeyValue`.
    #[must_use]
    pub fn value_len(&self, place: usize) -> usize {
        (self.found[place].len as usize).saturating_sub(HEAD_BYTES + PLAIN_BYTES)
    }

    /// Reads the records of these places, and gives the value of each to `take`, in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and the disk's; some values may have been given then.
    pub fn read(&self, places: Range<usize>, mut take: impl FnMut(&[u8])) -> Result<()> {
        let mut scratch = SCRATCH.take();
        let done = self.read_with(&mut scratch, places, &mut take);
        if scratch.capacity() > SCRATCH_KEPT_BYTES_MAX {
            scratch = Vec::new();
        }
        SCRATCH.set(scratch);
        done
    }

    fn read_with(
        &self,
        scratch: &mut Vec<u8>,
        places: Range<usize>,
        take: &mut impl FnMut(&[u8]),
    ) -> Result<()> {
        let wanted = &self.found[places];
        // Where each lies: most lists are written in their order, and need no sorting.
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        let at = |place: &usize| (wanted[*place].segment, wanted[*place].offset);
        if !order.is_sorted_by_key(at) {
            order.sort_unstable_by_key(at);
        }
        let (mut used, mut bytes) = (0, vec![0..0; wanted.len()]);
        let mut rest = &order[..];
        while let Some(first) = rest.first() {
            let (count, len) = self.run(wanted, rest);
            let from = wanted[*first].offset;
            if scratch.len() < used + len {
                scratch.resize(used + len, 0);
            }
            let read = self.fill(wanted[*first], &mut scratch[used..used + len])?;
            for place in &rest[..count] {
                let start = usize_of(u64::from(wanted[*place].offset - from)).min(read);
                let end = (start + wanted[*place].len as usize).min(read);
                bytes[*place] = used + start..used + end;
            }
            used += len;
            rest = &rest[count..];
        }
        for (place, bytes) in bytes.into_iter().enumerate() {
            take(self.value(wanted[place], &scratch[bytes])?);
        }
        Ok(())
    }

    /// Reads what lies from `first` on. Returns how much was there.
    fn fill(&self, first: Location, out: &mut [u8]) -> Result<usize> {
        let (offset, end) = (first.offset, u64::from(first.offset) + out.len() as u64);
        match &self.sources[first.segment as usize] {
            Source::Frame(frame) => copy(frame, usize_of(u64::from(offset)), out),
            Source::File(segment) => {
                if end > segment.frames_end() {
                    // It is on its way to the file, which nothing has moved out of then.
                    let location = Location { segment: segment.name.first, ..first };
                    if let Ok(Place::Overlay(frame, from)) = self.shared.find(location) {
                        return copy(&frame, from, out);
                    }
                    // A frame leaves the overlay when it is in its file: it has come there.
                }
                Ok(segment.file.read_at(out, u64::from(offset))?)
            }
        }
    }

    /// How many of the first in `order` are read in one go, and how many bytes that takes.
    fn run(&self, wanted: &[Location], order: &[usize]) -> (usize, usize) {
        let first = wanted[order[0]];
        let start = u64::from(first.offset);
        let (mut end, mut count) = (start + u64::from(first.len), 1);
        // What is in memory lies in frames, which are not beside each other.
        let written = match &self.sources[first.segment as usize] {
            Source::File(segment) => segment.frames_end(),
            Source::Frame(_) => 0,
        };
        for place in &order[1..] {
            let next = wanted[*place];
            let next_end = u64::from(next.offset) + u64::from(next.len);
            let near = u64::from(next.offset) <= end + GAP_BYTES && next_end <= written;
            if next.segment != first.segment || !near {
                break;
            }
            end = end.max(next_end);
            count += 1;
        }
        (count, usize_of(end - start))
    }

    /// The value of a record, checked.
    fn value<'a>(&self, at: Location, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let value = match &self.sources[at.segment as usize] {
            Source::Frame(_) => decode_trusted(bytes).expect(ENCODED_HERE).value,
            Source::File(segment) => {
                let record = check(segment, at.offset, bytes, at.len as usize)?;
                if record.key.len() != PLAIN_BYTES {
                    let found = "a record with another key";
                    return Err(segment.corrupt(u64::from(at.offset), "a put", found));
                }
                record.value
            }
        };
        Ok(value)
    }
}

/// Copies from a frame in memory as much as there is.
fn copy(frame: &Pending, from: usize, out: &mut [u8]) -> Result<usize> {
    let len = out.len().min(frame.bytes.len().saturating_sub(from));
    out[..len].copy_from_slice(&frame.bytes[from..from + len]);
    Ok(len)
}

/// Sources by the segments and frames that locations name.
#[derive(Default)]
struct Sources {
    list: Vec<Source>,
    known: BTreeMap<(u32, u32), u32>,
}

impl Sources {
    fn find(&mut self, state: &State, location: Location) -> Result<Location> {
        let gone = Error::Gone { segment: location.segment, offset: location.offset };
        if let Some(slot) = state.slots.get(&location.segment) {
            let offset = match &slot.moved {
                None => location.offset,
                Some(moved) => moved.look_up(location.offset).ok_or(gone)?,
            };
            let file = (slot.segment.name.first, IS_FILE);
            let source = self.place(file, || Source::File(Arc::clone(&slot.segment)));
            return Ok(Location { segment: source, offset, len: location.len });
        }
        match state.find(location)? {
            Place::File(..) => Err(gone),
            Place::Overlay(frame, from) => {
                let at = (frame.segment, frame.offset);
                let source = self.place(at, || Source::Frame(frame));
                let offset = u32::try_from(from).expect("frames are smaller than segments");
                Ok(Location { segment: source, offset, len: location.len })
            }
        }
    }

    fn place(&mut self, at: (u32, u32), source: impl FnOnce() -> Source) -> u32 {
        *self.known.entry(at).or_insert_with(|| {
            self.list.push(source());
            u32::try_from(self.list.len() - 1).expect("there are fewer sources than records")
        })
    }
}

/// No frame begins here: a segment's file as a source.
const IS_FILE: u32 = u32::MAX;

thread_local! {
    /// What was read last, on this thread: who waits for a client keeps no room for it.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// More than this is given back after it was needed.
const SCRATCH_KEPT_BYTES_MAX: usize = 512 << 10;
