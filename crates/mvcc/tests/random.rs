//! Random programs of writes, reads of every kind, compactions and crashes beside a naive model.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

mod common;

use backend::{Revision, Step};
use bytes::Bytes;
use common::model::{Model, inside, live, random_query};
use common::{Member, Random};
use proptest::prelude::*;
use quorate_mvcc::{
    Budget, Error, KeyHash, KeyRange, Progress, RangeParts, RangeQuery, RangeResult, Read, View,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vfs::MemFs;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Op {
    /// A transaction; whether its batch ends with it.
    Txn(Vec<Write>, bool),
    /// To some share of the way from the last compact revision, in percent.
    Compact(i64),
    /// Steps of the compaction behind the scenes.
    Step(u8),
    /// Some time passes for the flusher and the compactor.
    Idle(u8),
    /// The power fails, and the log is applied again.
    Crash(u64),
    /// Reads of all kinds.
    Check(u64),
}

#[derive(Clone, Debug)]
enum Write {
    Put(u64, u8, i64),
    Delete(u64, Option<u64>),
}

/// An answer, read in parts of any size.
fn in_parts(view: &View, query: &RangeQuery, random: &mut Random) -> RangeResult {
    let parts = view.range_in_parts(query).unwrap();
    let (mut records, mut next) = (Vec::new(), 0);
    while next < parts.len() {
        let count = usize::try_from(1 + random.below(4)).unwrap();
        let end = parts.len().min(next + count);
        parts.read(next..end, |record| records.push(Bytes::copy_from_slice(record))).unwrap();
        assert!((next..end).all(|place| records[place].len() == parts.record_len(place)));
        next = end;
    }
    let RangeParts { count, more, revision, .. } = parts;
    RangeResult { records, count, more, revision }
}

/// What the log holds.
#[derive(Clone, Debug)]
enum Entry {
    Txn(Vec<Write>),
    Compact(i64),
}

fn writes() -> impl Strategy<Value = Write> {
    prop_oneof![
        3 => (0..12_u64, 0..120_u8, 0..3_i64).prop_map(|(k, v, l)| Write::Put(k, v, l)),
        1 => (0..12_u64, prop::option::of(0..13_u64)).prop_map(|(k, end)| Write::Delete(k, end)),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (prop::collection::vec(writes(), 0..4), prop::bool::weighted(0.8))
            .prop_map(|(writes, ends)| Op::Txn(writes, ends)),
        2 => (0..=100_i64).prop_map(Op::Compact),
        4 => (1..20_u8).prop_map(Op::Step),
        3 => any::<u8>().prop_map(Op::Idle),
        1 => any::<u64>().prop_map(Op::Crash),
        4 => any::<u64>().prop_map(Op::Check),
    ]
}

fn key(number: u64) -> Vec<u8> {
    let keys: [&[u8]; 12] =
        [b"a", b"a\0", b"aa", b"ab", b"b", b"c", b"c\xff", b"d", b"e", b"ea", b"f", b"g"];
    keys[usize::try_from(number).unwrap()].to_vec()
}

fn range_end(end: Option<u64>) -> Vec<u8> {
    match end {
        None => Vec::new(),
        Some(12) => vec![0],
        Some(end) => key(end),
    }
}

struct World {
    fs: MemFs,
    member: Option<Member>,
    log: Vec<Entry>,
    model: Model,
    /// The model as readers see it.
    published: Model,
    /// Hashes that compactions must have stored since the start.
    hashes: Vec<KeyHash>,
    /// The hash that the compaction under way will store.
    expected: Option<KeyHash>,
    now: Duration,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    queries: u64,
    crashes: u64,
    resumed: u64,
    compactions: u64,
    rewrites: u64,
}

impl World {
    fn new() -> Self {
        let fs = MemFs::new();
        Self {
            member: Some(Member::open(&fs)),
            fs,
            log: Vec::new(),
            model: Model::default(),
            published: Model::default(),
            hashes: Vec::new(),
            expected: None,
            now: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    fn member(&mut self) -> &mut Member {
        self.member.as_mut().unwrap()
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Txn(writes, ends) => {
                self.log.push(Entry::Txn(writes.clone()));
                self.apply_writes(writes);
                if *ends {
                    self.commit();
                }
            }
            Op::Compact(percent) => {
                let (low, high) = (self.model.compact_revision.max(0), self.model.revision);
                let revision = low + (high - low) * percent / 100;
                if revision <= self.model.compact_revision {
                    let Member { mvcc, store, .. } = self.member();
                    assert!(matches!(mvcc.compact(store, revision), Err(Error::Compacted)));
                    assert!(matches!(mvcc.compact(store, high + 1), Err(Error::FutureRev)));
                    return;
                }
                self.log.push(Entry::Compact(revision));
                self.compact(revision);
                self.commit();
            }
            Op::Step(steps) => (0..*steps).for_each(|_| self.step()),
            Op::Idle(how) => self.idle(*how),
            Op::Crash(seed) => self.crash(*seed),
            Op::Check(seed) => self.check(&mut Random(*seed)),
        }
    }

    fn apply_writes(&mut self, writes: &[Write]) {
        let Self { member, model, .. } = self;
        let Member { mvcc, store, .. } = member.as_mut().unwrap();
        let (before, begin) = (model.clone(), model.revision);
        let mut txn = mvcc.begin(store);
        let (mut sub, mut expected) = (0, Vec::new());
        for write in writes {
            let mut next = || {
                sub += 1;
                Revision { main: begin + 1, sub: sub - 1 }
            };
            match write {
                Write::Put(number, value, lease) => {
                    let (key, value) = (key(*number), vec![*value; usize::from(*value)]);
                    let revision = next();
                    model.put(revision, &key, &value, *lease);
                    expected.push((key.clone(), revision));
                    assert_eq!(txn.put(Bytes::from(key), &value, *lease), begin + 1);
                }
                Write::Delete(number, end) => {
                    let (from, end) = (key(*number), range_end(*end));
                    let dying = model.live_keys(&from, &end, model.revision);
                    let dying: Vec<_> = dying.into_iter().map(|(key, _)| key.to_vec()).collect();
                    let count = txn.delete_range(&from, &end);
                    assert_eq!(count, i64::try_from(dying.len()).unwrap());
                    for key in dying {
                        let revision = next();
                        model.delete(revision, &key);
                        expected.push((key, revision));
                    }
                }
            }
            let query = random_query(&mut Random(begin.cast_unsigned()), begin, &key);
            if query.revision <= begin && query.revision.max(0) >= model.compact_revision.max(0)
                || query.revision <= 0
            {
                assert_eq!(txn.range(&query).unwrap(), model.range(&query), "{query:?}");
            }
        }
        let changes = txn.end();
        let list = changes.map(|changes| changes.list).unwrap_or_default();
        let found: Vec<_> = list.iter().map(|c| (c.key.to_vec(), c.revision)).collect();
        assert_eq!(found, expected);
        for change in &list {
            let items = &model.keys[&change.key[..]];
            let item = items.iter().find(|item| item.revision == change.revision).unwrap();
            let mut record = item.record(&change.key);
            record.mod_revision = change.revision.main;
            assert_eq!(change.record, record.encode());
            assert_eq!((change.version, change.lease), (item.version, item.lease));
            let had = before.keys.get(&change.key[..]).and_then(|items| live(items, begin));
            assert_eq!(change.previous.is_some(), had.is_some());
        }
    }

    fn compact(&mut self, revision: i64) {
        let Self { member, model, expected, .. } = self;
        let Member { mvcc, store, .. } = member.as_mut().unwrap();
        let compact_revision = model.compact_revision;
        if !mvcc.is_compacting() {
            let hash = model.hash(compact_revision, revision, true);
            *expected = Some(KeyHash { hash, compact_revision, hash_revision: revision });
        }
        mvcc.compact(store, revision).unwrap();
        model.compact_revision = revision;
    }

    fn commit(&mut self) {
        let index = self.log.len() as u64;
        let Member { mvcc, store, .. } = self.member();
        store.commit(index, 1);
        mvcc.publish();
        self.published = self.model.clone();
    }

    fn step(&mut self) {
        let Member { mvcc, store, .. } = self.member();
        let budget = Budget { keys: 3, bytes: 100 };
        let Progress::Finished { revision, hash } = mvcc.compaction_step(store, budget).unwrap()
        else {
            return;
        };
        let (more, compact_revision) = (mvcc.is_compacting(), self.model.compact_revision);
        assert!(revision == compact_revision || (more && revision < compact_revision));
        assert_eq!(hash, self.expected);
        self.hashes.extend(self.expected.take());
        self.counts.compactions += 1;
        self.commit();
    }

    fn idle(&mut self, how: u8) {
        self.now += Duration::from_millis(u64::from(how));
        let (now, durable) = (self.now, self.log.len() as u64);
        let member = self.member();
        member.flusher.step(now, durable).unwrap();
        if how.is_multiple_of(3) {
            member.flusher.sync().unwrap();
        }
        let judge = member.views.judge();
        let mut rewrites = 0;
        for _ in 0..how % 16 {
            let step = member.compactor.step(&judge, 500).unwrap();
            rewrites += u64::from(matches!(step, Step::Done { .. }));
        }
        self.counts.rewrites += rewrites;
    }

    fn crash(&mut self, seed: u64) {
        drop(self.member.take());
        self.fs = self.fs.crash(seed);
        let member = Member::open(&self.fs);
        let index = usize::try_from(member.index).unwrap();
        self.counts.crashes += 1;
        self.counts.resumed += u64::from(member.mvcc.is_compacting());
        let leases = member.leases.clone();
        self.member = Some(member);
        (self.model, self.hashes, self.expected) = (Model::default(), Vec::new(), None);
        // The model of what was found: nothing but the log up to there.
        let known = std::mem::take(&mut self.log);
        self.model = replay(&known[..index]);
        let live = self.model.live_keys(b"a", b"\0", i64::MAX);
        let attached = live.iter().filter(|(_, item)| item.lease != 0);
        let attached: Vec<_> =
            attached.map(|(key, item)| (Bytes::copy_from_slice(key), item.lease)).collect();
        assert_eq!(leases, attached);
        self.log = known[..index].to_vec();
        self.published = self.model.clone();
        self.check(&mut Random(seed));
        for entry in &known[index..] {
            self.log.push(entry.clone());
            match entry {
                Entry::Txn(writes) => self.apply_writes(writes),
                Entry::Compact(revision) => self.compact(*revision),
            }
        }
        self.commit();
    }

    fn check(&mut self, random: &mut Random) {
        let view = self.member().views.latest();
        let model = &self.published;
        assert_eq!(view.revision(), model.revision);
        assert_eq!(view.compact_revision(), model.compact_revision);
        for _ in 0..30 {
            let query = random_query(random, model.revision, &key);
            let found = view.range(&query);
            if query.revision > model.revision {
                assert!(matches!(found, Err(Error::FutureRev)));
            } else if (1..model.compact_revision).contains(&query.revision) {
                assert!(matches!(found, Err(Error::Compacted)));
            } else {
                assert_eq!(found.unwrap(), model.range(&query), "{query:?}");
                if query.has_parts() {
                    assert_eq!(in_parts(&view, &query, random), model.range(&query), "{query:?}");
                }
            }
            self.counts.queries += 1;
        }
        for number in 0..12 {
            let key = key(number);
            let item = model.keys.get(&key).and_then(|items| live(items, model.revision));
            let record = item.map(|item| Bytes::from(item.record(&key).encode()));
            assert_eq!(view.get(&key).unwrap(), record);
            let meta = view.meta(&key).map(|m| (m.create_revision, m.mod_revision, m.version));
            let expected = item.map(|item| (item.create, item.revision.main, item.version));
            assert_eq!(meta, expected);
        }
        let revision = random.between(model.compact_revision.max(0), model.revision);
        self.check_hash(&view, revision);
        check_history(&view, &self.published, random);
        self.check_hash(&view, 0);
    }

    fn check_hash(&self, view: &View, revision: i64) {
        let found = view.hash_by_revision(revision).unwrap();
        let kept = self.hashes.len().saturating_sub(10);
        let mut known = self.hashes[kept..].iter();
        // A hash may be there before the compaction that made it is finished.
        let pending = self.expected.as_ref().filter(|hash| hash.hash_revision == revision);
        if let Some(known) = known.find(|known| known.hash_revision == revision) {
            assert_eq!(found, *known);
        } else if pending != Some(&found) {
            let model = &self.published;
            let hash_revision = if revision == 0 { model.revision } else { revision };
            let compact_revision = model.compact_revision;
            let hash = model.hash(compact_revision, hash_revision, false);
            assert_eq!(found, KeyHash { hash, compact_revision, hash_revision });
        }
    }
}

/// What a log makes of an empty store.
fn replay(log: &[Entry]) -> Model {
    let mut model = Model::default();
    for entry in log {
        match entry {
            Entry::Compact(revision) => model.compact_revision = *revision,
            Entry::Txn(writes) => {
                let (main, mut sub) = (model.revision + 1, 0);
                for write in writes {
                    let revision = Revision { main, sub };
                    match write {
                        Write::Put(number, value, lease) => {
                            let value = vec![*value; usize::from(*value)];
                            model.put(revision, &key(*number), &value, *lease);
                            sub += 1;
                        }
                        Write::Delete(number, end) => {
                            let dying =
                                model.live_keys(&key(*number), &range_end(*end), model.revision);
                            let dying: Vec<_> =
                                dying.into_iter().map(|(key, _)| key.to_vec()).collect();
                            for key in dying {
                                model.delete(Revision { main, sub }, &key);
                                sub += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    model
}

/// What watchers that catch up are told.
fn check_history(view: &View, model: &Model, random: &mut Random) {
    let (from_key, end) = (key(random.below(12)), range_end(Some(random.below(13))));
    let first = random.between(model.compact_revision.max(1), model.revision);
    let to = random.between(first, model.revision + 2);
    let limit = usize::try_from(random.below(8) + 1).unwrap();
    let range = KeyRange::new(&from_key, &end);
    let below = view.history(range, model.compact_revision - 1, to, limit);
    assert!(matches!(below, Err(Error::Compacted)));
    let mut expected = Vec::new();
    for (key, items) in model.keys.iter().filter(|(key, _)| inside(key, &from_key, &end)) {
        let wanted = items.iter().filter(|item| (first..=to).contains(&item.revision.main));
        // Of a change at the compact revision only the last of its key is left.
        let newest = items.iter().rev().find(|i| i.revision.main <= model.compact_revision);
        let left = |item: &&_| {
            let item: &common::model::Item = item;
            item.revision.main > model.compact_revision
                || newest.is_some_and(|newest| newest.revision == item.revision)
        };
        expected.extend(wanted.filter(left).map(|item| (item.revision, key.clone(), item)));
    }
    expected.sort_by_key(|(revision, ..)| *revision);
    let mut from = first;
    let mut found = Vec::new();
    loop {
        let past = view.history(range, from, to, limit).unwrap();
        let last = past.next.map_or(to, |next| next - 1);
        assert!(past.changes.iter().all(|c| (from..=last).contains(&c.revision.main)));
        assert!(past.next.is_none() || past.changes.len() >= limit);
        found.extend(past.changes);
        match past.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(found.len(), expected.len());
    for (found, (revision, key, item)) in found.iter().zip(&expected) {
        assert_eq!((found.revision, &found.key[..]), (*revision, &key[..]));
        assert_eq!(found.tombstone, item.tombstone);
        assert_eq!((found.version, found.create_revision), (item.version, item.create));
        let record = view.gather(&[found.location]).unwrap();
        assert_eq!(record[0], item.record(key).encode());
        let before = revision.main - 1;
        let previous = live(&model.keys[key], before).filter(|_| before >= model.compact_revision);
        assert_eq!(found.previous.is_some(), previous.is_some(), "{found:?}");
        if let (Some(location), Some(previous)) = (found.previous, previous) {
            assert_eq!(view.gather(&[location]).unwrap()[0], previous.record(key).encode());
        }
    }
}

static TOTALS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_equal_a_naive_model(program in prop::collection::vec(ops(), 1..120)) {
        let mut world = World::new();
        program.iter().for_each(|op| world.run(op));
        world.commit();
        world.check(&mut Random(7));
        world.crash(11);
        world.check(&mut Random(8));
        while world.member().mvcc.is_compacting() {
            world.step();
        }
        world.check(&mut Random(9));
        let Counts { queries, crashes, resumed, compactions, rewrites } = world.counts;
        let counts = [1, queries, crashes, resumed, compactions, rewrites];
        let add = |(total, count): (&AtomicU64, u64)| total.fetch_add(count, Ordering::Relaxed);
        let totals: Vec<_> = TOTALS.iter().zip(counts).map(|both| add(both) + both.1).collect();
        if totals[0] == 2000 {
            assert!(totals.iter().all(|total| *total > 0), "{totals:?}");
            let [programs, queries, crashes, resumed, compactions, rewrites] = totals[..] else {
                unreachable!("six totals")
            };
            testkit::figures::note("mvcc-random", format!(
                "{programs} programs, {queries} ranges, {crashes} crashes ({resumed} in mid compaction), \
                 {compactions} compactions, {rewrites} segment rewrites"
            ));
        }
    }
}
