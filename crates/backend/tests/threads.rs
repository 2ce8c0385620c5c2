//! All parts at once, each on a thread of its own, on a real disk: readers, who only ever ask for
//! what is live, find it wherever it is at that moment, and a pin is one moment.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use quorate_backend::{
    Compactor, Error, Flusher, Live, Location, Options, Reader, Revision, RevisionKey, Step, Store,
    open,
};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;
use vfs::OsFs;

const COMMITS: i64 = 10_000;
const KEYS: i64 = 40;
const OPTIONS: Options = Options { segment_bytes: 64 << 10, rewrite_percent: 40 };

/// What the threads tell each other.
#[derive(Default)]
struct Board {
    /// Where each revision lies, by its number.
    locations: RwLock<Vec<Location>>,
    /// The highest revision that readers were shown.
    committed: AtomicI64,
    /// The highest revision that is in files and synced.
    synced: AtomicI64,
    /// Revisions below this are dead, unless their key is put rarely.
    dead_below: AtomicI64,
}

/// Every tenth key is put once in a while only, and stays.
fn stays(revision: i64) -> bool {
    revision % KEYS == 0
}

fn value(revision: i64) -> Vec<u8> {
    let mut value = vec![0x0a, 8];
    value.extend_from_slice(&(revision % KEYS).to_be_bytes());
    let len = u8::try_from(50 + revision % 60).unwrap();
    value.extend_from_slice(&[0x2a, len]);
    value.resize(value.len() + usize::from(len), u8::try_from(revision % 251).unwrap());
    value
}

#[test]
fn readers_find_what_is_live_whatever_the_others_do() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(Arc::new(OsFs), dir.path(), OPTIONS).unwrap();
    let board = Board::default();
    let (rewrites, pins) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let (store, reader) = (opened.store, &opened.reader);
        let writer = scope.spawn(|| write(store, reader, &board));
        let flusher = scope.spawn(|| flush(opened.flusher, &board));
        let compactor = scope.spawn(|| compact(opened.compactor, &board, &rewrites));
        scope.spawn(|| read(reader, &board));
        scope.spawn(|| pin(reader, &board, &pins));
        for part in [writer, flusher, compactor] {
            part.join().unwrap();
        }
    });
    let (rewrites, pins) = (rewrites.into_inner(), pins.into_inner());
    assert!(rewrites > 0 && pins > 3, "{rewrites} rewrites, {pins} pins");
    testkit::figures::note("backend-threads", format!("{rewrites} rewrites beside {pins} pins"));
}

/// Lets the others end when a thread panics.
struct Witness<'a>(&'a Board);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.synced.store(i64::MAX, Ordering::Release);
            self.0.committed.store(COMMITS, Ordering::Release);
        }
    }
}

fn is_over(board: &Board) -> bool {
    board.committed.load(Ordering::Acquire) == COMMITS
}

fn write(mut store: Store, reader: &Reader, board: &Board) {
    let _witness = Witness(board);
    for revision in 1..=COMMITS {
        let location = store.put(Revision { main: revision, sub: 0 }, false, &value(revision));
        store.commit(revision.cast_unsigned(), 1);
        board.locations.write().unwrap().push(location);
        board.committed.store(revision, Ordering::Release);
        // The others keep up, or the run would be over before they began.
        while revision - board.synced.load(Ordering::Acquire) > 400 {
            thread::yield_now();
        }
        let dies = revision - 500;
        if dies > 0 {
            if !stays(dies) {
                let location = board.locations.read().unwrap()[usize::try_from(dies - 1).unwrap()];
                reader.mark_dead(location);
            }
            board.dead_below.store(dies + 1, Ordering::Release);
        }
    }
}

fn flush(mut flusher: Flusher, board: &Board) {
    let _witness = Witness(board);
    let mut now = Duration::ZERO;
    while !is_over(board) {
        now += Duration::from_millis(20);
        let durable = board.committed.load(Ordering::Acquire).cast_unsigned();
        flusher.step(now, durable).unwrap();
        board.synced.store(flusher.synced_index().cast_signed(), Ordering::Release);
        thread::yield_now();
    }
    flusher.sync().unwrap();
}

/// A judgement, which later ones only make stricter.
struct DeadBelow(i64);

impl Live for DeadBelow {
    fn index(&self) -> u64 {
        self.0.cast_unsigned()
    }

    fn horizon(&self) -> i64 {
        self.0
    }

    fn is_live(&self, key: &[u8], revision: Revision) -> bool {
        assert_eq!(key, (revision.main % KEYS).to_be_bytes());
        revision.main >= self.0 || stays(revision.main)
    }
}

fn compact(mut compactor: Compactor, board: &Board, rewrites: &AtomicU64) {
    let _witness = Witness(board);
    while !is_over(board) {
        let live = DeadBelow(board.dead_below.load(Ordering::Acquire));
        if let Step::Done { .. } = compactor.step(&live, 4096).unwrap() {
            rewrites.fetch_add(1, Ordering::Relaxed);
        }
        thread::yield_now();
    }
}

/// Whether `revision` may have been dropped by now.
fn may_be_gone(board: &Board, revision: i64) -> bool {
    revision < board.dead_below.load(Ordering::Acquire) && !stays(revision)
}

fn read(reader: &Reader, board: &Board) {
    let _witness = Witness(board);
    let mut random = 1_u64;
    while !is_over(board) {
        let locations = board.locations.read().unwrap().clone();
        let count = i64::try_from(locations.len()).unwrap();
        if count == 0 {
            continue;
        }
        let mut wanted = Vec::new();
        for _ in 0..50 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            wanted.push((random >> 33).cast_signed() % count + 1);
        }
        let at = |revision: &i64| locations[usize::try_from(revision - 1).unwrap()];
        for revision in &wanted {
            match reader.get(at(revision)) {
                Ok(record) => assert_eq!(record.value(), value(*revision)),
                Err(error) => assert!(error.is_gone() && may_be_gone(board, *revision), "{error}"),
            }
        }
        let places: Vec<Location> = wanted.iter().map(at).collect();
        let taken = reader.gather(&places, |place, bytes| assert_eq!(bytes, value(wanted[place])));
        if let Err(error) = taken {
            let any = wanted.iter().any(|revision| may_be_gone(board, *revision));
            assert!(error.is_gone() && any, "{error}");
        }
    }
}

fn pin(reader: &Reader, board: &Board, pins: &AtomicU64) {
    let _witness = Witness(board);
    while !is_over(board) {
        let committed = board.committed.load(Ordering::Acquire);
        let dead_below = board.dead_below.load(Ordering::Acquire);
        let pin = reader.pin();
        let after = board.committed.load(Ordering::Acquire);
        let mut found = Vec::new();
        pin.for_each(|key, bytes| {
            let (revision, _) = RevisionKey::parse(key).unwrap();
            assert_eq!(bytes, value(revision.main));
            found.push(revision.main);
            Ok::<_, Error>(())
        })
        .unwrap();
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "each once, ascending");
        // Nothing that was live and committed before is missing; nothing came from the future.
        // What died since may be gone.
        let dead_after = board.dead_below.load(Ordering::Acquire).max(dead_below);
        let live = (1..=committed).filter(|revision| *revision >= dead_after || stays(*revision));
        for revision in live {
            assert!(found.binary_search(&revision).is_ok(), "{revision} of {committed} is missing");
        }
        // The writer shows a revision just before it says so.
        assert!(found.last().is_none_or(|last| *last <= after + 1));
        pins.fetch_add(1, Ordering::Relaxed);
    }
}
