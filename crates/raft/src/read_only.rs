//! Reads that wait for a quorum to confirm the leader (thesis section 6.4).
//!
//! Reads are numbered in order of arrival. Every heartbeat carries the number of the newest
//! waiting read, a follower echoes it, and a read is confirmed once a quorum echoed its number or
//! a later one: so one round of heartbeats confirms all reads that came before it.
//!
//! Compat: the number travels as 8 bytes little endian; Go leaders put it so.

use crate::planted::{self, Bug};
use crate::quorum::JointConfig;
use bytes::Bytes;
use raftpb::Message;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default)]
pub(crate) struct ReadOnly {
    /// The highest number each member has echoed.
    acks: BTreeMap<u64, u64>,
    /// Requests in order, each with the commit index at its arrival. The first has the number
    /// `confirmed + 1`.
    waiting: VecDeque<(Message, u64)>,
    confirmed: u64,
}

impl ReadOnly {
    pub(crate) fn add_request(&mut self, request: Message, commit: u64) {
        self.waiting.push_back((request, commit));
    }

    /// What heartbeats carry: the newest read's number, or nothing if none waits.
    pub(crate) fn heartbeat_context(&self) -> Option<Bytes> {
        let newest = self.newest();
        (newest > self.confirmed).then(|| Bytes::copy_from_slice(&newest.to_le_bytes()))
    }

    /// Notes a member's echo. One that this leader cannot have sent is ignored.
    pub(crate) fn receive_ack(&mut self, from: u64, context: &[u8]) {
        let Ok(number) = <[u8; 8]>::try_from(context) else { return };
        let mut number = u64::from_le_bytes(number);
        if planted::is(Bug::StaleReadConfirmed) {
            number = self.newest();
        }
        if number <= self.newest() {
            let acked = self.acks.entry(from).or_default();
            *acked = number.max(*acked);
        }
    }

    /// The reads that a quorum has confirmed since the last call, in order.
    pub(crate) fn confirm(&mut self, voters: &JointConfig) -> Vec<(Message, u64)> {
        let confirmed = voters.committed_index(|id| self.acks.get(&id).copied()).min(self.newest());
        let count = confirmed.saturating_sub(self.confirmed);
        self.confirmed += count;
        let count = usize::try_from(count).expect("so many are in memory");
        self.waiting.drain(..count).collect()
    }

    fn newest(&self) -> u64 {
        self.confirmed + self.waiting.len() as u64
    }
}
