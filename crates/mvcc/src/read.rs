//! What readers and transactions have in common: everything that can be asked of one state.

use crate::index::KeyRange;
use crate::range::{self, Bounded, RangeQuery, RangeResult, Scope};
use crate::{Error, Result};
use backend::Location;
use bytes::Bytes;
use std::ops::ControlFlow;

/// What the index knows of a live key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The revision that created the key.
    pub create_revision: i64,
    /// The revision of its last put.
    pub mod_revision: i64,
    /// How often it was put since it was created.
    pub version: i64,
    /// Where its record lies, for [`Read::gather`].
    pub location: Location,
}

/// One state of all keys: a [`crate::View`], or a [`crate::Txn`] with its own writes.
pub trait Read {
    /// The index and its bounds.
    fn scope(&self) -> Scope<'_>;

    /// The records at `locations`, in this order: encoded `mvccpb.KeyValue`s.
    ///
    /// # Errors
    /// [`Error::Compacted`] if a compaction dropped one meanwhile, and the store's.
    fn gather(&self, locations: &[Location]) -> Result<Vec<Bytes>>;

    /// The present revision of this state.
    fn revision(&self) -> i64 {
        self.scope().revision
    }

    /// The last revision that was compacted, which can still be read; -1 if none was.
    fn compact_revision(&self) -> i64 {
        self.scope().compact_revision
    }

    /// Answers a range request.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRev`], and the store's.
    fn range(&self, query: &RangeQuery) -> Result<RangeResult> {
        match self.range_within(query, u64::MAX)? {
            Bounded::Answer(result) => Ok(result),
            Bounded::Needs(_) => unreachable!("no answer takes more than any number of bytes"),
        }
    }

    /// Answers a range request if that takes `room` bytes of memory at most.
    ///
    /// # Errors
    /// As [`Read::range`].
    fn range_within(&self, query: &RangeQuery, room: u64) -> Result<Bounded> {
        range::range(self.scope(), query, room, |locations| self.gather(locations))
    }

    /// The encoded `mvccpb.KeyValue` of `key`, if it is live.
    ///
    /// # Errors
    /// As [`Read::gather`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let Some(meta) = self.meta(key) else { return Ok(None) };
        Ok(self.gather(&[meta.location])?.pop())
    }

    /// What the index knows of `key`, if it is live: enough for compares of revisions.
    fn meta(&self, key: &[u8]) -> Option<Meta> {
        let scope = self.scope();
        let item = scope.index.get(key)?.at(scope.revision)?;
        Some(Meta::of(item))
    }

    /// How many keys of `range` are live.
    fn count(&self, range: KeyRange<'_>) -> i64 {
        let scope = self.scope();
        scope.index.count(range, scope.revision)
    }

    /// Gives the live keys of `range` in order to `take` until it breaks.
    fn visit(
        &self,
        range: KeyRange<'_>,
        mut take: impl FnMut(&[u8], Meta) -> ControlFlow<()>,
    ) -> ControlFlow<()>
    where
        Self: Sized,
    {
        let scope = self.scope();
        scope.index.visit(range, 0, |key, history| match history.at(scope.revision) {
            Some(item) => take(key, Meta::of(item)),
            None => ControlFlow::Continue(()),
        })
    }
}

impl Meta {
    fn of(item: &crate::index::Item) -> Self {
        Self {
            create_revision: item.create(),
            mod_revision: item.main(),
            version: item.version(),
            location: item.location(),
        }
    }
}

/// The values of `locations` in this order, from the files.
pub(crate) fn gather(reader: &backend::Reader, locations: &[Location]) -> Result<Vec<Bytes>> {
    if let [location] = locations {
        return Ok(vec![reader.get(*location).map_err(Error::from)?.into_value()]);
    }
    let mut records = vec![Bytes::new(); locations.len()];
    reader.gather(locations, |place, value| records[place] = Bytes::copy_from_slice(value))?;
    Ok(records)
}
