//! A store beside a model of it, for the tests that break it.
#![allow(clippy::unwrap_used, dead_code, reason = "shared by tests, which may end with a panic")]

use quorate_backend::{
    Bucket, Buckets, Error, Live, Location, Opened, Options, Revision, RevisionKey, Step, open,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vfs::{Fs, MemFs};

pub const DIR: &str = "/member/backend";
pub const OPTIONS: Options = Options { segment_bytes: 700, rewrite_percent: 30 };

/// What a revision is, kept beside the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    pub revision: Revision,
    pub tombstone: bool,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// What the store holds after a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub index: u64,
    pub puts: usize,
    pub buckets: Buckets,
}

/// All that was ever committed.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub puts: Vec<Put>,
    /// What compactions found dead, and after which raft index.
    pub dead: BTreeMap<Revision, u64>,
    /// The raft index of the last compaction.
    pub dead_since: u64,
    /// The last revision when it was.
    pub horizon: i64,
    pub states: Vec<State>,
}

impl Live for &Model {
    fn index(&self) -> u64 {
        self.dead_since
    }

    fn horizon(&self) -> i64 {
        self.horizon
    }

    fn is_live(&self, key: &[u8], revision: Revision) -> bool {
        let put = self.puts.iter().find(|put| put.revision == revision).unwrap();
        assert_eq!(put.key, key, "asked for the key of the revision");
        !self.dead.contains_key(&revision)
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

pub fn fs_dyn(fs: &MemFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

pub fn reopen(fs: &MemFs) -> quorate_backend::Result<Opened> {
    open(fs_dyn(fs), Path::new(DIR), OPTIONS)
}

/// The bytes of an `mvccpb.KeyValue`; all fields fit one byte.
pub fn key_value(key: &[u8], revision: i64, version: i64, value: &[u8]) -> Vec<u8> {
    let small = |n: i64| u8::try_from(n % 128).unwrap();
    let mut bytes = vec![0x0a, u8::try_from(key.len()).unwrap()];
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&[0x10, small(revision), 0x18, small(revision), 0x20, small(version)]);
    bytes.extend_from_slice(&[0x2a, u8::try_from(value.len()).unwrap()]);
    bytes.extend_from_slice(value);
    bytes
}

/// A store and its model, lived by a seed.
#[derive(Debug)]
pub struct World {
    pub opened: Opened,
    pub model: Model,
    pub locations: Vec<Location>,
    pub now: Duration,
    /// The highest index that the flusher was told to be durable in the log.
    pub durable: u64,
    pub rewrites: u64,
}

impl World {
    pub fn new(opened: Opened) -> Self {
        let model = Model { states: vec![State::default()], ..Model::default() };
        Self { opened, model, locations: Vec::new(), now: Duration::ZERO, durable: 0, rewrites: 0 }
    }

    /// One commit of up to three revisions and changes of small buckets.
    pub fn commit(&mut self, random: &mut Random) {
        let store = &mut self.opened.store;
        let main = store.last_revision().main + 1;
        for sub in 0..random.below(4) {
            let key = format!("key-{}", random.below(6)).into_bytes();
            let tombstone = random.below(6) == 0;
            let revision = Revision { main, sub: sub.cast_signed() };
            let value = if tombstone {
                key_value(&key, 0, 0, b"")
            } else {
                let len = usize::try_from(random.below(120)).unwrap();
                key_value(&key, main, 1, &vec![u8::try_from(main % 251).unwrap(); len])
            };
            let location = store.put(revision, tombstone, &value);
            assert_eq!(store.uncommitted(location), Some(&*value));
            self.locations.push(location);
            self.model.puts.push(Put { revision, tombstone, key, value });
        }
        if random.below(3) == 0 {
            let key = [u8::try_from(random.below(4)).unwrap()];
            let bucket = Bucket::ALL[usize::try_from(random.below(9)).unwrap()];
            match random.below(3) {
                0 => store.delete(bucket, &key),
                _ => store.set(bucket, &key, &main.to_be_bytes()),
            }
        }
        let index = store.consistent_index() + 1 + random.below(2);
        store.commit(index, 1 + index / 10);
        let puts = self.model.puts.len();
        self.model.states.push(State { index, puts, buckets: store.buckets().clone() });
    }

    /// All but the last revision of each key are dead, and deleted keys wholly.
    pub fn compact(&mut self) {
        let index = self.opened.store.consistent_index();
        let puts = &self.model.puts;
        for (place, put) in puts.iter().enumerate() {
            let superseded = puts[place + 1..].iter().any(|later| later.key == put.key);
            let known = self.model.dead.contains_key(&put.revision);
            if (superseded || put.tombstone) && !known {
                self.model.dead.insert(put.revision, index);
                self.opened.reader.mark_dead(self.locations[place]);
            }
        }
        self.model.dead_since = index;
        self.model.horizon = self.model.puts.last().map_or(0, |put| put.revision.main);
    }

    /// Everything goes to the files and is synced.
    pub fn flush(&mut self) {
        self.opened.flusher.step(self.now, u64::MAX).unwrap();
        self.opened.flusher.sync().unwrap();
    }

    /// What happens next, drawn at random.
    pub fn step(&mut self, random: &mut Random) -> quorate_backend::Result<()> {
        match random.below(10) {
            0..5 => self.commit(random),
            5..7 => {
                self.now += Duration::from_millis(random.below(60));
                let ahead = self.opened.store.consistent_index() - self.durable;
                self.durable += random.below(ahead + 1);
                self.opened.flusher.step(self.now, self.durable)?;
            }
            7 if random.below(4) == 0 => self.opened.flusher.sync()?,
            7 => self.compact(),
            _ => {
                let step = self.opened.compactor.step(&&self.model, 1 + random.below(400))?;
                self.rewrites += u64::from(matches!(step, Step::Done { .. }));
            }
        }
        Ok(())
    }

    /// Compares what the open store says with the model; every live location must be readable.
    pub fn check_open(&self) {
        for (place, put) in self.model.puts.iter().enumerate() {
            match self.opened.reader.get(self.locations[place]) {
                Ok(record) => assert_eq!(record.value(), put.value),
                Err(error) => {
                    assert!(error.is_gone(), "{error}");
                    assert!(self.model.dead.contains_key(&put.revision), "a live one is gone");
                }
            }
        }
        let live = |place: &usize| !self.model.dead.contains_key(&self.model.puts[*place].revision);
        let live: Vec<usize> = (0..self.model.puts.len()).filter(live).collect();
        let wanted: Vec<_> = live.iter().rev().map(|place| self.locations[*place]).collect();
        let mut found = vec![Vec::new(); wanted.len()];
        let take = |place: usize, value: &[u8]| found[place] = value.to_vec();
        self.opened.reader.gather(&wanted, take).unwrap();
        for (found, place) in found.iter().zip(live.iter().rev()) {
            assert_eq!(*found, self.model.puts[*place].value);
        }
    }
}

/// What a freshly opened store says, wholly read.
///
/// # Errors
/// Corruption found while reading.
pub fn read_all(opened: &mut Opened) -> quorate_backend::Result<(State, Vec<Put>)> {
    let mut by_pin = Vec::new();
    opened.reader.pin().for_each(|key, value| {
        let (revision, tombstone) = RevisionKey::parse(key).unwrap();
        by_pin.push((revision, tombstone, value.to_vec()));
        Ok::<_, Error>(())
    })?;
    assert!(by_pin.is_sorted_by_key(|(revision, ..)| *revision));
    let mut puts = Vec::new();
    let mut last = None;
    let count = opened.restored.count();
    while let Some(entry) = opened.restored.next()? {
        let this = (entry.key.to_vec(), entry.revision);
        assert!(last.is_none_or(|last| last < this), "entries ascend");
        let record = opened.reader.get(entry.location)?;
        assert_eq!(record.key(), RevisionKey::new(entry.revision, entry.tombstone).as_bytes());
        let value = record.value().to_vec();
        let (revision, tombstone, key) = (entry.revision, entry.tombstone, entry.key.to_vec());
        if !tombstone {
            let expected = key_value(&key, revision.main, 1, b"");
            assert_eq!(value[..expected.len() - 2], expected[..expected.len() - 2]);
            assert_eq!(entry.create_revision, revision.main % 128);
            assert_eq!(entry.version, 1);
        }
        puts.push(Put { revision, tombstone, key, value });
        last = Some(this);
    }
    puts.sort_by_key(|put| put.revision);
    assert_eq!(puts.len(), count);
    let all: Vec<_> =
        puts.iter().map(|put| (put.revision, put.tombstone, put.value.clone())).collect();
    assert_eq!(all, by_pin, "footers and frames agree");
    let index = opened.store.consistent_index();
    Ok((State { index, puts: puts.len(), buckets: opened.store.buckets().clone() }, puts))
}

/// Whether what was found is one of the model's states: all that was live, nothing that was not
/// put. Gives its place.
pub fn matches_model(model: &Model, found: &(State, Vec<Put>)) -> Option<usize> {
    let (state, puts) = found;
    let place = model.states.iter().position(|known| known.index == state.index)?;
    let known = &model.states[place];
    let history = &model.puts[..known.puts];
    // What died later is needed still: the log brings back the time in which it was alive.
    let is_dead = |put: &&Put| model.dead.get(&put.revision).is_some_and(|at| *at <= known.index);
    let live = history.iter().filter(|put| !is_dead(put));
    let has_live = live.clone().all(|put| puts.contains(put));
    let has_no_other = puts.iter().all(|put| history.contains(put));
    (known.buckets == state.buckets && has_live && has_no_other).then_some(place)
}
