//! Every target over its committed corpus, and over seeded mutations of it.

use quorate_fuzz::TARGETS;
use std::fs;
use std::path::{Path, PathBuf};

/// Mutations of each corpus, shared among its files.
const MUTATIONS: usize = 4000;

#[test]
fn corpora_and_their_mutations_pass() {
    let mut figures = Vec::new();
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{name} has no corpus: {error}"))
            .map(|entry| entry.expect("a folder can be listed").path())
            .collect();
        files.sort();
        assert!(files.len() >= 5, "{name} has a corpus");
        for file in &files {
            let input = fs::read(file).expect("a corpus file can be read");
            println!("{}", file.display());
            target(&input);
            let mut random = Random(input.len() as u64);
            for _ in 0..MUTATIONS / files.len() {
                target(&mutate(&input, &mut random));
            }
        }
        figures.push(format!("{name} {}", files.len()));
    }
    let text = format!("{} with {MUTATIONS} mutations each", figures.join(", "));
    testkit::figures::note("fuzz-corpora", text);
}

/// A few changes of the kinds that break readers.
fn mutate(input: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len().max(1));
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at.min(bytes.len()), random.below(256).to_le_bytes()[0]),
            4 => {
                let end = bytes.len().min(at + random.below(16));
                let copy = bytes[at.min(end)..end].to_vec();
                bytes.extend_from_slice(&copy);
            }
            _ => bytes.extend_from_slice(&random.below(usize::MAX).to_le_bytes()),
        }
    }
    bytes
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
    }
}
