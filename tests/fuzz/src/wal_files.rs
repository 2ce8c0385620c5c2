//! Log segments of any bytes, or of any records with right lengths and CRCs.
//!
//! What a reader accepts it must keep: an entry appended behind it is found behind the very same
//! contents.

use crate::input::Input;
use bytes::Bytes;
use raftpb::wal::Snapshot;
use raftpb::{Entry, HardState};
use std::path::Path;
use std::sync::Arc;
use vfs::{Fs, MemFs, OpenMode};
use wal::{Contents, Error, Options, Wal};

const DIR: &str = "/wal";
const OPTIONS: Options = Options { segment_bytes: 4096, sync: true };

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("a fresh disk takes a directory");
    let segments =
        if input.byte().is_multiple_of(2) { vec![input.rest().to_vec()] } else { build(input) };
    for (seq, bytes) in segments.iter().enumerate() {
        let name = format!("{DIR}/{seq:016x}-{:016x}.wal", seq * 3);
        let file = fs.open(Path::new(&name), OpenMode::CreateNew).expect("a new name");
        file.write_at(bytes, 0).expect("a disk in memory takes it");
    }
    read(&Arc::new(fs));
}

/// Segments of records whose framing and CRCs are right and whose content is not.
fn build(mut input: Input<'_>) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    let mut segment = Vec::new();
    let mut crc = 0;
    push_record(&mut segment, 4, crc, None);
    while !input.is_empty() && segments.len() < 4 {
        match input.byte() {
            255 => {
                segments.push(std::mem::take(&mut segment));
                push_record(&mut segment, 4, crc, None);
            }
            kind => {
                let data = input.bytes(600);
                crc = crc32c::crc32c_append(crc, data);
                push_record(&mut segment, kind % 7, crc, Some(data));
            }
        }
    }
    segments.push(segment);
    segments
}

fn push_record(out: &mut Vec<u8>, kind: u8, crc: u32, data: Option<&[u8]>) {
    let mut record = vec![0x08, kind, 0x10];
    push_varint(&mut record, crc.into());
    if let Some(data) = data {
        record.push(0x1a);
        push_varint(&mut record, data.len() as u64);
        record.extend_from_slice(data);
    }
    let padding = record.len().next_multiple_of(8) - record.len();
    let mut field = record.len() as u64;
    if padding > 0 {
        field |= (0x80 | padding as u64) << 56;
    }
    out.extend_from_slice(&field.to_le_bytes());
    out.extend_from_slice(&record);
    out.resize(out.len() + padding, 0);
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn read(fs: &Arc<MemFs>) {
    let dir = Path::new(DIR);
    let start = Snapshot::default();
    drop(wal::read_all(&**fs, dir, &start));
    let starts = wal::valid_snapshot_entries(&**fs, dir).unwrap_or_default();
    for start in starts.iter().chain([&start]) {
        drop(wal::verify(&**fs, dir, start));
        let copy = Arc::new(fs.duplicate());
        let open = || Wal::open(Arc::clone(&copy) as Arc<dyn Fs>, dir, start, OPTIONS);
        let opened = match open() {
            Err(Error::Torn { .. }) => wal::repair(&*copy, dir).and_then(|_| open()),
            opened => opened,
        };
        if let Ok((wal, contents)) = opened {
            go_on(&copy, wal, contents, start);
        }
    }
}

/// What was read must still be there behind a later entry.
fn go_on(fs: &Arc<MemFs>, mut wal: Wal, mut contents: Contents, start: &Snapshot) {
    let highest = contents.entries.iter().map(Entry::term).max().unwrap_or_default();
    let term = highest.max(contents.hard_state.term()).max(start.term());
    let last = contents.entries.last().map_or(start.index(), Entry::index);
    let (Some(term), Some(index)) = (term.checked_add(1), last.checked_add(1)) else { return };
    let data = Some(Bytes::from_static(b"next"));
    let entry = Entry { r#type: Some(0), term: Some(term), index: Some(index), data };
    let commit = Some(contents.hard_state.commit());
    let state = HardState { term: Some(term), vote: Some(1), commit };
    if wal.save(&state, std::slice::from_ref(&entry)).is_err() {
        return;
    }
    drop(wal);
    contents.entries.push(entry);
    contents.hard_state = state;
    let again = wal::read_all(&**fs, Path::new(DIR), start);
    assert_eq!(again.expect("what was opened and written is read"), contents);
}
