//! Segment files of the store: any bytes, or any records in frames with right CRCs.
//!
//! What opens must be readable as a whole, and go on: a revision put behind it is found behind
//! the very same records.

use crate::input::Input;
use backend::{Error, Location, Opened, Options, Revision, RevisionKey, open};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vfs::{Fs, MemFs, OpenMode};

const DIR: &str = "/backend";
const OPTIONS: Options = Options { segment_bytes: 2048, rewrite_percent: 50 };

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).expect("a fresh disk takes a directory");
    let files = match input.byte() % 3 {
        0 => vec![input.rest().to_vec()],
        1 => vec![[&head(0)[..], input.rest()].concat()],
        _ => build(input),
    };
    for (number, bytes) in files.iter().enumerate() {
        let name = format!("{DIR}/{number:08x}-{number:08x}-00000000.seg");
        let file = fs.open(Path::new(&name), OpenMode::CreateNew).expect("a new name");
        file.write_at(bytes, 0).expect("a disk in memory takes it");
    }
    let Ok(mut opened) = open_again(&fs) else { return };
    let Ok(before) = read_all(&mut opened) else { return };
    let last = opened.store.last_revision();
    let (index, term) = (opened.store.consistent_index(), opened.store.term());
    let (Some(main), Some(next)) = (last.main.checked_add(1), index.checked_add(1)) else { return };
    let location = opened.store.put(Revision { main, sub: 0 }, false, b"\x0a\x01k");
    opened.store.set(backend::Bucket::Meta, b"k", b"v");
    opened.store.commit(next, term);
    let buckets = opened.store.buckets().clone();
    opened.flusher.step(Duration::ZERO, u64::MAX).expect("the disk is sound");
    opened.flusher.sync().expect("the disk is sound");
    assert_eq!(opened.reader.get(location).expect("just put").value(), b"\x0a\x01k");
    drop(opened);
    let mut again = open_again(&fs).expect("what was opened and written opens");
    let after = read_all(&mut again).expect("and is read");
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!((again.store.consistent_index(), again.store.buckets()), (next, &buckets));
}

fn open_again(fs: &MemFs) -> backend::Result<Opened> {
    open(Arc::new(fs.clone()), Path::new(DIR), OPTIONS)
}

/// Every record in order, read through the files and once more through the locations.
fn read_all(opened: &mut Opened) -> backend::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut locations: Vec<(Revision, Location)> = Vec::new();
    while let Some(entry) = opened.restored.next()? {
        locations.push((entry.revision, entry.location));
    }
    for (revision, location) in locations {
        let record = opened.reader.get(location)?;
        let (found, _) = RevisionKey::parse(record.key()).expect("a footer names revisions");
        assert_eq!(found, revision);
    }
    let mut records = Vec::new();
    opened.reader.pin().for_each(|key, value| {
        records.push((key.to_vec(), value.to_vec()));
        Ok::<_, Error>(())
    })?;
    Ok(records)
}

fn head(number: u32) -> Vec<u8> {
    let mut head = b"quorseg1".to_vec();
    head.extend_from_slice(&number.to_le_bytes());
    head.extend_from_slice(&number.to_le_bytes());
    head.extend_from_slice(&[0; 12]);
    let crc = crc32c::crc32c(&head);
    head.extend_from_slice(&crc.to_le_bytes());
    head
}

/// One file of frames whose framing and CRCs are right and whose content is not.
fn build(mut input: Input<'_>) -> Vec<Vec<u8>> {
    let mut file = head(0);
    while !input.is_empty() && file.len() < 8192 {
        let kind = input.byte() % 4;
        let (durable, index, term) = (input.number(), input.number(), input.number());
        let mut body = Vec::new();
        let (mut records, mut crc) = (0_u32, 0);
        for _ in 0..input.byte() % 5 {
            let record = record(&mut input);
            crc = crc32c::crc32c_append(crc, &record[..4]);
            body.extend_from_slice(&record);
            records += 1;
        }
        let offset = file.len() as u64;
        let mut frame = b"QFRM".to_vec();
        frame.extend_from_slice(&[kind, 0, 0, 0]);
        frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or_default().to_le_bytes());
        frame.extend_from_slice(&records.to_le_bytes());
        frame.extend_from_slice(&durable.to_le_bytes());
        let place = crc32c::crc32c_append(0, &offset.to_le_bytes());
        frame.extend_from_slice(&crc32c::crc32c_append(place, &frame).to_le_bytes());
        crc = crc32c::crc32c_append(crc, &frame);
        frame.extend_from_slice(&body);
        let mut mark = u64::from(index).to_le_bytes().to_vec();
        mark.extend_from_slice(&u64::from(term).to_le_bytes());
        crc = crc32c::crc32c_append(crc, &mark);
        file.extend_from_slice(&frame);
        file.extend_from_slice(&mark);
        file.extend_from_slice(&crc.to_le_bytes());
    }
    vec![file]
}

fn record(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    let key = match input.byte() % 4 {
        0 => input.bytes(40).to_vec(),
        flags => {
            let revision = Revision { main: input.number().into(), sub: input.number().into() };
            RevisionKey::new(revision, flags == 1).as_bytes().to_vec()
        }
    };
    let value = input.bytes(200);
    let mut body = u32::try_from(value.len()).unwrap_or_default().to_le_bytes().to_vec();
    body.extend_from_slice(&u16::try_from(key.len()).unwrap_or_default().to_le_bytes());
    body.extend_from_slice(&[kind & 0x3f, 0]);
    body.extend_from_slice(&key);
    body.extend_from_slice(value);
    [&crc32c::crc32c(&body).to_le_bytes()[..], &body].concat()
}
