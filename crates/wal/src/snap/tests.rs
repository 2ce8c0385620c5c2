//! Snapshot files against every truncation and every flipped bit, and the directory's rules.

use super::*;
use bytes::Bytes;
use vfs::MemFs;

fn snapshot(term: u64, index: u64) -> raftpb::Snapshot {
    let conf_state = raftpb::ConfState { voters: vec![1, 2, 3], ..Default::default() };
    raftpb::Snapshot {
        data: Some(Bytes::from_static(b"{\"Root\":{\"Path\":\"/\"}}")),
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(conf_state),
            index: Some(index),
            term: Some(term),
        }),
    }
}

fn record(term: u64, index: u64) -> raftpb::wal::Snapshot {
    raftpb::wal::Snapshot { term: Some(term), index: Some(index), conf_state: None }
}

fn snapshotter() -> (Arc<MemFs>, Snapshotter) {
    let fs = Arc::new(MemFs::new());
    fs.create_dir_all(Path::new("/snap")).unwrap();
    let snapshotter = Snapshotter::new(Arc::clone(&fs) as Arc<dyn Fs>, Path::new("/snap"));
    (fs, snapshotter)
}

#[test]
fn the_newest_snapshot_with_a_record_is_loaded() {
    let (fs, snapshotter) = snapshotter();
    assert!(matches!(snapshotter.load(), Err(Error::NoSnapshot { .. })));
    snapshotter.save_snap(&snapshot(0, 0)).unwrap();
    for (term, index) in [(1, 1), (1, 0x20), (2, 0x1f), (10, 2)] {
        snapshotter.save_snap(&snapshot(term, index)).unwrap();
    }
    fs.open(Path::new("/snap/readme.snap"), OpenMode::CreateNew).unwrap();
    assert_eq!(snapshotter.load().unwrap(), snapshot(10, 2), "terms sort as numbers");
    let records = [record(1, 1), record(1, 0x20)];
    assert_eq!(snapshotter.load_newest_available(&records).unwrap(), snapshot(1, 0x20));
    let none = snapshotter.load_newest_available(&[record(3, 3)]);
    assert!(matches!(none, Err(Error::NoSnapshot { .. })));
    assert_eq!(
        fs.read_dir(Path::new("/snap")).unwrap(),
        [
            "0000000000000001-0000000000000001.snap",
            "0000000000000001-0000000000000020.snap",
            "0000000000000002-000000000000001f.snap",
            "000000000000000a-0000000000000002.snap",
            "readme.snap",
        ]
    );
    // A database is not counted: it may be yet to be taken in.
    fs.open(Path::new("/snap/0000000000000009.snap.db"), OpenMode::CreateNew).unwrap();
    snapshotter.purge(1).unwrap();
    assert_eq!(
        fs.read_dir(Path::new("/snap")).unwrap(),
        ["0000000000000009.snap.db", "000000000000000a-0000000000000002.snap", "readme.snap"]
    );
}

#[test]
fn a_saved_snapshot_survives_every_crash() {
    let (fs, snapshotter) = snapshotter();
    snapshotter.save_snap(&snapshot(1, 5)).unwrap();
    for seed in 0..50 {
        let crashed = Arc::new(fs.crash(seed));
        let after = Snapshotter::new(crashed, Path::new("/snap"));
        assert_eq!(after.load().unwrap(), snapshot(1, 5));
    }
}

#[test]
fn every_truncation_and_bit_flip_is_reported() {
    let (fs, snapshotter) = snapshotter();
    snapshotter.save_snap(&snapshot(1, 5)).unwrap();
    let path = Path::new("/snap/0000000000000001-0000000000000005.snap");
    let good = fs.read(path).unwrap();
    let corrupt = |bytes: &[u8], what: String| {
        let file = fs.open(path, OpenMode::Truncate).unwrap();
        file.write_at(bytes, 0).unwrap();
        match read(&*fs, path) {
            Err(Error::Corrupt { path: of, .. }) if of == path => {}
            other => panic!("{what}: {other:?}"),
        }
    };
    for len in 0..good.len() {
        corrupt(&good[..len], format!("cut at {len}"));
    }
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        corrupt(&bytes, format!("bit {bit} flipped"));
    }
    let mut renamed = good.clone();
    renamed.push(0);
    corrupt(&renamed, "a byte added".to_owned());
    testkit::figures::note(
        "snap-damage",
        format!("{} truncations, {} bit flips, all reported", good.len(), good.len() * 8),
    );
}

#[test]
fn a_broken_file_is_set_aside_and_an_older_one_is_loaded() {
    let (fs, snapshotter) = snapshotter();
    snapshotter.save_snap(&snapshot(1, 5)).unwrap();
    snapshotter.save_snap(&snapshot(1, 9)).unwrap();
    let newest = Path::new("/snap/0000000000000001-0000000000000009.snap");
    fs.open(newest, OpenMode::Write).unwrap().set_len(3).unwrap();
    assert_eq!(snapshotter.load().unwrap(), snapshot(1, 5));
    assert_eq!(
        fs.read_dir(Path::new("/snap")).unwrap(),
        ["0000000000000001-0000000000000005.snap", "0000000000000001-0000000000000009.snap.broken"]
    );
}

#[test]
fn a_file_under_a_wrong_name_is_reported() {
    let (fs, snapshotter) = snapshotter();
    snapshotter.save_snap(&snapshot(1, 5)).unwrap();
    let right = Path::new("/snap/0000000000000001-0000000000000005.snap");
    let wrong = Path::new("/snap/0000000000000001-0000000000000006.snap");
    fs.rename(right, wrong).unwrap();
    assert!(matches!(read(&*fs, wrong), Err(Error::Corrupt { .. })));
}

#[test]
fn databases_are_received_found_and_released() {
    let (fs, snapshotter) = snapshotter();
    let image = vec![7; 3 << 20];
    assert_eq!(snapshotter.save_db_from(&mut &image[..], 0x10).unwrap(), 3 << 20);
    assert_eq!(snapshotter.save_db_from(&mut &b"other"[..], 0x10).unwrap(), 5);
    snapshotter.save_db_from(&mut &image[..9], 0x20).unwrap();
    let path = snapshotter.db_file_path(0x10).unwrap();
    assert_eq!(fs.read(&path).unwrap(), image, "the first one is kept");
    assert!(matches!(snapshotter.db_file_path(3), Err(Error::NoDatabase { index: 3, .. })));

    struct Breaks;
    impl std::io::Read for Breaks {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let broken = snapshotter.save_db_from(&mut Breaks, 0x30);
    assert!(matches!(broken, Err(Error::Receive { index: 0x30, .. })));

    fs.open(Path::new("/snap/tmp123"), OpenMode::CreateNew).unwrap();
    snapshotter.remove_leftovers().unwrap();
    snapshotter.release_snap_dbs(0x20).unwrap();
    assert_eq!(fs.read_dir(Path::new("/snap")).unwrap(), ["0000000000000020.snap.db"]);
}
