//! How far one member has come, as its leader sees it, and how the leader may send to it.
//!
//! ```text
//!               an append is accepted
//!        +-------------------------------------+
//!        |                                     v
//!   +---------+                          +-----------+
//!   |  Probe  |<-- rejected, unreachable-| Replicate |
//!   +---------+                          +-----------+
//!     ^     |  entries are compacted away      |
//!     |     v                                  |
//!   +----------+<------------------------------+
//!   | Snapshot |
//!   +----------+  leaves to Probe when the snapshot is reported, or to Replicate by way of
//!                 Probe when the member acknowledges an index the leader still has
//! ```
//!
//! Invariants: `matched < next`; in `Snapshot`, `next` is `pending_snapshot + 1` and nothing is
//! sent; the highest commit index sent is below `next` where that is still uncertain.

use std::fmt;

use super::Inflights;

/// How a leader sends to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressState {
    /// The end of the member's log is not known: at most one append is sent per heartbeat.
    Probe,
    /// The member follows: appends are sent ahead of its answers, within the inflight window.
    Replicate,
    /// The member needs entries the leader no longer has: a snapshot is under way, no appends.
    Snapshot,
}

impl fmt::Display for ProgressState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "StateProbe",
            Self::Replicate => "StateReplicate",
            Self::Snapshot => "StateSnapshot",
        })
    }
}

/// The progress of one member in its leader's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The highest index up to which the member's log is known to equal the leader's.
    pub matched: u64,
    /// The index of the next entry to send; those between `matched` and it are under way.
    pub next: u64,
    /// The highest commit index sent. Goes back when what was sent before is in doubt.
    sent_commit: u64,
    /// How to send to the member.
    pub state: ProgressState,
    /// In `Snapshot`, the index of the snapshot under way, else zero. A member may well come
    /// back with another one, if snapshots travel past the leader: any index that reconnects
    /// its log to the leader's ends the state.
    pub pending_snapshot: u64,
    /// Whether the member was heard of since the last check of the quorum.
    pub recent_active: bool,
    /// Whether appends wait for the next sign of life: a probe is out, or the window is full.
    /// Cleared by heartbeat answers, so that lost messages stall a member for one interval.
    pub msg_app_flow_paused: bool,
    /// The appends under way in `Replicate`.
    pub inflights: Inflights,
    /// Whether the member is a learner.
    pub is_learner: bool,
}

impl Progress {
    /// A member in `Probe` with nothing known to match, to be sent `next` first.
    ///
    /// # Panics
    /// If `next` is zero: logs start at one.
    pub fn new(next: u64, inflights: Inflights) -> Self {
        assert!(next > 0, "a log starts at index one");
        Self {
            matched: 0,
            next,
            sent_commit: 0,
            state: ProgressState::Probe,
            pending_snapshot: 0,
            recent_active: false,
            msg_app_flow_paused: false,
            inflights,
            is_learner: false,
        }
    }

    fn reset_state(&mut self, state: ProgressState) {
        self.msg_app_flow_paused = false;
        self.pending_snapshot = 0;
        self.state = state;
        self.inflights.reset();
    }

    /// Moves to `Probe`, to ask from after the match on, or from after the pending snapshot,
    /// which the member is then known to have.
    pub fn become_probe(&mut self) {
        let snapshot = self.pending_snapshot;
        self.reset_state(ProgressState::Probe);
        self.next = self.matched.max(snapshot) + 1;
        self.lower_sent_commit();
    }

    /// Moves to `Replicate`, to send from after the match on.
    pub fn become_replicate(&mut self) {
        self.reset_state(ProgressState::Replicate);
        self.next = self.matched + 1;
    }

    /// Moves to `Snapshot` with a snapshot at `index` under way.
    pub fn become_snapshot(&mut self, index: u64) {
        self.reset_state(ProgressState::Snapshot);
        self.pending_snapshot = index;
        self.next = index + 1;
        self.sent_commit = index;
    }

    /// Notes an append sent with `entries` entries from `next` on, of `bytes` bytes in sum.
    ///
    /// # Panics
    /// In `Snapshot`, where no append may be sent.
    pub fn sent_entries(&mut self, entries: usize, bytes: u64) {
        match self.state {
            ProgressState::Replicate => {
                if entries > 0 {
                    self.next += entries as u64;
                    self.inflights.add(self.next - 1, bytes);
                }
                // Filling the window makes this message a probe of sorts: the flow goes on with
                // its answer, or with the next heartbeat's.
                self.msg_app_flow_paused = self.inflights.is_full();
            }
            ProgressState::Probe => self.msg_app_flow_paused |= entries > 0,
            ProgressState::Snapshot => panic!("an append was sent while a snapshot is under way"),
        }
    }

    /// Whether sending the commit index `index` may move the member's own.
    ///
    /// A member commits no further than its log goes, `next - 1` if all went well, so once that
    /// much was sent there is no hurry: later appends and heartbeats carry the rest.
    pub fn can_bump_commit(&self, index: u64) -> bool {
        index > self.sent_commit && self.sent_commit < self.next - 1
    }

    /// Notes the commit index `commit` sent.
    pub fn sent_commit(&mut self, commit: u64) {
        self.sent_commit = commit;
    }

    /// What was sent beyond `next` is in doubt, so it counts as not sent.
    fn lower_sent_commit(&mut self) {
        self.sent_commit = self.sent_commit.min(self.next - 1);
    }

    /// Takes the member's acknowledgement of all up to `index`. False if that was known.
    pub fn maybe_update(&mut self, index: u64) -> bool {
        if index <= self.matched {
            return false;
        }
        self.matched = index;
        self.next = self.next.max(index + 1);
        self.msg_app_flow_paused = false;
        true
    }

    /// Takes the member's rejection of an append after index `rejected`, with its `hint` of
    /// where the logs may meet. False if the rejection is stale, as repeated and reordered
    /// messages are; else `next` is lowered.
    pub fn maybe_decr_to(&mut self, rejected: u64, hint: u64) -> bool {
        if self.state == ProgressState::Replicate {
            if rejected <= self.matched {
                return false;
            }
            self.next = self.matched + 1;
            self.lower_sent_commit();
            return true;
        }
        // A probe is out one at a time, so a rejection of anything else is an old one.
        if self.next - 1 != rejected {
            return false;
        }
        self.next = rejected.min(hint + 1).max(self.matched + 1);
        self.lower_sent_commit();
        self.msg_app_flow_paused = false;
        true
    }

    /// Whether appends with entries must wait.
    pub fn is_paused(&self) -> bool {
        match self.state {
            ProgressState::Probe | ProgressState::Replicate => self.msg_app_flow_paused,
            ProgressState::Snapshot => true,
        }
    }
}

/// `StateReplicate match=5 next=8 learner paused pendingSnap=4 inactive inflight=3[full]`, where
/// all after `next` appears only if true or above zero.
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
            let full = if self.inflights.is_full() { "[full]" } else { "" };
            write!(f, " inflight={}{full}", self.inflights.count())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(state: ProgressState, matched: u64, next: u64) -> Progress {
        let inflights = Inflights::new(3, 0);
        Progress { matched, state, ..Progress::new(next, inflights) }
    }

    #[test]
    fn prints_every_part() {
        let mut inflights = Inflights::new(1, 0);
        inflights.add(123, 1);
        let progress = Progress {
            pending_snapshot: 123,
            is_learner: true,
            inflights,
            ..progress(ProgressState::Snapshot, 1, 2)
        };
        assert_eq!(
            progress.to_string(),
            "StateSnapshot match=1 next=2 learner paused pendingSnap=123 inactive inflight=1[full]"
        );
    }

    #[test]
    fn probe_after_a_snapshot_starts_behind_whichever_is_higher() {
        for (matched, snapshot, next) in [(1, 10, 11), (20, 10, 21)] {
            let mut progress = progress(ProgressState::Replicate, matched, matched + 1);
            progress.become_snapshot(snapshot);
            assert_eq!((progress.next, progress.is_paused()), (snapshot + 1, true));
            progress.become_probe();
            assert_eq!((progress.next, progress.pending_snapshot), (next, 0));
            assert!(!progress.is_paused());
        }
    }

    #[test]
    fn a_full_window_pauses_until_an_acknowledgement() {
        let mut progress = progress(ProgressState::Replicate, 0, 1);
        for _ in 0..3 {
            assert!(!progress.is_paused());
            progress.sent_entries(2, 10);
        }
        assert!(progress.is_paused());
        assert_eq!((progress.next, progress.inflights.count()), (7, 3));
        assert!(progress.maybe_update(2));
        assert!(!progress.maybe_update(2), "told before");
        assert!(!progress.is_paused());
    }

    #[test]
    fn a_probe_pauses_with_its_first_entries_only() {
        let mut progress = progress(ProgressState::Probe, 0, 1);
        progress.sent_entries(0, 0);
        assert!(!progress.is_paused());
        progress.sent_entries(1, 10);
        assert_eq!((progress.next, progress.is_paused()), (1, true));
    }

    #[test]
    fn rejections_lower_next_unless_stale() {
        use ProgressState::{Probe, Replicate};
        let cases = [
            // state, matched, next, rejected, hint; genuine, next afterwards
            (Replicate, 5, 10, 5, 5, false, 10),
            (Replicate, 5, 10, 4, 4, false, 10),
            (Replicate, 5, 10, 9, 9, true, 6),
            (Probe, 0, 1, 5, 5, false, 1),
            (Probe, 0, 10, 5, 5, false, 10),
            (Probe, 0, 10, 9, 9, true, 9),
            (Probe, 0, 2, 1, 1, true, 1),
            (Probe, 0, 1, 0, 0, true, 1),
            (Probe, 0, 10, 9, 2, true, 3),
            (Probe, 0, 10, 9, 0, true, 1),
            (Probe, 3, 10, 9, 0, true, 4),
        ];
        for case @ (state, matched, next, rejected, hint, genuine, lowered) in cases {
            let mut progress = progress(state, matched, next);
            assert_eq!(progress.maybe_decr_to(rejected, hint), genuine, "{case:?}");
            assert_eq!((progress.matched, progress.next), (matched, lowered), "{case:?}");
        }
    }

    #[test]
    fn commit_is_worth_sending_until_it_reached_the_end_of_what_was_sent() {
        let mut progress = progress(ProgressState::Replicate, 4, 9);
        assert!(progress.can_bump_commit(3));
        progress.sent_commit(3);
        assert!(!progress.can_bump_commit(3));
        progress.sent_commit(8);
        assert!(!progress.can_bump_commit(20), "the member has no more than eight entries");
        assert!(progress.maybe_decr_to(8, 4));
        assert!(!progress.can_bump_commit(4), "four was sent for sure");
        progress.sent_entries(1, 1);
        assert!(progress.can_bump_commit(5));
    }
}
