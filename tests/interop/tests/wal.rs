//! A data directory that a real etcd wrote, restarted and killed, is read completely by our log
//! and snapshot readers; and the real etcd starts on one our log appended to.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use interop::Member;
use quorate_interop as interop;
use raftpb::wal::{Metadata, Snapshot};
use raftpb::{ConfState, Entry, EntryType};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vfs::{Fs, OsFs};
use wal::snap::Snapshotter;
use wal::{Contents, Options, Wal};

const SMALL_PUTS: u64 = 3000;
const LARGE_PUTS: u64 = 70;
const LARGE_BYTES: usize = 1_000_000;

/// The one field of an `InternalRaftRequest` this test looks for.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, optional, tag = "4")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "bytes", tag = "2")]
    value: bytes::Bytes,
}

/// The value of the n-th put: small, and every so often large enough to fill segments.
fn value(n: u64) -> Vec<u8> {
    let every = (SMALL_PUTS + LARGE_PUTS) / LARGE_PUTS;
    if n.is_multiple_of(every) {
        vec![u8::try_from(n % 251).expect("below 251"); LARGE_BYTES]
    } else {
        format!("value of put {n}").into_bytes()
    }
}

fn key(n: u64) -> Vec<u8> {
    format!("key/{n:08}").into_bytes()
}

#[test]
fn a_real_members_directory_is_read_and_handed_back() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("m.etcd");
    let puts = SMALL_PUTS + LARGE_PUTS;
    // With `--unsafe-no-fsync` it would keep the last records in its own memory, and a kill would
    // lose what it had acknowledged.
    let flags = ["--snapshot-count=500"];
    let put_range = |member: &Member, range: std::ops::Range<u64>| {
        range.for_each(|n| member.put(&key(n), &value(n)));
    };
    let member = Member::start(&data, &flags);
    put_range(&member, 0..puts / 3);
    member.stop();
    let member = Member::start(&data, &flags);
    put_range(&member, puts / 3..puts * 2 / 3);
    member.kill();
    let member = Member::start(&data, &flags);
    put_range(&member, puts * 2 / 3..puts);
    let raft_index = member.raft_index();
    member.kill();

    let wal_dir = data.join("member/wal");
    let contents = read_completely(&wal_dir, puts, raft_index);
    let snapshots = check_snapshots(&data, &contents);
    let (segments, bytes) = sizes(&wal_dir);
    assert!(segments >= 2, "the log was cut");
    append_and_hand_back(&data, &contents, puts);
    testkit::figures::note(
        "interop-etcd-3.5.1",
        format!(
            "{} entries in {segments} segments of {bytes} bytes, {puts} puts, {snapshots} \
             snapshot files; booted again on what we appended",
            contents.entries.len()
        ),
    );
}

/// Reads from the very beginning: entries, puts in order, the last index.
fn read_completely(wal_dir: &Path, puts: u64, raft_index: u64) -> Contents {
    let contents = wal::read_all(&OsFs, wal_dir, &Snapshot::default()).unwrap();
    let metadata: Metadata = prost::Message::decode(contents.metadata.clone()).unwrap();
    assert!(metadata.node_id() != 0 && metadata.cluster_id() != 0);
    for (i, entry) in contents.entries.iter().enumerate() {
        assert_eq!(entry.index(), i as u64 + 1, "indexes are consecutive");
    }
    let seen: Vec<Put> = contents.entries.iter().filter_map(put_of).collect();
    assert_eq!(seen.len() as u64, puts);
    for (n, put) in (0..).zip(&seen) {
        assert_eq!(put.key, key(n));
        assert_eq!(put.value, value(n), "value of put {n}");
    }
    let last = contents.entries.last().unwrap();
    assert_eq!(last.index(), raft_index, "the last index the member told");
    let state = &contents.hard_state;
    assert!(state.commit() >= raft_index - 1 && state.commit() <= raft_index, "{state:?}");
    assert_eq!((state.term(), state.vote()), (last.term(), metadata.node_id()));
    contents
}

fn put_of(entry: &Entry) -> Option<Put> {
    if entry.r#type() != EntryType::EntryNormal {
        return None;
    }
    match <Request as prost::Message>::decode(entry.data()) {
        Ok(request) => request.put,
        // A 3.5 member still publishes itself and the cluster version in the older form.
        Err(_) => {
            let older = entry.data().windows(3).any(|part| part == b"/0/");
            assert!(older, "entry {} is no request", entry.index());
            None
        }
    }
}

/// Each snapshot file agrees with its record, and reading from each gives the same end.
fn check_snapshots(data: &Path, contents: &Contents) -> usize {
    let wal_dir = data.join("member/wal");
    let records = wal::valid_snapshot_entries(&OsFs, &wal_dir).unwrap();
    assert_eq!(records.first().map(|record| record.index.unwrap_or_default()), Some(0));
    let snapshotter = Snapshotter::new(Arc::new(OsFs), &data.join("member/snap"));
    let mut files = 0;
    for record in &records[1..] {
        assert_eq!(record.conf_state.as_ref().map(|conf: &ConfState| conf.voters.len()), Some(1));
        let Ok(snapshot) = snapshotter.load_newest_available(std::slice::from_ref(record)) else {
            continue;
        };
        files += 1;
        assert_eq!(snapshot.metadata.unwrap().conf_state, record.conf_state);
        assert_eq!(wal::verify(&OsFs, &wal_dir, record).unwrap(), contents.hard_state);
        let rest = wal::read_all(&OsFs, &wal_dir, record).unwrap();
        let after = usize::try_from(record.index()).unwrap();
        assert_eq!(rest.entries, contents.entries[after..]);
    }
    let newest = snapshotter.load_newest_available(&records).unwrap();
    assert_eq!(newest.metadata.unwrap().index(), records.last().unwrap().index());
    assert!(files >= 2, "snapshots were taken");
    files
}

/// Opens for writing, saves the hard state again and lets the real member start on it.
fn append_and_hand_back(data: &Path, contents: &Contents, puts: u64) {
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let wal_dir = data.join("member/wal");
    let records = wal::valid_snapshot_entries(&*fs, &wal_dir).unwrap();
    let start = records.last().unwrap();
    let (mut wal, rest) = Wal::open(fs, &wal_dir, start, Options::default()).unwrap();
    assert_eq!(rest.hard_state, contents.hard_state);
    wal.save(&rest.hard_state, &[]).unwrap();
    wal.cut().unwrap();
    wal.save(&rest.hard_state, &[]).unwrap();
    wal.close().unwrap();

    let member = Member::start(data, &["--unsafe-no-fsync"]);
    assert_eq!(member.key_count(), puts);
    member.put(&key(puts), b"after");
    let raft_index = member.raft_index();
    member.stop();
    let after = wal::read_all(&OsFs, &wal_dir, start).unwrap();
    assert_eq!(after.entries.last().unwrap().index(), raft_index);
    assert_eq!(after.entries.iter().rev().find_map(put_of).unwrap().key, key(puts));
}

/// Segments in a log and the bytes in them.
fn sizes(wal_dir: &Path) -> (usize, u64) {
    let names = OsFs.read_dir(wal_dir).unwrap();
    let paths: Vec<PathBuf> =
        names.iter().filter(|name| name.ends_with(".wal")).map(|name| wal_dir.join(name)).collect();
    let bytes = paths.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    (paths.len(), bytes)
}
