//! Compaction while others read and write: what the files take before and after, and how long
//! a reader waits meanwhile.
//!
//! `cargo bench -p quorate-backend`. 1,000,000 revisions of 250,000 keys; all but the last of
//! each are dead. One thread appends and flushes, one compacts at a set pace, one reads live
//! revisions at random and takes the time of each.
#![allow(clippy::unwrap_used, reason = "a bench may end with a panic")]

use crossbeam_channel::{Receiver, bounded};
use quorate_backend::{
    Compactor, Flusher, Live, Location, Options, Reader, Revision, Step, Store, open,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use vfs::OsFs;

const REVISIONS: usize = 1_000_000;
const KEYS: usize = 250_000;
const VALUE_BYTES: usize = 256;
/// Bytes of old segments read in a step, and the pause behind it: 50 MiB/s at most.
const STEP_BYTES: u64 = 512 << 10;
const PAUSE: Duration = Duration::from_millis(10);
/// Revisions that the writer appends in each of its rounds of a millisecond.
const WRITES: usize = 20;
const CALM: Duration = Duration::from_secs(3);

fn main() {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(target).unwrap();
    let mut opened = open(Arc::new(OsFs), dir.path(), Options::default()).unwrap();
    let locations = fill(&mut opened.store, &mut opened.flusher);
    let dead = REVISIONS - KEYS;
    locations[..dead].iter().for_each(|location| opened.reader.mark_dead(*location));
    let live = &locations[dead..];
    println!("{REVISIONS} revisions, {dead} of them dead; 20,000 writes/s beside it");
    println!("files before: {:>5} MB", file_bytes(dir.path()) >> 20);

    let reader = opened.reader;
    let stop = AtomicBool::new(false);
    let (never, pauses) = bounded::<()>(0);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(opened.store, opened.flusher, &pauses, &stop));
        let calm = Instant::now();
        report("reads, no compaction", &mut read(&reader, live, || calm.elapsed() < CALM));
        let compactor = opened.compactor;
        let compaction = scope.spawn(|| compact(compactor, &pauses));
        report("reads, during it", &mut read(&reader, live, || !compaction.is_finished()));
        let (took, rewrites) = compaction.join().unwrap();
        println!("{rewrites} rewrites in {:.1} s", took.as_secs_f64());
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().unwrap();
        println!(
            "files after:  {:>5} MB, {written} new revisions in them",
            file_bytes(dir.path()) >> 20
        );
    });
    drop(never);
    // Every live one is still where its location says.
    let mut checked = 0;
    reader.gather(live, |_, _| checked += 1).unwrap();
    assert_eq!(checked, KEYS);
}

fn fill(store: &mut Store, flusher: &mut Flusher) -> Vec<Location> {
    let mut locations = Vec::with_capacity(REVISIONS);
    for place in 0..REVISIONS {
        locations.push(put(store, place));
        if (place + 1).is_multiple_of(100) {
            store.commit(place as u64, 1);
            flusher.step(Duration::ZERO, u64::MAX).unwrap();
        }
    }
    flusher.sync().unwrap();
    locations
}

/// Appends with its own thread's flusher until it is told to stop; gives how many.
fn write(
    mut store: Store,
    mut flusher: Flusher,
    pauses: &Receiver<()>,
    stop: &AtomicBool,
) -> usize {
    let started = Instant::now();
    let mut place = REVISIONS;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..WRITES {
            put(&mut store, place);
            place += 1;
        }
        store.commit(place as u64, 1);
        flusher.step(started.elapsed(), u64::MAX).unwrap();
        pauses.recv_timeout(Duration::from_millis(1)).unwrap_err();
    }
    flusher.sync().unwrap();
    place - REVISIONS
}

struct LastOfEach;

impl Live for LastOfEach {
    fn index(&self) -> u64 {
        0
    }

    fn horizon(&self) -> i64 {
        i64::MAX
    }

    fn is_live(&self, _key: &[u8], revision: Revision) -> bool {
        revision.main >= i64::try_from(REVISIONS - KEYS).unwrap() + 2
    }
}

fn compact(mut compactor: Compactor, pauses: &Receiver<()>) -> (Duration, usize) {
    let started = Instant::now();
    let mut rewrites = 0;
    loop {
        match compactor.step(&LastOfEach, STEP_BYTES).unwrap() {
            Step::Idle => return (started.elapsed(), rewrites),
            Step::Done { .. } => rewrites += 1,
            Step::Working | Step::Waiting => {}
        }
        pauses.recv_timeout(PAUSE).unwrap_err();
    }
}

/// Reads for as long as it is told to and gives what each read took.
fn read(reader: &Reader, live: &[Location], goes_on: impl Fn() -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut random = 7;
    while goes_on() {
        for _ in 0..1000 {
            let location = live[next(&mut random) % live.len()];
            let started = Instant::now();
            let record = reader.get(location).unwrap();
            times.push(started.elapsed());
            assert!(record.value().len() > VALUE_BYTES);
        }
    }
    times
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |permille: usize| {
        let place = times.len() * permille / 1000;
        times[place.min(times.len() - 1)].as_nanos() as f64 / 1e3
    };
    println!(
        "{what:<22} {:>9} reads: p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.0} us",
        times.len(),
        at(500),
        at(990),
        at(999),
        at(1000),
    );
}

fn file_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn put(store: &mut Store, place: usize) -> Location {
    let mut value = vec![0x0a, 16];
    value.extend_from_slice(format!("{:016x}", place % KEYS).as_bytes());
    value.extend_from_slice(&[0x2a, 0x80, 0x02]);
    value.resize(value.len() + VALUE_BYTES, b'v');
    store.put(Revision { main: i64::try_from(place).unwrap() + 2, sub: 0 }, false, &value)
}

/// SplitMix64.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(z ^ (z >> 31)).unwrap()
}
