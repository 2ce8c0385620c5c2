//! Every revision by user key, for building an index: a merge of the segments' sorted footers.

use crate::footer::Cursor;
use crate::{Location, Result, Revision};
use std::cmp::Ordering;
use std::path::PathBuf;

/// The revisions of all segments, ascending by key and then revision.
#[derive(Debug)]
pub struct Restored {
    /// A binary heap, the least entry first; cursors that ended are taken out.
    heap: Vec<(PathBuf, Cursor)>,
    /// Whether the first cursor's entry was given out, so that it must go on first.
    given: bool,
    count: usize,
}

/// What start-up knows of a revision without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredRevision<'a> {
    /// The user's key.
    pub key: &'a [u8],
    /// Its revision.
    pub revision: Revision,
    /// Whether it is a deletion.
    pub tombstone: bool,
    /// The revision that created the key; 0 for a deletion.
    pub create_revision: i64,
    /// How often the key was put since; 0 for a deletion.
    pub version: i64,
    /// The lease the key is attached to; 0 for none.
    pub lease: i64,
    /// Where the record lies.
    pub location: Location,
}

impl Restored {
    pub(crate) fn new(cursors: Vec<(PathBuf, Cursor)>) -> Result<Self> {
        let count = cursors.iter().map(|(_, cursor)| cursor.count()).sum();
        let mut heap = Vec::with_capacity(cursors.len());
        for (path, mut cursor) in cursors {
            if cursor.advance(&path)? {
                heap.push((path, cursor));
            }
        }
        let mut restored = Self { heap, given: false, count };
        for place in (0..restored.heap.len() / 2).rev() {
            restored.sift_down(place);
        }
        Ok(restored)
    }

    /// How many revisions there are in all.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The next revision.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if a footer makes no sense.
    #[expect(clippy::should_implement_trait, reason = "what it gives is borrowed from it")]
    pub fn next(&mut self) -> Result<Option<RestoredRevision<'_>>> {
        if self.given {
            let (path, cursor) = &mut self.heap[0];
            if !cursor.advance(path)? {
                self.heap.swap_remove(0);
            }
            self.sift_down(0);
        }
        self.given = !self.heap.is_empty();
        Ok(self.heap.first().map(|(_, cursor)| RestoredRevision {
            key: &cursor.key,
            revision: cursor.revision,
            tombstone: cursor.tombstone,
            create_revision: cursor.create_revision,
            version: cursor.version,
            lease: cursor.lease,
            location: cursor.location,
        }))
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2];
            let existing = children.into_iter().filter(|child| *child < self.heap.len());
            let Some(least) = existing.min_by(|a, b| self.order(*a, *b)) else { return };
            if self.order(place, least) != Ordering::Greater {
                return;
            }
            self.heap.swap(place, least);
            place = least;
        }
    }

    fn order(&self, a: usize, b: usize) -> Ordering {
        let (a, b) = (&self.heap[a].1, &self.heap[b].1);
        a.key.cmp(&b.key).then_with(|| a.revision.cmp(&b.revision))
    }
}
