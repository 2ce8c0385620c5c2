//! The side that appends. One owner, the apply stage.
//!
//! Everything between two commits becomes one frame: after a crash it is there as a whole or
//! not at all, with the raft index it brings the store to. Nothing here touches a disk, so
//! nothing here waits for one: a frame is in the overlay, where readers see it, until the
//! flusher has written it.
//!
//! Where a record will lie is known when it is appended. A segment is full once a frame has
//! reached its size; the next frame begins a new one, behind a checkpoint of the small buckets.

use crate::frame::{FrameBuilder, FrameKind, HEAD_BYTES, Mark, location};
use crate::record::{self, Kind};
use crate::segment;
use crate::shared::{Pending, Shared};
use crate::{Bucket, Buckets, Location, Revision, RevisionKey};
use std::sync::Arc;

pub(crate) const ENCODED_HERE: &str = "encoded by this process a moment ago";

/// The appending side of the store.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// Bytes after which a segment is full.
    segment_bytes: u32,
    segment: u32,
    /// Where in the segment the present frame begins; 0 before the segment has begun.
    offset: u32,
    frame: FrameBuilder,
    buckets: Buckets,
    mark: Mark,
    last_revision: Revision,
}

/// Where a store goes on.
#[derive(Debug)]
pub(crate) struct Resume {
    pub segment: u32,
    /// 0 if the segment has not begun.
    pub offset: u32,
    pub buckets: Buckets,
    pub mark: Mark,
    pub last_revision: Revision,
}

impl Store {
    pub(crate) fn new(shared: Arc<Shared>, segment_bytes: u32, resume: Resume) -> Self {
        Self {
            shared,
            segment_bytes,
            segment: resume.segment,
            offset: resume.offset,
            frame: FrameBuilder::new(),
            buckets: resume.buckets,
            mark: resume.mark,
            last_revision: resume.last_revision,
        }
    }

    /// Appends a revision: the encoded `mvccpb.KeyValue`, with the key alone for a deletion.
    ///
    /// # Panics
    /// If revisions do not rise.
    pub fn put(&mut self, revision: Revision, tombstone: bool, value: &[u8]) -> Location {
        let last = std::mem::replace(&mut self.last_revision, revision);
        assert!(last < revision, "revision {revision} after {last}");
        let key = RevisionKey::new(revision, tombstone);
        self.begin();
        let (at, len) = self.frame.push(Kind::Revision, key.as_bytes(), value);
        location(self.segment, u64::from(self.offset) + at as u64, len)
    }

    /// Sets an entry of a small bucket.
    ///
    /// # Panics
    /// If the key is longer than 65,535 bytes. Compat: a real etcd stops at half of that.
    pub fn set(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) {
        self.begin();
        self.frame.push(Kind::Set(bucket), key, value);
        self.buckets.set(bucket, key, value);
    }

    /// Deletes an entry of a small bucket, if it is there.
    pub fn delete(&mut self, bucket: Bucket, key: &[u8]) {
        self.begin();
        self.frame.push(Kind::Delete(bucket), key, b"");
        self.buckets.delete(bucket, key);
    }

    /// What the small buckets hold, uncommitted changes among it.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// The value of a revision that was put since the last commit; `None` for all others, which
    /// readers can see.
    #[must_use]
    pub fn uncommitted(&self, location: Location) -> Option<&[u8]> {
        if location.segment != self.segment {
            return None;
        }
        let at = usize::try_from(location.offset.checked_sub(self.offset)?).ok()?;
        let bytes = self.frame.bytes_at(at);
        if bytes.is_empty() || at < HEAD_BYTES {
            return None;
        }
        Some(record::decode_trusted(bytes).expect(ENCODED_HERE).value)
    }

    /// Ends the frame: the store now holds what was applied up to the entry at `index`, and
    /// readers see it.
    ///
    /// # Panics
    /// If `index` falls.
    pub fn commit(&mut self, index: u64, term: u64) {
        assert!(index >= self.mark.index, "index {index} after {}", self.mark.index);
        self.begin();
        self.mark = Mark { index, term };
        let records = self.frame.records();
        let durable = self.shared.durable_in(self.segment);
        let bytes = self.frame.finish(FrameKind::Commit, self.place(), durable, self.mark);
        self.push(FrameKind::Commit, records, bytes);
    }

    /// The raft index up to which the store holds what was applied, as committed.
    #[must_use]
    pub fn consistent_index(&self) -> u64 {
        self.mark.index
    }

    /// The term of the entry at the consistent index.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.mark.term
    }

    /// The last revision put.
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        self.last_revision
    }

    /// Before the first record of a frame: begins a new segment if it is time to.
    fn begin(&mut self) {
        let empty = self.frame.len() == HEAD_BYTES;
        if !empty || (1..self.segment_bytes).contains(&self.offset) {
            return;
        }
        self.segment += u32::from(self.offset > 0);
        self.offset = segment::HEAD_BYTES.try_into().expect("a head is small");
        let mut frame = FrameBuilder::new();
        for (bucket, key, value) in self.buckets.iter() {
            frame.push(Kind::Set(bucket), key, value);
        }
        let records = frame.records();
        let bytes = frame.finish(FrameKind::Checkpoint, self.place(), 0, self.mark);
        self.push(FrameKind::Checkpoint, records, bytes);
    }

    fn place(&self) -> (u32, u32) {
        (self.segment, self.offset)
    }

    fn push(&mut self, kind: FrameKind, records: u32, bytes: Vec<u8>) {
        let (segment, offset) = (self.segment, self.offset);
        let len = u32::try_from(bytes.len()).expect("a commit is smaller than 4 GiB");
        self.offset = offset.checked_add(len).expect("segments stay below 4 GiB");
        self.shared.push(Pending { segment, offset, kind, mark: self.mark, records, bytes });
    }
}
