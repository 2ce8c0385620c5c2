//! Every flipped bit and every truncation of a small store: nothing different is ever read as if
//! it were right. What may come out: all of it; what an earlier commit left, where the damage
//! cannot be told from a write that the power cut; or a report with file and offset.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

mod common;

use common::{DIR, Model, Random, World, matches_model, read_all, reopen};
use quorate_backend::Error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vfs::{Fs, MemFs, OpenMode};

/// A store with a compacted segment, two sealed ones and one that is not.
fn build() -> (MemFs, Model, Vec<PathBuf>) {
    for seed in 0.. {
        let fs = MemFs::new();
        let mut world = World::new(reopen(&fs).unwrap());
        let mut random = Random(seed);
        for _ in 0..140 {
            world.step(&mut random).unwrap();
        }
        world.flush();
        let names = fs.read_dir(Path::new(DIR)).unwrap();
        let files: Vec<_> = names.iter().filter(|name| name.ends_with(".seg")).collect();
        let compacted = files.iter().filter(|name| !name.ends_with("-00000000.seg")).count();
        if compacted >= 1 && files.len() >= compacted + 3 {
            let paths = files.iter().map(|name| Path::new(DIR).join(name)).collect();
            return (fs.duplicate(), world.model, paths);
        }
    }
    unreachable!("some life has such files")
}

/// Opens and reads a damaged copy.
fn outcome(damaged: &MemFs, model: &Model, paths: &[PathBuf], what: &str) -> &'static str {
    let read = reopen(damaged).and_then(|mut opened| read_all(&mut opened));
    match read {
        Ok(found) => match matches_model(model, &found) {
            Some(place) if place + 1 == model.states.len() => "whole",
            Some(_) => "an earlier commit",
            None => panic!("{what}: silently read as {found:?}"),
        },
        Err(Error::Corrupt { path, offset, .. }) => {
            let len = damaged.open(&path, OpenMode::Read).unwrap().len().unwrap();
            assert!(paths.contains(&path) && offset <= len, "{what}: {path:?} {offset}");
            "reported"
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

fn summary(counts: &BTreeMap<&str, usize>) -> String {
    let total: usize = counts.values().sum();
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    format!("{total} in all: {}", parts.join(", "))
}

#[test]
fn every_flipped_bit_is_reported_or_harmless() {
    let (image, model, paths) = build();
    let mut counts = BTreeMap::new();
    for (place, path) in paths.iter().enumerate() {
        let bytes = image.read(path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let damaged = image.duplicate();
            let file = damaged.open(path, OpenMode::Write).unwrap();
            let at = bit / 8;
            file.write_at(&[bytes[at] ^ 1 << (bit % 8)], at as u64).unwrap();
            drop(file);
            let what = format!("{} bit {} of byte {at}", path.display(), bit % 8);
            let outcome = outcome(&damaged, &model, &paths, &what);
            let last = place + 1 == paths.len();
            assert!(last || outcome != "an earlier commit", "{what}: only a last file is torn");
            *counts.entry(outcome).or_insert(0) += 1;
        }
    }
    testkit::figures::note("backend-bit-flips", summary(&counts));
}

#[test]
fn every_truncation_is_reported_or_an_earlier_commit() {
    let (image, model, paths) = build();
    let mut counts = BTreeMap::new();
    for (place, path) in paths.iter().enumerate() {
        for len in 0..image.read(path).unwrap().len() as u64 {
            let damaged = image.duplicate();
            damaged.open(path, OpenMode::Write).unwrap().set_len(len).unwrap();
            let what = format!("{} cut at {len}", path.display());
            let outcome = outcome(&damaged, &model, &paths, &what);
            let last = place + 1 == paths.len();
            assert!(last || outcome == "reported" || outcome == "whole", "{what}: {outcome}");
            *counts.entry(outcome).or_insert(0) += 1;
        }
    }
    testkit::figures::note("backend-truncations", summary(&counts));
}
