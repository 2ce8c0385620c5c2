//! Leader append-only (raft section 5.3): while it leads, a leader's log only grows.

use super::{Verdict, View, hold};
use raft::StateType;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct AppendOnly {
    /// Term, last index and its term of each leader when last seen.
    leaders: BTreeMap<u64, (u64, u64, u64)>,
}

impl AppendOnly {
    pub(crate) fn observe(&mut self, view: &View<'_>) -> Verdict {
        if view.state != StateType::Leader {
            self.leaders.remove(&view.id);
            return Ok(());
        }
        if let Some((term, last, last_term)) = self.leaders.get(&view.id).copied()
            && term == view.term
        {
            let now = view.raw.term(last);
            let kept = view.last >= last && now.is_none_or(|now| now == last_term);
            hold!(
                kept,
                "leader {} of term {term} had entry {last}/{last_term}, now {now:?}",
                view.id
            );
        }
        let last_term = view.raw.term(view.last).unwrap_or_default();
        self.leaders.insert(view.id, (view.term, view.last, last_term));
        Ok(())
    }

    /// A node that stopped leads no more.
    pub(crate) fn stopped(&mut self, id: u64) {
        self.leaders.remove(&id);
    }
}
