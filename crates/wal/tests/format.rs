//! The log's bytes and rules as etcd has them: creation, saving, cutting, reading, purging.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use bytes::Bytes;
use prost::Message;
use quorate_wal::{self as wal, Contents, Error, Options, Repair, Wal};
use raftpb::wal::{Metadata, Snapshot};
use raftpb::{ConfState, Entry, EntryType, HardState};
use std::path::Path;
use std::sync::Arc;
use vfs::{Fs, MemFs, OpenMode, OsFs};

const DIR: &str = "/wal";

fn small() -> Options {
    Options { segment_bytes: 1024, sync: true }
}

fn entry(term: u64, index: u64, data: &'static [u8]) -> Entry {
    Entry {
        r#type: Some(EntryType::EntryNormal.into()),
        term: Some(term),
        index: Some(index),
        data: Some(Bytes::from_static(data)),
    }
}

fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term: Some(term), vote: Some(vote), commit: Some(commit) }
}

fn snapshot(index: u64, term: u64) -> Snapshot {
    let conf_state = Some(ConfState { voters: vec![1], ..Default::default() });
    Snapshot { index: Some(index), term: Some(term), conf_state }
}

fn mem() -> Arc<MemFs> {
    Arc::new(MemFs::new())
}

fn create(fs: &Arc<MemFs>) -> Wal {
    Wal::create(Arc::clone(fs) as Arc<dyn Fs>, Path::new(DIR), b"metadata", small()).unwrap()
}

fn open(fs: &Arc<MemFs>, start: &Snapshot) -> wal::Result<(Wal, Contents)> {
    Wal::open(Arc::clone(fs) as Arc<dyn Fs>, Path::new(DIR), start, small())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn a_new_log_has_the_bytes_a_go_member_wrote() {
    let fs = mem();
    let metadata =
        Metadata { node_id: Some(0xbdae_9bbc_11dd_390d), cluster_id: Some(0xd1cf_af99_9eb9_7a2a) };
    let metadata = metadata.encode_to_vec();
    let fs_dyn: Arc<dyn Fs> = Arc::clone(&fs) as _;
    Wal::create(fs_dyn, Path::new(DIR), &metadata, Options::default()).unwrap();
    let bytes = fs.read(Path::new("/wal/0000000000000000-0000000000000000.wal")).unwrap();
    let expected = hex("0400000000000084 08041000 00000000
        1f00000000000081 080110c0eee05a1a16 088df2f48ec1f7a6d7bd01
        10aaf4e5f599f3ebe7d101 00
        0d00000000000083 080510b6f7e4581a04 08001000 000000");
    if metadata == hex("088df2f48ec1f7a6d7bd01 10aaf4e5f599f3ebe7d101") {
        assert_eq!(&bytes[..80], expected);
    } else {
        panic!("metadata bytes {metadata:02x?}");
    }
    assert_eq!(bytes.len(), 64_000_000, "the size is visible");
    assert!(bytes[80..].iter().all(|byte| *byte == 0));
    assert_eq!(fs.read_dir(Path::new("/")).unwrap(), ["wal"]);
}

#[test]
fn what_was_saved_is_read_after_reopening_on_the_real_disk() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("member/wal");
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let mut wal = Wal::create(Arc::clone(&fs), &dir, b"m", small()).unwrap();
    let start = Snapshot::default();
    let locked = Wal::open(Arc::clone(&fs), &dir, &start, small()).unwrap_err();
    assert!(matches!(locked, Error::Locked { .. }), "{locked}");
    let mut entries = Vec::new();
    for index in 1..=100 {
        entries.push(entry(1, index, b"some payload of a proposal"));
        wal.save(&state(1, 7, index - 1), &entries[entries.len() - 1..]).unwrap();
    }
    wal.close().unwrap();
    let contents = wal::read_all(&*fs, &dir, &start).unwrap();
    assert_eq!(contents.entries, entries);
    assert_eq!(contents.hard_state, state(1, 7, 99));
    let (mut wal, reopened) = Wal::open(Arc::clone(&fs), &dir, &start, small()).unwrap();
    assert_eq!(reopened, contents);
    wal.save(&HardState::default(), &[entry(2, 101, b"")]).unwrap();
    drop(wal);
    assert_eq!(wal::verify(&*fs, &dir, &start).unwrap(), state(1, 7, 99));
    assert_eq!(wal::read_all(&*fs, &dir, &start).unwrap().entries.len(), 101);
    assert!(fs.read_dir(&dir).unwrap().len() > 4, "several segments");
}

#[test]
fn later_entries_replace_earlier_ones_and_reading_starts_at_a_snapshot() {
    let fs = mem();
    let mut wal = create(&fs);
    let first: Vec<_> = (1..=5).map(|index| entry(1, index, b"old")).collect();
    wal.save(&state(1, 1, 2), &first).unwrap();
    wal.save(&state(2, 1, 2), &[entry(2, 4, b"new")]).unwrap();
    wal.save_snapshot(&snapshot(2, 1)).unwrap();
    wal.save_snapshot(&snapshot(4, 2)).unwrap();
    drop(wal);

    let contents = wal::read_all(&*fs, Path::new(DIR), &Snapshot::default()).unwrap();
    let mut expected = first[..3].to_vec();
    expected.push(entry(2, 4, b"new"));
    assert_eq!(contents.entries, expected);
    let from_two = wal::read_all(&*fs, Path::new(DIR), &snapshot(2, 1)).unwrap();
    assert_eq!(from_two.entries, expected[2..]);

    let valid = wal::valid_snapshot_entries(&*fs, Path::new(DIR)).unwrap();
    let indexes: Vec<_> = valid.iter().map(Snapshot::index).collect();
    assert_eq!(indexes, [0, 2], "a snapshot ahead of the commit index does not count");
    let other_term = open(&fs, &snapshot(2, 9)).unwrap_err();
    assert!(matches!(other_term, Error::SnapshotMismatch { index: 2, expected: 9, found: 1 }));
    let unknown = open(&fs, &snapshot(3, 1)).unwrap_err();
    assert!(matches!(unknown, Error::SnapshotNotFound { index: 3, term: 1 }));

    // After a snapshot from a leader the log leaves a gap, which only a later start skips.
    let mut wal = open(&fs, &snapshot(2, 1)).unwrap().0;
    wal.save_snapshot(&snapshot(20, 2)).unwrap();
    wal.save(&state(2, 1, 20), &[entry(2, 21, b"on")]).unwrap();
    drop(wal);
    assert_eq!(open(&fs, &snapshot(20, 2)).unwrap().1.entries, [entry(2, 21, b"on")]);
    assert_eq!(wal::verify(&*fs, Path::new(DIR), &snapshot(2, 1)).unwrap(), state(2, 1, 20));
    assert!(matches!(open(&fs, &snapshot(2, 1)), Err(Error::Corrupt { .. })));
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let fs = mem();
    let mut wal = create(&fs);
    let change = Entry { r#type: Some(EntryType::EntryConfChange.into()), ..entry(1, 1, b"") };
    let refused = [entry(0, 1, b""), entry(1, 0, b""), change];
    for entry in refused {
        let error = wal.save(&HardState::default(), &[entry]).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }));
    }
    wal.save(&state(3, 0, 0), &[]).unwrap();
    assert!(matches!(wal.save(&state(2, 0, 0), &[]), Err(Error::Invalid { .. })));
    let bare = Snapshot { conf_state: None, ..snapshot(1, 1) };
    assert!(matches!(wal.save_snapshot(&bare), Err(Error::Invalid { .. })));
    drop(wal);
    assert_eq!(open(&fs, &Snapshot::default()).unwrap().1.hard_state, state(3, 0, 0));
}

#[test]
fn forced_configuration_changes_may_replace_entries_of_their_own_term() {
    let fs = mem();
    let mut wal = create(&fs);
    wal.save(&state(1, 1, 1), &[entry(1, 1, b"a"), entry(1, 2, b"b")]).unwrap();
    let kind = Some(EntryType::EntryConfChange.into());
    let forced = Entry { r#type: kind, ..entry(1, 2, b"\x08\x01") };
    wal.save(&HardState::default(), std::slice::from_ref(&forced)).unwrap();
    drop(wal);
    let (mut wal, contents) = open(&fs, &Snapshot::default()).unwrap();
    assert_eq!(contents.entries[1], forced);
    wal.save(&HardState::default(), &[entry(1, 2, b"c")]).unwrap();
    drop(wal);
    assert!(matches!(open(&fs, &Snapshot::default()), Err(Error::Corrupt { .. })));
}

#[test]
fn segments_are_released_and_purged_up_to_the_first_locked() {
    let fs = mem();
    let mut wal = create(&fs);
    for index in 1..=6 {
        wal.save(&state(1, 1, index), &[entry(1, index, b"x")]).unwrap();
        wal.cut().unwrap();
    }
    assert_eq!(wal::purge(&*fs, Path::new(DIR), 2).unwrap(), Vec::<std::path::PathBuf>::new());
    // Segments begin at 0, 2, 3, 4, 5, 6, 7: reading from 4 needs the one that begins at 3.
    wal.release_lock_to(4);
    let purged = wal::purge(&*fs, Path::new(DIR), 2).unwrap();
    assert_eq!(purged.len(), 2, "{purged:?}");
    let left = fs.read_dir(Path::new(DIR)).unwrap();
    assert_eq!(left[0], "0000000000000002-0000000000000003.wal");
    let gone = open(&fs, &Snapshot::default()).unwrap_err();
    assert!(matches!(gone, Error::NoSegment { index: 0, .. }));
    drop(wal);
    fs.remove(&Path::new(DIR).join(&left[1])).unwrap();
    let missing = wal::valid_snapshot_entries(&*fs, Path::new(DIR)).unwrap_err();
    assert!(matches!(missing, Error::MissingSegment { expected: 3, found: 4, .. }));
}

#[test]
fn creating_replaces_leftovers_and_never_a_log() {
    let fs = mem();
    fs.create_dir_all(Path::new("/wal.tmp")).unwrap();
    fs.open(Path::new("/wal.tmp/junk"), OpenMode::CreateNew).unwrap();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    drop(create(&fs));
    assert_eq!(fs.read_dir(Path::new("/")).unwrap(), ["wal"]);
    let again = Wal::create(Arc::clone(&fs) as Arc<dyn Fs>, Path::new(DIR), b"m", small());
    assert!(matches!(again, Err(Error::Exists { .. })));
    assert_eq!(wal::repair(&*fs, Path::new(DIR)).unwrap(), Repair::Clean);
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for nth in 1..=2 {
        let fs = mem();
        let mut wal = create(&fs);
        fs.fail_nth(nth);
        let first = wal.save(&state(1, 1, 0), &[entry(1, 1, b"x")]).unwrap_err();
        let operations = fs.operations();
        let later = [
            wal.save(&state(1, 1, 0), &[entry(1, 1, b"x")]).unwrap_err(),
            wal.save_snapshot(&snapshot(1, 1)).unwrap_err(),
            wal.sync().unwrap_err(),
            wal.cut().unwrap_err(),
        ];
        assert!(later.iter().all(|error| error.to_string() == first.to_string()));
        assert_eq!(fs.operations(), operations, "the disk is left alone");
    }
}

#[test]
fn a_received_snapshot_replaces_entries_behind_it_and_one_of_the_members_own_does_not() {
    let check = |term: u64, want: &[u64]| {
        let fs = mem();
        let mut wal = create(&fs);
        let entries: Vec<_> = (1..=5).map(|index| entry(1, index, b"x")).collect();
        wal.save(&state(1, 1, 2), &entries).unwrap();
        wal.save_snapshot(&snapshot(3, term)).unwrap();
        wal.save(&state(term, 0, 3), &[]).unwrap();
        wal.close().unwrap();
        let (_, contents) = open(&fs, &snapshot(3, term)).unwrap();
        let indexes: Vec<u64> = contents.entries.iter().map(Entry::index).collect();
        assert_eq!(indexes, want, "snapshot of term {term}");
    };
    check(1, &[4, 5]);
    check(2, &[]);
}

#[test]
fn an_entry_up_to_the_snapshot_drops_what_followed_it_before() {
    let fs = mem();
    let mut wal = create(&fs);
    let entries: Vec<_> = (1..=5).map(|index| entry(1, index, b"x")).collect();
    wal.save(&state(1, 1, 2), &entries).unwrap();
    wal.save(&state(2, 0, 3), &[entry(2, 3, b"y")]).unwrap();
    wal.save_snapshot(&snapshot(3, 2)).unwrap();
    wal.close().unwrap();
    let (_, contents) = open(&fs, &snapshot(3, 2)).unwrap();
    assert_eq!(contents.entries, []);
}

#[test]
fn a_log_is_not_read_from_before_a_snapshot_that_replaced_it() {
    let fs = mem();
    let mut wal = create(&fs);
    let entries: Vec<_> = (1..=5).map(|index| entry(1, index, b"x")).collect();
    wal.save(&state(1, 1, 2), &entries).unwrap();
    wal.save_snapshot(&snapshot(3, 2)).unwrap();
    // Until it is committed it counts for nothing.
    let read = wal::read_all(&*fs, Path::new(DIR), &Snapshot::default()).unwrap();
    assert_eq!(read.entries.len(), 5);
    wal.save(&state(2, 0, 3), &[]).unwrap();
    wal.save(&state(2, 0, 4), &[entry(2, 4, b"y")]).unwrap();
    wal.close().unwrap();
    let error = open(&fs, &Snapshot::default()).unwrap_err();
    assert!(matches!(error, Error::Superseded { start: 0, snapshot: 3 }), "{error}");
    let (_, contents) = open(&fs, &snapshot(3, 2)).unwrap();
    assert_eq!(contents.entries, [entry(2, 4, b"y")]);
}

#[test]
fn a_received_snapshot_that_is_recorded_again_keeps_the_log_behind_it() {
    let fs = mem();
    let mut wal = create(&fs);
    wal.save(&state(1, 1, 1), &[entry(1, 1, b"x")]).unwrap();
    wal.save_snapshot(&snapshot(3, 2)).unwrap();
    wal.save(&state(2, 0, 3), &[]).unwrap();
    wal.save(&state(2, 0, 4), &[entry(2, 4, b"y")]).unwrap();
    wal.save_snapshot(&snapshot(3, 2)).unwrap();
    wal.close().unwrap();
    let (_, contents) = open(&fs, &snapshot(3, 2)).unwrap();
    assert_eq!(contents.entries, [entry(2, 4, b"y")]);
}
