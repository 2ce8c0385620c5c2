//! The stage that writes frames to segment files, behind everything else.
//!
//! A frame is written once the write-ahead log holds its index durably, so that no crash leaves
//! a store ahead of its log; and not at once but with others, after [`WRITE_PERIOD`] or when
//! [`WRITE_BYTES`] wait, as readers do not need it in a file. Files are synced every [`SYNC_PERIOD`], [`SYNC_RECORDS`] or
//! [`SYNC_BYTES`], whichever comes first. A full segment is sealed with its footer and synced
//! before the next one gets a file: only the last segment can be torn.

use crate::footer::FooterBuilder;
use crate::frame::{FrameKind, FrameRef, Mark};
use crate::segment::{HEAD_BYTES, Name, Segment};
use crate::shared::{Pending, Shared};
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use vfs::{File, Fs, OpenMode};

/// The longest a written frame waits for its sync.
pub const SYNC_PERIOD: Duration = Duration::from_millis(100);

/// Records written since the last sync that ask for another.
pub const SYNC_RECORDS: u64 = 10_000;

/// Bytes written since the last sync that ask for another.
pub const SYNC_BYTES: u64 = 16 << 20;

/// The longest a frame that may be written waits for others.
pub const WRITE_PERIOD: Duration = Duration::from_millis(10);

/// Bytes in the overlay that are written without waiting for more.
pub const WRITE_BYTES: u64 = 256 << 10;

/// Bytes put together for one write at most.
const GROUP_BYTES: usize = 1 << 20;

/// The writing stage. One owner; no thread or clock of its own.
#[derive(Debug)]
pub struct Flusher {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    shared: Arc<Shared>,
    tail: Option<Arc<Segment>>,
    /// What the footer of the tail will say.
    footer: FooterBuilder,
    /// The index up to which the write-ahead log was last said to be durable.
    durable_index: u64,
    /// When frames were first seen waiting.
    waiting_since: Option<Duration>,
    written: Mark,
    synced: Mark,
    unsynced_records: u64,
    unsynced_bytes: u64,
    /// When the first unsynced frame was written.
    unsynced_since: Option<Duration>,
    sync_period: Duration,
    sync_records: u64,
    /// The first failure; it is final.
    poison: Option<Error>,
    /// The directory is taken for as long as somebody may write to it. Readers may stay.
    _lock: Arc<dyn File>,
}

impl Flusher {
    pub(crate) fn new(
        (fs, dir, shared, lock): (Arc<dyn Fs>, PathBuf, Arc<Shared>, Arc<dyn File>),
        tail: Option<Arc<Segment>>,
        footer: FooterBuilder,
        mark: Mark,
    ) -> Self {
        Self {
            fs,
            dir,
            shared,
            tail,
            footer,
            durable_index: mark.index,
            waiting_since: None,
            written: mark,
            synced: mark,
            unsynced_records: 0,
            unsynced_bytes: 0,
            unsynced_since: None,
            sync_period: SYNC_PERIOD,
            sync_records: SYNC_RECORDS,
            poison: None,
            _lock: lock,
        }
    }

    /// Syncs after this time and so many records from now on, rather than after [`SYNC_PERIOD`] and
    /// [`SYNC_RECORDS`].
    pub fn set_pace(&mut self, period: Duration, records: u64) {
        (self.sync_period, self.sync_records) = (period, records);
    }

    /// Writes what may be written, the write-ahead log being durable up to `durable_index`, and
    /// syncs if it is time to. `now` is any clock that does not go back.
    ///
    /// # Errors
    /// The disk's, final: the process should end.
    pub fn step(&mut self, now: Duration, durable_index: u64) -> Result<()> {
        self.durable_index = self.durable_index.max(durable_index);
        self.poisoning(|flusher| {
            let waiting = flusher.shared.overlay_bytes();
            let since = *flusher.waiting_since.get_or_insert(now);
            if waiting == 0 {
                flusher.waiting_since = None;
            } else if waiting >= WRITE_BYTES || now.saturating_sub(since) >= WRITE_PERIOD {
                flusher.write_all(now)?;
            }
            let (since, period) = (flusher.unsynced_since, flusher.sync_period);
            if since.is_some_and(|since| now.saturating_sub(since) >= period) {
                flusher.sync_tail()?;
            }
            Ok(())
        })
    }

    /// Writes what may be written and makes it durable, without waiting for more.
    ///
    /// # Errors
    /// As [`Flusher::step`].
    pub fn sync(&mut self) -> Result<()> {
        self.poisoning(|flusher| {
            flusher.write_all(Duration::ZERO)?;
            flusher.sync_tail()
        })
    }

    /// When the next step has something to do even if nothing is committed meanwhile.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        let write = self.waiting_since.map(|since| since + WRITE_PERIOD);
        let sync = self.unsynced_since.map(|since| since + self.sync_period);
        write.into_iter().chain(sync).min()
    }

    /// The raft index up to which everything is in files and synced: what a restart finds at
    /// least. The write-ahead log is needed from the next one on.
    #[must_use]
    pub fn synced_index(&self) -> u64 {
        self.synced.index
    }

    fn write_all(&mut self, now: Duration) -> Result<()> {
        self.waiting_since = None;
        loop {
            let frames = self.shared.writable(self.durable_index, GROUP_BYTES);
            let Some(first) = frames.first() else { return Ok(()) };
            let number = first.segment;
            if self.tail.as_ref().is_none_or(|tail| tail.name.first != number) {
                self.begin_segment(number)?;
            }
            self.write(&frames)?;
            self.unsynced_since.get_or_insert(now);
            if self.unsynced_records >= self.sync_records || self.unsynced_bytes >= SYNC_BYTES {
                self.sync_tail()?;
            }
        }
    }

    fn write(&mut self, frames: &[Arc<Pending>]) -> Result<()> {
        let tail = self.tail.as_ref().expect("a segment was begun for them");
        let offset = tail.frames_end();
        assert_eq!(offset, u64::from(frames[0].offset), "frames follow each other");
        let mut parts: Vec<&[u8]> = Vec::with_capacity(frames.len());
        let mut bytes = 0;
        for frame in frames {
            add_frame(&mut self.footer, tail, &frame.frame())?;
            parts.push(&frame.bytes);
            bytes += frame.bytes.len() as u64;
            self.unsynced_records += u64::from(frame.records);
            self.written = frame.mark;
        }
        tail.file.write_parts_at(&parts, offset)?;
        self.unsynced_bytes += bytes;
        self.shared.written(frames.len(), tail, offset + bytes);
        Ok(())
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
            seal(&tail, &self.footer, self.written)?;
            self.footer.clear();
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
fn seal(segment: &Segment, footer: &FooterBuilder, mark: Mark) -> Result<()> {
    let frames_end = segment.frames_end();
    let footer = footer.finish(mark, frames_end);
    footer.write(&*segment.file, segment.name.first)?;
    segment.file.sync_data()?;
    segment.set_revision_bytes(footer.revision_bytes);
    Ok(())
}

/// Adds the revisions of a frame to a footer.
pub(crate) fn add_frame(
    builder: &mut FooterBuilder,
    segment: &Segment,
    frame: &FrameRef<'_>,
) -> Result<()> {
    for (location, record) in frame.revisions(segment.name.first) {
        let corrupt = |found| segment.corrupt(u64::from(location.offset), "a revision", found);
        if frame.kind == FrameKind::Checkpoint {
            return Err(corrupt("one in a checkpoint"));
        }
        builder.push(location, &record).map_err(corrupt)?;
    }
    Ok(())
}
