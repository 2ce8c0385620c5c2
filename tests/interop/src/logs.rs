//! The logs of members, real and ours, read from their directories and held against each other.

use raftpb::Entry;
use std::collections::BTreeMap;
use std::path::Path;
use vfs::OsFs;

/// The entries of one log by index, from after its start on.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Index of the snapshot that the entries follow; 0 for none.
    pub start: u64,
    /// Index of the last entry known to be committed.
    pub commit: u64,
    /// The entries, by index.
    pub entries: BTreeMap<u64, Entry>,
}

/// Reads the log of a member that may run. One that a leader sent a snapshot to holds entries
/// only from there on; any other is read from its beginning.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn read_log(data_dir: &Path) -> Log {
    let dir = data_dir.join("member/wal");
    let records = wal::valid_snapshot_entries(&OsFs, &dir).expect("a log");
    let mut log = None;
    for record in &records {
        // After a snapshot from a leader earlier starts meet a gap.
        if let Ok(contents) = wal::read_all(&OsFs, &dir, record) {
            log = Some((record.index(), contents));
            break;
        }
    }
    let (start, contents) = log.expect("a log can be read from its newest snapshot");
    let commit = contents.hard_state.commit();
    let entries = contents.entries.into_iter().map(|entry| (entry.index(), entry)).collect();
    Log { start, commit, entries }
}

impl Log {
    /// Asserts that both hold the same committed entries wherever both have them: term, type and
    /// data. Gives how many.
    ///
    /// # Panics
    /// If they do not.
    pub fn agrees_with(&self, other: &Log) -> u64 {
        let commit = self.commit.min(other.commit);
        let mut same = 0;
        for (index, entry) in self.entries.range(..=commit) {
            let Some(others) = other.entries.get(index) else { continue };
            let parts = |entry: &Entry| (entry.term(), entry.r#type(), entry.data().to_vec());
            assert_eq!(parts(entry), parts(others), "entry {index}");
            same += 1;
        }
        same
    }
}
