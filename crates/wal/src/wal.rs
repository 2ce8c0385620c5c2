//! The log, open for appending.
//!
//! ```text
//!  closed  locked, read-only      locked, being appended to        prepared
//! +------+------+------+------+  +-------------------------+  +----------------+
//! |      |      |      |      |  | records | zeros          |  | 0.tmp or 1.tmp |
//! +------+------+------+------+  +-------------------------+  +----------------+
//!   purge   release_lock_to        offset ^    segment_bytes ^   named by cut
//! ```
//! Invariants:
//! - bytes up to `offset` are whole records; all behind it are zeros;
//! - each earlier segment ends with its last record and was synced before the next got its name;
//! - after a failed write or sync nothing is written or synced any more: every call gives the
//!   first error again, because what the disk holds is unknown. The process should end.
//!
//! What it is not: a thread. Group commit is [`crate::stage`]'s.

use crate::planted::{self, Bug};
use crate::record::{self, Encoder};
use crate::replay::Replay;
use crate::scan::Scan;
use crate::segment::{self, Name, Segment};
use crate::{Contents, Error, Result};
use bytes::Bytes;
use raftpb::wal::Snapshot;
use raftpb::{Entry, HardState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vfs::{File, Fs, OpenMode};

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes a segment is preallocated with; it is cut after the save that reaches them.
    pub segment_bytes: u64,
    /// Whether to sync at all; off only where losing the log does not matter.
    pub sync: bool,
}

/// etcd's `SegmentSizeBytes`.
pub const SEGMENT_BYTES: u64 = 64_000_000;

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, sync: true }
    }
}

/// A log open for appending. Dropping it releases its locks.
#[derive(Debug)]
pub struct Wal {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: Options,
    metadata: Bytes,
    /// The last hard state saved or read, with which the next segment begins.
    state: HardState,
    /// Index of the last entry saved, or of a snapshot ahead of it.
    last_index: u64,
    /// Its term; 0 if it is not known.
    last_term: u64,
    encoder: Encoder,
    /// The locked segments, ascending; the last is the one being appended to.
    segments: Vec<Segment>,
    /// Where in the last segment the next record goes.
    offset: u64,
    prepared: Option<Prepared>,
    /// Files prepared so far; they take two names in turn.
    prepared_count: u64,
    /// The first failure; it is final.
    poison: Option<Error>,
}

#[derive(Debug)]
struct Prepared {
    path: PathBuf,
    file: Box<dyn File>,
}

impl Wal {
    /// Makes a new log in `dir` whose segments begin with `metadata`. It appears as a whole: it
    /// is written beside, in `<dir>.tmp`, synced and renamed. A directory without segments that
    /// has the name already is replaced; so is a leftover of an earlier attempt.
    ///
    /// # Errors
    /// [`Error::Exists`] if there are segments in `dir`, and [`Error::Disk`].
    pub fn create(fs: Arc<dyn Fs>, dir: &Path, metadata: &[u8], options: Options) -> Result<Self> {
        if !segment::list(&*fs, dir)?.is_empty() {
            return Err(Error::Exists { dir: dir.to_owned() });
        }
        let mut tmp = dir.as_os_str().to_owned();
        tmp.push(".tmp");
        let tmp = PathBuf::from(tmp);
        if fs.exists(&tmp)? {
            fs.remove_dir_all(&tmp)?;
        }
        fs.create_dir_all(&tmp)?;
        let name = Name { seq: 0, index: 0 };
        let file = new_segment(&*fs, &name.path(&tmp), options.segment_bytes)?;
        let mut wal = Self {
            fs: Arc::clone(&fs),
            dir: dir.to_owned(),
            options,
            metadata: Bytes::copy_from_slice(metadata),
            state: HardState::default(),
            last_index: 0,
            last_term: 0,
            encoder: Encoder::new(0),
            segments: vec![Segment { name, file }],
            offset: 0,
            prepared: None,
            prepared_count: 0,
            poison: None,
        };
        wal.encoder.push_crc();
        wal.encoder.push_metadata(metadata);
        wal.encoder.push_snapshot(&Snapshot::default());
        wal.write_out()?;
        wal.sync_tail()?;
        fs.sync_dir(&tmp)?;
        if fs.exists(dir)? {
            fs.remove_dir_all(dir)?;
        }
        fs.rename(&tmp, dir)?;
        tracing::info!(path = %dir.display(), "created log");
        Ok(wal)
    }

    /// Opens the log in `dir` for appending and gives what it holds after the snapshot `start`,
    /// one of [`crate::valid_snapshot_entries`] (index 0, term 0 is the beginning of every log).
    /// All segments from there on are locked; what torn writes left behind the end is zeroed.
    ///
    /// # Errors
    /// [`Error::Torn`] asks for [`crate::repair`] and another try; [`Error::Locked`] if a member
    /// runs on it; the others for a person.
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        start: &Snapshot,
        options: Options,
    ) -> Result<(Self, Contents)> {
        let mut segments = Vec::new();
        for name in segment::from_index(&*fs, dir, start.index())? {
            let path = name.path(dir);
            let file = fs.open(&path, OpenMode::Write)?;
            lock(&*file, path)?;
            segments.push(Segment { name, file });
        }
        let mut scan = Scan::new(segment::sources(dir, &segments))?;
        let mut replay = Replay::new(start);
        replay.read(&mut scan)?;
        let (offset, crc, last_index) = (scan.offset(), scan.crc(), replay.last_index);
        let contents = replay.finish()?;
        let last = contents.entries.last().filter(|last| last.index() == last_index);
        let last_term = last.map_or(0, Entry::term);
        clear_behind(&*segments[segments.len() - 1].file, offset, options.segment_bytes)?;
        let wal = Self {
            fs,
            dir: dir.to_owned(),
            options,
            metadata: contents.metadata.clone(),
            state: contents.hard_state,
            last_index,
            last_term,
            encoder: Encoder::new(crc),
            segments,
            offset,
            prepared: None,
            prepared_count: 0,
            poison: None,
        };
        Ok((wal, contents))
    }

    /// Appends entries and then the hard state, if it says anything, in one write; durable when
    /// it returns if there are entries or term or vote changed (etcd `wal.go: Save`).
    ///
    /// # Errors
    /// [`Error::Invalid`] writes nothing; [`Error::Disk`] is final.
    pub fn save(&mut self, state: &HardState, entries: &[Entry]) -> Result<()> {
        let must_sync = self.stage(state, entries)?;
        self.commit(must_sync)
    }

    /// Encodes like [`Wal::save`] without writing: several can go to disk in one
    /// [`Wal::commit`], without which they are lost. Tells whether the sync rule asks for a sync.
    ///
    /// # Errors
    /// [`Error::Invalid`] stages nothing.
    pub fn stage(&mut self, state: &HardState, entries: &[Entry]) -> Result<bool> {
        self.check_poison()?;
        let invalid = |reason| Error::Invalid { reason };
        self.check_entries(entries).map_err(invalid)?;
        let says_nothing = state.term() == 0 && state.vote() == 0 && state.commit() == 0;
        if !says_nothing && state.term() < self.state.term().max(1) {
            return Err(invalid("hard state of an earlier term than the last one"));
        }
        for entry in entries {
            self.encoder.push_entry(entry);
            (self.last_index, self.last_term) = (entry.index(), entry.term());
        }
        if says_nothing {
            return Ok(!entries.is_empty());
        }
        let voted = state.term() != self.state.term() || state.vote() != self.state.vote();
        let must_sync = !entries.is_empty() || (voted && !planted::is(Bug::VoteNotSynced));
        self.encoder.push_state(state);
        self.state = *state;
        Ok(must_sync)
    }

    /// Writes all that was staged in one write, makes it durable if `sync`, and begins a new
    /// segment if this one is full.
    ///
    /// # Errors
    /// [`Error::Disk`], which is final.
    pub fn commit(&mut self, sync: bool) -> Result<()> {
        self.poisoning(|wal| {
            wal.write_out()?;
            if wal.offset >= wal.options.segment_bytes {
                return wal.begin_segment();
            }
            if sync { wal.sync_tail() } else { Ok(()) }
        })
    }

    /// Appends the record of a snapshot whose file is durable, durably.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it has an index and no configuration; [`Error::Disk`] is final.
    pub fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.check_poison()?;
        if snapshot.index() > 0 && snapshot.conf_state.is_none() {
            return Err(Error::Invalid { reason: "snapshot without its configuration" });
        }
        self.encoder.push_snapshot(snapshot);
        if snapshot.index() > self.last_index {
            (self.last_index, self.last_term) = (snapshot.index(), snapshot.term());
        }
        self.poisoning(|wal| {
            wal.write_out()?;
            wal.sync_tail()
        })
    }

    /// Makes all that was saved durable.
    ///
    /// # Errors
    /// [`Error::Disk`], which is final.
    pub fn sync(&mut self) -> Result<()> {
        self.commit_staged_then(Self::sync_tail)
    }

    /// Ends the current segment where it is and begins the next.
    ///
    /// # Errors
    /// [`Error::Disk`], which is final.
    pub fn cut(&mut self) -> Result<()> {
        self.commit_staged_then(Self::begin_segment)
    }

    /// Preallocates the file of the next segment, so that a later cut need not; does nothing if
    /// it is there. For moments when nobody waits.
    ///
    /// # Errors
    /// [`Error::Disk`], which is final.
    pub fn prepare_segment(&mut self) -> Result<()> {
        self.poisoning(|wal| {
            if wal.prepared.is_none() {
                // Never the name of the file published last, which may be open elsewhere still.
                let path = wal.dir.join(format!("{}.tmp", wal.prepared_count % 2));
                let file = new_segment(&*wal.fs, &path, wal.options.segment_bytes)?;
                wal.prepared = Some(Prepared { path, file });
                wal.prepared_count += 1;
            }
            Ok(())
        })
    }

    /// Whether more than half of the segment is used, when [`Wal::prepare_segment`] pays.
    #[must_use]
    pub fn wants_segment(&self) -> bool {
        self.prepared.is_none() && self.offset > self.options.segment_bytes / 2
    }

    /// Unlocks the segments not needed to read from the snapshot at `index` on, for
    /// [`crate::purge`]: the last one that begins before `index` and all later ones stay locked
    /// (etcd `wal.go: ReleaseLockTo`).
    pub fn release_lock_to(&mut self, index: u64) {
        let later = self.segments.iter().position(|segment| segment.name.index >= index);
        let keep_from = later.unwrap_or(self.segments.len()).saturating_sub(1);
        self.segments.drain(..keep_from);
    }

    /// Makes all durable, removes the prepared file and releases the locks.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn close(mut self) -> Result<()> {
        self.sync()?;
        if let Some(prepared) = self.prepared.take() {
            self.fs.remove(&prepared.path)?;
        }
        Ok(())
    }

    /// What the creator of the log wrote into the head of each segment.
    #[must_use]
    pub fn metadata(&self) -> &Bytes {
        &self.metadata
    }

    /// The last hard state saved or read.
    #[must_use]
    pub fn hard_state(&self) -> &HardState {
        &self.state
    }

    /// Index of the last entry saved, or of a snapshot ahead of it.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// The segment being appended to and the bytes in it.
    #[must_use]
    pub fn position(&self) -> (PathBuf, u64) {
        (self.tail().name.path(&self.dir), self.offset)
    }

    fn tail(&self) -> &Segment {
        self.segments.last().expect("a log always has the segment it appends to")
    }

    fn check_poison(&self) -> Result<()> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    /// Makes `error` the final answer, unless there is one already; gives it back.
    pub(crate) fn give_up(&mut self, error: Error) -> Error {
        self.poison.get_or_insert(error).clone()
    }

    /// Runs `work` unless the log failed before; a failure is remembered for ever.
    fn poisoning(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.check_poison()?;
        let done = work(self);
        if let Err(error) = &done {
            tracing::error!(%error, "log is unusable from now on");
            self.poison = Some(error.clone());
        }
        done
    }

    /// What a reader would call corrupt is not written.
    fn check_entries(&self, entries: &[Entry]) -> std::result::Result<(), &'static str> {
        let Some(first) = entries.first() else { return Ok(()) };
        if first.index() > self.last_index + 1 {
            return Err("entry with a gap before it");
        }
        if first.index() <= self.state.commit() {
            return Err("entry in the place of a committed one");
        }
        for entry in entries {
            record::check_entry(entry)?;
        }
        for pair in entries.windows(2) {
            if pair[1].index() != pair[0].index() + 1 {
                return Err("entries that are not consecutive");
            }
            if pair[1].term() < pair[0].term() {
                return Err("entry of an earlier term than the one before it");
            }
        }
        // Behind the last entry the term before is known; what replaces may be of any term
        // that its own predecessor allows, which only a reader sees.
        if first.index() == self.last_index + 1 && first.term() < self.last_term {
            return Err("entry of an earlier term than the last one");
        }
        Ok(())
    }

    fn commit_staged_then(&mut self, then: fn(&mut Self) -> Result<()>) -> Result<()> {
        self.poisoning(|wal| {
            wal.write_out()?;
            then(wal)
        })
    }

    fn write_out(&mut self) -> Result<()> {
        if !self.encoder.buffer.is_empty() {
            self.tail().file.write_at(&self.encoder.buffer, self.offset)?;
            self.offset += self.encoder.buffer.len() as u64;
            self.encoder.buffer.clear();
        }
        Ok(())
    }

    fn sync_tail(&mut self) -> Result<()> {
        if self.options.sync {
            self.tail().file.sync_data()?;
        }
        Ok(())
    }

    /// The old segment is durable and has its final length before the new one exists under its
    /// name, and the new one has a durable head before it: a reader meets a whole segment or
    /// none.
    fn begin_segment(&mut self) -> Result<()> {
        self.tail().file.set_len(self.offset)?;
        if !planted::is(Bug::CutWithoutSync) {
            self.sync_tail()?;
        }
        self.prepare_segment()?;
        let Prepared { path, file } = self.prepared.take().expect("prepared just above");
        let name = Name { seq: self.tail().name.seq + 1, index: self.last_index + 1 };
        self.segments.push(Segment { name, file });
        self.offset = 0;
        if planted::is(Bug::CrcNotChained) {
            self.encoder = Encoder::new(0);
        }
        self.encoder.push_crc();
        self.encoder.push_metadata(&self.metadata);
        if self.state.term() > 0 {
            self.encoder.push_state(&self.state);
        }
        self.write_out()?;
        self.sync_tail()?;
        self.fs.rename(&path, &name.path(&self.dir))?;
        tracing::info!(segment = %name, "began log segment");
        Ok(())
    }
}

fn new_segment(fs: &dyn Fs, path: &Path, bytes: u64) -> Result<Box<dyn File>> {
    // A leftover of a cut that a crash ended has a head in it, so the file is emptied first.
    let file = fs.open(path, OpenMode::Truncate)?;
    lock(&*file, path.to_owned())?;
    file.allocate(bytes)?;
    Ok(file)
}

fn lock(file: &dyn File, path: PathBuf) -> Result<()> {
    file.try_lock().map_err(|e| if e.is_locked() { Error::Locked { path } } else { e.into() })
}

/// Zeroes what torn writes left behind `offset`, or new records would run into it, and takes the
/// room of a whole segment. Synced at once, which etcd does not: were the old bytes to come back
/// after another crash, they could stand behind a new record that was torn, and pass for it.
fn clear_behind(file: &dyn File, offset: u64, segment_bytes: u64) -> Result<()> {
    let len = file.len()?.max(segment_bytes);
    if !planted::is(Bug::LeftoversKept) {
        file.set_len(offset)?;
    }
    file.allocate(len)?;
    file.sync_all()?;
    Ok(())
}
