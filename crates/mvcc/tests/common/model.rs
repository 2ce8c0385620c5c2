//! The same keys as a list of everything that ever happened to each.

use super::Random;
use backend::{KeyValue, Revision, RevisionKey};
use bytes::Bytes;
use quorate_mvcc::{RangeQuery, RangeResult, SortOrder, SortTarget};
use std::collections::{BTreeMap, BTreeSet};

/// One revision of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub revision: Revision,
    pub tombstone: bool,
    pub create: i64,
    pub version: i64,
    pub lease: i64,
    pub value: Vec<u8>,
}

/// Everything that ever happened; nothing is compacted here.
#[derive(Clone, Debug)]
pub struct Model {
    pub keys: BTreeMap<Vec<u8>, Vec<Item>>,
    pub revision: i64,
    pub compact_revision: i64,
}

impl Default for Model {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), revision: 1, compact_revision: -1 }
    }
}

fn floor(items: &[Item], at: i64) -> Option<&Item> {
    items.iter().rev().find(|item| item.revision.main <= at)
}

pub fn live(items: &[Item], at: i64) -> Option<&Item> {
    floor(items, at).filter(|item| !item.tombstone)
}

pub fn inside(key: &[u8], from: &[u8], range_end: &[u8]) -> bool {
    match range_end {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && key < end,
    }
}

impl Item {
    pub fn record<'a>(&'a self, key: &'a [u8]) -> KeyValue<'a> {
        if self.tombstone {
            return KeyValue { key, ..KeyValue::default() };
        }
        KeyValue {
            key,
            create_revision: self.create,
            mod_revision: self.revision.main,
            version: self.version,
            value: &self.value,
            lease: self.lease,
        }
    }
}

impl Model {
    pub fn put(&mut self, revision: Revision, key: &[u8], value: &[u8], lease: i64) {
        let items = self.keys.entry(key.to_vec()).or_default();
        let (create, version) = match live(items, revision.main) {
            Some(item) => (item.create, item.version + 1),
            None => (revision.main, 1),
        };
        let value = value.to_vec();
        items.push(Item { revision, tombstone: false, create, version, lease, value });
        self.revision = revision.main;
    }

    pub fn delete(&mut self, revision: Revision, key: &[u8]) {
        let items = self.keys.get_mut(key).unwrap();
        let (create, version, lease) = (0, 0, 0);
        items.push(Item { revision, tombstone: true, create, version, lease, value: Vec::new() });
        self.revision = revision.main;
    }

    pub fn live_keys(&self, from: &[u8], range_end: &[u8], at: i64) -> Vec<(&[u8], &Item)> {
        let keys = self.keys.iter().filter(|(key, _)| inside(key, from, range_end));
        keys.filter_map(|(key, items)| Some((&**key, live(items, at)?))).collect()
    }

    /// `None` for an error that the caller names.
    pub fn range(&self, query: &RangeQuery) -> RangeResult {
        let at = if query.revision <= 0 { self.revision } else { query.revision };
        let mut found = self.live_keys(&query.key, &query.range_end, at);
        let (count, revision) = (i64::try_from(found.len()).unwrap(), self.revision);
        if query.count_only {
            return RangeResult { count, revision, ..RangeResult::default() };
        }
        let limit = usize::try_from(query.limit).unwrap_or(0);
        let filters = [
            query.min_mod_revision,
            query.max_mod_revision,
            query.min_create_revision,
            query.max_create_revision,
        ];
        // The wart: the limit comes before a sort without an order.
        if query.sort_order == SortOrder::None && filters == [0; 4] && limit > 0 {
            found.truncate(limit + 1);
        }
        let within = |n: i64, min, max| (min == 0 || n >= min) && (max == 0 || n <= max);
        found.retain(|(_, item)| {
            within(item.revision.main, filters[0], filters[1])
                && within(item.create, filters[2], filters[3])
        });
        let field = |item: &Item| match query.sort_target {
            SortTarget::Version => item.version,
            SortTarget::Create => item.create,
            SortTarget::Mod => item.revision.main,
            SortTarget::Key | SortTarget::Value => 0,
        };
        found.sort_by(|(a_key, a), (b_key, b)| {
            let order = match query.sort_target {
                SortTarget::Key => a_key.cmp(b_key),
                SortTarget::Value => a.value.cmp(&b.value),
                _ => field(a).cmp(&field(b)),
            };
            if query.sort_order == SortOrder::Descend { order.reverse() } else { order }
        });
        let more = limit > 0 && found.len() > limit;
        found.truncate(if limit > 0 { limit } else { usize::MAX });
        let record = |(key, item): &(&[u8], &Item)| {
            let mut record = item.record(key);
            if query.keys_only {
                record.value = b"";
                if query.sort_target != SortTarget::Value {
                    record.lease = 0;
                }
            }
            Bytes::from(record.encode())
        };
        RangeResult { records: found.iter().map(record).collect(), count, more, revision }
    }

    /// The hash by the words of the reference: `by_compaction` with what a compaction keeps.
    pub fn hash(&self, compact_revision: i64, revision: i64, by_compaction: bool) -> u32 {
        let kept = |at: i64, tombstones: bool| -> BTreeSet<Revision> {
            let newest = self.keys.values().filter_map(|items| floor(items, at));
            let keeps = |item: &&Item| !item.tombstone || (tombstones && item.revision.main == at);
            newest.filter(keeps).map(|item| item.revision).collect()
        };
        let keep = kept(revision, by_compaction);
        let on_disk = kept(compact_revision, true);
        let mut all: Vec<(&[u8], &Item)> = Vec::new();
        for (key, items) in &self.keys {
            all.extend(items.iter().map(|item| (&**key, item)));
        }
        all.sort_by_key(|(_, item)| item.revision);
        let mut hash = crc32c::crc32c(b"key");
        for (key, item) in all {
            let main = item.revision.main;
            let skipped = main > revision
                || (main <= compact_revision
                    && (!on_disk.contains(&item.revision)
                        || (!keep.is_empty() && !keep.contains(&item.revision))))
                || (main == compact_revision && item.tombstone);
            if !skipped {
                let revision = RevisionKey::new(item.revision, item.tombstone);
                hash = crc32c::crc32c_append(hash, revision.as_bytes());
                hash = crc32c::crc32c_append(hash, &item.record(key).encode());
            }
        }
        hash
    }
}

/// Any request, most of them sensible.
pub fn random_query(
    random: &mut Random,
    revision: i64,
    key: &dyn Fn(u64) -> Vec<u8>,
) -> RangeQuery {
    let from = Bytes::from(key(random.below(12)));
    let range_end = match random.below(4) {
        0 => Bytes::new(),
        1 => Bytes::from_static(b"\0"),
        _ => Bytes::from(key(random.below(12))),
    };
    let mut query = RangeQuery { key: from, range_end, ..RangeQuery::default() };
    if random.below(2) == 0 {
        query.revision = random.between(-1, revision + 1);
    }
    if random.below(2) == 0 {
        query.limit = random.between(-1, 6);
    }
    query.sort_order = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend]
        [usize::try_from(random.below(3)).unwrap()];
    query.sort_target = [
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ][usize::try_from(random.below(5)).unwrap()];
    query.keys_only = random.below(4) == 0;
    query.count_only = random.below(8) == 0;
    let bounds = [
        &mut query.min_mod_revision,
        &mut query.max_mod_revision,
        &mut query.min_create_revision,
        &mut query.max_create_revision,
    ];
    for bound in bounds {
        if random.below(6) == 0 {
            *bound = random.between(0, revision);
        }
    }
    query
}
