//! The store beside LMDB (through heed) on the workload of mvcc: revisions appended in order,
//! read at random, and gathered as a list does.
//!
//! `cargo bench -p quorate-beside-lmdb`. Rounds of both alternate and the medians are
//! shown; CPU is this thread's, in user and kernel mode. LMDB gets what suits it: one write
//! transaction and sync for 10,000 puts, appended at the end of its tree, and one read
//! transaction for all reads. Ours commits every 100 puts, where they become visible, and syncs
//! every 10,000. Both copy what they read into a response; ours checks a CRC for each record.
//! Both know where to look from an index: ours by location, LMDB by revision.
#![allow(clippy::unwrap_used, reason = "a bench may end with a panic")]

use backend::{Location, Opened, Options, Revision, RevisionKey, open};
use heed::types::Bytes as Raw;
use heed::{Database, EnvOpenOptions, PutFlags};
use rustix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vfs::OsFs;

const REVISIONS: usize = 1_000_000;
const ROUNDS: usize = 20;
const VALUE_BYTES: usize = 256;
const BATCH: usize = 100;
const SYNC: usize = 10_000;
const GETS: usize = 100_000;
const GATHER: usize = 10_000;

fn main() {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(target).unwrap();
    touch_memory(dir.path());
    let mut ours = Ours::new(&dir.path().join("store"));
    let mut lmdb = Lmdb::new(&dir.path().join("lmdb"));
    println!("{REVISIONS} revisions of {VALUE_BYTES} B values, {ROUNDS} rounds, median and mean");
    println!("{:<34} {:>15} {:>15} {:>11}", "", "ours", "LMDB", "ratio");

    let mut costs = Costs::default();
    for round in 0..ROUNDS {
        let range = round * REVISIONS / ROUNDS..(round + 1) * REVISIONS / ROUNDS;
        let count = range.len();
        // Who comes first meets what the other left behind, so they take turns.
        if round % 2 == 0 {
            costs.ours(|| ours.append(range.clone()), count);
        }
        costs.lmdb(|| lmdb.append(range.clone()), count);
        if round % 2 == 1 {
            costs.ours(|| ours.append(range.clone()), count);
        }
    }
    costs.row("append, CPU us per revision", 1.0);
    ours.finish();

    let mut random = 1;
    let mut costs = Costs::default();
    for _ in 0..ROUNDS {
        let wanted: Vec<usize> = (0..GETS).map(|_| next(&mut random) % REVISIONS).collect();
        costs.ours(|| ours.get(&wanted), GETS);
        costs.lmdb(|| lmdb.get(&wanted), GETS);
    }
    costs.row("random get, CPU us", 1.0);

    let mut costs = Costs::default();
    for _ in 0..ROUNDS * 3 {
        let mut wanted: Vec<usize> = (0..GATHER).map(|_| next(&mut random) % REVISIONS).collect();
        wanted.sort_unstable();
        costs.ours(|| ours.gather(&wanted), 1);
        costs.lmdb(|| lmdb.gather(&wanted), 1);
    }
    costs.row("gather of 10,000 at random, CPU ms", 1e-3);

    println!("memory with both open: {}", memory());
    drop(lmdb);
    let path = ours.path.clone();
    drop(ours);
    println!("memory with neither open: {}", memory());
    reopen(&path);
}

/// Lets the machine find room for the page cache once, so that nobody's first writes pay for it.
fn touch_memory(dir: &Path) {
    let path = dir.join("touch");
    std::fs::write(&path, vec![1; 1 << 30]).unwrap();
    std::fs::remove_file(path).unwrap();
}

/// Opens again and builds a packed index of all revisions, as mvcc does.
fn reopen(path: &Path) {
    for _ in 0..3 {
        let (started, cpu) = (Instant::now(), cpu_nanos());
        let mut opened = open_store(path);
        let opening = started.elapsed();
        let mut keys = Vec::new();
        let mut index: Vec<(usize, Revision, Location)> = Vec::new();
        while let Some(entry) = opened.restored.next().unwrap() {
            index.push((keys.len(), entry.revision, entry.location));
            keys.extend_from_slice(entry.key);
        }
        assert_eq!(index.len(), REVISIONS);
        println!(
            "reopened and indexed: {:.0} ms ({:.0} ms of it opening), CPU {:.0} ms; index {} MB; {}",
            millis(started.elapsed()),
            millis(opening),
            (cpu_nanos() - cpu) as f64 / 1e6,
            (keys.len() + size_of_val(&index[..])) >> 20,
            memory(),
        );
    }
}

struct Ours {
    path: PathBuf,
    opened: Opened,
    locations: Vec<Location>,
    response: Vec<u8>,
}

fn open_store(path: &Path) -> Opened {
    open(Arc::new(OsFs), path, Options::default()).unwrap()
}

impl Ours {
    fn new(path: &Path) -> Self {
        let opened = open_store(path);
        Self { path: path.to_owned(), opened, locations: Vec::new(), response: Vec::new() }
    }

    fn append(&mut self, range: std::ops::Range<usize>) {
        let mut value = Vec::new();
        for place in range {
            key_value(&mut value, place);
            let location = self.opened.store.put(revision(place), false, &value);
            self.locations.push(location);
            if (place + 1).is_multiple_of(BATCH) {
                self.opened.store.commit(place as u64, 1);
                // The stage syncs by itself every 10,000 records; the clock stands still.
                self.opened.flusher.step(Duration::ZERO, u64::MAX).unwrap();
            }
        }
    }

    fn finish(&mut self) {
        self.opened.flusher.sync().unwrap();
    }

    fn get(&mut self, wanted: &[usize]) {
        for place in wanted {
            let record = self.opened.reader.get(self.locations[*place]).unwrap();
            assert!(record.value().len() > VALUE_BYTES);
        }
    }

    fn gather(&mut self, wanted: &[usize]) {
        let locations: Vec<_> = wanted.iter().map(|place| self.locations[*place]).collect();
        self.response.clear();
        let response = &mut self.response;
        let take = |_, value: &[u8]| response.extend_from_slice(value);
        self.opened.reader.gather(&locations, take).unwrap();
        assert!(self.response.len() > VALUE_BYTES * GATHER);
    }
}

struct Lmdb {
    env: heed::Env,
    table: Database<Raw, Raw>,
    /// What an index holds instead of locations.
    revisions: Vec<Revision>,
}

impl Lmdb {
    #[expect(unsafe_code, reason = "opening an LMDB environment is unsafe; a bench only")]
    fn new(path: &Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let mut options = EnvOpenOptions::new();
        options.map_size(4 << 30);
        // SAFETY: nobody else opens this fresh directory.
        let env = unsafe { options.open(path) }.unwrap();
        let mut transaction = env.write_txn().unwrap();
        let table = env.create_database(&mut transaction, None).unwrap();
        transaction.commit().unwrap();
        Self { env, table, revisions: Vec::new() }
    }

    fn append(&mut self, range: std::ops::Range<usize>) {
        let mut value = Vec::new();
        let mut transaction = self.env.write_txn().unwrap();
        for place in range {
            key_value(&mut value, place);
            let key = RevisionKey::new(revision(place), false);
            let flags = PutFlags::APPEND;
            self.table.put_with_flags(&mut transaction, flags, key.as_bytes(), &value).unwrap();
            self.revisions.push(revision(place));
            if (place + 1).is_multiple_of(SYNC) {
                transaction.commit().unwrap();
                transaction = self.env.write_txn().unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn get(&self, wanted: &[usize]) {
        let transaction = self.env.read_txn().unwrap();
        for place in wanted {
            let key = RevisionKey::new(self.revisions[*place], false);
            let value = self.table.get(&transaction, key.as_bytes()).unwrap().unwrap().to_vec();
            assert!(value.len() > VALUE_BYTES);
        }
    }

    fn gather(&self, wanted: &[usize]) {
        let transaction = self.env.read_txn().unwrap();
        let mut response = Vec::new();
        for place in wanted {
            let key = RevisionKey::new(self.revisions[*place], false);
            let value = self.table.get(&transaction, key.as_bytes()).unwrap().unwrap();
            response.extend_from_slice(value);
        }
        assert!(response.len() > VALUE_BYTES * GATHER);
    }
}

/// CPU nanoseconds for each round, divided by its operations.
#[derive(Default)]
struct Costs {
    ours: Vec<f64>,
    lmdb: Vec<f64>,
}

impl Costs {
    fn ours(&mut self, work: impl FnOnce(), count: usize) {
        self.ours.push(measure(work, count));
    }

    fn lmdb(&mut self, work: impl FnOnce(), count: usize) {
        self.lmdb.push(measure(work, count));
    }

    /// Prints both medians, in microseconds times `scale`.
    fn row(mut self, what: &str, scale: f64) {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let means = [mean(&self.ours), mean(&self.lmdb)].map(|mean| mean / 1e3 * scale);
        let medians = [median(&mut self.ours), median(&mut self.lmdb)];
        let medians = medians.map(|median| median / 1e3 * scale);
        let ratio = |[ours, lmdb]: [f64; 2]| ours / lmdb;
        println!(
            "{what:<34} {:>7.3} {:>7.3} {:>7.3} {:>7.3} {:>5.2} {:>5.2}",
            medians[0],
            means[0],
            medians[1],
            means[1],
            ratio(medians),
            ratio(means)
        );
    }
}

fn measure(work: impl FnOnce(), count: usize) -> f64 {
    let started = cpu_nanos();
    work();
    (cpu_nanos() - started) as f64 / count as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let wanted = ["VmRSS", "RssAnon", "RssFile"];
    let lines = status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

fn revision(place: usize) -> Revision {
    Revision { main: i64::try_from(place).unwrap() + 2, sub: 0 }
}

/// The encoded `mvccpb.KeyValue` of a key of 32 bytes that comes in no order.
fn key_value(out: &mut Vec<u8>, place: usize) {
    let mut scrambled = place as u64;
    let number = next(&mut scrambled);
    out.clear();
    out.extend_from_slice(&[0x0a, 32]);
    out.extend_from_slice(b"/registry/pods/0");
    // By hand, since formatting would cost as much as appending.
    let digits = (0..16).map(|digit| b"0123456789abcdef"[number >> (60 - 4 * digit) & 15]);
    out.extend(digits);
    for field in [0x10, 0x18] {
        out.push(field);
        let mut left = place + 2;
        while left >= 0x80 {
            out.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        out.push(u8::try_from(left).unwrap());
    }
    out.extend_from_slice(&[0x20, 1, 0x2a, 0x80, 0x02]);
    out.resize(out.len() + VALUE_BYTES, b'v');
}

/// SplitMix64.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(z ^ (z >> 31)).unwrap()
}
