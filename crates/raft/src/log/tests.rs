//! The log's bounds and conflicts, against small hand-made logs.

use super::*;
use crate::memory_storage::MemoryStorage;

fn entry(index: u64, term: u64) -> Entry {
    Entry { index: Some(index), term: Some(term), ..Entry::default() }
}

/// A log whose entries up to `stable` are in storage and the others are not. Entry `i` (from 1)
/// has the i-th of `terms`.
fn log(terms: &[u64], stable: usize) -> RaftLog<MemoryStorage> {
    let entries: Vec<Entry> = terms.iter().zip(1..).map(|(term, i)| entry(i, *term)).collect();
    let mut storage = MemoryStorage::new();
    storage.append(&entries[..stable]);
    let mut log = RaftLog::new(storage, u64::MAX).expect("memory does not fail");
    log.append(entries[stable..].iter().cloned());
    log
}

#[test]
fn an_append_matches_conflicts_or_is_rejected() {
    let check = |prev: (u64, u64), new: &[(u64, u64)], commit, want: Option<(u64, u64, u64)>| {
        let mut log = log(&[1, 2, 3], 2);
        log.commit_to(1);
        let prev = EntryId { term: prev.1, index: prev.0 };
        let entries = new.iter().map(|(index, term)| entry(*index, *term)).collect();
        let last_new = log.maybe_append(prev, entries, commit);
        assert_eq!(last_new.map(|last| (last, log.last_index(), log.committed)), want);
    };
    check((3, 3), &[(4, 4)], 1, Some((4, 4, 1)));
    check((3, 3), &[(4, 4)], 4, Some((4, 4, 4)));
    check((3, 3), &[], 9, Some((3, 3, 3))); // commits only what is known to match
    check((1, 1), &[], 3, Some((1, 3, 1)));
    check((1, 1), &[(2, 4)], 2, Some((2, 2, 2))); // replaces 2 and drops 3
    check((0, 0), &[(1, 1), (2, 2), (3, 3)], 2, Some((3, 3, 2)));
    check((3, 2), &[(4, 4)], 3, None);
    check((4, 4), &[(5, 4)], 3, None);
}

#[test]
#[should_panic = "conflicts with a committed entry"]
fn a_committed_entry_is_never_replaced() {
    let mut log = log(&[1, 2, 3], 3);
    log.commit_to(2);
    log.maybe_append(EntryId { term: 1, index: 1 }, vec![entry(2, 5)], 2);
}

#[test]
fn the_conflict_hint_skips_terms() {
    let log = log(&[2, 2, 5, 5, 5], 3);
    let hint = |index, term| log.find_conflict_by_term(index, term);
    assert_eq!(hint(100, 2), (100, 0)); // beyond the log
    assert_eq!(hint(5, 6), (5, 5));
    assert_eq!(hint(5, 4), (2, 2));
    assert_eq!(hint(5, 2), (2, 2));
    assert_eq!(hint(5, 1), (0, 0));
}

#[test]
fn slices_cross_from_storage_into_memory_and_obey_the_limit() {
    for stable in 0..=5 {
        let log = log(&[1, 1, 1, 1, 1], stable);
        let size = entry(1, 1).encoded_len() as u64;
        for limit in 0..6 {
            let indexes: Vec<u64> = log
                .slice(2, 6, limit * size)
                .expect("not compacted")
                .iter()
                .map(Entry::index)
                .collect();
            let want = limit.clamp(1, 4);
            assert_eq!(indexes, (2..2 + want).collect::<Vec<_>>(), "stable {stable}");
        }
    }
}

#[test]
fn only_stable_entries_are_handed_out_unless_allowed() {
    let mut log = log(&[1, 1, 1], 1);
    log.commit_to(2);
    assert_eq!(log.next_committed_entries(false).len(), 1);
    assert_eq!(log.next_committed_entries(true).len(), 2);
    log.accept_applying(2, 8, true);
    log.applied_to(2, 8);
    assert!(!log.has_next_committed_entries(true));
    // The local write is done after the apply: nothing is handed out twice.
    log.unstable.accept_in_progress();
    log.unstable.stable_to(EntryId { term: 1, index: 3 });
    log.storage.append(&[entry(2, 1), entry(3, 1)]);
    assert!(!log.has_next_committed_entries(true));
    assert_eq!((log.applied, log.unstable.offset), (2, 4));
}

#[test]
fn a_late_write_of_replaced_entries_stabilises_nothing() {
    let mut log = log(&[1, 1, 1], 0);
    log.unstable.accept_in_progress();
    log.append([entry(2, 2)]);
    log.unstable.stable_to(EntryId { term: 1, index: 3 });
    assert_eq!(log.unstable.offset, 1);
    log.unstable.stable_to(EntryId { term: 1, index: 1 });
    assert_eq!(log.unstable.offset, 2);
    assert_eq!(log.unstable.next_entries(), [entry(2, 2)]);
}
