//! The raft log: the stable part in storage, the unstable end in memory, and how far it is
//! committed and applied.
//!
//! ```text
//!   compacted | stable (storage)        | unstable
//!             ^ first_index             ^ unstable.offset        ^ last_index
//!   applied <= applying <= committed <= last_index
//! ```
//!
//! `applying` is what was handed out to be applied. Committed entries never change: an append
//! that would replace one is a broken cluster, and stops the process.

mod unstable;

use crate::planted::{self, Bug};
use crate::storage::{Storage, StorageError};
pub(crate) use unstable::Unstable;

use prost::Message;
use raftpb::{Entry, Snapshot};
use tracing::debug;

/// What tells one entry from all others: two logs that hold the same id are equal up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct EntryId {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

impl EntryId {
    pub(crate) fn of(entry: &Entry) -> EntryId {
        EntryId { term: entry.term(), index: entry.index() }
    }
}

#[derive(Debug)]
pub(crate) struct RaftLog<S> {
    pub(crate) storage: S,
    pub(crate) unstable: Unstable,
    pub(crate) committed: u64,
    pub(crate) applying: u64,
    pub(crate) applied: u64,
    /// Encoded bytes that may be handed out to be applied and not be applied yet.
    pub(crate) applying_size_max: u64,
    applying_size: u64,
    /// Whether nothing is handed out until some of it is applied.
    applying_paused: bool,
}

impl<S: Storage> RaftLog<S> {
    pub(crate) fn new(storage: S, applying_size_max: u64) -> Result<RaftLog<S>, StorageError> {
        let before_first = storage.first_index()? - 1;
        let unstable = Unstable::new(storage.last_index()? + 1);
        Ok(RaftLog {
            storage,
            unstable,
            committed: before_first,
            applying: before_first,
            applied: before_first,
            applying_size_max,
            applying_size: 0,
            applying_paused: false,
        })
    }

    pub(crate) fn first_index(&self) -> u64 {
        self.unstable.first_index().unwrap_or_else(|| answer(self.storage.first_index()))
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.unstable.last_index().unwrap_or_else(|| answer(self.storage.last_index()))
    }

    pub(crate) fn last_entry_id(&self) -> EntryId {
        let index = self.last_index();
        let term = self.term(index).expect("the term of the last entry is always known");
        EntryId { term, index }
    }

    /// The term of the entry at `index`; also of the one before the first.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if let Some(term) = self.unstable.term(index) {
            return Some(term);
        }
        if index + 1 < self.first_index() || index > self.last_index() {
            return None;
        }
        known(self.storage.term(index))
    }

    pub(crate) fn matches(&self, id: EntryId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    /// Whether a log that ends with `their` may lead: it holds all that this one does, for what
    /// is committed (raft section 5.4.1).
    pub(crate) fn is_up_to_date(&self, their: EntryId) -> bool {
        let our = self.last_entry_id();
        if planted::is(Bug::VoteToShorterLog) {
            return their.term >= our.term;
        }
        (their.term, their.index) >= (our.term, our.index)
    }

    /// Appends a leader's entries after `prev`, if the log holds `prev`, and learns its commit
    /// index. Returns the last index that is now the same as the leader's.
    pub(crate) fn maybe_append(
        &mut self,
        prev: EntryId,
        entries: Vec<Entry>,
        committed: u64,
    ) -> Option<u64> {
        let blind = planted::is(Bug::AppendBlindlyAccepted) && prev.index <= self.last_index();
        if !self.matches(prev) && !blind {
            return None;
        }
        let last_new = prev.index + entries.len() as u64;
        let last = self.last_index();
        let is_new = |entry: &Entry| {
            (!self.matches(EntryId::of(entry)) || planted::is(Bug::DuplicateTruncates))
                && (entry.index() > last || !planted::is(Bug::ConflictKept))
        };
        if let Some(at) = entries.iter().position(is_new) {
            let conflict = entries[at].index();
            assert!(
                conflict > self.committed,
                "entry {conflict} conflicts with a committed entry (committed {})",
                self.committed
            );
            self.append(entries.into_iter().skip(at));
        }
        self.commit_to(committed.min(last_new));
        Some(last_new)
    }

    /// Appends entries, contiguous in themselves, replacing what is there from the first on.
    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let mut entries = entries.into_iter().peekable();
        let Some(first) = entries.peek().map(Entry::index) else { return };
        assert!(
            first > self.committed,
            "entry {first} would replace a committed one (committed {})",
            self.committed
        );
        self.unstable.truncate_and_append(entries);
    }

    /// The largest index up to `index` whose term is at most `term`, with that term: where a log
    /// that has `term` at `index` may still be the same as this one. The term is 0 if the index
    /// lies outside of the log.
    pub(crate) fn find_conflict_by_term(&self, index: u64, term: u64) -> (u64, u64) {
        for index in (1..=index).rev() {
            match self.term(index) {
                None => return (index, 0),
                Some(ours) if ours <= term => return (index, ours),
                Some(_) => {}
            }
        }
        (0, 0)
    }

    pub(crate) fn commit_to(&mut self, index: u64) {
        if index <= self.committed {
            return;
        }
        assert!(
            index <= self.last_index(),
            "commit index {index} is beyond the last entry {}: \
             was the raft log corrupted, truncated, or lost?",
            self.last_index()
        );
        self.committed = index;
    }

    /// Commits up to `at` if it is an entry of this log: a leader commits only entries of its own
    /// term by counting (raft section 5.4.2).
    pub(crate) fn maybe_commit(&mut self, at: EntryId) -> bool {
        let news = at.term != 0 && at.index > self.committed && self.matches(at);
        if news {
            self.commit_to(at.index);
        }
        news
    }

    /// The committed entries to hand out next. Unless `allow_unstable`, only those that are
    /// durable here.
    pub(crate) fn next_committed_entries(&self, allow_unstable: bool) -> Vec<Entry> {
        if !self.has_next_committed_entries(allow_unstable) {
            return Vec::new();
        }
        let high = self.appliable_index_max(allow_unstable) + 1;
        let size_max = self.applying_size_max - self.applying_size;
        self.slice(self.applying + 1, high, size_max)
            .expect("entries that are not applied are not compacted")
    }

    pub(crate) fn has_next_committed_entries(&self, allow_unstable: bool) -> bool {
        // A snapshot is applied first; what follows it waits.
        !self.applying_paused
            && self.unstable.snapshot.is_none()
            && self.applying < self.appliable_index_max(allow_unstable)
    }

    fn appliable_index_max(&self, allow_unstable: bool) -> u64 {
        let stable = if allow_unstable { u64::MAX } else { self.unstable.offset - 1 };
        self.committed.min(stable)
    }

    /// Notes that the entries up to `index`, of so many encoded bytes, were handed out.
    pub(crate) fn accept_applying(&mut self, index: u64, size: u64, allow_unstable: bool) {
        assert!(index <= self.committed, "applying {index}, committed only {}", self.committed);
        self.applying = index;
        self.applying_size += size;
        // If a size limit cut the entries short, no more follow until these are applied: else
        // a small entry might slip in where a large one did not fit, for ever.
        self.applying_paused = self.applying_size >= self.applying_size_max
            || index < self.appliable_index_max(allow_unstable);
    }

    /// Notes that the entries up to `index` are applied, of which so many encoded bytes since
    /// the last time.
    pub(crate) fn applied_to(&mut self, index: u64, size: u64) {
        assert!(
            self.applied <= index && index <= self.committed,
            "applied {index} is out of range [{}, {}]",
            self.applied,
            self.committed
        );
        self.applied = index;
        self.applying = self.applying.max(index);
        self.applying_size = self.applying_size.saturating_sub(size);
        self.applying_paused = self.applying_size >= self.applying_size_max;
    }

    /// The snapshot to send to a follower whose entries are compacted.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, StorageError> {
        match &self.unstable.snapshot {
            Some(snapshot) => Ok(snapshot.clone()),
            None => self.storage.snapshot(),
        }
    }

    pub(crate) fn restore(&mut self, snapshot: Snapshot) {
        debug!(
            index = snapshot.index(),
            term = snapshot.term(),
            "restoring the log from a snapshot"
        );
        self.committed = snapshot.index();
        self.unstable.restore(snapshot);
    }

    /// The entries from `index` on, limited by encoded size but at least one if there is one.
    /// `None` if they are compacted.
    pub(crate) fn entries(&self, index: u64, size_max: u64) -> Option<Vec<Entry>> {
        let last = self.last_index();
        if index > last { Some(Vec::new()) } else { self.slice(index, last + 1, size_max) }
    }

    /// The entries in `[low, high)`, limited likewise. `None` if they are compacted.
    pub(crate) fn slice(&self, low: u64, high: u64, size_max: u64) -> Option<Vec<Entry>> {
        assert!(
            low <= high && high <= self.last_index() + 1,
            "log entries [{low}, {high}) out of bounds, last is {}",
            self.last_index()
        );
        if low < self.first_index() {
            return None;
        }
        let offset = self.unstable.offset;
        if low >= offset {
            return Some(limit_size(self.unstable.range(low, high), size_max));
        }
        let cut = high.min(offset);
        let mut entries = known(self.storage.entries(low, cut, size_max))?;
        // If the limit was reached in storage, it is reached.
        if high <= offset || (entries.len() as u64) < cut - low {
            return Some(entries);
        }
        let mut size = encoded_size(&entries);
        for entry in self.unstable.range(offset, high) {
            size += entry.encoded_len() as u64;
            if size > size_max {
                break;
            }
            entries.push(entry.clone());
        }
        Some(entries)
    }

    /// Whether a committed entry that is not applied yet is one that `wanted` looks for.
    pub(crate) fn any_unapplied(&self, wanted: impl Fn(&Entry) -> bool) -> bool {
        let mut low = self.applied + 1;
        while low <= self.committed {
            let page = self
                .slice(low, self.committed + 1, self.applying_size_max)
                .expect("entries that are not applied are not compacted");
            if page.iter().any(&wanted) {
                return true;
            }
            low += page.len() as u64;
        }
        false
    }
}

/// As many entries as fit into `size_max` encoded bytes, but at least one.
pub(crate) fn limit_size<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    size_max: u64,
) -> Vec<Entry> {
    let mut size = 0u64;
    let fits = |entry: &&Entry| {
        let first = size == 0;
        size = size.saturating_add(entry.encoded_len() as u64);
        first || size <= size_max
    };
    entries.take_while(fits).cloned().collect()
}

/// The encoded bytes of entries, which is how their size is limited.
pub(crate) fn encoded_size(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.encoded_len() as u64).sum()
}

/// The payload bytes of entries, which is how uncommitted proposals are limited.
pub(crate) fn payload_size(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.data().len() as u64).sum()
}

/// What storage says, if it has it. A storage that fails leaves raft without a log to stand on.
fn known<T>(answer: Result<T, StorageError>) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(StorageError::Compacted | StorageError::Unavailable) => None,
        Err(error) => panic!("raft cannot go on without its log: {error}"),
    }
}

fn answer<T>(answer: Result<T, StorageError>) -> T {
    known(answer).expect("a storage knows the bounds of its log")
}

#[cfg(test)]
mod tests;
