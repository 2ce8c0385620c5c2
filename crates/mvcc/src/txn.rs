//! A write transaction: its changes share one revision, and it sees them itself.

use crate::index::{Item, KeyRange};
use crate::range::Scope;
use crate::read::{self, Read};
use crate::store::Mvcc;
use crate::{Change, Changes, Result};
use backend::{KeyValue, Location, Revision, Store};
use bytes::Bytes;
use std::ops::ControlFlow;

/// A write transaction. Its first change takes the next revision; there is no way back, so
/// whoever applies checks everything before.
#[derive(Debug)]
#[must_use = "its changes are for leases and watchers"]
pub struct Txn<'a> {
    mvcc: &'a mut Mvcc,
    store: &'a mut Store,
    /// The revision before it.
    begin: i64,
    changes: Vec<Change>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(mvcc: &'a mut Mvcc, store: &'a mut Store) -> Self {
        let begin = mvcc.revision;
        Self { mvcc, store, begin, changes: Vec::new() }
    }

    /// The store, for the buckets that change in the same frame.
    pub fn store(&mut self) -> &mut Store {
        self.store
    }

    /// Puts `key`; gives the transaction's revision. Flags of the request (ignore_value,
    /// ignore_lease, prev_kv) are done by reading before.
    pub fn put(&mut self, key: Bytes, value: &[u8], lease: i64) -> i64 {
        let revision = self.next();
        let history = self.mvcc.index.get(&key);
        let live = history.and_then(|history| history.at(revision.main));
        let (create, version) =
            live.map_or((revision.main, 1), |item| (item.create(), item.version() + 1));
        let previous = history.and_then(|history| history.at(self.begin)).map(Item::location);
        let record = KeyValue {
            key: &key,
            create_revision: create,
            mod_revision: revision.main,
            version,
            value,
            lease,
        };
        let record = Bytes::from(record.encode());
        let location = self.store.put(revision, false, &record);
        self.mvcc.index.push(&key, Item::put(revision, create, version, location));
        self.changes.push(Change {
            key,
            revision,
            tombstone: false,
            record,
            version,
            lease,
            previous,
        });
        revision.main
    }

    /// Deletes `key`, or all keys up to `range_end` as requests say it, in their order; gives
    /// how many there were.
    pub fn delete_range(&mut self, key: &[u8], range_end: &[u8]) -> i64 {
        let at = self.mvcc.revision;
        let mut dying = Vec::new();
        let _ = self.mvcc.index.visit(KeyRange::new(key, range_end), 0, |key, history| {
            if history.at(at).is_some() {
                let previous = history.at(self.begin).map(Item::location);
                dying.push((Bytes::copy_from_slice(key), previous));
            }
            ControlFlow::Continue(())
        });
        let count = dying.len();
        for (key, previous) in dying {
            self.delete(key, previous);
        }
        i64::try_from(count).expect("counts fit into 63 bits")
    }

    fn delete(&mut self, key: Bytes, previous: Option<Location>) {
        let revision = self.next();
        let stored = KeyValue { key: &key, ..KeyValue::default() };
        let location = self.store.put(revision, true, &stored.encode());
        let sent = KeyValue { mod_revision: revision.main, ..stored };
        let record = Bytes::from(sent.encode());
        self.mvcc.index.push(&key, Item::tombstone(revision, location));
        let (tombstone, version, lease) = (true, 0, 0);
        self.changes.push(Change { key, revision, tombstone, record, version, lease, previous });
    }

    /// The revision of the next change.
    fn next(&mut self) -> Revision {
        self.mvcc.revision = self.begin + 1;
        let sub = i64::try_from(self.changes.len()).expect("counts fit into 63 bits");
        Revision { main: self.begin + 1, sub }
    }

    /// Whether nothing was changed so far.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.changes.is_empty()
    }

    /// Ends it and gives what it changed, if anything.
    pub fn end(self) -> Option<Changes> {
        let revision = self.begin + 1;
        (!self.changes.is_empty()).then_some(Changes { revision, list: self.changes })
    }
}

impl Read for Txn<'_> {
    fn scope(&self) -> Scope<'_> {
        let Mvcc { index, revision, compact_revision, .. } = &*self.mvcc;
        Scope { index, revision: *revision, compact_revision: *compact_revision }
    }

    fn gather(&self, locations: &[Location]) -> Result<Vec<Bytes>> {
        let mut records = vec![Bytes::new(); locations.len()];
        let (mut rest, mut places) = (Vec::new(), Vec::new());
        for (place, location) in locations.iter().enumerate() {
            match self.store.uncommitted(*location) {
                Some(value) => records[place] = Bytes::copy_from_slice(value),
                None => {
                    rest.push(*location);
                    places.push(place);
                }
            }
        }
        if !rest.is_empty() {
            let committed = read::gather(&self.mvcc.reader, &rest)?;
            places.into_iter().zip(committed).for_each(|(place, value)| records[place] = value);
        }
        Ok(records)
    }
}
