//! Range requests: which records, in which order, how many (`server/etcdserver/txn/range.go`).
//!
//! Everything but the value is in the index, so that filters, sorts and limits are done before
//! a record is read; only a sort by value reads first.

use crate::index::{Index, Item, KeyRange};
use crate::order::sort_as_go;
use crate::{Error, Result};
use backend::{FOUND_BYTES, KeyValue, Location};
use bytes::Bytes;
use std::ops::ControlFlow;

/// Which way to sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// As the keys are, or ascending if the target is not the key.
    #[default]
    None,
    /// The least first.
    Ascend,
    /// The greatest first.
    Descend,
}

/// What to sort by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// How often the key was put.
    Version,
    /// The revision that created the key.
    Create,
    /// The revision of the last put.
    Mod,
    /// The value.
    Value,
}

/// A range request, fields as in `etcdserverpb.RangeRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeQuery {
    /// The first key.
    pub key: Bytes,
    /// Empty for one key, a zero byte for all from `key` on, else the key behind the last.
    pub range_end: Bytes,
    /// How many records at most; 0 and less for all.
    pub limit: i64,
    /// The revision to read at; 0 and less for the present one.
    pub revision: i64,
    /// Which way to sort.
    pub sort_order: SortOrder,
    /// What to sort by.
    pub sort_target: SortTarget,
    /// Leave out the values.
    pub keys_only: bool,
    /// Count, and give no records.
    pub count_only: bool,
    /// Records of lower mod revisions are left out; 0 for none.
    pub min_mod_revision: i64,
    /// Records of higher mod revisions are left out; 0 for none.
    pub max_mod_revision: i64,
    /// Records of lower create revisions are left out; 0 for none.
    pub min_create_revision: i64,
    /// Records of higher create revisions are left out; 0 for none.
    pub max_create_revision: i64,
}

impl RangeQuery {
    /// The keys asked for.
    #[must_use]
    pub fn keys(&self) -> KeyRange<'_> {
        KeyRange::new(&self.key, &self.range_end)
    }

    /// Compat: a target other than the key with no order is sorted, but only after the limit
    /// was applied in the order of keys.
    fn is_in_key_order(&self) -> bool {
        self.sort_order == SortOrder::None
            || (self.sort_target == SortTarget::Key && self.sort_order == SortOrder::Ascend)
    }

    fn is_by_key(&self) -> bool {
        matches!(self.sort_target, SortTarget::Key)
    }

    fn has_filters(&self) -> bool {
        let filters = [
            self.min_mod_revision,
            self.max_mod_revision,
            self.min_create_revision,
            self.max_create_revision,
        ];
        filters.iter().any(|bound| *bound != 0)
    }

    /// How many keys to look at: one more than asked for shows whether there are more.
    fn pushed_limit(&self) -> usize {
        let whole = !self.is_in_key_order() || self.has_filters() || self.limit <= 0;
        let limit = if whole { i64::MAX } else { self.limit.saturating_add(1) };
        usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// Compat: keys come from the index, which knows no leases; but not for a sort by value.
    fn is_from_index(&self) -> bool {
        self.keys_only && self.sort_target != SortTarget::Value
    }

    /// Whether the answer has records as the store has them, in an order that the index knows.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        !self.keys_only && !self.count_only && self.sort_target != SortTarget::Value
    }

    fn passes(&self, item: &Item) -> bool {
        let within = |revision: i64, min: i64, max: i64| {
            (max == 0 || revision <= max) && (min == 0 || revision >= min)
        };
        within(item.main(), self.min_mod_revision, self.max_mod_revision)
            && within(item.create(), self.min_create_revision, self.max_create_revision)
    }
}

/// What a range request gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResult {
    /// Encoded `mvccpb.KeyValue`s.
    pub records: Vec<Bytes>,
    /// Keys in the range at that revision, whatever limit and filters say.
    pub count: i64,
    /// Whether the limit left some out.
    pub more: bool,
    /// The revision for the header: the store's present one, also for reads of the past.
    pub revision: i64,
}

/// What a range request comes to when its answer may only take so many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bounded {
    /// The answer.
    Answer(RangeResult),
    /// It takes more than it may. Nothing was read.
    Needs(Needs),
}

/// Bytes of memory that an answer takes, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// As a whole.
    pub whole: u64,
    /// If its records are read a few at a time, see [`View::range_in_parts`]; none for an answer
    /// that is only to be had as a whole.
    ///
    /// [`View::range_in_parts`]: crate::View::range_in_parts
    pub in_parts: Option<u64>,
}

/// What a read sees: an index, and which revisions of it there are.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub(crate) index: &'a Index,
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
}

impl Scope<'_> {
    /// The revision that a request for `revision` reads at.
    pub(crate) fn resolve(&self, revision: i64) -> Result<i64> {
        if revision > self.revision {
            return Err(Error::FutureRev);
        }
        let at = if revision <= 0 { self.revision } else { revision };
        if at < self.compact_revision { Err(Error::Compacted) } else { Ok(at) }
    }
}

/// Keys found.
#[derive(Default)]
struct Found {
    hits: Vec<Hit>,
    /// How many there are, with those that did not pass.
    seen: usize,
    /// How many passed.
    passed: u64,
    /// Bytes that the hits take, bytes of all their records, and of the largest.
    bytes: u64,
    record_bytes: u64,
    record_bytes_max: u64,
}

impl Found {
    /// Bytes for an answer to `query` that takes `whole` as a whole.
    fn needs(&self, query: &RangeQuery, whole: u64) -> Needs {
        let sorted = if query.is_by_key() { 0 } else { size_of::<Item>() };
        let found = self.passed * (FOUND_BYTES + sorted) as u64;
        // A part has one record at least, which is read from one place into another.
        let in_parts = query.has_parts().then_some(found + 2 * self.record_bytes_max);
        Needs { whole, in_parts }
    }
}

/// A key found, its record if that was made from the index.
struct Hit {
    item: Item,
    record: Bytes,
}

/// Answers `query`, reading records through `gather`, if the answer takes `room` bytes at most.
pub(crate) fn range(
    scope: Scope<'_>,
    query: &RangeQuery,
    room: u64,
    gather: impl Fn(&[Location]) -> Result<Vec<Bytes>>,
) -> Result<Bounded> {
    let at = scope.resolve(query.revision)?;
    let mut result = RangeResult { revision: scope.revision, ..RangeResult::default() };
    if query.count_only {
        result.count = scope.index.count(query.keys(), at);
        return Ok(Bounded::Answer(result));
    }
    let pushed = query.pushed_limit();
    let mut found = find(scope.index, query, at, pushed, room);
    result.count = count(scope, query, at, found.seen);
    let by_value = query.sort_target == SortTarget::Value;
    let whole = found.bytes + found.record_bytes;
    if found.bytes > room || (by_value && whole > room) {
        return Ok(Bounded::Needs(found.needs(query, whole)));
    }
    let mut hits = std::mem::take(&mut found.hits);
    if by_value {
        read(&mut hits, &gather)?;
        sort_by_value(&mut hits, query.sort_order)?;
    } else {
        sort_by_index(&mut hits, query, |hit| &hit.item);
    }
    result.more = cut(&mut hits, query);
    if !query.is_from_index() && !by_value {
        let records = hits.iter().map(|hit| u64::from(hit.item.location().len));
        let whole = found.bytes + records.sum::<u64>();
        if whole > room {
            return Ok(Bounded::Needs(found.needs(query, whole)));
        }
        read(&mut hits, &gather)?;
    }
    if query.keys_only && !query.is_from_index() {
        hits.iter_mut().try_for_each(strip_value)?;
    }
    result.records = hits.into_iter().map(|hit| hit.record).collect();
    Ok(Bounded::Answer(result))
}

/// Where the records of an answer lie, in its order, and the answer without them.
pub(crate) fn locate(scope: Scope<'_>, query: &RangeQuery) -> Result<(Vec<Location>, RangeResult)> {
    debug_assert!(query.has_parts(), "the index is enough to find the records");
    let at = scope.resolve(query.revision)?;
    let (index, pushed) = (scope.index, query.pushed_limit());
    let (mut locations, mut items) = (Vec::new(), Vec::new());
    let seen = match query.is_by_key() {
        true => walk(index, query, at, pushed, |_, item| locations.push(item.location())),
        false => walk(index, query, at, pushed, |_, item| items.push(*item)),
    };
    let more = match query.is_by_key() {
        true => {
            if query.sort_order == SortOrder::Descend {
                locations.reverse();
            }
            cut(&mut locations, query)
        }
        false => {
            sort_by_index(&mut items, query, |item| item);
            let more = cut(&mut items, query);
            locations = items.iter().map(Item::location).collect();
            more
        }
    };
    let count = count(scope, query, at, seen);
    Ok((locations, RangeResult { records: Vec::new(), count, more, revision: scope.revision }))
}

/// How many keys there are, of which so many were seen.
fn count(scope: Scope<'_>, query: &RangeQuery, at: i64, seen: usize) -> i64 {
    match seen < query.pushed_limit() {
        true => i64::try_from(seen).expect("counts fit into 63 bits"),
        false => scope.index.count(query.keys(), at),
    }
}

/// Applies the limit. Returns whether it left some out.
fn cut<T>(hits: &mut Vec<T>, query: &RangeQuery) -> bool {
    let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0);
    let more = limit.is_some_and(|limit| hits.len() > limit);
    hits.truncate(limit.unwrap_or(usize::MAX));
    more
}

/// The keys that pass, as long as they take `room` bytes at most; then they are only counted.
fn find(index: &Index, query: &RangeQuery, at: i64, limit: usize, room: u64) -> Found {
    let mut found = Found::default();
    let from_index = query.is_from_index();
    found.seen = walk(index, query, at, limit, |key, item| {
        let record = if from_index { key_value(key, item).encode() } else { Vec::new() };
        let record_bytes = if from_index { 0 } else { u64::from(item.location().len) };
        found.passed += 1;
        found.bytes += (size_of::<Hit>() + record.len()) as u64;
        found.record_bytes += record_bytes;
        found.record_bytes_max = found.record_bytes_max.max(record_bytes);
        if found.bytes <= room {
            found.hits.push(Hit { item: *item, record: Bytes::from(record) });
        }
    });
    found
}

/// Gives the keys that pass, of the first `limit`. Returns how many were seen: whether all were
/// shows in their number.
fn walk(
    index: &Index,
    query: &RangeQuery,
    at: i64,
    limit: usize,
    mut take: impl FnMut(&[u8], &Item),
) -> usize {
    let mut seen = 0;
    let _ = index.visit(query.keys(), 0, |key, history| {
        let Some(item) = history.at(at) else { return ControlFlow::Continue(()) };
        seen += 1;
        if query.passes(item) {
            take(key, item);
        }
        if seen < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    seen
}

/// What the index knows of a record.
pub(crate) fn key_value<'a>(key: &'a [u8], item: &Item) -> KeyValue<'a> {
    KeyValue {
        key,
        create_revision: item.create(),
        mod_revision: item.main(),
        version: item.version(),
        ..KeyValue::default()
    }
}

fn read(hits: &mut [Hit], gather: impl Fn(&[Location]) -> Result<Vec<Bytes>>) -> Result<()> {
    let locations: Vec<_> = hits.iter().map(|hit| hit.item.location()).collect();
    let records = gather(&locations)?;
    hits.iter_mut().zip(records).for_each(|(hit, record)| hit.record = record);
    Ok(())
}

fn parse(hit: &Hit) -> Result<KeyValue<'_>> {
    let location = hit.item.location();
    KeyValue::parse(&hit.record).ok_or(Error::BadRecord { location })
}

fn sort_by_index<T>(hits: &mut [T], query: &RangeQuery, item: impl Fn(&T) -> &Item) {
    let field: fn(&Item) -> i64 = match query.sort_target {
        SortTarget::Version => Item::version,
        SortTarget::Create => Item::create,
        SortTarget::Mod => Item::main,
        SortTarget::Key | SortTarget::Value => {
            // They came in order, and no two keys are equal.
            if query.sort_order == SortOrder::Descend {
                hits.reverse();
            }
            return;
        }
    };
    let field = |hit: &T| field(item(hit));
    match query.sort_order {
        SortOrder::Descend => sort_as_go(hits, |a, b| field(b) < field(a)),
        SortOrder::None | SortOrder::Ascend => sort_as_go(hits, |a, b| field(a) < field(b)),
    }
}

fn sort_by_value(hits: &mut Vec<Hit>, order: SortOrder) -> Result<()> {
    let mut values = Vec::with_capacity(hits.len());
    for (place, hit) in hits.iter().enumerate() {
        values.push((hit.record.slice_ref(parse(hit)?.value), place));
    }
    match order {
        SortOrder::Descend => sort_as_go(&mut values, |a, b| b.0 < a.0),
        SortOrder::None | SortOrder::Ascend => sort_as_go(&mut values, |a, b| a.0 < b.0),
    }
    let sorted = |(_, place): &(Bytes, usize)| {
        let hit = &hits[*place];
        Hit { item: hit.item, record: hit.record.clone() }
    };
    *hits = values.iter().map(sorted).collect();
    Ok(())
}

fn strip_value(hit: &mut Hit) -> Result<()> {
    let stripped = KeyValue { value: b"", ..parse(hit)? }.encode();
    hit.record = Bytes::from(stripped);
    Ok(())
}
