//! Linearizable reads: a read gives a value no older than what any client had been told when the
//! read began, and what it gives is what the log says at the index it was read at. All writes are
//! distinct and the log orders them, so this is linearizability of each register.
//!
//! Reads that trust the leader's lease are held to the second half only. A leader looks for its
//! quorum once an election timeout, so one that was cut off right after a look believes in itself
//! for nearly two, while the others elect a new one after one: as in etcd-io/raft.

use super::{Verdict, hold};
use crate::kv::Version;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// The highest index a client was told something of.
    told: u64,
    /// By (client, operation): what had been told when it began.
    open: BTreeMap<(u64, u64), u64>,
}

/// The end of a read.
pub(crate) struct Answer {
    pub(crate) client: u64,
    pub(crate) seq: u64,
    pub(crate) node: u64,
    pub(crate) key: u64,
    pub(crate) given: Version,
    /// The node had applied so much.
    pub(crate) applied: u64,
    pub(crate) lease: bool,
}

impl Reads {
    /// A client is told that its write took effect at `index`.
    pub(crate) fn wrote(&mut self, index: u64) {
        self.told = self.told.max(index);
    }

    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    pub(crate) fn begun(&mut self, client: u64, seq: u64) {
        self.open.insert((client, seq), self.told);
    }

    /// A client is told what it asked for; `want` is what the log says.
    pub(crate) fn answered(&mut self, answer: &Answer, want: Version) -> Verdict {
        let Answer { node, key, given, applied, .. } = *answer;
        hold!(given == want, "{node} reads {given:?} of key {key} at {applied}, log says {want:?}");
        let Some(floor) = self.open.remove(&(answer.client, answer.seq)) else { return Ok(()) };
        if answer.lease {
            return Ok(());
        }
        hold!(
            applied >= floor,
            "client {} reads key {key} at {applied} on {node}; when it asked, {floor} was known",
            answer.client
        );
        self.told = self.told.max(given.index);
        Ok(())
    }
}
