//! Range requests: which records, in which order, how many (`server/etcdserver/txn/range.go`).
//!
//! Everything but the value is in the index, so that filters, sorts and limits are done before
//! a record is read; only a sort by value reads first.

use crate::index::{Index, Item, KeyRange};
use crate::order::sort_as_go;
use crate::{Error, Result};
use backend::{KeyValue, Location};
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
    /// It takes about so many bytes, more than it may. Nothing was read.
    Needs(u64),
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
struct Found {
    hits: Vec<Hit>,
    /// How many there are, with those that did not pass.
    seen: usize,
    /// Bytes that the hits take, and bytes of all their records.
    bytes: u64,
    record_bytes: u64,
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
    let Found { mut hits, seen, bytes, record_bytes } = find(scope.index, query, at, pushed, room);
    result.count = match seen < pushed {
        true => i64::try_from(seen).expect("counts fit into 63 bits"),
        false => scope.index.count(query.keys(), at),
    };
    let by_value = query.sort_target == SortTarget::Value;
    if bytes > room || (by_value && bytes + record_bytes > room) {
        return Ok(Bounded::Needs(bytes + record_bytes));
    }
    if by_value {
        read(&mut hits, &gather)?;
        sort_by_value(&mut hits, query.sort_order)?;
    } else {
        sort_by_index(&mut hits, query);
    }
    let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0);
    result.more = limit.is_some_and(|limit| hits.len() > limit);
    hits.truncate(limit.unwrap_or(usize::MAX));
    if !query.is_from_index() && !by_value {
        let needs = bytes + hits.iter().map(|hit| u64::from(hit.item.location().len)).sum::<u64>();
        if needs > room {
            return Ok(Bounded::Needs(needs));
        }
        read(&mut hits, &gather)?;
    }
    if query.keys_only && !query.is_from_index() {
        hits.iter_mut().try_for_each(strip_value)?;
    }
    result.records = hits.into_iter().map(|hit| hit.record).collect();
    Ok(Bounded::Answer(result))
}

/// The keys that pass, as long as they take `room` bytes at most; then they are only counted.
fn find(index: &Index, query: &RangeQuery, at: i64, limit: usize, room: u64) -> Found {
    let mut found = Found { hits: Vec::new(), seen: 0, bytes: 0, record_bytes: 0 };
    let from_index = query.is_from_index();
    // Whether all were seen shows in their number.
    let _ = index.visit(query.keys(), 0, |key, history| {
        let Some(item) = history.at(at) else { return ControlFlow::Continue(()) };
        found.seen += 1;
        if query.passes(item) {
            found.bytes += size_of::<Hit>() as u64;
            let record = match from_index {
                true => key_value(key, item).encode(),
                false => Vec::new(),
            };
            found.bytes += record.len() as u64;
            found.record_bytes += match from_index {
                true => 0,
                false => u64::from(item.location().len),
            };
            if found.bytes <= room {
                found.hits.push(Hit { item: *item, record: Bytes::from(record) });
            }
        }
        if found.seen < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    found
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

fn sort_by_index(hits: &mut [Hit], query: &RangeQuery) {
    let field: fn(&Hit) -> i64 = match query.sort_target {
        SortTarget::Version => |hit| hit.item.version(),
        SortTarget::Create => |hit| hit.item.create(),
        SortTarget::Mod => |hit| hit.item.main(),
        SortTarget::Key | SortTarget::Value => {
            // They came in order, and no two keys are equal.
            if query.sort_order == SortOrder::Descend {
                hits.reverse();
            }
            return;
        }
    };
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
