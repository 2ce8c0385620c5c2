//! What writer, readers, flusher and compactor share: which file a location is in, and the
//! frames that are in none yet.
//!
//! One lock, held for one look-up, a swap, or a copy of what is in memory (the map of files is
//! shared, the overlay is short); never over a disk operation, nor over a long list. Invariants:
//! - the frames of the overlay come behind everything in the files, in order, without a gap;
//! - a frame leaves the overlay in the same moment in which readers find it in its file.

use crate::frame::{FrameKind, FrameRef, Mark, usize_of};
use crate::segment::{HEAD_BYTES, Segment};
use crate::{Error, Location, Result};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[derive(Debug)]
pub(crate) struct Shared {
    state: RwLock<State>,
    /// The segment being appended to and how much of it is synced, packed into one number.
    durable: AtomicU64,
    /// The raft index up to which the files are synced.
    synced_index: AtomicU64,
    /// Bytes of the frames in the overlay.
    overlay_bytes: AtomicU64,
    /// Bytes of the frames in the files: every write asks for it, to know its quota.
    file_bytes: AtomicU64,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    /// By number of the segment that locations name. Shared by copies: it changes only when a
    /// segment begins or a compaction ends.
    pub slots: Arc<BTreeMap<u32, Slot>>,
    pub overlay: VecDeque<Arc<Pending>>,
    /// Bytes that died before their segment had a file, by its number.
    pub early_dead: BTreeMap<u32, u64>,
}

/// Where the records of a segment are now.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub segment: Arc<Segment>,
    /// Where each record has moved; none if they lie where they were appended.
    pub moved: Option<Arc<Moved>>,
}

/// Offsets before and after compactions, both ascending.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub from: Vec<u32>,
    pub to: Vec<u32>,
}

impl Moved {
    pub(crate) fn look_up(&self, offset: u32) -> Option<u32> {
        self.from.binary_search(&offset).ok().map(|place| self.to[place])
    }
}

/// A frame on its way to a file.
#[derive(Debug)]
pub(crate) struct Pending {
    pub segment: u32,
    pub offset: u32,
    pub kind: FrameKind,
    pub mark: Mark,
    pub records: u32,
    pub bytes: Vec<u8>,
}

impl Pending {
    pub(crate) fn frame(&self) -> FrameRef<'_> {
        FrameRef::encoded(&self.bytes, self.kind, self.mark, self.offset)
    }
}

/// Where a record is to be read.
#[derive(Debug)]
pub(crate) enum Place {
    Overlay(Arc<Pending>, usize),
    File(Arc<Segment>, u32),
}

/// How much the store takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Segment files.
    pub files: u64,
    /// Bytes of their frames, without footers.
    pub file_bytes: u64,
    /// Bytes of the records of live revisions in sealed segments.
    pub live_bytes: u64,
    /// Bytes in memory that are in no file yet.
    pub overlay_bytes: u64,
    /// Bytes of the segments that are not sealed yet, live or not.
    pub unsealed_bytes: u64,
}

impl Usage {
    /// Bytes that are not known to be dead.
    #[must_use]
    pub fn in_use_bytes(&self) -> u64 {
        self.live_bytes + self.unsealed_bytes + self.overlay_bytes
    }
}

impl Shared {
    pub(crate) fn new(slots: BTreeMap<u32, Slot>, index: u64) -> Self {
        let state =
            State { slots: Arc::new(slots), overlay: VecDeque::new(), early_dead: BTreeMap::new() };
        Self {
            file_bytes: AtomicU64::new(state.file_bytes()),
            state: RwLock::new(state),
            durable: AtomicU64::new(0),
            synced_index: AtomicU64::new(index),
            overlay_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no holder of the state panics")
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("no holder of the state panics")
    }

    /// Makes a frame visible to readers.
    pub(crate) fn push(&self, pending: Pending) {
        self.overlay_bytes.fetch_add(pending.bytes.len() as u64, Ordering::Relaxed);
        self.write().overlay.push_back(Arc::new(pending));
    }

    /// The first frames that may be written, all of one segment and together about
    /// `bytes_max`.
    pub(crate) fn writable(&self, index_max: u64, bytes_max: usize) -> Vec<Arc<Pending>> {
        let state = self.read();
        let Some(first) = state.overlay.front() else { return Vec::new() };
        let mut bytes = 0;
        let fits = |pending: &&Arc<Pending>| {
            let fits = pending.segment == first.segment
                && pending.mark.index <= index_max
                && bytes < bytes_max;
            bytes += pending.bytes.len();
            fits
        };
        state.overlay.iter().take_while(fits).cloned().collect()
    }

    /// The first `frames` of the overlay are in `segment` now, which ends at `end`.
    pub(crate) fn written(&self, frames: usize, segment: &Segment, end: u64) {
        let mut state = self.write();
        segment.set_frames_end(end);
        let bytes: usize = state.overlay.drain(..frames).map(|frame| frame.bytes.len()).sum();
        self.overlay_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.file_bytes.store(state.file_bytes(), Ordering::Relaxed);
    }

    /// Readers find the records of `segment` in it from now on.
    pub(crate) fn add_segment(&self, segment: Arc<Segment>) {
        let (number, slot) = (segment.name.first, Slot { segment, moved: None });
        let mut state = self.write();
        slot.segment.add_dead(state.early_dead.remove(&number).unwrap_or_default());
        Arc::make_mut(&mut state.slots).insert(number, slot);
        self.file_bytes.store(state.file_bytes(), Ordering::Relaxed);
    }

    /// Readers find the records of these segments where the slots say from now on.
    pub(crate) fn replace_slots(&self, slots: impl IntoIterator<Item = (u32, Slot)>) {
        let mut state = self.write();
        Arc::make_mut(&mut state.slots).extend(slots);
        self.file_bytes.store(state.file_bytes(), Ordering::Relaxed);
    }

    /// Counts a record as dead. None may be missed: a file without any is trusted to be clean.
    pub(crate) fn add_dead(&self, location: Location) {
        let bytes = u64::from(location.len);
        let counted = |state: &State| {
            let slot = state.slots.get(&location.segment);
            slot.map(|slot| slot.segment.add_dead(bytes)).is_some()
        };
        if counted(&self.read()) {
            return;
        }
        let mut state = self.write();
        if !counted(&state) {
            *state.early_dead.entry(location.segment).or_default() += bytes;
        }
    }

    pub(crate) fn set_durable(&self, segment: u32, bytes: u64) {
        let bytes = u32::try_from(bytes).expect("segments are smaller than 4 GiB");
        self.durable.store(u64::from(segment) << 32 | u64::from(bytes), Ordering::Release);
    }

    pub(crate) fn overlay_bytes(&self) -> u64 {
        self.overlay_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_synced_index(&self, index: u64) {
        self.synced_index.store(index, Ordering::Release);
    }

    pub(crate) fn synced_index(&self) -> u64 {
        self.synced_index.load(Ordering::Acquire)
    }

    /// How much of `segment` is synced, as far as that is known.
    pub(crate) fn durable_in(&self, segment: u32) -> u32 {
        let packed = self.durable.load(Ordering::Acquire);
        let low = u32::try_from(packed & u64::from(u32::MAX)).expect("the lower half");
        if packed >> 32 == u64::from(segment) { low } else { 0 }
    }

    /// Segments below this number are not needed for the small buckets: a later one has their
    /// state, synced.
    pub(crate) fn checkpointed(&self) -> u32 {
        let packed = self.durable.load(Ordering::Acquire);
        let has_frames = packed & u64::from(u32::MAX) > HEAD_BYTES as u64;
        let segment = u32::try_from(packed >> 32).expect("the upper half");
        if has_frames { segment } else { segment.saturating_sub(1) }
    }

    pub(crate) fn find(&self, location: Location) -> Result<Place> {
        self.read().find(location)
    }

    /// What readers see now, for looking up many.
    pub(crate) fn snapshot(&self) -> State {
        self.read().clone()
    }

    /// As [`Usage::file_bytes`], at no cost.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn usage(&self) -> Usage {
        let state = self.snapshot();
        let mut usage = Usage { overlay_bytes: self.overlay_bytes(), ..Usage::default() };
        for segment in state.files() {
            usage.files += 1;
            usage.file_bytes += segment.frames_end();
            usage.live_bytes += segment.live_bytes();
            if !segment.is_sealed() {
                usage.unsealed_bytes += segment.frames_end();
            }
        }
        usage
    }
}

impl State {
    /// Each file once, in the order of the records.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<Segment>> {
        let firsts = self.slots.iter().filter(|(number, slot)| **number == slot.segment.name.first);
        firsts.map(|(_, slot)| &slot.segment)
    }

    fn file_bytes(&self) -> u64 {
        self.files().map(|segment| segment.frames_end()).sum()
    }

    pub(crate) fn find(&self, location: Location) -> Result<Place> {
        let at = (location.segment, location.offset);
        if self.overlay.front().is_some_and(|first| (first.segment, first.offset) <= at) {
            let behind = self.overlay.partition_point(|frame| (frame.segment, frame.offset) <= at);
            let frame = &self.overlay[behind - 1];
            let from = usize_of(u64::from(location.offset - frame.offset));
            return Ok(Place::Overlay(Arc::clone(frame), from));
        }
        let gone = Error::Gone { segment: location.segment, offset: location.offset };
        let Some(slot) = self.slots.get(&location.segment) else { return Err(gone) };
        let offset = match &slot.moved {
            None => location.offset,
            Some(moved) => moved.look_up(location.offset).ok_or(gone)?,
        };
        Ok(Place::File(Arc::clone(&slot.segment), offset))
    }
}
