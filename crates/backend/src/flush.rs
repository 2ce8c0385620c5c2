//! The stage that writes frames to segment files, behind everything else.
//!
//! A frame is written once the write-ahead log holds its index durably, so that no crash leaves
//! a store ahead of its log. Files are synced every [`SYNC_PERIOD`], [`SYNC_RECORDS`] or
//! [`SYNC_BYTES`], whichever comes first. A full segment is sealed with its footer and synced
//! before the next one gets a file: only the last segment can be torn.

use crate::footer::FooterBuilder;
use crate::frame::{Found, FrameKind, FrameScan, Mark};
use crate::segment::{HEAD_BYTES, Name, Segment};
use crate::shared::Shared;
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use vfs::{Fs, OpenMode};

/// The longest a written frame waits for its sync.
pub const SYNC_PERIOD: Duration = Duration::from_millis(100);

/// Records written since the last sync that ask for another.
pub const SYNC_RECORDS: u64 = 10_000;

/// Bytes written since the last sync that ask for another.
pub const SYNC_BYTES: u64 = 16 << 20;

/// Bytes put together for one write.
const WRITE_BYTES: usize = 1 << 20;

/// The writing stage. One owner; no thread or clock of its own.
#[derive(Debug)]
pub struct Flusher {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    shared: Arc<Shared>,
    tail: Option<Arc<Segment>>,
    buffer: Vec<u8>,
    written: Mark,
    synced: Mark,
    unsynced_records: u64,
    unsynced_bytes: u64,
    /// When the first unsynced frame was written.
    unsynced_since: Option<Duration>,
    /// The first failure; it is final.
    poison: Option<Error>,
}

impl Flusher {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        shared: Arc<Shared>,
        tail: Option<Arc<Segment>>,
        mark: Mark,
    ) -> Self {
        Self {
            fs,
            dir,
            shared,
            tail,
            buffer: Vec::new(),
            written: mark,
            synced: mark,
            unsynced_records: 0,
            unsynced_bytes: 0,
            unsynced_since: None,
            poison: None,
        }
    }

    /// Writes what may be written, the write-ahead log being durable up to `durable_index`, and
    /// syncs if it is time to. `now` is any clock that does not go back.
    ///
    /// # Errors
    /// The disk's, final: the process should end.
    pub fn step(&mut self, now: Duration, durable_index: u64) -> Result<()> {
        self.poisoning(|flusher| {
            loop {
                let frames = flusher.shared.writable(durable_index, WRITE_BYTES);
                let Some(first) = frames.first() else { break };
                let number = first.segment;
                if flusher.tail.as_ref().is_none_or(|tail| tail.name.first != number) {
                    flusher.begin_segment(number)?;
                }
                flusher.buffer.clear();
                for frame in &frames {
                    flusher.buffer.extend_from_slice(&frame.bytes);
                    flusher.unsynced_records += u64::from(frame.records);
                    flusher.written = frame.mark;
                }
                let tail = flusher.tail.as_ref().expect("begun above");
                let offset = tail.frames_end();
                assert_eq!(offset, u64::from(first.offset), "frames follow each other");
                tail.file.write_at(&flusher.buffer, offset)?;
                let end = offset + flusher.buffer.len() as u64;
                flusher.shared.written(frames.len(), tail, end);
                flusher.unsynced_bytes += flusher.buffer.len() as u64;
                flusher.unsynced_since.get_or_insert(now);
                if flusher.is_large() {
                    flusher.sync_tail()?;
                }
            }
            let since = flusher.unsynced_since;
            if since.is_some_and(|since| now.saturating_sub(since) >= SYNC_PERIOD) {
                flusher.sync_tail()?;
            }
            Ok(())
        })
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// As [`Flusher::step`].
    pub fn sync(&mut self) -> Result<()> {
        self.poisoning(Self::sync_tail)
    }

    /// When the next step has something to do even if nothing is committed meanwhile.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.unsynced_since.map(|since| since + SYNC_PERIOD)
    }

    /// The raft index up to which everything is in files and synced: what a restart finds at
    /// least. The write-ahead log is needed from the next one on.
    #[must_use]
    pub fn synced_index(&self) -> u64 {
        self.synced.index
    }

    fn is_large(&self) -> bool {
        self.unsynced_records >= SYNC_RECORDS || self.unsynced_bytes >= SYNC_BYTES
    }

    fn poisoning(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if let Some(error) = &self.poison {
            return Err(error.clone());
        }
        let done = work(self);
        if let Err(error) = &done {
            tracing::error!(%error, "store is unusable from now on");
            self.poison = Some(error.clone());
        }
        done
    }

    fn sync_tail(&mut self) -> Result<()> {
        if let Some(tail) = self.tail.as_ref().filter(|_| self.unsynced_since.is_some()) {
            tail.file.sync_data()?;
            self.shared.set_durable(tail.name.first, tail.frames_end());
        }
        self.set_synced();
        (self.unsynced_records, self.unsynced_bytes, self.unsynced_since) = (0, 0, None);
        Ok(())
    }

    fn set_synced(&mut self) {
        self.synced = self.written;
        self.shared.set_synced_index(self.synced.index);
    }

    /// Seals the present segment and makes the file of the next, in this order.
    fn begin_segment(&mut self, number: u32) -> Result<()> {
        if let Some(tail) = self.tail.take() {
            seal(&tail, self.written)?;
            self.set_synced();
        }
        let name = Name::new(number);
        let segment = Segment::open(&*self.fs, &self.dir, name, OpenMode::CreateNew)?;
        segment.file.write_at(&name.head(), 0)?;
        segment.file.sync_data()?;
        self.fs.sync_dir(&self.dir)?;
        self.shared.set_durable(number, HEAD_BYTES as u64);
        (self.unsynced_records, self.unsynced_bytes, self.unsynced_since) = (0, 0, None);
        let segment = Arc::new(segment);
        self.shared.add_segment(Arc::clone(&segment));
        self.tail = Some(segment);
        tracing::debug!(segment = %name, "began segment");
        Ok(())
    }
}

/// Writes the footer behind the frames and syncs the file.
fn seal(segment: &Segment, mark: Mark) -> Result<()> {
    let frames_end = segment.frames_end();
    let mut builder = FooterBuilder::default();
    let first = segment.name.first;
    let mut scan = FrameScan::new(&*segment.file, first, HEAD_BYTES as u64, frames_end);
    loop {
        let offset = scan.offset();
        match scan.next()? {
            Found::Frame(frame) => add_frame(&mut builder, segment, &frame)?,
            Found::End if offset == frames_end => break,
            Found::End => return Err(segment.corrupt(offset, "a frame", "a footer")),
            Found::Damage(found) => return Err(segment.corrupt(offset, "a frame", found)),
        }
    }
    let footer = builder.finish(mark, frames_end);
    segment.file.write_at(&footer.encode(first), frames_end)?;
    segment.file.sync_data()?;
    segment.set_revision_bytes(footer.revision_bytes);
    Ok(())
}

/// Adds the revisions of a frame to a footer.
pub(crate) fn add_frame(
    builder: &mut FooterBuilder,
    segment: &Segment,
    frame: &crate::frame::FrameRef<'_>,
) -> Result<()> {
    debug_assert!(frame.kind != FrameKind::Checkpoint || frame.revisions(0).next().is_none());
    for (location, record) in frame.revisions(segment.name.first) {
        let corrupt = |found| segment.corrupt(u64::from(location.offset), "a revision", found);
        builder.push(location, &record).map_err(corrupt)?;
    }
    Ok(())
}
