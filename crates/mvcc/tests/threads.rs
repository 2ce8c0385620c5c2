//! Readers, a hasher and the store's compactor beside a writer that compacts all the time.
//!
//! Every transaction puts all keys with its own revision as the value, so that whatever a reader
//! sees shows at which revision it was.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

mod common;

use backend::{KeyValue, Step};
use bytes::Bytes;
use common::{Member, Random};
use quorate_mvcc::{Budget, Error, KeyRange, Progress, RangeQuery, Read, Views};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use vfs::MemFs;

const KEYS: usize = 100;
const TXNS: i64 = 3000;

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    reads: AtomicU64,
    compacted: AtomicU64,
    hashes: Mutex<BTreeMap<(i64, i64), u32>>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn all(revision: i64) -> RangeQuery {
    let (key, range_end) = (Bytes::from_static(b"k"), Bytes::from_static(b"l"));
    RangeQuery { key, range_end, revision, ..RangeQuery::default() }
}

/// Every record must be of `revision`.
fn check_records(records: &[Bytes], revision: i64) {
    for record in records {
        let record = KeyValue::parse(record).unwrap();
        assert_eq!(record.mod_revision, revision);
        assert_eq!(record.value, revision.to_string().as_bytes());
    }
}

fn read(views: &Views, shared: &Shared, seed: u64) {
    let mut random = Random(seed);
    let mut last = 0;
    while shared.goes_on() {
        let view = views.latest();
        let now = view.revision();
        assert!(now >= last, "views go forward");
        last = now;
        if now == 1 {
            continue;
        }
        let back = random.between(0, 60.min(now - 2));
        let revision = now - back;
        // The view is old by the time it reads, sometimes older than the next compaction.
        for _ in 0..random.below(20) {
            thread::yield_now();
        }
        match view.range(&all(revision)) {
            Ok(found) => {
                assert_eq!((found.records.len(), found.revision), (KEYS, now));
                assert_eq!(usize::try_from(found.count).unwrap(), KEYS);
                check_records(&found.records, revision);
                shared.reads.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Compacted) => {
                shared.compacted.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => panic!("{error}"),
        }
        let from = random.between(revision, now);
        match view.history(KeyRange::ALL, from, now, 150) {
            Ok(past) => {
                let mut expected = (from..=now).flat_map(|main| vec![main; KEYS]);
                let found = past.changes.iter().map(|change| change.revision.main);
                assert!(found.eq(expected.by_ref().take(past.changes.len())));
            }
            Err(error) => assert!(matches!(error, Error::Compacted), "{error}"),
        }
    }
}

fn stream(views: &Views, shared: &Shared) {
    while shared.goes_on() {
        let view = views.latest();
        let revision = view.revision();
        if revision == 1 {
            continue;
        }
        let mut stream = view.stream(all(0), 500);
        let mut count = 0;
        loop {
            match stream.next_chunk() {
                Ok(Some(chunk)) => {
                    count += chunk.records.len();
                    check_records(&chunk.records, revision);
                }
                Ok(None) => {
                    assert_eq!(count, KEYS);
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Compacted), "{error}");
                    break;
                }
            }
        }
    }
}

fn hash(views: &Views, shared: &Shared) {
    while shared.goes_on() {
        let view = views.latest();
        let revision = view.revision();
        match view.hash_by_revision(revision) {
            Ok(found) => {
                let key = (found.compact_revision, found.hash_revision);
                let mut hashes = shared.hashes.lock().unwrap();
                assert_eq!(*hashes.entry(key).or_insert(found.hash), found.hash);
            }
            Err(error) => assert!(matches!(error, Error::Compacted), "{error}"),
        }
    }
}

#[test]
fn readers_see_whole_transactions_while_the_past_is_dropped() {
    let mut member = Member::open(&MemFs::new());
    let shared = Shared::default();
    let views = member.views.clone();
    let mut compactor = {
        let spare = Member::open(&MemFs::new());
        std::mem::replace(&mut member.compactor, spare.compactor)
    };
    let (mut rewrites, mut compactions) = (0, 0);
    thread::scope(|scope| {
        let (shared, views) = (&shared, &views);
        (0..2).for_each(|seed| drop(scope.spawn(move || read(views, shared, seed))));
        scope.spawn(|| stream(views, shared));
        scope.spawn(|| hash(views, shared));
        let rewriting = scope.spawn(move || {
            let mut rewrites = 0;
            while shared.goes_on() {
                let step = compactor.step(&views.judge(), 10_000).unwrap();
                rewrites += u64::from(matches!(step, Step::Done { .. }));
                thread::yield_now();
            }
            rewrites
        });
        let mut random = Random(1);
        for round in 0..TXNS {
            write(&mut member);
            if round % 50 == 49 {
                let back = random.between(0, 40);
                member.compact(member.mvcc.revision() - back).unwrap();
            }
            let budget = Budget { keys: 30, bytes: 50_000 };
            let step = member.mvcc.compaction_step(&mut member.store, budget).unwrap();
            if matches!(step, Progress::Finished { .. }) {
                compactions += 1;
                member.commit();
            }
            member.flusher.step(Duration::from_millis(round.unsigned_abs()), u64::MAX).unwrap();
        }
        shared.stop.store(true, Ordering::Relaxed);
        rewrites = rewriting.join().unwrap();
    });
    let reads = shared.reads.into_inner();
    let compacted = shared.compacted.into_inner();
    let hashes = shared.hashes.into_inner().unwrap().len();
    assert!(reads > 0 && compacted > 0 && hashes > 0 && rewrites > 0 && compactions > 0);
    testkit::figures::note(
        "mvcc-threads",
        format!(
            "{TXNS} transactions, {compactions} compactions, {rewrites} segment rewrites; \
             {reads} whole reads, {compacted} answered compacted, {hashes} different hashes"
        ),
    );
}

fn write(member: &mut Member) {
    let mut txn = member.mvcc.begin(&mut member.store);
    let value = (txn.revision() + 1).to_string();
    for number in 0..KEYS {
        txn.put(Bytes::from(format!("k{number:03}")), value.as_bytes(), 0);
    }
    assert!(txn.end().is_some());
    member.commit();
}
