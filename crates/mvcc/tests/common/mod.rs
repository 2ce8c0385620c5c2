//! A member's store on a simulated disk, and a naive model of it.
#![allow(clippy::unwrap_used, dead_code, reason = "shared by tests, which may end with a panic")]

pub mod model;

use backend::{Compactor, Flusher, Options, Step, Store};
use bytes::Bytes;
use quorate_mvcc::{Budget, Changes, Error, Mvcc, Progress, Views, restore};
use std::path::Path;
use std::sync::Arc;
use vfs::MemFs;

pub const DIR: &str = "/member/backend";

/// Small segments, so that many are sealed and rewritten.
pub const OPTIONS: Options = Options { segment_bytes: 4000, rewrite_percent: 20 };

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high.abs_diff(low) + 1).cast_signed()
    }
}

/// All parts of an open store.
#[derive(Debug)]
pub struct Member {
    pub mvcc: Mvcc,
    pub views: Views,
    pub leases: Vec<(Bytes, i64)>,
    pub store: Store,
    pub flusher: Flusher,
    pub compactor: Compactor,
    pub index: u64,
}

impl Member {
    pub fn open(fs: &MemFs) -> Self {
        let opened = backend::open(Arc::new(fs.clone()), Path::new(DIR), OPTIONS).unwrap();
        let started = restore(opened.restored, opened.reader, opened.store.buckets()).unwrap();
        let index = opened.store.consistent_index();
        Self {
            mvcc: started.mvcc,
            views: started.views,
            leases: started.leases,
            store: opened.store,
            flusher: opened.flusher,
            compactor: opened.compactor,
            index,
        }
    }

    /// The end of a batch of entries.
    pub fn commit(&mut self) {
        self.index += 1;
        self.store.commit(self.index, 1);
        self.mvcc.publish();
    }

    pub fn put(&mut self, key: &str, value: &str) -> Option<Changes> {
        let mut txn = self.mvcc.begin(&mut self.store);
        txn.put(Bytes::copy_from_slice(key.as_bytes()), value.as_bytes(), 0);
        let changes = txn.end();
        self.commit();
        changes
    }

    pub fn delete(&mut self, key: &str) -> Option<Changes> {
        let mut txn = self.mvcc.begin(&mut self.store);
        txn.delete_range(key.as_bytes(), b"");
        let changes = txn.end();
        self.commit();
        changes
    }

    pub fn compact(&mut self, revision: i64) -> Result<(), Error> {
        self.mvcc.compact(&mut self.store, revision)?;
        self.commit();
        Ok(())
    }

    /// Does all the work of a compaction.
    pub fn finish_compaction(&mut self) -> Option<Progress> {
        let mut last = None;
        loop {
            match self.mvcc.compaction_step(&mut self.store, Budget::default()).unwrap() {
                Progress::Idle => return last,
                Progress::Working => {}
                finished @ Progress::Finished { .. } => {
                    self.commit();
                    last = Some(finished);
                }
            }
        }
    }

    /// Everything to the files, and dead records out of them. Gives how many rewrites it took.
    pub fn shrink(&mut self) -> usize {
        self.flusher.step(std::time::Duration::ZERO, u64::MAX).unwrap();
        self.flusher.sync().unwrap();
        let mut rewrites = 0;
        loop {
            match self.compactor.step(&self.views.judge(), 1000).unwrap() {
                Step::Idle | Step::Waiting => return rewrites,
                Step::Working => {}
                Step::Done { .. } => rewrites += 1,
            }
        }
    }
}
