//! Leader completeness (raft section 5.4): a new leader's log holds all that was committed in
//! earlier terms. Since logs match, it holds all if it holds the last.

use super::{Verdict, View, hold};
use crate::durable::Id;
use raft::Storage;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Completeness {
    /// The last entry that the leader of a term committed.
    last: BTreeMap<u64, Id>,
}

impl Completeness {
    pub(crate) fn committed(&mut self, leader_term: u64, id: Id) {
        self.last.insert(leader_term, id);
    }

    pub(crate) fn elected(&self, view: &View<'_>) -> Verdict {
        let earlier = self.last.range(..view.term).map(|(_, id)| *id);
        let Some(last) = earlier.max_by_key(|id| id.index) else { return Ok(()) };
        let first = view.raw.storage().first_index().unwrap_or_default();
        let complete = match view.raw.term(last.index) {
            Some(term) => term == last.term,
            None => last.index < first,
        };
        let (id, term) = (view.id, view.term);
        hold!(complete, "{id} leads in term {term} without {last:?}, which was committed before");
        Ok(())
    }
}
