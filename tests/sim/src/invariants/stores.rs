//! The store behind the log: a restart finds what the entries up to some index made of it, no
//! earlier than what was synced, no later than what its log holds as committed; every live
//! revision of these, and nothing else.

use super::{Verdict, hold};
use crate::store::{Held, data_of, is_dead, record_of};
use raftpb::Entry;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// Data of the applied entries that carry some.
    records: BTreeMap<u64, Vec<u8>>,
    /// What each node's store was told to be synced up to.
    synced: BTreeMap<u64, u64>,
}

impl Stores {
    pub(crate) fn applied(&mut self, entry: &Entry) {
        if let Some(data) = data_of(entry) {
            self.records.entry(entry.index()).or_insert_with(|| record_of(data));
        }
    }

    pub(crate) fn synced(&mut self, id: u64, index: u64) {
        self.synced.insert(id, index);
    }

    /// A node starts, with a log that holds entries up to `commit` as committed.
    pub(crate) fn found(&mut self, id: u64, commit: u64, held: &Held) -> Verdict {
        let (base, index) = (held.base, held.index);
        hold!(index <= commit, "{id}: the store is at {index}, its log at {commit}");
        let synced = self.synced.insert(id, index).unwrap_or_default();
        hold!(index >= synced, "{id}: the store is back at {index}, synced was {synced}");
        for (at, record) in &held.records {
            let known = self.records.get(at).is_some_and(|known| known == record);
            hold!(known && (base + 1..=index).contains(at), "{id}: the store has another {at}");
        }
        let behind_base = self.records.range(base + 1..).map(|(at, _)| at);
        for at in behind_base.take_while(|at| **at <= index) {
            let here = held.records.contains_key(at);
            hold!(here || is_dead(*at, index), "{id}: the store at {index} lost {at}");
        }
        Ok(())
    }
}
