//! A range whose records are found at once and read a few at a time, for answers that leave as
//! slowly as their client takes them.
//!
//! What was found stays readable, whatever is written and compacted meanwhile
//! ([`backend::Records`]): only the finding can come too late for a compaction.

use crate::Result;
use crate::range::{RangeQuery, RangeResult, locate};
use crate::read::Read as _;
use crate::view::View;
use backend::Records;
use std::ops::Range;

/// A range that was found.
#[derive(Debug)]
pub struct RangeParts {
    records: Records,
    /// Keys in the range at that revision, whatever limit and filters say.
    pub count: i64,
    /// Whether the limit left some out.
    pub more: bool,
    /// The revision for the header: the store's present one, also for reads of the past.
    pub revision: i64,
}

impl View {
    /// Finds what answers `query`, which has parts ([`RangeQuery::has_parts`]), and reads nothing
    /// yet.
    ///
    /// # Errors
    /// As [`crate::Read::range`], but for those of the reading.
    pub fn range_in_parts(&self, query: &RangeQuery) -> Result<RangeParts> {
        let (locations, RangeResult { count, more, revision, .. }) = locate(self.scope(), query)?;
        let records = self.reader().find(locations).map_err(|error| self.told(error.into()))?;
        Ok(RangeParts { records, count, more, revision })
    }
}

impl RangeParts {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of a record, which is an encoded `mvccpb.KeyValue`.
    #[must_use]
    pub fn record_len(&self, place: usize) -> usize {
        self.records.value_len(place)
    }

    /// Reads the records of these places, and gives them to `take` in order, each of the length
    /// that was said.
    ///
    /// # Errors
    /// The store's; some records may have been given then.
    pub fn read(&self, places: Range<usize>, take: impl FnMut(&[u8])) -> Result<()> {
        Ok(self.records.read(places, take)?)
    }
}
