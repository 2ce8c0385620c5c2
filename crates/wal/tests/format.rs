//! The log's bytes and rules as etcd has them: creation, saving, cutting, reading, purging.

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
