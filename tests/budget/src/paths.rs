//! The paths: what each needs, and what is counted of it.
//!
//! Each returns how many operations it did while it was counted. Numbers are chosen so that a path
//! takes some millions of instructions: a tree has several levels, and a list is never empty.

use crate::measured;
use backend::{Location, Revision};
use bytes::Bytes;
use mvcc::index::{Index, Item, KeyRange};
use mvcc::{Mvcc, Started, Views, restore};
use raft::{Config, MemoryStorage, RawNode};
use raftpb::{ConfState, Entry, HardState, Message, Snapshot, SnapshotMetadata};
use server::{WatchItem, WatchOptions, WatchOutbox, WatchStage};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use vfs::OsFs;
use wal::Wal;

/// What runs a path, and tells how many operations that were.
type Run = fn(&Path) -> u64;

/// Every path, by the name that the budget has for it.
pub const PATHS: [(&str, Run); 6] = [
    ("raft-step", raft_step),
    ("wal-append", wal_append),
    ("index-put", index_put),
    ("index-range", index_range),
    ("mvcc-put", mvcc_put),
    ("watch-notify", watch_notify),
];

const VALUE: [u8; 256] = [b'v'; 256];

const KEYS: u64 = 20_000;

/// One proposal of 256 bytes committed by three nodes: all that is stepped and made ready for it.
fn raft_step(_: &Path) -> u64 {
    const PROPOSALS: u64 = 1000;
    let mut nodes: Vec<_> = (1..=3).map(node).collect();
    nodes[0].campaign().expect("a follower may");
    exchange(&mut nodes);
    let data = Bytes::from_static(&VALUE);
    let mut propose = || {
        nodes[0].propose_all([data.clone()]).expect("node 1 leads");
        exchange(&mut nodes);
    };
    propose();
    measured(&mut || (0..PROPOSALS).for_each(|_| propose()));
    PROPOSALS
}

fn node(id: u64) -> RawNode<MemoryStorage> {
    let conf_state = Some(ConfState { voters: vec![1, 2, 3], ..ConfState::default() });
    let metadata = SnapshotMetadata { conf_state, index: Some(1), term: Some(1) };
    let mut storage = MemoryStorage::new();
    let snapshot = Snapshot { data: None, metadata: Some(metadata) };
    storage.apply_snapshot(snapshot).expect("the storage is empty");
    let config = Config { id, applied: 1, ..Config::default() };
    RawNode::new(config, storage).expect("a good configuration")
}

/// Does all there is to do on all nodes.
fn exchange(nodes: &mut [RawNode<MemoryStorage>]) {
    let mut under_way: Vec<Message> = Vec::new();
    loop {
        for message in under_way.drain(..) {
            let to = usize::try_from(message.to() - 1).expect("a member");
            nodes[to].step(message).expect("a good message");
        }
        for node in &mut *nodes {
            while node.has_ready() {
                let ready = node.ready();
                node.storage_mut().append(&ready.entries);
                under_way.extend(ready.messages);
                node.advance();
            }
        }
        if under_way.is_empty() {
            return;
        }
    }
}

/// One entry of 256 bytes written to the log and synced. The kernel's part is not counted.
fn wal_append(folder: &Path) -> u64 {
    const ENTRIES: u64 = 1000;
    let options = wal::Options::default();
    let log = Wal::create(Arc::new(OsFs), &folder.join("wal"), b"budget", options);
    let mut log = log.expect("an empty folder takes a log");
    let mut append = |index: u64| {
        let entry = Entry {
            term: Some(1),
            index: Some(index),
            data: Some(Bytes::from_static(&VALUE)),
            ..Entry::default()
        };
        let state = HardState { term: Some(1), vote: Some(1), commit: Some(index - 1) };
        log.save(&state, &[entry]).expect("a disk with room");
    };
    append(1);
    measured(&mut || (2..2 + ENTRIES).for_each(&mut append));
    ENTRIES
}

/// A first revision of each key, in random order.
fn index_put(_: &Path) -> u64 {
    let order = shuffled();
    let mut index = Index::default();
    measured(&mut || {
        for (main, number) in (1..).zip(&order) {
            index.push(&key(*number), item(main));
        }
    });
    black_box(index);
    KEYS
}

/// The keys of ranges of about a thousand.
fn index_range(_: &Path) -> u64 {
    const LENGTH: u64 = 1000;
    let mut index = Index::default();
    for (main, number) in (1..).zip(shuffled()) {
        index.push(&key(number), item(main));
    }
    let mut seen = 0;
    measured(&mut || {
        for first in (0..KEYS - LENGTH).step_by(997) {
            let (from, end) = (key(first), key(first + LENGTH));
            let _ = index.visit(KeyRange::new(&from, &end), 0, |key, history| {
                black_box((key, history.newest().main()));
                seen += 1;
                ControlFlow::Continue(())
            });
        }
    });
    seen
}

/// Puts of 256 bytes to keys that are there, ten to a batch that is committed and published.
fn mvcc_put(folder: &Path) -> u64 {
    const PUTS: usize = 5000;
    let mut keys = Keys::open(folder);
    for number in 0..KEYS {
        keys.put(number);
        keys.commit();
    }
    let order = shuffled();
    measured(&mut || {
        for batch in order[..PUTS].chunks(10) {
            for number in batch {
                keys.put(*number);
            }
            keys.commit();
        }
    });
    PUTS as u64
}

/// An event told to each of a thousand watchers of one key, ten streams.
fn watch_notify(folder: &Path) -> u64 {
    const STREAMS: u64 = 10;
    const WATCHERS: u64 = 100;
    const CHANGES: u64 = 100;
    let mut keys = Keys::open(folder);
    let mut stage = WatchStage::new(1);
    for stream in 0..STREAMS {
        stage.open(stream, Box::new(Sink));
        for _ in 0..WATCHERS {
            let options = WatchOptions { key: key(0).into(), ..WatchOptions::default() };
            stage.create(stream, options);
        }
    }
    let mut changes = Vec::new();
    for _ in 0..CHANGES {
        changes.extend(keys.put(0));
        keys.commit();
    }
    let view = keys.views.latest();
    measured(&mut || changes.iter().for_each(|change| stage.changed(change, &view)));
    STREAMS * WATCHERS * CHANGES
}

/// Takes everything.
struct Sink;

impl WatchOutbox for Sink {
    fn has_room(&self) -> bool {
        true
    }

    fn try_send(&mut self, item: WatchItem) -> Result<(), WatchItem> {
        black_box(item);
        Ok(())
    }
}

/// A store with history on a real folder. Nobody writes behind it: that is another thread's work.
struct Keys {
    store: backend::Store,
    mvcc: Mvcc,
    views: Views,
    index: u64,
    _flusher: backend::Flusher,
}

impl Keys {
    fn open(folder: &Path) -> Self {
        let opened = backend::open(Arc::new(OsFs), folder, backend::Options::default());
        let opened = opened.expect("an empty folder takes a store");
        let store = opened.store;
        let started = restore(opened.restored, opened.reader, store.buckets());
        let Started { mvcc, views, .. } = started.expect("it is empty");
        Self { store, mvcc, views, index: 0, _flusher: opened.flusher }
    }

    fn put(&mut self, number: u64) -> Option<mvcc::Changes> {
        let mut txn = self.mvcc.begin(&mut self.store);
        txn.put(key(number).into(), &VALUE, 0);
        txn.end()
    }

    fn commit(&mut self) {
        self.index += 1;
        self.store.commit(self.index, 1);
        self.mvcc.publish();
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("/registry/pods/namespace/{number:039}").into_bytes()
}

fn item(main: i64) -> Item {
    Item::put(Revision { main, sub: 0 }, main, 1, Location::default())
}

/// The numbers of all keys, always in the same order (SplitMix64, Fisher and Yates).
fn shuffled() -> Vec<u64> {
    let mut order: Vec<u64> = (0..KEYS).collect();
    let mut state = 7_u64;
    for place in (1..order.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = (word ^ (word >> 31)) % (place as u64 + 1);
        order.swap(place, usize::try_from(other).expect("a place"));
    }
    order
}
