//! The hash of all keys at a revision, by which members find out that they differ
//! (`server/storage/mvcc/hash.go`).
//!
//! CRC-32C over the bucket's name and then key and value of each record in revision order. What
//! a compaction may or may not have dropped yet is left out by rules, so that members in
//! different stages agree. The work is done in steps over a pinned store and an index root:
//! writers and compactions go on beside it.
//!
//! Invariant: the store was pinned before anything was dropped that the index root still had.

use crate::index::{Index, KeyRange};
use crate::{Error, Result};
use backend::{Pin, PinScan, Revision, RevisionKey};
use std::ops::ControlFlow;

/// A hash and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash {
    /// CRC-32C.
    pub hash: u32,
    /// The compact revision when it was made; -1 if none was.
    pub compact_revision: i64,
    /// The revision up to which records count.
    pub hash_revision: i64,
}

/// What a hash is to cover.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    pub compact_revision: i64,
    pub revision: i64,
    /// Compat: a compaction counts a deletion at its very revision among what is kept, a
    /// request does not. It matters where nothing else is kept.
    pub by_compaction: bool,
}

/// Keys looked at in a step over the index.
const STEP_KEYS: usize = 1000;

/// A hash being made.
#[derive(Debug)]
pub(crate) struct HashJob {
    index: Index,
    pin: Pin,
    parameters: Parameters,
    stage: Stage,
    /// Revisions up to the compact revision that count.
    kept: Kept,
    hash: u32,
}

#[derive(Debug)]
enum Stage {
    /// Collecting what is kept, from this key on.
    Keep(Vec<u8>),
    /// Hashing, and how many of the kept are behind.
    Scan(PinScan, usize),
}

#[derive(Debug, Default)]
struct Kept {
    /// Kept at the revision of the hash.
    by_hash: Vec<Revision>,
    /// Live at the compact revision.
    by_compaction: Vec<Revision>,
    /// Whether anything is kept at all, above the compact revision too.
    any: bool,
}

impl HashJob {
    pub(crate) fn new(index: Index, pin: Pin, parameters: Parameters) -> Self {
        let stage = Stage::Keep(Vec::new());
        let hash = crc32c::crc32c(b"key");
        Self { index, pin, parameters, stage, kept: Kept::default(), hash }
    }

    /// Makes the hash without a pause.
    pub(crate) fn run(mut self) -> Result<KeyHash> {
        loop {
            if let Some(hash) = self.step(u64::MAX)? {
                return Ok(hash);
            }
        }
    }

    /// Looks at some keys, or at about `bytes` of records; gives the hash at the end.
    pub(crate) fn step(&mut self, bytes: u64) -> Result<Option<KeyHash>> {
        match &mut self.stage {
            Stage::Keep(from) => {
                let from = std::mem::take(from);
                self.stage = match self.keep(&from) {
                    Some(next) => Stage::Keep(next),
                    None => {
                        self.kept.end();
                        Stage::Scan(PinScan::default(), 0)
                    }
                };
                Ok(None)
            }
            Stage::Scan(scan, behind) => {
                let Parameters { compact_revision, revision, .. } = self.parameters;
                let (kept, hash) = (&self.kept.by_hash, &mut self.hash);
                let more = self.pin.scan(scan, bytes, |key, value| {
                    if counts(key, (compact_revision, revision), kept, behind) {
                        *hash = crc32c::crc32c_append(*hash, key);
                        *hash = crc32c::crc32c_append(*hash, value);
                    }
                    Ok::<_, Error>(())
                })?;
                let hash = KeyHash { hash: *hash, compact_revision, hash_revision: revision };
                Ok((!more).then_some(hash))
            }
        }
    }

    /// Collects what some keys from `from` on keep; gives where to go on.
    fn keep(&mut self, from: &[u8]) -> Option<Vec<u8>> {
        let Parameters { compact_revision, revision, by_compaction } = self.parameters;
        let (kept, mut left, mut next) = (&mut self.kept, STEP_KEYS, None);
        let _ = self.index.visit(KeyRange::From(from), 0, |key, history| {
            if left == 0 {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            left -= 1;
            let here = match by_compaction {
                true => history.kept(revision),
                false => history.at(revision),
            };
            kept.any |= here.is_some();
            let here = here.filter(|item| item.main() <= compact_revision);
            kept.by_hash.extend(here.map(|item| item.revision()));
            let live = history.at(compact_revision).map(|item| item.revision());
            kept.by_compaction.extend(live);
            ControlFlow::Continue(())
        });
        next
    }
}

impl Kept {
    /// Sorts what is needed and frees the rest.
    fn end(&mut self) {
        // Compat: if nothing is kept, etcd leaves nothing out for not being kept. What its
        // compaction has dropped from the file by then is what was not live at it.
        let other = std::mem::take(&mut self.by_compaction);
        if !self.any {
            self.by_hash = other;
        }
        self.by_hash.sort_unstable();
    }
}

/// Whether the record of `key` counts. Records come in the order of their revisions; `behind`
/// is how many of the kept ones have passed.
fn counts(
    key: &[u8],
    (compact_revision, to): (i64, i64),
    kept: &[Revision],
    behind: &mut usize,
) -> bool {
    let (revision, tombstone) = RevisionKey::parse(key).expect("the store checks its keys");
    if revision.main > to || (revision.main == compact_revision && tombstone) {
        return false;
    }
    if revision.main > compact_revision {
        return true;
    }
    *behind += kept[*behind..].iter().take_while(|kept| **kept < revision).count();
    kept.get(*behind) == Some(&revision)
}
