//! Snapshot files of any bytes, or of any content with a right CRC.

use crate::input::Input;
use std::path::Path;
use std::sync::Arc;
use vfs::{Fs, MemFs, OpenMode};
use wal::snap::Snapshotter;

const DIR: &str = "/snap";

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("a fresh disk takes a directory");
    let bytes =
        if input.byte().is_multiple_of(2) { input.rest().to_vec() } else { wrap(input.rest()) };
    let path = format!("{DIR}/0000000000000001-0000000000000002.snap");
    let file = fs.open(Path::new(&path), OpenMode::CreateNew).expect("a new name");
    file.write_at(&bytes, 0).expect("a disk in memory takes it");
    drop(file);
    let read = wal::snap::read(&fs, Path::new(&path));
    let snapshotter = Snapshotter::new(Arc::new(fs), Path::new(DIR));
    let loaded = snapshotter.load();
    assert_eq!(read.is_ok(), loaded.is_ok(), "both readers judge alike");
    let Ok(snapshot) = loaded else { return };
    // What was accepted can be saved, and says the same again, unless it is of index 0, of which
    // no file is made.
    if snapshotter.save_snap(&snapshot).is_ok() && snapshot.index() > 0 {
        let again = snapshotter.load().expect("what was saved is there");
        assert!(again == snapshot || again.index() == 2, "{again:?} for {snapshot:?}");
    }
}

/// The envelope around a content: its CRC and the bytes.
fn wrap(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x08];
    push_varint(&mut bytes, crc32c::crc32c(content).into());
    bytes.push(0x12);
    push_varint(&mut bytes, content.len() as u64);
    bytes.extend_from_slice(content);
    bytes
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
