//! The index with a million keys of 64 bytes: time and memory for each, one thread.
//!
//! `cargo bench -p quorate-mvcc --bench index`. A `BTreeMap` from key to the same 40 bytes a
//! revision stands beside it: no history, no snapshots, no counts.
#![allow(clippy::unwrap_used, reason = "a bench may end with a panic")]

use backend::{Location, Revision};
use quorate_mvcc::index::{Bulk, Index, Item, KeyRange};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

const KEYS: usize = 1_000_000;
const KEY_BYTES: usize = 64;

fn main() {
    if let Some(which) =
        std::env::args().find_map(|arg| Some(arg.strip_prefix("memory=")?.to_owned()))
    {
        return memory(&which);
    }
    let keys: Vec<Vec<u8>> = (0..KEYS).map(|place| key(place as u64)).collect();
    let order = shuffled(KEYS);
    println!("{KEYS} keys of {KEY_BYTES} bytes, in random order");

    let mut map = BTreeMap::new();
    time("BTreeMap insert", KEYS, || {
        for (main, place) in order.iter().enumerate() {
            map.insert(keys[*place].clone(), item(main));
        }
    });
    time("BTreeMap look-up", KEYS, || {
        order.iter().rev().for_each(|place| assert!(map.contains_key(&keys[*place])));
    });
    drop(map);

    let mut index = Index::default();
    time("insert", KEYS, || {
        for (main, place) in order.iter().enumerate() {
            index.push(&keys[*place], item(main));
        }
    });
    let last = i64::try_from(KEYS).unwrap();
    time("look-up", KEYS, || {
        for place in order.iter().rev() {
            assert!(black_box(index.get(&keys[*place])).unwrap().at(last).is_some());
        }
    });
    counts(&index, &keys, last);
    for batch in [1, 10, 100, 1000] {
        updates(&index, &keys, &order, batch);
    }
    time("second revision in place", KEYS, || {
        for (main, place) in order.iter().enumerate() {
            index.push(&keys[*place], item(KEYS + main));
        }
    });
    time("compaction of one each", KEYS, || {
        for place in &order {
            index.prune(&keys[*place], 2 * last, &mut |_| {});
        }
    });
    drop(index);

    let mut sorted = keys;
    sorted.sort_unstable();
    let mut bulk = Bulk::default();
    let mut built = None;
    time("bulk build in order", KEYS, || {
        sorted.iter().enumerate().for_each(|(main, key)| bulk.push(key, &[item(main)]));
        built = Some(std::mem::take(&mut bulk).finish());
    });
    let index = built.unwrap();
    time("walk over all", KEYS, || {
        let mut sum = 0;
        let _ = index.visit(KeyRange::ALL, 0, |_, history| {
            sum += history.newest().main();
            ControlFlow::Continue(())
        });
        black_box(sum);
    });
    for which in ["BTreeMap", "inserted", "two revisions", "in bulk"] {
        // In a process of its own: no memory is there from before.
        let program = std::env::current_exe().unwrap();
        let arg = format!("memory={which}");
        assert!(std::process::Command::new(program).arg(arg).status().unwrap().success());
    }
}

/// Puts of existing keys while a reader holds the root of every `batch` puts.
fn updates(index: &Index, keys: &[Vec<u8>], order: &[usize], batch: usize) {
    let count = KEYS / 10;
    let mut index = index.clone();
    let mut published = index.clone();
    time(&format!("put, a root published each {batch}"), count, || {
        for (number, place) in order[..count].iter().enumerate() {
            index.push(&keys[*place], item(KEYS + number));
            if number % batch == batch - 1 {
                published = index.clone();
            }
        }
    });
    black_box(published);
}

fn counts(index: &Index, keys: &[Vec<u8>], last: i64) {
    let rounds = 100_000;
    time("count of a range, present revision", rounds, || {
        for pair in keys.windows(2).take(rounds) {
            let (from, end) = ((&pair[0]).min(&pair[1]), (&pair[0]).max(&pair[1]));
            black_box(index.count(KeyRange::Between(from, end), last));
        }
    });
    let all = KeyRange::ALL;
    time("count of all, 1,000 revisions ago", 100, || {
        (0..100).for_each(|_| assert_eq!(black_box(index.count(all, last - 1001)), last - 1000));
    });
}

fn time(what: &str, count: usize, work: impl FnOnce()) {
    let started = Instant::now();
    work();
    let each = started.elapsed().as_nanos() / count as u128;
    println!("{what:<42} {each:>7} ns");
}

/// Makes one of the kinds and says what it takes.
fn memory(which: &str) {
    let mut keys: Vec<Vec<u8>> = (0..KEYS).map(|place| key(place as u64)).collect();
    keys.sort_unstable();
    let order = shuffled(KEYS);
    let before = resident();
    let (mut map, mut index, mut bulk) = (BTreeMap::new(), Index::default(), Bulk::default());
    match which {
        "BTreeMap" => order.iter().for_each(|place| {
            map.insert(keys[*place].clone(), item(*place));
        }),
        "in bulk" => {
            keys.iter().enumerate().for_each(|(main, key)| bulk.push(key, &[item(main)]));
            index = std::mem::take(&mut bulk).finish();
        }
        _ => {
            let rounds = if which == "inserted" { 1 } else { 2 };
            for round in 0..rounds {
                for (main, place) in order.iter().enumerate() {
                    index.push(&keys[*place], item(round * KEYS + main));
                }
            }
        }
    }
    let each = (resident() - before) / KEYS;
    black_box((map, index));
    println!("{:<42} {:>7} bytes beyond the key", format!("memory: {which}"), each - KEY_BYTES);
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn key(number: u64) -> Vec<u8> {
    let mut state = number;
    let hex = format!("{:016x}", next(&mut state));
    let mut key = b"/registry/pods/namespace-".to_vec();
    key.extend_from_slice(hex.as_bytes());
    key.resize(KEY_BYTES, b'k');
    key
}

fn item(main: usize) -> Item {
    let main = i64::try_from(main).unwrap();
    Item::put(Revision { main, sub: 0 }, main, 1, Location::default())
}

fn shuffled(len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    let mut state = 7;
    for place in (1..len).rev() {
        let other = next(&mut state) % (place as u64 + 1);
        order.swap(place, usize::try_from(other).unwrap());
    }
    order
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
