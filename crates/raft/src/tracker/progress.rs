//! What the leader knows of one follower's log, and how it sends to it.
//!
//! ```text
//!             rejected, unreachable            snapshot needed
//!   Replicate ---------------------> Probe ---------------------> Snapshot
//!      ^                             |  ^                            |
//!      +-------- an append matched --+  +--- sent, failed or matched-+
//! ```
//!
//! - Probe: the follower's last matching index is a guess; one append at a time, until one is
//!   acknowledged.
//! - Replicate: appends stream optimistically, bounded by the in-flight window.
//! - Snapshot: the log it needs is compacted; nothing is sent until the snapshot has arrived.
//!
//! Invariant: `matched < next`.

use super::Inflights;
use std::collections::BTreeMap;
use std::fmt;

/// How the leader sends to a follower.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProgressState {
    /// One append at a time.
    #[default]
    Probe,
    /// A stream of appends.
    Replicate,
    /// Waiting for a snapshot to arrive.
    Snapshot,
}

impl fmt::Display for ProgressState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProgressState::Probe => "StateProbe",
            ProgressState::Replicate => "StateReplicate",
            ProgressState::Snapshot => "StateSnapshot",
        })
    }
}

/// All members' progress, by id.
pub type ProgressMap = BTreeMap<u64, Progress>;

/// One member's progress, in the leader's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The highest index known to be in the member's log as it is in the leader's.
    pub matched: u64,
    /// The next index to send.
    pub next: u64,
    /// The highest commit index sent that the member can use, given what it was sent.
    pub sent_commit: u64,
    /// How the leader sends.
    pub state: ProgressState,
    /// In state Snapshot: the index of the snapshot on its way.
    pub pending_snapshot: u64,
    /// Whether the member was heard since the last check of the quorum.
    pub recent_active: bool,
    /// Whether sending waits: a probe is out, or the window is full. A heartbeat's answer lifts it
    /// for one append, in case the last one was lost.
    pub msg_app_flow_paused: bool,
    /// Appends on their way, in state Replicate.
    pub inflights: Inflights,
    /// Whether the member has no vote.
    pub is_learner: bool,
}

impl Progress {
    /// A member of which nothing is known but where to start sending.
    pub fn new(next: u64, inflights: Inflights, is_learner: bool) -> Progress {
        Progress {
            matched: 0,
            next,
            sent_commit: 0,
            state: ProgressState::Probe,
            pending_snapshot: 0,
            recent_active: false,
            msg_app_flow_paused: false,
            inflights,
            is_learner,
        }
    }

    /// Goes back to one append at a time, after the last index the member surely has.
    pub fn become_probe(&mut self) {
        // A snapshot that was sent is taken to have arrived; if not, the probe finds out.
        let sent = if self.state == ProgressState::Snapshot { self.pending_snapshot } else { 0 };
        self.reset_state(ProgressState::Probe);
        self.next = self.matched.max(sent) + 1;
        self.sent_commit = self.sent_commit.min(self.next - 1);
    }

    /// Starts the stream of appends after the matched index.
    pub fn become_replicate(&mut self) {
        self.reset_state(ProgressState::Replicate);
        self.next = self.matched + 1;
    }

    /// Waits for the snapshot at `index` to arrive.
    pub fn become_snapshot(&mut self, index: u64) {
        self.reset_state(ProgressState::Snapshot);
        self.pending_snapshot = index;
        self.next = index + 1;
        self.sent_commit = index;
    }

    /// Notes that an append of so many entries and payload bytes was sent.
    pub fn sent_entries(&mut self, entries: usize, bytes: u64) {
        match self.state {
            ProgressState::Replicate => {
                if entries > 0 {
                    self.next += entries as u64;
                    self.inflights.add(self.next - 1, bytes);
                }
                // Empty appends still go out while the window is full, one at a time.
                self.msg_app_flow_paused = self.inflights.is_full();
            }
            ProgressState::Probe => self.msg_app_flow_paused |= entries > 0,
            ProgressState::Snapshot => unreachable!("an append to a member awaiting a snapshot"),
        }
    }

    /// Whether an append with commit index `commit` would tell the member something new.
    pub fn can_bump_commit(&self, commit: u64) -> bool {
        commit > self.sent_commit && self.sent_commit < self.next - 1
    }

    /// Notes the member's acknowledgement of all entries up to `index`. Returns whether that was
    /// news.
    pub fn maybe_update(&mut self, index: u64) -> bool {
        if index <= self.matched {
            return false;
        }
        self.matched = index;
        self.next = self.next.max(index + 1);
        self.msg_app_flow_paused = false;
        true
    }

    /// Notes that an append after index `rejected` was rejected, with a hint where the logs may
    /// match. Returns whether the rejection counts, rather than being an old one come late.
    pub fn maybe_decrement(&mut self, rejected: u64, match_hint: u64) -> bool {
        if self.state == ProgressState::Replicate {
            if rejected <= self.matched {
                return false;
            }
            self.next = self.matched + 1;
            self.sent_commit = self.sent_commit.min(self.next - 1);
            return true;
        }
        // A probe's rejection must be of the probe that is out.
        if self.next - 1 != rejected {
            return false;
        }
        self.next = rejected.min(match_hint.saturating_add(1)).max(self.matched + 1);
        self.sent_commit = self.sent_commit.min(self.next - 1);
        self.msg_app_flow_paused = false;
        true
    }

    /// Whether nothing is to be sent for now.
    pub fn is_paused(&self) -> bool {
        self.state == ProgressState::Snapshot || self.msg_app_flow_paused
    }

    fn reset_state(&mut self, state: ProgressState) {
        self.msg_app_flow_paused = false;
        self.pending_snapshot = 0;
        self.state = state;
        self.inflights.reset();
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} match={} next={}", self.state, self.matched, self.next)?;
        if self.is_learner {
            f.write_str(" learner")?;
        }
        if self.is_paused() {
            f.write_str(" paused")?;
        }
        if self.pending_snapshot > 0 {
            write!(f, " pendingSnap={}", self.pending_snapshot)?;
        }
        if !self.recent_active {
            f.write_str(" inactive")?;
        }
        if self.inflights.count() > 0 {
            write!(f, " inflight={}", self.inflights.count())?;
            if self.inflights.is_full() {
                f.write_str("[full]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(state: ProgressState, matched: u64, next: u64) -> Progress {
        Progress { state, matched, ..Progress::new(next, Inflights::new(256, 0), false) }
    }

    #[test]
    fn a_probe_resumes_after_a_pending_snapshot_or_the_match() {
        let mut snapshot = progress(ProgressState::Snapshot, 1, 11);
        snapshot.pending_snapshot = 10;
        snapshot.become_probe();
        assert_eq!((snapshot.matched, snapshot.next), (1, 11));
        let mut stream = progress(ProgressState::Replicate, 1, 5);
        stream.become_probe();
        assert_eq!((stream.matched, stream.next), (1, 2));
    }

    #[test]
    fn only_the_rejection_of_what_was_sent_counts() {
        let check = |state, matched, next, rejected, hint, want_next| {
            let mut progress = progress(state, matched, next);
            let counts = progress.maybe_decrement(rejected, hint);
            assert_eq!(counts.then_some(progress.next), want_next);
        };
        use ProgressState::{Probe, Replicate};
        check(Replicate, 5, 10, 5, 5, None); // older than the match
        check(Replicate, 5, 10, 4, 4, None);
        check(Replicate, 5, 10, 9, 9, Some(6));
        check(Probe, 0, 1, 5, 5, None); // not the probe that is out
        check(Probe, 0, 10, 5, 5, None);
        check(Probe, 0, 10, 9, 9, Some(9));
        check(Probe, 0, 2, 1, 1, Some(1)); // never below 1
        check(Probe, 0, 10, 9, 2, Some(3)); // the hint skips
        check(Probe, 0, 10, 9, 0, Some(1));
    }
}
