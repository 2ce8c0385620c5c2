//! The commit rule (raft sections 5.4.2 and 6): a leader commits an entry of its own term, once a
//! majority of the voters of the configuration in force, of both if there are two, has it on
//! disk; nobody else decides what is committed, and all agree on it.

use super::{View, hold};
use crate::durable::{Durable, Id};
use raft::StateType;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// Terms of the committed entries; the entry at index 1 comes first.
    terms: Vec<u64>,
}

impl Commits {
    /// The entries every founder of the cluster begins with.
    pub(crate) fn begin(&mut self, entries: u64) {
        self.terms.extend((0..entries).map(|_| 1));
    }

    pub(crate) fn last(&self) -> u64 {
        self.terms.len() as u64
    }

    /// Looks at a node whose commit index moved. Returns what it committed first of all.
    pub(crate) fn observe(
        &mut self,
        view: &View<'_>,
        durable: &BTreeMap<u64, Durable>,
    ) -> Result<Option<Id>, String> {
        let (id, commit) = (view.id, view.commit);
        if commit == 0 {
            return Ok(None);
        }
        if commit <= self.last() {
            let at = usize::try_from(commit - 1).expect("in memory");
            let (want, have) = (self.terms[at], view.raw.term(commit));
            hold!(
                have.is_none_or(|have| have == want),
                "{id} takes entry {commit} of term {have:?} for committed; it is that of {want}"
            );
            return Ok(None);
        }
        hold!(view.state == StateType::Leader, "{id} commits {commit}, which no leader committed");
        for index in self.last() + 1..=commit {
            self.terms.push(view.raw.term(index).unwrap_or_default());
        }
        let last = Id { index: commit, term: view.raw.term(commit).unwrap_or_default() };
        hold!(
            last.term == view.term,
            "leader {id} of term {} commits entry {commit} of term {} by counting",
            view.term,
            last.term
        );
        for voters in [&view.conf_state.voters, &view.conf_state.voters_outgoing] {
            let has = |id: &&u64| durable.get(id).is_some_and(|durable| durable.holds(last));
            let count = voters.iter().filter(has).count();
            hold!(
                voters.is_empty() || count > voters.len() / 2,
                "leader {id} commits {last:?}, durable on {count} of {voters:?}"
            );
        }
        Ok(Some(last))
    }
}
