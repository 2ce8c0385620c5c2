//! What a node has promised to find again after a crash, kept beside its disk by the rules of
//! raft rather than by the log's code: the judge of every restart.
//!
//! A restart must find the promised state, or one that writes on their way at the crash lead to:
//! each record of those may have arrived or not, in order.

use raftpb::{Entry, HardState, Message, Snapshot};
use std::collections::VecDeque;

/// One piece of work for the log: what [`raftpb::MessageType::MsgStorageAppend`] asks for, or a
/// snapshot of the node's own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    /// A snapshot from the leader, or with `own` the node's own.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) own: bool,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: HardState,
    /// Messages that may leave once it is durable.
    pub(crate) responses: Vec<Message>,
}

impl Work {
    /// The rest of it, if the snapshot is the node's own and lost.
    pub(crate) fn without_own_snapshot(&self) -> Self {
        Self { snapshot: self.snapshot.clone().filter(|_| !self.own), ..self.clone() }
    }
}

/// An entry's index and term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) term: u64,
    pub(crate) vote: u64,
    /// Written; only `commit_synced` of it is promised.
    pub(crate) commit: u64,
    pub(crate) commit_synced: u64,
    pub(crate) snapshot: Id,
    /// Terms of the entries after the snapshot.
    terms: VecDeque<u64>,
}

impl Durable {
    /// What was found on a disk.
    pub(crate) fn found(state: &HardState, snapshot: Id, entries: &[Entry]) -> Self {
        Self {
            term: state.term(),
            vote: state.vote(),
            commit: state.commit(),
            commit_synced: state.commit(),
            snapshot,
            terms: entries.iter().map(Entry::term).collect(),
        }
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.snapshot.index + self.terms.len() as u64
    }

    /// Whether the entry is here, or so old that the snapshot stands for it.
    pub(crate) fn holds(&self, id: Id) -> bool {
        match id.index.checked_sub(self.snapshot.index) {
            None => true,
            Some(0) => self.snapshot.term == id.term,
            Some(past) => {
                let at = usize::try_from(past - 1).expect("logs fit into memory");
                self.terms.get(at) == Some(&id.term)
            }
        }
    }

    /// Lets `snapshot` stand for the log up to it, if that holds it.
    pub(crate) fn trim(&mut self, snapshot: Id) {
        if snapshot.index > self.snapshot.index && self.holds(snapshot) {
            let covered = usize::try_from(snapshot.index - self.snapshot.index).expect("in memory");
            self.terms.drain(..covered);
            self.snapshot = snapshot;
        }
    }

    /// Notes work that was done and acknowledged. Returns whether it replaced entries.
    pub(crate) fn done(&mut self, work: &Work) -> bool {
        let voted = self.voted(&work.hard_state);
        let mut replaced = false;
        self.take_snapshot(work);
        for entry in &work.entries {
            replaced |= self.take_entry(entry);
        }
        self.take_state(&work.hard_state);
        if work.snapshot.is_some() || !work.entries.is_empty() || voted {
            self.commit_synced = self.commit;
        }
        replaced
    }

    /// Whether `found` is this state, or one on the way through `works`.
    pub(crate) fn leads_to(&self, works: &[Work], found: &Durable) -> bool {
        let mut state = self.clone();
        if state.matches(found) {
            return true;
        }
        for work in works {
            // A snapshot from a leader counts with a hard state that commits it.
            state.take_snapshot(work);
            if let Some(snapshot) = work.snapshot.as_ref().filter(|_| !work.own) {
                let commit = Some(snapshot.index());
                state.take_state(&HardState { commit, ..work.hard_state });
            }
            if state.matches(found) {
                return true;
            }
            for entry in &work.entries {
                state.take_entry(entry);
                if state.matches(found) {
                    return true;
                }
            }
            state.take_state(&work.hard_state);
            if state.matches(found) {
                return true;
            }
        }
        false
    }

    fn matches(&self, found: &Durable) -> bool {
        if self.snapshot.index < found.snapshot.index && found.snapshot.index <= self.commit {
            // One whose storing was cut short, and that counts since its entry came otherwise.
            let mut state = self.clone();
            state.trim(found.snapshot);
            return state.snapshot == found.snapshot && state.matches(found);
        }
        (self.term, self.vote, self.snapshot) == (found.term, found.vote, found.snapshot)
            && (self.commit_synced..=self.commit).contains(&found.commit)
            && self.terms == found.terms
    }

    fn voted(&self, state: &HardState) -> bool {
        !state.is_empty() && (state.term(), state.vote()) != (self.term, self.vote)
    }

    fn take_state(&mut self, state: &HardState) {
        if !state.is_empty() {
            (self.term, self.vote, self.commit) = (state.term(), state.vote(), state.commit());
        }
    }

    fn take_snapshot(&mut self, work: &Work) {
        let Some(snapshot) = &work.snapshot else { return };
        let id = Id { index: snapshot.index(), term: snapshot.term() };
        if id.index <= self.snapshot.index {
            return;
        }
        if work.own {
            let covered = usize::try_from(id.index - self.snapshot.index).expect("in memory");
            self.terms.drain(..covered.min(self.terms.len()));
        } else {
            self.terms.clear();
        }
        self.snapshot = id;
    }

    fn take_entry(&mut self, entry: &Entry) -> bool {
        let Some(past) = entry.index().checked_sub(self.snapshot.index + 1) else { return false };
        let at = usize::try_from(past).expect("logs fit into memory");
        let replaced = at < self.terms.len();
        self.terms.truncate(at);
        self.terms.push_back(entry.term());
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(ids: &[(u64, u64)]) -> Vec<Entry> {
        let entry =
            |&(index, term)| Entry { index: Some(index), term: Some(term), ..Entry::default() };
        ids.iter().map(entry).collect()
    }

    fn state(term: u64, vote: u64, commit: u64) -> HardState {
        HardState { term: Some(term), vote: Some(vote), commit: Some(commit) }
    }

    #[test]
    fn a_restart_finds_what_was_promised_and_any_prefix_of_what_was_on_its_way() {
        let mut durable = Durable::default();
        let first = entries(&[(1, 1), (2, 1), (3, 1)]);
        durable.done(&Work { entries: first, hard_state: state(1, 2, 1), ..Work::default() });
        let replacing = entries(&[(2, 2), (3, 2)]);
        let works = [Work { entries: replacing, hard_state: state(2, 0, 1), ..Work::default() }];
        let check = |state: HardState, ids: &[(u64, u64)], want: bool| {
            let found = Durable::found(&state, Id::default(), &entries(ids));
            assert_eq!(durable.leads_to(&works, &found), want, "{found:?}");
        };
        check(state(1, 2, 1), &[(1, 1), (2, 1), (3, 1)], true);
        check(state(1, 2, 1), &[(1, 1), (2, 2)], true);
        check(state(1, 2, 1), &[(1, 1), (2, 2), (3, 2)], true);
        check(state(2, 0, 1), &[(1, 1), (2, 2), (3, 2)], true);
        check(state(1, 2, 1), &[(1, 1), (2, 1)], false);
        check(state(1, 0, 1), &[(1, 1), (2, 1), (3, 1)], false);
        check(state(1, 2, 0), &[(1, 1), (2, 1), (3, 1)], false);
        check(state(2, 0, 1), &[(1, 1), (2, 2)], false);
    }

    #[test]
    fn only_a_commit_index_that_was_synced_is_promised() {
        let mut durable = Durable::default();
        let first = entries(&[(1, 1)]);
        durable.done(&Work { entries: first, hard_state: state(1, 1, 0), ..Work::default() });
        durable.done(&Work { hard_state: state(1, 1, 1), ..Work::default() });
        for commit in [0, 1] {
            let found = Durable::found(&state(1, 1, commit), Id::default(), &entries(&[(1, 1)]));
            assert!(durable.leads_to(&[], &found));
        }
    }
}
