//! Opening a store: which files count, where the last one ends, what the small buckets hold.
//!
//! Of sealed segments only the footers are read; the last segment is read whole, as only its end
//! can be torn, and only it has the newest state of the small buckets. A frame that is not whole
//! is a write that the power cut, unless a later frame says that it had been synced: then it is
//! reported, and nothing is dropped.

use crate::compact::Compactor;
use crate::flush::{Flusher, add_frame};
use crate::footer::{Footer, FooterBuilder};
use crate::frame::{Found, FrameKind, FrameRef, FrameScan, Mark};
use crate::record::Kind;
use crate::restore::Restored;
use crate::segment::{HEAD_BYTES, HeadState, Name, Segment};
use crate::shared::{Shared, Slot};
use crate::store::{Resume, Store};
use crate::{Buckets, Error, Reader, Result, Revision};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use vfs::{File, Fs, OpenMode};

/// Bytes after which a segment is full, by default.
pub const SEGMENT_BYTES: u32 = 64 << 20;

/// How a store is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes after which a segment is full; below 1 GiB.
    pub segment_bytes: u32,
    /// A sealed segment is rewritten once this share of it is not live, 1 to 100.
    pub rewrite_percent: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, rewrite_percent: 50 }
    }
}

/// The parts of an open store.
#[derive(Debug)]
pub struct Opened {
    /// For the apply stage.
    pub store: Store,
    /// For everybody.
    pub reader: Reader,
    /// For the thread that writes behind.
    pub flusher: Flusher,
    /// For the thread that compacts, or the same.
    pub compactor: Compactor,
    /// Every revision, for the index.
    pub restored: Restored,
}

/// Opens the store in `dir`, making an empty one where there is none.
///
/// # Errors
/// [`Error::Locked`], [`Error::Corrupt`], [`Error::MissingSegment`], and the disk's.
///
/// # Panics
/// If an option is out of its range.
pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: Options) -> Result<Opened> {
    assert!((1..1 << 30).contains(&options.segment_bytes), "segments have 1 B to 1 GiB");
    assert!((1..=100).contains(&options.rewrite_percent), "a share is 1 to 100 percent");
    fs.create_dir_all(dir)?;
    let lock = fs.open(&dir.join("lock"), OpenMode::Create)?;
    lock.try_lock().map_err(|error| {
        if error.is_locked() { Error::Locked { dir: dir.to_owned() } } else { error.into() }
    })?;
    let (mut names, replaced) = list(&*fs, dir)?;
    let tail = open_tail(&*fs, dir, &mut names)?;
    let mut slots = BTreeMap::new();
    let mut cursors = Vec::new();
    let mut resume = Resume {
        segment: 0,
        offset: 0,
        buckets: Buckets::default(),
        mark: Mark::default(),
        last_revision: Revision::default(),
    };
    for name in names {
        let segment = Arc::new(Segment::open(&*fs, dir, name, OpenMode::Read)?);
        let footer = read_sealed(&segment)?;
        resume.last_revision = resume.last_revision.max(footer.last_revision);
        cursors.push((segment.path.clone(), footer.cursor(name.first)));
        slots.insert(name.first, Slot { segment, moved: None });
    }
    let (mut unsealed, mut unsealed_footer) = (None, FooterBuilder::default());
    if let Some(tail) = tail {
        let segment = Arc::new(tail.segment);
        let number = segment.name.first;
        resume.last_revision = resume.last_revision.max(tail.footer.last_revision);
        resume.segment = segment.name.last + u32::from(tail.sealed);
        resume.offset = if tail.sealed { 0 } else { offset_of(tail.footer.frames_end) };
        (resume.buckets, resume.mark) = (tail.buckets, tail.footer.mark);
        cursors.push((segment.path.clone(), tail.footer.cursor(number)));
        slots.insert(number, Slot { segment: Arc::clone(&segment), moved: None });
        if !tail.sealed {
            (unsealed, unsealed_footer) = (Some(segment), tail.builder);
        }
    }
    // Whatever they hold was found whole in the files that replace them.
    for name in &replaced {
        fs.remove(&name.path(dir))?;
    }
    if !replaced.is_empty() {
        fs.sync_dir(dir)?;
    }
    let shared = Arc::new(Shared::new(slots, resume.mark.index));
    shared.set_durable(resume.segment, u64::from(resume.offset));
    let lock: Arc<dyn File> = lock.into();
    let parts = (Arc::clone(&fs), dir.to_owned(), Arc::clone(&shared), lock);
    let compactor = Compactor::new(parts.clone(), options);
    let flusher = Flusher::new(parts, unsealed, unsealed_footer, resume.mark);
    Ok(Opened {
        store: Store::new(Arc::clone(&shared), options.segment_bytes, resume),
        reader: Reader::new(shared),
        flusher,
        compactor,
        restored: Restored::new(cursors)?,
    })
}

fn offset_of(frames_end: u64) -> u32 {
    u32::try_from(frames_end).expect("segments are smaller than 4 GiB")
}

/// The files that count, ascending and without a gap, and those that they replace. Removes what
/// a compaction had not finished.
fn list(fs: &dyn Fs, dir: &Path) -> Result<(Vec<Name>, Vec<Name>)> {
    let mut names = Vec::new();
    for name in fs.read_dir(dir)? {
        if name.ends_with(".tmp") {
            fs.remove(&dir.join(&name))?;
        }
        names.extend(Name::parse(&name));
    }
    let is_replaced = |name: &Name| names.iter().any(|other| other.replaces(*name));
    let (replaced, mut kept): (Vec<_>, Vec<_>) = names.iter().copied().partition(is_replaced);
    kept.sort_unstable();
    for pair in kept.windows(2) {
        let (expected, found) = (pair[0].last.saturating_add(1), pair[1].first);
        if found != expected {
            return Err(Error::MissingSegment { dir: dir.to_owned(), expected, found });
        }
    }
    Ok((kept, replaced))
}

/// The footer of a segment that is not the last.
fn read_sealed(segment: &Segment) -> Result<Footer> {
    if segment.check_head()? == HeadState::Unborn {
        return Err(segment.corrupt(0, "the head of a segment", "an empty file"));
    }
    let (first, len) = (segment.name.first, segment.file.len()?);
    let footer = match Footer::read(&*segment.file, first, len)? {
        Some(footer) => footer,
        None => rebuild_footer(segment, len)?,
    };
    segment.set_frames_end(footer.frames_end);
    segment.set_revision_bytes(footer.revision_bytes);
    Ok(footer)
}

/// A damaged footer can be made again from the frames, if these are all there.
fn rebuild_footer(segment: &Segment, len: u64) -> Result<Footer> {
    let first = segment.name.first;
    let mut builder = FooterBuilder::default();
    let mut mark = Mark::default();
    let mut scan = FrameScan::new(&*segment.file, first, HEAD_BYTES as u64, len);
    loop {
        let offset = scan.offset();
        match scan.next()? {
            Found::Frame(frame) => {
                add_frame(&mut builder, segment, &frame)?;
                mark = frame.mark;
            }
            Found::End if Footer::begins_at(&*segment.file, first, offset, len)? => {
                tracing::warn!(path = %segment.path.display(), offset, "footer is damaged");
                return Ok(builder.finish(mark, offset));
            }
            Found::End => return Err(segment.corrupt(offset, "a footer", "the end of the file")),
            Found::Damage(found) => {
                return Err(segment.corrupt(offset, "a frame or a footer", found));
            }
        }
    }
}

/// The last segment, read whole.
struct Tail {
    segment: Segment,
    buckets: Buckets,
    footer: Footer,
    /// What the footer was made of, to go on with.
    builder: FooterBuilder,
    sealed: bool,
}

/// Reads the last segment and takes it off `names`; one that never got a whole frame is removed,
/// and the one before it is the last.
fn open_tail(fs: &dyn Fs, dir: &Path, names: &mut Vec<Name>) -> Result<Option<Tail>> {
    while let Some(name) = names.pop() {
        let segment = Segment::open(fs, dir, name, OpenMode::Write)?;
        if segment.check_head()? == HeadState::Sound
            && let Some(tail) = read_tail(segment)?
        {
            return Ok(Some(tail));
        }
        tracing::info!(segment = %name, "removing a segment that was never synced");
        fs.remove(&name.path(dir))?;
        fs.sync_dir(dir)?;
    }
    Ok(None)
}

fn read_tail(segment: Segment) -> Result<Option<Tail>> {
    let (first, len) = (segment.name.first, segment.file.len()?);
    let mut builder = FooterBuilder::default();
    let (mut buckets, mut mark, mut frames) = (Buckets::default(), Mark::default(), 0);
    let mut scan = FrameScan::new(&*segment.file, first, HEAD_BYTES as u64, len);
    let mut ended = false;
    let offset = loop {
        let offset = scan.offset();
        match scan.next()? {
            Found::Frame(frame) => {
                if frames == 0 && frame.kind != FrameKind::Checkpoint {
                    // Only the last segment can be without a later checkpoint, and it has one.
                    let found = "a segment that had a later one";
                    return Err(segment.corrupt(offset, "the state of the small buckets", found));
                }
                add_frame(&mut builder, &segment, &frame)?;
                apply(&mut buckets, &frame);
                (mark, frames) = (frame.mark, frames + 1);
            }
            Found::End => {
                ended = offset < len;
                break offset;
            }
            Found::Damage(found) => {
                check_torn(&mut scan, &segment, offset, found)?;
                break offset;
            }
        }
    };
    if frames == 0 && !ended {
        return Ok(None);
    }
    let footer = Footer::read(&*segment.file, first, len)?;
    let sealed = footer.is_some_and(|footer| footer.frames_end == offset);
    if !sealed && offset < len {
        tracing::info!(path = %segment.path.display(), offset, len, "cutting a torn write");
        segment.file.set_len(offset)?;
    }
    if frames == 0 {
        let found = "a segment that had a later one";
        return Err(segment.corrupt(offset, "the state of the small buckets", found));
    }
    // A process that was killed may have written what it never synced: it was read from memory,
    // and from here on it counts as found.
    segment.file.sync_data()?;
    let footer = builder.finish(mark, offset);
    segment.set_frames_end(offset);
    segment.set_revision_bytes(if sealed { footer.revision_bytes } else { 0 });
    Ok(Some(Tail { segment, buckets, footer, builder, sealed }))
}

/// Whether the damage at `offset` can be a write that the power cut.
fn check_torn(
    scan: &mut FrameScan<'_>,
    segment: &Segment,
    offset: u64,
    found: &'static str,
) -> Result<()> {
    scan.seek(offset + 1);
    while let Some(place) = scan.search()? {
        match scan.next()? {
            Found::Frame(frame) if u64::from(frame.durable) > offset => {
                return Err(segment.corrupt(offset, "a frame, which was synced", found));
            }
            Found::Frame(_) => {}
            Found::End | Found::Damage(_) => scan.seek(place + 1),
        }
    }
    Ok(())
}

fn apply(buckets: &mut Buckets, frame: &FrameRef<'_>) {
    if frame.kind == FrameKind::Checkpoint {
        buckets.clear();
    }
    for (_, record) in frame.records() {
        match record.kind {
            Kind::Revision => {}
            Kind::Set(bucket) => buckets.set(bucket, record.key, record.value),
            Kind::Delete(bucket) => buckets.delete(bucket, record.key),
        }
    }
}
