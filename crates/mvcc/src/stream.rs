//! Ranges in chunks, for RangeStream: all at one revision, however long the client takes
//! (`server/etcdserver/v3_server.go: rangeStream`).

use crate::Result;
use crate::index::KeyRange;
use crate::range::{Bounded, RangeQuery, RangeResult};
use crate::read::Read;
use crate::view::View;
use backend::KeyValue;
use bytes::Bytes;

/// Records of the first chunk, as in etcd.
const FIRST_CHUNK: i64 = 10;

/// A range being given in chunks. It holds its view.
#[derive(Debug)]
pub struct RangeStream {
    view: View,
    query: RangeQuery,
    /// Bytes that a chunk should have, about.
    target: usize,
    /// Records that may still come.
    left: i64,
    chunk: i64,
    sent: i64,
    done: bool,
}

/// A part of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Encoded `mvccpb.KeyValue`s.
    pub records: Vec<Bytes>,
    /// What the last chunk says of the whole, and no other does.
    pub end: Option<ChunkEnd>,
}

/// What the last chunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEnd {
    /// Keys in the range: those given and those behind the limit.
    pub count: i64,
    /// Whether the limit left some out.
    pub more: bool,
    /// The revision for the header.
    pub revision: i64,
}

impl View {
    /// Gives `query`, which has neither order nor filters, in chunks of about `target` bytes.
    #[must_use]
    pub fn stream(self, mut query: RangeQuery, target: usize) -> RangeStream {
        if query.revision == 0 {
            query.revision = self.revision();
        }
        let left = if query.limit == 0 { i64::MAX } else { query.limit };
        let chunk = FIRST_CHUNK.min(left);
        RangeStream { view: self, query, target, left, chunk, sent: 0, done: false }
    }
}

impl RangeStream {
    /// Bytes that the next chunk takes, about.
    #[must_use]
    pub fn next_bytes(&self) -> u64 {
        let query = RangeQuery { limit: self.chunk, ..self.query.clone() };
        match self.view.range_within(&query, 0) {
            Ok(Bounded::Needs(needs)) if !self.done => needs.whole,
            _ => 0,
        }
    }

    /// The next chunk; none behind the last.
    ///
    /// # Errors
    /// As [`Read::range`]; [`crate::Error::Compacted`] also if the compaction came meanwhile.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if self.done {
            return Ok(None);
        }
        self.query.limit = self.chunk;
        let found = self.view.range(&self.query)?;
        let given = i64::try_from(found.records.len()).expect("counts fit into 63 bits");
        self.sent += given;
        // Compat: a limit below 0 is none, and so is all that is left of it.
        self.done = self.query.count_only || !found.more || given == self.left;
        if self.done {
            let end = self.end(&found);
            return Ok(Some(Chunk { records: found.records, end: Some(end) }));
        }
        self.left -= given;
        self.query.key = behind(&found);
        let size = response_len(&found, given);
        if size < self.target / 2 {
            self.chunk = self.chunk.saturating_mul(2);
        } else if size > self.target * 2 {
            self.chunk = (self.chunk / 2).max(1);
        }
        self.chunk = self.chunk.min(self.left);
        Ok(Some(Chunk { records: found.records, end: None }))
    }

    fn end(&self, found: &RangeResult) -> ChunkEnd {
        let revision = found.revision;
        if self.query.count_only {
            return ChunkEnd { count: found.count, more: false, revision };
        }
        let rest = if found.more { self.count_behind(found) } else { 0 };
        ChunkEnd { count: self.sent + rest, more: found.more, revision }
    }

    fn count_behind(&self, found: &RangeResult) -> i64 {
        let key = behind(found);
        let range = KeyRange::new(&key, &self.query.range_end);
        let scope = self.view.scope();
        scope.resolve(self.query.revision).map_or(0, |at| scope.index.count(range, at))
    }
}

/// The least key behind the last one found.
fn behind(found: &RangeResult) -> Bytes {
    let last = found.records.last().expect("where there is more there is something");
    let key = KeyValue::parse(last).map(|record| record.key).unwrap_or_default();
    Bytes::from([key, b"\0"].concat())
}

/// Bytes of the response that etcd measures: header with revision, records, more, count.
fn response_len(found: &RangeResult, given: i64) -> usize {
    let varint = |value: i64| {
        let bits = 64 - (value | 1).leading_zeros();
        bits.div_ceil(7) as usize
    };
    let len = |len: usize| varint(i64::try_from(len).unwrap_or(i64::MAX));
    let header = 1 + varint(found.revision);
    let records = found.records.iter().map(|record| 1 + len(record.len()) + record.len());
    // etcd counts here only what it looked at: one more than it gives.
    1 + len(header) + header + records.sum::<usize>() + 2 + 1 + varint(given + 1)
}
