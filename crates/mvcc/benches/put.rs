//! What a put costs below raft: transaction, index, frame, publication; then reads of it.
//!
//! `cargo bench -p quorate-mvcc --bench put`. 1,000,000 keys are there; values have 256 bytes. The
//! flusher runs on the same thread, on the real disk, and its time is told apart.
#![allow(clippy::unwrap_used, reason = "a bench may end with a panic")]

use bytes::Bytes;
use quorate_mvcc::{Budget, Progress, RangeQuery, Read, Started, restore};
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vfs::OsFs;

const KEYS: usize = 1_000_000;
const PUTS: usize = 200_000;

fn main() {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(target).unwrap();
    let options = backend::Options::default();
    let opened = backend::open(Arc::new(OsFs), dir.path(), options).unwrap();
    let (mut store, mut flusher) = (opened.store, opened.flusher);
    let Started { mut mvcc, views, .. } =
        restore(opened.restored, opened.reader, store.buckets()).unwrap();
    let value = [b'v'; 256];
    let (mut index, mut random) = (0, 1);
    for batch in [1000, 1, 10, 100] {
        let count = if batch == 1000 { KEYS } else { PUTS };
        let (mut puts, mut flushes) = (Duration::ZERO, Duration::ZERO);
        for first in (0..count).step_by(batch) {
            let started = Instant::now();
            for number in first..first + batch {
                let number = if batch == 1000 { number } else { next(&mut random) % KEYS };
                let mut txn = mvcc.begin(&mut store);
                txn.put(key(number), &value, 0);
                black_box(txn.end());
            }
            index += 1;
            store.commit(index, 1);
            mvcc.publish();
            puts += started.elapsed();
            let started = Instant::now();
            flusher.step(Duration::from_millis(index), index).unwrap();
            flushes += started.elapsed();
        }
        let each = |time: Duration| time.as_nanos() / count as u128;
        let what = if batch == 1000 { "new keys" } else { "random keys" };
        println!(
            "put, {what}, {batch:>4} to a batch {:>7} ns, and {:>6} ns of the flusher",
            each(puts),
            each(flushes),
        );
    }
    flusher.sync().unwrap();
    let view = views.latest();
    time("get", PUTS, || {
        for _ in 0..PUTS {
            assert!(view.get(&key(next(&mut random) % KEYS)).unwrap().is_some());
        }
    });
    let query =
        |limit| RangeQuery { range_end: Bytes::from_static(b"\0"), limit, ..RangeQuery::default() };
    time("range of 1,000 keys, each", 100 * 1000, || {
        for _ in 0..100 {
            let query = RangeQuery { key: key(next(&mut random) % (KEYS / 2)), ..query(1000) };
            assert_eq!(view.range(&query).unwrap().records.len(), 1000);
        }
    });
    time("hash of all, each", KEYS + 3 * PUTS, || {
        black_box(view.hash_by_revision(0).unwrap());
    });
    let revision = mvcc.revision();
    mvcc.compact(&mut store, revision).unwrap();
    store.commit(index + 1, 1);
    mvcc.publish();
    let (mut steps, mut longest) = (0, Duration::ZERO);
    time("compaction in steps, each revision", KEYS + 3 * PUTS, || {
        loop {
            let started = Instant::now();
            let step = mvcc.compaction_step(&mut store, Budget::default()).unwrap();
            longest = longest.max(started.elapsed());
            steps += 1;
            if matches!(step, Progress::Finished { .. }) {
                break;
            }
        }
    });
    println!("{steps} steps, the longest {:.1} ms", longest.as_secs_f64() * 1e3);
}

fn time(what: &str, count: usize, work: impl FnOnce()) {
    let started = Instant::now();
    work();
    println!("{what:<36} {:>7} ns", started.elapsed().as_nanos() / count as u128);
}

fn key(number: usize) -> Bytes {
    Bytes::from(format!("/registry/pods/namespace/{number:039}"))
}

/// SplitMix64.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) >> 1).unwrap()
}
