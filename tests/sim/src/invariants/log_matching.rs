//! Log matching (raft section 5.3): logs that hold the same entry agree on all before it.
//!
//! By induction: whoever holds the entry of an index and term holds the same content, and before
//! it an entry of the same term as everybody else.

use super::{Verdict, hold};
use crate::kv::hash_entry;
use raftpb::Entry;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct LogMatching {
    /// By (index, term): the term before and a hash of the content.
    entries: BTreeMap<(u64, u64), (u64, u64)>,
}

impl LogMatching {
    /// Takes entries that node `id` holds after one of term `before`, if that is known.
    pub(crate) fn holds(&mut self, id: u64, before: Option<u64>, entries: &[Entry]) -> Verdict {
        let mut before = before;
        for entry in entries {
            let (index, term) = (entry.index(), entry.term());
            let hash = hash_entry(entry);
            if let Some(before) = before {
                let first = *self.entries.entry((index, term)).or_insert((before, hash));
                hold!(
                    first == (before, hash),
                    "{id} holds another entry {index} of term {term} than others, \
                     or another one before it: after term {before}, elsewhere {}",
                    first.0
                );
            }
            before = Some(term);
        }
        Ok(())
    }
}
