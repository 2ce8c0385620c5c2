//! The production store behind each node's log: what was applied goes into it, it goes to files
//! behind, and a restart finds an earlier moment of it that the log then catches up with.
//!
//! Each entry that carries data is one revision, numbered as the entry. Most revisions die after
//! a while, by a rule that a judge can follow: see [`is_dead`]. The store has a disk of its own,
//! so that nothing is in order between it and the log but what the code puts in order.

use backend::{Bucket, Compactor, Error, Flusher, Live, Opened, Options, Reader, Revision, Step};
use raftpb::{Entry, EntryType};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vfs::{Fs, MemFs};

pub(crate) struct Store {
    store: backend::Store,
    reader: Reader,
    flusher: Flusher,
    compactor: Compactor,
    /// Where each live revision lies, as an index would know it.
    locations: BTreeMap<u64, backend::Location>,
}

/// What a store holds: the data of entries behind `base` up to `index`.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) base: u64,
    pub(crate) index: u64,
    pub(crate) records: BTreeMap<u64, Vec<u8>>,
}

/// What a step did.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    pub(crate) synced: u64,
    pub(crate) rewrote: bool,
}

impl Store {
    /// Opens the store; one from before the member's snapshot is of no use and made anew.
    pub(crate) fn open(fs: &MemFs, snapshot: u64) -> Result<(Self, Held), Error> {
        let mut opened = open(fs)?;
        let (held, locations) = held(&mut opened)?;
        let mut store = Self::of(opened);
        store.locations = locations;
        if held.index < snapshot {
            drop(store);
            store = Self::replace(fs, snapshot)?;
        }
        Ok((store, held))
    }

    /// Begins anew behind the snapshot at `base`.
    pub(crate) fn replace_with(&mut self, fs: &MemFs, base: u64) -> Result<(), Error> {
        *self = Self::replace(fs, base)?;
        Ok(())
    }

    /// An empty store for what comes after the snapshot at `base`. The old one is unlinked first:
    /// whoever has it open keeps its files, and its lock, which no one will ask for.
    fn replace(fs: &MemFs, base: u64) -> Result<Self, Error> {
        if fs.exists(Path::new(DIR))? {
            fs.remove_dir_all(Path::new(DIR))?;
        }
        let mut store = Self::of(open(fs)?);
        store.store.set(Bucket::Meta, BASE, &base.to_be_bytes());
        store.store.commit(base, 0);
        Ok(store)
    }

    fn of(opened: Opened) -> Self {
        let Opened { store, reader, flusher, compactor, .. } = opened;
        Self { store, reader, flusher, compactor, locations: BTreeMap::new() }
    }

    /// Takes entries that were applied, as one commit; those it has already are skipped.
    pub(crate) fn apply<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) {
        let (has, mut last) = (self.store.consistent_index(), None);
        for entry in entries.filter(|entry| entry.index() > has) {
            if let Some(data) = data_of(entry) {
                let main = entry.index().cast_signed();
                let location = self.store.put(Revision { main, sub: 0 }, false, &value(data));
                self.locations.insert(entry.index(), location);
            }
            last = Some((entry.index(), entry.term()));
        }
        let Some((index, term)) = last else { return };
        self.store.commit(index, term);
        let dead: Vec<u64> =
            self.locations.keys().copied().filter(|i| is_dead(*i, index)).collect();
        for place in dead.iter().filter_map(|index| self.locations.remove(index)) {
            self.reader.mark_dead(place);
        }
    }

    /// The index up to which it is synced.
    pub(crate) fn synced(&self) -> u64 {
        self.flusher.synced_index()
    }

    /// Writes behind, syncs and compacts as it is time to.
    pub(crate) fn step(&mut self, now: u64, durable_index: u64) -> Result<Flushed, Error> {
        self.flusher.step(Duration::from_millis(now), durable_index)?;
        let judge = Judge { index: self.store.consistent_index() };
        let step = self.compactor.step(&judge, 700)?;
        let rewrote = matches!(step, Step::Done { .. });
        Ok(Flushed { synced: self.flusher.synced_index(), rewrote })
    }
}

/// Whether the revision of entry `index` is dead once `applied` was applied.
pub(crate) fn is_dead(index: u64, applied: u64) -> bool {
    !index.is_multiple_of(7) && index + 40 <= applied
}

/// The data that is kept of an entry.
pub(crate) fn data_of(entry: &Entry) -> Option<&[u8]> {
    let kept = entry.r#type() == EntryType::EntryNormal && !entry.data().is_empty();
    kept.then(|| entry.data())
}

struct Judge {
    index: u64,
}

impl Live for Judge {
    fn index(&self) -> u64 {
        self.index
    }

    fn horizon(&self) -> i64 {
        self.index.cast_signed()
    }

    fn is_live(&self, _key: &[u8], revision: Revision) -> bool {
        !is_dead(revision.main.cast_unsigned(), self.index)
    }
}

const DIR: &str = "/store";
const BASE: &[u8] = b"base";
const OPTIONS: Options = Options { segment_bytes: 3000, rewrite_percent: 30 };

fn open(fs: &MemFs) -> Result<Opened, Error> {
    backend::open(Arc::new(fs.clone()), Path::new(DIR), OPTIONS)
}

/// A key-value whose value is `data`.
fn value(data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x0a, 1, b'k', 0x2a];
    let mut left = data.len();
    while left >= 0x80 {
        bytes.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    bytes.push(left.to_le_bytes()[0]);
    bytes.extend_from_slice(data);
    bytes
}

fn held(opened: &mut Opened) -> Result<(Held, BTreeMap<u64, backend::Location>), Error> {
    let mut locations = BTreeMap::new();
    let mut held = Held { index: opened.store.consistent_index(), ..Held::default() };
    if let Some(base) = opened.store.buckets().get(Bucket::Meta, BASE) {
        held.base = base.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default();
    }
    while let Some(entry) = opened.restored.next()? {
        let record = opened.reader.get(entry.location)?;
        let index = entry.revision.main.cast_unsigned();
        held.records.insert(index, record.value().to_vec());
        locations.insert(index, entry.location);
    }
    Ok((held, locations))
}

/// What a record of `data` holds, for a judge.
pub(crate) fn record_of(data: &[u8]) -> Vec<u8> {
    value(data)
}
