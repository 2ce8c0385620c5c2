//! Entries and syncs per second with 1 to 1,000 appenders that each wait for their ack, through
//! the stage's thread, with real syncs on a directory under `target/`.
//!
//! `cargo bench -p quorate-wal` prints a table; each row runs for about two seconds.
#![allow(clippy::unwrap_used, reason = "a bench may end with a panic")]

use bytes::Bytes;
use quorate_wal::stage::{Append, WalStage, spawn};
use quorate_wal::{Options, Wal};
use raftpb::{Entry, HardState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vfs::OsFs;

const ENTRY_BYTES: usize = 256;
const ROW: Duration = Duration::from_secs(2);

fn main() {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    println!("{:>10} {:>12} {:>10} {:>14}", "appenders", "entries/s", "syncs/s", "entries/sync");
    for appenders in [1, 10, 100, 1000] {
        let dir = tempfile::tempdir_in(&target).unwrap();
        row(&dir.path().join("wal"), appenders);
    }
}

fn row(dir: &Path, appenders: usize) {
    let wal = Wal::create(Arc::new(OsFs), dir, b"bench", Options::default()).unwrap();
    let groups = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&groups);
    let acked = move |tokens: &mut Vec<crossbeam_channel::Sender<()>>| {
        counted.fetch_add(1, Ordering::Relaxed);
        for waiter in tokens.drain(..) {
            waiter.send(()).unwrap();
        }
    };
    let (requests, shell) = spawn(WalStage::new(wal), acked);
    let stop = Arc::new(AtomicBool::new(false));
    // One index for all: an entry is sent before a later index is drawn.
    let last_index = Arc::new(Mutex::new(0));
    let threads: Vec<_> = (0..appenders)
        .map(|_| {
            let (requests, stop) = (requests.clone(), Arc::clone(&stop));
            let last_index = Arc::clone(&last_index);
            std::thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn(move || appender(&requests, &last_index, &stop))
                .unwrap()
        })
        .collect();
    drop(requests);
    let begin = Instant::now();
    let (_never, timer) = crossbeam_channel::bounded::<()>(0);
    timer.recv_timeout(ROW).unwrap_err();
    stop.store(true, Ordering::Relaxed);
    let entries: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let seconds = begin.elapsed().as_secs_f64();
    shell.join().unwrap().unwrap().into_wal().close().unwrap();
    let syncs = groups.load(Ordering::Relaxed);
    println!(
        "{appenders:>10} {:>12.0} {:>10.0} {:>14.1}",
        entries as f64 / seconds,
        syncs as f64 / seconds,
        entries as f64 / syncs as f64
    );
}

fn appender(
    requests: &crossbeam_channel::Sender<Append<crossbeam_channel::Sender<()>>>,
    last_index: &Mutex<u64>,
    stop: &AtomicBool,
) -> u64 {
    let (ack, acks) = crossbeam_channel::bounded(1);
    let data = Bytes::from(vec![0xab; ENTRY_BYTES]);
    let mut appended = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut last = last_index.lock().unwrap();
        *last += 1;
        let (index, data) = (Some(*last), Some(data.clone()));
        let entry = Entry { r#type: Some(0), term: Some(1), index, data };
        let hard_state = HardState::default();
        let token = ack.clone();
        let append = Append { hard_state, entries: vec![entry], must_sync: false, token };
        requests.send(append).unwrap();
        drop(last);
        acks.recv().unwrap();
        appended += 1;
    }
    appended
}
