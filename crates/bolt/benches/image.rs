//! Seconds and bytes per second of each thing done with a database of a million keys: sizing it,
//! writing it, walking it with all checks, writing it anew from itself.
//!
//! `cargo bench -p quorate-bolt` prints a table. The file lies under `target/` and is mostly in the
//! system's cache; nothing is synced.
#![allow(clippy::unwrap_used, reason = "a bench may end with a panic")]

use quorate_bolt::{Emit, PageBytes, Reader, Result, Source, measure, write_measured};
use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

const ITEMS: u64 = 1_000_000;
const VALUE: [u8; 256] = [0x5a; 256];

/// Records of etcd's size and order: 17 bytes of key, 256 of value.
struct Records;

impl Source for Records {
    fn buckets(&mut self) -> Result<Vec<Vec<u8>>> {
        Ok(vec![b"key".to_vec()])
    }

    fn visit(&mut self, _: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        let mut key = *b"\0\0\0\0\0\0\0\0_\0\0\0\0\0\0\0\0";
        (0..ITEMS).try_for_each(|n| {
            key[..8].copy_from_slice(&n.to_be_bytes());
            emit(&key, &VALUE)
        })
    }
}

fn main() {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(&target).unwrap();
    println!("{:>8} {:>8} {:>10} {:>10}", "what", "seconds", "MB/s", "items/s");
    let page_bytes = PageBytes::default();
    let start = Instant::now();
    let layout = measure(&mut Records, page_bytes).unwrap();
    row("size", start, layout.file_bytes());

    let path = dir.path().join("db");
    let mut file = File::create(&path).unwrap();
    let start = Instant::now();
    write_measured(&mut Records, &layout, &mut file).unwrap();
    row("write", start, layout.file_bytes());

    let mut reader = Reader::open(File::open(&path).unwrap()).unwrap();
    let start = Instant::now();
    assert_eq!(reader.check().unwrap().items, ITEMS);
    row("walk", start, layout.file_bytes());

    let mut copy = File::create(dir.path().join("copy")).unwrap();
    let start = Instant::now();
    let layout = measure(&mut reader, page_bytes).unwrap();
    write_measured(&mut reader, &layout, &mut copy).unwrap();
    row("rewrite", start, layout.file_bytes());
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn row(what: &str, start: Instant, bytes: u64) {
    let seconds = start.elapsed().as_secs_f64();
    let (rate, items) = (bytes as f64 / 1e6 / seconds, ITEMS as f64 / seconds);
    println!("{what:>8} {seconds:>8.2} {rate:>10.0} {items:>10.0}");
}
