//! Every truncation and every flipped bit of a small log: nothing different is ever read as if
//! it were right.
//!
//! What may come out: the log as it was; corruption, reported with file and offset; or, in the
//! last segment only, the log up to one of its records, where the damage cannot be told from a
//! write the power cut.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use bytes::Bytes;
use quorate_wal::{self as wal, Contents, Error, Options, Repair, Wal};
use raftpb::wal::Snapshot;
use raftpb::{ConfState, Entry, EntryType, HardState};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vfs::{Fs, MemFs, OpenMode};

const DIR: &str = "/wal";
const OPTIONS: Options = Options { segment_bytes: 3072, sync: true };

fn entry(kind: EntryType, term: u64, index: u64, data: Option<Vec<u8>>) -> Entry {
    Entry {
        r#type: Some(kind.into()),
        term: Some(term),
        index: Some(index),
        data: data.map(Bytes::from),
    }
}

/// A step of the small log's life.
fn life(wal: &mut Wal, mut after: impl FnMut(&Wal)) {
    use EntryType::{EntryConfChange, EntryConfChangeV2, EntryNormal};
    let state =
        |term, vote, commit| HardState { term: Some(term), vote: Some(vote), commit: Some(commit) };
    let change = entry(EntryConfChange, 1, 1, Some(vec![8, 1, 16, 0, 24, 1]));
    let mut steps = vec![(state(1, 1, 1), vec![change])];
    // A leader's empty entry, without and with the field.
    steps.push((state(1, 1, 2), vec![entry(EntryNormal, 1, 2, None)]));
    steps.push((state(2, 2, 2), vec![entry(EntryNormal, 2, 3, Some(Vec::new()))]));
    steps.push((state(2, 2, 3), vec![entry(EntryConfChangeV2, 2, 4, None)]));
    for index in 5..=9_u64 {
        let payload = vec![u8::try_from(index).unwrap(); 97 * usize::try_from(index).unwrap()];
        let entries = vec![entry(EntryNormal, 2, index, Some(payload))];
        steps.push((state(2, 2, index - 1), entries));
    }
    // Commit only, then a leader of a later term replaces the last entry; then a sector of zeros.
    steps.push((state(2, 2, 8), Vec::new()));
    steps.push((state(5, 0, 8), vec![entry(EntryNormal, 5, 9, Some(b"other".to_vec()))]));
    steps.push((state(5, 3, 9), vec![entry(EntryNormal, 5, 10, Some(vec![0; 1100]))]));
    for (state, entries) in steps {
        wal.save(&state, &entries).unwrap();
        after(wal);
    }
    let conf_state = Some(ConfState { voters: vec![1, 2, 3], ..Default::default() });
    wal.save_snapshot(&Snapshot { index: Some(6), term: Some(2), conf_state }).unwrap();
    // The last segment ends with records over several sectors, one of them with a sector of
    // zeros in it, and a vote alone.
    let numbers = (0..1200_u32).map(|n| u8::try_from(n % 251 + 1).unwrap()).collect();
    for (index, data) in [(11, b"one".to_vec()), (12, numbers), (13, vec![0; 1600])] {
        wal.save(&state(5, 3, index - 1), &[entry(EntryNormal, 5, index, Some(data))]).unwrap();
        after(wal);
    }
    wal.save(&state(6, 1, 12), &[]).unwrap();
    wal.save(&state(6, 1, 13), &[entry(EntryNormal, 6, 14, Some(b"last".to_vec()))]).unwrap();
    after(wal);
}

struct Proof {
    image: MemFs,
    whole: Contents,
    /// What the log says if it ends after any of its records.
    prefixes: Vec<Contents>,
    /// Which snapshots a member could then start from.
    starts: Vec<Vec<Snapshot>>,
    segments: Vec<PathBuf>,
}

impl Proof {
    fn new() -> Self {
        let fs = Arc::new(MemFs::new());
        let fs_dyn: Arc<dyn Fs> = Arc::clone(&fs) as _;
        let mut wal = Wal::create(fs_dyn, Path::new(DIR), b"metadata", OPTIONS).unwrap();
        life(&mut wal, |_| ());
        drop(wal);
        let names = fs.read_dir(Path::new(DIR)).unwrap();
        let segments: Vec<_> = names.iter().map(|name| Path::new(DIR).join(name)).collect();
        let image = fs.duplicate();
        let whole = wal::read_all(&image, Path::new(DIR), &Snapshot::default()).unwrap();
        let (prefixes, starts) = Self::prefixes(&image, segments.last().unwrap());
        assert_eq!(starts.last().map(Vec::len), Some(2));
        Self { image, whole, prefixes, starts, segments }
    }

    /// Ends the last segment at each record boundary, found by the length fields alone.
    fn prefixes(image: &MemFs, last: &Path) -> (Vec<Contents>, Vec<Vec<Snapshot>>) {
        let bytes = image.read(last).unwrap();
        let mut at = 0;
        let (mut prefixes, mut starts) = (Vec::new(), Vec::new());
        for record in 0.. {
            let field = bytes.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().unwrap()));
            let cut = image.duplicate();
            cut.open(last, OpenMode::Write).unwrap().set_len(at as u64).unwrap();
            if record >= 2 {
                let start = Snapshot::default();
                prefixes.push(wal::read_all(&cut, Path::new(DIR), &start).unwrap());
                starts.push(wal::valid_snapshot_entries(&cut, Path::new(DIR)).unwrap());
            }
            match field {
                None | Some(0) => return (prefixes, starts),
                Some(field) => {
                    let record = usize::try_from(field & 0xff_ffff_ffff_ffff).unwrap();
                    at += 8 + record.next_multiple_of(8);
                }
            }
        }
        unreachable!("a file ends")
    }

    /// Opens a damaged copy as a member does, and says what came of it.
    fn outcome(&self, damaged: MemFs, what: &str) -> &'static str {
        let start = Snapshot::default();
        self.readers(&damaged, what);
        let fs = Arc::new(damaged);
        let open = || Wal::open(Arc::clone(&fs) as Arc<dyn Fs>, Path::new(DIR), &start, OPTIONS);
        let (opened, repaired) = match open() {
            Err(Error::Torn { path, .. }) => {
                assert_eq!(Some(&path), self.segments.last(), "{what}");
                let repair = wal::repair(&*fs, Path::new(DIR)).unwrap();
                assert!(matches!(repair, Repair::Cut { .. }), "{what}");
                (open(), true)
            }
            opened => (opened, false),
        };
        match opened {
            Err(Error::Corrupt { path, offset, .. }) => {
                let len = fs.open(&path, OpenMode::Read).unwrap().len().unwrap();
                assert!(self.segments.contains(&path) && offset <= len, "{what}");
                "reported"
            }
            Err(other) => panic!("{what}: {other}"),
            Ok((_, contents)) if contents == self.whole => {
                if repaired {
                    "repaired, whole"
                } else {
                    "whole"
                }
            }
            Ok((_, contents)) if self.prefixes.contains(&contents) => {
                if repaired {
                    "repaired to a prefix"
                } else {
                    "prefix"
                }
            }
            Ok((_, contents)) => panic!("{what}: silently read as {contents:?}"),
        }
    }

    /// Reading without changing must judge no more mildly than opening.
    fn readers(&self, damaged: &MemFs, what: &str) {
        match wal::read_all(damaged, Path::new(DIR), &Snapshot::default()) {
            Ok(contents) => assert!(self.prefixes.contains(&contents), "{what}: {contents:?}"),
            Err(Error::Corrupt { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
        }
        match wal::valid_snapshot_entries(damaged, Path::new(DIR)) {
            Ok(starts) => assert!(self.starts.contains(&starts), "{what}: {starts:?}"),
            Err(Error::Corrupt { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
        }
    }
}

fn summary(counts: &BTreeMap<&str, usize>) -> String {
    let total: usize = counts.values().sum();
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    format!("{total} in all: {}", parts.join(", "))
}

#[test]
fn every_truncation_is_a_prefix_or_reported() {
    let proof = Proof::new();
    let mut counts = BTreeMap::new();
    assert!(proof.segments.len() >= 3);
    for path in &proof.segments {
        let last = Some(path) == proof.segments.last();
        let len = proof.image.open(path, OpenMode::Read).unwrap().len().unwrap();
        for cut in 0..len {
            let damaged = proof.image.duplicate();
            damaged.open(path, OpenMode::Write).unwrap().set_len(cut).unwrap();
            let what = format!("{} cut at {cut}", path.display());
            let outcome = proof.outcome(damaged, &what);
            assert!(last || outcome == "reported", "{what}: {outcome}");
            *counts.entry(outcome).or_insert(0) += 1;
        }
    }
    testkit::figures::note("wal-truncations", summary(&counts));
}

#[test]
fn every_flipped_bit_is_reported_or_harmless() {
    let proof = Proof::new();
    let mut counts = BTreeMap::new();
    for path in &proof.segments {
        let last = Some(path) == proof.segments.last();
        let bytes = proof.image.read(path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 8 * 8 + 8;
        for bit in 0..bytes.len() * 8 {
            let at = bit / 8;
            let damaged = proof.image.duplicate();
            let file = damaged.open(path, OpenMode::Write).unwrap();
            file.write_at(&[bytes[at] ^ 1 << (bit % 8)], at as u64).unwrap();
            drop(file);
            let what = format!("{} bit {} of byte {at}", path.display(), bit % 8);
            let outcome = proof.outcome(damaged, &what);
            // Behind the sector in which writing ended, leftovers of torn writes are legal and
            // carry nothing; a length field made of zeros is a torn record of zeros.
            let carries_nothing = at >= end;
            match outcome {
                "reported" => {}
                "whole" => assert!(last && at >= end.next_multiple_of(512), "{what}"),
                "repaired, whole" => assert!(last && carries_nothing, "{what}"),
                _ => assert!(last && !carries_nothing, "{what}: {outcome}"),
            }
            *counts.entry(outcome).or_insert(0) += 1;
        }
    }
    testkit::figures::note("wal-bit-flips", summary(&counts));
}
