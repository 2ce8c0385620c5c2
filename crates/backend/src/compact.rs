//! The stage that drops dead revisions: it copies what lives of the sparsest segment, and of its
//! neighbours where these are sparse or small too, into one new file and unlinks the old ones.
//!
//! Invariants:
//! - the new file is whole and synced before it gets its name, and replaces the old ones for
//!   readers before they are unlinked: a crash at any point leaves one or the other;
//! - a location given out before stays good: the slots of the segments say where records moved;
//! - segments are rewritten only once a later one has the state of the small buckets, synced;
//! - a deletion is dropped after everything that it deleted: start-up would take an older record
//!   of the key for a live one. So a dead deletion stays, buried, while an older file may hold
//!   dead records of its time. Once a tenth of the store is buried, a sweep rewrites all files
//!   with something dead in them, the oldest first, and nothing stays buried behind it.
//!
//! What it is not: the judge of what is dead. mvcc knows, through [`Live`]; and it says when a
//! revision dies ([`crate::Reader::mark_dead`]), which is how the sparsest segment is found.

use crate::footer::FooterBuilder;
use crate::frame::{Found, FrameBuilder, FrameKind, FrameScan, Mark, location};
use crate::kv::KeyValue;
use crate::record::Kind;
use crate::segment::{HEAD_BYTES, Name, Segment};
use crate::shared::{Moved, Shared, Slot};
use crate::{Error, Options, Result, Revision, RevisionKey};
use std::path::PathBuf;
use std::sync::Arc;
use vfs::{File, Fs, OpenMode};

/// Bytes of a frame of copied records.
const FRAME_BYTES: usize = 1 << 20;

/// Bytes written of a new file before they are synced: one sync of a whole file would hold up those
/// of the log on the same disk.
const SYNC_BYTES: u64 = 4 << 20;

/// Who knows whether a revision is still needed.
pub trait Live {
    /// The raft index after whose entry it judges. Nothing is dropped before the store is synced
    /// up to there: a crash would go back to a time when it was needed.
    fn index(&self) -> u64;

    /// A revision such that everything a compaction at or below it finds dead is judged dead.
    /// It must not fall.
    fn horizon(&self) -> i64;

    /// Whether `revision` of `key` can still be read. Once dead, a revision stays so.
    fn is_live(&self, key: &[u8], revision: Revision) -> bool;
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No segment is sparse enough.
    Idle,
    /// The judge is ahead of what is synced; nothing was done.
    Waiting,
    /// Part of the work; the next step goes on.
    Working,
    /// A rewrite is complete.
    Done {
        /// Bytes of the frames of the old files.
        before: u64,
        /// Bytes of those of the new one.
        after: u64,
    },
}

/// The compacting stage. One owner; no thread or clock of its own.
#[derive(Debug)]
pub struct Compactor {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    shared: Arc<Shared>,
    options: Options,
    job: Option<Job>,
    /// The horizon of the sweep under way.
    sweep: Option<i64>,
    /// The horizon of the last one.
    swept_to: i64,
    /// The first failure; it is final.
    poison: Option<Error>,
    /// The directory is taken for as long as somebody may write to it. Readers may stay.
    _lock: Arc<dyn File>,
}

/// A rewrite under way.
#[derive(Debug)]
struct Job {
    inputs: Vec<Arc<Segment>>,
    /// Where each record of an input goes, one for each input.
    moves: Vec<Moved>,
    /// The input being read and how far.
    input: usize,
    read_to: u64,
    name: Name,
    tmp: PathBuf,
    file: Box<dyn File>,
    written: u64,
    /// How much of it is synced.
    synced: u64,
    frame: FrameBuilder,
    footer: FooterBuilder,
    mark: Mark,
    /// Bytes of the records of revisions that are left behind.
    dropped: u64,
    /// Bytes of dead deletions that are not.
    buried: u64,
    /// The judge's horizon when it began.
    horizon: i64,
    /// Dead deletions up to this revision may be left behind.
    deletions_to: i64,
}

/// A sweep is due when one part in so many of the store is buried.
const SWEEP_SHARE: u64 = 10;

impl Compactor {
    pub(crate) fn new(
        (fs, dir, shared, lock): (Arc<dyn Fs>, PathBuf, Arc<Shared>, Arc<dyn File>),
        options: Options,
    ) -> Self {
        let (job, sweep, swept_to) = (None, None, i64::MIN);
        Self { fs, dir, shared, options, job, sweep, swept_to, poison: None, _lock: lock }
    }

    /// Reads about `bytes` of old segments and copies what lives; the caller sets the pace.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if an old segment is damaged, which stays as it is; the disk's. Both
    /// are final for this stage.
    pub fn step(&mut self, live: &impl Live, bytes: u64) -> Result<Step> {
        if let Some(error) = &self.poison {
            return Err(error.clone());
        }
        if live.index() > self.shared.synced_index() {
            return Ok(Step::Waiting);
        }
        let done = self.work(live, bytes);
        if let Err(error) = &done {
            tracing::error!(%error, "compaction stops");
            self.poison = Some(error.clone());
        }
        done
    }

    fn work(&mut self, live: &impl Live, bytes: u64) -> Result<Step> {
        let mut job = match self.job.take() {
            Some(job) => job,
            None => match self.pick(live.horizon()) {
                Some(inputs) => self.begin(inputs, live.horizon())?,
                None => return Ok(Step::Idle),
            },
        };
        job.copy(live, bytes)?;
        if job.input < job.inputs.len() {
            self.job = Some(job);
            return Ok(Step::Working);
        }
        self.finish(job)
    }

    /// The next file of a sweep, or the sparsest sealed one that is worth it, with the neighbours
    /// that fit beside it into one.
    fn pick(&mut self, horizon: i64) -> Option<Vec<Arc<Segment>>> {
        let limit = self.shared.checkpointed();
        let state = self.shared.snapshot();
        let files: Vec<_> = state.files().filter(|file| file.name.last < limit).collect();
        if let Some(place) = self.next_of_sweep(&files, horizon) {
            return Some(self.around(&files, place));
        }
        let waste = |place: &usize| files[*place].waste_percent();
        let is_sparse = |place: &usize| waste(place) >= self.options.rewrite_percent;
        let mut sparse: Vec<usize> = (0..files.len()).filter(is_sparse).collect();
        sparse.sort_by_key(|place| std::cmp::Reverse(waste(place)));
        let mut inputs = sparse.into_iter().map(|place| self.around(&files, place));
        // A file that was rewritten and has nothing dead would come out as it is, for ever:
        // a small one wastes a good part of itself on its heads.
        inputs.find(|inputs| match &**inputs {
            [only] => only.dead_bytes() > 0 || only.name.generation == 0,
            _ => true,
        })
    }

    /// The file at `place` with its neighbours, if these are sparse or small and there is room.
    fn around(&self, files: &[&Arc<Segment>], place: usize) -> Vec<Arc<Segment>> {
        let room = u64::from(self.options.segment_bytes);
        let mut live = files[place].live_bytes();
        let mut joins = |file: &Segment| {
            let sparse = file.waste_percent() >= self.options.rewrite_percent / 2;
            let small = file.live_bytes() < room / 4;
            let fits = (sparse || small) && live + file.live_bytes() <= room;
            live += if fits { file.live_bytes() } else { 0 };
            fits
        };
        let (mut from, mut to) = (place, place + 1);
        while to < files.len() && joins(files[to]) {
            to += 1;
        }
        while from > 0 && joins(files[from - 1]) {
            from -= 1;
        }
        files[from..to].iter().map(|file| Arc::clone(file)).collect()
    }

    /// The oldest file that the sweep under way has not been at, beginning one if it is due.
    fn next_of_sweep(&mut self, files: &[&Arc<Segment>], horizon: i64) -> Option<usize> {
        if self.sweep.is_none() && horizon > self.swept_to {
            let buried: u64 = files.iter().map(|file| file.buried_bytes()).sum();
            let all: u64 = files.iter().map(|file| file.frames_end()).sum();
            self.sweep = (buried > 0 && buried * SWEEP_SHARE >= all).then_some(horizon);
        }
        let target = self.sweep?;
        let next = files.iter().position(|file| file.is_unswept(target));
        if next.is_none() {
            (self.sweep, self.swept_to) = (None, target);
        }
        next
    }

    fn begin(&self, inputs: Vec<Arc<Segment>>, horizon: i64) -> Result<Job> {
        let (first, last) = (inputs[0].name.first, inputs[inputs.len() - 1].name.last);
        let state = self.shared.snapshot();
        let older = state.files().take_while(|file| file.name.last < first);
        let deletions_to = older.map(|file| file.cleaned_to()).fold(horizon, i64::min);
        let newest = inputs.iter().map(|input| input.name.generation).max().unwrap_or_default();
        let name = Name { first, last, generation: newest + 1 };
        let tmp = self.dir.join(format!("{name}.tmp"));
        let file = self.fs.open(&tmp, OpenMode::Truncate)?;
        file.write_at(&name.head(), 0)?;
        Ok(Job {
            moves: inputs.iter().map(|_| Moved::default()).collect(),
            inputs,
            input: 0,
            read_to: HEAD_BYTES as u64,
            name,
            tmp,
            file,
            written: HEAD_BYTES as u64,
            synced: 0,
            frame: FrameBuilder::new(),
            footer: FooterBuilder::default(),
            mark: Mark::default(),
            dropped: 0,
            buried: 0,
            horizon,
            deletions_to,
        })
    }

    fn finish(&self, mut job: Job) -> Result<Step> {
        job.write_frame()?;
        let footer = job.footer.finish(job.mark, job.written);
        footer.write(&*job.file, job.name.first)?;
        job.file.sync_data()?;
        let path = job.name.path(&self.dir);
        self.fs.rename(&job.tmp, &path)?;
        let segment = Arc::new(Segment::over(job.name, path, job.file));
        segment.set_frames_end(job.written);
        segment.set_revision_bytes(footer.revision_bytes);
        segment.set_cleaned(job.horizon, job.buried);
        self.publish(&segment, &job.inputs, &job.moves);
        // What died while its record was copied counts here from now on. Behind the publication,
        // as no more is counted for the old files then.
        let died = job.inputs.iter().map(|input| input.dead_bytes() + input.buried_bytes());
        segment.add_dead(died.sum::<u64>().saturating_sub(job.dropped + job.buried));
        for input in &job.inputs {
            self.fs.remove(&input.path)?;
        }
        self.fs.sync_dir(&self.dir)?;
        let before = job.inputs.iter().map(|input| input.frames_end()).sum();
        let after = job.written;
        tracing::info!(segment = %job.name, before, after, "compacted segments");
        Ok(Step::Done { before, after })
    }

    /// Leads readers to the new file.
    fn publish(&self, segment: &Arc<Segment>, inputs: &[Arc<Segment>], moves: &[Moved]) {
        let range = segment.name.first..=segment.name.last;
        // Only this stage changes the slots of sealed segments.
        let old: Vec<(u32, Slot)> =
            self.shared.snapshot().slots.range(range).map(|(n, slot)| (*n, slot.clone())).collect();
        let new: Vec<(u32, Slot)> = old
            .into_iter()
            .map(|(number, slot)| {
                let input = inputs.iter().position(|input| Arc::ptr_eq(input, &slot.segment));
                let moved = &moves[input.expect("a slot leads to a file of its range")];
                let moved = match &slot.moved {
                    None => Moved { from: moved.from.clone(), to: moved.to.clone() },
                    Some(before) => compose(before, moved),
                };
                (number, Slot { segment: Arc::clone(segment), moved: Some(Arc::new(moved)) })
            })
            .collect();
        self.shared.replace_slots(new);
    }
}

/// Where records are after having moved twice.
fn compose(before: &Moved, then: &Moved) -> Moved {
    let both = before.from.iter().zip(&before.to);
    let (from, to) =
        both.filter_map(|(from, via)| then.look_up(*via).map(|to| (*from, to))).unzip();
    Moved { from, to }
}

impl Job {
    /// Reads about `bytes` of the inputs.
    fn copy(&mut self, live: &impl Live, bytes: u64) -> Result<()> {
        let mut left = bytes.max(1);
        while self.input < self.inputs.len() && left > 0 {
            let input = Arc::clone(&self.inputs[self.input]);
            let (first, end) = (input.name.first, input.frames_end());
            let mut scan = FrameScan::new(&*input.file, first, self.read_to, end);
            loop {
                let offset = scan.offset();
                if offset == end {
                    (self.input, self.read_to) = (self.input + 1, HEAD_BYTES as u64);
                    break;
                }
                if left == 0 {
                    self.read_to = offset;
                    break;
                }
                let corrupt = |found: &str| input.corrupt(offset, "a frame", found);
                let frame = match scan.next()? {
                    Found::Frame(frame) => frame,
                    Found::End => return Err(corrupt("a footer")),
                    Found::Damage(found) => return Err(corrupt(found)),
                };
                self.mark = frame.mark;
                for (at, record) in frame.revisions(first) {
                    left = left.saturating_sub(u64::from(at.len));
                    let (revision, tombstone) = RevisionKey::parse(record.key)
                        .ok_or_else(|| corrupt("a record whose key is no revision"))?;
                    let head = KeyValue::parse(record.value)
                        .ok_or_else(|| corrupt("a record whose value is no key-value"))?;
                    if !live.is_live(head.key, revision) {
                        if !tombstone || revision.main <= self.deletions_to {
                            self.dropped += u64::from(at.len);
                            continue;
                        }
                        self.buried += u64::from(at.len);
                    }
                    let (to, len) = self.frame.push(Kind::Revision, record.key, record.value);
                    let to = location(self.name.first, self.written + to as u64, len);
                    self.footer.push(to, &record).map_err(corrupt)?;
                    self.moves[self.input].from.push(at.offset);
                    self.moves[self.input].to.push(to.offset);
                }
                left = left.saturating_sub(1);
                if self.frame.len() >= FRAME_BYTES {
                    self.write_frame()?;
                }
            }
        }
        Ok(())
    }

    fn write_frame(&mut self) -> Result<()> {
        if self.frame.records() > 0 {
            let at = u32::try_from(self.written).expect("segments stay below 4 GiB");
            let place = (self.name.first, at);
            let bytes = self.frame.finish(FrameKind::Copied, place, 0, self.mark);
            self.file.write_at(&bytes, self.written)?;
            self.written += bytes.len() as u64;
            if self.written - self.synced >= SYNC_BYTES {
                self.file.sync_data()?;
                self.synced = self.written;
            }
        }
        Ok(())
    }
}
