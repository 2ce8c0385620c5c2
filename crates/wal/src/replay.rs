//! What a log says as a whole: the entries that stand after a snapshot, the last hard state.
//!
//! Semantics of etcd `wal.go: ReadAll`: entries up to the snapshot are skipped, an entry for an
//! index that is taken replaces it and drops what follows, the last hard state wins, the
//! snapshot to start from must have its record. Stricter than etcd where the log itself proves
//! the bytes wrong; each rule stands at its check.
//!
//! Three differences. A snapshot to start from is refused if a later one, committed, replaced the
//! log: etcd, when that one's file cannot be read, starts from the older one and takes entries
//! for committed that never were. An entry up to the snapshot drops what follows it too, and a snapshot that
//! came from a leader replaces the whole log, also what stands behind its index. In both cases
//! etcd brings entries back that had been replaced, behind a snapshot of a later term; the member
//! then takes its log for older than it is, and may vote for a leader that lacks what was
//! committed.

use crate::planted::{self, Bug};
use crate::scan::{Item, Scan};
use crate::{Error, Result};
use bytes::Bytes;
use raftpb::{Entry, EntryType, HardState, wal::Snapshot};

/// What a log holds from a snapshot on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// What the creator of the log wrote into the head of each segment.
    pub metadata: Bytes,
    /// The last hard state; all zero if there is none.
    pub hard_state: HardState,
    /// The entries after the snapshot, their indexes consecutive.
    pub entries: Vec<Entry>,
}

/// Reads a scan to its end.
#[derive(Debug)]
pub(crate) struct Replay {
    start: Snapshot,
    contents: Contents,
    found_start: bool,
    /// Term of the entry at the snapshot's index, if the log holds one there.
    start_entry_term: Option<u64>,
    /// Later snapshots' records, as index and term, if entries are kept.
    later: Vec<(u64, u64)>,
    keeps_entries: bool,
    /// Index of the last entry or snapshot record, for the name of the next segment.
    pub last_index: u64,
}

impl Replay {
    pub(crate) fn new(start: &Snapshot) -> Self {
        let last_index = start.index();
        Self {
            start: start.clone(),
            contents: Contents::default(),
            found_start: false,
            start_entry_term: None,
            later: Vec::new(),
            keeps_entries: false,
            last_index,
        }
    }

    /// Takes all that is left of a scan.
    ///
    /// # Errors
    /// The scan's, and corruption that shows only across records. What was read up to an error
    /// stays and [`Replay::finish`] gives it.
    pub(crate) fn read(&mut self, scan: &mut Scan<'_>) -> Result<()> {
        self.keeps_entries = true;
        self.read_with(scan, Self::take_entry)
    }

    /// As [`Replay::read`], without keeping entries or judging their order.
    pub(crate) fn read_without_entries(&mut self, scan: &mut Scan<'_>) -> Result<()> {
        self.read_with(scan, |_, _, _| Ok(()))
    }

    fn read_with(
        &mut self,
        scan: &mut Scan<'_>,
        take_entry: fn(&mut Self, Entry, &Scan<'_>) -> Result<()>,
    ) -> Result<()> {
        while let Some(item) = scan.next_item()? {
            match item {
                Item::Metadata(metadata) => self.contents.metadata = metadata,
                Item::Entry(entry) => take_entry(self, entry, scan)?,
                Item::State(state) => self.contents.hard_state = state,
                Item::Snapshot(snapshot) => self.take_snapshot(&snapshot)?,
            }
        }
        Ok(())
    }

    /// The contents.
    ///
    /// # Errors
    /// [`Error::SnapshotNotFound`]: a Go member misses this in write mode, where a later call
    /// overwrites the error. [`Error::Superseded`].
    pub(crate) fn finish(self) -> Result<Contents> {
        if !self.found_start {
            let (index, term) = (self.start.index(), self.start.term());
            return Err(Error::SnapshotNotFound { index, term });
        }
        match self.superseded_by() {
            None => Ok(self.contents),
            Some(snapshot) => Err(Error::Superseded { start: self.start.index(), snapshot }),
        }
    }

    /// The index of a committed snapshot that the log goes on from, rather than from entries it
    /// holds. What stands before it was replaced, committed or not.
    fn superseded_by(&self) -> Option<u64> {
        if !self.keeps_entries {
            return None;
        }
        let held = |index: u64| {
            let at = usize::try_from(index - self.start.index() - 1).ok()?;
            self.contents.entries.get(at).map(Entry::term)
        };
        let commit = self.contents.hard_state.commit();
        let mut later = self.later.iter().filter(|(index, _)| *index <= commit);
        later.find(|(index, term)| held(*index) != Some(*term)).map(|(index, _)| *index)
    }

    fn take_entry(&mut self, entry: Entry, scan: &Scan<'_>) -> Result<()> {
        self.last_index = entry.index();
        if entry.index() <= self.start.index() {
            let at_start = entry.index() == self.start.index();
            self.start_entry_term = at_start.then(|| entry.term());
            if !planted::is(Bug::ReplacedEntriesReturn) {
                self.contents.entries.clear();
            }
            return Ok(());
        }
        let entries = &mut self.contents.entries;
        let next = self.start.index() + 1 + entries.len() as u64;
        if entry.index() > next {
            let found = format!("entry {}", entry.index());
            return Err(scan.corrupt_item(format!("entry {next} or earlier"), found));
        }
        let at = usize::try_from(entry.index() - self.start.index() - 1)
            .expect("no more than the entries in memory");
        if let Some(old) = entries.get(at) {
            let commit = self.contents.hard_state.commit();
            check_replacement(old, &entry, commit)
                .map_err(|expected| scan.corrupt_item(expected, "another entry for its index"))?;
        }
        // Terms never fall along a log. The term to start from is the caller's word, not the
        // log's, and is compared with the snapshot's record instead.
        let before = at.checked_sub(1).map_or(0, |at| entries[at].term());
        if entry.term() < before {
            let found = format!("term {}", entry.term());
            return Err(scan.corrupt_item(format!("entry of term {before} or later"), found));
        }
        entries.truncate(at);
        entries.push(entry);
        Ok(())
    }

    fn take_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.last_index = self.last_index.max(snapshot.index());
        if snapshot.index() != self.start.index() {
            if snapshot.index() > self.start.index() {
                self.later.push((snapshot.index(), snapshot.term()));
            }
            return Ok(());
        }
        if snapshot.term() != self.start.term() {
            return Err(Error::SnapshotMismatch {
                index: snapshot.index(),
                expected: self.start.term(),
                found: snapshot.term(),
            });
        }
        // A member takes a leader's snapshot once. What says the same again later is one of its own
        // that it made before it applied anything more.
        let again = std::mem::replace(&mut self.found_start, true);
        // A snapshot of the member's own stands for entries it has. If this one's entry is not
        // here, it came from a leader, and all that was before it went with it.
        let received = self.start_entry_term != Some(snapshot.term()) && !again;
        if received && !planted::is(Bug::ReceivedSnapshotKeepsLog) {
            self.contents.entries.clear();
        }
        Ok(())
    }
}

/// Whether `new` may take the place of `old`: a committed entry is final, and one term has one
/// entry for an index. `--force-new-cluster` breaks the second rule on purpose: it puts
/// configuration changes of the current term in the place of uncommitted entries.
fn check_replacement(
    old: &Entry,
    new: &Entry,
    commit: u64,
) -> std::result::Result<(), &'static str> {
    let same_content = old.r#type() == new.r#type() && old.data() == new.data();
    if same_content && old.term() == new.term() {
        return Ok(());
    }
    if new.index() <= commit {
        return Err("the committed entry");
    }
    if old.term() == new.term() && new.r#type() != EntryType::EntryConfChange {
        return Err("the entry of this term");
    }
    Ok(())
}
